//! Layers as candle's operations, for tensors that no kernel serves: on a GPU, and in bfloat16.
//!
//! Sums, exponentials and quotients of bfloat16 numbers are taken in float32. candle's own fused
//! operations, which have no gradient, serve where none is asked for.

use std::f64::consts::{PI, SQRT_2};

use candle::{D, DType, Tensor};

use super::Activation;
use crate::Result;
use crate::kernels::recomputed;

/// `x` in float32 when its own type is shorter, as it is otherwise.
pub(crate) fn wide(x: &Tensor) -> Result<Tensor> {
    Ok(match x.dtype() {
        DType::BF16 | DType::F16 => x.to_dtype(DType::F32)?,
        _ => x.clone(),
    })
}

/// Whether candle has a fused kernel for `x`.
fn fused(x: &Tensor) -> bool {
    x.device().is_cuda() && x.dtype() != DType::F64 && x.is_contiguous()
}

/// See [`super::layer_norm`].
pub(super) fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    let composed = move |parts: &[Tensor]| {
        let (x, weight, bias) = (wide(&parts[0])?, wide(&parts[1])?, wide(&parts[2])?);
        let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
        let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
        let unit = centred.broadcast_div(&(variance + eps)?.sqrt()?)?;
        Ok(unit.broadcast_mul(&weight)?.broadcast_add(&bias)?.to_dtype(parts[0].dtype())?)
    };
    let forward = |parts: &[Tensor]| {
        let x = wide(&parts[0])?;
        if !fused(&x) {
            return composed(parts);
        }
        // Not candle's own layer norm: its variance is a difference of large sums.
        let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
        let unit = candle_nn::ops::rms_norm(&centred, &wide(&parts[1])?, eps as f32)?;
        Ok(unit.broadcast_add(&wide(&parts[2])?)?.to_dtype(parts[0].dtype())?)
    };
    recomputed(&[x, weight, bias], forward, composed)
}

/// See [`super::rms_norm`].
pub(super) fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    let composed = move |parts: &[Tensor]| {
        let (x, weight) = (wide(&parts[0])?, wide(&parts[1])?);
        let square = x.sqr()?.mean_keepdim(D::Minus1)?;
        let unit = x.broadcast_div(&(square + eps)?.sqrt()?)?;
        Ok(unit.broadcast_mul(&weight)?.to_dtype(parts[0].dtype())?)
    };
    let forward = |parts: &[Tensor]| {
        let x = &parts[0];
        if !fused(x) {
            return composed(parts);
        }
        Ok(candle_nn::ops::rms_norm(x, &parts[1].to_dtype(x.dtype())?, eps as f32)?)
    };
    recomputed(&[x, weight], forward, composed)
}

/// See [`super::softmax`].
pub(super) fn softmax(x: &Tensor) -> Result<Tensor> {
    let composed = |parts: &[Tensor]| {
        let x = wide(&parts[0])?;
        let shifted = x.broadcast_sub(&x.detach().max_keepdim(D::Minus1)?)?;
        let exponential = shifted.exp()?;
        let unit = exponential.broadcast_div(&exponential.sum_keepdim(D::Minus1)?)?;
        Ok(unit.to_dtype(parts[0].dtype())?)
    };
    let forward = |parts: &[Tensor]| {
        if !fused(&parts[0]) {
            return composed(parts);
        }
        Ok(candle_nn::ops::softmax_last_dim(&parts[0])?)
    };
    recomputed(&[x], forward, composed)
}

/// See [`Activation::apply`].
pub(super) fn activation(x: &Tensor, activation: Activation) -> Result<Tensor> {
    let function = move |x: &Tensor| -> Result<Tensor> {
        Ok(match activation {
            Activation::Relu => x.relu()?,
            Activation::Gelu => x.gelu_erf()?,
            Activation::GeluTanh => x.gelu()?,
            Activation::QuickGelu => (x * candle_nn::ops::sigmoid(&(x * 1.702)?)?)?,
            Activation::Silu => x.silu()?,
        })
    };
    // candle's own gradients of the two GELUs have constants of six digits: 2e-6 off in float64.
    let graded = move |x: &Tensor| -> Result<Tensor> {
        Ok(match activation {
            Activation::Gelu => (((x / SQRT_2)?.erf()? + 1.0)? * (x * 0.5)?)?,
            Activation::GeluTanh => {
                let inner = ((x.powf(3.0)? * 0.044_715)? + x)?;
                (((inner * (2.0 / PI).sqrt())?.tanh()? + 1.0)? * (x * 0.5)?)?
            }
            _ => function(x)?,
        })
    };
    let composed =
        move |parts: &[Tensor]| Ok(graded(&wide(&parts[0])?)?.to_dtype(parts[0].dtype())?);
    // Of these only CLIP's composes anything, and candle's functions widen by themselves.
    let forward = |parts: &[Tensor]| match activation {
        Activation::QuickGelu => composed(parts),
        _ => function(&parts[0]),
    };
    recomputed(&[x], forward, composed)
}
