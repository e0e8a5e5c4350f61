//! Scaled dot-product attention as a function.
//!
//! Source: Vaswani et al. 2017, "Attention Is All You Need", arXiv:1706.03762; grouped queries:
//! Ainslie et al. 2023, "GQA", arXiv:2305.13245.

use candle::Tensor;

use super::half::widened;
use super::spans::{SCORES, spans};
use crate::kernels::Scores;
use crate::{Error, Result, kernels};

/// What [`attend`] does besides the product.
#[derive(Clone, Copy, Debug, Default)]
pub struct Attend<'a> {
    /// The factor of the scores; 1 / √D when absent.
    pub scale: Option<f64>,
    /// Query i sees keys up to i + M − N: the last query sees every key.
    pub causal: bool,
    /// Query i sees keys from i + M − N − window + 1 on.
    ///
    /// Source: Jiang et al. 2023, "Mistral 7B", arXiv:2310.06825.
    pub window: Option<usize>,
    /// Added to the scores, broadcastable to (B, H, N, M); values of −1e30 and below mask.
    pub bias: Option<&'a Tensor>,
    /// Which keys are real, (B, M): not zero = seen.
    pub mask: Option<&'a Tensor>,
}

/// Attention of `q` (B, H, N, D) over `k` (B, Hkv, M, D) and `v` (B, Hkv, M, E): (B, H, N, E).
///
/// With fewer key heads than query heads, each serves H / Hkv queries in a row. A query whose
/// keys are all masked gives zeros.
pub fn attend(q: &Tensor, k: &Tensor, v: &Tensor, options: &Attend) -> Result<Tensor> {
    check(q, k, v, options)?;
    let wide = if let Some(bias) = options.bias {
        let parts = [("queries", q), ("keys", k), ("values", v), ("bias", bias)];
        widened("attention", parts, |[q, k, v, bias]| {
            attend(q, k, v, &Attend { bias: Some(bias), ..*options })
        })?
    } else {
        let parts = [("queries", q), ("keys", k), ("values", v)];
        widened("attention", parts, |[q, k, v]| attend(q, k, v, options))?
    };
    if let Some(y) = wide {
        return Ok(y);
    }
    let (batch, heads, queries, dim) = q.dims4()?;
    let kv_heads = k.dim(1)?;
    if queries == 1 && heads > kv_heads && options.bias.is_none() && options.window.is_none() {
        // The heads of a group are queries of the same keys; the last query sees all of them.
        let q = q.reshape((batch, kv_heads, heads / kv_heads, dim))?;
        let y = attend(&q, k, v, &Attend { causal: false, ..*options })?;
        return Ok(y.reshape((batch, heads, 1, v.dim(3)?))?);
    }
    if options.fixed() && kernels::serve(&[q, k, v]) {
        let scores = options.scores([q.dim(0)?, q.dim(1)?, q.dim(2)?, k.dim(2)?], dim)?;
        return Ok(kernels::attend(q, k, v, scores)?.transpose(1, 2)?);
    }
    let (k, v) = (repeat_heads(k, q.dim(1)?)?, repeat_heads(v, q.dim(1)?)?);
    spans(q, &k, &v, options, SCORES)
}

/// Self-attention of `qkv` (B, N, (H + 2 Hkv) D), queries, keys and values in a row, if the kernel
/// serves it: (B, N, H·D).
pub(super) fn attend_packed(
    qkv: &Tensor,
    (heads, kv_heads): (usize, usize),
    options: &Attend,
) -> Result<Option<Tensor>> {
    let (batch, tokens, width) = qkv.dims3()?;
    let shape = [batch, heads, tokens, tokens];
    check_options(shape, options)?;
    if !options.fixed() || !kernels::serve(&[qkv]) {
        return Ok(None);
    }
    let scores = options.scores(shape, width / (heads + 2 * kv_heads))?;
    Ok(Some(kernels::attend_packed(qkv, heads, kv_heads, scores)?))
}

impl Attend<'_> {
    /// Whether nothing learns from the bias; the kernels give no gradient to it.
    pub(super) fn fixed(&self) -> bool {
        self.bias.is_none_or(|bias| !bias.track_op())
    }

    pub(super) fn factor(&self, dim: usize) -> f64 {
        self.scale.unwrap_or(1.0 / (dim as f64).sqrt())
    }

    fn scores(&self, shape: [usize; 4], dim: usize) -> Result<Scores> {
        let factor = self.factor(dim);
        Ok(Scores::new(shape, factor, (self.causal, self.window), self.mask, self.bias)?)
    }
}

fn repeat_heads(x: &Tensor, heads: usize) -> Result<Tensor> {
    let (batch, own, m, d) = x.dims4()?;
    if own == heads {
        return Ok(x.contiguous()?);
    }
    let x = x.unsqueeze(2)?.broadcast_as((batch, own, heads / own, m, d))?;
    Ok(x.reshape((batch, heads, m, d))?)
}

fn check(q: &Tensor, k: &Tensor, v: &Tensor, options: &Attend) -> Result<()> {
    let name = "attention";
    let four = |what: &str, x: &Tensor| -> Result<(usize, usize, usize, usize)> {
        x.dims4().map_err(|_| Error::shape(format!("{name} {what}"), "(B, H, N, D)", x.dims()))
    };
    let (batch, heads, n, d) = four("queries", q)?;
    let (_, kv_heads, m, _) = four("keys", k)?;
    four("values", v)?;
    if kv_heads == 0 || heads % kv_heads != 0 {
        let why = format!("found {kv_heads}, expected a divisor of {heads} query heads");
        return Err(Error::value("key heads", why));
    }
    if k.dims() != [batch, kv_heads, m, d] {
        let expected = format!("({batch}, {kv_heads}, M, {d})");
        return Err(Error::shape("attention keys", expected, k.dims()));
    }
    if v.dims()[..3] != [batch, kv_heads, m] {
        let expected = format!("({batch}, {kv_heads}, {m}, E)");
        return Err(Error::shape("attention values", expected, v.dims()));
    }
    if d == 0 || v.dims()[3] == 0 {
        return Err(Error::shape("attention features", "at least 1", &[d, v.dims()[3]]));
    }
    check_options([batch, heads, n, m], options)
}

fn check_options([batch, heads, n, m]: [usize; 4], options: &Attend) -> Result<()> {
    if let Some(mask) = options.mask.filter(|mask| mask.dims() != [batch, m]) {
        return Err(Error::shape("attention mask", format!("({batch}, {m})"), mask.dims()));
    }
    if let Some(bias) = options.bias
        && bias.broadcast_as((batch, heads, n, m)).is_err()
    {
        let expected = format!("broadcastable to ({batch}, {heads}, {n}, {m})");
        return Err(Error::shape("attention bias", expected, bias.dims()));
    }
    Ok(())
}
