//! Layer norm and RMS norm with their backwards.

use candle::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};

use super::buffer::{
    Blank, block_of_rows, large_block_of_rows, read, slice, tensor, total, written, written_with,
};
use super::simd::{LANES, fma, fold, kernel, sum};
use super::tape::{apply2, apply3};

kernel! {
    /// Writes every number of `out`.
    fn layer_norm_rows(x: &[f32], weight: &[f32], bias: &[f32], eps: f32, out: &mut [Blank]) {
        let width = weight.len();
        for (x, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
            let (mean, scale) = moments::<true>(x, eps);
            for (((out, x), w), b) in out.iter_mut().zip(x).zip(weight).zip(bias) {
                out.write(fma::<FMA>((x - mean) * scale, *w, *b));
            }
        }
    }
}

kernel! {
    /// Writes every number of `out`.
    fn rms_norm_rows(x: &[f32], weight: &[f32], eps: f32, out: &mut [Blank]) {
        let width = weight.len();
        for (x, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
            let (_, scale) = moments::<false>(x, eps);
            for ((out, x), w) in out.iter_mut().zip(x).zip(weight) {
                out.write(x * scale * w);
            }
        }
    }
}

kernel! {
    /// Writes the gradient of x, every number of it, and adds those of weight and bias to `part`
    /// (2 D).
    fn layer_norm_backward_rows(
        x: &[f32], g: &[f32], weight: &[f32], eps: f32, out: &mut [Blank], part: &mut [f32],
    ) {
        backward_rows::<FMA, true>(x, g, weight, eps, out, part);
    }
}

kernel! {
    /// As [`layer_norm_backward_rows`] without a bias: `part` is (D).
    fn rms_norm_backward_rows(
        x: &[f32], g: &[f32], weight: &[f32], eps: f32, out: &mut [Blank], part: &mut [f32],
    ) {
        backward_rows::<FMA, false>(x, g, weight, eps, out, part);
    }
}

/// The mean that a row is taken from, 0 where it is not `CENTRED`, and the factor after that.
#[inline(always)]
fn moments<const CENTRED: bool>(x: &[f32], eps: f32) -> (f32, f32) {
    let n = x.len() as f32;
    let mean = if CENTRED { sum(x, |x| x) / n } else { 0.0 };
    (mean, 1.0 / (sum(x, |x| (x - mean) * (x - mean)) / n + eps).sqrt())
}

#[inline(always)]
fn backward_rows<const FMA: bool, const CENTRED: bool>(
    x: &[f32],
    g: &[f32],
    weight: &[f32],
    eps: f32,
    out: &mut [Blank],
    part: &mut [f32],
) {
    let width = weight.len();
    let (dw, db) = part.split_at_mut(width);
    let rows = x.chunks_exact(width).zip(g.chunks_exact(width));
    for ((x, g), out) in rows.zip(out.chunks_exact_mut(width)) {
        let (mean, scale) = moments::<CENTRED>(x, eps);
        let (level, tilt) = gather::<FMA, CENTRED>(x, g, weight, (mean, scale), (dw, db));
        for (((out, x), g), w) in out.iter_mut().zip(x).zip(g).zip(weight) {
            let unit = (x - mean) * scale;
            out.write(scale * (g * w - fma::<FMA>(unit, tilt, level)));
        }
    }
}

/// The means of `g w` (0 where not `CENTRED`) and of `g w` times the unit value; adds the row's
/// parts of the gradients of weight and bias, all in one pass over the row.
#[inline(always)]
fn gather<const FMA: bool, const CENTRED: bool>(
    x: &[f32],
    g: &[f32],
    weight: &[f32],
    (mean, scale): (f32, f32),
    (dw, db): (&mut [f32], &mut [f32]),
) -> (f32, f32) {
    let n = x.len() as f32;
    let (mut level, mut tilt) = ([0.0; LANES], [0.0; LANES]);
    let mut one = |lane: usize, x: f32, g: f32, w: f32, dw: &mut f32| {
        let (unit, gw) = ((x - mean) * scale, g * w);
        *dw = fma::<FMA>(g, unit, *dw);
        tilt[lane] = fma::<FMA>(gw, unit, tilt[lane]);
        if CENTRED {
            level[lane] += gw;
        }
    };
    let ((xs, x), (gs, g)) = (x.as_chunks::<LANES>(), g.as_chunks::<LANES>());
    let ((ws, w), (dws, dw)) = (weight.as_chunks::<LANES>(), dw.as_chunks_mut::<LANES>());
    let (dbs, db) = db.as_chunks_mut::<LANES>();
    for (i, (((x, g), w), dw)) in xs.iter().zip(gs).zip(ws).zip(dws).enumerate() {
        for lane in 0..LANES {
            one(lane, x[lane], g[lane], w[lane], &mut dw[lane]);
        }
        if CENTRED {
            dbs[i].iter_mut().zip(g).for_each(|(db, g)| *db += g);
        }
    }
    for (lane, (((x, g), w), dw)) in x.iter().zip(g).zip(w).zip(dw).enumerate() {
        one(lane, *x, *g, *w, dw);
    }
    db.iter_mut().zip(g).for_each(|(db, g)| *db += g);
    let add = |a, b| a + b;
    (fold(level, add) / n, fold(tilt, add) / n)
}

