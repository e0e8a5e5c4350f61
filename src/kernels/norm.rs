//! Layer norm and RMS norm with their backwards.

use candle::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};

use super::buffer::{
    block_of_rows, filled, filled_with, large_block_of_rows, read, slice, tensor, total,
};
use super::simd::{fma, kernel, sum, sum_pairs};

kernel! {
    fn layer_norm_rows(x: &[f32], weight: &[f32], bias: &[f32], eps: f32, out: &mut [f32]) {
        let width = weight.len();
        for (x, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
            let mean = sum(x, |x| x) / width as f32;
            let variance = sum(x, |x| (x - mean) * (x - mean)) / width as f32;
            let scale = 1.0 / (variance + eps).sqrt();
            for (((out, x), w), b) in out.iter_mut().zip(x).zip(weight).zip(bias) {
                *out = fma::<FMA>((x - mean) * scale, *w, *b);
            }
        }
    }
}

kernel! {
    /// Writes the gradient of x, and adds those of weight and bias to `part` (2 D).
    fn layer_norm_backward_rows(
        x: &[f32], g: &[f32], weight: &[f32], eps: f32, out: &mut [f32], part: &mut [f32],
    ) {
        let width = weight.len();
        let n = width as f32;
        let (dw, db) = part.split_at_mut(width);
        let rows = x.chunks_exact(width).zip(g.chunks_exact(width));
        for ((x, g), out) in rows.zip(out.chunks_exact_mut(width)) {
            let mean = sum(x, |x| x) / n;
            let scale = 1.0 / (sum(x, |x| (x - mean) * (x - mean)) / n + eps).sqrt();
            for ((((out, x), g), dw), db) in
                out.iter_mut().zip(x).zip(g).zip(dw.iter_mut()).zip(db.iter_mut())
            {
                *out = (x - mean) * scale; // the unit value, until the last loop
                *dw = fma::<FMA>(*g, *out, *dw);
                *db += g;
            }
            let level = sum_pairs(g, weight, |g, w| g * w) / n;
            let mut tilt = 0.0;
            for ((unit, g), w) in
                out.chunks(TILE).zip(g.chunks(TILE)).zip(weight.chunks(TILE))
            {
                let mut product = [0.0; TILE];
                for (((p, unit), g), w) in product.iter_mut().zip(unit).zip(g).zip(w) {
                    *p = unit * g * w;
                }
                tilt += sum(&product, |x| x);
            }
            tilt /= n;
            for ((out, g), w) in out.iter_mut().zip(g).zip(weight) {
                *out = scale * (g * w - fma::<FMA>(*out, tilt, level));
            }
        }
    }
}

/// Products of three are formed in tiles, to be summed as one.
const TILE: usize = 128;

kernel! {
    fn rms_norm_rows(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
        let width = weight.len();
        for (x, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
            let scale = 1.0 / (sum(x, |x| x * x) / width as f32 + eps).sqrt();
            for ((out, x), w) in out.iter_mut().zip(x).zip(weight) {
                *out = x * scale * w;
            }
        }
    }
}

kernel! {
    /// Writes the gradient of x, and adds that of weight to `dw`.
    fn rms_norm_backward_rows(
        x: &[f32], g: &[f32], weight: &[f32], eps: f32, out: &mut [f32], dw: &mut [f32],
    ) {
        let width = weight.len();
        let rows = x.chunks_exact(width).zip(g.chunks_exact(width));
        for ((x, g), out) in rows.zip(out.chunks_exact_mut(width)) {
            let scale = 1.0 / (sum(x, |x| x * x) / width as f32 + eps).sqrt();
            for ((((out, x), g), w), dw) in
                out.iter_mut().zip(x).zip(g).zip(weight).zip(dw.iter_mut())
            {
                *out = g * w;
                *dw = fma::<FMA>(g * x, scale, *dw);
            }
            let tilt = sum_pairs(out, x, |gw, x| gw * x) * scale * scale / width as f32;
            for (out, x) in out.iter_mut().zip(x) {
                *out = scale * fma::<FMA>(-*x, tilt, *out);
            }
        }
    }
}

/// Layer norm of `x` (…, D) with `weight` and `bias` (D).
pub(crate) fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    let op = LayerNorm { eps: eps as f32 };
    x.contiguous()?.apply_op3(&weight.contiguous()?, &bias.contiguous()?, op)
}

/// RMS norm of `x` (…, D) with `weight` (D).
pub(crate) fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    x.contiguous()?.apply_op2(&weight.contiguous()?, RmsNorm { eps: eps as f32 })
}

struct LayerNorm {
    eps: f32,
}

impl CustomOp3 for LayerNorm {
    fn name(&self) -> &'static str {
        "layer-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let x = slice(x, x_layout)?;
        let (weight, bias) = (slice(weight, weight_layout)?, slice(bias, bias_layout)?);
        let block = block_of_rows(weight.len());
        let out = filled(x.len(), block, |i, out| {
            layer_norm_rows(&x[i * block..][..out.len()], weight, bias, self.eps, out);
        });
        Ok((CpuStorage::F32(out), x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let width = weight.elem_count();
        let (dx, mut dw) = backward(x, weight, grad, 2 * width, |x, g, weight, out, part| {
            layer_norm_backward_rows(x, g, weight, self.eps, out, part);
        })?;
        let db = dw.split_off(width);
        Ok((Some(tensor(dx, x)?), Some(tensor(dw, weight)?), Some(tensor(db, bias)?)))
    }
}

struct RmsNorm {
    eps: f32,
}

impl CustomOp2 for RmsNorm {
    fn name(&self) -> &'static str {
        "rms-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, weight) = (slice(x, x_layout)?, slice(weight, weight_layout)?);
        let block = block_of_rows(weight.len());
        let out = filled(x.len(), block, |i, out| {
            rms_norm_rows(&x[i * block..][..out.len()], weight, self.eps, out);
        });
        Ok((CpuStorage::F32(out), x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let width = weight.elem_count();
        let (dx, dw) = backward(x, weight, grad, width, |x, g, weight, out, part| {
            rms_norm_backward_rows(x, g, weight, self.eps, out, part);
        })?;
        Ok((Some(tensor(dx, x)?), Some(tensor(dw, weight)?)))
    }
}

type Rows<'a> = dyn Fn(&[f32], &[f32], &[f32], &mut [f32], &mut [f32]) + Sync + 'a;

/// The gradient of x, and the sum over all blocks of the `extra` numbers of the parameters.
fn backward(
    x: &Tensor,
    weight: &Tensor,
    grad: &Tensor,
    extra: usize,
    rows: impl Fn(&[f32], &[f32], &[f32], &mut [f32], &mut [f32]) + Sync,
) -> Result<(Vec<f32>, Vec<f32>)> {
    let rows: &Rows = &rows;
    let block = large_block_of_rows(weight.elem_count());
    let run = |x: &[f32], g: &[f32], weight: &[f32]| {
        let (dx, parts) = filled_with(x.len(), block, |i, out| {
            let range = i * block..i * block + out.len();
            let mut part = vec![0.0; extra];
            rows(&x[range.clone()], &g[range], weight, out, &mut part);
            part
        });
        (dx, total(parts, extra))
    };
    read(x, |x| read(grad, |g| read(weight, |weight| run(x, g, weight))))??
}
