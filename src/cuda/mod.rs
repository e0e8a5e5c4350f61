//! NVIDIA GPUs, found at run time: one library serves machines with and without CUDA.
//!
//! candle binds CUDA when it is linked. The linker is given trampolines instead (`build.rs`), so
//! nothing of CUDA is loaded, or even looked for, before a device is asked for.

mod devices;
mod load;
#[cfg(feature = "nccl")]
mod nccl;
mod pinned;
mod table;

pub(crate) use devices::{facts, open};
pub(crate) use load::look_in;
#[cfg(feature = "nccl")]
pub(crate) use nccl::Nccl;
pub(crate) use pinned::Pinned;
