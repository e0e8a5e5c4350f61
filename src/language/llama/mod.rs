//! Decoders of the `LLaMA` family: each token from those before it.
//!
//! Source: Touvron et al. 2023, "`LLaMA`", arXiv:2302.13971; grouped keys: Ainslie et al. 2023,
//! arXiv:2305.13245; window: Jiang et al. 2023, "Mistral 7B", arXiv:2310.06825; biases: Yang et
//! al. 2024, "Qwen2", arXiv:2407.10671. Parameter names are those of Hugging Face's models.

mod cache;
mod config;
mod hf;
mod lora;
mod trace;

use candle::{DType, Device, Tensor};
use candle_nn::VarBuilder;

use crate::nn::{
    Attention, AttentionConfig, AttentionInput, AttentionLayout, Bias, CrossEntropy, Embedding,
    GatedMlp, KeyValues, Linear, MlpConfig, Pass, RmsNorm, Rope, RopeLayout,
};
use crate::{Error, Result};

pub use cache::Cache;
pub use config::{Family, LlamaConfig};
pub use lora::LoraConfig;
pub(crate) use trace::CacheTrace;

/// Logits that are held at once when texts are scored, in numbers.
pub(crate) const SCORED: usize = 1 << 22;

/// A decoder: word table, layers, norm and output layer.
#[derive(Clone, Debug)]
pub struct Llama {
    config: LlamaConfig,
    embed_tokens: Embedding,
    layers: Vec<Layer>,
    norm: RmsNorm,
    lm_head: Linear,
}

impl Llama {
    /// A model as `config` says.
    pub fn new(config: &LlamaConfig, vb: VarBuilder) -> Result<Self> {
        Self::build(config, vb, |_| Ok(()))
    }

    /// As [`Self::new`] for inference only: `seal` makes each linear map let go of its weight, layer
    /// by layer; see [`Linear::seal`].
    pub fn sealed(
        config: &LlamaConfig,
        vb: VarBuilder,
        seal: impl FnMut(&mut Linear) -> Result<()>,
    ) -> Result<Self> {
        Self::build(config, vb, seal)
    }

    fn build(
        config: &LlamaConfig,
        vb: VarBuilder,
        mut each: impl FnMut(&mut Linear) -> Result<()>,
    ) -> Result<Self> {
        config.validate()?;
        let &LlamaConfig { dim, vocab_size, .. } = config;
        let model = vb.pp("model");
        let embed_tokens = Embedding::new(vocab_size, dim, model.pp("embed_tokens"))?;
        let base = (config.rope_theta, config.rope_scaling);
        let (size, places) = (config.head_size(), config.max_positions);
        let rope = Rope::scaled(size, base, places, RopeLayout::Halves, vb.device())?;
        let mut layer = |i: usize| -> Result<Layer> {
            let mut layer = Layer::new(config, i, &rope, model.pp(format!("layers.{i}")))?;
            layer.linears_mut().into_iter().try_for_each(&mut each)?;
            Ok(layer)
        };
        let layers = (0..config.depth).map(&mut layer).collect::<Result<_>>()?;
        let mut lm_head = if config.tied {
            Linear::tied(embed_tokens.weight(), &vb.pp("lm_head"))
        } else {
            Linear::new(dim, vocab_size, Bias::Without, vb.pp("lm_head"))?
        };
        each(&mut lm_head)?;
        let norm = RmsNorm::new(dim, config.norm_eps, model.pp("norm"))?;
        Ok(Self { config: config.clone(), embed_tokens, layers, norm, lm_head })
    }

    /// The options it was built from.
    pub fn config(&self) -> &LlamaConfig {
        &self.config
    }

    /// The device that holds the parameters.
    pub fn device(&self) -> &Device {
        self.embed_tokens.weight().device()
    }

