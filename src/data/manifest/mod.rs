//! Manifests: tables that say which files, words and labels belong to which study.
//!
//! One row is one study; several rows with one `study` id and different images are one study with
//! several films. Every source (CSV, JSON Lines, rows handed over by Python) goes through the same
//! checks, and every error names the source, the line or row, and the column.
//!
//! | column | content |
//! |---|---|
//! | `study`, `patient` | ids; required, never shown in errors |
//! | `image` | a path or a list of paths, relative to the root; required |
//! | `view` | `PA`, `AP`, `LATERAL`, or a list for several images |
//! | `report` | text (split at its headings) or `{indication, findings, impression}` |
//! | `findings_text`, `impression`, `indication` | the sections, in place of `report` |
//! | `labels` | `{finding: 1 | 0 | -1 | null}`; or one column for each name in [`Options::findings`] |
//! | `boxes` | `[{finding, corners: [x0, y0, x1, y1]}]`, pixels of the first film |
//! | `masks` | `[{finding, path}]` on the first film |
//! | `attributes` | `[{finding, side, zone, severity}]` |
//! | `questions` | `[{question, answer, form, topic}]` |
//! | `split` | the part that the study belongs to; one part for each patient |
//! | `record.*` or `record` | the clinical record: numbers or words, missing allowed |
//!
//! In CSV, a list or mapping is written as JSON in the cell. Blank, `null` and NaN mean missing.

mod builder;
mod cell;
mod join;
mod row;
mod table;
mod write;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ndarray::Array2;

pub use builder::Builder;
pub use table::open;
pub use write::{Rows, rows, write};

use crate::imaging::Image;

/// The columns that a manifest may have, beside findings and `record.*`.
pub const COLUMNS: &[&str] = &[
    "study",
    "patient",
    "image",
    "view",
    "report",
    "findings_text",
    "impression",
    "indication",
    "labels",
    "boxes",
    "masks",
    "attributes",
    "questions",
    "split",
    "record",
    "follow_up",
    "phantom",
];

/// The longest line or record that is read, in bytes: a broken quote must not swallow memory.
pub const LONGEST_ROW: usize = 16 << 20;

/// How a manifest is to be read.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The folder that image and mask paths are relative to.
    pub root: PathBuf,
    /// The findings to read, in this order; `None` takes those named in `labels`.
    pub findings: Option<Vec<String>>,
    /// For a column or finding of ours, its name in the manifest; `None` leaves the column unread.
    pub columns: BTreeMap<String, Option<String>>,
}

impl Options {
    /// Options for paths relative to `root`.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), ..Self::default() }
    }

    /// The manifest's name for our column `ours`; `None` when it is not to be read.
    fn theirs<'a>(&'a self, ours: &'a str) -> Option<&'a str> {
        self.columns.get(ours).map_or(Some(ours), Option::as_deref)
    }
}

/// Pixels that rows refer to by number (`{"array": 3}`) in place of a path.
#[derive(Clone, Debug, Default)]
pub struct Arrays {
    /// Films.
    pub images: Vec<Arc<Image>>,
    /// Masks (rows, columns).
    pub masks: Vec<Arc<Array2<bool>>>,
}
