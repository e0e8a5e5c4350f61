//! Weights of eight bits: blocks of 32 numbers of a line share a factor.
//!
//! The numbers are those of ggml's `Q8_0`: integers of −127 to 127 times a float16. They lie in
//! panels of sixteen lines, four neighbouring numbers of each line in a row of 64 bytes, which is
//! what one instruction multiplies. The other side is rounded to eight bits too, block by block
//! with a float32 factor, when the product is formed: sums within a block are exact.

use half::f16;

use super::crew::{each, map, parallel, parts};
use super::held::{Held, Plain};
use super::lines::Lines;
use super::product::{Cells, Finish};
use super::q8_sums::{Path, Sums, path};

/// Numbers that share a factor.
pub(super) const BLOCK: usize = 32;
/// Lines of a panel.
pub(super) const LINES: usize = 16;
/// Rows of a panel that one block takes.
pub(super) const DEPTH: usize = BLOCK / 4;
/// Rows of the left side that are formed together.
pub(super) const ROWS: usize = 8;
/// Bytes of the weight that a task reads.
const TASK: usize = 1 << 17;

/// Four neighbouring numbers of each of sixteen lines, plus 128.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct Quads(pub(super) [[u8; 4]; LINES]);

// SAFETY: 64 bytes, as large as their alignment.
#[allow(unsafe_code)]
unsafe impl Plain for Quads {}

/// One block of sixteen lines.
pub(super) type Factors = [u16; LINES];

/// The right side of products, in eight bits.
#[derive(Debug)]
pub(super) struct Q8 {
    pub(super) quads: Held<Quads>,
    pub(super) factors: Held<Factors>,
    pub(super) count: usize,
    pub(super) depth: usize,
}

impl Q8 {
    /// The bytes of `count` lines of `depth` numbers.
    pub(super) fn bytes(count: usize, depth: usize) -> usize {
        let blocks = count.div_ceil(LINES) * depth.div_ceil(BLOCK);
        blocks * (DEPTH * size_of::<Quads>() + size_of::<Factors>())
    }

    /// What was rounded before; `None` where that is not as large as it must be.
    pub(super) fn held(
        quads: Held<Quads>,
        factors: Held<Factors>,
        count: usize,
        depth: usize,
    ) -> Option<Self> {
        let blocks = count.div_ceil(LINES) * depth.div_ceil(BLOCK);
        let fits = quads.len() == blocks * DEPTH && factors.len() == blocks;
        fits.then_some(Self { quads, factors, count, depth })
    }

    /// Rounds the lines, whose numbers are neighbours.
    pub(super) fn new(lines: Lines) -> Self {
        assert!(lines.along, "lines whose numbers are neighbours");
        let blocks = lines.depth.div_ceil(BLOCK);
        let panels = lines.count.div_ceil(LINES);
        // 128 stands for zero, which fills up the last panel and the last block.
        let mut quads = vec![Quads([[128; 4]; LINES]); panels * blocks * DEPTH];
        let mut factors = vec![[0; LINES]; panels * blocks];
        let of_panel = (parts(&mut quads, blocks * DEPTH), parts(&mut factors, blocks));
        each(of_panel, 1, |panel, (quads, factors)| {
            for lane in 0..LINES.min(lines.count - panel * LINES) {
                let line = &lines.values[(panel * LINES + lane) * lines.stride..][..lines.depth];
                for (b, block) in line.chunks(BLOCK).enumerate() {
                    let (factor, numbers) = rounded(block);
                    if let Some(of_lane) = factors[b].get_mut(lane) {
                        *of_lane = factor.to_bits();
                    }
                    for (i, number) in numbers.iter().enumerate() {
                        quads[b * DEPTH + i / 4].0[lane][i % 4] = number.wrapping_add(-128) as u8;
                    }
                }
            }
        });
        Self {
            quads: quads.into(),
            factors: factors.into(),
            count: lines.count,
            depth: lines.depth,
        }
    }

    fn blocks(&self) -> usize {
        self.depth.div_ceil(BLOCK)
    }
}

/// The factor of a block, and its numbers in units of it.
fn rounded(block: &[f32]) -> (f16, [i8; BLOCK]) {
    let mut numbers = [0; BLOCK];
    if !block.iter().all(|x| x.is_finite()) {
        return (f16::NAN, numbers);
    }
    let top = block.iter().fold(0f32, |top, x| top.max(x.abs()));
    let factor = f16::from_f32(top / 127.0);
    let unit = factor.to_f32();
    if unit > 0.0 {
        for (number, x) in numbers.iter_mut().zip(block) {
            *number = (x / unit).round().clamp(-127.0, 127.0) as i8;
        }
    }
    (factor, numbers)
}

