//! Measures of one finding: a name, a number, and the reason when there is none.
//!
//! Source: AUROC as the Mann–Whitney statistic with ties as one half (Hanley & `McNeil`,
//! Radiology 143, 1982); AUPRC as average precision without interpolation.

use super::calibration::{brier, expected_calibration_error};
use super::samples::Samples;
use super::threshold::Confusion;
use crate::{Error, Result};

/// A measure of scores against truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Area under the receiver operating characteristic.
    Auroc,
    /// Average precision.
    Auprc,
    /// Share of rows on the right side of the threshold.
    Accuracy,
    /// Share of positives at or above the threshold.
    Sensitivity,
    /// Share of negatives below the threshold.
    Specificity,
    /// Share of positives among rows at or above the threshold.
    Ppv,
    /// Share of negatives among rows below the threshold.
    Npv,
    /// Harmonic mean of sensitivity and positive predictive value.
    F1,
    /// Mean squared error of probabilities.
    Brier,
    /// Expected calibration error over bins of equal width.
    Ece,
}

/// What some measures need beside scores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Setting {
    /// A row is called positive when its score is at or above this.
    pub threshold: f64,
    /// How many bins of equal width the calibration error uses.
    pub bins: usize,
}

impl Default for Setting {
    fn default() -> Self {
        Self { threshold: 0.5, bins: 15 }
    }
}

const NAMES: [(&str, Measure); 10] = [
    ("auroc", Measure::Auroc),
    ("auprc", Measure::Auprc),
    ("accuracy", Measure::Accuracy),
    ("sensitivity", Measure::Sensitivity),
    ("specificity", Measure::Specificity),
    ("ppv", Measure::Ppv),
    ("npv", Measure::Npv),
    ("f1", Measure::F1),
    ("brier", Measure::Brier),
    ("ece", Measure::Ece),
];

impl Measure {
    /// The measure called `name`.
    pub fn parse(name: &str) -> Result<Self> {
        NAMES.iter().find(|(known, _)| *known == name).map(|(_, measure)| *measure).ok_or_else(
            || {
                let known: Vec<&str> = NAMES.iter().map(|(name, _)| *name).collect();
                Error::value(
                    "metric",
                    format!("got {name:?}, expected one of {}", known.join(", ")),
                )
            },
        )
    }

    /// Checks that `samples` can be measured at `setting`.
    pub fn check(self, samples: &Samples, setting: &Setting) -> Result<()> {
        if matches!(self, Self::Brier | Self::Ece) {
            let ones = samples.ones();
            if let Some((_, p, _)) =
                samples.weighted(&ones).find(|(_, p, _)| !(0.0..=1.0).contains(p))
            {
                let why = format!("found {p}, expected probabilities in [0, 1]");
                return Err(Error::value("y_score", why));
            }
        }
        if self == Self::Ece && setting.bins == 0 {
            return Err(Error::value("bins", "got 0, expected at least 1"));
        }
        if setting.threshold.is_nan() {
            return Err(Error::value("threshold", "got NaN, expected a number"));
        }
        Ok(())
    }

    /// The measure of `samples` with one weight for each original row; NaN where undefined.
    pub fn value(self, samples: &Samples, weights: &[f64], setting: &Setting) -> f64 {
        let counts = || Confusion::at(samples, weights, setting.threshold);
        match self {
            Self::Auroc => auroc(samples, weights),
            Self::Auprc => average_precision(samples, weights),
            Self::Accuracy => counts().accuracy(),
            Self::Sensitivity => counts().sensitivity(),
            Self::Specificity => counts().specificity(),
            Self::Ppv => counts().ppv(),
            Self::Npv => counts().npv(),
            Self::F1 => counts().f1(),
            Self::Brier => brier(samples, weights),
            Self::Ece => expected_calibration_error(samples, weights, setting.bins),
        }
    }

    /// Why [`Measure::value`] is NaN on all of `samples`.
    pub fn reason(self, samples: &Samples) -> &'static str {
        match self {
            Self::Ppv => "no row is at or above the threshold",
            Self::Npv => "no row is below the threshold",
            _ => samples.single_class().unwrap_or("undefined on these rows"),
        }
    }

    /// What a model without knowledge scores: chance, or always answering the base rate `p`.
    pub fn baseline(self, p: f64) -> f64 {
        match self {
            Self::Auroc => 0.5,
            Self::Auprc | Self::Ppv => p,
            Self::Npv => 1.0 - p,
            Self::Accuracy => p.max(1.0 - p),
            Self::F1 => 2.0 * p / (1.0 + p),
            Self::Brier => p * (1.0 - p),
            // Any value can be had by choice: a threshold, or the base rate itself.
            Self::Ece | Self::Sensitivity | Self::Specificity => f64::NAN,
        }
    }
}

