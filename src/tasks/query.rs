//! Queries of a search by words, each with a rule that grades every study.
//!
//! Source: the nineteen queries in four groups of Xu et al. 2023, "ELIXR", arXiv:2308.01317, and
//! its grades: 2 for what is asked, 1 for the finding otherwise, 0 without it. The paper's own
//! wording is not published; these sets are.

use serde::{Deserialize, Serialize};

use super::report::size_mm;
use crate::{Error, Result};

/// A query and what answers it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Query {
    /// What is searched for, in words.
    pub text: String,
    /// `single finding`, `laterality`, `severity` or `non-specific`.
    pub group: String,
    /// Labels any of which answers it; labels count whatever their capitals.
    pub findings: Vec<String>,
    /// Labels that answer it by half, where the data have them.
    pub partly: Vec<String>,
    /// The side asked for, `left` or `right`; a finding on both sides has it.
    pub side: String,
    /// The degrees asked for, any of them.
    pub severity: Vec<String>,
    /// The least diameter asked for.
    pub at_least_mm: f64,
    /// The device asked for, as attributes name it.
    pub device: String,
    /// Whether it asks for films on which nothing is found.
    pub normal: bool,
}

/// A finding said more closely: the name, the side, the degree or size.
#[derive(Clone, Copy, Debug)]
pub struct Described<'a> {
    /// What is described.
    pub finding: &'a str,
    /// `left`, `right`, `bilateral` or empty.
    pub side: &'a str,
    /// A degree, a size as `12 mm`, or empty.
    pub severity: &'a str,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Set {
    query: Vec<Query>,
}

const SETS: &[(&str, &str)] = &[
    ("chexpert19", include_str!("queries/chexpert19.toml")),
    ("phantom19", include_str!("queries/phantom19.toml")),
];

/// The names that [`queries`] knows.
pub fn query_sets() -> Vec<&'static str> {
    SETS.iter().map(|(name, _)| *name).collect()
}

/// A set of queries compiled in.
pub fn queries(name: &str) -> Result<Vec<Query>> {
    let found = SETS.iter().find(|(known, _)| *known == name).ok_or_else(|| {
        let known = query_sets().join(", ");
        Error::value("queries", format!("found {name:?}, expected one of {known}"))
    })?;
    let set: Set = toml::from_str(found.1)
        .map_err(|error| Error::Internal(format!("queries {name}: {error}")))?;
    Ok(set.query)
}

impl Query {
    /// Fails when the rule means nothing, or names a finding that the labels lack.
    pub fn check(&self, findings: &[String]) -> Result<()> {
        let fail = |why: String| Err(Error::value(format!("query {:?}", self.text), why));
        if self.text.trim().is_empty() {
            return fail("found no words, expected a text to search for".to_owned());
        }
        if self.normal != self.findings.is_empty() {
            return fail("expected findings, or normal = true without any".to_owned());
        }
        if !["", "left", "right"].contains(&self.side.as_str()) {
            return fail(format!("side {:?}, expected left or right", self.side));
        }
        if !(self.at_least_mm >= 0.0 && self.at_least_mm.is_finite()) {
            return fail(format!("at_least_mm {}, expected a size", self.at_least_mm));
        }
        let unknown = self.findings.iter().find(|name| column(findings, name).is_none());
        match unknown {
            Some(name) => {
                fail(format!("found finding {name:?}, the data know: {}", findings.join(", ")))
            }
            None => Ok(()),
        }
    }

    /// Whether it asks for more than labels tell.
    pub fn needs_attributes(&self) -> bool {
        !self.side.is_empty()
            || !self.severity.is_empty()
            || self.at_least_mm > 0.0
            || !self.device.is_empty()
    }

