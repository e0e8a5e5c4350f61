//! Normalisation of the last axis.
//!
//! Source: Ba et al. 2016, "Layer Normalization", arXiv:1607.06450; Zhang and Sennrich 2019,
//! "Root Mean Square Layer Normalization", arXiv:1910.07467.

use candle::{D, Tensor};
use candle_nn::{Init, VarBuilder};

use super::composed;
use super::half::widened;
use super::{Shadow, Work};
use crate::{Error, Result, kernels};

/// Zero mean and unit variance, then scale and shift; parameters `weight` and `bias` (D).
#[derive(Clone, Debug)]
pub struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    eps: f64,
}

impl LayerNorm {
    /// The identity scale and no shift.
    pub fn new(dim: usize, eps: f64, vb: VarBuilder) -> Result<Self> {
        let weight = vb.get_with_hints(dim, "weight", Init::Const(1.0))?;
        let bias = vb.get_with_hints(dim, "bias", Init::Const(0.0))?;
        Ok(Self { weight, bias, eps })
    }

    /// Maps `x` (…, D) to the same shape.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        layer_norm(x, &self.weight, &self.bias, self.eps)
    }

    /// The memory of [`Self::forward`].
    #[must_use]
    pub fn trace(&self, x: &Shadow) -> Shadow {
        let [weight, bias] = [&self.weight, &self.bias].map(|w| x.account().weight(w));
        Shadow::made(x.dims(), &[&x.in_order(), &weight, &bias], Work::default())
    }
}

/// Unit root mean square, then scale; parameter `weight` (D).
#[derive(Clone, Debug)]
pub struct RmsNorm {
    weight: Tensor,
    eps: f64,
}

impl RmsNorm {
    /// The identity scale.
    pub fn new(dim: usize, eps: f64, vb: VarBuilder) -> Result<Self> {
        Ok(Self { weight: vb.get_with_hints(dim, "weight", Init::Const(1.0))?, eps })
    }

    /// Maps `x` (…, D) to the same shape.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        rms_norm(x, &self.weight, self.eps)
    }

    /// The memory of [`Self::forward`].
    #[must_use]
    pub fn trace(&self, x: &Shadow) -> Shadow {
        let weight = x.account().weight(&self.weight);
        Shadow::made(x.dims(), &[&x.in_order(), &weight], Work::default())
    }
}

/// Normalises `x` (…, D) to zero mean and unit variance, times `weight` plus `bias` (D).
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    check(x, weight, "layer norm")?;
    check(x, bias, "layer norm")?;
    let parts = [("input", x), ("weight", weight), ("bias", bias)];
    if let Some(y) = widened("layer norm", parts, |[x, w, b]| layer_norm(x, w, b, eps))? {
        return Ok(y);
    }
    if kernels::serve(&[x, weight, bias]) {
        return Ok(kernels::layer_norm(x, weight, bias, eps)?);
    }
    composed::layer_norm(x, weight, bias, eps)
}

/// Normalises `x` (…, D) to unit root mean square, times `weight` (D).
pub fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    check(x, weight, "RMS norm")?;
    let parts = [("input", x), ("weight", weight)];
    if let Some(y) = widened("RMS norm", parts, |[x, weight]| rms_norm(x, weight, eps))? {
        return Ok(y);
    }
    if kernels::serve(&[x, weight]) {
        return Ok(kernels::rms_norm(x, weight, eps)?);
    }
    composed::rms_norm(x, weight, eps)
}

fn check(x: &Tensor, weight: &Tensor, what: &str) -> Result<()> {
    let dim = weight.elem_count();
    if dim == 0 || x.rank() == 0 || x.dim(D::Minus1)? != dim {
        return Err(Error::shape(what, format!("(…, {dim})"), x.dims()));
    }
    Ok(())
}
