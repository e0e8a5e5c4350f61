//! Pooling over windows that may overlap, with its backward.

use candle::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

use super::buffer::{filled, read, slice, tensor};
use super::simd::kernel;
use super::tape::apply1;
use super::unfold::inside;

/// Where the windows of a pool lie.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pool {
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    pub(crate) padding: usize,
}

/// The largest value of each window of `x` (B, C, H, W); the caller has checked that one fits.
pub(crate) fn max_pool2d(x: &Tensor, pool: Pool) -> Result<Tensor> {
    apply1(&x.contiguous()?, Max(pool))
}

/// The mean of each window of `x` (B, C, H, W), padding counted as zeros.
pub(crate) fn avg_pool2d(x: &Tensor, pool: Pool) -> Result<Tensor> {
    apply1(&x.contiguous()?, Mean(pool))
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

    /// The outputs whose tap number `tap` lies inside 0..`size`, and the place of the first.
    fn inside(self, tap: usize, size: usize) -> (std::ops::Range<usize>, usize) {
        let steps = (self.stride, self.padding);
        let (start, end, first) = inside(tap, steps, size, self.count(size));
        (start..end, first)
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
            let mut top = vec![0.0; width];
            for (y, out) in out.chunks_exact_mut(pool.count(width)).enumerate() {
                top.fill(f32::NEG_INFINITY);
                for row in pool.range(y, height) {
                    raise(&x[row * width..][..width], 1, &mut top);
                }
                out.fill(f32::NEG_INFINITY);
                for tap in 0..pool.kernel {
                    let (outs, first) = pool.inside(tap, width);
                    raise(&top[first..], pool.stride, &mut out[outs]);
                }
            }
        })
    }

    fn bwd(&self, x: &Tensor, out: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let pool = self.0;
        let (_, _, height, width) = x.dims4()?;
        let (area, h, w) = (height * width, pool.count(height), pool.count(width));
        let run = |x: &[f32], out: &[f32], g: &[f32]| {
            filled(x.len(), area, |i, dx| {
                let x = &x[i * area..][..area];
                let rows = out[i * h * w..][..h * w].chunks_exact(w);
                let mut left = vec![0.0; w];
                for (y, (out, g)) in rows.zip(g[i * h * w..][..h * w].chunks_exact(w)).enumerate() {
                    left.copy_from_slice(g);
                    for row in pool.range(y, height) {
                        for tap in 0..pool.kernel {
                            let (outs, first) = pool.inside(tap, width);
                            let place = row * width + first;
                            let (out, left) = (&out[outs.clone()], &mut left[outs]);
                            hand_back(&x[place..], pool.stride, out, left, &mut dx[place..]);
                        }
                    }
                }
            })
        };
        let dx = read(x, |x| read(out, |out| read(grad, |g| run(x, out, g))))???;
        Ok(Some(tensor(dx, x)?))
    }
}

kernel! {
    /// Raises each of `top` to every `stride`-th number of `x`; NaN is larger than all.
    fn raise(x: &[f32], stride: usize, top: &mut [f32]) {
        let larger = |top: f32, x: f32| if top.is_nan() || x <= top { top } else { x };
        if stride == 1 {
            top.iter_mut().zip(x).for_each(|(top, x)| *top = larger(*top, *x));
        } else {
            top.iter_mut().zip(x.iter().step_by(stride)).for_each(|(top, x)| *top = larger(*top, *x));
        }
    }
}

kernel! {
    /// Gives what is `left` of each gradient to the place whose number is the largest, `top`;
    /// called for the places of a window in order, so that the first of equals gets it.
    fn hand_back(x: &[f32], stride: usize, top: &[f32], left: &mut [f32], dx: &mut [f32]) {
        let places = x.iter().step_by(stride).zip(dx.iter_mut().step_by(stride));
        for (((x, dx), top), left) in places.zip(top).zip(left) {
            let hit = *x >= *top || (x.is_nan() && top.is_nan());
            *dx += if hit { *left } else { 0.0 };
            *left = if hit { 0.0 } else { *left };
        }
    }
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
