//! What a data set can do as a whole: be cut, joined, relabelled and turned into a label matrix.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use ndarray::Array2;

use super::{Dataset, Report, Study};
use crate::metrics::Policy;
use crate::{Error, Result};

impl Dataset {
    /// A data set of `studies`, each with one label for each of `findings`.
    pub fn new(findings: Vec<String>, studies: Vec<Arc<Study>>) -> Result<Self> {
        if let Some(twice) = first_twice(findings.iter().map(String::as_str)) {
            let why = format!("found {twice:?} twice, expected every finding once");
            return Err(Error::value("findings", why));
        }
        for (row, study) in studies.iter().enumerate() {
            if study.labels.len() != findings.len() {
                let what = format!("labels of study {row}");
                return Err(Error::shape(
                    what,
                    format!("({},)", findings.len()),
                    &[study.labels.len()],
                ));
            }
        }
        Ok(Self { findings, studies })
    }

    /// How many studies there are.
    pub fn len(&self) -> usize {
        self.studies.len()
    }

    /// Whether there is no study.
    pub fn is_empty(&self) -> bool {
        self.studies.is_empty()
    }

    /// The studies at `indices`, in that order; the studies are shared, not copied.
    pub fn select(&self, indices: &[usize]) -> Result<Self> {
        let studies = indices.iter().map(|&index| self.study(index).cloned());
        Ok(Self { findings: self.findings.clone(), studies: studies.collect::<Result<_>>()? })
    }

    /// The study at `index`.
    pub fn study(&self, index: usize) -> Result<&Arc<Study>> {
        self.studies.get(index).ok_or_else(|| {
            let why = format!("found {index}, expected below {} studies", self.len());
            Error::value("index", why)
        })
    }

    /// The studies whose `split` is `name`.
    pub fn split_named(&self, name: &str) -> Result<Self> {
        let part: Vec<_> = self.studies.iter().filter(|s| s.split == name).cloned().collect();
        if part.is_empty() {
            let mut known: Vec<&str> = self.studies.iter().map(|s| s.split.as_str()).collect();
            known.sort_unstable();
            known.dedup();
            return Err(Error::value(
                "split",
                format!("found {name:?}, expected one of {known:?}"),
            ));
        }
        Ok(Self { findings: self.findings.clone(), studies: part })
    }

    /// How many different patients there are.
    pub fn patient_count(&self) -> usize {
        self.studies.iter().map(|study| study.patient.as_str()).collect::<HashSet<_>>().len()
    }

    /// The labels (studies, findings) as stored: 1, 0, −1 or NaN.
    pub fn labels(&self) -> Array2<f32> {
        Array2::from_shape_fn((self.len(), self.findings.len()), |(row, column)| {
            self.studies[row].labels[column]
        })
    }

    /// The labels (studies, findings) to learn from: 1, 0 or NaN.
    pub fn targets(&self, policy: Policy) -> Array2<f32> {
        self.labels().mapv_into(|label| policy.apply(label))
    }

    /// The same studies under other findings: for each new name, the old one that it stands for.
    ///
    /// A finding without a counterpart (`None`, or an old name that is not there) is unknown (NaN)
    /// in every study, so that sets with different label spaces can be joined.
    pub fn with_findings(&self, mapping: &[(String, Option<String>)]) -> Result<Self> {
        let columns: Vec<Option<usize>> = mapping
            .iter()
            .map(|(_, old)| {
                old.as_ref().and_then(|old| self.findings.iter().position(|f| f == old))
            })
            .collect();
        let relabelled = self.studies.iter().map(|study| {
            let label = |column: &Option<usize>| column.map_or(f32::NAN, |c| study.labels[c]);
            let labels = columns.iter().map(label).collect();
            Arc::new(Study { labels, ..Study::clone(study) })
        });
        Self::new(mapping.iter().map(|(new, _)| new.clone()).collect(), relabelled.collect())
    }

    /// The same studies with other reports, one text each, headings and all; none where it is empty.
    pub fn with_reports(&self, reports: &[String]) -> Result<Self> {
        if reports.len() != self.len() {
            let why = format!("found {}, expected one for each of {}", reports.len(), self.len());
            return Err(Error::value("reports", why));
        }
        let told = self.studies.iter().zip(reports).map(|(study, text)| {
            Arc::new(Study { report: Report::parse(text), ..Study::clone(study) })
        });
        Self::new(self.findings.clone(), told.collect())
    }

