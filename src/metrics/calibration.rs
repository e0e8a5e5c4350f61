//! How far probabilities are from frequencies.
//!
//! Source: Brier, Monthly Weather Review 78, 1950; the expected calibration error after
//! Naeini et al., AAAI 2015, here for the probability of presence, over bins of equal width.

use super::samples::Samples;

/// Mean squared difference of probability and truth; NaN without rows.
pub(super) fn brier(samples: &Samples, weights: &[f64]) -> f64 {
    let (mut sum, mut total) = (0.0, 0.0);
    for (truth, p, weight) in samples.weighted(weights) {
        let error = p - f64::from(u8::from(truth));
        sum += weight * error * error;
        total += weight;
    }
    sum / total
}

/// Mean over rows of |mean probability − frequency| of the row's bin; NaN without rows.
///
/// Bin i of `bins` holds the probabilities in [i / bins, (i + 1) / bins); the last holds 1 too.
pub(super) fn expected_calibration_error(samples: &Samples, weights: &[f64], bins: usize) -> f64 {
    let mut gaps = vec![0.0; bins];
    let mut total = 0.0;
    for (truth, p, weight) in samples.weighted(weights) {
        let bin = ((p * bins as f64) as usize).min(bins - 1);
        gaps[bin] += weight * (p - f64::from(u8::from(truth)));
        total += weight;
    }
    gaps.iter().map(|gap| gap.abs()).sum::<f64>() / total
}

#[cfg(test)]
mod tests {
    use super::super::samples::Policy;
    use super::*;

    #[test]
    fn a_perfect_forecast_has_no_error() {
        let samples = Samples::new(&[0.0, 1.0], &[0.0, 1.0], Policy::Ignore).unwrap();
        assert_eq!(brier(&samples, &[1.0, 1.0]), 0.0);
        assert_eq!(expected_calibration_error(&samples, &[1.0, 1.0], 10), 0.0);
    }

    #[test]
    fn a_bin_compares_its_mean_with_its_frequency() {
        // One bin: mean probability 0.6, frequency 0.5.
        let samples = Samples::new(&[0.0, 1.0], &[0.4, 0.8], Policy::Ignore).unwrap();
        let error = expected_calibration_error(&samples, &[1.0, 1.0], 1);
        assert!((error - 0.1).abs() < 1e-12, "{error}");
    }
}
