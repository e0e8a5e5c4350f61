//! Attention as candle's operations, a span of queries at a time: exact, in memory that grows with
//! the number of tokens, not with its square.
//!
//! Source: Rabe and Staats 2021, "Self-attention Does Not Need O(n²) Memory", arXiv:2112.05682, of
//! which the spans of queries are enough here: each sees all keys, so its softmax is whole.

use candle::{DType, Tensor};

use super::composed::wide;
use super::{Attend, softmax};
use crate::Result;
use crate::kernels::recomputed;

/// A score or a bias at or below this counts as masked; `-inf` and the lowest float are.
const MASKED: f64 = -1e30;

/// The most scores that are held at once: 128 MiB in float32, and a few times that while the
/// softmax is taken.
pub(super) const SCORES: usize = 1 << 25;

/// Attention of `q` (B, H, N, D) over `k` (B, H, M, D) and `v` (B, H, M, E), with at most `most`
/// scores (or those of one query) at a time: (B, H, N, E).
///
/// A bias that learns is an input like these, whose gradient comes back a span at a time.
pub(super) fn spans(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    options: &Attend,
    most: usize,
) -> Result<Tensor> {
    let (batch, heads, queries, dim) = q.dims4()?;
    let row = (batch * heads * k.dim(2)?).max(1);
    let step = (most / row).clamp(1, queries.max(1));
    let mut parts = Vec::with_capacity(queries.div_ceil(step));
    for first in (0..queries.max(1)).step_by(step) {
        let count = step.min(queries - first);
        let mut span = Span::new(options, dim, [first, count, queries])?;
        let learns = if options.fixed() { None } else { span.bias.take() };
        let part = |parts: &[Tensor], span: &Span| span.attend(parts);
        let again = span.clone();
        let q = q.narrow(2, first, count)?;
        let inputs: Vec<&Tensor> = [&q, k, v].into_iter().chain(&learns).collect();
        let part =
            recomputed(&inputs, |parts| part(parts, &span), move |parts| part(parts, &again))?;
        parts.push(part);
    }
    Ok(if parts.len() == 1 { parts.remove(0) } else { Tensor::cat(&parts, 2)? })
}

/// A run of queries, and what their scores go through.
#[derive(Clone)]
struct Span {
    factor: f64,
    /// The number of the first query, and of all.
    place: [usize; 2],
    causal: bool,
    window: Option<usize>,
    bias: Option<Tensor>,
    mask: Option<Tensor>,
}

impl Span {
    /// The queries from `first` on, `count` of `queries`.
    fn new(options: &Attend, dim: usize, [first, count, queries]: [usize; 3]) -> Result<Self> {
        let bias = options.bias.map(|bias| {
            let rows = bias.rank().checked_sub(2).filter(|rows| bias.dims()[*rows] == queries);
            rows.map_or_else(|| Ok(bias.clone()), |rows| bias.narrow(rows, first, count))
        });
        Ok(Self {
            factor: options.factor(dim),
            place: [first, queries],
            causal: options.causal,
            window: options.window,
            bias: bias.transpose()?,
            mask: options.mask.cloned(),
        })
    }

    /// Attention of these queries (B, H, n, D) over keys and values, with the bias that may follow
    /// them: (B, H, n, E).
    fn attend(&self, parts: &[Tensor]) -> Result<Tensor> {
        let (q, k, v, bias) = (&parts[0], &parts[1], &parts[2], parts.get(3));
        let bias = bias.or(self.bias.as_ref());
        let scores = (q * self.factor)?.contiguous()?.matmul(&k.contiguous()?.t()?)?;
        let mut scores = wide(&scores)?; // (B, H, n, M)
        if let Some(bias) = bias {
            let bias = bias.to_dtype(scores.dtype())?.clamp(MASKED, f64::from(f32::MAX))?;
            scores = scores.broadcast_add(&bias)?;
        }
        let Some(keep) = self.visible(&scores, bias)? else {
            return Ok(softmax(&scores)?.to_dtype(v.dtype())?.matmul(&v.contiguous()?)?);
        };
        let keep = keep.broadcast_as(scores.shape())?.contiguous()?;
        let low = Tensor::full(MASKED as f32, (1, 1, 1, 1), scores.device())?;
        let low = low.to_dtype(scores.dtype())?.broadcast_as(scores.shape())?;
        let scores = keep.where_cond(&scores, &low)?;
        // The product turns a row without any key from uniform to zero.
        let weights = (softmax(&scores)? * keep.to_dtype(scores.dtype())?)?;
        Ok(weights.to_dtype(v.dtype())?.matmul(&v.contiguous()?)?)
    }

