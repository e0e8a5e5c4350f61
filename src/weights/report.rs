//! What a checkpoint gave to a model, key by key, as a table.

use std::fmt::{self, Display, Formatter, Write as _};

use serde::Serialize;

/// How many names a table lists of each kind.
const SHOWN: usize = 8;

/// A parameter whose shape in the checkpoint is not the model's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Misshapen {
    /// Its name in the model.
    pub name: String,
    /// Its shape in the checkpoint.
    pub found: Vec<usize>,
    /// Its shape in the model.
    pub expected: Vec<usize>,
}

impl Display for Misshapen {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} (found {:?}, expected {:?})", self.name, self.found, self.expected)
    }
}

/// The outcome of [`load`](super::load).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LoadReport {
    /// The file that was read.
    pub source: String,
    /// Parameters that took their values from the checkpoint.
    pub matched: Vec<String>,
    /// Parameters that the checkpoint does not have.
    pub missing: Vec<String>,
    /// Keys of the checkpoint that the model does not have.
    pub unexpected: Vec<String>,
    /// Parameters whose shapes differ.
    pub misshapen: Vec<Misshapen>,
    /// Keys that the name map says the model has no use for.
    pub dropped: Vec<String>,
    /// How many of the matched had another name, or were cut or joined.
    pub renamed: usize,
    /// How many numbers were read.
    pub numbers: usize,
}

impl LoadReport {
    /// Whether every parameter was matched and every key used or dropped on purpose.
    pub fn complete(&self) -> bool {
        self.missing.is_empty() && self.unexpected.is_empty() && self.misshapen.is_empty()
    }

    /// Counts and the first names of each kind.
    fn rows(&self) -> [(&'static str, usize, Vec<String>); 5] {
        let first = |names: &[String]| names.iter().take(SHOWN).cloned().collect();
        let misshapen = self.misshapen.iter().take(SHOWN).map(ToString::to_string).collect();
        [
            ("matched", self.matched.len(), Vec::new()),
            ("missing", self.missing.len(), first(&self.missing)),
            ("unexpected", self.unexpected.len(), first(&self.unexpected)),
            ("misshapen", self.misshapen.len(), misshapen),
            ("dropped", self.dropped.len(), first(&self.dropped)),
        ]
    }

    /// The differences as one sentence, for an error.
    pub(super) fn complaint(&self) -> String {
        let rows = self.rows().into_iter().skip(1).take(3).filter(|(_, count, _)| *count > 0);
        let parts: Vec<String> = rows
            .map(|(kind, count, names)| {
                let more = if count > names.len() { ", …" } else { "" };
                format!("{count} {kind}: {}{more}", names.join(", "))
            })
            .collect();
        format!("{} keys matched; {}; nothing was loaded", self.matched.len(), parts.join("; "))
    }

    /// The table as HTML, for notebooks.
    pub fn to_html(&self) -> String {
        let mut html = format!("<table><caption>{}</caption>", escape(&self.source));
        for (kind, count, names) in self.rows() {
            let names: Vec<String> = names.iter().map(|name| escape(name)).collect();
            let more = if !names.is_empty() && count > names.len() { "<br>…" } else { "" };
            let names = names.join("<br>");
            // Writing to a String cannot fail.
            let _ = write!(
                html,
                "<tr><th style=\"text-align:left\">{kind}</th><td>{count}</td>\
                 <td style=\"text-align:left\">{names}{more}</td></tr>"
            );
        }
        html + "</table>"
    }
}

impl Display for LoadReport {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "LoadReport of {}", self.source)?;
        for (kind, count, names) in self.rows() {
            write!(f, "\n  {kind:<10} {count:>6}")?;
            if kind == "matched" {
                write!(f, "  ({} renamed, {} numbers)", self.renamed, self.numbers)?;
            }
            for name in &names {
                write!(f, "\n             {name}")?;
            }
            if !names.is_empty() && count > names.len() {
                write!(f, "\n             … and {} more", count - names.len())?;
            }
        }
        Ok(())
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
