//! Sliding windows over feature maps: where they go, and what they hold.

use candle::{Device, Tensor};

use crate::{Error, Result};

/// Where a sliding window goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Side of the window.
    pub kernel: usize,
    /// Step between windows.
    pub stride: usize,
    /// Padding on each side.
    pub padding: usize,
}

impl Window {
    /// How many windows fit into `size` pixels; an error when none does.
    pub fn count(&self, size: usize) -> Result<usize> {
        if self.kernel == 0 || self.stride == 0 {
            let why = format!("found kernel {} and stride {}", self.kernel, self.stride);
            return Err(Error::value("window", format!("{why}, expected at least 1")));
        }
        let padded = size + 2 * self.padding;
        if size == 0 || padded < self.kernel {
            let why = format!("kernel {} does not fit {padded} padded pixels", self.kernel);
            return Err(Error::value("window", why));
        }
        Ok((padded - self.kernel) / self.stride + 1)
    }
}

/// All windows of `x` (B, C, H, W), laid out as (B, C, H', W', K·K).
pub(super) fn windows(x: &Tensor, window: Window, filler: f64) -> Result<Tensor> {
    let (batch, channels, height, width) = x.dims4()?;
    let (h, w, k) = (window.count(height)?, window.count(width)?, window.kernel);
    let x = pad(&pad(&x.contiguous()?, 2, window.padding, filler)?, 3, window.padding, filler)?;
    let x = x.index_select(&taps(h, window, x.device())?, 2)?;
    let x = x.index_select(&taps(w, window, x.device())?, 3)?; // (B, C, H'·K, W'·K)
    let x = x.reshape((batch, channels, h, k, w, k))?.permute((0, 1, 2, 4, 3, 5))?;
    Ok(x.reshape((batch, channels, h, w, k * k))?)
}

fn taps(count: usize, window: Window, device: &Device) -> Result<Tensor> {
    let Window { kernel, stride, .. } = window;
    let taps = (0..count).flat_map(|o| (0..kernel).map(move |i| (o * stride + i) as u32));
    let taps: Vec<u32> = taps.collect();
    Ok(Tensor::from_vec(taps, count * kernel, device)?)
}

fn pad(x: &Tensor, axis: usize, padding: usize, filler: f64) -> Result<Tensor> {
    if padding == 0 {
        return Ok(x.clone());
    }
    let mut shape = x.dims().to_vec();
    shape[axis] = padding;
    let edge = Tensor::full(filler as f32, shape, x.device())?.to_dtype(x.dtype())?;
    Ok(Tensor::cat(&[&edge, x, &edge], axis)?)
}
