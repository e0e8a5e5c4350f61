//! The clinical record: the 47 elements that M3FM reads beside a scan.
//!
//! Source: Niu et al. 2025, "Medical multimodal multitask foundation model for lung cancer
//! screening" (M3FM), Fig. 3b: demographics, smoking, illnesses and cancers with the age at
//! diagnosis, and lung cancer in the family.

use super::super::super::{Record, Value};
use super::patient::{CANCERS, DISEASES, FAMILY, Patient, Smoking};
use crate::random::Random;

/// The record of a patient; `missing` of its elements, but never age and gender, are absent.
///
/// Illnesses and cancers hold the age at diagnosis, 0 for never; relatives hold 1 or 0.
pub(super) fn record(patient: &Patient, missing: f64, random: &mut Random) -> Record {
    let mut record = Record::new();
    let mut put = |name: String, value: Value| {
        // Drawn for every element, so that the share moves none but its own.
        let kept = !random.chance(missing);
        if kept || name == "age_years" || name == "gender" {
            record.insert(name, value);
        }
    };
    let word = |word: &str| Value::Text(word.to_owned());
    let words = [
        ("gender", if patient.female { "female" } else { "male" }),
        ("race", patient.race),
        (
            "ethnicity",
            if patient.hispanic { "Hispanic or Latino" } else { "not Hispanic or Latino" },
        ),
        ("education", patient.education),
        (
            "smoking_status",
            match patient.smoking {
                Smoking::Never => "never",
                Smoking::Former => "former",
                Smoking::Current => "current",
            },
        ),
    ];
    let numbers = [
        ("age_years", patient.age),
        ("height_in", (patient.height_cm / 2.54).round()),
        ("weight_lb", (patient.weight_kg / 0.453_592).round()),
        ("pack_years", patient.pack_years),
        ("cigarettes_per_day", patient.cigarettes),
        ("years_since_quit", patient.quit_years),
    ];
    for (name, value) in &words {
        put((*name).to_owned(), word(value));
    }
    for (name, value) in &numbers {
        put((*name).to_owned(), Value::Number(*value));
    }
    for ((name, ..), at) in DISEASES.iter().zip(patient.diseases) {
        put(format!("{name}_at_age"), Value::Number(at.unwrap_or(0.0)));
    }
    for ((name, _), at) in CANCERS.iter().zip(patient.cancers) {
        put(format!("{name}_cancer_at_age"), Value::Number(at.unwrap_or(0.0)));
    }
    for ((name, _), ill) in FAMILY.iter().zip(patient.family) {
        put(format!("lung_cancer_{name}"), Value::Number(f64::from(ill)));
    }
    record
}
