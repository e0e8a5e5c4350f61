//! Softmax of the last axis.

use candle::{D, Tensor};

use crate::{Result, kernels};

/// The softmax of `x` (…, D) over the last axis.
pub fn softmax(x: &Tensor) -> Result<Tensor> {
    if kernels::serve(&[x]) {
        return Ok(kernels::softmax(x)?);
    }
    let shifted = x.broadcast_sub(&x.detach().max_keepdim(D::Minus1)?)?;
    let exponential = shifted.exp()?;
    Ok(exponential.broadcast_div(&exponential.sum_keepdim(D::Minus1)?)?)
}
