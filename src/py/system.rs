//! The machine as the core sees it.

use std::collections::BTreeMap;

use pyo3::prelude::*;

use crate::device;

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

/// What `carina doctor` prints about the core: names and values as text.
#[pyfunction]
pub(super) fn doctor_facts() -> BTreeMap<String, String> {
    let gpu =
        device::open("cuda").map_or_else(|error| format!("no ({error})"), |_| "yes".to_owned());
    let facts = [
        ("core version", env!("CARGO_PKG_VERSION").to_owned()),
        ("threads", device::num_threads().to_string()),
        ("cpu features", cpu_features()),
        ("kernels", crate::kernels::instruction_set().to_owned()),
        ("cuda", gpu),
        ("build", if cfg!(debug_assertions) { "debug: slow" } else { "release" }.to_owned()),
    ];
    facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
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

/// Tells the allocator to keep freed pages for ten seconds: giving them back at once costs a page
/// fault per tensor (4 % of a training step even after one second), never holds on to the peak.
#[allow(unsafe_code)]
pub(super) fn keep_freed_pages() {
    // mimalloc's own enum, `mi_option_purge_delay`, which the binding does not name.
    const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
    const MILLISECONDS: std::ffi::c_long = 10_000;
    // SAFETY: sets one integer of the allocator; callable at any time, from any thread.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, MILLISECONDS) }
}
