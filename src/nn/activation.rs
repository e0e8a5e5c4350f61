//! The pointwise nonlinearities.
//!
//! Source: Hendrycks and Gimpel 2016, "Gaussian Error Linear Units", arXiv:1606.08415.

use candle::Tensor;
use serde::{Deserialize, Serialize};

use super::composed;
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

    /// Applies the function to every value of `x`.
    pub fn apply(self, x: &Tensor) -> Result<Tensor> {
        if kernels::serve(&[x]) {
            return Ok(match self {
                Self::Relu => kernels::apply_relu(x)?,
                Self::Gelu => kernels::apply_gelu(x)?,
                Self::GeluTanh => kernels::apply_gelu_tanh(x)?,
                Self::QuickGelu => kernels::apply_quick_gelu(x)?,
                Self::Silu => kernels::apply_silu(x)?,
            });
        }
        composed::activation(x, self)
    }

    /// The function on slices of float32.
    pub(super) fn on_slices(self) -> kernels::Forward {
        match self {
            Self::Relu => kernels::relu_forward,
            Self::Gelu => kernels::gelu_forward,
            Self::GeluTanh => kernels::gelu_tanh_forward,
            Self::QuickGelu => kernels::quick_gelu_forward,
            Self::Silu => kernels::silu_forward,
        }
    }
}
