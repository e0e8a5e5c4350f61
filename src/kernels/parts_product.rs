//! The matrix product on the processor's units for bfloat16.
//!
//! A task lays out some rows of the left side and runs them past its columns of the right side,
//! so that the rows stay in the second cache while the columns pass through once. Each block of
//! the result is finished (bias, nonlinearity, residual) where it was formed.

use std::arch::x86_64::{_MM_HINT_ET0, _MM_HINT_T0};
use std::cell::RefCell;
use std::mem::MaybeUninit;
use std::ops::Range;

use super::amx::{Sums, Terms, Tiles};
use super::crew::{parallel, threads};
use super::lines::Lines;
use super::parts::{Parts, Row, SIDE, STEP, Side, lay, step_rows};
use super::place::{Place, fetch};
use super::product::{Cells, Finish};
use super::tile::Start;
use super::unit::Unit;

/// Steps of the shared axis in one go.
const STEPS: usize = 24;
/// What the rows of a task may take, laid out: they share the second cache with two columns.
const ROWS_BYTES: usize = 1200 << 10;
/// Blocks of rows that are not worth a pass of all columns.
const FEW: usize = 6;
/// Tasks for each thread, where the sizes allow.
const TASKS: usize = 3;

thread_local! {
    /// The rows of a task, laid out.
    static ROWS: RefCell<Vec<MaybeUninit<Row>>> = const { RefCell::new(Vec::new()) };
}

/// `a` times `b`, finished: (rows, columns).
#[allow(unsafe_code)]
pub(super) fn product(unit: Unit, a: Lines, b: &Parts, finish: Finish) -> Vec<f32> {
    assert!(a.depth == b.depth, "sizes of a product");
    let size = a.count * b.count;
    let mut out: Vec<f32> = Vec::with_capacity(size);
    if size == 0 {
        return out;
    }
    let (rows, columns) = (a.count.div_ceil(SIDE), b.count.div_ceil(SIDE));
    let steps = a.depth.div_ceil(STEP);
    let pieces = steps.div_ceil(STEPS).max(1);
    let block = steps.div_ceil(pieces).max(1) * step_rows(b.split) * size_of::<Row>();
    let threads = threads();
    // Equal cuts of the rows, as many as are handed out evenly; few rows: the columns are cut too.
    let cuts = rows.div_ceil((ROWS_BYTES / block).max(1));
    let cuts = cuts.max((rows / FEW).min(TASKS * threads));
    let cuts = if cuts > 1 { cuts.next_multiple_of(threads).min(rows) } else { 1 };
    let groups = (TASKS * threads).div_ceil(cuts).min(columns);
    let work = Work { a, b, finish, steps, pieces, out: Cells(out.as_mut_ptr()) };
    parallel(cuts * groups, |task| {
        let (cut, group) = (task / groups, task % groups);
        let part = |all: usize, i: usize, n: usize| all * i / n..all * (i + 1) / n;
        // SAFETY: `unit` is this processor's; a task runs nothing that others hand out.
        let tiles = unsafe { Tiles::take(unit) };
        work.run(&tiles, part(rows, cut, cuts), part(columns, group, groups));
    });
    // SAFETY: the tasks cover all blocks of the result, and each wrote all of its part.
    unsafe { out.set_len(size) };
    out
}

struct Work<'a> {
    a: Lines<'a>,
    b: &'a Parts,
    finish: Finish<'a>,
    steps: usize,
    pieces: usize,
    out: Cells,
}

/// Numbers of a block of the result, where they cannot be formed in place.
#[repr(align(64))]
struct Block([f32; SIDE * SIDE]);

/// The lines of a block of the result, laid out.
#[derive(Clone, Copy)]
struct Sides<'a> {
    left: &'a [Row],
    right: &'a [Row],
    /// What the products to come will need.
    soon: &'a [Row],
    /// Whether no number is infinite or NaN.
    finite: bool,
}

/// A piece of the shared axis.
struct Piece {
    steps: Range<usize>,
    last: bool,
}

