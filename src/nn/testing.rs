//! The gradient check that every layer passes: analytic against finite differences.
//!
//! The layer runs in float32, as in production, and in float64. The difference quotients are
//! taken in float64, so they are exact to about 1e-9 and the bound on the float32 gradient is
//! sharp. Inputs whose memory is not in order must give the same results.

use std::collections::HashMap;

use candle::{DType, Device, Tensor, Var};
use candle_nn::VarBuilder;

use super::Parameters;
use crate::nn::{Gradients, record};
use crate::random::Random;
use crate::{Error, Result};

const STEP: f64 = 1e-4;
/// Elements of each tensor that are moved; larger tensors are sampled.
const SAMPLES: usize = 24;

/// Named variables and how the layer uses them.
struct Point {
    inputs: Vec<Var>,
    weights: HashMap<String, Var>,
    dtype: DType,
}

impl Point {
    fn to_dtype(&self, dtype: DType) -> Self {
        let cast = |var: &Var| Var::from_tensor(&var.detach().to_dtype(dtype).unwrap()).unwrap();
        let weights = self.weights.iter().map(|(name, var)| (name.clone(), cast(var)));
        Self { inputs: self.inputs.iter().map(cast).collect(), weights: weights.collect(), dtype }
    }

    fn run(&self, layer: &Layer, inputs: &[Tensor]) -> Tensor {
        let weights =
            self.weights.iter().map(|(name, var)| (name.clone(), var.as_tensor().clone()));
        layer(inputs, VarBuilder::from_tensors(weights.collect(), self.dtype, &Device::Cpu))
            .unwrap()
    }

    fn tensors(&self) -> Vec<Tensor> {
        self.inputs.iter().map(|var| var.as_tensor().clone()).collect()
    }

    /// Every tensor that must have a gradient.
    fn leaves(&self) -> Vec<(String, Var)> {
        let inputs = self.inputs.iter().enumerate().map(|(i, x)| (format!("input {i}"), x.clone()));
        let weights = self.weights.iter().map(|(name, var)| (name.clone(), var.clone()));
        let learnt = weights.filter(|(name, _)| !super::is_statistic(name));
        inputs.chain(learnt).collect()
    }
}

/// What the largest value expected counts as if it is less.
const LEAST: f64 = 1e-3;

type Layer<'a> = dyn Fn(&[Tensor], VarBuilder) -> Result<Tensor> + 'a;

/// What `work` gives beside its loss, and the gradients; most of what ran must be on the tape.
pub(crate) fn trained<T>(work: impl FnOnce() -> Result<(T, Tensor)>) -> (T, Gradients) {
    let ((result, loss), tape) = record(work).unwrap();
    assert!(tape.crossed() <= 3, "{} operations of candle's for a step", tape.crossed());
    (result, tape.backward(&loss).unwrap())
}

/// Checks `layer` on random inputs of these shapes: every input and weight.
pub(crate) fn check_gradients(
    shapes: &[&[usize]],
    layer: impl Fn(&[Tensor], VarBuilder) -> Result<Tensor>,
) {
    check(shapes, &layer, (true, LEAST));
}

/// As [`check_gradients`] for a deep model: where gradients cancel out, what float32 rounded of the
/// terms stays, so that smaller ones than `least` count as this.
pub(crate) fn check_deep_gradients(
    shapes: &[&[usize]],
    least: f64,
    layer: impl Fn(&[Tensor], VarBuilder) -> Result<Tensor>,
) {
    check(shapes, &layer, (true, least));
}

/// As [`check_gradients`] without the difference quotients, for tensors too large for them: the
/// float32 gradients against those that candle derives in float64.
pub(crate) fn check_precision(
    shapes: &[&[usize]],
    layer: impl Fn(&[Tensor], VarBuilder) -> Result<Tensor>,
) {
    check(shapes, &layer, (false, LEAST));
}

fn check(shapes: &[&[usize]], layer: &Layer, (quotients, least): (bool, f64)) {
    let single = random_point(shapes, layer);
    let double = single.to_dtype(DType::F64);
    let (out, exact) = (single.run(layer, &single.tensors()), double.run(layer, &double.tensors()));
    assert_close("output", &out, &exact, 2e-5);
    let probe = noise(exact.dims(), &mut Random::new(7, &[]));
    let gradients = |point: &Point, out: &Tensor| {
        let store = objective(out, &probe).backward().unwrap();
        let one = |(name, var): (String, Var)| {
            let gradient = store.get(&var).unwrap_or_else(|| panic!("no gradient of {name}"));
            (name, gradient.clone())
        };
        point.leaves().into_iter().map(one).collect::<HashMap<String, Tensor>>()
    };
    let (fused, composed) = (gradients(&single, &out), gradients(&double, &exact));
    let work = || Ok::<_, Error>(objective(&single.run(layer, &single.tensors()), &probe));
    let (loss, tape) = record(work).unwrap();
    let mut taped = tape.backward(&loss).unwrap();
    for (name, var) in single.leaves() {
        let found = taped.take(&var).unwrap_or_else(|| panic!("no gradient of {name} on a tape"));
        // What several steps hand on is added up in another order, and parts may cancel.
        assert_close(&format!("gradient of {name} on a tape"), &found, &fused[&name], 5e-5);
    }
    assert!(taped.is_empty(), "gradients of what is no leaf");
    for (name, var) in double.leaves() {
        let within = (1e-4, least);
        assert_within(&format!("gradient of {name}"), &fused[&name], &composed[&name], within);
        let value = || {
            let out = double.run(layer, &double.tensors());
            objective(&out, &probe).to_scalar::<f64>().unwrap()
        };
        if quotients {
            compare_quotients(&name, &var, &composed[&name], &value);
        }
    }
    check_layouts(&single, layer, &out, &probe, &fused);
}

