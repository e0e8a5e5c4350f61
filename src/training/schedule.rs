//! Learning-rate schedules: a plain function of the step.

use serde::{Deserialize, Serialize};

/// Linear warm-up, then half a cosine down to a floor.
///
/// Source: Loshchilov and Hutter 2017, "SGDR", arXiv:1608.03983, one cycle.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Schedule {
    /// The highest learning rate.
    pub peak: f64,
    /// The share of all steps spent warming up, in [0, 1).
    pub warmup: f64,
    /// The last learning rate as a share of the peak.
    pub floor: f64,
}

impl Default for Schedule {
    fn default() -> Self {
        Self { peak: 1e-3, warmup: 0.05, floor: 0.01 }
    }
}

impl Schedule {
    /// The learning rate of `step`, counted from 0, of `total` steps.
    pub fn rate(&self, step: usize, total: usize) -> f64 {
        let warm = (self.warmup * total as f64).ceil().max(1.0);
        let step = step as f64;
        if step < warm {
            return self.peak * (step + 1.0) / warm;
        }
        let along = (step - warm) / (total as f64 - warm).max(1.0);
        let cosine = f64::midpoint(1.0, (std::f64::consts::PI * along.min(1.0)).cos());
        self.peak * (self.floor + (1.0 - self.floor) * cosine)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rises_to_the_peak_and_falls_to_the_floor() {
        let schedule = Schedule { peak: 2.0, warmup: 0.1, floor: 0.1 };
        let rates: Vec<f64> = (0..100).map(|step| schedule.rate(step, 100)).collect();
        assert!((rates[0] - 0.2).abs() < 1e-12 && (rates[9] - 2.0).abs() < 1e-12);
        assert!(rates[10..].windows(2).all(|pair| pair[0] >= pair[1]));
        assert!((schedule.rate(100, 100) - 0.2).abs() < 1e-12);
    }
}
