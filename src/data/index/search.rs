//! Exact top-k: blocks of rows against all queries, in parallel, ties by key.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use ndarray::{ArrayView2, ArrayView3};
use rayon::prelude::*;
use serde_json::{Map, Value};

use super::layout::Layout;
use super::segment::Segment;
use crate::progress::Progress;
use crate::{Error, Result};

/// Vectors of one block: a block of 768 numbers each fits a core's second-level cache.
const BLOCK: usize = 256;
/// Query vectors scored in one sweep; bounds the memory of large batches.
const SWEEP: usize = 256;

/// One row found.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit {
    /// The row's key.
    pub key: String,
    /// Its similarity to the query; the best over vectors where there are several.
    pub score: f32,
    /// Its metadata, without what is missing.
    pub metadata: Map<String, Value>,
}

/// A row in the running; greater means worse, so that a heap's top is the one to drop.
#[derive(Clone, Copy)]
struct Candidate<'a> {
    score: f32,
    key: &'a str,
    segment: u32,
    row: u32,
}

impl Ord for Candidate<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        other.score.total_cmp(&self.score).then_with(|| self.key.cmp(other.key))
    }
}

impl PartialOrd for Candidate<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Candidate<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Candidate<'_> {}

/// The best `k` of each query so far.
type Best<'a> = Vec<BinaryHeap<Candidate<'a>>>;

fn offer<'a>(heap: &mut BinaryHeap<Candidate<'a>>, k: usize, candidate: Candidate<'a>) {
    if heap.len() < k {
        heap.push(candidate);
    } else if let Some(mut worst) = heap.peek_mut()
        && candidate < *worst
    {
        *worst = candidate;
    }
}

/// The best `k` rows for each of `queries` (M, Q, D) among rows that `allowed` marks.
pub(super) fn search(
    layout: &Layout,
    segments: &[Segment],
    allowed: &[Vec<bool>],
    queries: ArrayView3<'_, f32>,
    k: usize,
    progress: &Progress,
) -> Result<Vec<Vec<Hit>>> {
    let (_, per_query, dimension) = queries.dim();
    let rows = (BLOCK / layout.vectors).max(1);
    let blocks: Vec<(usize, usize, usize)> = segments
        .iter()
        .enumerate()
        .flat_map(|(number, segment)| {
            let starts = (0..segment.rows()).step_by(rows);
            starts.map(move |start| (number, start, (start + rows).min(segment.rows())))
        })
        .filter(|&(number, start, end)| allowed[number][start..end].contains(&true))
        .collect();
    let sweep = (SWEEP / per_query).max(1);
    progress.set_total(blocks.len() * queries.dim().0.div_ceil(sweep));
    let mut found = Vec::with_capacity(queries.dim().0);
    for chunk in queries.axis_chunks_iter(ndarray::Axis(0), sweep) {
        let count = chunk.dim().0;
        let flat = chunk.to_shape((count * per_query, dimension)); // (m Q, D)
        let flat = flat.map_err(|error| Error::Internal(error.to_string()))?;
        let best = blocks
            .par_iter()
            .try_fold(
                || (vec![BinaryHeap::new(); count], Vec::new()),
                |(mut best, mut scratch), &(number, start, end)| {
                    progress.tick(1)?;
                    let segment = &segments[number];
                    let scores =
                        score(segment.numbers(start, end, &mut scratch), dimension, flat.view())?;
                    let width = count * per_query;
                    for row in (start..end).filter(|&row| allowed[number][row]) {
                        let first = (row - start) * layout.vectors * width;
                        let own = &scores[first..first + layout.vectors * width];
                        let key = segment.keys[row].as_str();
                        let (segment, row) = (number as u32, row as u32);
                        for (query, heap) in best.iter_mut().enumerate() {
                            let score = highest(own, width, query * per_query, per_query);
                            offer(heap, k, Candidate { score, key, segment, row });
                        }
                    }
                    Ok::<(Best<'_>, Vec<f32>), Error>((best, scratch))
                },
            )
            .map(|outcome| outcome.map(|(best, _)| best))
            .try_reduce(|| vec![BinaryHeap::new(); count], |a, b| Ok(merge(a, b, k)))?;
        found.extend(best.into_iter().map(|heap| hits(heap, segments)));
    }
    Ok(found)
}

/// The highest of `count` columns from `first` on, over all rows of `scores` (V, `width`).
fn highest(scores: &[f32], width: usize, first: usize, count: usize) -> f32 {
    scores
        .chunks_exact(width)
        .flat_map(|row| &row[first..first + count])
        .copied()
        .fold(f32::NEG_INFINITY, f32::max)
}

/// Similarities (R V, m Q), row by row, of a block of vectors and all query vectors.
fn score(numbers: &[f32], dimension: usize, queries: ArrayView2<'_, f32>) -> Result<Vec<f32>> {
    let shape = (numbers.len() / dimension, dimension);
    let block = ArrayView2::from_shape(shape, numbers)
        .map_err(|error| Error::Internal(format!("index block: {error}")))?;
    if queries.nrows() == 1 {
        // One query: plain dots, for the packing of a matrix product would cost more than it saves.
        return Ok(block.dot(&queries.row(0)).to_vec());
    }
    Ok(block.dot(&queries.t()).as_standard_layout().iter().copied().collect())
}

fn merge<'a>(mut a: Best<'a>, b: Best<'a>, k: usize) -> Best<'a> {
    for (heap, other) in a.iter_mut().zip(b) {
        for candidate in other {
            offer(heap, k, candidate);
        }
    }
    a
}

fn hits(heap: BinaryHeap<Candidate<'_>>, segments: &[Segment]) -> Vec<Hit> {
    heap.into_sorted_vec()
        .into_iter()
        .map(|candidate| Hit {
            key: candidate.key.to_owned(),
            score: candidate.score,
            metadata: segments[candidate.segment as usize].columns.row(candidate.row as usize),
        })
        .collect()
}
