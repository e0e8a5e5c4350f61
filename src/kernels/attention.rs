//! Attention without keeping its probabilities, forward and backward.
//!
//! Source: Dao et al. 2022, "Fast and Memory-Efficient Exact Attention", arXiv:2205.14135, for recomputing the
//! probabilities in the backward. Here a block of queries sees all keys at once.

use std::cell::RefCell;
use std::ops::Range;

use candle::{Result, Tensor};

use super::buffer::read;
use super::crew::{each, parallel, parts, threads};
use super::gemm::{Into, Matrix, Threads, multiply};
use super::lines::Lines;
use super::panels::Panels;
use super::product::{Cells, Left, product_here};
use super::softmax::{softmax_backward_rows, softmax_rows};

/// Queries whose scores are held at once: some blocks of the tallest tile.
const ROWS: usize = 56;
/// A bias at or below this masks.
const MASKED: f32 = -1e30;

/// The sizes, and what is done to the scores.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) batch: usize,
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) queries: usize,
    pub(super) keys: usize,
    /// Features of queries and keys.
    pub(super) dim: usize,
    /// Features of values.
    pub(super) value_dim: usize,
    pub(super) scores: Scores,
}

/// What is done to the scores before the softmax. None of it learns.
#[derive(Clone, Debug)]
pub(crate) struct Scores {
    scale: f32,
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
        Ok(Self { scale: scale as f32, causal, window, hidden, bias })
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

/// Heads inside a slice: features are neighbours, the rest has strides.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heads<'a> {
    pub(super) data: &'a [f32],
    pub(super) batch: usize,
    pub(super) head: usize,
    pub(super) row: usize,
}

impl<'a> Heads<'a> {
    /// Rows `first`.. of one head.
    fn rows(self, b: usize, h: usize, first: usize, count: usize, dim: usize) -> Matrix<'a> {
        Matrix::strided(self.from(b, h, first), count, dim, self.row)
    }

    /// Rows `first`.. of one head as lines of a product.
    fn lines(self, (b, h): (usize, usize), first: usize, count: usize, depth: usize) -> Lines<'a> {
        Lines { values: self.from(b, h, first), count, depth, stride: self.row, along: true }
    }

    /// The features of one head as lines of a product.
    fn columns(self, (b, h): (usize, usize), depth: usize, count: usize) -> Lines<'a> {
        Lines { values: self.from(b, h, 0), count, depth, stride: self.row, along: false }
    }

    /// What lies behind the start of row `first` of one head.
    fn from(self, b: usize, h: usize, first: usize) -> &'a [f32] {
        let start = b * self.batch + h * self.head + first * self.row;
        self.data.get(start..).unwrap_or_default()
    }
}

impl Plan {
    fn group(&self) -> usize {
        self.heads / self.kv_heads
    }

    /// Queries in a block: equal blocks rather than full ones and a rest.
    fn block(&self) -> usize {
        self.queries.div_ceil(self.queries.div_ceil(ROWS).max(1)).max(1)
    }

    /// The probabilities (count, M) of one head for queries `first`...
    fn probabilities(
        &self,
        (q, k): (Heads, Heads),
        (b, h): (usize, usize),
        (first, count): (usize, usize),
        threads: Threads,
        out: &mut Vec<f32>,
    ) {
        let keys = self.keys;
        out.resize(count * keys, 0.0);
        let q = q.rows(b, h, first, count, self.dim);
        let k = k.rows(b, h / self.group(), 0, keys, self.dim).transposed();
        multiply(q, k, self.scores.scale, out, keys, Into::Fresh, threads);
        self.weigh((b, h), first, out);
    }

    /// Adds the bias to the scores of one query and hides what it must not see.
    fn alter(&self, b: usize, h: usize, query: usize, row: &mut [f32]) {
        if let Some(bias) = &self.scores.bias {
            let [batch, head, step, key] = bias.strides;
            let start = b * batch + h * head + query * step;
            for (j, x) in row.iter_mut().enumerate() {
                let bias = bias.values[start + j * key];
                *x = if bias <= MASKED { f32::NEG_INFINITY } else { *x + bias };
            }
        }
        if let Some(hidden) = &self.scores.hidden {
            for (x, hidden) in row.iter_mut().zip(&hidden[b * self.keys..]) {
                if *hidden {
                    *x = f32::NEG_INFINITY;
                }
            }
        }
        let seen = (query + 1 + self.keys).saturating_sub(self.queries).min(self.keys);
        if self.scores.causal {
            row[seen..].fill(f32::NEG_INFINITY);
        }
        if let Some(window) = self.scores.window {
            row[..seen.saturating_sub(window)].fill(f32::NEG_INFINITY);
        }
    }
}

/// The output, (B, N, H, E).
#[allow(unsafe_code)]
pub(super) fn forward(plan: &Plan, q: Heads, k: Heads, v: Heads) -> Vec<f32> {
    let width = plan.heads * plan.value_dim;
    let len = plan.batch * plan.queries * width;
    let mut out: Vec<f32> = Vec::with_capacity(len);
    let heads = plan.batch * plan.heads;
    // Few heads: the queries are cut as well, so that every thread has some tasks.
    let blocks = plan.queries.div_ceil(ROWS);
    let cuts = (2 * threads()).div_ceil(heads.max(1)).clamp(1, blocks.max(1));
    let cells = Cells(out.as_mut_ptr());
    parallel(heads * cuts, |task| {
        let (cut, b, h) = (task % cuts, task / cuts / plan.heads, task / cuts % plan.heads);
        let queries = plan.queries * cut / cuts..plan.queries * (cut + 1) / cuts;
        plan.head((q, k, v), (b, h), queries, &cells);
    });
    // SAFETY: the tasks cover all heads and queries, and each wrote all of its part.
    unsafe { out.set_len(len) };
    out
}