/// The numbers of `lines` (count, depth) as eight bits hold them.
pub(super) fn restored(values: &[f32], depth: usize) -> Vec<f32> {
    let block = |block: &[f32]| {
        let (factor, numbers) = rounded(block);
        let unit = factor.to_f32();
        numbers.into_iter().take(block.len()).map(move |x| f32::from(x) * unit).collect::<Vec<_>>()
    };
    values.chunks(depth.max(1)).flat_map(|line| line.chunks(BLOCK)).flat_map(block).collect()
}

/// A row of the left side: four neighbours each, and what is known of its blocks.
pub(super) struct Row {
    pub(super) quads: Vec<[i8; 4]>,
    pub(super) factors: Vec<f32>,
    /// What adding 128 to the other side adds to the sum of each block, with its sign changed.
    pub(super) excess: Vec<i32>,
}

impl Row {
    fn new(row: &[f32], blocks: usize) -> Self {
        let mut one = Self {
            quads: vec![[0; 4]; blocks * DEPTH],
            factors: vec![0.0; blocks],
            excess: vec![0; blocks],
        };
        for (b, block) in row.chunks(BLOCK).enumerate() {
            let top = block.iter().fold(0f32, |top, x| top.max(x.abs()));
            // NaN is in no maximum, but in every sum.
            let finite =
                block.iter().sum::<f32>().is_finite() || block.iter().all(|x| x.is_finite());
            one.factors[b] = if finite { top / 127.0 } else { f32::NAN };
            let per_unit = if top > 0.0 && finite { 127.0 / top } else { 0.0 };
            let mut sum = 0;
            for (i, x) in block.iter().enumerate() {
                let number = (x * per_unit).round_ties_even() as i8;
                one.quads[b * DEPTH + i / 4][i % 4] = number;
                sum += i32::from(number);
            }
            one.excess[b] = -128 * sum;
        }
        one
    }
}

/// `x` (M, K) times the columns `b`, finished: (M, N). The depth K is not 0.
pub(super) fn product(x: Lines, b: &Q8, finish: Finish) -> Vec<f32> {
    product_on(path(), x, b, finish)
}

/// [`product`] on a path that this processor can take.
#[allow(unsafe_code)]
pub(super) fn product_on(path: Path, x: Lines, b: &Q8, finish: Finish) -> Vec<f32> {
    assert!(x.depth == b.depth && x.along, "rows of the depth of the columns");
    let (rows, blocks) = (x.count, b.blocks());
    let mut out = vec![0.0; rows * b.count];
    if out.is_empty() {
        return out;
    }
    let row = |i: usize| Row::new(&x.values[i * x.stride..][..x.depth], blocks);
    let left: Vec<Row> = if rows <= ROWS { (0..rows).map(row).collect() } else { map(rows, row) };
    let panels = b.count.div_ceil(LINES);
    let group = (TASK / (blocks * DEPTH * size_of::<Quads>()).max(1)).max(1);
    let cells = Cells(out.as_mut_ptr());
    parallel(panels.div_ceil(group), |task| {
        let panels = task * group..panels.min((task + 1) * group);
        for (i, rows) in left.chunks(ROWS).enumerate() {
            for panel in panels.clone() {
                let sums = Sums {
                    quads: &b.quads[panel * blocks * DEPTH..][..blocks * DEPTH],
                    factors: &b.factors[panel * blocks..][..blocks],
                    rows,
                };
                let found = sums.on(path);
                let wide = LINES.min(b.count - panel * LINES);
                for (r, found) in found.iter().enumerate().take(rows.len()) {
                    let start = (i * ROWS + r) * b.count + panel * LINES;
                    // SAFETY: these columns of this row lie in the result, and are this task's.
                    unsafe { cells.write(start, &found[..wide]) };
                }
            }
        }
    });
    finish.apply(&mut out, b.count);
    out
}

