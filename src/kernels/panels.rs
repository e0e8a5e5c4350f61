//! The right side of a product of float32, laid out for it: panels of neighbouring columns.

use std::ops::Range;

use super::crew::{each, parts};
use super::lines::Lines;
use super::simd::{Level, level};
use super::tile;

/// Side of the squares in which a matrix is turned, so that both sides stay in the cache.
const SQUARE: usize = 16;

/// Sixteen numbers on a cache line of their own: no load of a panel crosses two.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Line([f32; 16]);

/// The right side (K, N) of a product: panels of neighbouring columns, each (K, width), the last
/// filled up with zeros.
#[derive(Debug)]
pub(super) struct Columns {
    lines: Vec<Line>,
    depth: usize,
    count: usize,
    level: Level,
}

impl Columns {
    /// The bytes that the layout of a right side (`depth`, `count`) takes.
    pub(super) fn bytes(depth: usize, count: usize) -> usize {
        let size = count.next_multiple_of(tile::size(level()).1) * depth;
        size.div_ceil(16) * size_of::<Line>()
    }

    pub(super) fn of(level: Level, right: Lines) -> Self {
        let width = tile::size(level).1;
        let size = right.count.div_ceil(width) * width * right.depth;
        let lines = vec![Line([0.0; 16]); size.div_ceil(16)];
        let mut columns = Self { lines, depth: right.depth, count: right.count, level };
        let panels = parts(&mut columns.values_mut()[..size], width * right.depth);
        each(panels, 1, |p, panel| fill(right, p * width, width, panel));
        columns
    }

    pub(super) fn view(&self) -> Panels<'_> {
        Panels { values: self.values(), depth: self.depth, columns: self.count, level: self.level }
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

/// Fills a panel (depth, width) of zeros with the columns from `first` on.
fn fill(right: Lines, first: usize, width: usize, panel: &mut [f32]) {
    let count = width.min(right.count - first);
    if !right.along {
        for (k, to) in panel.chunks_exact_mut(width).enumerate() {
            to[..count].copy_from_slice(&right.values[k * right.stride + first..][..count]);
        }
        return;
    }
    for start in (0..right.depth).step_by(SQUARE) {
        let end = right.depth.min(start + SQUARE);
        for column in 0..count {
            let line = &right.values[(first + column) * right.stride..][start..end];
            for (k, value) in line.iter().enumerate() {
                panel[(start + k) * width + column] = *value;
            }
        }
    }
}

/// The right side of a product in a slice, laid out as in [`Columns`].
#[derive(Clone, Copy)]
pub(super) struct Panels<'a> {
    values: &'a [f32],
    pub(super) depth: usize,
    pub(super) columns: usize,
    pub(super) level: Level,
}

impl<'a> Panels<'a> {
    /// Lays the columns out in `values`.
    pub(super) fn new(right: Lines, values: &'a mut Vec<f32>) -> Self {
        let level = level();
        let width = tile::size(level).1;
        values.clear();
        values.resize(right.count.div_ceil(width) * width * right.depth, 0.0);
        for (p, panel) in values.chunks_exact_mut((width * right.depth).max(1)).enumerate() {
            fill(right, p * width, width, panel);
        }
        Self { values, depth: right.depth, columns: right.count, level }
    }

    /// Rows `depths` of a panel.
    pub(super) fn panel(&self, p: usize, depths: &Range<usize>) -> &'a [f32] {
        let width = tile::size(self.level).1;
        let start = p * width * self.depth;
        &self.values[start + depths.start * width..start + depths.end * width]
    }
}
