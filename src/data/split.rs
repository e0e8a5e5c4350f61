//! Parts of a data set that share no patient.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{Dataset, Study};
use crate::{Error, Result, files};

/// What is kept together when a data set is split.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum By {
    /// All studies of a patient; the only split whose scores mean anything on a clinic's data.
    #[default]
    Patient,
    /// One study; for sets where every study is known to be another patient.
    Study,
}

impl By {
    /// The grouping named `patient` or `study`.
    pub fn named(name: &str) -> Result<Self> {
        match name {
            "patient" => Ok(Self::Patient),
            "study" => Ok(Self::Study),
            _ => {
                let why = format!("found {name:?}, expected \"patient\" or \"study\"");
                Err(Error::value("by", why))
            }
        }
    }
}

impl Dataset {
    /// The indices of each named part, in the data set's order.
    ///
    /// Patients are ranked by a hash of `seed` and their id and the ranking is cut, so the parts
    /// depend on neither the order of the manifest nor the machine.
    pub fn split(
        &self,
        by: By,
        fractions: &[(String, f64)],
        seed: u64,
    ) -> Result<Vec<(String, Vec<usize>)>> {
        let total = checked_sum(fractions)?;
        let mut groups: BTreeMap<(String, &str), Vec<usize>> = BTreeMap::new();
        for (row, study) in self.studies.iter().enumerate() {
            let name = match by {
                By::Patient => study.patient.as_str(),
                By::Study => study.id.as_str(),
            };
            let rank = files::sha256_hex(format!("{seed}\n{name}").as_bytes());
            groups.entry((rank, name)).or_default().push(row);
        }
        let count = groups.len();
        let mut ranked = groups.into_values();
        let (mut parts, mut before, mut taken) = (Vec::with_capacity(fractions.len()), 0.0, 0);
        for (name, fraction) in fractions {
            before += fraction / total;
            let until = ((before * count as f64).round() as usize).min(count);
            let mut rows: Vec<usize> = ranked.by_ref().take(until - taken).flatten().collect();
            if rows.is_empty() {
                let why =
                    format!("found {fraction} of {count} groups, which leaves {name:?} empty");
                return Err(Error::value("fractions", why));
            }
            rows.sort_unstable();
            taken = until;
            parts.push((name.clone(), rows));
        }
        Ok(parts)
    }

    /// Fails when one patient has studies in two splits of this data set.
    pub fn check_splits(&self) -> Result<()> {
        let Some((one, two)) = split_conflict(self.studies.iter().map(AsRef::as_ref)) else {
            return Ok(());
        };
        let (there, here) = (&self.studies[one].split, &self.studies[two].split);
        let why = format!(
            "studies {one} and {two} (counting from 0) are of one patient, found in {there:?} and \
             in {here:?}, expected one split for each patient"
        );
        Err(Error::value("split", why))
    }
}

/// Two studies of one patient in different splits, when there are any.
pub(super) fn split_conflict<'a>(
    studies: impl Iterator<Item = &'a Study>,
) -> Option<(usize, usize)> {
    let mut first: HashMap<&str, (usize, &str)> = HashMap::new();
    let named = studies.enumerate().filter(|(_, study)| !study.split.is_empty());
    for (row, study) in named {
        let (before, split) = *first.entry(&study.patient).or_insert((row, &study.split));
        if split != study.split {
            return Some((before, row));
        }
    }
    None
}

/// Fails when one patient is in two of the named `parts`.
pub fn check_disjoint(parts: &[(&str, &Dataset)]) -> Result<()> {
    let mut first: HashMap<&str, (usize, usize)> = HashMap::new();
    for (number, (name, part)) in parts.iter().enumerate() {
        for (row, study) in part.studies.iter().enumerate() {
            let (before, there) = *first.entry(&study.patient).or_insert((number, row));
            if before != number {
                let other = parts[before].0;
                let why = format!(
                    "study {there} of {other:?} and study {row} of {name:?} are of one patient, \
                     expected no patient in two parts"
                );
                return Err(Error::value("split", why));
            }
        }
    }
    Ok(())
}