impl Work<'_> {
    /// Blocks of rows by blocks of columns.
    #[allow(unsafe_code)]
    fn run(&self, tiles: &Tiles, rows: Range<usize>, columns: Range<usize>) {
        let parts = self.b.split;
        let mut own = [Block([0.0; SIDE * SIDE]), Block([0.0; SIDE * SIDE])];
        ROWS.with_borrow_mut(|laid| {
            for i in 0..self.pieces {
                let (start, end) = (self.steps * i, self.steps * (i + 1));
                let steps = start / self.pieces..end / self.pieces;
                let block = steps.len() * step_rows(parts);
                laid.resize((rows.len() * block).max(laid.len()), MaybeUninit::uninit());
                let mut finite = self.b.finite;
                for (i, row) in rows.clone().enumerate() {
                    let laid = &mut laid[i * block..][..block];
                    // SAFETY: a processor with such units has AVX-512 with bfloat16.
                    finite &=
                        unsafe { lay(self.a, row * SIDE, steps.clone(), parts, Side::Left, laid) };
                }
                // SAFETY: all of these rows were laid out just now.
                let laid = unsafe {
                    let laid = &laid[..rows.len() * block];
                    std::slice::from_raw_parts(laid.as_ptr().cast::<Row>(), laid.len())
                };
                let piece = Piece { steps, last: i + 1 == self.pieces };
                for column in columns.clone() {
                    let right = self.b.block(column, &piece.steps);
                    let next = (column + 1).min(columns.end - 1);
                    let next = self.b.block(next, &piece.steps);
                    for (i, row) in rows.clone().enumerate() {
                        let left = &laid[i * block..][..block];
                        let soon =
                            &next[next.len() * i / rows.len()..next.len() * (i + 1) / rows.len()];
                        let sides = Sides { left, right, soon, finite };
                        self.block(tiles, sides, (row, column), &piece, &mut own);
                    }
                }
            }
        });
    }

    /// One block of the result, over a piece of the shared axis.
    #[allow(unsafe_code)]
    fn block(
        &self,
        tiles: &Tiles,
        sides: Sides,
        (row, column): (usize, usize),
        piece: &Piece,
        [own, other]: &mut [Block; 2],
    ) {
        let rows = row * SIDE..((row + 1) * SIDE).min(self.a.count);
        let columns = column * SIDE..((column + 1) * SIDE).min(self.b.count);
        let place = self.place(rows.start, columns.start);
        let there = Start { rows: place, stride: self.b.count };
        let bias = |bias: &[f32]| Start { rows: bias[columns.start..].as_ptr(), stride: 0 };
        let start = if piece.steps.start > 0 { Some(there) } else { self.finish.bias.map(bias) };
        let map = self.finish.map.filter(|_| piece.last);
        let residual = self.finish.residual.filter(|_| piece.last);
        let whole = rows.len() == SIDE && columns.len() == SIDE;
        if whole && map.is_none() && residual.is_none() && sides.finite {
            let sums = Sums { start, out: place, stride: self.b.count };
            let lines = (sides.left, sides.right);
            // SAFETY: a whole block of the result that belongs to this task alone; an earlier
            // piece wrote what a later one starts from; the bias is as long as a row.
            unsafe { tiles.multiply(self.terms(), self.b.split, lines, sides.soon, sums) };
            return;
        }
        let residual =
            residual.map(|residual| &residual[rows.start * self.b.count + columns.start..]);
        if let Some(residual) = residual {
            fetch::<_MM_HINT_T0>(residual.as_ptr(), self.b.count, rows.len());
        }
        fetch::<_MM_HINT_ET0>(place, self.b.count, rows.len());
        let start = match start {
            Some(start) if !whole => {
                for (i, to) in own.0.chunks_exact_mut(SIDE).take(rows.len()).enumerate() {
                    let from = start.rows.wrapping_add(i * start.stride);
                    // SAFETY: as above, and no more than the columns of the result is read.
                    unsafe { to.as_mut_ptr().copy_from(from, columns.len()) };
                }
                Some(Start { rows: own.0.as_ptr(), stride: SIDE })
            }
            start => start,
        };
        // SAFETY: a start of a whole block, as above.
        unsafe { self.multiply(tiles, sides, start, [own, other]) };
        let sums = match map {
            Some(map) => {
                map(&own.0, &mut other.0);
                other
            }
            None => own,
        };
        let to = Place { start: place, stride: self.b.count, size: (rows.len(), columns.len()) };
        // SAFETY: these rows and columns of the result belong to this task alone.
        unsafe { to.write(&sums.0, residual) };
    }

    fn terms(&self) -> Terms {
        if self.b.split == 1 { Terms::Leading } else { Terms::Six }
    }

    /// The product of two blocks of lines added to `start`, in the first of two blocks.
    ///
    /// # Safety
    /// The start may be read over a whole block.
    #[allow(unsafe_code)]
    unsafe fn multiply(
        &self,
        tiles: &Tiles,
        sides: Sides,
        start: Option<Start>,
        [own, other]: [&mut Block; 2],
    ) {
        let lines = (sides.left, sides.right);
        let run = |terms: Terms, out: *mut f32| {
            let sums = Sums { start, out, stride: SIDE };
            // SAFETY: the result is a block of our own; the caller vouches for the start.
            unsafe { tiles.multiply(terms, self.b.split, lines, sides.soon, sums) };
        };
        if sides.finite || self.b.split == 1 {
            run(self.terms(), own.0.as_mut_ptr());
            return;
        }
        // Beside ∞ the smaller parts would make NaN; the leading ones tell what comes out.
        run(Terms::Leading, other.0.as_mut_ptr());
        run(Terms::Six, own.0.as_mut_ptr());
        for (sum, lead) in own.0.iter_mut().zip(&other.0) {
            if !lead.is_finite() {
                *sum = *lead;
            }
        }
    }

    #[allow(unsafe_code)]
    fn place(&self, row: usize, column: usize) -> *mut f32 {
        // SAFETY: rows and columns of tasks lie inside the result.
        unsafe { self.out.0.add(row * self.b.count + column) }
    }
}

