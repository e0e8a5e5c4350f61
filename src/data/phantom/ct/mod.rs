//! Synthetic chest CT with exact truth: volumes in HU, masks, labels, words, record, follow-up.
//!
//! A patient is drawn with habits and illnesses, findings follow from them, and what comes after
//! follows from both. The body is a set of smooth shapes into which trees of vessels and airways
//! grow; a scan is the mean of its slices' thickness, blurred and made noisy as a scanner does.
//! Only numbers are held: a volume is rendered when it is asked for. Nothing comes from a patient.

mod body;
mod bones;
mod clinic;
mod finding;
mod hazard;
mod lung;
mod middle;
mod nodule;
mod patient;
mod questions;
mod record;
mod render;
mod report;
mod scan;
mod scanner;
mod space;
mod tree;
mod tube;

use std::sync::Arc;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::data::{Attributes, Dataset, Study};
use crate::progress::Progress;
use crate::random::Random;
use crate::{Error, Result};

use clinic::Case;
pub use finding::FINDINGS;
use finding::{Finding, Lesion, Nodule};
pub use scan::{CtVolume, Scan};

/// The memory that one volume may fill, in bytes, its truth included.
const MEMORY: u64 = 8 << 30;

/// What to make.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CtOptions {
    /// How many studies, each of a patient of its own.
    pub studies: usize,
    /// Names the world that the patients come from.
    pub seed: u64,
    /// Rows and columns of a slice.
    pub size: usize,
    /// Slices over the height of the chest; absent: as many as the scanner's thickness gives.
    pub slices: Option<usize>,
    /// Share of scans with contrast medium.
    pub contrast: f64,
    /// Noise against that of the drawn dose; 0 for none.
    pub noise: f64,
    /// Share of the record's elements that are missing.
    pub missing: f64,
}

impl Default for CtOptions {
    fn default() -> Self {
        Self {
            studies: 100,
            seed: 0,
            size: 128,
            slices: Some(64),
            contrast: 0.1,
            noise: 1.0,
            missing: 0.05,
        }
    }
}

impl CtOptions {
    /// Fails, by name, on a value that no data set can be made with.
    pub fn validate(&self) -> Result<()> {
        let within = |what: &str, found: usize, low: usize, high: usize| {
            if (low..=high).contains(&found) {
                return Ok(());
            }
            Err(Error::value(what, format!("found {found}, expected {low} to {high}")))
        };
        within("studies", self.studies, 1, 10_000_000)?;
        within("size", self.size, 32, 1024)?;
        within("slices", self.slices.unwrap_or(64), 8, 2048)?;
        for (what, share) in [("contrast", self.contrast), ("missing", self.missing)] {
            if !(0.0..=1.0).contains(&share) {
                let why = format!("found {share}, expected a share from 0 to 1");
                return Err(Error::value(what, why));
            }
        }
        if !(0.0..=10.0).contains(&self.noise) {
            return Err(Error::value("noise", format!("found {}, expected 0 to 10", self.noise)));
        }
        let voxels = (self.size * self.size * self.slices.unwrap_or(600)) as u64;
        if voxels * 8 > MEMORY {
            let gib = (voxels * 8) as f64 / f64::from(1 << 30);
            let why = format!(
                "{} slices of {size} x {size} need about {gib:.1} GiB a volume, expected at most 8 GiB",
                self.slices.unwrap_or(600),
                size = self.size
            );
            return Err(Error::value("slices", why));
        }
        Ok(())
    }
}

/// Makes the studies; volumes and masks are rendered when they are read.
///
/// The first studies of a larger data set are those of a smaller one with the same seed.
pub fn generate(options: &CtOptions, progress: &Progress) -> Result<Dataset> {
    options.validate()?;
    progress.set_total(options.studies);
    let studies: Result<Vec<Arc<Study>>> = (0..options.studies as u64)
        .into_par_iter()
        .map(|number| {
            progress.check()?;
            let study = Arc::new(study(options, number));
            progress.tick(1)?;
            Ok(study)
        })
        .collect();
    Ok(Dataset { findings: FINDINGS.iter().map(ToString::to_string).collect(), studies: studies? })
}

fn study(options: &CtOptions, number: u64) -> Study {
    let case = Case::draw(options, number);
    let stream = |purpose: u64| Random::new(options.seed, &[number, purpose]);
    let attributes: Vec<Attributes> = (case.nodules.iter().map(Nodule::attributes))
        .chain(case.lesions.iter().map(Lesion::attributes))
        .collect();
    Study {
        id: format!("phantom-ct-{number:06}"),
        patient: format!("phantom-ct-patient-{number:06}"),
        report: report::report(&case, &mut stream(31)),
        labels: Finding::ALL.iter().map(|finding| f32::from(case.has(*finding))).collect(),
        attributes,
        questions: questions::questions(&case, &mut stream(32)),
        record: record::record(&case.patient, options.missing, &mut stream(33)),
        follow_up: hazard::follow_up(&case, &mut stream(34)),
        scans: vec![Arc::new(Scan::new(options, number, case))],
        ..Study::default()
    }
}

#[cfg(test)]
#[allow(clippy::float_cmp)] // labels are 0 or 1, exactly
mod tests;
