//! Where the work runs: device choice and the size of the thread pool. Nothing happens at import.

use candle::Device;

use crate::{Error, Result};

/// Opens the device named `auto`, `cpu`, `cuda` or `cuda:n`.
///
/// `auto` takes the first CUDA device when there is one, and the CPU otherwise; a name that
/// asks for CUDA fails when there is none, never falls back in silence.
pub fn open(name: &str) -> Result<Device> {
    let cuda = |ordinal: usize| {
        Device::new_cuda(ordinal).map_err(|source| {
            let why =
                format!("{}; expected \"cpu\" or \"auto\" on this machine", first_line(&source));
            Error::Device { asked: name.to_owned(), why }
        })
    };
    match name {
        "cpu" => Ok(Device::Cpu),
        "auto" => Ok(Device::new_cuda(0).unwrap_or(Device::Cpu)),
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

fn unknown(name: &str) -> Error {
    let why = "expected \"auto\", \"cpu\", \"cuda\" or \"cuda:n\"".to_owned();
    Error::Device { asked: name.to_owned(), why }
}

fn first_line(error: &candle::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
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
    }
}