#[cfg(test)]
#[allow(clippy::float_cmp)] // infinities
mod tests {
    use proptest::prelude::*;

    use super::super::naive::{numbers, same_for_any_threads};
    use super::super::panels::Columns;
    use super::super::product;
    use super::super::simd::level;
    use super::super::unit::unit;
    use super::*;

    /// The units that can be tried here, with the parts they take.
    fn units() -> Vec<(Unit, usize)> {
        match unit() {
            Some(Unit::Amx) => vec![(Unit::Amx, 3), (Unit::Amx, 1), (Unit::Dot, 1)],
            Some(Unit::Dot) => vec![(Unit::Dot, 1)],
            None => Vec::new(),
        }
    }

    #[allow(unsafe_code)]
    fn run(unit: (Unit, usize), a: Lines, b: Lines, finish: Finish) -> Vec<f32> {
        // SAFETY: `units` are those of this processor.
        let b = unsafe { Parts::right(b, unit.1) };
        product(unit.0, a, &b, finish)
    }

    fn turned(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
        (0..rows * columns).map(|i| values[i % rows * columns + i / rows]).collect()
    }

    fn doubled(x: &[f32], out: &mut [f32]) {
        out.iter_mut().zip(x).for_each(|(out, x)| *out = 2.0 * x);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn every_unit_and_layout_agrees_with_float64(
            rows in prop_oneof![0usize..40, 250usize..300],
            columns in 0usize..80,
            depth in prop_oneof![0usize..70, 760usize..800, 1560usize..1600],
            finished in any::<bool>(),
        ) {
            let (a, w) = (numbers(rows * depth, 1), numbers(columns * depth, 2));
            let (a_turned, w_turned) = (turned(&a, rows, depth), turned(&w, columns, depth));
            let lefts = [Lines::rows(&a, rows, depth), Lines::columns(&a_turned, depth, rows)];
            let rights = [Lines::rows(&w, columns, depth), Lines::columns(&w_turned, depth, columns)];
            let (bias, residual) = (numbers(columns, 3), numbers(rows * columns, 4));
            let finish = if finished {
                Finish { bias: Some(&bias), map: Some(doubled), residual: Some(&residual) }
            } else {
                Finish::default()
            };
            // The sum, and that of the magnitudes: errors are measured by what was added up.
            let expected: Vec<(f64, f64)> = (0..rows * columns).map(|place| {
                let (row, column) = (place / columns, place % columns);
                let terms = (0..depth)
                    .map(|k| f64::from(a[row * depth + k]) * f64::from(w[column * depth + k]));
                let (sum, size) = terms.fold((0.0, 0.0), |(sum, size), x| (sum + x, size + x.abs()));
                if !finished { return (sum, size); }
                (2.0 * (sum + f64::from(bias[column])) + f64::from(residual[place]), 2.0 * size + 9.0)
            }).collect();
            for unit in units() {
                for (left, right) in lefts.iter().flat_map(|l| rights.iter().map(move |r| (l, r))) {
                    let out = run(unit, *left, *right, finish);
                    prop_assert_eq!(out.len(), expected.len());
                    // Rounding both factors to bfloat16 costs up to 2 in 256; three parts nothing,
                    // but six products are added up, each to half a unit of the last place, and
                    // what is left of both factors and of two products is as much again.
                    let allowed = if unit.1 == 1 { 2.0 / 256.0 } else { 10.0 / f64::from(1 << 24) };
                    for (out, (sum, size)) in out.iter().zip(&expected) {
                        let error = (f64::from(*out) - sum).abs();
                        prop_assert!(error <= allowed * size, "{unit:?} {out} {sum} {size}");
                    }
                }
            }
        }
    }

