//! Volumes cut into rows of patches, and back, run by run.

use candle::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

use super::buffer::{filled, read, slice, tensor};
use super::tape::apply1;

/// Cuts `x` (B, C, T, H, W) into (B, N, C·t·h·w), patches slice by slice and row by row.
///
/// The caller has checked that every side is a multiple of the patch's.
pub(crate) fn patchify(x: &Tensor, patch: [usize; 3]) -> Result<Tensor> {
    apply1(&x.contiguous()?, Patchify(patch))
}

struct Patchify([usize; 3]);

/// The sizes of the volume, of a patch, and of the grid of patches.
struct Sizes {
    batch: usize,
    channels: usize,
    volume: [usize; 3],
    patch: [usize; 3],
    grid: [usize; 3],
}

impl Sizes {
    fn new(shape: &Shape, patch: [usize; 3]) -> Result<Self> {
        let (batch, channels, t, h, w) = shape.dims5()?;
        let volume = [t, h, w];
        let grid = std::array::from_fn(|axis| volume[axis] / patch[axis]);
        Ok(Self { batch, channels, volume, patch, grid })
    }

    fn tokens(&self) -> usize {
        self.grid.iter().product()
    }

    fn features(&self) -> usize {
        self.channels * self.patch.iter().product::<usize>()
    }
}

impl CustomOp1 for Patchify {
    fn name(&self) -> &'static str {
        "patchify"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = slice(storage, layout)?;
        let sizes = Sizes::new(layout.shape(), self.0)?;
        let (tokens, features) = (sizes.tokens(), sizes.features());
        let ([_, height, width], [_, rows, columns]) = (sizes.volume, sizes.patch);
        let out = filled(sizes.batch * tokens * features, features, |i, out| {
            let (image, token) = (i / tokens, i % tokens);
            let column = token % sizes.grid[2] * columns;
            let row = token / sizes.grid[2] % sizes.grid[1] * rows;
            let slice = token / (sizes.grid[2] * sizes.grid[1]) * sizes.patch[0];
            for (run, out) in out.chunks_exact_mut(columns).enumerate() {
                // A run is one row of one slice of one channel of the patch.
                let (line, plane) = (run % rows, run / rows);
                let (depth, channel) = (plane % sizes.patch[0], plane / sizes.patch[0]);
                let plane = (image * sizes.channels + channel) * sizes.volume[0] + slice + depth;
                let start = (plane * height + row + line) * width + column;
                out.copy_from_slice(&x[start..start + columns]);
            }
        });
        Ok((CpuStorage::F32(out), Shape::from((sizes.batch, tokens, features))))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        if !x.track_op() {
            return Ok(None);
        }
        let sizes = Sizes::new(x.shape(), self.0)?;
        let (tokens, features) = (sizes.tokens(), sizes.features());
        let ([depth, height, width], [slices, rows, columns]) = (sizes.volume, sizes.patch);
        let dx = read(grad, |g| {
            filled(x.elem_count(), width, |i, dx| {
                let (y, plane) = (i % height, i / height);
                let (z, image) = (plane % depth, plane / depth);
                let (channel, image) = (image % sizes.channels, image / sizes.channels);
                let first = (z / slices * sizes.grid[1] + y / rows) * sizes.grid[2];
                let run = (channel * slices + z % slices) * rows + y % rows;
                for (column, dx) in dx.chunks_exact_mut(columns).enumerate() {
                    let token = image * tokens + first + column;
                    let start = token * features + run * columns;
                    dx.copy_from_slice(&g[start..start + columns]);
                }
            })
        })?;
        Ok(Some(tensor(dx, x)?))
    }
}
