//! The matrix product whose right side is laid out for it, with what follows fused in.
//!
//! Source: Goto and van de Geijn 2008, "Anatomy of High-Performance Matrix Multiplication". The
//! right side lies in panels as wide as a tile; a block of rows runs through a group of panels
//! and is finished (bias, nonlinearity, residual) while it is in the nearest cache, so that no
//! second pass over memory is needed.

use std::cell::RefCell;
use std::ops::Range;

use super::activation::Forward;
use super::buffer::Blank;
use super::crew::{parallel, threads};
use super::linear::add_rows;
use super::lines::Lines;
use super::panels::Panels;
use super::tile::{self, Block, DEPTH, Right, STRIDE, Start, TILE};

/// Panels that a task runs through with one block of rows.
const GROUP: usize = 12;
/// Room for a column of a block: the highest tile, and a cache line.
const COLUMN: usize = 16;
/// Multiply-adds below which a product is not worth handing out.
const SMALL: usize = 1 << 15;

/// The rows of a product's left side, each number times `scale` if there is one.
#[derive(Clone, Copy)]
pub(super) struct Left<'a> {
    pub(super) rows: Lines<'a>,
    pub(super) scale: Option<f32>,
}

impl Left<'_> {
    /// Copies some numbers of some rows, few enough for a tile, so that they lie in few pages.
    fn block<'b>(
        &self,
        rows: &Range<usize>,
        depths: &Range<usize>,
        to: &'b mut [f32],
    ) -> Block<'b> {
        let (lines, count) = (self.rows, rows.len());
        let scale = |x: &mut [f32]| {
            if let Some(scale) = self.scale {
                for x in x {
                    *x *= scale;
                }
            }
        };
        if depths.is_empty() {
            return Block::Rows(to); // where there is nothing to add up, there is nothing to read
        }
        if lines.along {
            for (row, to) in rows.clone().zip(to.chunks_exact_mut(STRIDE)) {
                let (from, to) = (&lines.values[row * lines.stride..], &mut to[..depths.len()]);
                to.copy_from_slice(&from[depths.clone()]);
                scale(to);
            }
            Block::Rows(to)
        } else {
            for (k, to) in depths.clone().zip(to.chunks_exact_mut(COLUMN)) {
                let from = &lines.values[k * lines.stride + rows.start..];
                // Of a fixed size where there is as much: one load and one store.
                match (to.first_chunk_mut::<COLUMN>(), from.first_chunk::<COLUMN>()) {
                    (Some(to), Some(from)) => *to = *from,
                    _ => to[..count].copy_from_slice(&from[..count]),
                }
                scale(&mut to[..count]);
            }
            Block::Columns { values: to, step: COLUMN }
        }
    }
}

/// `a` times `b` on this thread alone, to rows of `out` that start `stride` apart.
pub(super) fn product_here(a: Left, b: Panels, (out, stride): (&mut [f32], usize)) {
    let rows = a.rows.count;
    assert!(a.rows.depth == b.depth, "sizes of a product");
    assert!(b.columns <= stride && out.len() >= rows * stride, "room for a product");
    let panels = 0..b.columns.div_ceil(tile::size(b.level).1);
    let out = Cells(out.as_mut_ptr());
    Work { a, b, finish: Finish::default(), out, stride }.run(0..rows, panels);
}

/// Adds to the rows of `sums` the product of `count` rows and, of `b`, the rows `depths`, on this
/// thread alone. The rows of `sums` are filled up to whole tiles.
#[allow(unsafe_code)]
pub(super) fn add_here(
    a: Block,
    count: usize,
    (b, depths): (Panels, &Range<usize>),
    sums: &mut [f32],
) {
    let (stride, width) = (b.width(), tile::size(b.level).1);
    assert!(sums.len() >= count * stride, "room for the sums of a product");
    for p in 0..stride / width {
        let out = sums[p * width..].as_mut_ptr();
        let start = Some(Start { rows: out, stride });
        let (size, right) = ((count, depths.len()), Right::Panel(b.panel(p, depths)));
        // SAFETY: `level` found the processor's features; `sums` has `count` rows of whole tiles.
        unsafe { tile::multiply(b.level, size, a, right, start, (out, stride)) };
    }
}

/// What is done to each number of the product before it is written.
#[derive(Clone, Copy, Default)]
pub(super) struct Finish<'a> {
    /// Added to every row.
    pub(super) bias: Option<&'a [f32]>,
    /// Applied to the sum with the bias.
    pub(super) map: Option<Forward>,
    /// Numbers of the result's shape, added last.
    pub(super) residual: Option<&'a [f32]>,
}

