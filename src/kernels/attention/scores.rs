//! What is done to scores before the softmax: masks, a bias, an order. None of it learns.

use std::ops::Range;

use candle::{Result, Tensor};

use super::super::buffer::read;

/// A bias at or below this masks.
const MASKED: f32 = -1e30;

/// What is done to the scores of (B, H, N, M).
#[derive(Clone, Debug)]
pub(crate) struct Scores {
    pub(super) scale: f32,
    queries: usize,
    keys: usize,
    causal: bool,
    /// How many keys a query sees, its own the last of them; all when absent.
    window: Option<usize>,
    /// Whether each key is hidden, (B, M).
    hidden: Option<Vec<bool>>,
    bias: Option<Bias>,
}

#[derive(Clone, Debug)]
struct Bias {
    values: Vec<f32>,
    /// Steps between batches, heads, queries and keys.
    strides: [usize; 4],
}

impl Scores {
    /// `shape` is (B, H, N, M); `mask` (B, M) is not zero for keys that are seen; `bias` is
    /// broadcastable to `shape`.
    pub(crate) fn new(
        shape: [usize; 4],
        scale: f64,
        (causal, window): (bool, Option<usize>),
        mask: Option<&Tensor>,
        bias: Option<&Tensor>,
    ) -> Result<Self> {
        let hidden = match mask {
            None => None,
            Some(mask) => {
                let mask = mask.detach().to_dtype(candle::DType::F32)?;
                Some(read(&mask, |mask| mask.iter().map(|seen| *seen == 0.0).collect())?)
            }
        };
        let bias = match bias {
            None => None,
            Some(bias) => Some(Bias::new(&bias.detach(), shape)?),
        };
        let [_, _, queries, keys] = shape;
        Ok(Self { scale: scale as f32, queries, keys, causal, window, hidden, bias })
    }

    /// The keys that some of the queries see, but for the mask and the bias.
    pub(super) fn seen(&self, queries: &Range<usize>) -> Range<usize> {
        let (first, last) = (self.last(queries.start), self.last(queries.end.saturating_sub(1)));
        let start = self.window.map_or(0, |window| first.saturating_sub(window));
        start..if self.causal { last } else { self.keys }
    }

    /// The end of the keys up to a query's own.
    fn last(&self, query: usize) -> usize {
        (query + 1 + self.keys).saturating_sub(self.queries).min(self.keys)
    }

    /// Adds the bias to the scores of one query and some keys, and hides what it must not see.
    pub(super) fn alter(
        &self,
        (b, h): (usize, usize),
        query: usize,
        keys: &Range<usize>,
        row: &mut [f32],
    ) {
        if let Some(bias) = &self.bias {
            let [batch, head, step, key] = bias.strides;
            let start = b * batch + h * head + query * step + keys.start * key;
            for (j, x) in row.iter_mut().enumerate() {
                let bias = bias.values[start + j * key];
                *x = if bias <= MASKED { f32::NEG_INFINITY } else { *x + bias };
            }
        }
        if let Some(hidden) = &self.hidden {
            for (x, hidden) in row.iter_mut().zip(&hidden[b * self.keys + keys.start..]) {
                if *hidden {
                    *x = f32::NEG_INFINITY;
                }
            }
        }
        let seen = self.seen(&(query..query + 1));
        let within = |key: usize| key.clamp(keys.start, keys.end) - keys.start;
        row[..within(seen.start)].fill(f32::NEG_INFINITY);
        row[within(seen.end)..].fill(f32::NEG_INFINITY);
    }
}

impl Bias {
    fn new(bias: &Tensor, shape: [usize; 4]) -> Result<Self> {
        let bias = bias.to_dtype(candle::DType::F32)?.contiguous()?;
        let mut strides = [0; 4];
        strides.copy_from_slice(bias.broadcast_as(&shape)?.stride());
        Ok(Self { values: read(&bias, <[f32]>::to_vec)?, strides })
    }
}