    /// Which scores count, as 0 or 1 broadcastable to (B, H, n, M); `None` when all do.
    fn visible(&self, scores: &Tensor, bias: Option<&Tensor>) -> Result<Option<Tensor>> {
        let (batch, _, n, m) = scores.dims4()?;
        let mut keep: Option<Tensor> = None;
        let mut both = |next: Tensor| -> Result<()> {
            keep = Some(match keep.take() {
                None => next,
                Some(keep) => keep.broadcast_mul(&next)?,
            });
            Ok(())
        };
        if let Some(mask) = &self.mask {
            both(mask.ne(&mask.zeros_like()?)?.reshape((batch, 1, 1, m))?)?;
        }
        if self.causal || self.window.is_some() {
            let [first, queries] = self.place;
            let sees = |i: usize, j: usize| {
                let past = |window| j + queries + window > first + i + m;
                (!self.causal || j + queries <= first + i + m) && self.window.is_none_or(past)
            };
            let rows = (0..n).flat_map(|i| (0..m).map(move |j| u8::from(sees(i, j)))).collect();
            both(Tensor::from_vec(rows, (1, 1, n, m), scores.device())?)?;
        }
        if let Some(bias) = bias.filter(|bias| may_mask(bias)) {
            let bias = bias.detach().to_dtype(DType::F64)?;
            let seen = bias.gt(&Tensor::full(MASKED, bias.shape(), bias.device())?)?;
            both(seen.broadcast_as(scores.shape())?.contiguous()?)?;
        }
        Ok(keep)
    }
}

/// Whether the bias may hide keys. On the CPU a look is cheaper than a mask of the scores' size.
fn may_mask(bias: &Tensor) -> bool {
    let lowest = || bias.detach().to_dtype(DType::F64)?.min_all()?.to_scalar::<f64>();
    !bias.device().is_cpu() || lowest().map_or(true, |lowest| lowest <= MASKED || lowest.is_nan())
}

#[cfg(test)]
mod tests {
    use candle::{Device, Var};

    use super::*;
    use crate::nn::testing::{assert_close, noise};
    use crate::nn::{attend, record};
    use crate::random::Random;

    /// Forward and gradients of spans of at most `most` scores against the fused kernel.
    fn check(options: &Attend, most: usize) {
        let mut random = Random::new(3, &[]);
        let mut var = |shape: [usize; 4]| {
            let values = noise(&shape, &mut random).to_dtype(DType::F32).unwrap();
            Var::from_tensor(&values).unwrap()
        };
        let (q, k, v) = (var([2, 3, 7, 4]), var([2, 3, 9, 4]), var([2, 3, 9, 5]));
        let (spanned, fused) =
            (spans(&q, &k, &v, options, most).unwrap(), attend(&q, &k, &v, options).unwrap());
        assert_close("output", &spanned, &fused, 1e-5);
        let gradients = |out: Tensor| {
            let store = out.sin().unwrap().sum_all().unwrap().backward().unwrap();
            [&q, &k, &v].map(|var| store.get(var).unwrap().clone())
        };
        for (spanned, fused) in gradients(spanned).iter().zip(&gradients(fused)) {
            assert_close("gradient", spanned, fused, 1e-5);
        }
    }

    #[test]
    fn spans_of_queries_give_what_the_kernel_gives_and_its_gradients() {
        let mask = Tensor::new(&[[1u8, 0, 1, 1, 0, 1, 1, 1, 1], [0; 9]], &Device::Cpu).unwrap();
        let bias = noise(&[7, 9], &mut Random::new(5, &[])).to_dtype(DType::F32).unwrap();
        let key_bias = bias.narrow(0, 2, 1).unwrap();
        let all = [
            Attend::default(),
            Attend { causal: true, ..Attend::default() },
            Attend { mask: Some(&mask), scale: Some(0.3), ..Attend::default() },
            Attend { bias: Some(&bias), causal: true, ..Attend::default() },
            Attend { causal: true, window: Some(3), ..Attend::default() },
            Attend { mask: Some(&mask), window: Some(2), ..Attend::default() },
            Attend { bias: Some(&key_bias), mask: Some(&mask), ..Attend::default() },
        ];
        for options in &all {
            // One query, three queries and all of them at a time.
            for most in [1, 3 * 2 * 3 * 9, SCORES] {
                check(options, most);
            }
        }
    }

    #[test]
    fn a_bias_that_learns_has_the_same_gradient_whatever_the_spans() {
        let mut random = Random::new(7, &[]);
        let mut var = |shape: &[usize]| {
            let values = noise(shape, &mut random).to_dtype(DType::F32).unwrap();
            Var::from_tensor(&values).unwrap()
        };
        let (q, k, v) = (var(&[2, 3, 7, 4]), var(&[2, 3, 9, 4]), var(&[2, 3, 9, 5]));
        let bias = var(&[1, 3, 7, 9]);
        let options = Attend { bias: Some(&bias), ..Attend::default() };
        let loss =
            |most| -> Result<Tensor> { Ok(spans(&q, &k, &v, &options, most)?.sin()?.sum_all()?) };
        let plain = loss(SCORES).unwrap().backward().unwrap();
        for most in [1, 3 * 2 * 3 * 9, SCORES] {
            let (loss, tape) = record(|| loss(most)).unwrap();
            let mut found = tape.backward(&loss).unwrap();
            for var in [&q, &k, &v, &bias] {
                let gradient = found.take(var).unwrap();
                assert_close("gradient", &gradient, plain.get(var).unwrap(), 1e-5);
            }
        }
    }
}
