//! The affine map of the last axis with its backward: each one product into its result.

use candle::{CpuStorage, CustomOp2, CustomOp3, D, Layout, Result, Shape, Tensor};

use super::activation::Forward;
use super::buffer::{large_block_of_rows, read, read_any, slice, tensor, total};
use super::crew::map;
use super::few;
use super::lines::Lines;
use super::packed::{Packed, Precision, product, product_once};
use super::product::Finish;
use super::simd::kernel;
use super::tape::{apply2, apply3};

/// `x` (…, I) times the transposed `weight` (O, I), plus `bias` (O): (…, O).
pub(crate) fn linear(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    precision: Precision,
) -> Result<Tensor> {
    let (x, weight, op) = (x.contiguous()?, weight.contiguous()?, Linear { precision });
    match bias {
        Some(bias) => apply3(&x, &weight, &bias.contiguous()?, op),
        None => apply2(&x, &weight, op),
    }
}

/// What follows a product of inference, done while its result is in the cache.
#[derive(Clone, Copy, Default)]
pub(crate) struct Following<'a> {
    /// Added to every row (O).
    pub(crate) bias: Option<&'a Tensor>,
    /// Applied to the sum.
    pub(crate) map: Option<Forward>,
    /// Added last (…, O).
    pub(crate) residual: Option<&'a Tensor>,
}

/// `x` (…, I) times a weight that was laid out before, and what follows: (…, O). Outside any
/// graph: no gradient passes.
pub(crate) fn linear_prepared(x: &Tensor, weight: &Packed, then: Following) -> Result<Tensor> {
    let (mut shape, depth) = (x.dims().to_vec(), x.dim(D::Minus1)?);
    if let Some(last) = shape.last_mut() {
        *last = weight.columns();
    }
    let rows = shape[..shape.len() - 1].iter().product::<usize>();
    let out = read(x, |x| {
        read_any(then.bias, |bias| {
            read_any(then.residual, |residual| {
                let x = Lines::rows(x, rows, depth);
                product(x, weight, Finish { bias, map: then.map, residual })
            })
        })
    })???;
    Tensor::from_vec(out, shape, x.device())
}

/// As [`linear_prepared`] for few rows (at most [`few::FEW`]) and a `weight` (O, I) that is read as
/// it lies; `None` for more.
pub(crate) fn linear_as_it_lies(
    x: &Tensor,
    weight: &Tensor,
    then: Following,
) -> Result<Option<Tensor>> {
    let (columns, depth) = weight.dims2()?;
    let mut shape = x.dims().to_vec();
    if let Some(last) = shape.last_mut() {
        *last = columns;
    }
    if !lies(&shape) {
        return Ok(None);
    }
    let out = read(x, |x| {
        read(weight, |weight| {
            read_any(then.bias, |bias| {
                read_any(then.residual, |residual| {
                    few::product(x, weight, depth, Finish { bias, map: then.map, residual })
                })
            })
        })
    })????;
    Tensor::from_vec(out, shape, x.device()).map(Some)
}

/// Whether rows of this shape are few enough that float32 weights are best read as they lie.
pub(crate) fn lies(shape: &[usize]) -> bool {
    shape.iter().rev().skip(1).product::<usize>() <= few::FEW
}

struct Linear {
    precision: Precision,
}

impl Linear {
    fn forward(
        &self,
        (x, x_layout): (&[f32], &Layout),
        (weight, weight_layout): (&[f32], &Layout),
        bias: Option<&[f32]>,
    ) -> Result<(CpuStorage, Shape)> {
        let (out_dim, in_dim) = weight_layout.shape().dims2()?;
        let mut shape = x_layout.dims().to_vec();
        if let Some(last) = shape.last_mut() {
            *last = out_dim;
        }
        let rows = shape[..shape.len() - 1].iter().product::<usize>();
        let (x, weight) = (Lines::rows(x, rows, in_dim), Lines::rows(weight, out_dim, in_dim));
        let out = product_once(x, weight, self.precision, bias);
        Ok((CpuStorage::F32(out), Shape::from(shape)))
    }

    /// The gradients of x and weight, each only where something learns from it.
    fn backward(
        &self,
        x: &Tensor,
        weight: &Tensor,
        g: &[f32],
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (out_dim, in_dim) = weight.dims2()?;
        let rows = x.elem_count() / in_dim.max(1);
        let product =
            |a: Lines, b: Lines| product(a, &Packed::of(b, self.precision), Finish::default());
        let dx = if x.track_op() {
            let g = Lines::rows(g, rows, out_dim);
            let dx = read(weight, |w| product(g, Lines::columns(w, out_dim, in_dim)))?;
            Some(tensor(dx, x)?)
        } else {
            None
        };
        let dw = if weight.track_op() {
            let g = Lines::columns(g, rows, out_dim);
            let dw = read(x, |x| product(g, Lines::columns(x, rows, in_dim)))?;
            Some(tensor(dw, weight)?)
        } else {
            None
        };
        Ok((dx, dw))
    }
}

kernel! {
    fn add_rows(rows: &[f32], sum: &mut [f32]) {
        for row in rows.chunks_exact(sum.len()) {
            for (sum, x) in sum.iter_mut().zip(row) {
                *sum += x;
            }
        }
    }
}

/// The sum of the rows of `width` numbers.
pub(super) fn sum_rows(rows: &[f32], width: usize) -> Vec<f32> {
    let block = large_block_of_rows(width);
    let one = |i: usize| {
        let part = &rows[i * block..rows.len().min((i + 1) * block)];
        let mut sum = vec![0.0; width];
        add_rows(part, &mut sum);
        sum
    };
    total(map(rows.len().div_ceil(block), one), width)
}

impl CustomOp2 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, weight) = (slice(x, x_layout)?, slice(weight, weight_layout)?);
        self.forward((x, x_layout), (weight, weight_layout), None)
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        read(grad, |g| self.backward(x, weight, g))?
    }
}

impl CustomOp3 for Linear {
    fn name(&self) -> &'static str {
        "linear-bias"
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
        let (x, weight) = (slice(x, x_layout)?, slice(weight, weight_layout)?);
        self.forward((x, x_layout), (weight, weight_layout), Some(slice(bias, bias_layout)?))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        read(grad, |g| {
            let (dx, dw) = self.backward(x, weight, g)?;
            let db = if bias.track_op() {
                Some(tensor(sum_rows(g, bias.elem_count()), bias)?)
            } else {
                None
            };
            Ok((dx, dw, db))
        })?
    }
}
