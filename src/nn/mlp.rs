//! The two feed-forward blocks of transformers.
//!
//! Source: Shazeer 2020, "GLU Variants Improve Transformer", arXiv:2002.05202.

use candle::Tensor;
use candle_nn::VarBuilder;

use super::{Activation, Bias, Linear};
use crate::Result;

/// The sizes of an [`Mlp`].
#[derive(Clone, Copy, Debug)]
pub struct MlpConfig {
    /// Features in and out.
    pub dim: usize,
    /// Features between the two maps.
    pub hidden: usize,
    /// What lies between the two maps.
    pub activation: Activation,
    /// Whether the two maps add biases.
    pub bias: Bias,
}

/// Two linear maps with a nonlinearity between them.
#[derive(Clone, Debug)]
pub struct Mlp {
    first: Linear,
    second: Linear,
    activation: Activation,
}

impl Mlp {
    /// A block whose maps are called `names`, such as `["fc1", "fc2"]`; a name may be a path.
    pub fn new(config: &MlpConfig, names: [&str; 2], vb: VarBuilder) -> Result<Self> {
        let MlpConfig { dim, hidden, activation, bias } = *config;
        let first = Linear::new(dim, hidden, bias, vb.pp(names[0]))?;
        let second = Linear::new(hidden, dim, bias, vb.pp(names[1]))?;
        Ok(Self { first, second, activation })
    }

    /// Maps `x` (…, D) to the same shape.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.second.forward(&self.first.forward_activated(x, self.activation)?)
    }

    /// `residual` plus what [`Self::forward`] gives.
    pub fn forward_onto(&self, x: &Tensor, residual: &Tensor) -> Result<Tensor> {
        self.second.forward_onto(&self.first.forward_activated(x, self.activation)?, residual)
    }

    /// The two maps, for adapters.
    pub fn linears_mut(&mut self) -> [&mut Linear; 2] {
        [&mut self.first, &mut self.second]
    }
}

/// `down(silu(gate(x)) · up(x))` without biases; parameters `gate_proj`, `up_proj`, `down_proj`.
#[derive(Clone, Debug)]
#[allow(clippy::struct_field_names)] // the checkpoint's names
pub struct SwiGlu {
    gate_proj: Linear,
    up_proj: Linear,
    down_proj: Linear,
}

impl SwiGlu {
    /// A block of `dim` features with `hidden` between.
    pub fn new(dim: usize, hidden: usize, vb: VarBuilder) -> Result<Self> {
        let linear = |from, to, name| Linear::new(from, to, Bias::Without, vb.pp(name));
        Ok(Self {
            gate_proj: linear(dim, hidden, "gate_proj")?,
            up_proj: linear(dim, hidden, "up_proj")?,
            down_proj: linear(hidden, dim, "down_proj")?,
        })
    }

    /// Maps `x` (…, D) to the same shape.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let gate = self.gate_proj.forward_activated(x, Activation::Silu)?; // (…, H)
        self.down_proj.forward(&(gate * self.up_proj.forward(x)?)?)
    }

    /// The three maps (gate, up, down), for adapters.
    pub fn linears_mut(&mut self) -> [&mut Linear; 3] {
        [&mut self.gate_proj, &mut self.up_proj, &mut self.down_proj]
    }
}
