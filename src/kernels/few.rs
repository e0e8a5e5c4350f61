//! Products of a few rows: each number of the weight is read once, where it lies.
//!
//! With one row, as when a decoder writes, a product is as fast as memory: there is nothing to
//! win by laying the weight out, and a layout of several parts a number would only be read longer.

use super::crew::{each, parts};
use super::product::Finish;
use super::simd::{LANES, fma, fold, kernel};

/// Rows up to which a weight is better read as it lies.
pub(super) const FEW: usize = 8;
/// Multiply-adds below which a product is not worth handing out.
const SMALL: usize = 1 << 15;
/// Numbers of the weight that a task reads.
const TASK: usize = 1 << 15;

kernel! {
    /// The sums of products of the lines of `w` with the rows of `x`: (lines, rows).
    fn dots(x: &[f32], w: &[f32], depth: usize, out: &mut [f32]) {
        let rows = x.len() / depth;
        for (line, out) in w.chunks_exact(depth).zip(out.chunks_exact_mut(rows)) {
            for (row, out) in x.chunks_exact(depth).zip(out) {
                *out = dot::<FMA>(row, line);
            }
        }
    }
}

#[inline(always)]
fn dot<const FMA: bool>(x: &[f32], y: &[f32]) -> f32 {
    let mut lanes = [0.0; 2 * LANES];
    let ((whole_x, rest_x), (whole_y, rest_y)) =
        (x.as_chunks::<{ 2 * LANES }>(), y.as_chunks::<{ 2 * LANES }>());
    for (x, y) in whole_x.iter().zip(whole_y) {
        for ((lane, x), y) in lanes.iter_mut().zip(x).zip(y) {
            *lane = fma::<FMA>(*x, *y, *lane);
        }
    }
    for ((lane, x), y) in lanes.iter_mut().zip(rest_x).zip(rest_y) {
        *lane = fma::<FMA>(*x, *y, *lane);
    }
    let (low, high) = lanes.split_at(LANES);
    fold(std::array::from_fn(|i| low[i] + high[i]), |a, b| a + b)
}

/// `x` (M, K) times the transposed `weight` (N, K), finished: (M, N). The depth K is not 0.
pub(super) fn product(x: &[f32], weight: &[f32], depth: usize, finish: Finish) -> Vec<f32> {
    let (rows, columns) = (x.len() / depth, weight.len() / depth);
    let mut sums = vec![0.0; rows * columns]; // (N, M)
    if sums.is_empty() {
        return sums;
    }
    let lines = if weight.len() <= SMALL { columns } else { (TASK / depth).max(1) };
    each(parts(&mut sums, lines * rows), 1, |i, out| {
        let own = &weight[i * lines * depth..][..out.len() / rows * depth];
        dots(x, own, depth, out);
    });
    let mut out = if rows == 1 {
        sums
    } else {
        (0..rows * columns).map(|i| sums[i % columns * rows + i / columns]).collect()
    };
    finish.apply(&mut out, columns);
    out
}

impl Finish<'_> {
    /// Finishes a product (M, N) that was written before.
    pub(super) fn apply(&self, out: &mut [f32], columns: usize) {
        let one = |i: usize, row: &mut [f32]| {
            for (x, bias) in row.iter_mut().zip(self.bias.unwrap_or_default()) {
                *x += bias;
            }
            if let Some(map) = self.map {
                let before = row.to_vec();
                map(&before, row);
            }
            if let Some(residual) = self.residual {
                let residual = &residual[i * columns..][..columns];
                row.iter_mut().zip(residual).for_each(|(x, residual)| *x += residual);
            }
        };
        let least = SMALL.div_ceil(columns.max(1));
        each(parts(out, columns), least, one);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::super::naive::numbers;
    use super::super::simd::forced::on_every_path;
    use super::*;

    fn doubled(x: &[f32], out: &mut [f32]) {
        out.iter_mut().zip(x).for_each(|(out, x)| *out = 2.0 * x);
    }

    /// The sizes, numbers and extras of a product, with what it is in float64 and the sum of
    /// magnitudes, by which errors are measured.
    pub(in crate::kernels) struct Example {
        pub(in crate::kernels) x: Vec<f32>,
        pub(in crate::kernels) weight: Vec<f32>,
        bias: Vec<f32>,
        residual: Vec<f32>,
        pub(in crate::kernels) expected: Vec<(f64, f64)>,
    }

    impl Example {
        pub(in crate::kernels) fn new(rows: usize, columns: usize, depth: usize) -> Self {
            let (x, weight) = (numbers(rows * depth, 1), numbers(columns * depth, 2));
            let (bias, residual) = (numbers(columns, 3), numbers(rows * columns, 4));
            let one = |i: usize| {
                let (x, w) = (&x[i / columns * depth..][..depth], &weight[i % columns * depth..]);
                let terms = x.iter().zip(w).map(|(x, w)| f64::from(*x) * f64::from(*w));
                let (sum, size) = terms.fold((0.0, 0.0), |(s, t), x| (s + x, t + f64::abs(x)));
                let all = 2.0 * (sum + f64::from(bias[i % columns])) + f64::from(residual[i]);
                (all, 2.0 * size + 9.0)
            };
            let expected = (0..rows * columns).map(one).collect();
            Self { x, weight, bias, residual, expected }
        }

        pub(in crate::kernels) fn finish(&self) -> Finish<'_> {
            Finish { bias: Some(&self.bias), map: Some(doubled), residual: Some(&self.residual) }
        }
    }

    proptest! {
        #[test]
        fn few_rows_agree_with_float64_on_every_path(
            rows in 0usize..=FEW, columns in 0usize..90, depth in 1usize..300,
        ) {
            let example = Example::new(rows, columns, depth);
            for out in on_every_path(|| product(&example.x, &example.weight, depth, example.finish())) {
                prop_assert_eq!(out.len(), rows * columns);
                for (out, (sum, size)) in out.iter().zip(&example.expected) {
                    prop_assert!((f64::from(*out) - sum).abs() <= 2e-7 * size, "{out} {sum}");
                }
            }
        }
    }
}
