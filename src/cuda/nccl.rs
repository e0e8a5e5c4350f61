//! Sums over the GPUs of several processes, by NCCL.

use candle::cuda_backend::cudarc::nccl::{Comm, Id, ReduceOp};
use candle::{CpuStorage, CudaStorage, Device, InplaceOp1, Layout, Tensor, bail};

use super::load::load_nccl;
use crate::{Error, Result};

/// This process in a group of them.
pub(crate) struct Nccl(Comm);

impl std::fmt::Debug for Nccl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Nccl({} of {})", self.0.rank(), self.0.world_size())
    }
}

impl Nccl {
    /// What a new group is told apart by; one process makes it for all.
    pub(crate) fn new_id() -> Result<[u8; 128]> {
        load_nccl().map_err(Error::Training)?;
        let id = Id::new().map_err(|error| failed(&error))?;
        Ok(id.internal().map(|byte| byte as u8))
    }

    /// Joins the group of `id`.
    pub(crate) fn new(rank: usize, size: usize, id: [u8; 128], device: &Device) -> Result<Self> {
        load_nccl().map_err(Error::Training)?;
        let stream = device.as_cuda_device()?.cuda_stream();
        stream.context().bind_to_thread().map_err(candle::Error::wrap)?;
        let id = Id::uninit(id.map(|byte| byte as std::ffi::c_char));
        Ok(Self(Comm::from_rank(stream, rank, size, id).map_err(|error| failed(&error))?))
    }

    /// The sum over the group of `numbers`, float32 in one row that nothing else uses.
    pub(crate) fn sum(&self, numbers: &Tensor) -> Result<Tensor> {
        let sum = numbers.contiguous()?;
        sum.inplace_op1(self)?;
        Ok(sum)
    }
}

fn failed(error: &impl std::fmt::Debug) -> Error {
    Error::Training(format!("NCCL: {error:?}"))
}

impl InplaceOp1 for Nccl {
    fn name(&self) -> &'static str {
        "sum over processes"
    }

    fn cpu_fwd(&self, _: &mut CpuStorage, _: &Layout) -> candle::Result<()> {
        bail!("NCCL adds up on GPUs, not on the CPU")
    }

    fn cuda_fwd(&self, storage: &mut CudaStorage, layout: &Layout) -> candle::Result<()> {
        if layout.start_offset() != 0 || !layout.is_contiguous() {
            bail!("NCCL was given a part of a tensor")
        }
        let numbers = storage.as_cuda_slice_mut::<f32>()?;
        let done = self.0.all_reduce_in_place(numbers, &ReduceOp::Sum);
        done.map(drop).map_err(|error| candle::Error::Msg(format!("NCCL: {error:?}")))
    }
}
