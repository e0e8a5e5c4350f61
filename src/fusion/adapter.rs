//! What a query gathered, as a word of a decoder.
//!
//! Source: the adapter of Xu et al. 2023, "ELIXR", arXiv:2308.01317, and of Liu et al. 2023,
//! "Improved Baselines with Visual Instruction Tuning", arXiv:2310.03744: two linear maps and a
//! GELU. Differs in a norm before them, as an attention pool gives vectors of any size.

use candle::Tensor;
use candle_nn::VarBuilder;

use crate::nn::{Activation, Bias, LayerNorm, Linear, Shadow};
use crate::{Error, Result};

const EPS: f64 = 1e-5;

/// A norm, a linear map, a GELU and a linear map; parameters `norm`, `fc1` and `fc2`.
#[derive(Clone, Debug)]
pub struct Adapter {
    norm: LayerNorm,
    fc1: Linear,
    fc2: Linear,
    from: usize,
}

impl Adapter {
    /// About the root mean square of what an untrained adapter gives.
    pub const SIZE: f64 = 0.2;

    /// Maps `from` features by `hidden` ones to the `to` of a decoder.
    pub fn new(from: usize, hidden: usize, to: usize, vb: &VarBuilder) -> Result<Self> {
        Ok(Self {
            norm: LayerNorm::new(from, EPS, vb.pp("norm"))?,
            fc1: Linear::new(from, hidden, Bias::With, vb.pp("fc1"))?,
            fc2: Linear::new(hidden, to, Bias::With, vb.pp("fc2"))?,
            from,
        })
    }

    /// Maps `queries` (B, Q, from) to vectors of words (B, Q, to).
    pub fn forward(&self, queries: &Tensor) -> Result<Tensor> {
        if queries.rank() != 3 || queries.dims()[2] != self.from {
            let expected = format!("(B, Q, {})", self.from);
            return Err(Error::shape("adapter queries", expected, queries.dims()));
        }
        self.fc2
            .forward(&self.fc1.forward_activated(&self.norm.forward(queries)?, Activation::Gelu)?)
    }

    /// The memory of [`Self::forward`].
    #[must_use]
    pub fn trace(&self, queries: &Shadow) -> Shadow {
        let inner = self.fc1.trace(&self.norm.trace(queries), true, None);
        self.fc2.trace(&inner, false, None)
    }
}

#[cfg(test)]
mod tests {
    use candle::Device;

    use super::*;
    use crate::nn::Parameters;
    use crate::nn::testing::{check_gradients, flat, noise};
    use crate::random::Random;

    #[test]
    fn an_adapter_has_true_gradients() {
        check_gradients(&[&[2, 3, 5]], |x, vb| Adapter::new(5, 7, 4, &vb)?.forward(&x[0]));
    }

    #[test]
    fn an_untrained_adapter_gives_words_of_the_size_it_says() {
        for (from, hidden, to) in [(64, 128, 96), (768, 2048, 512)] {
            let parameters = Parameters::new(3, &Device::Cpu);
            let adapter = Adapter::new(from, hidden, to, &parameters.builder()).unwrap();
            let x = noise(&[2, 16, from], &mut Random::new(1, &[])).to_dtype(candle::DType::F32);
            let words = flat(&adapter.forward(&(x.unwrap() * 30.0).unwrap()).unwrap());
            let size = (words.iter().map(|x| x * x).sum::<f64>() / words.len() as f64).sqrt();
            assert!((size / Adapter::SIZE - 1.0).abs() < 0.15, "{size}");
        }
    }

    #[test]
    fn queries_of_another_width_are_refused() {
        let adapter = Adapter::new(5, 7, 4, &Parameters::new(0, &Device::Cpu).builder()).unwrap();
        let x = Tensor::zeros((2, 3, 4), candle::DType::F32, &Device::Cpu).unwrap();
        let error = adapter.forward(&x).unwrap_err().to_string();
        assert_eq!(error, "adapter queries: expected shape (B, Q, 5), got [2, 3, 4]");
    }
}
