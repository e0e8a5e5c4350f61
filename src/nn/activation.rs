//! The pointwise nonlinearities.
//!
//! Source: Hendrycks and Gimpel 2016, "Gaussian Error Linear Units", arXiv:1606.08415.

use candle::Tensor;
use serde::{Deserialize, Serialize};

use super::composed;
use super::half::widened;
use crate::{Error, Result, kernels};

/// A pointwise nonlinearity, by the name that configurations use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `max(x, 0)`.
    Relu,
    /// `x Φ(x)`, with the exact normal distribution function.
    #[default]
    Gelu,
    /// GELU by its tanh approximation.
    GeluTanh,
    /// `x σ(1.702 x)`, the GELU of CLIP.
    QuickGelu,
    /// `x σ(x)`, also called swish.
    Silu,
}

impl Activation {
    /// The function that Hugging Face's `hidden_act` names.
    pub fn from_hf(name: &str) -> Result<Self> {
        Ok(match name {
            "relu" => Self::Relu,
            "gelu" => Self::Gelu,
            "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" => Self::GeluTanh,
            "quick_gelu" => Self::QuickGelu,
            "silu" | "swish" => Self::Silu,
            other => {
                let why =
                    format!("found {other:?}, expected relu, gelu, gelu_new, quick_gelu, silu");
                return Err(Error::config("hidden_act", why));
            }
        })
    }

    /// What Hugging Face's `hidden_act` calls it.
    pub fn hf_name(self) -> &'static str {
        match self {
            Self::Relu => "relu",
            Self::Gelu => "gelu",
            Self::GeluTanh => "gelu_pytorch_tanh",
            Self::QuickGelu => "quick_gelu",
            Self::Silu => "silu",
        }
    }

    /// Applies the function to every value of `x`.
    pub fn apply(self, x: &Tensor) -> Result<Tensor> {
        if let Some(y) = widened("activation", [("input", x)], |[x]| self.apply(x))? {
            return Ok(y);
        }
        if kernels::serve(&[x]) {
            return Ok(kernels::activate(x, self.kernel())?);
        }
        composed::activation(x, self)
    }

    /// The function of every value of `gate`, times the value of `up` (the same shape) there.
    ///
    /// Source: Shazeer 2020, "GLU Variants Improve Transformer", arXiv:2002.05202.
    pub fn gated(self, gate: &Tensor, up: &Tensor) -> Result<Tensor> {
        if gate.dims() != up.dims() {
            return Err(Error::shape("gated values", format!("{:?}", gate.dims()), up.dims()));
        }
        let parts = [("gate", gate), ("values", up)];
        if let Some(y) = widened("gated", parts, |[gate, up]| self.gated(gate, up))? {
            return Ok(y);
        }
        if kernels::serve(&[gate, up]) {
            return Ok(kernels::gate(gate, up, self.kernel())?);
        }
        Ok((self.apply(gate)? * up)?)
    }

    /// The function on slices of float32.
    pub(super) fn on_slices(self) -> kernels::Forward {
        self.kernel().forward
    }

    fn kernel(self) -> &'static kernels::Nonlinearity {
        match self {
            Self::Relu => &kernels::RELU,
            Self::Gelu => &kernels::GELU,
            Self::GeluTanh => &kernels::GELU_TANH,
            Self::QuickGelu => &kernels::QUICK_GELU,
            Self::Silu => &kernels::SILU,
        }
    }
}
