//! Perceiver resampler: any number of image tokens in, a fixed number out.
//!
//! Source: the resampler of Alayrac et al. 2022, "Flamingo: a Visual Language Model for Few-Shot
//! Learning", arXiv:2204.14198, as `RadFM` has it (arXiv:2308.02463): the queries see themselves
//! behind the tokens.

use candle::Tensor;
use candle_nn::{Init, VarBuilder};
use serde::{Deserialize, Serialize};

use crate::nn::limits::{small, within};
use crate::nn::{
    Activation, Attention, AttentionConfig, AttentionInput, AttentionLayout, Bias, LayerNorm, Mlp,
    MlpConfig, Shadow, join, trace_join,
};
use crate::{Error, Result};

/// The sizes of a [`Perceiver`]; the default is `RadFM`'s.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PerceiverConfig {
    /// Features of tokens, queries and output.
    pub dim: usize,
    /// Layers.
    pub depth: usize,
    /// Attention heads.
    pub heads: usize,
    /// Features of a head.
    pub head_dim: usize,
    /// Learned queries.
    pub latents: usize,
    /// Features inside the feed-forward branch, as a multiple of `dim`.
    pub mlp_ratio: usize,
    /// Added to the variance in every norm.
    pub norm_eps: f64,
}

impl Default for PerceiverConfig {
    fn default() -> Self {
        Self {
            dim: 768,
            depth: 6,
            heads: 8,
            head_dim: 64,
            latents: 32,
            mlp_ratio: 4,
            norm_eps: 1e-5,
        }
    }
}

impl PerceiverConfig {
    /// Refuses what no model can be built from, naming the field.
    pub fn validate(&self) -> Result<()> {
        let sizes = [
            ("dim", self.dim, 16_384),
            ("depth", self.depth, 256),
            ("heads", self.heads, 1024),
            ("head_dim", self.head_dim, 1024),
            ("latents", self.latents, 1 << 16),
            ("mlp_ratio", self.mlp_ratio, 64),
        ];
        for (field, found, most) in sizes {
            within(format!("perceiver.{field}"), found, most)?;
        }
        small("perceiver.norm_eps", self.norm_eps)?;
        Ok(())
    }
}

/// Learned queries that gather from tokens, layer after layer; parameters `latents` (Q, D),
/// `layers.{0…}` and `norm`, in a layer `0.{norm_media,norm_latents,to_q,to_k,to_v,to_out}` and
/// `1.{0,1,3}`.
#[derive(Clone, Debug)]
pub struct Perceiver {
    latents: Tensor,
    layers: Vec<Layer>,
    norm: LayerNorm,
}

#[derive(Clone, Debug)]
struct Layer {
    norm_media: LayerNorm,
    norm_latents: LayerNorm,
    attention: Attention,
    norm: LayerNorm,
    mlp: Mlp,
}

impl Perceiver {
    /// A resampler as `config` says.
    pub fn new(config: &PerceiverConfig, vb: &VarBuilder) -> Result<Self> {
        config.validate()?;
        let &PerceiverConfig { dim, depth, latents, norm_eps, .. } = config;
        let layer = |i: usize| Layer::new(config, &vb.pp(format!("layers.{i}")));
        let init = Init::Randn { mean: 0.0, stdev: 1.0 };
        Ok(Self {
            latents: vb.get_with_hints((latents, dim), "latents", init)?,
            layers: (0..depth).map(layer).collect::<Result<_>>()?,
            norm: LayerNorm::new(dim, norm_eps, vb.pp("norm"))?,
        })
    }

    /// Maps `tokens` (B, N, D) to (B, Q, D); each image of the batch is on its own.
    pub fn forward(&self, tokens: &Tensor) -> Result<Tensor> {
        let (count, dim) = self.latents.dims2()?;
        let &[batch, _, features] = tokens.dims() else {
            return Err(self.refused(tokens.dims()));
        };
        if features != dim {
            return Err(self.refused(tokens.dims()));
        }
        let mut x = self.latents.broadcast_as((batch, count, dim))?.contiguous()?; // (B, Q, D)
        for layer in &self.layers {
            x = layer.forward(tokens, &x)?;
        }
        self.norm.forward(&x)
    }

