//! Losses and gates against PyTorch, and what layers make of numbers that are not finite.
#![allow(clippy::unwrap_used)] // a test that cannot read its case must fail loudly

mod case;

use candle::{DType, Device, Tensor};
use carina::nn::{self, Activation, Attend, Bias, CrossEntropy};
use case::Case;

const ACTIVATIONS: [(&str, Activation); 5] = [
    ("relu", Activation::Relu),
    ("gelu", Activation::Gelu),
    ("gelu_tanh", Activation::GeluTanh),
    ("quick_gelu", Activation::QuickGelu),
    ("silu", Activation::Silu),
];

fn targets(case: &Case) -> Tensor {
    case.tensors["targets"].to_dtype(DType::I64).unwrap()
}

#[test]
fn cross_entropies_equal_pytorch() {
    for (name, smoothing, weighted) in [
        ("plain", 0.0, false),
        ("smooth", 0.1, false),
        ("weighted", 0.0, true),
        ("smooth_weighted", 0.3, true),
    ] {
        let case = Case::load("losses", &format!("logits_{name}"));
        let weights = weighted.then_some(&case.tensors["factors"]);
        let loss = CrossEntropy { smoothing, weights, ..CrossEntropy::default() };
        case.check(loss.of_logits(case.x(), &targets(&case)));
        let case = Case::load("losses", &format!("states_{name}"));
        let weights = weighted.then_some(&case.tensors["factors"]);
        let loss = CrossEntropy { smoothing, weights, ..CrossEntropy::default() };
        let head = nn::Linear::new(6, 11, Bias::With, case.vb()).unwrap();
        case.check(loss.of_states(case.x(), head.weight().unwrap(), head.bias(), &targets(&case)));
    }
}

#[test]
fn gated_gelus_equal_pytorch() {
    let case = Case::load("losses", "geglu");
    case.check(Activation::Gelu.gated(case.x(), case.input("up")));
}

#[test]
fn activations_and_gates_pass_on_what_is_not_finite_as_pytorch_does() {
    for (name, activation) in ACTIVATIONS {
        let case = Case::load("edges", &format!("{name}_odd"));
        case.check(activation.apply(case.x()));
        let case = Case::load("edges", name);
        case.check(activation.apply(case.x()));
        let case = Case::load("edges", &format!("{name}_gate"));
        case.check(activation.gated(case.x(), case.input("up")));
    }
}

#[test]
fn rows_pass_on_what_is_not_finite_as_pytorch_does() {
    let case = Case::load("edges", "softmax");
    case.check(nn::softmax(case.x()));
    let case = Case::load("edges", "layer_norm");
    case.check(nn::layer_norm(case.x(), case.input("w"), case.input("b"), 1e-6));
    let case = Case::load("edges", "rms_norm");
    case.check(nn::rms_norm(case.x(), case.input("w"), 1e-6));
    let case = Case::load("edges", "rope");
    let rope = nn::Rope::new(8, 1e4, 7, nn::RopeLayout::Halves, &Device::Cpu).unwrap();
    case.check(rope.turn(case.x(), 0));
    for row in 0..6 {
        let case = Case::load("edges", &format!("cross_entropy_{row}"));
        case.check(CrossEntropy::default().of_logits(case.x(), &targets(&case)));
    }
}

#[test]
fn products_and_windows_pass_on_what_is_not_finite_as_pytorch_does() {
    let case = Case::load("edges", "linear");
    case.check(nn::linear(case.x(), case.input("weight"), Some(case.input("bias"))));
    let case = Case::load("edges", "attention");
    let [q, k, v] = ["q", "k", "v"].map(|key| case.input(key));
    case.check(nn::attend(q, k, v, &Attend::default()));
    let case = Case::load("edges", "max_pool");
    case.check(nn::max_pool2d(case.x(), 3, 2, 1));
    let case = Case::load("edges", "avg_pool");
    case.check(nn::avg_pool2d(case.x(), 3, 2, 1));
}