/// `a` (M, K) times `b` (K, N), finished: (M, N).
#[allow(unsafe_code)]
pub(super) fn product(a: Lines, b: Panels, finish: Finish) -> Vec<f32> {
    let (rows, size) = (a.count, a.count * b.columns);
    assert!(a.depth == b.depth, "sizes of a product");
    let mut out: Vec<f32> = Vec::with_capacity(size);
    if size == 0 {
        return out;
    }
    let (high, width) = tile::size(b.level);
    let (blocks, panels) = (rows.div_ceil(high), b.columns.div_ceil(width));
    let groups = panels.div_ceil(GROUP);
    // With few groups of panels the rows are cut as well, so that every thread has some tasks.
    let cuts = (3 * threads()).div_ceil(groups).min(blocks);
    let left = Left { rows: a, scale: None };
    let work = Work { a: left, b, finish, out: Cells(out.as_mut_ptr()), stride: b.columns };
    let run = |task: usize| {
        let (group, cut) = (task / cuts, task % cuts);
        let end = (blocks * (cut + 1) / cuts * high).min(rows);
        let panels = group * GROUP..((group + 1) * GROUP).min(panels);
        work.run(blocks * cut / cuts * high..end, panels);
    };
    if size * b.depth <= SMALL {
        (0..groups * cuts).for_each(run);
    } else {
        parallel(groups * cuts, run);
    }
    // SAFETY: the tasks cover all rows and all panels, and each wrote all of its part.
    unsafe { out.set_len(size) };
    out
}

/// A result that several tasks write, each its own part.
#[derive(Clone, Copy)]
pub(super) struct Cells(pub(super) *mut f32);

// SAFETY: tasks write disjoint parts, as whoever makes one sees to.
#[allow(unsafe_code)]
unsafe impl Sync for Cells {}

impl Cells {
    /// `len` numbers from `start` on, to be written.
    ///
    /// # Safety
    /// They lie inside the result, and nobody else touches them meanwhile.
    #[allow(unsafe_code, clippy::mut_from_ref)]
    pub(super) unsafe fn part(&self, start: usize, len: usize) -> &mut [Blank] {
        // SAFETY: as the caller promises.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(start).cast(), len) }
    }
}

struct Work<'a> {
    a: Left<'a>,
    b: Panels<'a>,
    finish: Finish<'a>,
    out: Cells,
    /// From one row of the result to the next.
    stride: usize,
}