    /// One data set of several that share their findings.
    ///
    /// `names`, when given, are put before the study and patient ids (`nih/17`), so that patient
    /// 17 of one source is not taken for patient 17 of another.
    pub fn concat(parts: &[&Self], names: Option<&[String]>) -> Result<Self> {
        let Some(first) = parts.first() else {
            return Err(Error::value("parts", "found no data set, expected at least one"));
        };
        if let Some(names) = names.filter(|names| names.len() != parts.len()) {
            let why = format!("found {}, expected one for each of {}", names.len(), parts.len());
            return Err(Error::value("names", why));
        }
        let mut studies = Vec::with_capacity(parts.iter().map(|part| part.len()).sum());
        for (number, part) in parts.iter().enumerate() {
            if part.findings != first.findings {
                let why = format!(
                    "data set {number} has {:?}, expected {:?} as in data set 0; align them with with_findings",
                    part.findings, first.findings
                );
                return Err(Error::value("findings", why));
            }
            match names {
                None => studies.extend(part.studies.iter().cloned()),
                Some(names) => studies.extend(part.studies.iter().map(|study| {
                    let id = format!("{}/{}", names[number], study.id);
                    let patient = format!("{}/{}", names[number], study.patient);
                    Arc::new(Study { id, patient, ..Study::clone(study) })
                })),
            }
        }
        let mut rows = HashMap::with_capacity(studies.len());
        for (row, study) in studies.iter().enumerate() {
            if let Some(before) = rows.insert(study.id.as_str(), row) {
                let why = format!(
                    "studies {before} and {row} of the result have one id, expected unique ids; \
                     pass names to tell the sources apart"
                );
                return Err(Error::value("study", why));
            }
        }
        let joined = Self::new(first.findings.clone(), studies)?;
        joined.check_splits()?;
        Ok(joined)
    }
}

/// The first item that comes a second time.
pub(super) fn first_twice<'a>(mut items: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let mut seen = HashSet::new();
    items.find(|item| !seen.insert(*item))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ids: &[&str], labels: &[f32]) -> Dataset {
        let studies = ids.iter().zip(labels).map(|(id, &label)| {
            let (id, patient) = ((*id).to_owned(), (*id).to_owned());
            Arc::new(Study { id, patient, labels: vec![label], ..Study::default() })
        });
        Dataset::new(vec!["edema".to_owned()], studies.collect()).unwrap()
    }

    #[test]
    fn the_policy_decides_about_uncertain_labels_only() {
        let ds = set(&["a", "b", "c", "d"], &[1.0, 0.0, -1.0, f32::NAN]);
        assert_eq!(ds.targets(Policy::Ones).as_slice().unwrap()[..3], [1.0, 0.0, 1.0]);
        assert_eq!(ds.targets(Policy::Zeros).as_slice().unwrap()[..3], [1.0, 0.0, 0.0]);
        let ignored = ds.targets(Policy::Ignore);
        assert!(ignored[(2, 0)].is_nan() && ignored[(3, 0)].is_nan());
    }

    #[test]
    fn reports_are_replaced_one_by_one() {
        let ds = set(&["a", "b"], &[1.0, 0.0]);
        let told = ds.with_reports(&["FINDINGS: Edema. IMPRESSION: Edema.".into(), String::new()]);
        let told = told.unwrap();
        assert_eq!(told.studies[0].report.impression, "Edema.");
        assert_eq!(told.studies[1].report.text(), "");
        assert_eq!(told.studies[0].labels, ds.studies[0].labels);
        let error = ds.with_reports(&[String::new()]).unwrap_err().to_string();
        assert_eq!(error, "reports: found 1, expected one for each of 2");
    }

    #[test]
    fn a_foreign_finding_is_unknown_after_relabelling() {
        let ds = set(&["a"], &[1.0]);
        let mapping = [("oedema".to_owned(), Some("edema".to_owned())), ("mass".to_owned(), None)];
        let other = ds.with_findings(&mapping).unwrap();
        assert_eq!(other.studies[0].labels[0].to_bits(), 1.0f32.to_bits());
        assert!(other.studies[0].labels[1].is_nan());
    }

    #[test]
    fn joining_sources_with_equal_ids_needs_names() {
        let (a, b) = (set(&["1"], &[0.0]), set(&["1"], &[1.0]));
        let error = Dataset::concat(&[&a, &b], None).unwrap_err().to_string();
        assert!(error.starts_with("study: studies 0 and 1 of the result have one id"), "{error}");
        let names = ["x".to_owned(), "y".to_owned()];
        let both = Dataset::concat(&[&a, &b], Some(&names)).unwrap();
        assert_eq!((both.len(), both.patient_count()), (2, 2));
        assert_eq!(both.studies[1].patient, "y/1");
    }
}