    #[test]
    fn three_parts_are_no_further_from_float64_than_multiply_adds() {
        let (rows, columns, depth) = (64, 64, 768);
        let (a, w) = (numbers(rows * depth, 1), numbers(columns * depth, 2));
        let (a, w) = (Lines::rows(&a, rows, depth), Lines::rows(&w, columns, depth));
        let wide = |place: usize| -> f64 {
            let lines =
                (&a.values[place / columns * depth..], &w.values[place % columns * depth..]);
            let pairs = lines.0[..depth].iter().zip(lines.1);
            pairs.map(|(a, w)| f64::from(*a) * f64::from(*w)).sum()
        };
        let error = |out: &[f32]| -> f64 {
            let square = |(i, x): (usize, &f32)| (f64::from(*x) - wide(i)).powi(2);
            out.iter().enumerate().map(square).sum()
        };
        let panels = Columns::of(level(), w);
        let plain = error(&product::product(a, panels.view(), Finish::default()));
        for unit in units().into_iter().filter(|unit| unit.1 == 3) {
            let parts = error(&run(unit, a, w, Finish::default()));
            assert!(parts <= plain, "{parts} {plain}");
        }
    }

    #[test]
    fn parts_give_float32_back() {
        // Through the identity: numbers of every size, down to where parts become too small.
        let x: Vec<f32> = (0..64 * 64)
            .map(|i| {
                let size = 10f32.powi(i % 60 - 25);
                numbers(1, i as u64)[0] * size
            })
            .collect();
        let one: Vec<f32> = (0..64 * 64).map(|i| f32::from(u8::from(i / 64 == i % 64))).collect();
        for unit in units().into_iter().filter(|unit| unit.1 == 3) {
            let out =
                run(unit, Lines::rows(&x, 64, 64), Lines::rows(&one, 64, 64), Finish::default());
            assert!(out == x, "{out:?}");
        }
    }

    #[test]
    fn what_is_not_finite_spreads_as_in_float32() {
        let (rows, columns, depth) = (40, 50, 70);
        let (mut a, mut w) = (numbers(rows * depth, 1), numbers(columns * depth, 2));
        a[3 * depth + 5] = f32::INFINITY;
        a[33 * depth + 69] = f32::NAN;
        a[34 * depth] = f32::from_bits(0x7f80_0001); // NaN in its last bits only
        w[7 * depth + 5] = f32::NEG_INFINITY;
        w[8 * depth + 5] = 0.0; // beside ∞ it makes NaN
        let wide: Vec<f64> = (0..rows * columns)
            .map(|place| {
                (0..depth)
                    .map(|k| {
                        f64::from(a[place / columns * depth + k])
                            * f64::from(w[place % columns * depth + k])
                    })
                    .sum()
            })
            .collect();
        for unit in units() {
            let (a, w) = (Lines::rows(&a, rows, depth), Lines::rows(&w, columns, depth));
            for (out, wide) in run(unit, a, w, Finish::default()).iter().zip(&wide) {
                if wide.is_finite() {
                    assert!((f64::from(*out) - wide).abs() < 0.5, "{unit:?} {out} {wide}");
                } else {
                    assert!(out.is_nan() == wide.is_nan(), "{unit:?} {out} {wide}");
                    assert!(wide.is_nan() || f64::from(*out) == *wide, "{unit:?} {out} {wide}");
                }
            }
        }
    }

    #[test]
    fn threads_do_not_change_a_bit() {
        let (a, w) = (numbers(300 * 1000, 1), numbers(200 * 1000, 2));
        let (a, w) = (Lines::rows(&a, 300, 1000), Lines::rows(&w, 200, 1000));
        for unit in units() {
            same_for_any_threads(|| run(unit, a, w, Finish::default()));
        }
    }
}
