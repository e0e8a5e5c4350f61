//! Where the work runs: device choice and the size of the thread pool. Nothing happens at import.

use std::path::PathBuf;

use candle::Device;

use crate::{Error, Result};

/// Opens the device named `auto`, `cpu`, `cuda` or `cuda:n`.
///
/// `auto` takes the first CUDA device when there is one, and the CPU otherwise; a name that
/// asks for CUDA fails when there is none, never falls back in silence.
pub fn open(name: &str) -> Result<Device> {
    let cuda = |ordinal: usize| {
        gpu(ordinal).map_err(|why| {
            let why = format!("{why}; expected \"cpu\" or \"auto\" on this machine");
            Error::Device { asked: name.to_owned(), why }
        })
    };
    match name {
        "cpu" => Ok(Device::Cpu),
        "auto" => Ok(gpu(0).unwrap_or(Device::Cpu)),
        "cuda" => cuda(0),
        _ => {
            let ordinal = name.strip_prefix("cuda:").and_then(|n| n.parse().ok());
            ordinal.map_or_else(|| Err(unknown(name)), cuda)
        }
    }
}

/// The name of a device, as [`open`] takes it.
pub fn name(device: &Device) -> String {
    match device.location() {
        candle::DeviceLocation::Cpu => "cpu".to_owned(),
        candle::DeviceLocation::Cuda { gpu_id } => format!("cuda:{gpu_id}"),
        candle::DeviceLocation::Metal { gpu_id } => format!("metal:{gpu_id}"),
    }
}

/// One GPU, as its driver describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gpu {
    /// The product's name.
    pub name: String,
    /// Bytes of its memory.
    pub memory: u64,
    /// Its compute capability: major, minor.
    pub capability: (u32, u32),
}

/// What this build can do with the machine's GPUs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GpuState {
    /// Why `cuda` cannot be opened; absent when it can.
    pub why: Option<String>,
    /// The version of CUDA that the driver serves.
    pub driver: Option<String>,
    /// The version of CUDA that this build runs with.
    pub runtime: Option<String>,
    /// The GPUs, in the order of `cuda:n`.
    pub gpus: Vec<Gpu>,
}

/// Why a build without the feature `cuda` has none.
#[cfg(not(feature = "cuda"))]
const LEFT_OUT: &str = "this build of carina is for the CPU only";

#[cfg(not(feature = "cuda"))]
fn gpu(_: usize) -> std::result::Result<Device, String> {
    Err(LEFT_OUT.to_owned())
}

#[cfg(feature = "cuda")]
use crate::cuda::open as gpu;

/// What this build can do with the machine's GPUs; opens none.
pub fn gpu_state() -> GpuState {
    #[cfg(feature = "cuda")]
    let state = crate::cuda::facts();
    #[cfg(not(feature = "cuda"))]
    let state = GpuState { why: Some(LEFT_OUT.to_owned()), ..GpuState::default() };
    state
}

/// Names the folders of CUDA libraries that [`open`] looks in before the system's own.
#[cfg_attr(not(feature = "cuda"), allow(unused_variables))]
pub fn look_in(folders: Vec<PathBuf>) {
    #[cfg(feature = "cuda")]
    crate::cuda::look_in(folders);
}

fn unknown(name: &str) -> Error {
    let why = "expected \"auto\", \"cpu\", \"cuda\" or \"cuda:n\"".to_owned();
    Error::Device { asked: name.to_owned(), why }
}

/// Sets how many threads the CPU kernels use; only the first call of a process counts.
pub fn set_num_threads(threads: usize) -> Result<()> {
    if threads == 0 {
        return Err(Error::value("threads", "found 0, expected at least 1"));
    }
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().map_err(|_| {
        let running = rayon::current_num_threads();
        Error::value(
            "threads",
            format!("the pool already runs with {running}; set it before any work"),
        )
    })
}

/// How many threads the CPU kernels use.
pub fn num_threads() -> usize {
    rayon::current_num_threads()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_and_cpu_open_and_a_wrong_name_says_what_is_right() {
        assert_eq!(name(&open("cpu").unwrap()), "cpu");
        open("auto").unwrap();
        let error = open("tpu").unwrap_err().to_string();
        assert_eq!(error, "device \"tpu\": expected \"auto\", \"cpu\", \"cuda\" or \"cuda:n\"");
    }

    #[test]
    fn cuda_without_a_gpu_is_a_clear_error() {
        let error = open("cuda:1").unwrap_err().to_string();
        assert!(error.starts_with("device \"cuda:1\": "), "{error}");
        assert!(error.contains("\"cpu\""), "{error}");
        if gpu_state().runtime.is_none() {
            assert!(error.contains("CPU only") || error.contains("libcuda.so.1"), "{error}");
        }
    }
}
