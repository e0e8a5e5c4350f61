//! Synthetic frontal films with exact truth: pictures, masks, boxes, labels, words, record.
//!
//! A film is a sum of line integrals through an analytic thorax, sent through transmission,
//! scatter, quantum noise and a display curve. Nothing of it comes from a patient, so its truth
//! is exact and it may be shown to anyone; it is for learning, testing and teaching, and says
//! nothing about how a model does on real films.

mod body;
mod bones;
mod canvas;
mod clinic;
pub mod ct;
mod devices;
mod film;
mod finding;
mod lesions;
mod noise;
mod phrases;
mod pleura;
mod questions;
mod record;
mod render;
mod report;
mod scene;
mod vessels;

use std::sync::Arc;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{Attributes, Dataset, Film, Pixels, Study};
use crate::imaging::View;
use crate::progress::Progress;
use crate::random::Random;
use crate::{Error, Result};

use body::Build;
use clinic::{Case, Patient};
pub use finding::FINDINGS;
use finding::{Device, Finding, Lesion};
pub use report::{negation, sentence};

/// The memory that one call may fill, in bytes.
const MEMORY: u64 = 8 << 30;

/// What to make.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PhantomOptions {
    /// How many studies; a patient has one to three.
    pub studies: usize,
    /// Names the world that the patients come from.
    pub seed: u64,
    /// Edge of the square films in pixels.
    pub size: usize,
    /// All films in this view; [`View::Unknown`] leaves it to the patients.
    pub view: View,
    /// Share of present findings that the report is uncertain about (label −1).
    pub uncertain: f64,
    /// Share of labels that are unknown (NaN) and of which the report is silent.
    pub missing: f64,
    /// Share of patients without any finding.
    pub normal_share: f64,
    /// Whether the masks also hold `right lung`, `left lung` and `heart`.
    pub structures: bool,
}

impl Default for PhantomOptions {
    fn default() -> Self {
        Self {
            studies: 1000,
            seed: 0,
            size: 128,
            view: View::Unknown,
            uncertain: 0.0,
            missing: 0.0,
            normal_share: 0.36,
            structures: true,
        }
    }
}

impl PhantomOptions {
    /// Fails, by name, on a value that no data set can be made with.
    pub fn validate(&self) -> Result<()> {
        let share = |what: &str, value: f64| {
            if (0.0..=1.0).contains(&value) {
                return Ok(());
            }
            Err(Error::value(what, format!("found {value}, expected a share from 0 to 1")))
        };
        if !(32..=2048).contains(&self.size) {
            let why = format!("found {} pixels, expected 32 to 2048", self.size);
            return Err(Error::value("size", why));
        }
        if self.studies == 0 {
            return Err(Error::value("studies", "found 0, expected at least 1"));
        }
        share("uncertain", self.uncertain)?;
        share("missing", self.missing)?;
        share("normal_share", self.normal_share)?;
        if self.view == View::Lateral {
            return Err(Error::value("view", "found LATERAL, expected PA, AP or UNKNOWN"));
        }
        let bytes = self.bytes();
        if bytes > MEMORY {
            let gib = |bytes: u64| bytes as f64 / (1u64 << 30) as f64;
            let why = format!(
                "{} studies of {} x {} pixels need about {:.1} GiB, expected at most {:.0} GiB: \
                 ask for fewer or smaller films",
                self.studies,
                self.size,
                self.size,
                gib(bytes),
                gib(MEMORY)
            );
            return Err(Error::value("studies", why));
        }
        Ok(())
    }

    /// About how much memory the data set takes: films, masks, words.
    fn bytes(&self) -> u64 {
        let masks = 1 + if self.structures { 3 } else { 0 };
        let pixels = (self.size * self.size) as u64;
        (self.studies as u64).saturating_mul(pixels * (4 + masks) + 4096)
    }
}

/// Makes the studies, in parallel; the same options give the same studies on every machine.
///
/// The first studies of a larger data set are those of a smaller one with the same seed.
pub fn generate(options: &PhantomOptions, progress: &Progress) -> Result<Dataset> {
    options.validate()?;
    progress.set_total(options.studies);
    let mut visits = Vec::with_capacity(options.studies);
    let mut number = 0;
    while visits.len() < options.studies {
        let patient = Patient::draw(options.seed, number, options.normal_share);
        let left = options.studies - visits.len();
        visits.extend((0..patient.visits.min(left)).map(|visit| (patient.clone(), visit)));
        number += 1;
    }
    let studies: Result<Vec<Arc<Study>>> = visits
        .par_iter()
        .enumerate()
        .map(|(index, (patient, visit))| {
            progress.check()?;
            let study = study(options, index, patient, *visit);
            progress.tick(1)?;
            Ok(Arc::new(study))
        })
        .collect();
    let findings = FINDINGS.iter().map(ToString::to_string).collect();
    Ok(Dataset { findings, studies: studies? })
}

fn study(options: &PhantomOptions, index: usize, patient: &Patient, visit: usize) -> Study {
    let mut case = clinic::visit(options.seed, patient, visit);
    match options.view {
        View::Pa => case.portable = false,
        View::Ap => case.portable = true,
        View::Lateral | View::Unknown => {}
    }
    let stream = |purpose: u64| Random::new(options.seed, &[patient.number, purpose, visit as u64]);
    let build = Build::draw(
        patient.female,
        patient.age,
        &mut Random::new(options.seed, &[patient.number, 2]),
    );
    let film = render::render(&case, options.size, build, options.structures, &mut stream(4));
    let labels = labels(options, &case, &mut stream(5));
    let (record, indication) = record::record(&case, &mut stream(6));
    let questions = questions::questions(&case, &labels, &mut stream(8));
    let report = report::report(&case, &labels, indication, &mut stream(7));
    Study {
        id: format!("phantom-{index:06}"),
        patient: format!("phantom-patient-{:06}", patient.number),
        films: vec![Film { view: film.image.view, pixels: Pixels::Memory(Arc::new(film.image)) }],
        report,
        labels,
        boxes: film.boxes,
        masks: film.masks,
        attributes: attributes(&case),
        questions,
        record,
        ..Study::default()
    }
}

/// The truth in the order of [`FINDINGS`], with the doubts and gaps that were asked for.
fn labels(options: &PhantomOptions, case: &Case, random: &mut Random) -> Vec<f32> {
    let label = |finding: Finding| {
        let present = case.has(finding);
        // Both are drawn for every label, so that one option does not move the other.
        let (doubt, gap) = (random.chance(options.uncertain), random.chance(options.missing));
        match (gap, present) {
            (true, _) => f32::NAN,
            // Nobody is in doubt about a device.
            (false, true) if doubt && finding != Finding::Devices => -1.0,
            (false, present) => f32::from(present),
        }
    };
    Finding::ALL.into_iter().map(label).collect()
}

/// Lesions in the words of [`FINDINGS`], then devices in their own.
fn attributes(case: &Case) -> Vec<Attributes> {
    let lesions = case.lesions.iter().map(Lesion::attributes);
    lesions.chain(case.devices.iter().map(Device::attributes)).collect()
}

#[cfg(test)]
#[allow(clippy::float_cmp)] // labels are 0, 1, -1 or NaN, exactly
mod tests;
