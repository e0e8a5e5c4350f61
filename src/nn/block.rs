//! The transformer block that normalises before each branch.
//!
//! Source: Dosovitskiy et al. 2020, "An Image Is Worth 16x16 Words", arXiv:2010.11929.

use candle::Tensor;
use candle_nn::VarBuilder;

use super::{
    Activation, Attention, AttentionConfig, AttentionInput, Bias, DropPath, Dropout, LayerNorm,
    LayerScale, Linear, Mlp, MlpConfig, Pass, Shadow, sum,
};
use crate::Result;

/// The sizes of a [`Block`].
#[derive(Clone, Debug)]
pub struct BlockConfig {
    /// The attention and its names; its `dim` is the block's.
    pub attention: AttentionConfig,
    /// Features between the two maps of the feed-forward branch.
    pub mlp_dim: usize,
    /// What lies between the two maps.
    pub activation: Activation,
    /// Added to the variance in the two norms.
    pub norm_eps: f64,
    /// Where the factors of both branches start; no factors when absent.
    pub layer_scale: Option<f64>,
    /// Probability of omitting single values of a branch.
    pub dropout: f64,
    /// Probability of omitting a whole branch.
    pub drop_path: f64,
}

impl BlockConfig {
    /// The usual block: four times as wide inside, GELU, eps 1e-6, nothing omitted.
    pub fn new(dim: usize, heads: usize) -> Self {
        Self {
            attention: AttentionConfig::new(dim, heads),
            mlp_dim: 4 * dim,
            activation: Activation::Gelu,
            norm_eps: 1e-6,
            layer_scale: None,
            dropout: 0.0,
            drop_path: 0.0,
        }
    }
}

/// `x + ls1(attn(norm1(x)))`, then `x + ls2(mlp(norm2(x)))`; parameters named so.
#[derive(Clone, Debug)]
pub struct Block {
    norm1: LayerNorm,
    attn: Attention,
    ls1: Option<LayerScale>,
    norm2: LayerNorm,
    mlp: Mlp,
    ls2: Option<LayerScale>,
    dropout: Dropout,
    drop_path: DropPath,
}

impl Block {
    /// A block as `config` says.
    pub fn new(config: &BlockConfig, vb: VarBuilder) -> Result<Self> {
        let dim = config.attention.dim;
        let mlp = MlpConfig {
            dim,
            hidden: config.mlp_dim,
            activation: config.activation,
            bias: Bias::With,
        };
        let scale = |name| {
            config.layer_scale.map(|init| LayerScale::new(dim, init, vb.pp(name))).transpose()
        };
        Ok(Self {
            norm1: LayerNorm::new(dim, config.norm_eps, vb.pp("norm1"))?,
            attn: Attention::new(&config.attention, vb.pp("attn"))?,
            ls1: scale("ls1")?,
            norm2: LayerNorm::new(dim, config.norm_eps, vb.pp("norm2"))?,
            mlp: Mlp::new(&mlp, ["fc1", "fc2"], vb.pp("mlp"))?,
            ls2: scale("ls2")?,
            dropout: Dropout::new(config.dropout)?,
            drop_path: DropPath::new(config.drop_path)?,
        })
    }

    /// Maps `x` (B, N, D) to the same shape.
    pub fn forward(&self, x: &Tensor, input: &AttentionInput, pass: &Pass) -> Result<Tensor> {
        let seen = self.norm1.forward(x)?;
        let x = if self.adds_at_once(self.ls1.as_ref(), pass) {
            self.attn.forward_onto(&seen, input, x)?
        } else {
            sum(x, &self.branch(self.attn.forward(&seen, input)?, self.ls1.as_ref(), pass)?)?
        };
        let seen = self.norm2.forward(&x)?;
        if self.adds_at_once(self.ls2.as_ref(), pass) {
            return self.mlp.forward_onto(&seen, &x);
        }
        sum(&x, &self.branch(self.mlp.forward(&seen)?, self.ls2.as_ref(), pass)?)
    }

    /// The memory of [`Self::forward`], without a context.
    #[must_use]
    pub fn trace(&self, x: &Shadow, pass: &Pass) -> Shadow {
        let seen = self.norm1.trace(x);
        let x = if self.adds_at_once(self.ls1.as_ref(), pass) {
            self.attn.trace(&seen, None, Some(x))
        } else {
            let branch = self.attn.trace(&seen, None, None);
            Shadow::shared(x.dims(), &[x, &self.trace_branch(branch, self.ls1.as_ref(), pass)])
        };
        let seen = self.norm2.trace(&x);
        if self.adds_at_once(self.ls2.as_ref(), pass) {
            return self.mlp.trace(&seen, Some(&x));
        }
        let branch = self.mlp.trace(&seen, None);
        Shadow::shared(x.dims(), &[&x, &self.trace_branch(branch, self.ls2.as_ref(), pass)])
    }

    /// All linear maps (attention, then feed-forward), for adapters.
    pub fn linears_mut(&mut self) -> Vec<&mut Linear> {
        let mut all = self.attn.linears_mut();
        all.extend(self.mlp.linears_mut());
        all
    }

    /// Whether nothing lies between a branch and the sum with what it branched from.
    fn adds_at_once(&self, scale: Option<&LayerScale>, pass: &Pass) -> bool {
        scale.is_none() && !self.dropout.omits(pass) && !self.drop_path.omits(pass)
    }

    fn trace_branch(&self, x: Shadow, scale: Option<&LayerScale>, pass: &Pass) -> Shadow {
        let x = self.dropout.trace(&x, pass);
        let x = scale.map_or_else(|| x.clone(), |scale| scale.trace(&x));
        self.drop_path.trace(&x, pass)
    }

    fn branch(&self, x: Tensor, scale: Option<&LayerScale>, pass: &Pass) -> Result<Tensor> {
        let x = self.dropout.forward(&x, pass)?;
        let x = scale.map_or_else(|| Ok(x.clone()), |scale| scale.forward(&x))?;
        self.drop_path.forward(&x, pass)
    }
}
