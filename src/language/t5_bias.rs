//! What the distance between two tokens adds to their attention score.
//!
//! Source: Raffel et al. 2020, arXiv:1910.10683, section 2.1: short distances have a bucket each,
//! longer ones share buckets that grow as their logarithm does; both directions have their own.

use candle::Tensor;
use candle_nn::VarBuilder;

use super::T5Config;
use crate::Result;
use crate::nn::{Account, Embedding, Shadow, Work};

/// One number for each bucket and head; parameter `weight` (buckets, heads).
#[derive(Clone, Debug)]
pub(super) struct RelativeBias {
    table: Embedding,
    buckets: usize,
    max_distance: usize,
}

impl RelativeBias {
    pub(super) fn new(config: &T5Config, vb: VarBuilder) -> Result<Self> {
        let &T5Config { buckets, max_distance, heads, .. } = config;
        Ok(Self { table: Embedding::new(buckets, heads, vb)?, buckets, max_distance })
    }

    /// Whether something learns from it.
    pub(super) fn learns(&self) -> bool {
        self.table.weight().track_op()
    }

    /// The bias between `count` tokens (1, H, N, N).
    pub(super) fn forward(&self, count: usize) -> Result<Tensor> {
        let places = 0..count as i64;
        let pairs = places.clone().flat_map(|query| places.clone().map(move |key| key - query));
        let numbers: Vec<u32> = pairs.map(|distance| self.bucket(distance)).collect();
        let device = self.table.weight().device();
        let numbers = Tensor::from_vec(numbers, (count, count), device)?;
        let bias = self.table.forward(&numbers)?; // (N, N, H)
        Ok(bias.permute((2, 0, 1))?.unsqueeze(0)?.contiguous()?)
    }

    /// The memory of [`Self::forward`].
    pub(super) fn trace(&self, count: usize, account: &Account) -> Shadow {
        let found = self.table.trace(&[count, count], account);
        let dims = [1, found.dims()[2], count, count];
        Shadow::made(&dims, &[&found], Work::default())
    }

    /// The bucket of a key that lies `distance` after its query.
    fn bucket(&self, distance: i64) -> u32 {
        let half = self.buckets / 2;
        let exact = half / 2;
        let steps = distance.unsigned_abs() as usize;
        let near = if steps < exact {
            steps
        } else {
            // In single precision, as the published models were trained.
            let ratio = (steps as f32 / exact as f32).ln();
            let whole = (self.max_distance as f64 / exact as f64).ln() as f32;
            (exact + (ratio / whole * (half - exact) as f32) as usize).min(half - 1)
        };
        (near + if distance > 0 { half } else { 0 }) as u32
    }
}

#[cfg(test)]
mod tests {
    use candle::Device;

    use super::*;
    use crate::nn::Parameters;

    #[test]
    fn distances_fall_into_the_published_buckets() {
        let parameters = Parameters::new(0, &Device::Cpu);
        let bias = RelativeBias::new(&T5Config::default(), parameters.builder()).unwrap();
        let buckets = |distances: &[i64]| -> Vec<u32> {
            distances.iter().map(|&distance| bias.bucket(distance)).collect()
        };
        assert_eq!(buckets(&[0, -1, -7, 1, 7]), [0, 1, 7, 17, 23]);
        assert_eq!(buckets(&[-8, -11, -12, -127, -128, -9999]), [8, 8, 9, 15, 15, 15]);
        assert_eq!(buckets(&[8, 127, 9999]), [24, 31, 31]);
    }
}