fn auroc(samples: &Samples, weights: &[f64]) -> f64 {
    let (mut above, mut negatives, mut area) = (0.0, 0.0, 0.0);
    for run in samples.runs(weights) {
        area += run.negative * (above + 0.5 * run.positive);
        above += run.positive;
        negatives += run.negative;
    }
    if above == 0.0 || negatives == 0.0 { f64::NAN } else { area / (above * negatives) }
}

fn average_precision(samples: &Samples, weights: &[f64]) -> f64 {
    let (mut positives, mut negatives, mut sum) = (0.0, 0.0, 0.0);
    for run in samples.runs(weights) {
        positives += run.positive;
        negatives += run.negative;
        if run.positive > 0.0 {
            sum += run.positive * positives / (positives + negatives);
        }
    }
    if positives == 0.0 || negatives == 0.0 { f64::NAN } else { sum / positives }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::samples::Policy;
    use super::*;

    fn of(measure: Measure, labels: &[f64], scores: &[f64]) -> f64 {
        let samples = Samples::new(labels, scores, Policy::Ignore).unwrap();
        measure.value(&samples, &samples.ones(), &Setting::default())
    }

    #[test]
    fn auroc_counts_ties_as_half() {
        assert_eq!(of(Measure::Auroc, &[1.0, 0.0], &[0.5, 0.5]), 0.5);
        assert_eq!(of(Measure::Auroc, &[1.0, 0.0, 0.0], &[0.5, 0.5, 0.1]), 0.75);
    }

    #[test]
    fn a_single_class_is_nan_with_a_reason() {
        let samples = Samples::new(&[1.0, 1.0], &[0.1, 0.2], Policy::Ignore).unwrap();
        for measure in [Measure::Auroc, Measure::Auprc] {
            assert!(measure.value(&samples, &samples.ones(), &Setting::default()).is_nan());
            assert_eq!(measure.reason(&samples), "no negative row");
        }
    }

    /// Pairs won, by counting every pair.
    fn slow_auroc(rows: &[(bool, u8)]) -> f64 {
        let positives = rows.iter().filter(|r| r.0);
        let (mut won, mut pairs) = (0.0, 0.0);
        for p in positives {
            for n in rows.iter().filter(|r| !r.0) {
                pairs += 1.0;
                won += if p.1 > n.1 { 1.0 } else { f64::from(u8::from(p.1 == n.1)) / 2.0 };
            }
        }
        won / pairs
    }

    proptest! {
        #[test]
        fn auroc_is_the_share_of_pairs_won(rows in prop::collection::vec((any::<bool>(), 0u8..9), 1..60)) {
            let labels: Vec<f64> = rows.iter().map(|r| f64::from(u8::from(r.0))).collect();
            let scores: Vec<f64> = rows.iter().map(|r| f64::from(r.1)).collect();
            let (fast, slow) = (of(Measure::Auroc, &labels, &scores), slow_auroc(&rows));
            prop_assert!((fast - slow).abs() < 1e-12 || (fast.is_nan() && slow.is_nan()));
        }

        #[test]
        fn a_weight_of_two_is_a_row_twice(rows in prop::collection::vec((any::<bool>(), 0u8..9, 0u8..4), 1..40)) {
            let labels: Vec<f64> = rows.iter().map(|r| f64::from(u8::from(r.0))).collect();
            let scores: Vec<f64> = rows.iter().map(|r| f64::from(r.1) / 8.0).collect();
            let weights: Vec<f64> = rows.iter().map(|r| f64::from(r.2)).collect();
            let samples = Samples::new(&labels, &scores, Policy::Ignore).unwrap();
            let index: Vec<usize> = (0..rows.len()).flat_map(|i| vec![i; usize::from(rows[i].2)]).collect();
            let labels: Vec<f64> = index.iter().map(|&i| labels[i]).collect();
            let scores: Vec<f64> = index.iter().map(|&i| scores[i]).collect();
            for (name, measure) in NAMES {
                let weighted = measure.value(&samples, &weights, &Setting::default());
                let repeated = of(measure, &labels, &scores);
                let equal = (weighted - repeated).abs() < 1e-12 || (weighted.is_nan() && repeated.is_nan());
                prop_assert!(equal, "{} {} {}", name, weighted, repeated);
            }
        }
    }
}
