//! Attention without keeping its probabilities, forward and backward.
//!
//! Source: Dao 2023, "FlashAttention-2: Faster Attention with Better Parallelism and Work
//! Partitioning", arXiv:2307.08691. Some queries meet some keys at a time: their scores stay in
//! the nearest caches, and become weights relative to the largest score so far. Of the forward
//! only two numbers a query are kept; the backward makes the weights again. (One number, the
//! logarithm of the sum, would do, but its rounding reaches all weights of the query.)

mod backward;
mod forward;
mod ops;
mod scores;

use std::cell::RefCell;
use std::ops::Range;

use super::buffer::Blank;
use super::lines::Lines;
use super::panels::Panels;
use super::product::{Left, product_here};
use super::simd::{kernel, level};
use super::tile::{self, STRIDE};

pub(crate) use backward::attention_workspace;
pub(crate) use ops::{attend, attend_packed};
pub(crate) use scores::Scores;

/// Queries that meet some keys before the next keys come; whole tiles of each height.
const QUERIES: usize = 84;
/// Keys that some queries meet at once; whole tiles of each width, and no more than a block holds.
const KEYS: usize = 384;

/// The sizes, and what is done to the scores.
#[derive(Clone, Debug)]
struct Plan {
    batch: usize,
    heads: usize,
    kv_heads: usize,
    queries: usize,
    keys: usize,
    /// Features of queries and keys.
    dim: usize,
    /// Features of values.
    value_dim: usize,
    scores: Scores,
}

impl Plan {
    /// Query heads that share keys and values.
    fn group(&self) -> usize {
        self.heads / self.kv_heads
    }

    /// The queries of one of `cuts` tasks: whole groups, so that queries have the same company
    /// however many tasks there are.
    fn cut(&self, cut: usize, cuts: usize) -> Range<usize> {
        let groups = self.queries.div_ceil(QUERIES);
        let [first, end] = [cut, cut + 1].map(|cut| groups * cut / cuts * QUERIES);
        first..end.min(self.queries)
    }

    /// The products of some rows of one head with those that `panels` hold of some keys, to rows
    /// that lie as in a block of a product.
    fn meet(
        (rows, scale): (Lines, Option<f32>),
        (panels, keys): (Panels, &Range<usize>),
        out: &mut [f32],
    ) {
        product_here(Left { rows, scale }, panels.part(keys), (out, STRIDE));
    }

    /// The keys that some of the queries see, some at a time.
    fn spans(&self, queries: &Range<usize>) -> impl Iterator<Item = Range<usize>> + use<> {
        let seen = self.scores.seen(queries);
        let first = seen.start / KEYS * KEYS;
        (first..seen.end).step_by(KEYS).map(move |start| start..(start + KEYS).min(seen.end))
    }
}

/// Numbers in some range of queries, in blocks as high as a tile.
fn blocks(queries: &Range<usize>) -> impl Iterator<Item = Range<usize>> + use<> {
    let (high, end) = (tile::size(level()).0, queries.end);
    queries.clone().step_by(high).map(move |first| first..(first + high).min(end))
}

/// Heads inside a slice: features are neighbours, the rest has strides.
#[derive(Clone, Copy, Debug)]
struct Heads<'a> {
    data: &'a [f32],
    at: Places,
}

/// Steps from one batch, head and row to the next.
#[derive(Clone, Copy, Debug)]
struct Places {
    batch: usize,
    head: usize,
    row: usize,
}

impl Places {
    fn of(self, (b, h): (usize, usize), row: usize) -> usize {
        b * self.batch + h * self.head + row * self.row
    }
}

impl<'a> Heads<'a> {
    /// Some rows of one head as lines of a product.
    fn lines(self, head: (usize, usize), rows: &Range<usize>, depth: usize) -> Lines<'a> {
        let values = self.from(head, rows.start);
        Lines { values, count: rows.len(), depth, stride: self.at.row, along: true }
    }

    /// The features of some rows of one head as lines of a product.
    fn columns(self, head: (usize, usize), rows: &Range<usize>, count: usize) -> Lines<'a> {
        let values = self.from(head, rows.start);
        Lines { values, count, depth: rows.len(), stride: self.at.row, along: false }
    }

    /// What lies behind the start of row `first` of one head.
    fn from(self, head: (usize, usize), first: usize) -> &'a [f32] {
        self.data.get(self.at.of(head, first)..).unwrap_or_default()
    }
}

/// A query's largest score, and one over the sum of the exponentials of its scores less that: its
/// weights are made of them again. ∞ and 0 for a query that sees nothing.
type Share = [f32; 2];

thread_local! {
    /// What lies in no tensor while a thread works on a head.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

#[derive(Default)]
struct Scratch {
    /// Factors laid out for products.
    panels: [Vec<f32>; 5],
    /// Scores of queries, then their weights; rows lie as in a block of a product.
    weights: Vec<f32>,
    /// The gradients of the weights, then of the scores.
    slopes: Vec<f32>,
    /// Sums of products for some queries, filled up to whole tiles.
    sums: Vec<f32>,
}

kernel! {
    /// Writes numbers times a factor.
    fn scaled(x: &[f32], scale: f32, out: &mut [Blank]) {
        for (out, x) in out.iter_mut().zip(x) {
            out.write(x * scale);
        }
    }
}

/// The first `len` numbers, all zeros.
fn zeros(values: &mut Vec<f32>, len: usize) -> &mut [f32] {
    values.clear();
    values.resize(len, 0.0);
    values
}

/// At least `len` numbers, whatever they are.
fn room(values: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if values.len() < len {
        values.resize(len, 0.0);
    }
    &mut values[..len]
}

#[cfg(test)]
mod tests;
