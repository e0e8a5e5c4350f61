//! The functions of CUDA that are called, and the table that their trampolines jump through.

#![allow(unsafe_code)] // the jumps are assembly; each goes to a function of the name that was called

use std::ffi::{CStr, c_int, c_void};
use std::sync::atomic::AtomicPtr;

/// A library that trampolines lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Library {
    Driver,
    Blas,
    Random,
    #[cfg(feature = "nccl")]
    Nccl,
}

// `SYMBOLS`, `TABLE` and the trampolines, from symbols.txt.
include!(concat!(env!("OUT_DIR"), "/trampolines.rs"));

/// What a driver function answers while the driver is not loaded: `CUDA_ERROR_NO_DEVICE`.
extern "C" fn driver_missing() -> c_int {
    100
}

/// What a cuBLAS function answers while it is not loaded: `CUBLAS_STATUS_NOT_INITIALIZED`.
extern "C" fn blas_missing() -> c_int {
    1
}

/// What a cuRAND function answers while it is not loaded: `CURAND_STATUS_INITIALIZATION_FAILED`.
extern "C" fn random_missing() -> c_int {
    203
}

/// What an NCCL function answers while it is not loaded: `ncclSystemError`.
#[cfg(feature = "nccl")]
extern "C" fn nccl_missing() -> c_int {
    2
}

impl Library {
    /// The name that the system's loader knows it by.
    pub(super) fn file(self) -> &'static str {
        match self {
            Self::Driver => "libcuda.so.1",
            Self::Blas => "libcublas.so.13",
            Self::Random => "libcurand.so.10",
            #[cfg(feature = "nccl")]
            Self::Nccl => "libnccl.so.2",
        }
    }

    /// What brings the library.
    pub(super) fn remedy(self) -> &'static str {
        match self {
            Self::Driver => "the NVIDIA driver brings it",
            Self::Blas => "`pip install \"nvidia-cublas>=13,<14\"` brings it",
            Self::Random => "`pip install \"nvidia-curand>=10.4,<11\"` brings it",
            #[cfg(feature = "nccl")]
            Self::Nccl => "`pip install nvidia-nccl-cu13` brings it",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_trampoline_has_a_name_and_a_place() {
        assert_eq!(SYMBOLS.len(), TABLE.len());
        assert!(SYMBOLS.is_sorted_by_key(|(name, _)| name.to_bytes()));
        let of = |library| SYMBOLS.iter().filter(|(_, of)| *of == library).count();
        assert!(of(Library::Driver) > 20 && of(Library::Blas) > 2 && of(Library::Random) > 2);
    }
}
