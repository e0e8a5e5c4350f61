//! GPUs: opened once each, and described without being opened.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use candle::Device;
use candle::cuda_backend::cudarc::driver::result;
use candle::cuda_backend::cudarc::driver::sys::{CUdevice, CUdevice_attribute};

use super::load::{Reason, load, version_text, versions};
use crate::device::{Gpu, GpuState};

/// The capability that the kernels were compiled for, such as 80 for 8.0.
const BUILT_FOR: &str = env!("CARINA_COMPUTE_CAPABILITY");

static OPEN: Mutex<BTreeMap<usize, Device>> = Mutex::new(BTreeMap::new());

/// The GPU number `ordinal`, or why it cannot be had.
///
/// All who ask get the same device: candle takes tensors of two openings for strangers.
pub(crate) fn open(ordinal: usize) -> Reason<Device> {
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(device) = open.get(&ordinal) {
        return Ok(device.clone());
    }
    let gpus = gpus()?;
    let gpu = gpus.get(ordinal).ok_or_else(|| match gpus.len() {
        0 => "the driver shows no GPU".to_owned(),
        1 => "the driver shows one GPU, \"cuda:0\"".to_owned(),
        n => format!("the driver shows {n} GPUs, \"cuda:0\" to \"cuda:{}\"", n - 1),
    })?;
    check_capability(gpu, BUILT_FOR)?;
    let device = create(ordinal).map_err(|error| {
        error.to_string().lines().next().unwrap_or("CUDA failed without a message").to_owned()
    })?;
    open.insert(ordinal, device.clone());
    Ok(device)
}

/// A device whose work is in order, whichever threads ask for it.
#[allow(unsafe_code)]
fn create(ordinal: usize) -> candle::Result<Device> {
    // Not `new_cuda`: that has a queue for each thread, and calls from Python come on many.
    let device = Device::new_cuda_with_stream(ordinal)?;
    // SAFETY: events order the queues among themselves, and this device has one; who gives it
    // memory to fetch from (`pinned.rs`) waits for that by itself.
    unsafe { device.as_cuda_device()?.disable_event_tracking() };
    Ok(device)
}

/// What the machine has, without opening a device.
pub(crate) fn facts() -> GpuState {
    let (driver, built) = versions().map_or((None, None), |(driver, built)| {
        (Some(version_text(driver)), Some(version_text(built)))
    });
    let (gpus, why) = match gpus() {
        Ok(gpus) if gpus.is_empty() => (gpus, Some("the driver shows no GPU".to_owned())),
        Ok(gpus) => {
            let why = check_capability(&gpus[0], BUILT_FOR).err();
            (gpus, why)
        }
        Err(why) => (Vec::new(), Some(why)),
    };
    GpuState { why, driver, runtime: built, gpus }
}

fn gpus() -> Reason<Vec<Gpu>> {
    load()?;
    let all = || {
        result::init()?;
        (0..result::device::get_count()?).map(|i| describe(result::device::get(i)?)).collect()
    };
    let all: std::result::Result<_, result::DriverError> = all();
    all.map_err(|error| format!("the driver answers {:?}", error.0))
}

#[allow(unsafe_code)]
fn describe(device: CUdevice) -> std::result::Result<Gpu, result::DriverError> {
    use CUdevice_attribute::{
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR as MAJOR,
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR as MINOR,
    };
    let name = result::device::get_name(device)?;
    // SAFETY: `device` came from the driver just now; the calls read facts only.
    let (memory, major, minor) = unsafe {
        let memory = result::device::total_mem(device)?;
        let attribute = |which| result::device::get_attribute(device, which);
        (memory as u64, attribute(MAJOR)?, attribute(MINOR)?)
    };
    Ok(Gpu { name, memory, capability: (major.unsigned_abs(), minor.unsigned_abs()) })
}

/// Refuses a GPU that the compiled kernels do not run on. From 90 on they are compiled for one
/// architecture's own instructions (`sm_90a`), below for it and all later ones.
fn check_capability(gpu: &Gpu, built: &str) -> Reason<()> {
    let (major, minor) = gpu.capability;
    let Ok(number) = built.parse::<u32>() else { return Ok(()) };
    let wanted = (number / 10, number % 10);
    let fits = if number >= 90 { gpu.capability == wanted } else { gpu.capability >= wanted };
    if fits {
        return Ok(());
    }
    let bound = if number >= 90 { "exactly" } else { "at least" };
    Err(format!(
        "{} has compute capability {major}.{minor}; this build needs {bound} {}.{}",
        gpu.name, wanted.0, wanted.1
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_that_the_kernels_do_not_run_on_is_refused_with_both_numbers() {
        let gpu = |capability| Gpu { name: "GPU".to_owned(), memory: 0, capability };
        assert!(check_capability(&gpu((8, 0)), "80").is_ok());
        assert!(check_capability(&gpu((12, 0)), "80").is_ok());
        assert!(check_capability(&gpu((9, 0)), "90").is_ok());
        let older = check_capability(&gpu((7, 5)), "80").unwrap_err();
        assert_eq!(older, "GPU has compute capability 7.5; this build needs at least 8.0");
        let newer = check_capability(&gpu((10, 0)), "90").unwrap_err();
        assert_eq!(newer, "GPU has compute capability 10.0; this build needs exactly 9.0");
    }
}
