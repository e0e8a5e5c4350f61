//! A low-rank update of a linear map, which learns in its place.
//!
//! Source: Hu et al. 2022, "LoRA", arXiv:2106.09685.

use candle::Tensor;
use candle_nn::{Init, VarBuilder};

use super::linear::{trace, uniform};
use super::{Shadow, Work, linear};
use crate::{Error, Result};

/// `alpha / rank · B A`, added to a weight that stays as it is; parameters `lora_A.weight` (R, I)
/// and `lora_B.weight` (O, R), which starts at zero.
#[derive(Clone, Debug)]
pub struct Lora {
    down: Tensor,
    up: Tensor,
    scale: f64,
}

impl Lora {
    /// An update of a map from `in_dim` to `out_dim` features.
    pub fn new(
        in_dim: usize,
        out_dim: usize,
        (rank, alpha): (usize, f64),
        vb: &VarBuilder,
    ) -> Result<Self> {
        if rank == 0 {
            return Err(Error::config("lora.rank", "found 0, expected at least 1"));
        }
        let down = vb.get_with_hints((rank, in_dim), "lora_A.weight", uniform(in_dim))?;
        let up = vb.get_with_hints((out_dim, rank), "lora_B.weight", Init::Const(0.0))?;
        Ok(Self { down, up, scale: alpha / rank as f64 })
    }

    /// What it adds for `x` (…, I): (…, O).
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let low = linear(x, &self.down, None)?; // (…, R)
        Ok((linear(&low, &self.up, None)? * self.scale)?)
    }

    /// The memory of [`Self::forward`].
    pub(super) fn trace(&self, x: &Shadow) -> Shadow {
        let low = trace(x, &x.account().weight(&self.down), None);
        let update = trace(&low, &x.account().weight(&self.up), None);
        Shadow::made(update.dims(), &[&update], Work::default())
    }

    /// The update as one matrix (O, I).
    pub fn delta(&self) -> Result<Tensor> {
        Ok((self.up.matmul(&self.down)? * self.scale)?)
    }
}

#[cfg(test)]
mod tests {
    use candle::{DType, Device};

    use super::super::testing::check_gradients;
    use super::super::{Bias, Linear, Parameters};
    use super::*;

    #[test]
    fn an_update_has_true_gradients() {
        check_gradients(&[&[3, 7]], |x, vb| Lora::new(7, 5, (2, 8.0), &vb)?.forward(&x[0]));
    }

    #[test]
    fn an_update_starts_at_nothing_and_merges_into_the_weight() {
        let parameters = Parameters::new(0, &Device::Cpu);
        let vb = parameters.builder();
        let x = Tensor::new(&[[1f32, -2.0, 0.5]], &Device::Cpu).unwrap();
        let plain = Linear::new(3, 2, Bias::With, vb.clone()).unwrap();
        let mut adapted = plain.clone();
        adapted.with_lora(2, 4.0, vb.clone()).unwrap();
        let values = |layer: &Linear| layer.forward(&x).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(values(&plain), values(&adapted));
        let up = Tensor::new(&[[1f32, 2.0], [-1.0, 0.5]], &Device::Cpu).unwrap();
        parameters.set("lora_B.weight", &up).unwrap();
        let merged =
            Linear::from_tensors(adapted.merged_weight().unwrap(), adapted.bias().cloned());
        assert_ne!(values(&plain), values(&adapted));
        for (a, b) in values(&merged)[0].iter().zip(&values(&adapted)[0]) {
            assert!((a - b).abs() < 1e-6, "{a} {b}");
        }
    }

    #[test]
    fn an_update_of_no_rank_is_refused() {
        let zeros = VarBuilder::zeros(DType::F32, &Device::Cpu);
        let error = Lora::new(3, 2, (0, 1.0), &zeros).unwrap_err().to_string();
        assert_eq!(error, "config field `lora.rank`: found 0, expected at least 1");
    }
}