    /// The grade of a study: 2, 1 or 0, or NaN where its labels do not tell.
    ///
    /// An uncertain label (−1) is worth 1. `labels` are in the order of `findings`.
    #[allow(clippy::float_cmp)] // labels are 0, 1, -1 or NaN, exactly
    pub fn grade(&self, findings: &[String], labels: &[f32], about: &[Described<'_>]) -> f64 {
        let label = |name: &String| column(findings, name).and_then(|at| labels.get(at).copied());
        if self.normal {
            return normality(findings, labels);
        }
        let mut best = 0.0f64;
        let mut unknown = false;
        for name in &self.findings {
            let grade = match label(name) {
                Some(1.0) if self.is_described(name, about) => 2.0,
                Some(1.0 | -1.0) => 1.0,
                Some(0.0) => 0.0,
                _ => {
                    unknown = true;
                    0.0
                }
            };
            best = best.max(grade);
        }
        if self.partly.iter().any(|name| label(name) == Some(1.0)) {
            best = best.max(1.0);
        }
        if best == 0.0 && unknown { f64::NAN } else { best }
    }

    fn is_described(&self, finding: &str, about: &[Described<'_>]) -> bool {
        if !self.needs_attributes() {
            return true;
        }
        let name = if self.device.is_empty() { finding } else { &self.device };
        about.iter().filter(|entry| entry.finding.eq_ignore_ascii_case(name)).any(|entry| {
            let side = self.side.is_empty() || entry.side == self.side || entry.side == "bilateral";
            let degree =
                self.severity.is_empty() || self.severity.iter().any(|s| s == entry.severity);
            let size = self.at_least_mm <= 0.0
                || size_mm(entry.severity).is_some_and(|mm| mm >= self.at_least_mm);
            side && degree && size
        })
    }
}

/// The grade of a study for queries of normal films.
#[allow(clippy::float_cmp)] // as above
fn normality(findings: &[String], labels: &[f32]) -> f64 {
    // CheXpert's column "No Finding" says it outright.
    let told = findings.iter().zip(labels).find(|(name, _)| says_normal(name));
    match told.map(|(_, label)| *label) {
        Some(1.0) => return 2.0,
        Some(-1.0) => return 1.0,
        Some(0.0) => return 0.0,
        _ => {}
    }
    let others = findings.iter().zip(labels).filter(|(name, _)| !says_normal(name));
    let labels: Vec<f32> = others.map(|(_, label)| *label).collect();
    match &labels[..] {
        all if all.iter().all(|label| *label == 0.0) => 2.0,
        all if all.contains(&1.0) => 0.0,
        all if all.contains(&-1.0) => 1.0,
        _ => f64::NAN,
    }
}

/// Whether a label says that there is no finding.
fn says_normal(finding: &str) -> bool {
    finding.replace('_', " ").trim().eq_ignore_ascii_case("no finding")
}

fn column(findings: &[String], name: &str) -> Option<usize> {
    findings.iter().position(|finding| finding.eq_ignore_ascii_case(name))
}

#[cfg(test)]
#[allow(clippy::float_cmp)] // grades are 0, 1 or 2, exactly
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::*;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn both_sets_have_nineteen_queries_in_four_groups() {
        for name in query_sets() {
            let set = queries(name).unwrap();
            let texts: HashSet<_> = set.iter().map(|query| &query.text).collect();
            assert_eq!((set.len(), texts.len()), (19, 19), "{name}");
            let mut groups: HashMap<&str, usize> = HashMap::new();
            for query in &set {
                *groups.entry(&query.group).or_default() += 1;
                let known: Vec<String> = query.findings.clone();
                query.check(&known).unwrap();
            }
            let expected = ["single finding", "laterality", "severity", "non-specific"];
            assert_eq!(groups.len(), 4, "{name}");
            assert!(expected.iter().all(|group| groups[group] >= 4), "{groups:?}");
        }
    }

    #[test]
    fn a_column_of_normal_films_says_it_outright() {
        let findings = names(&["No Finding", "Edema"]);
        let query = Query { text: "normal".to_owned(), normal: true, ..Query::default() };
        let grade = |labels: [f32; 2]| query.grade(&findings, &labels, &[]);
        assert_eq!(grade([1.0, f32::NAN]), 2.0);
        assert_eq!(grade([0.0, f32::NAN]), 0.0);
        assert_eq!(grade([f32::NAN, 1.0]), 0.0);
        assert_eq!(grade([f32::NAN, 0.0]), 2.0);
        assert!(grade([f32::NAN, f32::NAN]).is_nan());
    }

    #[test]
    fn grades_follow_from_labels_and_attributes() {
        let findings = names(&["Pleural Effusion", "edema"]);
        let query = Query {
            text: "large left effusion".to_owned(),
            findings: names(&["pleural effusion"]),
            partly: names(&["edema", "unheard of"]),
            side: "left".to_owned(),
            severity: names(&["large"]),
            ..Query::default()
        };
        query.check(&findings).unwrap();
        let about = |side, severity| [Described { finding: "pleural effusion", side, severity }];
        let grade =
            |labels: [f32; 2], about: &[Described<'_>]| query.grade(&findings, &labels, about);
        assert_eq!(grade([1.0, 0.0], &about("left", "large")), 2.0);
        assert_eq!(grade([1.0, 0.0], &about("bilateral", "large")), 2.0);
        assert_eq!(grade([1.0, 0.0], &about("right", "large")), 1.0);
        assert_eq!(grade([1.0, 0.0], &[]), 1.0);
        assert_eq!(grade([-1.0, 0.0], &[]), 1.0);
        assert_eq!(grade([0.0, 1.0], &[]), 1.0);
        assert_eq!(grade([0.0, 0.0], &about("left", "large")), 0.0);
        assert!(grade([f32::NAN, 0.0], &[]).is_nan());
    }

    #[test]
    fn sizes_and_normal_films() {
        let findings = names(&["lung nodule"]);
        let nodule = Query {
            text: "nodule".to_owned(),
            findings: findings.clone(),
            at_least_mm: 20.0,
            ..Query::default()
        };
        let of = |severity| [Described { finding: "lung nodule", side: "", severity }];
        assert_eq!(nodule.grade(&findings, &[1.0], &of("2.5 cm")), 2.0);
        assert_eq!(nodule.grade(&findings, &[1.0], &of("14 mm")), 1.0);
        let normal = Query { text: "normal".to_owned(), normal: true, ..Query::default() };
        let two = names(&["a", "b"]);
        for (labels, grade) in [([0.0, 0.0], 2.0), ([0.0, 1.0], 0.0), ([0.0, -1.0], 1.0)] {
            assert_eq!(normal.grade(&two, &labels, &[]), grade);
        }
        assert!(normal.grade(&two, &[0.0, f32::NAN], &[]).is_nan());
    }

    #[test]
    fn a_finding_that_the_data_lack_is_named() {
        let error = queries("phantom19").unwrap()[0].check(&names(&["Mass"])).unwrap_err();
        let expected = "query \"There is a pleural effusion.\": found finding \"pleural effusion\", \
                        the data know: Mass";
        assert_eq!(error.to_string(), expected);
        assert!(queries("mimic").unwrap_err().to_string().ends_with("chexpert19, phantom19"));
    }
}