/// How many patients are in both data sets.
pub fn shared_patients(a: &Dataset, b: &Dataset) -> usize {
    let patients = |part: &Dataset| -> HashSet<String> {
        part.studies.iter().map(|study| study.patient.clone()).collect()
    };
    patients(a).intersection(&patients(b)).count()
}

fn checked_sum(fractions: &[(String, f64)]) -> Result<f64> {
    let sum: f64 = fractions.iter().map(|(_, fraction)| fraction).sum();
    let positive = fractions.iter().all(|(_, fraction)| *fraction > 0.0);
    if positive && (sum - 1.0).abs() < 1e-6 {
        return Ok(sum);
    }
    let found: Vec<f64> = fractions.iter().map(|(_, fraction)| *fraction).collect();
    let why = format!("found {found:?}, expected positive numbers that add up to 1");
    Err(Error::value("fractions", why))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;

    fn set(patients: &[u16]) -> Dataset {
        let study = |(row, patient): (usize, &u16)| {
            Arc::new(Study {
                id: row.to_string(),
                patient: patient.to_string(),
                ..Study::default()
            })
        };
        Dataset { findings: vec![], studies: patients.iter().enumerate().map(study).collect() }
    }

    fn three() -> Vec<(String, f64)> {
        [("train", 0.6), ("val", 0.2), ("test", 0.2)].map(|(n, f)| (n.to_owned(), f)).to_vec()
    }

    proptest! {
        #[test]
        fn parts_cover_everything_once_and_share_no_patient(
            patients in prop::collection::vec(0u16..400, 100..300), seed in 0u64..99
        ) {
            let ds = set(&patients);
            let parts = ds.split(By::Patient, &three(), seed).unwrap();
            let mut all: Vec<usize> = parts.iter().flat_map(|(_, rows)| rows.clone()).collect();
            all.sort_unstable();
            prop_assert_eq!(all, (0..patients.len()).collect::<Vec<_>>());
            let sets: Vec<Dataset> =
                parts.iter().map(|(_, rows)| ds.select(rows).unwrap()).collect();
            let named: Vec<(&str, &Dataset)> =
                parts.iter().map(|(name, _)| name.as_str()).zip(&sets).collect();
            prop_assert!(check_disjoint(&named).is_ok());
        }

        #[test]
        fn a_patients_part_does_not_depend_on_the_order_of_rows(seed in 0u64..99) {
            let forth: Vec<u16> = (0..50).collect();
            let back: Vec<u16> = (0..50).rev().collect();
            let names = |order: &[u16]| -> Vec<Vec<u16>> {
                let parts = set(order).split(By::Patient, &three(), seed).unwrap();
                parts.iter().map(|(_, rows)| {
                    let mut names: Vec<u16> = rows.iter().map(|&r| order[r]).collect();
                    names.sort_unstable();
                    names
                }).collect()
            };
            prop_assert_eq!(names(&forth), names(&back));
        }
    }

    #[test]
    fn a_patient_in_two_splits_is_named_by_rows_not_by_id() {
        let mut ds = set(&[77, 5, 77]);
        for (row, split) in ["train", "train", "test"].iter().enumerate() {
            Arc::make_mut(&mut ds.studies[row]).split = (*split).to_owned();
        }
        let error = ds.check_splits().unwrap_err().to_string();
        assert!(error.starts_with("split: studies 0 and 2 (counting from 0) are of one patient"));
        assert!(!error.contains("77"));
    }

    #[test]
    fn fractions_that_make_no_sense_are_refused() {
        let ds = set(&[1, 2, 3]);
        let half = [("a".to_owned(), 0.5)];
        let error = ds.split(By::Patient, &half, 0).unwrap_err().to_string();
        assert_eq!(error, "fractions: found [0.5], expected positive numbers that add up to 1");
        let thin = [("a".to_owned(), 0.99), ("b".to_owned(), 0.01)];
        let error = ds.split(By::Patient, &thin, 0).unwrap_err().to_string();
        assert!(error.contains("leaves \"b\" empty"), "{error}");
    }
}