    /// The memory of [`Self::forward`].
    pub fn trace(&self, tokens: &Shadow) -> Result<Shadow> {
        let &[batch, ..] = tokens.dims() else { return Err(self.refused(tokens.dims())) };
        let dims = [&[batch], self.latents.dims()].concat();
        let latents = tokens.account().weight(&self.latents).view(&dims);
        let mut x = Shadow::shared(&dims, &[&latents]);
        for layer in &self.layers {
            x = layer.trace(tokens, &x);
        }
        Ok(self.norm.trace(&x))
    }

    fn refused(&self, got: &[usize]) -> Error {
        Error::shape("perceiver tokens", format!("(B, N, {})", self.latents.dims()[1]), got)
    }
}

impl Layer {
    fn new(config: &PerceiverConfig, vb: &VarBuilder) -> Result<Self> {
        let &PerceiverConfig { dim, heads, head_dim, mlp_ratio, norm_eps, .. } = config;
        let (look, feed) = (vb.pp("0"), vb.pp("1"));
        let attention = AttentionConfig {
            head_dim: Some(head_dim),
            bias: Bias::Without,
            out_bias: Bias::Without,
            layout: AttentionLayout::split("to_q", "to_k", "to_v", "to_out"),
            ..AttentionConfig::new(dim, heads)
        };
        let (activation, bias) = (Activation::Gelu, Bias::Without);
        let mlp = MlpConfig { dim, hidden: mlp_ratio * dim, activation, bias };
        Ok(Self {
            norm_media: LayerNorm::new(dim, norm_eps, look.pp("norm_media"))?,
            norm_latents: LayerNorm::new(dim, norm_eps, look.pp("norm_latents"))?,
            attention: Attention::new(&attention, look)?,
            norm: LayerNorm::new(dim, norm_eps, feed.pp("0"))?,
            mlp: Mlp::new(&mlp, ["1", "3"], feed)?,
        })
    }

    fn forward(&self, tokens: &Tensor, x: &Tensor) -> Result<Tensor> {
        let queries = self.norm_latents.forward(x)?;
        let seen = join(&self.norm_media.forward(tokens)?, &queries)?; // (B, N + Q, D)
        let input = AttentionInput { context: Some(&seen), ..AttentionInput::default() };
        let x = self.attention.forward_onto(&queries, &input, x)?;
        self.mlp.forward_onto(&self.norm.forward(&x)?, &x)
    }

    fn trace(&self, tokens: &Shadow, x: &Shadow) -> Shadow {
        let queries = self.norm_latents.trace(x);
        let seen = trace_join(&self.norm_media.trace(tokens), &queries);
        let x = self.attention.trace(&queries, Some(&seen), Some(x));
        self.mlp.trace(&self.norm.trace(&x), Some(&x))
    }
}

#[cfg(test)]
mod tests {
    use candle::{DType, Device};

    use super::*;
    use crate::nn::Parameters;
    use crate::nn::testing::check_gradients;

    fn small() -> PerceiverConfig {
        PerceiverConfig {
            dim: 6,
            depth: 2,
            heads: 2,
            head_dim: 4,
            latents: 3,
            ..PerceiverConfig::default()
        }
    }

    #[test]
    fn the_resampler_has_true_gradients() {
        check_gradients(&[&[2, 5, 6]], |x, vb| Perceiver::new(&small(), &vb)?.forward(&x[0]));
    }

    #[test]
    fn any_number_of_tokens_becomes_as_many_as_there_are_queries() {
        let model = Perceiver::new(&small(), &Parameters::new(0, &Device::Cpu).builder()).unwrap();
        let run = |shape: &[usize]| {
            model.forward(&Tensor::ones(shape, DType::F32, &Device::Cpu).unwrap())
        };
        for count in [0, 1, 9] {
            assert_eq!(run(&[2, count, 6]).unwrap().dims(), [2, 3, 6]);
        }
        assert_eq!(run(&[0, 4, 6]).unwrap().dims(), [0, 3, 6]);
        let says = |shape: &[usize]| run(shape).unwrap_err().to_string();
        let expected = "perceiver tokens: expected shape (B, N, 6), got";
        assert_eq!(says(&[2, 4, 5]), format!("{expected} [2, 4, 5]"));
        assert_eq!(says(&[4, 6]), format!("{expected} [4, 6]"));
        let error = PerceiverConfig { latents: 0, ..small() }.validate().unwrap_err().to_string();
        assert_eq!(error, "config field `perceiver.latents`: found 0, expected 1 to 65536");
    }
}
