//! Pooling of feature maps; windows may overlap.

use candle::{D, Device, Tensor};

use super::composed::wide;
use super::half::widened;
use super::windows::{Window, windows};
use super::{Shadow, Work};
use crate::kernels::Pool;
use crate::{Error, Result, kernels};

/// The largest value of each window of `x` (B, C, H, W); padding never wins.
pub fn max_pool2d(x: &Tensor, kernel: usize, stride: usize, padding: usize) -> Result<Tensor> {
    let window = checked(x, kernel, stride, padding)?;
    let wide = |[x]: [&Tensor; 1]| max_pool2d(x, kernel, stride, padding);
    if let Some(y) = widened("pooling", [("input", x)], wide)? {
        return Ok(y);
    }
    if kernels::serve(&[x]) {
        return Ok(kernels::max_pool2d(x, Pool { kernel, stride, padding })?);
    }
    let values = windows(x, window, f64::NEG_INFINITY)?; // (B, C, H', W', K·K)
    // The first of equal values takes the whole gradient, as in PyTorch.
    let first = values.detach().argmax_keepdim(D::Minus1)?;
    Ok(values.gather(&first, D::Minus1)?.squeeze(D::Minus1)?)
}

/// The memory of [`max_pool2d`] and [`avg_pool2d`].
pub(crate) fn trace_pool2d(
    x: &Shadow,
    kernel: usize,
    stride: usize,
    padding: usize,
) -> Result<Shadow> {
    let &[batch, channels, height, width] = x.dims() else {
        return Err(Error::shape("pooling", "(B, C, H, W)", x.dims()));
    };
    let window = Window { kernel, stride, padding };
    let dims = [batch, channels, window.count(height)?, window.count(width)?];
    Ok(Shadow::made(&dims, &[x], Work::default()))
}

/// The mean of each window of `x` (B, C, H, W); padding counts as zeros.
pub fn avg_pool2d(x: &Tensor, kernel: usize, stride: usize, padding: usize) -> Result<Tensor> {
    let window = checked(x, kernel, stride, padding)?;
    let wide = |[x]: [&Tensor; 1]| avg_pool2d(x, kernel, stride, padding);
    if let Some(y) = widened("pooling", [("input", x)], wide)? {
        return Ok(y);
    }
    if kernels::serve(&[x]) {
        return Ok(kernels::avg_pool2d(x, Pool { kernel, stride, padding })?);
    }
    Ok(windows(x, window, 0.0)?.mean(D::Minus1)?)
}

/// The mean of each plane of `x` (B, C, H, W): (B, C).
pub fn plane_means(x: &Tensor) -> Result<Tensor> {
    Ok(wide(x)?.mean((2, 3))?.to_dtype(x.dtype())?)
}

/// The memory of [`plane_means`].
pub(crate) fn trace_plane_means(x: &Shadow) -> Shadow {
    // candle's mean spreads its gradient over zeros.
    let backward = size_of::<f32>() * x.dims().iter().product::<usize>();
    Shadow::made(&x.dims()[..2], &[x], Work { backward, ..Work::default() })
}

/// The mean over `h` × `w` cells that cover `x` (B, C, H, W): (B, C, h, w).
pub fn adaptive_avg_pool2d(x: &Tensor, h: usize, w: usize) -> Result<Tensor> {
    let wide = |[x]: [&Tensor; 1]| adaptive_avg_pool2d(x, h, w);
    if let Some(y) = widened("pooling", [("input", x)], wide)? {
        return Ok(y);
    }
    let (batch, channels, height, width) = x.dims4()?;
    if h == 0 || w == 0 || height == 0 || width == 0 {
        return Err(Error::shape("adaptive_avg_pool2d", "(B, C, H, W) without zeros", x.dims()));
    }
    if (h, w) == (1, 1) {
        return Ok(x.mean_keepdim((2, 3))?);
    }
    let rows = cells(height, h, x)?; // (h, H)
    let columns = cells(width, w, x)?; // (w, W)
    let x = x.reshape((batch * channels * height, width))?.matmul(&columns.t()?)?;
    let x = x.reshape((batch * channels, height, w))?;
    let rows = rows.broadcast_as((batch * channels, h, height))?.contiguous()?;
    Ok(rows.matmul(&x)?.reshape((batch, channels, h, w))?)
}

fn checked(x: &Tensor, kernel: usize, stride: usize, padding: usize) -> Result<Window> {
    if x.rank() != 4 {
        return Err(Error::shape("pooling", "(B, C, H, W)", x.dims()));
    }
    let window = Window { kernel, stride, padding };
    window.count(x.dim(2)?)?;
    window.count(x.dim(3)?)?;
    if padding * 2 > kernel {
        let why = format!("found {padding}, expected at most half of the kernel {kernel}");
        return Err(Error::value("padding", why));
    }
    Ok(window)
}

/// The matrix (`cells`, `size`) that averages as PyTorch's adaptive pooling does.
fn cells(size: usize, cells: usize, like: &Tensor) -> Result<Tensor> {
    let mut matrix = vec![0.0f64; cells * size];
    for (cell, row) in matrix.chunks_exact_mut(size).enumerate() {
        let (start, end) = (cell * size / cells, ((cell + 1) * size).div_ceil(cells));
        row[start..end].fill(1.0 / (end - start) as f64);
    }
    let matrix = Tensor::from_vec(matrix, (cells, size), &Device::Cpu)?;
    Ok(matrix.to_dtype(like.dtype())?.to_device(like.device())?)
}
