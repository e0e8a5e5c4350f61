//! The cases of the golden files of layers (`tests/golden/layers/make.py`).

use std::collections::HashMap;
use std::path::PathBuf;

use candle::{DType, Device, Tensor, Var};
use candle_nn::VarBuilder;

/// GPUs add up in another order.
fn tolerance() -> f64 {
    if device().is_cpu() { 2e-5 } else { 1e-3 }
}

/// Where the layers run: `CARINA_TEST_DEVICE`, or the CPU.
pub(crate) fn device() -> Device {
    carina::device::open(&std::env::var("CARINA_TEST_DEVICE").unwrap_or("cpu".to_owned())).unwrap()
}

/// The repository, which may have moved since the test was compiled.
fn root() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR").map_or(env!("CARGO_MANIFEST_DIR").into(), PathBuf::from)
}

/// One case of a golden file: its tensors, and a variable for every input and weight.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) tensors: HashMap<String, Tensor>,
    pub(crate) vars: HashMap<String, Var>,
}

impl Case {
    pub(crate) fn load(file: &str, name: &str) -> Self {
        let path = root().join(format!("tests/golden/layers/{file}.safetensors"));
        let all = candle::safetensors::load(path, &device()).unwrap();
        let own = |(key, tensor): (String, Tensor)| {
            Some((key.strip_prefix(&format!("{name}|"))?.to_owned(), tensor))
        };
        let tensors: HashMap<String, Tensor> = all.into_iter().filter_map(own).collect();
        assert!(tensors.contains_key("out"), "no case {name} in {file}");
        let leaves =
            tensors.iter().filter(|(key, _)| key.starts_with("in.") || key.starts_with("w."));
        let vars = leaves.map(|(key, x)| (key.clone(), Var::from_tensor(x).unwrap())).collect();
        Self { name: name.to_owned(), tensors, vars }
    }

    pub(crate) fn input(&self, name: &str) -> &Tensor {
        self.vars[&format!("in.{name}")].as_tensor()
    }

    pub(crate) fn x(&self) -> &Tensor {
        self.input("x")
    }

    pub(crate) fn vb(&self) -> VarBuilder<'static> {
        let weights = self.vars.iter().filter_map(|(key, var)| {
            Some((key.strip_prefix("w.")?.to_owned(), var.as_tensor().clone()))
        });
        VarBuilder::from_tensors(weights.collect(), DType::F32, &device())
    }

    pub(crate) fn close(&self, what: &str, found: &Tensor, expected: &Tensor) {
        assert_eq!(found.dims(), expected.dims(), "{} {what}", self.name);
        let [found, expected] = [found, expected].map(|x| {
            x.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap()
        });
        let finite = expected.iter().filter(|x| x.is_finite());
        let scale = finite.fold(1e-6, |scale: f64, x| scale.max(x.abs()));
        let allowed = tolerance();
        for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
            let near = (found - expected).abs() / scale < allowed;
            // What is not finite must be the same infinity, or no number either.
            let same =
                found.to_bits() == expected.to_bits() || (found.is_nan() && expected.is_nan());
            let name = &self.name;
            assert!(near || same, "{name} {what}[{i}]: {found} instead of {expected}");
        }
    }

    /// Compares the output and the gradient of every input and weight that has one on file.
    pub(crate) fn check(&self, out: carina::Result<Tensor>) {
        let out = out.unwrap();
        self.close("out", &out, &self.tensors["out"]);
        let gradients =
            self.tensors.iter().filter_map(|(key, x)| Some((key.strip_prefix("grad.")?, x)));
        let gradients: Vec<_> = gradients.collect();
        if gradients.is_empty() {
            return;
        }
        let loss = (out * &self.tensors["probe"]).unwrap().sum_all().unwrap();
        let store = loss.backward().unwrap();
        for (key, expected) in gradients {
            let found = store.get(&self.vars[key]);
            let found = found.unwrap_or_else(|| panic!("{}: no gradient of {key}", self.name));
            self.close(&format!("gradient of {key}"), found, expected);
        }
    }
}
