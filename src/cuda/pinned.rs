//! Copies to a GPU from memory that is locked in its place: the GPU fetches it by itself, at the
//! full speed of the bus, while the thread that asked goes on.

#![allow(unsafe_code)] // locked memory comes unset

use std::fmt;
use std::slice;

use candle::cuda_backend::cudarc::driver::sys::CUevent_flags::CU_EVENT_BLOCKING_SYNC;
use candle::cuda_backend::cudarc::driver::{CudaEvent, PinnedHostSlice};
use candle::op::BackpropOp;
use candle::{CudaDevice, CudaStorage, Device, Error, Result, Storage, Tensor};

/// A place in locked memory, through which one batch goes after the other.
pub(crate) struct Pinned {
    device: CudaDevice,
    place: Option<PinnedHostSlice<f32>>,
    /// What has come when the last copy from there is done. The device tracks no events by itself:
    /// see `create` in `devices.rs`.
    fetched: Option<CudaEvent>,
}

impl fmt::Debug for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pinned({} numbers)", self.place.as_ref().map_or(0, PinnedHostSlice::len))
    }
}

impl Pinned {
    /// Copies to `device`.
    pub(crate) fn new(device: &CudaDevice) -> Self {
        Self { device: device.clone(), place: None, fetched: None }
    }

    /// A tensor of `shape`, of which there are as many `numbers`. The copy has its place in the
    /// order of the device's work, and may not be done yet.
    pub(crate) fn tensor(&mut self, numbers: &[f32], shape: &[usize]) -> Result<Tensor> {
        self.wait()?;
        let Some(place) = self.room(numbers.len()) else {
            // The driver copies it piece by piece.
            return Tensor::from_slice(numbers, shape, &Device::Cuda(self.device.clone()));
        };
        let start = place.as_mut_ptr().map_err(Error::wrap)?;
        // SAFETY: there is room for as many numbers, and the GPU has fetched what was there.
        let there = unsafe {
            start.copy_from_nonoverlapping(numbers.as_ptr(), numbers.len());
            slice::from_raw_parts(start, numbers.len())
        };
        let stream = self.device.cuda_stream();
        let copy = stream.clone_htod(there).map_err(Error::wrap)?;
        let fetched = stream.record_event(Some(CU_EVENT_BLOCKING_SYNC)).map_err(Error::wrap)?;
        self.fetched = Some(fetched);
        let storage = Storage::Cuda(CudaStorage::wrap_cuda_slice(copy, self.device.clone()));
        Ok(Tensor::from_storage(storage, shape, BackpropOp::none(), false))
    }

    /// A place for `count` numbers; `None` where so much cannot be locked.
    fn room(&mut self, count: usize) -> Option<&mut PinnedHostSlice<f32>> {
        if self.place.as_ref().is_none_or(|place| place.len() < count) {
            self.place = None; // the smaller one first
            // SAFETY: nothing is read there before it was written.
            self.place = unsafe { self.device.cuda_stream().context().alloc_pinned(count) }.ok();
        }
        self.place.as_mut()
    }

    /// Waits until the GPU has fetched all that it was to fetch.
    fn wait(&mut self) -> Result<()> {
        let fetched = self.fetched.take();
        fetched.map_or(Ok(()), |fetched| fetched.synchronize().map_err(Error::wrap))
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let _ = self.wait(); // a device that has failed fetches no more
    }
}
