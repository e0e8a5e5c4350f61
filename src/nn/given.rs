//! A result that was computed outside of a graph, handed to candle as that of an operation.

use std::sync::{Mutex, PoisonError};

use candle::backend::BackendStorage;
use candle::{CpuStorage, CudaStorage, Shape, Storage, Tensor, bail};

use crate::{Error, Result};

/// The result, until candle asks for it.
pub(super) struct Given(Mutex<Option<Tensor>>);

impl Given {
    pub(super) fn new(result: &Tensor) -> Result<Self> {
        Ok(Self(Mutex::new(Some(result.detach().contiguous()?))))
    }

    /// Its numbers on the CPU.
    pub(super) fn cpu(&self) -> candle::Result<(CpuStorage, Shape)> {
        self.take(|storage| match storage {
            Storage::Cpu(storage) => Some(storage),
            _ => None,
        })
    }

    /// Its numbers on a GPU.
    pub(super) fn cuda(&self) -> candle::Result<(CudaStorage, Shape)> {
        self.take(|storage| match storage {
            Storage::Cuda(storage) => Some(storage),
            _ => None,
        })
    }

    /// The numbers as storage that is candle's own.
    fn take<S: BackendStorage>(
        &self,
        of: impl Fn(&Storage) -> Option<&S>,
    ) -> candle::Result<(S, Shape)> {
        let result = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(result) = result else { bail!("a layer without a graph was asked twice") };
        let (storage, layout) = result.storage_and_layout();
        match of(&storage) {
            Some(storage) => Ok((storage.try_clone(layout)?, result.shape().clone())),
            None => bail!("a layer without a graph changed its device"),
        }
    }
}

/// An error as candle's own, for what runs inside one of its operations.
pub(super) fn as_candle(error: Error) -> candle::Error {
    match error {
        Error::Tensor(error) => error,
        error => candle::Error::wrap(error),
    }
}
