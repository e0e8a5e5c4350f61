//! The gradients of queries, keys and values.

use std::ops::Range;

use super::super::crew::{each, parts};
use super::super::panels::Panels;
use super::super::product::{Cells, add_here};
use super::super::simd::{exp, kernel, level, sum_pairs};
use super::super::tile::{self, Block, STRIDE};
use super::{Heads, Places, Plan, QUERIES, SCRATCH, Scratch, Share, blocks, room, scaled, zeros};

/// Tasks that there shall be at least, for machines with many threads. It does not depend on
/// their number, so that the sums do not either.
const TASKS: usize = 16;

kernel! {
    /// Turns scores into weights, and the gradients of these into those of the scores.
    ///
    /// Where the keys are all that the queries see, the mean gradient of a query's weights is
    /// formed of these, not taken from `means`: more of what cancels out does.
    fn slopes(
        scores: &mut [f32], slopes: &mut [f32], keys: usize, shares: &[Share], means: &[f32],
        all: bool,
    ) {
        let rows = scores.chunks_mut(STRIDE).zip(slopes.chunks_mut(STRIDE));
        for ((scores, slopes), ([top, share], mean)) in rows.zip(shares.iter().zip(means)) {
            let (weights, slopes) = (&mut scores[..keys], &mut slopes[..keys]);
            for weight in weights.iter_mut() {
                *weight = share * exp::<FMA>(*weight - top);
            }
            let mean = if all { sum_pairs(weights, slopes, |w, s| w * s) } else { *mean };
            for (weight, slope) in weights.iter().zip(slopes) {
                *slope = weight * (*slope - mean);
            }
        }
    }
}

kernel! {
    /// The sum of the products of two rows.
    fn inner(x: &[f32], y: &[f32]) -> f32 {
        sum_pairs(x, y, |x, y| x * y)
    }
}

/// Where the gradients of one of the three go: features are neighbours.
#[derive(Clone, Copy)]
pub(super) struct Target {
    pub(super) cells: Cells,
    pub(super) first: usize,
    pub(super) at: Places,
}

impl Target {
    /// Writes rows of `width` sums, of which `dim` count, times `scale`.
    ///
    /// # Safety
    /// The rows lie inside what may be written, and nobody else touches them.
    #[allow(unsafe_code)]
    unsafe fn write(
        self,
        head: (usize, usize),
        first: usize,
        (sums, width): (&[f32], usize),
        (dim, scale): (usize, f32),
    ) {
        for (i, row) in sums.chunks_exact(width.max(1)).enumerate() {
            let start = self.first + self.at.of(head, first + i);
            // SAFETY: as the caller promises.
            scaled(&row[..dim], scale, unsafe { self.cells.part(start, dim) });
        }
    }
}

/// What the forward took and gave, and the gradient of its output: (B, N, H, E) both.
#[derive(Clone, Copy)]
pub(super) struct Given<'a> {
    pub(super) q: Heads<'a>,
    pub(super) k: Heads<'a>,
    pub(super) v: Heads<'a>,
    pub(super) out: Heads<'a>,
    pub(super) shares: &'a [Share],
    pub(super) g: Heads<'a>,
}

/// Features filled up to whole tiles.
fn filled_up(dim: usize) -> usize {
    dim.next_multiple_of(tile::size(level()).1)
}

/// Into how many tasks the queries of heads that share keys are cut.
fn cuts(heads: usize, queries: usize) -> usize {
    TASKS.div_ceil(heads.max(1)).min(queries.div_ceil(QUERIES)).max(1)
}

/// The bytes that the backward needs beside the gradients, for keys (B, Hkv, M, D) and values as
/// wide.
pub(crate) fn attention_workspace(queries: usize, [batch, heads, keys, dim]: [usize; 4]) -> usize {
    let sums = 2 * batch * heads * keys * filled_up(dim);
    size_of::<f32>() * sums * cuts(batch * heads, queries)
}

