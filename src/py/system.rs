//! The machine as the core sees it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use candle::Device;
use pyo3::prelude::*;

use super::call::quick;
use crate::device::{self, GpuState};

/// Sets how many threads the CPU kernels use; must come before any work.
#[pyfunction]
pub(super) fn set_num_threads(threads: usize) -> PyResult<()> {
    Ok(device::set_num_threads(threads)?)
}

/// How many threads the CPU kernels use.
#[pyfunction]
pub(super) fn num_threads() -> usize {
    device::num_threads()
}

/// Sets whether models in use keep a second copy of their weights, laid out for speed.
///
/// On by default. The copy is made at the first use of each layer, is as large as the
/// weights of its linear maps, and goes when the model is trained or dropped.
#[pyfunction]
pub(super) fn prepare_weights(prepare: bool) {
    crate::kernels::prepare_weights(prepare);
}

/// Opens the device that a Python caller names.
pub(super) fn open_device(py: Python<'_>, name: &str) -> PyResult<Device> {
    device::look_in(cuda_folders(py)?);
    quick(py, || device::open(name))
}

/// The folders that pip's NVIDIA packages keep their libraries in.
fn cuda_folders(py: Python<'_>) -> PyResult<Vec<PathBuf>> {
    let spec = py.import("importlib.util")?.call_method1("find_spec", ("nvidia",))?;
    if !cfg!(feature = "cuda") || spec.is_none() {
        return Ok(Vec::new());
    }
    let mut folders = Vec::new();
    for place in spec.getattr("submodule_search_locations")?.try_iter()? {
        let place: PathBuf = place?.extract()?;
        let Ok(packages) = place.read_dir() else { continue };
        folders.extend(packages.flatten().map(|package| package.path().join("lib")));
    }
    folders.retain(|folder| folder.is_dir());
    folders.sort();
    Ok(folders)
}

/// Sets whether calls that would take more memory than there is fail before they start.
///
/// On by default. What is predicted is what :meth:`carina.Model.plan` says; what there is, is
/// what the system can free, within the limits of the process's control groups.
#[pyfunction]
pub(super) fn check_memory(check: bool) {
    crate::systems::check_memory(check);
}

/// What `carina doctor` prints about the core: names and values as text.
#[pyfunction]
pub(super) fn doctor_facts(py: Python<'_>) -> PyResult<BTreeMap<String, String>> {
    device::look_in(cuda_folders(py)?);
    let gpus = quick(py, || Ok(device::gpu_state()))?;
    let facts = [
        ("core version", env!("CARGO_PKG_VERSION").to_owned()),
        ("threads", device::num_threads().to_string()),
        ("cpu features", cpu_features()),
        ("kernels", crate::kernels::instruction_set().to_owned()),
        ("build", if cfg!(debug_assertions) { "debug: slow" } else { "release" }.to_owned()),
    ];
    let facts = facts.into_iter().map(|(name, value)| (name.to_owned(), value));
    Ok(facts.chain(cuda_facts(gpus)).collect())
}

/// The lines about CUDA: whether it works and why not, versions, then each GPU.
fn cuda_facts(state: GpuState) -> Vec<(String, String)> {
    let works = state.why.map_or_else(|| "yes".to_owned(), |why| format!("no: {why}"));
    let mut facts = vec![("cuda".to_owned(), works)];
    facts.extend(state.driver.map(|version| ("cuda driver".to_owned(), version)));
    facts.extend(state.runtime.map(|version| ("cuda runtime".to_owned(), version)));
    for (i, gpu) in state.gpus.iter().enumerate() {
        let (name, (major, minor)) = (&gpu.name, gpu.capability);
        let memory = gpu.memory as f64 / f64::from(1 << 30);
        let text = format!("{name}, {memory:.1} GiB, capability {major}.{minor}");
        facts.push((format!("cuda:{i}"), text));
    }
    facts
}

fn cpu_features() -> String {
    #[cfg(target_arch = "x86_64")]
    {
        let found = [
            ("avx2", is_x86_feature_detected!("avx2")),
            ("fma", is_x86_feature_detected!("fma")),
            ("avx512f", is_x86_feature_detected!("avx512f")),
            ("avx512bf16", is_x86_feature_detected!("avx512bf16")),
        ];
        found
            .iter()
            .filter(|(_, there)| *there)
            .map(|(name, _)| *name)
            .collect::<Vec<_>>()
            .join(" ")
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        std::env::consts::ARCH.to_owned()
    }
}

/// Leaves candle's pool, which its operations on large tensors use, without threads: they spin
/// beside the kernels' own, and a forked process would wait for those of its parent for ever.
pub(super) fn start_no_threads_of_candle(module: &Bound<'_, PyModule>) -> PyResult<()> {
    const COUNT: &str = "CANDLE_NUM_THREADS";
    let environment = module.py().import("os")?.getattr("environ")?;
    let before = environment.call_method1("get", (COUNT,))?;
    environment.set_item(COUNT, "1")?;
    let _ = candle::utils::barrier_pool(); // reads it now, and never again
    if before.is_none() { environment.del_item(COUNT) } else { environment.set_item(COUNT, before) }
}

/// Tells the allocator to keep freed pages for ten seconds: giving them back at once costs a page
/// fault per tensor (4 % of a training step even after one second), never holds on to the peak.
/// `MIMALLOC_PURGE_DELAY` in the environment wins.
#[allow(unsafe_code)]
pub(super) fn keep_freed_pages() {
    // mimalloc's own enum, `mi_option_purge_delay`, which the binding does not name.
    const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
    const MILLISECONDS: std::ffi::c_long = 10_000;
    // SAFETY: sets one integer of the allocator; callable at any time, from any thread.
    unsafe { libmimalloc_sys::mi_option_set_default(PURGE_DELAY, MILLISECONDS) }
}