fn compare_quotients(name: &str, var: &Var, gradient: &Tensor, value: &dyn Fn() -> f64) {
    let gradient = flat(gradient);
    let scale = gradient.iter().fold(1e-3, |scale: f64, x| scale.max(x.abs()));
    let values = flat(var);
    let stride = values.len().div_ceil(SAMPLES).max(1);
    for i in (0..values.len()).step_by(stride) {
        let at = |delta: f64| {
            let mut moved = values.clone();
            moved[i] += delta;
            var.set(&Tensor::from_vec(moved, var.shape(), &Device::Cpu).unwrap()).unwrap();
            value()
        };
        // Two steps together have no error of third order, so they may be long: what rounding
        // leaves of a deep model's value is divided by their length.
        let quotient = |step: f64| (at(step) - at(-step)) / (2.0 * step);
        let quotient = (4.0 * quotient(STEP) - quotient(2.0 * STEP)) / 3.0;
        at(0.0);
        let error = (quotient - gradient[i]).abs() / scale;
        assert!(error < 1e-6, "gradient of {name}[{i}]: {} instead of {quotient}", gradient[i]);
    }
}

/// Runs the layer on inputs of the same values with reversed strides.
fn check_layouts(
    point: &Point,
    layer: &Layer,
    out: &Tensor,
    probe: &Tensor,
    expected: &HashMap<String, Tensor>,
) {
    let turned: Vec<Var> = point.inputs.iter().map(turn).collect();
    let views: Vec<Tensor> = turned.iter().map(|var| reversed(var)).collect();
    let found = point.run(layer, &views);
    assert_close("output of turned inputs", &found, out, 1e-6);
    let store = objective(&found, probe).backward().unwrap();
    for (i, var) in turned.iter().enumerate() {
        let gradient = reversed(store.get(var).unwrap());
        assert_close(
            "gradient of a turned input",
            &gradient,
            &expected[&format!("input {i}")],
            1e-5,
        );
    }
}

fn turn(var: &Var) -> Var {
    Var::from_tensor(&reversed(&var.detach()).contiguous().unwrap()).unwrap()
}

fn reversed(x: &Tensor) -> Tensor {
    x.permute((0..x.rank()).rev().collect::<Vec<usize>>()).unwrap()
}

fn objective(out: &Tensor, probe: &Tensor) -> Tensor {
    (out * probe.to_dtype(out.dtype()).unwrap()).unwrap().sum_all().unwrap()
}

/// Random inputs, and random values for every weight the layer asks for.
fn random_point(shapes: &[&[usize]], layer: &Layer) -> Point {
    let mut random = Random::new(1, &[]);
    let mut variable = |shape: &[usize]| {
        Var::from_tensor(&noise(shape, &mut random).to_dtype(DType::F32).unwrap()).unwrap()
    };
    let inputs: Vec<Var> = shapes.iter().map(|shape| variable(shape)).collect();
    let parameters = Parameters::new(0, &Device::Cpu);
    let tensors: Vec<Tensor> = inputs.iter().map(|var| var.as_tensor().clone()).collect();
    layer(&tensors, parameters.builder()).unwrap();
    let mut weights = HashMap::new();
    for (name, var) in parameters.all() {
        let mut value = variable(var.dims());
        if name.ends_with("running_var") {
            value = Var::from_tensor(&value.sqr().unwrap().affine(1.0, 0.5).unwrap()).unwrap();
        }
        weights.insert(name, value);
    }
    Point { inputs, weights, dtype: DType::F32 }
}

/// Normal float64 numbers.
pub(crate) fn noise(shape: &[usize], random: &mut Random) -> Tensor {
    // Rounded to float32, so that both precisions start from the same point.
    let one = |_| f64::from(random.normal() as f32);
    let values: Vec<f64> = (0..shape.iter().product()).map(one).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// The values of `x` in order, as float64.
pub(crate) fn flat(x: &Tensor) -> Vec<f64> {
    x.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// Asserts that `found` is `expected` up to `tolerance` times the largest value expected.
pub(crate) fn assert_close(what: &str, found: &Tensor, expected: &Tensor, tolerance: f64) {
    assert_within(what, found, expected, (tolerance, LEAST));
}

/// As [`assert_close`], where the largest value counts as `least` if it is less.
fn assert_within(what: &str, found: &Tensor, expected: &Tensor, (tolerance, least): (f64, f64)) {
    assert_eq!(found.dims(), expected.dims(), "{what}");
    let (found, expected) = (flat(found), flat(expected));
    let scale = expected.iter().fold(least, |scale: f64, x| scale.max(x.abs()));
    for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
        let error = (found - expected).abs() / scale;
        assert!(error < tolerance, "{what}[{i}]: {found} instead of {expected}");
    }
}