thread_local! {
    /// A block of rows, copied so that it lies in few pages.
    static BLOCK: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

impl Work<'_> {
    fn run(&self, rows: Range<usize>, panels: Range<usize>) {
        let (high, width) = tile::size(self.b.level);
        let depth = self.b.depth;
        // Equal parts of the shared axis; one empty part when it is empty.
        let parts = depth.div_ceil(DEPTH).max(1);
        let columns = panels.start * width..(panels.end * width).min(self.b.columns);
        BLOCK.with_borrow_mut(|block| {
            block.resize(high.max(COLUMN) * STRIDE, 0.0);
            for part in 0..parts {
                let depths = depth * part / parts..depth * (part + 1) / parts;
                for first in rows.clone().step_by(high) {
                    let count = high.min(rows.end - first);
                    let rows = first..first + count;
                    let block = self.a.block(&rows, &depths, block);
                    for p in panels.clone() {
                        self.tile(block, rows.clone(), p, &depths);
                    }
                    if depths.end == depth {
                        self.finish(rows, &columns);
                    }
                }
            }
        });
    }

    /// One tile over a part of the shared axis: begun with the bias, or added to what is there.
    #[allow(unsafe_code)]
    fn tile(&self, block: Block, rows: Range<usize>, p: usize, depths: &Range<usize>) {
        let (width, columns) = (tile::size(self.b.level).1, self.b.columns);
        let (column, panel) = (p * width, Right::Panel(self.b.panel(p, depths)));
        let begun = depths.start > 0;
        let out = Start { rows: self.place(rows.start, column), stride: self.stride };
        let bias = self.finish.bias.map(|bias| Start { rows: bias[column..].as_ptr(), stride: 0 });
        let start = if begun { Some(out) } else { bias };
        let (count, wide) = (rows.len(), width.min(columns - column));
        let size = (count, depths.len());
        if wide == width {
            let out = (self.place(rows.start, column), self.stride);
            // SAFETY: `level` found the processor's features; the tile's rows and columns lie
            // inside the result and belong to this task alone, and the first part of the shared
            // axis writes them before a later one reads them; the bias is as long as a row.
            unsafe { tile::multiply(self.b.level, size, block, panel, start, out) };
            return;
        }
        // The last panel is wider than what is left of the row: by way of a tile of its own.
        let mut own = [0.0; TILE];
        for (i, own) in own.chunks_exact_mut(width).take(count).enumerate() {
            if let Some(start) = start {
                // SAFETY: as above, and no more than what is left of the row is read.
                unsafe { own.as_mut_ptr().copy_from(start.rows.add(i * start.stride), wide) };
            }
        }
        let (at, own) = (Start { rows: own.as_ptr(), stride: width }, own.as_mut_ptr());
        // SAFETY: `own` has room for the largest tile; the result is written as above.
        unsafe {
            tile::multiply(self.b.level, size, block, panel, Some(at), (own, width));
            for i in 0..count {
                let to = self.place(rows.start + i, column);
                to.copy_from_nonoverlapping(own.add(i * width), wide);
            }
        }
    }

    /// Applies the nonlinearity and adds the residual, while the rows are in the cache.
    #[allow(unsafe_code)]
    fn finish(&self, rows: Range<usize>, columns: &Range<usize>) {
        let mut before = [0.0; GROUP * 32];
        for row in rows {
            let place = row * self.stride + columns.start;
            // SAFETY: this part of the row belongs to this task alone and has been written.
            let out = unsafe {
                std::slice::from_raw_parts_mut(self.place(row, columns.start), columns.len())
            };
            if let Some(map) = self.finish.map {
                let before = &mut before[..out.len()];
                before.copy_from_slice(out);
                map(before, out);
            }
            if let Some(residual) = self.finish.residual {
                add_rows(&residual[place..place + out.len()], out);
            }
        }
    }

    #[allow(unsafe_code)]
    fn place(&self, row: usize, column: usize) -> *mut f32 {
        // SAFETY: rows and columns of tasks lie inside the result.
        unsafe { self.out.0.add(row * self.stride + column) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::naive::{numbers, same_for_any_threads};
    use super::super::panels::Columns;
    use super::super::simd::{Level, level};
    use super::*;

    fn levels() -> Vec<Level> {
        match level() {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => vec![Level::Baseline, Level::Avx2, Level::Avx512],
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => vec![Level::Baseline, Level::Avx2],
            Level::Baseline => vec![Level::Baseline],
        }
    }

    fn doubled(x: &[f32], out: &mut [f32]) {
        out.iter_mut().zip(x).for_each(|(out, x)| *out = 2.0 * x);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn every_path_agrees_with_float64(
            rows in 0usize..40,
            columns in prop_oneof![0usize..80, 380usize..420],
            depth in prop_oneof![0usize..40, 760usize..800],
            finished in any::<bool>(),
        ) {
            let (a, w) = (numbers(rows * depth, 1), numbers(columns * depth, 2));
            let (bias, residual) = (numbers(columns, 3), numbers(rows * columns, 4));
            let expected: Vec<f64> = (0..rows * columns).map(|place| {
                let (row, column) = (place / columns, place % columns);
                let sum: f64 = (0..depth)
                    .map(|k| f64::from(a[row * depth + k]) * f64::from(w[column * depth + k]))
                    .sum();
                if !finished { return sum; }
                2.0 * (sum + f64::from(bias[column])) + f64::from(residual[place])
            }).collect();
            let finish = if finished {
                Finish { bias: Some(&bias), map: Some(doubled), residual: Some(&residual) }
            } else {
                Finish::default()
            };
            for level in levels() {
                let packed = Columns::of(level, Lines::rows(&w, columns, depth));
                let out = product(Lines::rows(&a, rows, depth), packed.view(), finish);
                prop_assert_eq!(out.len(), expected.len());
                for (out, expected) in out.iter().zip(&expected) {
                    let error = (f64::from(*out) - expected).abs();
                    prop_assert!(error < 1e-3, "{level:?} {out} {expected}");
                }
            }
        }
    }

    #[test]
    fn turned_factors_give_what_others_give() {
        for (rows, columns, depth) in [(1, 5, 3), (17, 40, 31), (30, 70, 1700)] {
            let (a, w) = (numbers(rows * depth, 1), numbers(columns * depth, 2));
            let turned: Vec<f32> =
                (0..rows * depth).map(|i| a[i % rows * depth + i / rows]).collect();
            for level in levels() {
                let packed = Columns::of(level, Lines::rows(&w, columns, depth));
                let run = |a| product(a, packed.view(), Finish::default());
                let expected = run(Lines::rows(&a, rows, depth));
                assert_eq!(run(Lines::columns(&turned, depth, rows)), expected, "{level:?}");
            }
        }
    }

    #[test]
    fn threads_do_not_change_a_bit() {
        let (a, w) = (numbers(60 * 1000, 1), numbers(500 * 1000, 2));
        let packed = Columns::of(level(), Lines::rows(&w, 500, 1000));
        let (a, packed) = (Lines::rows(&a, 60, 1000), packed.view());
        same_for_any_threads(|| product(a, packed, Finish::default()));
    }

    #[test]
    fn nothing_outside_the_factors_is_read_or_mixed_in() {
        // Beside what is not a number the rest stays clean: rows and columns do not mix.
        let (rows, columns, depth) = (17, 35, 5);
        let (mut a, w) = (vec![1.0; rows * depth], vec![1.0; columns * depth]);
        a[3 * depth..4 * depth].fill(f32::NAN);
        let packed = Columns::of(level(), Lines::rows(&w, columns, depth));
        let out = product(Lines::rows(&a, rows, depth), packed.view(), Finish::default());
        for (row, out) in out.chunks_exact(columns).enumerate() {
            assert!(out.iter().all(|x| x.is_nan() == (row == 3)), "{row}: {out:?}");
        }
    }
}
