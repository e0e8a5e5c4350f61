//! What the queries attend to.

use std::ops::Range;

use super::super::crew::{parallel, threads};
use super::super::panels::Panels;
use super::super::product::{Cells, add_here};
use super::super::simd::{LANES, exp, fma, fold, kernel, max, sum_pairs};
use super::super::tile::{Block, STRIDE};
use super::{Heads, Plan, QUERIES, SCRATCH, Share, blocks, room, scaled, zeros};

/// Queries up to which keys and values are read as they lie: laying them out takes longer.
const FEW: usize = 4;

kernel! {
    /// Turns scores of more keys into weights relative to the largest score so far, of `tops`; the
    /// `sums` of weights and the `rows` of `width` sums of values become relative to it as well.
    ///
    /// Numbers below −1e30 get no weight.
    fn weigh(
        scores: &mut [f32], keys: usize, tops: &mut [f32], sums: &mut [f32], rows: &mut [f32],
        width: usize,
    ) {
        let state = tops.iter_mut().zip(sums).zip(rows.chunks_exact_mut(width.max(1)));
        for (scores, ((top, sum), row)) in scores.chunks_mut(STRIDE).zip(state) {
            let scores = &mut scores[..keys];
            let here = max(scores);
            let larger = if here > *top { here } else { *top };
            // A NaN anywhere is seen by the sum, if not by the maximum.
            if larger < -1e30 && scores.iter().all(|x| !x.is_nan()) {
                scores.fill(0.0);
                continue;
            }
            let mut lanes = [0.0; LANES];
            let (whole, rest) = scores.as_chunks_mut::<LANES>();
            for chunk in whole {
                for (lane, x) in lanes.iter_mut().zip(chunk) {
                    *x = exp::<FMA>(*x - larger);
                    *lane += *x;
                }
            }
            for (lane, x) in lanes.iter_mut().zip(rest) {
                *x = exp::<FMA>(*x - larger);
                *lane += *x;
            }
            let added = fold(lanes, |a, b| a + b);
            if larger > *top {
                let fade = exp::<FMA>(*top - larger);
                *sum *= fade;
                for x in row {
                    *x *= fade;
                }
                *top = larger;
            }
            *sum += added;
        }
    }
}

kernel! {
    /// The products of a query with keys that begin `stride` apart, times `scale`.
    fn dots(query: &[f32], keys: &[f32], stride: usize, scale: f32, out: &mut [f32]) {
        for (j, out) in out.iter_mut().enumerate() {
            *out = scale * sum_pairs(query, &keys[j * stride..][..query.len()], |q, k| q * k);
        }
    }
}

kernel! {
    /// Adds values that begin `stride` apart, times their weights.
    fn blend(weights: &[f32], values: &[f32], stride: usize, sum: &mut [f32]) {
        for (j, weight) in weights.iter().enumerate() {
            for (sum, x) in sum.iter_mut().zip(&values[j * stride..]) {
                *sum = fma::<FMA>(*weight, *x, *sum);
            }
        }
    }
}

/// The output, (B, N, H, E), and what the backward makes the weights of again, (B, H, N).
#[allow(unsafe_code)]
pub(super) fn forward(plan: &Plan, q: Heads, k: Heads, v: Heads) -> (Vec<f32>, Vec<Share>) {
    let rows = plan.batch * plan.heads * plan.queries;
    let mut out: Vec<f32> = Vec::with_capacity(rows * plan.value_dim);
    let mut shares: Vec<Share> = Vec::with_capacity(rows);
    let heads = plan.batch * plan.heads;
    // Few heads: the queries are cut as well, so that every thread has some tasks.
    let groups = plan.queries.div_ceil(QUERIES);
    let cuts = (2 * threads()).div_ceil(heads.max(1)).clamp(1, groups.max(1));
    let to = (Cells(out.as_mut_ptr()), Cells(shares.as_mut_ptr().cast()));
    parallel(heads * cuts, |task| {
        let (cut, b, h) = (task % cuts, task / cuts / plan.heads, task / cuts % plan.heads);
        let queries = plan.cut(cut, cuts);
        if plan.queries > FEW {
            plan.head((q, k, v), (b, h), queries, to);
        } else {
            plan.few((q, k, v), (b, h), queries, to);
        }
    });
    // SAFETY: the tasks cover all heads and queries, and each wrote all of its part.
    unsafe {
        out.set_len(rows * plan.value_dim);
        shares.set_len(rows);
    }
    (out, shares)
}

