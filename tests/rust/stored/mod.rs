//! The golden files of whole models: where they lie, and how near to them is near enough.
#![allow(dead_code)] // not every test uses all of it

use std::path::{Path, PathBuf};

use candle::{Device, Tensor};
use carina::nn::Parameters;
use carina::weights::{Checkpoint, NameMap, Strictness, load};

/// GPUs add up in another order.
fn tolerance() -> f32 {
    if device().is_cpu() { 1e-4 } else { 1e-3 }
}

/// Where the layers run: `CARINA_TEST_DEVICE`, or the CPU.
pub(crate) fn device() -> Device {
    carina::device::open(&std::env::var("CARINA_TEST_DEVICE").unwrap_or("cpu".to_owned())).unwrap()
}

/// The repository, which may have moved since the test was compiled.
pub(crate) fn root() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR").map_or(env!("CARGO_MANIFEST_DIR").into(), PathBuf::from)
}

pub(crate) fn folder(kind: &str, case: &str) -> PathBuf {
    root().join("tests/golden").join(kind).join(case)
}

pub(crate) struct Expected(pub(crate) Checkpoint);

impl Expected {
    pub(crate) fn open(folder: &Path) -> Self {
        Self(Checkpoint::open(folder.join("expected.safetensors")).unwrap())
    }

    pub(crate) fn get(&self, key: &str) -> Tensor {
        self.0.tensor(key, &device()).unwrap()
    }
}

/// Fails, with the largest difference, unless `got` is within the tolerance of `expected`.
pub(crate) fn assert_close(what: &str, got: &Tensor, expected: &Tensor) {
    assert_eq!(got.dims(), expected.dims(), "{what}");
    let flat = |x: &Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let (got, expected) = (flat(got), flat(expected));
    let scale = expected.iter().fold(1f32, |most, x| most.max(x.abs()));
    for (a, b) in got.iter().zip(&expected) {
        assert!((a - b).abs() <= tolerance() * scale, "{what}: found {a}, expected {b}");
    }
}

/// Compares every parameter's gradient with the stored ones, which are in the same layout.
pub(crate) fn assert_gradients(
    folder: &Path,
    map: &str,
    parameters: &Parameters,
    got: &candle::backprop::GradStore,
    build: impl FnOnce(&Parameters),
) {
    let expected = Parameters::blank(&device());
    build(&expected);
    let stored = Checkpoint::open(folder.join("gradients.safetensors")).unwrap();
    load(&expected, &stored, &NameMap::named(map).unwrap(), Strictness::Strict).unwrap();
    for (name, var) in parameters.trainable() {
        let gradient = got.get(&var).unwrap_or_else(|| panic!("{name} received no gradient"));
        assert_close(&name, gradient, expected.get(&name).unwrap().as_tensor());
    }
}

/// What stands in the golden folder of `kind`: a folder or a file for each case.
pub(crate) fn cases(kind: &str) -> Vec<String> {
    let folder = root().join("tests/golden").join(kind);
    let entries = std::fs::read_dir(&folder).into_iter().flatten().map(|entry| entry.unwrap());
    let stored = entries.filter(|entry| entry.path().extension().is_none_or(|e| e != "py"));
    stored.map(|entry| entry.path().file_stem().unwrap().to_str().unwrap().to_owned()).collect()
}
