//! Where the work runs: device choice and the size of the thread pool. Nothing happens at import.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use candle::{Device, Tensor};
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::{Error, Result};

/// candle walks its graph by recursion, so deep models need more than the usual stack.
pub const STACK: usize = 256 << 20;

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

/// Tensors put on one device, one after the other: on a GPU by way of memory that it fetches from
/// by itself.
#[derive(Debug)]
pub(crate) struct Copies {
    device: Device,
    #[cfg(feature = "cuda")]
    pinned: Option<crate::cuda::Pinned>,
}

impl Copies {
    /// Copies to `device`.
    pub(crate) fn to(device: &Device) -> Self {
        Self {
            device: device.clone(),
            #[cfg(feature = "cuda")]
            pinned: device.as_cuda_device().ok().map(crate::cuda::Pinned::new),
        }
    }

    /// A tensor of `shape`, of which there are as many `numbers`.
    pub(crate) fn tensor(&mut self, numbers: Vec<f32>, shape: &[usize]) -> Result<Tensor> {
        #[cfg(feature = "cuda")]
        if let Some(pinned) = &mut self.pinned {
            return Ok(pinned.tensor(&numbers, shape)?);
        }
        Ok(Tensor::from_vec(numbers, shape, &self.device)?)
    }
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
    ThreadPoolBuilder::new().num_threads(threads).build_global().map_err(|_| {
        let running = rayon::current_num_threads();
        Error::value(
            "threads",
            format!("the pool already runs with {running}; set it before any work"),
        )
    })
}

/// The process that started the threads, and those of a process forked from it.
static STARTED_BY: AtomicU32 = AtomicU32::new(0);
static OWN: Mutex<Option<(u32, Arc<ThreadPool>)>> = Mutex::new(None);

/// Runs `work` where threads answer it. Threads do not survive a fork, and work handed to those of
/// the parent would wait for ever: a forked process gets a pool of its own.
pub fn with_threads<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T> {
    let process = std::process::id();
    let first = STARTED_BY.compare_exchange(0, process, Ordering::Relaxed, Ordering::Relaxed).err();
    match first {
        Some(other) if other != process => Ok(own_pool(process)?.install(work)),
        _ => Ok(work()),
    }
}

fn own_pool(process: u32) -> Result<Arc<ThreadPool>> {
    let new = || {
        let pool = ThreadPoolBuilder::new().num_threads(num_threads()).stack_size(STACK).build();
        pool.map(Arc::new).map_err(|error| Error::Internal(format!("threads: {error}")))
    };
    // Another thread of the parent may have held the lock when the process was forked: it is then
    // held for ever.
    let Ok(mut own) = OWN.try_lock() else { return new() };
    match &*own {
        Some((owner, pool)) if *owner == process => Ok(pool.clone()),
        _ => {
            let pool = new()?;
            // A pool of the parent is not dropped: that would wait for its threads.
            std::mem::forget(own.replace((process, pool.clone())));
            Ok(pool)
        }
    }
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