    /// Looks up `ids` (B, T), integers: (B, T, D).
    pub fn embed(&self, ids: &Tensor) -> Result<Tensor> {
        ids.dims2().map_err(|_| Error::shape("token ids", "(B, T)", ids.dims()))?;
        self.embed_tokens.forward(ids)
    }

    /// Maps `x` (B, T, D), of which `mask` (B, T) is not zero on real tokens, to the states that
    /// the output layer reads (B, T, D).
    ///
    /// `x` are the vectors of [`Self::embed`], or others among them: of an image, say. Those that
    /// the mask hides may lie on either side; states there have no meaning.
    pub fn forward(&self, x: &Tensor, mask: Option<&Tensor>, pass: &Pass) -> Result<Tensor> {
        self.check(x, 0)?;
        let mut x = x.clone();
        for layer in &self.layers {
            let (layer, mask) = (layer.clone(), mask.cloned());
            x = pass.block(&x, move |x, _| layer.forward(x, mask.as_ref()))?;
        }
        self.norm.forward(&x)
    }

    /// As [`Self::forward`] for the tokens that follow those in `cache`, which then has them too.
    /// Nothing learns from it.
    pub fn forward_after(
        &self,
        cache: &mut Cache,
        x: &Tensor,
        mask: Option<&Tensor>,
    ) -> Result<Tensor> {
        self.check(x, cache.len())?;
        let mask = cache.extend(self.layers.len(), x, mask)?;
        let mut x = x.clone();
        for (layer, seen) in self.layers.iter().zip(cache.layers_mut()) {
            x = layer.forward_after(seen, &x, mask.as_ref())?;
        }
        self.norm.forward(&x)
    }

    /// The logits (…, V) of `states` (…, D), in float32.
    pub fn logits(&self, states: &Tensor) -> Result<Tensor> {
        Ok(self.lm_head.forward(states)?.to_dtype(DType::F32)?)
    }

    /// The mean cross-entropy of each of `targets` (B, T) after the first with the state before it,
    /// of `states` (B, T, D); targets of −100 do not count.
    ///
    /// The logits are never held at once.
    pub fn loss(&self, states: &Tensor, targets: &Tensor) -> Result<Tensor> {
        let (batch, tokens, _) = states.dims3()?;
        if targets.dims() != [batch, tokens] || tokens < 2 {
            let expected = format!("({batch}, {tokens}) of at least two tokens");
            return Err(Error::shape("targets", expected, targets.dims()));
        }
        let before = states.narrow(1, 0, tokens - 1)?;
        let targets = targets.narrow(1, 1, tokens - 1)?.flatten_all()?;
        let weight = self.lm_head.weight()?.to_dtype(before.dtype())?;
        let (before, targets) = counted(&before, targets)?;
        CrossEntropy::default().of_states(&before, &weight, None, &targets)
    }

    /// The sum of the log-probabilities of `tokens`, each by the state before it, `states` (T, D).
    pub fn log_probability(&self, states: &Tensor, tokens: &[u32]) -> Result<f64> {
        let step = (SCORED / self.config.vocab_size).max(1);
        let mut sum = 0.0;
        for first in (0..tokens.len()).step_by(step) {
            let count = step.min(tokens.len() - first);
            let logits = self.logits(&states.narrow(0, first, count)?)?;
            for (row, token) in logits.to_vec2::<f32>()?.iter().zip(&tokens[first..]) {
                let top = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let all: f64 = row.iter().map(|x| f64::from(x - top).exp()).sum();
                sum += f64::from(row[*token as usize] - top) - all.ln();
            }
        }
        Ok(sum)
    }

    /// Every linear map of the layers (queries, keys, values, output, gate, up, down), for
    /// adapters.
    pub fn linears_mut(&mut self) -> Vec<&mut Linear> {
        self.layers.iter_mut().flat_map(Layer::linears_mut).collect()
    }

