//! Seeded random numbers that are the same on every machine and for every thread count.
//!
//! A stream is named by a seed and a path of numbers (epoch, sample, layer, …), never by who
//! drew before: sample 7 of epoch 3 is augmented alike however many threads there are.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng};

/// A random stream.
#[derive(Clone, Debug)]
pub struct Random(ChaCha8Rng);

impl Random {
    /// The stream named by `seed` and `path`.
    pub fn new(seed: u64, path: &[u64]) -> Self {
        let mut state = splitmix(seed ^ 0x9e37_79b9_7f4a_7c15);
        for &step in path {
            state = splitmix(state ^ splitmix(step.wrapping_add(0x632b_e59b_d9b4_e019)));
        }
        Self(ChaCha8Rng::seed_from_u64(state))
    }

    /// A uniform 64-bit number.
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Uniform in [0, 1).
    pub fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in [`low`, `high`).
    pub fn range(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.uniform()
    }

    /// Uniform in 0..`n`; 0 when `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        // The product method; its bias is below n / 2^64.
        ((u128::from(self.bits()) * n as u128) >> 64) as usize
    }

    /// True with probability `p`.
    pub fn chance(&mut self, p: f64) -> bool {
        self.uniform() < p
    }

    /// Standard normal (Box–Muller).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// One of `items`.
    ///
    /// # Panics
    /// If `items` is empty, which is a defect of the caller.
    pub fn choose<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }

    /// Shuffles `items` in place (Fisher–Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}

fn splitmix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_named_not_shared() {
        let first = Random::new(1, &[2, 3]).bits();
        assert_eq!(first, Random::new(1, &[2, 3]).bits());
        assert_ne!(first, Random::new(1, &[3, 2]).bits());
        assert_ne!(first, Random::new(2, &[2, 3]).bits());
    }

    #[test]
    fn normal_has_zero_mean_and_unit_variance() {
        let mut random = Random::new(0, &[]);
        let draws: Vec<f64> = (0..20_000).map(|_| random.normal()).collect();
        let mean = draws.iter().sum::<f64>() / 20_000.0;
        let variance = draws.iter().map(|x| x * x).sum::<f64>() / 20_000.0 - mean * mean;
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.05, "{mean} {variance}");
    }
}