impl Cells {
    /// Writes neighbouring numbers.
    ///
    /// # Safety
    /// They lie inside the result, and no other task reads or writes them.
    #[allow(unsafe_code)]
    unsafe fn write(&self, start: usize, numbers: &[f32]) {
        // SAFETY: as the caller promises.
        unsafe { self.0.add(start).copy_from_nonoverlapping(numbers.as_ptr(), numbers.len()) };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::few::tests::Example;
    use super::super::naive::{numbers, same_for_any_threads};
    use super::super::q8_sums::paths;
    use super::*;

    proptest! {
        #[test]
        fn every_path_agrees_with_float64(
            rows in prop_oneof![1usize..10, 17usize..20], columns in 0usize..70, depth in 1usize..200,
        ) {
            let example = Example::new(rows, columns, depth);
            let weight = Q8::new(Lines::rows(&example.weight, columns, depth));
            let x = Lines::rows(&example.x, rows, depth);
            for path in paths() {
                let out = product_on(path, x, &weight, example.finish());
                prop_assert_eq!(out.len(), rows * columns);
                for (out, (sum, size)) in out.iter().zip(&example.expected) {
                    // Each side is off by half of a 127th of the largest of its block.
                    let error = (f64::from(*out) - sum).abs();
                    prop_assert!(error <= 0.03 * size, "{path:?} {out} {sum} {size}");
                }
            }
        }

        #[test]
        fn paths_differ_by_the_order_of_sums_only(rows in 1usize..10, columns in 1usize..40, depth in 1usize..200) {
            let example = Example::new(rows, columns, depth);
            let weight = Q8::new(Lines::rows(&example.weight, columns, depth));
            let x = Lines::rows(&example.x, rows, depth);
            let on = |path| product_on(path, x, &weight, Finish::default());
            let all: Vec<_> = paths().into_iter().map(on).collect();
            for (a, b) in all.iter().skip(1).flat_map(|other| other.iter().zip(&all[0])) {
                prop_assert!((a - b).abs() <= 1e-5 * (1.0 + b.abs()), "{a} {b}");
            }
        }
    }

    #[test]
    fn rounded_weights_are_near_and_products_with_whole_numbers_exact() {
        let weight = numbers(4 * 70, 1);
        let near = restored(&weight, 70);
        for (line, near) in weight.chunks(70).zip(near.chunks(70)) {
            for (block, near) in line.chunks(BLOCK).zip(near.chunks(BLOCK)) {
                let top = block.iter().fold(0f32, |top, x| top.max(x.abs()));
                let off = |(x, y): (&f32, &f32)| (x - y).abs() <= 0.6 * top / 127.0;
                assert!(block.iter().zip(near).all(off));
            }
        }
        // The largest of each block is 127, so that the factors are one.
        let whole: Vec<f32> =
            (0..2 * 64).map(|i| if i % 32 == 0 { 127.0 } else { (i % 50) as f32 - 25.0 }).collect();
        assert_eq!(restored(&whole, 64), whole);
        let lines = Lines::rows(&whole, 2, 64);
        let exact: Vec<f32> = [(0, 0), (0, 1), (1, 0), (1, 1)]
            .map(|(a, b): (usize, usize)| {
                whole[a * 64..][..64].iter().zip(&whole[b * 64..][..64]).map(|(a, b)| a * b).sum()
            })
            .to_vec();
        for path in paths() {
            assert_eq!(product_on(path, lines, &Q8::new(lines), Finish::default()), exact);
        }
    }

    #[test]
    fn what_is_not_finite_makes_what_it_touches_not_a_number() {
        let (mut x, mut w) = (numbers(2 * 64, 1), numbers(3 * 64, 2));
        x[70] = f32::INFINITY;
        w[64] = f32::NAN;
        let weight = Q8::new(Lines::rows(&w, 3, 64));
        for path in paths() {
            let out = product_on(path, Lines::rows(&x, 2, 64), &weight, Finish::default());
            let lost: Vec<bool> = out.iter().map(|x| x.is_nan()).collect();
            assert_eq!(lost, [false, true, false, true, true, true], "{path:?}");
        }
    }

    #[test]
    fn threads_do_not_change_a_bit_and_zeros_stay() {
        let (x, w) = (numbers(20 * 500, 1), numbers(900 * 500, 2));
        let weight = Q8::new(Lines::rows(&w, 900, 500));
        same_for_any_threads(|| product(Lines::rows(&x, 20, 500), &weight, Finish::default()));
        let zeros = vec![0.0; 40];
        let none = Q8::new(Lines::rows(&zeros, 1, 40));
        let out = product(Lines::rows(&x[..40], 1, 40), &none, Finish::default());
        assert!(out[0] == 0.0 && out[0].is_sign_positive());
    }
}
