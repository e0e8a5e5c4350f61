//! A learned factor for each feature of a residual branch.
//!
//! Source: Touvron et al. 2021, "Going deeper with Image Transformers", arXiv:2103.17239.

use candle::Tensor;
use candle_nn::{Init, VarBuilder};

use super::{Shadow, Work};
use crate::Result;

/// Multiplies the last axis by the parameter `gamma` (D).
#[derive(Clone, Debug)]
pub struct LayerScale {
    gamma: Tensor,
}

impl LayerScale {
    /// Factors that all start at `init`.
    pub fn new(dim: usize, init: f64, vb: VarBuilder) -> Result<Self> {
        Ok(Self { gamma: vb.get_with_hints(dim, "gamma", Init::Const(init))? })
    }

    /// Maps `x` (…, D) to the same shape.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Ok(x.broadcast_mul(&self.gamma.to_dtype(x.dtype())?)?)
    }

    /// The memory of [`Self::forward`].
    #[must_use]
    pub fn trace(&self, x: &Shadow) -> Shadow {
        let gamma = x.account().weight(&self.gamma).view(x.dims());
        Shadow::made(x.dims(), &[x, &gamma], Work::default())
    }
}
