//! The two feed-forward blocks of transformers.
//!
//! Source: Shazeer 2020, "GLU Variants Improve Transformer", arXiv:2002.05202.

use candle::Tensor;
use candle_nn::VarBuilder;

use super::{Activation, Bias, Linear, Shadow, Work};
use crate::Result;

/// The sizes of an [`Mlp`] or a [`GatedMlp`].
#[derive(Clone, Copy, Debug)]
pub struct MlpConfig {
    /// Features in and out.
    pub dim: usize,
    /// Features between the maps.
    pub hidden: usize,
    /// What lies between the maps.
    pub activation: Activation,
    /// Whether the maps add biases.
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

    /// The memory of [`Self::forward`] or [`Self::forward_onto`].
    #[must_use]
    pub fn trace(&self, x: &Shadow, residual: Option<&Shadow>) -> Shadow {
        self.second.trace(&self.first.trace(x, true, None), false, residual)
    }

    /// The two maps, for adapters.
    pub fn linears_mut(&mut self) -> [&mut Linear; 2] {
        [&mut self.first, &mut self.second]
    }
}

/// `down(f(gate(x)) · up(x))`: with `SiLU` the block of `LLaMA`, with a GELU that of Gemma.
#[derive(Clone, Debug)]
pub struct GatedMlp {
    gate: Linear,
    up: Linear,
    down: Linear,
    activation: Activation,
}

impl GatedMlp {
    /// The maps' names in `LLaMA`'s checkpoints.
    pub const LLAMA: [&'static str; 3] = ["gate_proj", "up_proj", "down_proj"];

    /// A block whose maps (gate, up, down) are called `names`, such as [`Self::LLAMA`].
    pub fn new(config: &MlpConfig, names: [&str; 3], vb: VarBuilder) -> Result<Self> {
        let MlpConfig { dim, hidden, activation, bias } = *config;
        let linear = |from, to, name| Linear::new(from, to, bias, vb.pp(name));
        Ok(Self {
            gate: linear(dim, hidden, names[0])?,
            up: linear(dim, hidden, names[1])?,
            down: linear(hidden, dim, names[2])?,
            activation,
        })
    }

    /// Maps `x` (…, D) to the same shape.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.down.forward(&self.inner(x)?)
    }

    /// `residual` plus what [`Self::forward`] gives.
    pub fn forward_onto(&self, x: &Tensor, residual: &Tensor) -> Result<Tensor> {
        self.down.forward_onto(&self.inner(x)?, residual)
    }

    fn inner(&self, x: &Tensor) -> Result<Tensor> {
        self.activation.gated(&self.gate.forward(x)?, &self.up.forward(x)?) // (…, hidden)
    }

    /// The memory of [`Self::forward`] or [`Self::forward_onto`].
    #[must_use]
    pub fn trace(&self, x: &Shadow, residual: Option<&Shadow>) -> Shadow {
        let gate = self.gate.trace(x, true, None);
        let inner =
            Shadow::made(gate.dims(), &[&gate, &self.up.trace(x, false, None)], Work::default());
        drop(gate);
        self.down.trace(&inner, false, residual)
    }

    /// The three maps (gate, up, down), for adapters.
    pub fn linears_mut(&mut self) -> [&mut Linear; 3] {
        [&mut self.gate, &mut self.up, &mut self.down]
    }
}
