//! Two tensors side by side along their second axis.

use candle::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};

use super::buffer::{filled, read, slice, tensor};
use super::tape::apply2;

/// `x` (B, N, …) and behind it `y` (B, M, …), equal in all other axes: (B, N + M, …).
pub(crate) fn join(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    apply2(&x.contiguous()?, &y.contiguous()?, Join)
}

struct Join;

/// The numbers of one sample of each part.
fn widths(x: &Shape, y: &Shape) -> [usize; 2] {
    [x, y].map(|shape| shape.dims()[1..].iter().product())
}

impl CustomOp2 for Join {
    fn name(&self) -> &'static str {
        "join"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        y: &CpuStorage,
        y_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let [a, b] = widths(x_layout.shape(), y_layout.shape());
        let mut dims = x_layout.dims().to_vec();
        dims[1] += y_layout.dims()[1];
        let (x, y) = (slice(x, x_layout)?, slice(y, y_layout)?);
        let out = filled(dims.iter().product(), a + b, |i, out| {
            out[..a].copy_from_slice(&x[i * a..][..a]);
            out[a..].copy_from_slice(&y[i * b..][..b]);
        });
        Ok((CpuStorage::F32(out), Shape::from(dims)))
    }

    fn bwd(
        &self,
        x: &Tensor,
        y: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let [a, b] = widths(x.shape(), y.shape());
        let part = |of: &Tensor, first: usize, width: usize| -> Result<Option<Tensor>> {
            if !of.track_op() {
                return Ok(None);
            }
            let own = read(grad, |g| {
                filled(of.elem_count(), width, |i, own| {
                    own.copy_from_slice(&g[i * (a + b) + first..][..width]);
                })
            })?;
            Ok(Some(tensor(own, of)?))
        };
        Ok((part(x, 0, a)?, part(y, a, b)?))
    }
}
