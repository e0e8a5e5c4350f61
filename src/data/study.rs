//! A study: the films, the words and the truth about one visit of one patient.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use ndarray::Array2;
use serde::{Deserialize, Serialize};

use super::phantom::ct::Scan;
use crate::imaging::{Image, View};

/// Where the pixels of a film are.
#[derive(Clone, Debug)]
pub enum Pixels {
    /// In a file that [`crate::imaging::read`] opens.
    File(PathBuf),
    /// In memory.
    Memory(Arc<Image>),
}

/// One film of a study.
#[derive(Clone, Debug)]
pub struct Film {
    /// Where the pixels are.
    pub pixels: Pixels,
    /// The view as the manifest states it; [`View::Unknown`] leaves it to the file.
    pub view: View,
}

/// The sections of a report; a section that is not there is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Report {
    /// Why the study was made.
    pub indication: String,
    /// What is seen.
    pub findings: String,
    /// What it means.
    pub impression: String,
}

impl Report {
    /// The sections that have text, joined by a space.
    pub fn text(&self) -> String {
        joined(self.sections())
    }
}

/// Sections of a report as one text: those that have some, joined by a space.
pub fn joined<'a>(sections: impl IntoIterator<Item = &'a str>) -> String {
    let filled: Vec<&str> =
        sections.into_iter().map(str::trim).filter(|text| !text.is_empty()).collect();
    filled.join(" ")
}

/// A box around a finding, in pixels of the original film: left, top, right, bottom.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FindingBox {
    /// What is in the box.
    pub finding: String,
    /// Left edge x0, top edge y0, right edge x1, bottom edge y1, in original pixels.
    pub corners: [f32; 4],
}

/// The exact extent of a finding or structure on the original film.
#[derive(Clone, Debug)]
pub struct FindingMask {
    /// What is masked.
    pub finding: String,
    /// True where it is (rows, columns); a file is read on demand.
    pub mask: MaskPixels,
}

/// Where a mask is.
#[derive(Clone, Debug)]
pub enum MaskPixels {
    /// In an image file; non-zero is inside.
    File(PathBuf),
    /// In memory.
    Memory(Arc<Array2<bool>>),
}

/// A finding said more closely.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Attributes {
    /// What is described.
    pub finding: String,
    /// `left`, `right`, `bilateral` or empty, from the patient's point of view.
    pub side: String,
    /// `upper`, `middle`, `lower`, … or empty.
    pub zone: String,
    /// `small`, `mild`, `moderate`, `large`, `severe`, a size as `12 mm`, … or empty.
    pub severity: String,
    /// How dense a nodule is (`solid`, `part-solid`, `ground glass`), or empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub attenuation: String,
    /// How a nodule ends (`smooth`, `lobulated`, `spiculated`, `poorly defined`), or empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub margin: String,
}

/// A question about the study and its answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Question {
    /// What is asked.
    pub question: String,
    /// What an expert answered.
    pub answer: String,
    /// `closed` (yes or no, or one of a few), `open`, or empty when not said.
    pub form: String,
    /// What it asks for (`presence`, `size`, …), or empty.
    pub topic: String,
}

/// What came after the visit, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FollowUp {
    /// What was looked for (`lung cancer`, …).
    pub outcome: String,
    /// Years from the visit to the event, or to the last time that there was none.
    pub years: f64,
    /// Whether it came.
    pub event: bool,
}

impl FollowUp {
    /// For each year t = 1 … `horizon`: whether the event came within t years, and whether that
    /// is known.
    ///
    /// An event is known for all years, its absence for those that were lived through whole.
    pub fn targets(&self, horizon: usize) -> (Vec<bool>, Vec<bool>) {
        let within = |year: usize| self.event && self.years <= year as f64;
        let known = |year: usize| self.event || self.years >= year as f64;
        ((1..=horizon).map(within).collect(), (1..=horizon).map(known).collect())
    }
}

/// A value of the clinical record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// A number with the unit that its column name states.
    Number(f64),
    /// A word.
    Text(String),
}

/// The clinical record: column name to value; what is missing is absent.
pub type Record = BTreeMap<String, Value>;

/// One visit of one patient. Absent truth is empty, never guessed.
#[derive(Clone, Debug, Default)]
pub struct Study {
    /// Name of the study, unique in its data set.
    pub id: String,
    /// Name of the patient; what splits and intervals go by.
    pub patient: String,
    /// The films, the frontal one first.
    pub films: Vec<Film>,
    /// The report.
    pub report: Report,
    /// One value for each of the data set's findings: 1 present, 0 absent, −1 uncertain, NaN unknown.
    pub labels: Vec<f32>,
    /// Boxes on the first film.
    pub boxes: Vec<FindingBox>,
    /// Masks on the first film.
    pub masks: Vec<FindingMask>,
    /// Findings said more closely.
    pub attributes: Vec<Attributes>,
    /// Questions with their answers.
    pub questions: Vec<Question>,
    /// The clinical record.
    pub record: Record,
    /// What came after the visit.
    pub follow_up: Vec<FollowUp>,
    /// Volumes of a phantom, rendered when they are read.
    pub scans: Vec<Arc<Scan>>,
    /// The part of the data set that the study belongs to (`train`, …); empty when not said.
    pub split: String,
}

impl Study {
    /// What is known to be there (1) or not (0), by name: the labels of `findings`, and what
    /// attributes describe, such as devices, which labels know only together.
    pub fn facts(&self, findings: &[String]) -> Vec<(String, f32)> {
        let labels = findings.iter().cloned().zip(self.labels.iter().copied());
        let described = self.attributes.iter().map(|about| (about.finding.clone(), 1.0));
        labels.chain(described).collect()
    }
}

impl Report {
    /// The sections that say what is seen and what it means.
    pub fn sections(&self) -> [&str; 2] {
        [&self.findings, &self.impression]
    }
}

/// Studies that share one list of findings.
#[derive(Clone, Debug, Default)]
pub struct Dataset {
    /// What the columns of every study's labels mean.
    pub findings: Vec<String>,
    /// The studies, in the manifest's order.
    pub studies: Vec<Arc<Study>>,
}
