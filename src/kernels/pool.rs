//! Pooling over windows that may overlap, with its backward.

use candle::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

use super::buffer::{filled, read, slice, tensor};

/// Where the windows of a pool lie.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pool {
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    pub(crate) padding: usize,
}

/// The largest value of each window of `x` (B, C, H, W); the caller has checked that one fits.
pub(crate) fn max_pool2d(x: &Tensor, pool: Pool) -> Result<Tensor> {
    x.contiguous()?.apply_op1(Max(pool))
}

/// The mean of each window of `x` (B, C, H, W), padding counted as zeros.
pub(crate) fn avg_pool2d(x: &Tensor, pool: Pool) -> Result<Tensor> {
    x.contiguous()?.apply_op1(Mean(pool))
}

impl Pool {
    fn count(self, size: usize) -> usize {
        (size + 2 * self.padding - self.kernel) / self.stride + 1
    }

    /// The part of the window number `i` that lies inside 0..`size`.
    fn range(self, i: usize, size: usize) -> std::ops::Range<usize> {
        let start = i * self.stride;
        let end = (start + self.kernel).saturating_sub(self.padding).min(size);
        start.saturating_sub(self.padding).min(end)..end
    }

    /// Runs `plane` on each plane of (B, C, H, W): (input, output, height, width).
    fn forward(
        self,
        storage: &CpuStorage,
        layout: &Layout,
        plane: impl Fn(&[f32], &mut [f32], usize, usize) + Sync,
    ) -> Result<(CpuStorage, Shape)> {
        let (batch, channels, height, width) = layout.shape().dims4()?;
        let x = slice(storage, layout)?;
        let (h, w) = (self.count(height), self.count(width));
        let (planes, area) = (batch * channels, height * width);
        let out = filled(planes * h * w, h * w, |i, out| {
            plane(&x[i * area..][..area], out, height, width);
        });
        Ok((CpuStorage::F32(out), Shape::from((batch, channels, h, w))))
    }

    /// Runs `plane` on each plane: (input, gradient of the output, of the input, height, width).
    fn backward(
        self,
        x: &Tensor,
        grad: &Tensor,
        plane: impl Fn(&[f32], &[f32], &mut [f32], usize, usize) + Sync,
    ) -> Result<Option<Tensor>> {
        let (_, _, height, width) = x.dims4()?;
        let (area, out_area) = (height * width, self.count(height) * self.count(width));
        let dx = read(x, |values| {
            read(grad, |g| {
                filled(values.len(), area, |i, dx| {
                    let g = &g[i * out_area..][..out_area];
                    plane(&values[i * area..][..area], g, dx, height, width);
                })
            })
        })??;
        Ok(Some(tensor(dx, x)?))
    }
}

struct Max(Pool);

impl CustomOp1 for Max {
    fn name(&self) -> &'static str {
        "max-pool2d"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let pool = self.0;
        pool.forward(storage, layout, |x, out, height, width| {
            for (y, out) in out.chunks_exact_mut(pool.count(width)).enumerate() {
                for (column, out) in out.iter_mut().enumerate() {
                    *out = x[first_max(x, pool, y, column, height, width)];
                }
            }
        })
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let pool = self.0;
        pool.backward(x, grad, |x, g, dx, height, width| {
            for (y, g) in g.chunks_exact(pool.count(width)).enumerate() {
                for (column, g) in g.iter().enumerate() {
                    dx[first_max(x, pool, y, column, height, width)] += g;
                }
            }
        })
    }
}

/// The place of the first largest value of a window; NaN is larger than all.
#[inline]
fn first_max(x: &[f32], pool: Pool, y: usize, column: usize, height: usize, width: usize) -> usize {
    let (rows, columns) = (pool.range(y, height), pool.range(column, width));
    let mut best = rows.start * width + columns.start;
    let mut top = x[best];
    for row in rows {
        for (i, value) in x[row * width..][columns.clone()].iter().enumerate() {
            if *value > top || (value.is_nan() && !top.is_nan()) {
                (best, top) = (row * width + columns.start + i, *value);
            }
        }
    }
    best
}

struct Mean(Pool);

impl CustomOp1 for Mean {
    fn name(&self) -> &'static str {
        "avg-pool2d"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let pool = self.0;
        let share = 1.0 / (pool.kernel * pool.kernel) as f32;
        pool.forward(storage, layout, |x, out, height, width| {
            for (y, out) in out.chunks_exact_mut(pool.count(width)).enumerate() {
                for (column, out) in out.iter_mut().enumerate() {
                    let columns = pool.range(column, width);
                    let rows = pool.range(y, height);
                    let row = |row: usize| x[row * width..][columns.clone()].iter().sum::<f32>();
                    *out = rows.map(row).sum::<f32>() * share;
                }
            }
        })
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let pool = self.0;
        let share = 1.0 / (pool.kernel * pool.kernel) as f32;
        pool.backward(x, grad, |_, g, dx, height, width| {
            for (y, g) in g.chunks_exact(pool.count(width)).enumerate() {
                for (column, g) in g.iter().enumerate() {
                    let columns = pool.range(column, width);
                    for row in pool.range(y, height) {
                        for dx in &mut dx[row * width..][columns.clone()] {
                            *dx += g * share;
                        }
                    }
                }
            }
        })
    }
}