/// Refuses rows that would not be written as a whole.
fn whole_rows(x: &[f32], weight: &[f32]) -> Result<()> {
    if weight.is_empty() || !x.len().is_multiple_of(weight.len()) {
        candle::bail!("a norm of {} weights was given {} numbers", weight.len(), x.len());
    }
    Ok(())
}

/// Layer norm of `x` (…, D) with `weight` and `bias` (D).
pub(crate) fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    let op = LayerNorm { eps: eps as f32 };
    apply3(&x.contiguous()?, &weight.contiguous()?, &bias.contiguous()?, op)
}

/// RMS norm of `x` (…, D) with `weight` (D).
pub(crate) fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    apply2(&x.contiguous()?, &weight.contiguous()?, RmsNorm { eps: eps as f32 })
}

struct LayerNorm {
    eps: f32,
}

impl CustomOp3 for LayerNorm {
    fn name(&self) -> &'static str {
        "layer-norm"
    }

    #[allow(unsafe_code)]
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
        whole_rows(x, weight)?;
        if bias.len() != weight.len() {
            candle::bail!("a norm was given {} weights and {} biases", weight.len(), bias.len());
        }
        let block = block_of_rows(weight.len());
        let rows = |i: usize, out: &mut [Blank]| {
            layer_norm_rows(&x[i * block..][..out.len()], weight, bias, self.eps, out);
        };
        // SAFETY: the kernel writes whole rows, and blocks are made of them.
        let out = unsafe { written(x.len(), block, rows) };
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
        let parts = [x, weight, grad];
        let (dx, mut dw) = backward(parts, self.eps, 2 * width, layer_norm_backward_rows)?;
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

    #[allow(unsafe_code)]
    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, weight) = (slice(x, x_layout)?, slice(weight, weight_layout)?);
        whole_rows(x, weight)?;
        let block = block_of_rows(weight.len());
        let rows = |i: usize, out: &mut [Blank]| {
            rms_norm_rows(&x[i * block..][..out.len()], weight, self.eps, out);
        };
        // SAFETY: the kernel writes whole rows, and blocks are made of them.
        let out = unsafe { written(x.len(), block, rows) };
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
        let parts = [x, weight, grad];
        let (dx, dw) = backward(parts, self.eps, width, rms_norm_backward_rows)?;
        Ok((Some(tensor(dx, x)?), Some(tensor(dw, weight)?)))
    }
}

type Rows = fn(&[f32], &[f32], &[f32], f32, &mut [Blank], &mut [f32]);

/// The gradient of x, and the sum over all blocks of the `extra` numbers of the parameters, by
/// one of the kernels above, which write all they are given.
#[allow(unsafe_code)]
fn backward(
    [x, weight, grad]: [&Tensor; 3],
    eps: f32,
    extra: usize,
    rows: Rows,
) -> Result<(Vec<f32>, Vec<f32>)> {
    let block = large_block_of_rows(weight.elem_count());
    let run = |x: &[f32], g: &[f32], weight: &[f32]| {
        let rows = |i: usize, out: &mut [Blank]| {
            let range = i * block..i * block + out.len();
            let mut part = vec![0.0; extra];
            rows(&x[range.clone()], &g[range], weight, eps, out, &mut part);
            part
        };
        // SAFETY: the kernels write whole rows, and blocks are made of them.
        let (dx, parts) = unsafe { written_with(x.len(), block, rows) };
        (dx, total(parts, extra))
    };
    read(x, |x| read(grad, |g| read(weight, |weight| run(x, g, weight))))??
}