/// Writes the gradients of q, k and v, all of them.
///
/// # Safety
/// Everything that the targets reach may be written, and they do not overlap.
#[allow(unsafe_code)]
pub(super) unsafe fn backward(plan: &Plan, given: Given, [dq, dk, dv]: [Target; 3]) {
    let heads = plan.batch * plan.kv_heads;
    let widths = [plan.dim, plan.value_dim].map(filled_up);
    let (keys, values) = (plan.keys * widths[0], plan.keys * widths[1]);
    let head = |i: usize| (i / plan.kv_heads, i % plan.kv_heads);
    let write = |i: usize, sums: &[f32]| {
        let (k, v) = sums.split_at(keys);
        // SAFETY: the keys of a head are written once.
        unsafe {
            dk.write(head(i), 0, (k, widths[0]), (plan.dim, plan.scores.scale));
            dv.write(head(i), 0, (v, widths[1]), (plan.value_dim, 1.0));
        }
    };
    let cuts = cuts(heads, plan.queries);
    // Without keys there is a number for each task nevertheless: queries get their zeros.
    let size = (keys + values).max(1);
    let mut sums = vec![0.0; heads * cuts * size];
    each(parts(&mut sums, size), 1, |task, sums| {
        let (i, cut) = (task / cuts, task % cuts);
        let queries = plan.cut(cut, cuts);
        SCRATCH.with_borrow_mut(|scratch| {
            let own = sums.split_at_mut(keys);
            // SAFETY: these queries of these heads belong to this task.
            unsafe { plan.slopes(given, head(i), queries, own, dq, scratch) };
        });
        if cuts == 1 {
            write(i, sums);
        }
    });
    if cuts > 1 {
        each(parts(&mut sums, cuts * size), 1, |i, sums| {
            let (sum, others) = sums.split_at_mut(size);
            for other in others.chunks_exact(size) {
                sum.iter_mut().zip(other).for_each(|(sum, x)| *sum += x);
            }
            write(i, sum);
        });
    }
}

impl Plan {
    /// For some queries of the heads that share keys and values: writes their gradients, and adds
    /// what they give to the gradients of keys and values, which are not scaled yet.
    ///
    /// # Safety
    /// As [`backward`], for these queries alone.
    #[allow(unsafe_code)]
    unsafe fn slopes(
        &self,
        given: Given,
        (b, kv): (usize, usize),
        queries: Range<usize>,
        (dk, dv): (&mut [f32], &mut [f32]),
        dq: Target,
        scratch: &mut Scratch,
    ) {
        let Given { q, k, v, out, shares, g } = given;
        let (all, dim, value_dim) = (0..self.keys, self.dim, self.value_dim);
        let [key_panels, value_panels, feature_panels, query_panels, g_panels] =
            &mut scratch.panels;
        let keys_across = Panels::new(k.lines((b, kv), &all, dim), key_panels);
        let values_across = Panels::new(v.lines((b, kv), &all, value_dim), value_panels);
        let features = Panels::new(k.columns((b, kv), &all, dim), feature_panels);
        for h in kv * self.group()..(kv + 1) * self.group() {
            for first in queries.clone().step_by(QUERIES) {
                let group = first..(first + QUERIES).min(queries.end);
                let inside = 0..group.len();
                let q_across = Panels::new(q.columns((b, h), &group, dim), query_panels);
                let g_across = Panels::new(g.columns((b, h), &group, value_dim), g_panels);
                let (wide, high) = (q_across.width(), g_across.width());
                let shares = &shares[(b * self.heads + h) * self.queries..][..self.queries];
                let mut means = [0.0; QUERIES];
                let all = self.spans(&group).nth(1).is_none();
                for (mean, query) in means.iter_mut().zip(group.clone()).filter(|_| !all) {
                    let (out, g) = (out.from((b, h), query), g.from((b, h), query));
                    *mean = inner(&out[..value_dim], &g[..value_dim]);
                }
                let sums = zeros(&mut scratch.sums, group.len() * wide);
                for keys in self.spans(&group) {
                    let weights = room(&mut scratch.weights, group.len() * STRIDE);
                    let dweights = room(&mut scratch.slopes, group.len() * STRIDE);
                    for block in blocks(&group) {
                        let own = block.start - first..block.end - first;
                        let weights = &mut weights[own.start * STRIDE..own.end * STRIDE];
                        let dweights = &mut dweights[own.start * STRIDE..own.end * STRIDE];
                        self.score((q, keys_across), (b, h), &block, &keys, weights);
                        let rows = g.lines((b, h), &block, value_dim);
                        Self::meet((rows, None), (values_across, &keys), dweights);
                        let (shares, means) = (&shares[block], &means[own.clone()]);
                        slopes(weights, dweights, keys.len(), shares, means, all);
                        let sums = &mut sums[own.start * wide..own.end * wide];
                        add_here(Block::Rows(dweights), own.len(), (features, &keys), sums);
                    }
                    for block in blocks(&keys) {
                        let (column, count) = (block.start - keys.start, block.len());
                        let left = Block::Columns { values: &dweights[column..], step: STRIDE };
                        let sums = &mut dk[block.start * wide..block.end * wide];
                        add_here(left, count, (q_across, &inside), sums);
                        let left = Block::Columns { values: &weights[column..], step: STRIDE };
                        let sums = &mut dv[block.start * high..block.end * high];
                        add_here(left, count, (g_across, &inside), sums);
                    }
                }
                // SAFETY: as the caller promises.
                unsafe { dq.write((b, h), first, (sums, wide), (dim, self.scores.scale)) };
            }
        }
    }
}
