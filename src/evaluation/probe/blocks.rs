//! Standardised features, made block by block: the (N, D) float64 copy never exists.

use ndarray::{Array, Array1, Array2, ArrayView2, ArrayViewMut2, Axis, Dimension, Ix1, s};
use rayon::prelude::*;

/// Rows of one block; sums go block by block in order, so the thread count changes nothing.
const ROWS: usize = 256;
/// The most sums held at once.
const PARTS: usize = 64;

/// Mean and spread of each feature.
#[derive(Clone, Debug, PartialEq)]
pub struct Scaler {
    /// (D,)
    pub mean: Array1<f64>,
    /// Standard deviation (D,); one where a feature is constant.
    pub scale: Array1<f64>,
}

impl Scaler {
    /// Learns from `features` (N, D); `standardise` false keeps them as they are.
    pub fn fit(features: ArrayView2<'_, f32>, standardise: bool) -> Self {
        let (n, d) = features.dim();
        if !standardise {
            return Self { mean: Array1::zeros(d), scale: Array1::ones(d) };
        }
        let mean = sum(features, |row, out| *out += &row.mapv(f64::from)) / n as f64;
        let squares = sum(features, |row, out| {
            ndarray::Zip::from(out).and(&row).and(&mean).for_each(|out, &x, &mean| {
                *out += (f64::from(x) - mean).powi(2);
            });
        });
        let scale = (squares / n as f64).mapv(f64::sqrt);
        // A constant feature is all rounding; to scale it up would make noise of it.
        let scale = ndarray::Zip::from(&scale)
            .and(&mean)
            .map_collect(|&s, &m| if s > 1e-7 * m.abs() && s > 0.0 { s } else { 1.0 });
        Self { mean, scale }
    }

    /// Standardises a block.
    pub fn apply(&self, block: ArrayView2<'_, f32>) -> Array2<f64> {
        let mut out = block.mapv(f64::from);
        for mut row in out.rows_mut() {
            ndarray::Zip::from(&mut row).and(&self.mean).and(&self.scale).for_each(
                |x, &mean, &scale| {
                    *x = (*x - mean) / scale;
                },
            );
        }
        out
    }
}

fn sum(
    features: ArrayView2<'_, f32>,
    add: impl Fn(ndarray::ArrayView1<'_, f32>, &mut Array1<f64>) + Sync,
) -> Array1<f64> {
    fold_blocks(features.nrows(), Ix1(features.ncols()), |start, end, out| {
        for row in features.slice(s![start..end, ..]).rows() {
            add(row, out);
        }
    })
}

/// Sum over blocks of rows of what `work` adds to an array of `shape`.
pub(super) fn fold_blocks<D: Dimension>(
    rows: usize,
    shape: D,
    work: impl Fn(usize, usize, &mut Array<f64, D>) + Sync,
) -> Array<f64, D> {
    // Few parts, so that their sums take little memory however many rows there are.
    let part = rows.div_ceil(PARTS).max(ROWS);
    let sums: Vec<Array<f64, D>> = (0..rows.div_ceil(part))
        .into_par_iter()
        .map(|number| {
            let mut out = Array::zeros(shape.clone());
            let end = ((number + 1) * part).min(rows);
            for start in (number * part..end).step_by(ROWS) {
                work(start, (start + ROWS).min(end), &mut out);
            }
            out
        })
        .collect();
    sums.iter().fold(Array::zeros(shape), |total, part| total + part)
}

/// Calls `work` on each block of standardised features with the same rows of `out`.
pub(super) fn for_each_block(
    scaler: &Scaler,
    features: ArrayView2<'_, f32>,
    out: &mut Array2<f64>,
    work: impl Fn(Array2<f64>, ArrayViewMut2<'_, f64>) + Sync,
) {
    let blocks: Vec<_> = features
        .axis_chunks_iter(Axis(0), ROWS)
        .zip(out.axis_chunks_iter_mut(Axis(0), ROWS))
        .collect();
    blocks.into_par_iter().for_each(|(block, out)| work(scaler.apply(block), out));
}