thread_local! {
    /// Keys and values laid out for products, and the scores of a block of queries.
    static SCRATCH: RefCell<[Vec<f32>; 3]> = const { RefCell::new([Vec::new(), Vec::new(), Vec::new()]) };
}

impl Plan {
    /// Some queries of one head.
    #[allow(unsafe_code)]
    fn head(
        &self,
        (q, k, v): (Heads, Heads, Heads),
        (b, h): (usize, usize),
        queries: Range<usize>,
        out: &Cells,
    ) {
        let (keys, kv, width) = (self.keys, h / self.group(), self.heads * self.value_dim);
        SCRATCH.with_borrow_mut(|[key_panels, value_panels, scores]| {
            let k = Panels::new(k.lines((b, kv), 0, keys, self.dim), key_panels);
            let v = Panels::new(v.columns((b, kv), keys, self.value_dim), value_panels);
            for first in queries.clone().step_by(ROWS) {
                let count = ROWS.min(queries.end - first);
                scores.resize((count * keys).max(scores.len()), 0.0);
                let scores = &mut scores[..count * keys];
                let left = q.lines((b, h), first, count, self.dim);
                let left = Left { rows: left, scale: Some(self.scores.scale) };
                // SAFETY: the scores have room for `count` rows of all keys, and are ours.
                unsafe { product_here(left, k, (scores.as_mut_ptr(), keys)) };
                self.weigh((b, h), first, scores);
                let start = (b * self.queries + first) * width + h * self.value_dim;
                let left = Left { rows: Lines::rows(scores, count, keys), scale: None };
                // SAFETY: these queries of this head lie inside the result and belong to this
                // task alone.
                unsafe { product_here(left, v, (out.0.add(start), width)) };
            }
        });
    }

    /// Turns the scores of the queries from `first` on into probabilities.
    fn weigh(&self, (b, h): (usize, usize), first: usize, scores: &mut [f32]) {
        if self.keys == 0 {
            return;
        }
        for (i, row) in scores.chunks_exact_mut(self.keys).enumerate() {
            self.alter(b, h, first + i, row);
        }
        softmax_rows(scores, self.keys);
    }
}

/// The gradients of q (B, H, N, D), k (B, Hkv, M, D) and v (B, Hkv, M, E) from that of the
/// output, `g` (B, N, H, E).
pub(super) fn backward(plan: &Plan, (q, k, v): (Heads, Heads, Heads), g: &[f32]) -> [Vec<f32>; 3] {
    let tasks = plan.batch * plan.kv_heads;
    let threads = Threads::beside(tasks);
    let g = Heads {
        data: g,
        batch: plan.queries * plan.heads * plan.value_dim,
        head: plan.value_dim,
        row: plan.heads * plan.value_dim,
    };
    let (dim, e) = (plan.dim, plan.value_dim);
    let mut dq = vec![0.0; tasks * plan.group() * plan.queries * dim];
    let mut dk = vec![0.0; tasks * plan.keys * dim];
    let mut dv = vec![0.0; tasks * plan.keys * e];
    let all = (
        parts(&mut dq, plan.group() * plan.queries * dim),
        parts(&mut dk, plan.keys * dim),
        parts(&mut dv, plan.keys * e),
    );
    each(all, 1, |task, (dq, dk, dv)| {
        let (b, kv) = (task / plan.kv_heads, task % plan.kv_heads);
        for (i, dq) in dq.chunks_mut((plan.queries * dim).max(1)).enumerate() {
            let head = (b, kv * plan.group() + i);
            head_gradient(plan, (q, k, v, g), head, [dq, dk, dv], threads);
        }
    });
    [dq, dk, dv]
}

/// One query head: writes `dq` (N, D), adds to `dk` (M, D) and `dv` (M, E).
fn head_gradient(
    plan: &Plan,
    (q, k, v, g): (Heads, Heads, Heads, Heads),
    (b, h): (usize, usize),
    [dq, dk, dv]: [&mut [f32]; 3],
    threads: Threads,
) {
    let (keys, dim, e, scale) = (plan.keys, plan.dim, plan.value_dim, plan.scores.scale);
    let kv = h / plan.group();
    let (k_head, v_head) = (k.rows(b, kv, 0, keys, dim), v.rows(b, kv, 0, keys, e));
    let (mut weights, mut dw, mut ds) = (Vec::new(), Vec::new(), Vec::new());
    for (i, dq) in dq.chunks_mut((plan.block() * dim).max(1)).enumerate() {
        let (first, count) = (i * plan.block(), dq.len() / dim);
        plan.probabilities((q, k), (b, h), (first, count), threads, &mut weights);
        if keys == 0 {
            continue;
        }
        let g = g.rows(b, h, first, count, e);
        dw.resize(count * keys, 0.0);
        ds.resize(count * keys, 0.0);
        multiply(g, v_head.transposed(), 1.0, &mut dw, keys, Into::Fresh, threads);
        softmax_backward_rows(&weights, &dw, &mut ds, keys);
        let (weights, ds) = (Matrix::new(&weights, count, keys), Matrix::new(&ds, count, keys));
        multiply(ds, k_head, scale, dq, dim, Into::Fresh, threads);
        let q = q.rows(b, h, first, count, dim);
        multiply(ds.transposed(), q, scale, dk, dim, Into::Sum, threads);
        multiply(weights.transposed(), g, 1.0, dv, e, Into::Sum, threads);
    }
}
