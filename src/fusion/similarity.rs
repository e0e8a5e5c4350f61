//! How alike films and texts are, when a film has several vectors.

use candle::Tensor;

use crate::Result;
use crate::nn::{Shadow, Work};

/// Cosines (B, T) of unit vectors `image` (B, Q, E) and `text` (T, E): for each film and text the
/// largest over the queries.
pub fn similarity(image: &Tensor, text: &Tensor) -> Result<Tensor> {
    let (batch, queries, width) = image.dims3()?;
    let flat = image.reshape((batch * queries, width))?.matmul(&text.t()?)?;
    Ok(flat.reshape((batch, queries, text.dim(0)?))?.max(1)?)
}

/// The memory of [`similarity`], until the largest are found.
#[must_use]
pub fn trace_similarity(image: &Shadow, text: &Shadow) -> Shadow {
    let rows = image.dims()[..2].iter().product();
    Shadow::made(&[rows, text.dims()[0]], &[image, text], Work::default())
}