impl Plan {
    /// Some queries of one head.
    fn head(
        &self,
        (q, k, v): (Heads, Heads, Heads),
        (b, h): (usize, usize),
        queries: Range<usize>,
        to: (Cells, Cells),
    ) {
        let (shared, keys) = ((b, h / self.group()), 0..self.keys);
        SCRATCH.with_borrow_mut(|scratch| {
            let [key_panels, value_panels, ..] = &mut scratch.panels;
            let k = Panels::new(k.lines(shared, &keys, self.dim), key_panels);
            let v = Panels::new(v.columns(shared, &keys, self.value_dim), value_panels);
            let width = v.width();
            for first in queries.clone().step_by(QUERIES) {
                let group = first..(first + QUERIES).min(queries.end);
                let sums = zeros(&mut scratch.sums, group.len() * width);
                let (mut tops, mut totals) = ([f32::NEG_INFINITY; QUERIES], [0.0; QUERIES]);
                for keys in self.spans(&group) {
                    for block in blocks(&group) {
                        let scores = room(&mut scratch.weights, block.len() * STRIDE);
                        self.score((q, k), (b, h), &block, &keys, scores);
                        let own = block.start - first..block.end - first;
                        let sums = &mut sums[own.start * width..own.end * width];
                        let (tops, totals) = (&mut tops[own.clone()], &mut totals[own]);
                        weigh(scores, keys.len(), tops, totals, sums, width);
                        add_here(Block::Rows(scores), block.len(), (v, &keys), sums);
                    }
                }
                for (i, query) in group.enumerate() {
                    let sums = &sums[i * width..][..self.value_dim];
                    self.give((b, h), query, (tops[i], totals[i]), sums, to);
                }
            }
        });
    }

    /// As [`Self::head`], for few queries.
    fn few(
        &self,
        (q, k, v): (Heads, Heads, Heads),
        (b, h): (usize, usize),
        queries: Range<usize>,
        to: (Cells, Cells),
    ) {
        let (shared, value_dim) = ((b, h / self.group()), self.value_dim);
        let (k_row, v_row) = (k.at.row, v.at.row);
        SCRATCH.with_borrow_mut(|scratch| {
            for query in queries {
                let (mut top, mut sum) = ([f32::NEG_INFINITY], [0.0]);
                let sums = zeros(&mut scratch.sums, value_dim);
                for keys in self.spans(&(query..query + 1)) {
                    let scores = room(&mut scratch.weights, keys.len());
                    let row = &q.from((b, h), query)[..self.dim];
                    let (k, v) = (k.from(shared, keys.start), v.from(shared, keys.start));
                    dots(row, k, k_row, self.scores.scale, scores);
                    self.scores.alter((b, h), query, &keys, scores);
                    weigh(scores, keys.len(), &mut top, &mut sum, sums, value_dim);
                    blend(scores, v, v_row, sums);
                }
                self.give((b, h), query, (top[0], sum[0]), sums, to);
            }
        });
    }

    /// Writes the output of one query of one head, and its share.
    #[allow(unsafe_code)]
    fn give(
        &self,
        (b, h): (usize, usize),
        query: usize,
        (top, sum): (f32, f32),
        sums: &[f32],
        (out, shares): (Cells, Cells),
    ) {
        let (top, scale) = if sum == 0.0 { (f32::INFINITY, 0.0) } else { (top, 1.0 / sum) };
        let row = ((b * self.queries + query) * self.heads + h) * self.value_dim;
        // SAFETY: this query of this head lies inside the results and belongs to one task alone.
        unsafe {
            scaled(sums, scale, out.part(row, self.value_dim));
            let place = (b * self.heads + h) * self.queries + query;
            shares.0.cast::<Share>().add(place).write([top, scale]);
        }
    }

    /// The scores of some queries and keys, to rows that lie as in a block of a product.
    pub(super) fn score(
        &self,
        (q, k): (Heads, Panels),
        (b, h): (usize, usize),
        queries: &Range<usize>,
        keys: &Range<usize>,
        scores: &mut [f32],
    ) {
        let rows = q.lines((b, h), queries, self.dim);
        Self::meet((rows, Some(self.scores.scale)), (k, keys), scores);
        for (query, row) in queries.clone().zip(scores.chunks_mut(STRIDE)) {
            self.scores.alter((b, h), query, keys, &mut row[..keys.len()]);
        }
    }
}
