//! Softmax of the last axis, with its backward.

use candle::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

use super::buffer::{block_of_rows, filled, read, slice, tensor};
use super::simd::{exp, kernel, max, sum, sum_pairs};
use super::tape::apply1;

kernel! {
    /// Writes the softmax of each row of `width` numbers over the row itself.
    ///
    /// Numbers below −1e30 get no weight; a row of nothing else becomes zeros.
    fn softmax_rows(rows: &mut [f32], width: usize) {
        for row in rows.chunks_exact_mut(width) {
            let top = max(row);
            // A NaN anywhere is seen by the sum, if not by the maximum.
            if top < -1e30 && row.iter().all(|x| !x.is_nan()) {
                row.fill(0.0);
                continue;
            }
            for x in row.iter_mut() {
                *x = exp::<FMA>(*x - top);
            }
            let scale = 1.0 / sum(row, |x| x);
            for x in row.iter_mut() {
                *x *= scale;
            }
        }
    }
}

kernel! {
    /// Writes `y (g − Σ g y)` for each row.
    fn softmax_backward_rows(y: &[f32], g: &[f32], out: &mut [f32], width: usize) {
        let rows = y.chunks_exact(width).zip(g.chunks_exact(width));
        for ((y, g), out) in rows.zip(out.chunks_exact_mut(width)) {
            let mean = sum_pairs(y, g, |y, g| y * g);
            for ((out, y), g) in out.iter_mut().zip(y).zip(g) {
                *out = y * (g - mean);
            }
        }
    }
}

/// The softmax of `x` (…, D) over the last axis.
pub(crate) fn softmax(x: &Tensor) -> Result<Tensor> {
    apply1(&x.contiguous()?, Softmax)
}

struct Softmax;

impl CustomOp1 for Softmax {
    fn name(&self) -> &'static str {
        "softmax"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = slice(storage, layout)?;
        let width = layout.dims().last().copied().unwrap_or(1).max(1);
        let block = block_of_rows(width);
        let out = filled(x.len(), block, |i, out| {
            out.copy_from_slice(&x[i * block..][..out.len()]);
            softmax_rows(out, width);
        });
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }

    fn bwd(&self, _: &Tensor, res: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let width = res.dims().last().copied().unwrap_or(1).max(1);
        let block = block_of_rows(width);
        let out = read(res, |y| {
            read(grad, |g| {
                filled(y.len(), block, |i, out| {
                    let part = i * block..i * block + out.len();
                    softmax_backward_rows(&y[part.clone()], &g[part], out, width);
                })
            })
        })??;
        Ok(Some(tensor(out, res)?))
    }
}
