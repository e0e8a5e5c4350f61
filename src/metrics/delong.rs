//! Variance of an AUROC, and the test of two AUROCs on the same rows.
//!
//! Source: `DeLong` et al., Biometrics 44, 1988, with the mid-rank algorithm of Sun & Xu,
//! IEEE Signal Processing Letters 21, 2014. Rows count as independent: with several rows of
//! one patient, take [`super::bootstrap`] instead.

use super::normal::{normal_quantile, two_sided_p};
use super::samples::{Policy, falling};
use crate::{Error, Result};

/// An AUROC with its variance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DeLong {
    /// The AUROC.
    pub auroc: f64,
    /// Its variance.
    pub variance: f64,
}

impl DeLong {
    /// The normal interval of `level`, cut to [0, 1].
    pub fn interval(&self, level: f64) -> [f64; 2] {
        let half = normal_quantile(0.5 + level / 2.0) * self.variance.sqrt();
        [(self.auroc - half).max(0.0), (self.auroc + half).min(1.0)]
    }
}

/// Two AUROCs compared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DeLongTest {
    /// The first AUROC.
    pub first: DeLong,
    /// The second AUROC.
    pub second: DeLong,
    /// Their covariance.
    pub covariance: f64,
    /// The standardised difference, first − second.
    pub z: f64,
    /// Two-sided p of equal AUROCs.
    pub p: f64,
}

/// The AUROC of `scores` with its variance; needs two rows of each class.
pub fn delong(labels: &[f64], scores: &[f64], policy: Policy) -> Result<DeLong> {
    let (positive, negative) = split(labels, scores, policy, "y_score")?;
    Ok(Placements::new(&positive, &negative).summary())
}

/// Compares two scores of the same rows.
pub fn delong_test(
    labels: &[f64],
    first: &[f64],
    second: &[f64],
    policy: Policy,
) -> Result<DeLongTest> {
    let (a_positive, a_negative) = split(labels, first, policy, "y_score_a")?;
    let (b_positive, b_negative) = split(labels, second, policy, "y_score_b")?;
    let a = Placements::new(&a_positive, &a_negative);
    let b = Placements::new(&b_positive, &b_negative);
    let covariance = covariance(&a.positive, &b.positive) / a.positive.len() as f64
        + covariance(&a.negative, &b.negative) / a.negative.len() as f64;
    let (first, second) = (a.summary(), b.summary());
    let variance = (first.variance + second.variance - 2.0 * covariance).max(0.0);
    let difference = first.auroc - second.auroc;
    // Scores that rank alike differ by rounding only, in the difference and in its variance.
    let z = if difference.abs() < 1e-12 { 0.0 } else { difference / variance.sqrt() };
    Ok(DeLongTest { first, second, covariance, z, p: two_sided_p(z) })
}

fn split(
    labels: &[f64],
    scores: &[f64],
    policy: Policy,
    what: &str,
) -> Result<(Vec<f64>, Vec<f64>)> {
    if labels.len() != scores.len() {
        let expected = format!("({},), as many as y_true", labels.len());
        return Err(Error::shape(what, expected, &[scores.len()]));
    }
    let (mut positive, mut negative) = (Vec::new(), Vec::new());
    for (row, (&label, &score)) in labels.iter().zip(scores).enumerate() {
        let Some(truth) = policy.truth(label)? else { continue };
        if score.is_nan() {
            return Err(Error::value(what, format!("row {row} is NaN, expected a number")));
        }
        if truth { positive.push(score) } else { negative.push(score) }
    }
    if positive.len() < 2 || negative.len() < 2 {
        let (p, n) = (positive.len(), negative.len());
        let why = format!("{p} positive and {n} negative rows, expected at least 2 of each");
        return Err(Error::value("y_true", why));
    }
    Ok((positive, negative))
}

/// For each row, the share of the other class that it beats (positives) or is beaten by.
struct Placements {
    positive: Vec<f64>,
    negative: Vec<f64>,
}

impl Placements {
    fn new(positive: &[f64], negative: &[f64]) -> Self {
        let (p, n) = (positive.len() as f64, negative.len() as f64);
        let all = midranks(&[positive, negative].concat());
        let own_p = midranks(positive);
        let own_n = midranks(negative);
        let positive = all.iter().zip(&own_p).map(|(all, own)| (all - own) / n).collect();
        let negative = all[own_p.len()..].iter().zip(&own_n);
        Self { positive, negative: negative.map(|(all, own)| 1.0 - (all - own) / p).collect() }
    }

    fn summary(&self) -> DeLong {
        let variance = covariance(&self.positive, &self.positive) / self.positive.len() as f64
            + covariance(&self.negative, &self.negative) / self.negative.len() as f64;
        DeLong { auroc: mean(&self.positive), variance }
    }
}

/// Ranks from 1, equal values sharing the mean of their ranks.
fn midranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_unstable_by(|&a, &b| falling(values[b], values[a]));
    let mut ranks = vec![0.0; values.len()];
    let mut start = 0;
    while start < order.len() {
        let value = values[order[start]];
        let end = start
            + order[start..].iter().take_while(|&&i| falling(values[i], value).is_eq()).count();
        for &i in &order[start..end] {
            ranks[i] = 0.5 * (start + end + 1) as f64;
        }
        start = end;
    }
    ranks
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn covariance(a: &[f64], b: &[f64]) -> f64 {
    let (mean_a, mean_b) = (mean(a), mean(b));
    let sum: f64 = a.iter().zip(b).map(|(x, y)| (x - mean_a) * (y - mean_b)).sum();
    sum / (a.len() - 1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const LABELS: [f64; 7] = [1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0];

    #[test]
    fn the_variance_is_that_of_the_definition() {
        let scores = [0.9, 0.6, 0.4, 0.5, 0.4, 0.2, 0.1];
        let found = delong(&LABELS, &scores, Policy::Ignore).unwrap();
        let wins = |x: f64, y: f64| if x > y { 1.0 } else { f64::from(u8::from(x == y)) / 2.0 };
        let v10: Vec<f64> =
            (0..3).map(|i| (3..7).map(|j| wins(scores[i], scores[j])).sum::<f64>() / 4.0).collect();
        let v01: Vec<f64> =
            (3..7).map(|j| (0..3).map(|i| wins(scores[i], scores[j])).sum::<f64>() / 3.0).collect();
        let variance = covariance(&v10, &v10) / 3.0 + covariance(&v01, &v01) / 4.0;
        assert!((found.auroc - mean(&v10)).abs() < 1e-12);
        assert!((found.variance - variance).abs() < 1e-12);
    }

    #[test]
    fn equal_scores_do_not_differ() {
        let scores = [0.9, 0.6, 0.4, 0.5, 0.4, 0.2, 0.1];
        let test = delong_test(&LABELS, &scores, &scores, Policy::Ignore).unwrap();
        assert_eq!((test.z, test.p), (0.0, 1.0));
    }

    #[test]
    fn one_row_of_a_class_is_too_few() {
        let error = delong(&[1.0, 0.0, 0.0], &[0.1, 0.2, 0.3], Policy::Ignore).unwrap_err();
        let expected = "y_true: 1 positive and 2 negative rows, expected at least 2 of each";
        assert_eq!(error.to_string(), expected);
    }
}
