//! Multi-head attention with its four linear maps.
//!
//! Source: Vaswani et al. 2017, "Attention Is All You Need", arXiv:1706.03762.

mod trace;

use candle::Tensor;
use candle_nn::VarBuilder;

use super::attend::attend_packed;
use super::{Attend, Bias, KeyValues, Linear, Rope, attend};
use crate::{Error, Result};

/// The sizes of an [`Attention`] and the names of its parameters.
#[derive(Clone, Debug)]
pub struct AttentionConfig {
    /// Features of the input and the output.
    pub dim: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; `heads` of them is ordinary attention.
    pub kv_heads: usize,
    /// Features of one head; `dim / heads` when absent.
    pub head_dim: Option<usize>,
    /// Features of the context of cross-attention; `dim` when absent.
    pub context_dim: Option<usize>,
    /// Whether the maps to queries, keys and values add biases.
    pub bias: Bias,
    /// Whether the map to the output adds a bias.
    pub out_bias: Bias,
    /// How the checkpoint names the maps.
    pub layout: AttentionLayout,
}

impl AttentionConfig {
    /// Self-attention with biases, one key head for each query head and timm's names.
    pub fn new(dim: usize, heads: usize) -> Self {
        Self {
            dim,
            heads,
            kv_heads: heads,
            head_dim: None,
            context_dim: None,
            bias: Bias::With,
            out_bias: Bias::With,
            layout: AttentionLayout::timm(),
        }
    }
}

/// The names of the maps, relative to the layer; each may be a path such as `self.query`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttentionLayout {
    /// One map to queries, keys and values in a row.
    Fused {
        /// The map to queries, keys and values.
        qkv: String,
        /// The map to the output.
        out: String,
    },
    /// A map each.
    Split {
        /// The map to queries.
        query: String,
        /// The map to keys.
        key: String,
        /// The map to values.
        value: String,
        /// The map to the output.
        out: String,
    },
}

impl AttentionLayout {
    /// `qkv` and `proj`.
    pub fn timm() -> Self {
        Self::Fused { qkv: "qkv".to_owned(), out: "proj".to_owned() }
    }

    /// Four maps with these names.
    pub fn split(query: &str, key: &str, value: &str, out: &str) -> Self {
        let [query, key, value, out] = [query, key, value, out].map(str::to_owned);
        Self::Split { query, key, value, out }
    }
}

/// What a forward pass may see besides its input.
#[derive(Clone, Copy, Debug, Default)]
pub struct AttentionInput<'a> {
    /// What keys and values come from, (B, M, C); the input itself when absent.
    pub context: Option<&'a Tensor>,
    /// Which keys are real, (B, M): not zero = seen.
    pub mask: Option<&'a Tensor>,
    /// Added to the scores, broadcastable to (B, H, N, M).
    pub bias: Option<&'a Tensor>,
    /// Whether a query sees only keys up to its own place.
    pub causal: bool,
    /// How many keys a query sees, its own the last of them; all when absent.
    pub window: Option<usize>,
    /// The factor of the scores; 1 / √D when absent.
    pub scale: Option<f64>,
    /// Rotary positions and the place of the first token.
    pub rope: Option<(&'a Rope, usize)>,
}

impl<'a> AttentionInput<'a> {
    fn options(&self) -> Attend<'a> {
        Attend {
            scale: self.scale,
            causal: self.causal,
            window: self.window,
            bias: self.bias,
            mask: self.mask,
        }
    }
}

#[derive(Clone, Debug)]
enum Projections {
    Fused(Linear),
    Split { query: Linear, key: Linear, value: Linear },
}

/// Multi-head attention: self, cross, causal, masked, biased, grouped.
#[derive(Clone, Debug)]
pub struct Attention {
    projections: Projections,
    out: Linear,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
}

