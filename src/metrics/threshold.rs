//! Counts at a threshold, and thresholds that meet a wish.

use super::samples::Samples;
use crate::{Error, Result};

/// Weights of the four outcomes when scores at or above a threshold are called positive.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Confusion {
    /// Positives called positive.
    pub true_positive: f64,
    /// Negatives called positive.
    pub false_positive: f64,
    /// Negatives called negative.
    pub true_negative: f64,
    /// Positives called negative.
    pub false_negative: f64,
}

impl Confusion {
    /// Counts `samples` at `threshold`.
    pub fn at(samples: &Samples, weights: &[f64], threshold: f64) -> Self {
        let mut counts = Self::default();
        for (truth, score, weight) in samples.weighted(weights) {
            match (truth, score >= threshold) {
                (true, true) => counts.true_positive += weight,
                (true, false) => counts.false_negative += weight,
                (false, true) => counts.false_positive += weight,
                (false, false) => counts.true_negative += weight,
            }
        }
        counts
    }

    /// Share of positives found; NaN without positives.
    pub fn sensitivity(&self) -> f64 {
        self.true_positive / (self.true_positive + self.false_negative)
    }

    /// Share of negatives left alone; NaN without negatives.
    pub fn specificity(&self) -> f64 {
        self.true_negative / (self.true_negative + self.false_positive)
    }

    /// Positive predictive value; NaN when nothing is called positive.
    pub fn ppv(&self) -> f64 {
        self.true_positive / (self.true_positive + self.false_positive)
    }

    /// Negative predictive value; NaN when nothing is called negative.
    pub fn npv(&self) -> f64 {
        self.true_negative / (self.true_negative + self.false_negative)
    }

    /// Harmonic mean of sensitivity and positive predictive value; NaN without any positive.
    pub fn f1(&self) -> f64 {
        let twice = 2.0 * self.true_positive;
        twice / (twice + self.false_positive + self.false_negative)
    }

    /// Share of rows called rightly; NaN without rows.
    pub fn accuracy(&self) -> f64 {
        let right = self.true_positive + self.true_negative;
        right / (right + self.false_positive + self.false_negative)
    }
}

/// The threshold with the largest sensitivity + specificity − 1; the highest of equals.
///
/// Source: Youden, "Index for rating diagnostic tests", Cancer 3, 1950.
pub fn youden(samples: &Samples) -> Result<f64> {
    let (positives, negatives) = totals(samples)?;
    let ones = samples.ones();
    let (mut found, mut alarms) = (0.0, 0.0);
    let mut best = (f64::NEG_INFINITY, f64::NAN);
    for run in samples.runs(&ones) {
        found += run.positive;
        alarms += run.negative;
        // In whole numbers, so that equal operating points compare as equal.
        let index = found * negatives - alarms * positives;
        if index > best.0 {
            best = (index, run.score);
        }
    }
    Ok(best.1)
}

/// The highest threshold whose sensitivity is at least `wish`.
pub fn threshold_at_sensitivity(samples: &Samples, wish: f64) -> Result<f64> {
    check_share("sensitivity", wish)?;
    let (positives, _) = totals(samples)?;
    let ones = samples.ones();
    let mut found = 0.0;
    let mut last = f64::NAN;
    for run in samples.runs(&ones) {
        found += run.positive;
        last = run.score;
        if found / positives >= wish {
            break;
        }
    }
    Ok(last)
}

/// The lowest threshold whose specificity is at least `wish`.
pub fn threshold_at_specificity(samples: &Samples, wish: f64) -> Result<f64> {
    check_share("specificity", wish)?;
    let (_, negatives) = totals(samples)?;
    let ones = samples.ones();
    let mut alarms = 0.0;
    let mut lowest = None;
    for run in samples.runs(&ones) {
        alarms += run.negative;
        if (negatives - alarms) / negatives < wish {
            // Even the highest score is a negative's: only a threshold above all scores will do.
            return Ok(lowest.unwrap_or_else(|| run.score.next_up()));
        }
        lowest = Some(run.score);
    }
    Ok(lowest.unwrap_or(f64::NAN))
}

fn totals(samples: &Samples) -> Result<(f64, f64)> {
    if let Some(reason) = samples.single_class() {
        return Err(Error::value("y_true", format!("{reason}; a threshold needs both")));
    }
    let positives = samples.positives();
    Ok((positives as f64, (samples.len() - positives) as f64))
}

fn check_share(what: &str, wish: f64) -> Result<()> {
    if wish > 0.0 && wish <= 1.0 {
        return Ok(());
    }
    Err(Error::value(what, format!("got {wish}, expected a share in (0, 1]")))
}

#[cfg(test)]
mod tests {
    use super::super::samples::Policy;
    use super::*;

    fn samples() -> Samples {
        let labels = [0.0, 0.0, 1.0, 0.0, 1.0, 1.0];
        Samples::new(&labels, &[0.1, 0.2, 0.3, 0.4, 0.8, 0.9], Policy::Ignore).unwrap()
    }

    #[test]
    fn youden_takes_the_highest_of_equal_thresholds() {
        // 0.8: sensitivity 2/3, specificity 1; 0.3: 1 and 2/3. Equal, so the higher.
        assert_eq!(youden(&samples()).unwrap(), 0.8);
    }

    #[test]
    fn wishes_are_met_and_not_overshot() {
        assert_eq!(threshold_at_sensitivity(&samples(), 0.9).unwrap(), 0.3);
        assert_eq!(threshold_at_sensitivity(&samples(), 0.5).unwrap(), 0.8);
        assert_eq!(threshold_at_specificity(&samples(), 0.6).unwrap(), 0.3);
        assert_eq!(threshold_at_specificity(&samples(), 1.0).unwrap(), 0.8);
    }

    #[test]
    fn full_specificity_may_need_a_threshold_above_all_scores() {
        let samples = Samples::new(&[0.0, 1.0], &[0.9, 0.1], Policy::Ignore).unwrap();
        let threshold = threshold_at_specificity(&samples, 1.0).unwrap();
        assert!(threshold > 0.9);
        assert_eq!(Confusion::at(&samples, &[1.0, 1.0], threshold).specificity(), 1.0);
    }

    #[test]
    fn one_class_has_no_threshold() {
        let samples = Samples::new(&[1.0], &[0.9], Policy::Ignore).unwrap();
        let error = youden(&samples).unwrap_err().to_string();
        assert_eq!(error, "y_true: no negative row; a threshold needs both");
    }
}
