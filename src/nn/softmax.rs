//! Softmax of the last axis.

use candle::Tensor;

use super::composed;
use super::half::widened;
use crate::{Result, kernels};

/// The softmax of `x` (…, D) over the last axis.
pub fn softmax(x: &Tensor) -> Result<Tensor> {
    if let Some(y) = widened("softmax", [("input", x)], |[x]| softmax(x))? {
        return Ok(y);
    }
    if kernels::serve(&[x]) {
        return Ok(kernels::softmax(x)?);
    }
    composed::softmax(x)
}