impl Attention {
    /// A layer as `config` says.
    pub fn new(config: &AttentionConfig, vb: VarBuilder) -> Result<Self> {
        let &AttentionConfig { dim, heads, kv_heads, bias, out_bias, .. } = config;
        check(config)?;
        let head_dim = config.head_dim.unwrap_or(dim / heads);
        let (inner, kv) = (heads * head_dim, kv_heads * head_dim);
        let context = config.context_dim.unwrap_or(dim);
        let (projections, out) = match &config.layout {
            AttentionLayout::Fused { qkv, out } => {
                let qkv = Linear::new(dim, inner + 2 * kv, bias, vb.pp(qkv))?;
                (Projections::Fused(qkv), out)
            }
            AttentionLayout::Split { query, key, value, out } => {
                let query = Linear::new(dim, inner, bias, vb.pp(query))?;
                let key = Linear::new(context, kv, bias, vb.pp(key))?;
                let value = Linear::new(context, kv, bias, vb.pp(value))?;
                (Projections::Split { query, key, value }, out)
            }
        };
        let out = Linear::new(inner, dim, out_bias, vb.pp(out))?;
        Ok(Self { projections, out, heads, kv_heads, head_dim })
    }

    /// Maps `x` (B, N, D) to the same shape.
    pub fn forward(&self, x: &Tensor, input: &AttentionInput) -> Result<Tensor> {
        self.out.forward(&self.attended(x, input)?)
    }

    /// `residual` (B, N, D) plus what [`Self::forward`] gives.
    pub fn forward_onto(
        &self,
        x: &Tensor,
        input: &AttentionInput,
        residual: &Tensor,
    ) -> Result<Tensor> {
        self.out.forward_onto(&self.attended(x, input)?, residual)
    }

    /// As [`Self::forward_onto`] for the tokens that follow those of `seen`, which then has them
    /// too. The mask covers all tokens; rotary positions go on from those seen, whatever
    /// `input` says.
    pub fn forward_after(
        &self,
        seen: &mut KeyValues,
        x: &Tensor,
        input: &AttentionInput,
        residual: &Tensor,
    ) -> Result<Tensor> {
        let (mut q, mut k, v) = self.project(x, None)?;
        if let Some((rope, _)) = input.rope {
            (q, k) = rope.apply(&q, &k, seen.len())?;
        }
        let (mut k, mut v) = seen.append(&k, &v)?;
        let (tokens, all) = (q.dim(2)?, k.dim(2)?);
        let mut mask = input.mask.cloned();
        if let Some(window) = input.window {
            // What no query sees any more need not be looked at.
            let past = (all + 1).saturating_sub(window.saturating_add(tokens));
            (k, v) = (k.narrow(2, past, all - past)?, v.narrow(2, past, all - past)?);
            mask = mask.map(|mask| mask.narrow(1, past, all - past)).transpose()?;
        }
        let window = input.window.filter(|_| tokens > 1);
        let options = Attend { mask: mask.as_ref(), window, ..input.options() };
        self.out.forward_onto(&join(&attend(&q, &k, &v, &options)?)?, residual)
    }

    /// Keys and values (B, M, Hkv·D) of `context` (B, M, C), for [`Self::forward_over`]; parts of
    /// one context can be joined, and used in several passes.
    ///
    /// # Errors
    /// When one map makes queries, keys and values.
    pub fn keys_values(&self, context: &Tensor) -> Result<(Tensor, Tensor)> {
        let Projections::Split { key, value, .. } = &self.projections else {
            return Err(needs_split());
        };
        Ok((key.forward(context)?, value.forward(context)?))
    }

    /// As [`Self::forward`], or with a residual [`Self::forward_onto`], for keys and values from
    /// [`Self::keys_values`]; the context of `input` does not count, nor do rotary positions.
    pub fn forward_over(
        &self,
        x: &Tensor,
        (keys, values): (&Tensor, &Tensor),
        input: &AttentionInput,
        residual: Option<&Tensor>,
    ) -> Result<Tensor> {
        let Projections::Split { query, .. } = &self.projections else {
            return Err(needs_split());
        };
        let q = self.part(&query.forward(x)?, self.heads)?;
        let (k, v) = (self.part(keys, self.kv_heads)?, self.part(values, self.kv_heads)?);
        let attended = join(&attend(&q, &k, &v, &input.options())?)?;
        match residual {
            Some(residual) => self.out.forward_onto(&attended, residual),
            None => self.out.forward(&attended),
        }
    }

