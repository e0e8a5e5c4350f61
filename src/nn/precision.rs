//! The type that layers compute in, and the copies of weights that make them do so.
//!
//! Source: Micikevicius et al. 2017, "Mixed Precision Training", arXiv:1710.03740: the parameters
//! stay in float32 and each pass multiplies copies. bfloat16 has float32's range, so losses need
//! no scaling.

use candle::{DType, Device, Shape, Tensor};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder};

use super::{Parameters, is_statistic};
use crate::{Error, Result, kernels};

pub use crate::kernels::Precision;

impl Parameters {
    /// As [`Self::builder`], for layers that compute in `precision`: matrices are copies, through
    /// which gradients reach the parameters. The copies are those of now, so a step that has
    /// changed the parameters is followed by new ones.
    pub fn builder_in(&self, precision: Precision) -> VarBuilder<'static> {
        in_precision(self.builder(), precision)
    }

    /// As [`Self::frozen`], for layers that compute in `precision`.
    pub fn frozen_in(&self, precision: Precision) -> VarBuilder<'static> {
        in_precision(self.frozen(), precision)
    }
}

/// The builder `source` of float32 for layers that compute in `precision`.
pub fn in_precision(source: VarBuilder<'static>, precision: Precision) -> VarBuilder<'static> {
    if precision.is_single() {
        return source;
    }
    let (named, device) = (builder_type(precision), source.device().clone());
    VarBuilder::from_backend(Box::new(Cast { source, precision }), named, device)
}

/// The type that a builder names for layers to multiply in `precision`.
pub(crate) fn builder_type(precision: Precision) -> DType {
    match precision {
        Precision::F32 => DType::F32,
        Precision::Bf16 => DType::BF16,
        Precision::Q8_0 => DType::U8,
    }
}

/// What layers built on `vb` multiply in: the type that their builder names.
pub(super) fn precision(vb: &VarBuilder) -> Precision {
    match vb.dtype() {
        DType::BF16 => Precision::Bf16,
        DType::U8 => Precision::Q8_0,
        _ => Precision::F32,
    }
}

impl Precision {
    /// Refuses what a model cannot learn in, and what only decoders are used in.
    pub fn learns(self) -> Result<()> {
        if self == Self::Q8_0 {
            let why = "found q8_0, expected f32 or bf16: eight bits are for decoders in use";
            return Err(Error::value("precision", why));
        }
        Ok(())
    }
}

/// The tensors of `source`, matrices in another type.
struct Cast {
    source: VarBuilder<'static>,
    precision: Precision,
}

impl Cast {
    /// Vectors (biases, scales, statistics) stay exact: they cost nothing. The kernels take
    /// float32 and round what they multiply themselves; elsewhere there is no type of eight bits.
    fn cast(&self, name: &str, tensor: Tensor) -> candle::Result<Tensor> {
        let exact = tensor.rank() < 2 || is_statistic(name) || kernels::serve(&[&tensor]);
        if exact || self.precision != Precision::Bf16 {
            return Ok(tensor);
        }
        tensor.to_dtype(DType::BF16)
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
        // The kernels give float32 whatever they multiply; composed layers stay in bfloat16.
        let given = if kernels::serve(&[&x]) { DType::F32 } else { DType::BF16 };
        assert_eq!((single.dtype(), half.dtype()), (DType::F32, given));
        let gradients = half.to_dtype(DType::F32).unwrap().sum_all().unwrap().backward().unwrap();
        for (name, var) in parameters.all() {
            assert_eq!(var.dtype(), DType::F32);
            assert_eq!(gradients.get(&var).unwrap().dtype(), DType::F32, "{name}");
        }
        let apart = (half.to_dtype(DType::F32).unwrap() - single).unwrap().abs().unwrap();
        assert!(apart.max_all().unwrap().to_scalar::<f32>().unwrap() < 0.03);
    }
}