    fn check(&self, x: &Tensor, before: usize) -> Result<()> {
        let most = self.config.max_positions.saturating_sub(before);
        let dim = self.config.dim;
        match *x.dims() {
            [_, tokens, found] if found == dim && (1..=most).contains(&tokens) => Ok(()),
            _ => Err(Error::shape("token vectors", format!("(B, 1 to {most}, {dim})"), x.dims())),
        }
    }
}

/// One layer, which normalises before each branch.
#[derive(Clone, Debug)]
struct Layer {
    input_layernorm: RmsNorm,
    self_attn: Attention,
    post_attention_layernorm: RmsNorm,
    mlp: GatedMlp,
    rope: Rope,
    window: Option<usize>,
}

impl Layer {
    fn new(config: &LlamaConfig, layer: usize, rope: &Rope, vb: VarBuilder) -> Result<Self> {
        let &LlamaConfig { dim, heads, kv_heads, norm_eps, .. } = config;
        let attention = AttentionConfig {
            kv_heads,
            head_dim: config.head_dim,
            bias: Bias::of(config.biased_inputs()),
            out_bias: Bias::of(config.attention_bias),
            layout: AttentionLayout::split("q_proj", "k_proj", "v_proj", "o_proj"),
            ..AttentionConfig::new(dim, heads)
        };
        let mlp = MlpConfig {
            dim,
            hidden: config.mlp_dim,
            activation: config.activation,
            bias: Bias::of(config.mlp_bias),
        };
        let norm = |name| RmsNorm::new(dim, norm_eps, vb.pp(name));
        Ok(Self {
            input_layernorm: norm("input_layernorm")?,
            self_attn: Attention::new(&attention, vb.pp("self_attn"))?,
            post_attention_layernorm: norm("post_attention_layernorm")?,
            mlp: GatedMlp::new(&mlp, GatedMlp::LLAMA, vb.pp("mlp"))?,
            rope: rope.clone(),
            window: config.window_of(layer),
        })
    }

    fn input<'a>(&'a self, mask: Option<&'a Tensor>) -> AttentionInput<'a> {
        AttentionInput {
            mask,
            causal: true,
            window: self.window,
            rope: Some((&self.rope, 0)),
            ..AttentionInput::default()
        }
    }

    fn forward(&self, x: &Tensor, mask: Option<&Tensor>) -> Result<Tensor> {
        let seen = self.input_layernorm.forward(x)?;
        let x = self.self_attn.forward_onto(&seen, &self.input(mask), x)?;
        self.mlp.forward_onto(&self.post_attention_layernorm.forward(&x)?, &x)
    }

    fn forward_after(
        &self,
        before: &mut KeyValues,
        x: &Tensor,
        mask: Option<&Tensor>,
    ) -> Result<Tensor> {
        let seen = self.input_layernorm.forward(x)?;
        let x = self.self_attn.forward_after(before, &seen, &self.input(mask), x)?;
        self.mlp.forward_onto(&self.post_attention_layernorm.forward(&x)?, &x)
    }

    fn linears_mut(&mut self) -> Vec<&mut Linear> {
        let mut all = self.self_attn.linears_mut();
        all.extend(self.mlp.linears_mut());
        all
    }
}

/// The states (M, D) whose targets (N) count, and those: a prompt is often longer than its answer.
fn counted(states: &Tensor, targets: Tensor) -> Result<(Tensor, Tensor)> {
    let states = states.flatten_to(1)?;
    let ignored = CrossEntropy::default().ignored;
    let known = targets.to_vec1::<i64>()?;
    let counted: Vec<u32> =
        (0u32..).zip(&known).filter(|(_, target)| **target != ignored).map(|(at, _)| at).collect();
    if counted.is_empty() || counted.len() == known.len() {
        return Ok((states, targets));
    }
    let at = Tensor::new(counted, states.device())?;
    Ok((states.index_select(&at, 0)?, targets.index_select(&at, 0)?))
}

#[cfg(test)]
mod tests;
