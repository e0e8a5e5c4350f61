//! The right side of a product, laid out for it: panels of neighbouring columns.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use candle::{Result, Tensor};
use rayon::prelude::*;

use super::buffer::read;
use super::simd::{Level, level};
use super::tile;

/// Side of the squares in which a matrix is turned, so that both sides stay in the cache.
const SQUARE: usize = 16;

static PREPARING: AtomicBool = AtomicBool::new(true);

/// Whether layers that do not learn keep their weights laid out for products.
pub(crate) fn preparing() -> bool {
    PREPARING.load(Ordering::Relaxed)
}

/// Switches [`preparing`]; what was laid out before stays until its layer goes.
pub fn prepare_weights(prepare: bool) {
    PREPARING.store(prepare, Ordering::Relaxed);
}

/// Sixteen numbers on a cache line of their own: no load of a panel crosses two.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Line([f32; 16]);

/// A weight (N, K) as the right side (K, N) of a product: panels of neighbouring columns, each
/// (K, width), the last filled up with zeros. As large as the weight, and beside it.
#[derive(Debug)]
pub(crate) struct Packed {
    lines: Vec<Line>,
    depth: usize,
    columns: usize,
    level: Level,
}

impl Packed {
    /// Lays out `weight` (N, K), as linear layers keep it.
    pub(crate) fn new(weight: &Tensor) -> Result<Self> {
        let (columns, depth) = weight.dims2()?;
        read(weight, |weight| Self::of(level(), weight, columns, depth))
    }

    pub(super) fn of(level: Level, weight: &[f32], columns: usize, depth: usize) -> Self {
        let width = tile::size(level).1;
        let size = columns.div_ceil(width) * width * depth;
        let lines = vec![Line([0.0; 16]); size.div_ceil(16)];
        let mut packed = Self { lines, depth, columns, level };
        let panels = packed.values_mut()[..size].par_chunks_mut((width * depth).max(1));
        panels.enumerate().for_each(|(p, panel)| {
            let first = p * width;
            let count = width.min(columns - first);
            turn(&weight[first * depth..], (count, depth), depth, width, panel);
        });
        packed
    }

    pub(super) fn view(&self) -> Panels<'_> {
        Panels {
            values: self.values(),
            depth: self.depth,
            columns: self.columns,
            level: self.level,
        }
    }

    #[allow(unsafe_code)]
    fn values(&self) -> &[f32] {
        // SAFETY: a `Line` is sixteen floats without padding: its size equals its alignment.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), 16 * self.lines.len()) }
    }

    #[allow(unsafe_code)]
    fn values_mut(&mut self) -> &mut [f32] {
        let (start, len) = (self.lines.as_mut_ptr().cast(), 16 * self.lines.len());
        // SAFETY: as in `values`, and the lines are borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(start, len) }
    }
}

/// Turns `count` rows of `depth` numbers, `stride` apart, into columns of a panel (depth, width).
fn turn(
    rows: &[f32],
    (count, depth): (usize, usize),
    stride: usize,
    width: usize,
    panel: &mut [f32],
) {
    for start in (0..depth).step_by(SQUARE) {
        let end = depth.min(start + SQUARE);
        for column in 0..count {
            let row = &rows[column * stride..][start..end];
            for (k, value) in row.iter().enumerate() {
                panel[(start + k) * width + column] = *value;
            }
        }
    }
}

/// The right side of a product in a slice, laid out as in [`Packed`].
#[derive(Clone, Copy)]
pub(super) struct Panels<'a> {
    values: &'a [f32],
    pub(super) depth: usize,
    pub(super) columns: usize,
    pub(super) level: Level,
}

impl<'a> Panels<'a> {
    /// The transpose of `columns` rows of `depth` numbers, `stride` apart, laid out in `values`.
    pub(super) fn transposed(
        rows: &[f32],
        (columns, depth): (usize, usize),
        stride: usize,
        values: &'a mut Vec<f32>,
    ) -> Self {
        Self::laid((depth, columns), values, |first, count, width, panel| {
            turn(&rows[first * stride..], (count, depth), stride, width, panel);
        })
    }

    /// `depth` rows of `columns` numbers, `stride` apart, laid out in `values`.
    pub(super) fn plain(
        rows: &[f32],
        (depth, columns): (usize, usize),
        stride: usize,
        values: &'a mut Vec<f32>,
    ) -> Self {
        Self::laid((depth, columns), values, |first, count, width, panel| {
            for (k, to) in panel.chunks_exact_mut(width).enumerate() {
                to[..count].copy_from_slice(&rows[k * stride + first..][..count]);
            }
        })
    }

    /// Panels of zeros in `values`, each given to `fill` with its first column, how many columns
    /// it has, and its width.
    fn laid(
        (depth, columns): (usize, usize),
        values: &'a mut Vec<f32>,
        fill: impl Fn(usize, usize, usize, &mut [f32]),
    ) -> Self {
        let level = level();
        let width = tile::size(level).1;
        values.clear();
        values.resize(columns.div_ceil(width) * width * depth, 0.0);
        for (p, panel) in values.chunks_exact_mut((width * depth).max(1)).enumerate() {
            let first = p * width;
            fill(first, width.min(columns - first), width, panel);
        }
        Self { values, depth, columns, level }
    }

    /// Rows `depths` of a panel.
    pub(super) fn panel(&self, p: usize, depths: &Range<usize>) -> &'a [f32] {
        let width = tile::size(self.level).1;
        let start = p * width * self.depth;
        &self.values[start + depths.start * width..start + depths.end * width]
    }
}