    /// What the heads gathered, side by side (B, N, H·D).
    fn attended(&self, x: &Tensor, input: &AttentionInput) -> Result<Tensor> {
        if let (Projections::Fused(qkv), None, None) =
            (&self.projections, input.context, input.rope)
        {
            let qkv = qkv.forward(x)?; // (B, N, (H + 2 Hkv) D)
            let heads = (self.heads, self.kv_heads);
            if let Some(attended) = attend_packed(&qkv, heads, &input.options())? {
                return Ok(attended);
            }
            let (q, k, v) = self.split(&qkv)?;
            return join(&attend(&q, &k, &v, &input.options())?);
        }
        let (q, k, v) = self.project(x, input.context)?;
        let (q, k) = match input.rope {
            Some((rope, offset)) => rope.apply(&q, &k, offset)?,
            None => (q, k),
        };
        join(&attend(&q, &k, &v, &input.options())?)
    }

    /// Numbers of a token's keys and values.
    pub fn kept(&self) -> usize {
        2 * self.kv_heads * self.head_dim
    }

    /// Queries (B, H, N, D), keys and values (B, Hkv, M, D) of `x` and its context.
    pub fn project(
        &self,
        x: &Tensor,
        context: Option<&Tensor>,
    ) -> Result<(Tensor, Tensor, Tensor)> {
        match &self.projections {
            Projections::Fused(qkv) if context.is_none() => self.split(&qkv.forward(x)?),
            Projections::Fused(_) => Err(needs_split()),
            Projections::Split { query, key, value } => {
                let context = context.unwrap_or(x);
                Ok((
                    self.part(&query.forward(x)?, self.heads)?,
                    self.part(&key.forward(context)?, self.kv_heads)?,
                    self.part(&value.forward(context)?, self.kv_heads)?,
                ))
            }
        }
    }

    /// The heads of `qkv` (B, N, (H + 2 Hkv) D).
    fn split(&self, qkv: &Tensor) -> Result<(Tensor, Tensor, Tensor)> {
        let (inner, kv) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        let q = self.part(&qkv.narrow(2, 0, inner)?, self.heads)?;
        let k = self.part(&qkv.narrow(2, inner, kv)?, self.kv_heads)?;
        Ok((q, k, self.part(&qkv.narrow(2, inner + kv, kv)?, self.kv_heads)?))
    }

    /// From (B, N, H·D) to (B, H, N, D).
    fn part(&self, x: &Tensor, heads: usize) -> Result<Tensor> {
        let (batch, tokens, _) = x.dims3()?;
        Ok(x.reshape((batch, tokens, heads, self.head_dim))?.transpose(1, 2)?)
    }

    /// Joins the heads of `attended` (B, H, N, D) and maps them to the output (B, N, dim).
    pub fn merge(&self, attended: &Tensor) -> Result<Tensor> {
        self.out.forward(&join(attended)?)
    }

    /// The maps (queries, keys, values, then output, or all three in one), for adapters.
    pub fn linears_mut(&mut self) -> Vec<&mut Linear> {
        let mut all = match &mut self.projections {
            Projections::Fused(qkv) => vec![qkv],
            Projections::Split { query, key, value } => vec![query, key, value],
        };
        all.push(&mut self.out);
        all
    }
}

/// From (B, H, N, D) to (B, N, H·D).
fn join(heads: &Tensor) -> Result<Tensor> {
    let (batch, count, tokens, dim) = heads.dims4()?;
    Ok(heads.transpose(1, 2)?.reshape((batch, tokens, count * dim))?)
}

fn needs_split() -> Error {
    let why = "found a context, but one map makes queries, keys and values; \
               expected the split layout";
    Error::value("attention", why)
}

fn check(config: &AttentionConfig) -> Result<()> {
    let &AttentionConfig { dim, heads, kv_heads, head_dim, context_dim, .. } = config;
    if heads == 0 || (head_dim.is_none() && dim % heads != 0) {
        return Err(Error::config("heads", format!("found {heads}, expected a divisor of {dim}")));
    }
    if kv_heads == 0 || heads % kv_heads != 0 {
        let why = format!("found {kv_heads}, expected a divisor of {heads} heads");
        return Err(Error::config("kv_heads", why));
    }
    let fused = matches!(config.layout, AttentionLayout::Fused { .. });
    if fused && context_dim.is_some_and(|context| context != dim) {
        let why = "a context of other size than the input needs the split layout";
        return Err(Error::config("context_dim", why));
    }
    Ok(())
}
