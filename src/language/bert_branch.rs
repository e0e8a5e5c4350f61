//! The two branches of a BERT layer, attention and feed-forward, each normalised behind its sum.

use candle::Tensor;
use candle_nn::VarBuilder;

use super::BertConfig;
use crate::Result;
use crate::nn::{
    Attention, AttentionConfig, AttentionInput, AttentionLayout, Bias, Dropout, KeyValues,
    LayerNorm, Linear, Mlp, MlpConfig, Pass, Shadow, sum,
};

/// What stands behind a branch: dropout, the sum with what it branched from, a norm.
#[derive(Clone, Debug)]
struct Behind {
    norm: LayerNorm,
    dropout: Dropout,
}

impl Behind {
    fn new(config: &BertConfig, vb: VarBuilder) -> Result<Self> {
        let norm = LayerNorm::new(config.dim, config.norm_eps, vb)?;
        Ok(Self { norm, dropout: Dropout::new(config.dropout)? })
    }

    /// `branch` is given what to add its result to, where nothing lies between.
    fn forward(
        &self,
        x: &Tensor,
        pass: &Pass,
        branch: impl FnOnce(Option<&Tensor>) -> Result<Tensor>,
    ) -> Result<Tensor> {
        if !self.dropout.omits(pass) {
            return self.norm.forward(&branch(Some(x))?);
        }
        let branch = self.dropout.forward(&branch(None)?, pass)?;
        self.norm.forward(&sum(x, &branch)?)
    }

    /// The memory of [`Self::forward`].
    fn trace(
        &self,
        x: &Shadow,
        pass: &Pass,
        branch: impl FnOnce(Option<&Shadow>) -> Result<Shadow>,
    ) -> Result<Shadow> {
        if !self.dropout.omits(pass) {
            return Ok(self.norm.trace(&branch(Some(x))?));
        }
        let branch = self.dropout.trace(&branch(None)?, pass);
        Ok(self.norm.trace(&Shadow::shared(x.dims(), &[x, &branch])))
    }
}

/// Attention to the tokens themselves, or to a context.
#[derive(Clone, Debug)]
pub(crate) struct BertAttention {
    attention: Attention,
    behind: Behind,
}

impl BertAttention {
    /// Reads `self.{query,key,value}` and `output.{dense,LayerNorm}` under `vb`; the context has
    /// `context_dim` features, or those of a token.
    pub(crate) fn new(
        config: &BertConfig,
        context_dim: Option<usize>,
        vb: VarBuilder,
    ) -> Result<Self> {
        let attention = AttentionConfig {
            context_dim,
            layout: AttentionLayout::split("self.query", "self.key", "self.value", "output.dense"),
            ..AttentionConfig::new(config.dim, config.heads)
        };
        Ok(Self {
            attention: Attention::new(&attention, vb.clone())?,
            behind: Behind::new(config, vb.pp("output.LayerNorm"))?,
        })
    }

    /// Maps `x` (B, N, D) to the same shape.
    pub(crate) fn forward(
        &self,
        x: &Tensor,
        input: &AttentionInput,
        pass: &Pass,
    ) -> Result<Tensor> {
        self.behind.forward(x, pass, |onto| match onto {
            Some(residual) => self.attention.forward_onto(x, input, residual),
            None => self.attention.forward(x, input),
        })
    }

    /// Keys and values of `context` (B, M, C), for [`Self::forward_over`].
    pub(crate) fn keys_values(&self, context: &Tensor) -> Result<(Tensor, Tensor)> {
        self.attention.keys_values(context)
    }

    /// As [`Self::forward`] for keys and values that are there.
    pub(crate) fn forward_over(
        &self,
        x: &Tensor,
        (keys, values): &(Tensor, Tensor),
        input: &AttentionInput,
        pass: &Pass,
    ) -> Result<Tensor> {
        let over =
            |onto: Option<&Tensor>| self.attention.forward_over(x, (keys, values), input, onto);
        self.behind.forward(x, pass, over)
    }

    /// As [`Self::forward`], in use, for the tokens that follow those of `seen`.
    pub(crate) fn forward_after(
        &self,
        seen: &mut KeyValues,
        x: &Tensor,
        input: &AttentionInput,
    ) -> Result<Tensor> {
        self.behind.norm.forward(&self.attention.forward_after(seen, x, input, x)?)
    }

    /// The memory of [`Self::forward`].
    pub(crate) fn trace(
        &self,
        x: &Shadow,
        context: Option<&Shadow>,
        pass: &Pass,
    ) -> Result<Shadow> {
        self.behind.trace(x, pass, |onto| Ok(self.attention.trace(x, context, onto)))
    }

    /// The memory of [`Self::keys_values`].
    pub(crate) fn trace_keys_values(&self, context: &Shadow) -> Result<(Shadow, Shadow)> {
        self.attention.trace_keys_values(context)
    }

    /// The memory of [`Self::forward_over`].
    pub(crate) fn trace_over(
        &self,
        x: &Shadow,
        (keys, values): &(Shadow, Shadow),
        pass: &Pass,
    ) -> Result<Shadow> {
        self.behind.trace(x, pass, |onto| self.attention.trace_over(x, (keys, values), onto))
    }

    /// The linear maps, for adapters.
    pub(crate) fn linears_mut(&mut self) -> Vec<&mut Linear> {
        self.attention.linears_mut()
    }
}

/// Two maps with a nonlinearity between them.
#[derive(Clone, Debug)]
pub(crate) struct BertFeed {
    mlp: Mlp,
    behind: Behind,
}

impl BertFeed {
    /// Reads `intermediate{suffix}.dense` and `output{suffix}.{dense,LayerNorm}` under `vb`.
    pub(crate) fn new(config: &BertConfig, suffix: &str, vb: &VarBuilder) -> Result<Self> {
        let (dim, activation) = (config.dim, config.activation);
        let mlp = MlpConfig { dim, hidden: config.mlp_dim, activation, bias: Bias::With };
        let [first, second] = ["intermediate", "output"].map(|name| format!("{name}{suffix}"));
        let maps = [format!("{first}.dense"), format!("{second}.dense")];
        Ok(Self {
            mlp: Mlp::new(&mlp, [&maps[0], &maps[1]], vb.clone())?,
            behind: Behind::new(config, vb.pp(second).pp("LayerNorm"))?,
        })
    }

    /// Maps `x` (…, D) to the same shape.
    pub(crate) fn forward(&self, x: &Tensor, pass: &Pass) -> Result<Tensor> {
        self.behind.forward(x, pass, |onto| match onto {
            Some(residual) => self.mlp.forward_onto(x, residual),
            None => self.mlp.forward(x),
        })
    }

    /// The memory of [`Self::forward`].
    pub(crate) fn trace(&self, x: &Shadow, pass: &Pass) -> Result<Shadow> {
        self.behind.trace(x, pass, |onto| Ok(self.mlp.trace(x, onto)))
    }

    /// The linear maps, for adapters.
    pub(crate) fn linears_mut(&mut self) -> [&mut Linear; 2] {
        self.mlp.linears_mut()
    }
}
