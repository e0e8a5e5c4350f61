//! The right side of a product of float32, laid out for it: panels of neighbouring columns.

use std::ops::Range;

use super::crew::{each, parts};
use super::held::{Held, Plain};
use super::lines::Lines;
use super::simd::{Level, level};
use super::tile;

/// Side of the squares in which a matrix is turned, so that both sides stay in the cache.
const SQUARE: usize = 16;

/// Sixteen numbers on a cache line of their own: no load of a panel crosses two.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct Line([f32; 16]);

// SAFETY: an array of floats as large as its alignment.
#[allow(unsafe_code)]
unsafe impl Plain for Line {}

/// The right side (K, N) of a product: panels of neighbouring columns, each (K, width), the last
/// filled up with zeros.
#[derive(Debug)]
pub(super) struct Columns {
    pub(super) lines: Held<Line>,
    pub(super) depth: usize,
    pub(super) count: usize,
    level: Level,
}

impl Columns {
    /// The bytes that the layout of a right side (`depth`, `count`) takes.
    pub(super) fn bytes(depth: usize, count: usize) -> usize {
        lines(level(), depth, count) * size_of::<Line>()
    }

    /// What was laid out here before; `None` where that is not as large as it must be.
    pub(super) fn held(lines: Held<Line>, depth: usize, count: usize) -> Option<Self> {
        let level = level();
        let fits = lines.len() == self::lines(level, depth, count);
        fits.then_some(Self { lines, depth, count, level })
    }

    pub(super) fn of(level: Level, right: Lines) -> Self {
        let width = tile::size(level).1;
        let size = right.count.div_ceil(width) * width * right.depth;
        let mut lines = vec![Line([0.0; 16]); size.div_ceil(16)];
        let panels = parts(&mut numbers(&mut lines)[..size], width * right.depth);
        each(panels, 1, |p, panel| fill(right, p * width, width, panel));
        Self { lines: lines.into(), depth: right.depth, count: right.count, level }
    }

    pub(super) fn view(&self) -> Panels<'_> {
        Panels { values: self.values(), depth: self.depth, columns: self.count, level: self.level }
    }

    #[allow(unsafe_code)]
    fn values(&self) -> &[f32] {
        // SAFETY: a `Line` is sixteen floats without padding: its size equals its alignment.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), 16 * self.lines.len()) }
    }
}

/// How many lines the columns take.
fn lines(level: Level, depth: usize, count: usize) -> usize {
    (count.next_multiple_of(tile::size(level).1) * depth).div_ceil(16)
}

#[allow(unsafe_code)]
fn numbers(lines: &mut [Line]) -> &mut [f32] {
    let (start, len) = (lines.as_mut_ptr().cast(), 16 * lines.len());
    // SAFETY: as in `values`, and the lines are borrowed mutably.
    unsafe { std::slice::from_raw_parts_mut(start, len) }
}

/// Fills a panel (depth, width), of zeros where there is no column, with the columns from `first` on.
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
        let size = width * right.depth;
        values.resize(right.count.div_ceil(width) * size, 0.0);
        if !right.count.is_multiple_of(width) {
            let last = values.len() - size;
            values[last..].fill(0.0); // what is no column there
        }
        for (p, panel) in values.chunks_exact_mut(size.max(1)).enumerate() {
            fill(right, p * width, width, panel);
        }
        Self { values, depth: right.depth, columns: right.count, level }
    }

    /// The columns, filled up to whole panels.
    pub(super) fn width(&self) -> usize {
        self.columns.next_multiple_of(tile::size(self.level).1)
    }

    /// Whole panels that hold the columns, the first of which begins one.
    pub(super) fn part(&self, columns: &Range<usize>) -> Self {
        let width = tile::size(self.level).1;
        assert!(columns.start.is_multiple_of(width), "a part of panels begins with a panel");
        let end = columns.end.next_multiple_of(width);
        let values = &self.values[columns.start * self.depth..end * self.depth];
        Self { values, columns: end - columns.start, ..*self }
    }

    /// Rows `depths` of a panel.
    pub(super) fn panel(&self, p: usize, depths: &Range<usize>) -> &'a [f32] {
        let width = tile::size(self.level).1;
        let start = p * width * self.depth;
        &self.values[start + depths.start * width..start + depths.end * width]
    }
}
