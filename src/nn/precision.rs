//! The type that layers compute in, and the copies of weights that make them do so.
//!
//! Source: Micikevicius et al. 2017, "Mixed Precision Training", arXiv:1710.03740: the parameters
//! stay in float32 and each pass multiplies copies. bfloat16 has float32's range, so losses need
//! no scaling.

use candle::{DType, Device, Shape, Tensor};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder};
use serde::{Deserialize, Serialize};

use super::{Parameters, is_statistic};

/// What matrices are multiplied in. Norms, softmax and losses are always taken in float32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// float32.
    #[default]
    F32,
    /// bfloat16: for GPUs, where it is several times faster; correct but slow on a CPU.
    Bf16,
}

impl Precision {
    /// Whether this is float32.
    pub fn is_single(&self) -> bool {
        *self == Self::F32
    }
}

impl Parameters {
    /// As [`Self::builder`], for layers that compute in `precision`: matrices are copies, through
    /// which gradients reach the parameters. The copies are those of now, so a step that has
    /// changed the parameters is followed by new ones.
    pub fn builder_in(&self, precision: Precision) -> VarBuilder<'static> {
        self.cast(self.builder(), precision)
    }

    /// As [`Self::frozen`], for layers that compute in `precision`.
    pub fn frozen_in(&self, precision: Precision) -> VarBuilder<'static> {
        self.cast(self.frozen(), precision)
    }

    fn cast(&self, source: VarBuilder<'static>, precision: Precision) -> VarBuilder<'static> {
        match precision {
            Precision::F32 => source,
            Precision::Bf16 => {
                let backend = Box::new(Cast { source, dtype: DType::BF16 });
                VarBuilder::from_backend(backend, DType::F32, self.device().clone())
            }
        }
    }
}

/// The tensors of `source`, matrices in another type.
struct Cast {
    source: VarBuilder<'static>,
    dtype: DType,
}

impl Cast {
    /// Vectors (biases, scales, statistics) stay exact: they cost nothing.
    fn cast(&self, name: &str, tensor: Tensor) -> candle::Result<Tensor> {
        let exact = tensor.rank() < 2 || is_statistic(name);
        if exact { Ok(tensor) } else { tensor.to_dtype(self.dtype) }
    }
}

impl SimpleBackend for Cast {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        init: Init,
        _: DType,
        _: &Device,
    ) -> candle::Result<Tensor> {
        self.cast(name, self.source.get_with_hints(shape, name, init)?)
    }

    fn get_unchecked(&self, name: &str, dtype: DType, _: &Device) -> candle::Result<Tensor> {
        self.cast(name, self.source.get_unchecked_dtype(name, dtype)?)
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.source.contains_tensor(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{Bias, Linear};

    #[test]
    fn gradients_of_short_copies_reach_the_long_parameters() {
        let parameters = Parameters::new(0, &Device::Cpu);
        let linear = |precision| Linear::new(3, 2, Bias::With, parameters.builder_in(precision));
        let x = Tensor::new(&[[1f32, -2.0, 0.5]], &Device::Cpu).unwrap();
        let run = |precision| linear(precision).unwrap().forward(&x).unwrap();
        let (single, half) = (run(Precision::F32), run(Precision::Bf16));
        assert_eq!((single.dtype(), half.dtype()), (DType::F32, DType::BF16));
        let gradients = half.to_dtype(DType::F32).unwrap().sum_all().unwrap().backward().unwrap();
        for (name, var) in parameters.all() {
            assert_eq!(var.dtype(), DType::F32);
            assert_eq!(gradients.get(&var).unwrap().dtype(), DType::F32, "{name}");
        }
        let apart = (half.to_dtype(DType::F32).unwrap() - single).unwrap().abs().unwrap();
        assert!(apart.max_all().unwrap().to_scalar::<f32>().unwrap() < 0.03);
    }
}
