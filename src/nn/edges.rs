//! Empty tensors, and what losses refuse.

use candle::{DType, Device, Tensor, Var};

use super::{
    Activation, Attend, CrossEntropy, Linear, Rope, RopeLayout, attend, avg_pool2d, layer_norm,
    linear, max_pool2d, rms_norm, shared_cross_entropy, softmax,
};
use crate::Result;

fn ones(shape: &[usize]) -> Tensor {
    Tensor::ones(shape, DType::F32, &Device::Cpu).unwrap()
}

/// Asserts that the layer gives an empty tensor of this shape, and gradients of zero.
fn stays_empty(shapes: &[&[usize]], out: &[usize], layer: impl Fn(&[Var]) -> Result<Tensor>) {
    let vars: Vec<Var> = shapes.iter().map(|x| Var::from_tensor(&ones(x)).unwrap()).collect();
    let found = layer(&vars).unwrap();
    assert_eq!(found.dims(), out);
    let store = found.sum_all().unwrap().backward().unwrap();
    for (var, shape) in vars.iter().zip(shapes) {
        let gradient = store.get(var).unwrap();
        assert_eq!(gradient.dims(), *shape);
        let values = gradient.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert!(values.iter().all(|x| *x == 0.0));
    }
}

#[test]
fn empty_batches_stay_empty_and_teach_nothing() {
    let rows: &[usize] = &[0, 3, 5];
    stays_empty(&[rows, &[5], &[5]], rows, |x| layer_norm(&x[0], &x[1], &x[2], 1e-5));
    stays_empty(&[rows, &[5]], rows, |x| rms_norm(&x[0], &x[1], 1e-5));
    stays_empty(&[rows], rows, |x| softmax(&x[0]));
    stays_empty(&[&[2, 0]], &[2, 0], |x| softmax(&x[0]));
    for activation in [Activation::Relu, Activation::Gelu, Activation::Silu] {
        stays_empty(&[rows], rows, |x| activation.apply(&x[0]));
        stays_empty(&[rows, rows], rows, |x| activation.gated(&x[0], &x[1]));
    }
    stays_empty(&[rows, &[4, 5], &[4]], &[0, 3, 4], |x| linear(&x[0], &x[1], Some(&x[2])));
    let rope = Rope::new(4, 1e4, 9, RopeLayout::Interleaved, &Device::Cpu).unwrap();
    for heads in [&[0, 2, 3, 6], &[2, 0, 3, 6], &[2, 3, 0, 6]] {
        stays_empty(&[heads], heads, |x| rope.turn(&x[0], 2));
    }
    let heads: &[usize] = &[0, 2, 3, 4];
    stays_empty(&[heads, heads, heads], heads, |x| attend(&x[0], &x[1], &x[2], &Attend::default()));
    stays_empty(&[&[0, 2, 4, 4]], &[0, 2, 2, 2], |x| max_pool2d(&x[0], 2, 2, 0));
    stays_empty(&[&[0, 2, 4, 4]], &[0, 2, 2, 2], |x| avg_pool2d(&x[0], 2, 2, 0));
    stays_empty(&[rows], &[], |x| shared_cross_entropy(&x[0], &ones(rows)));
    let prepared = Linear::from_tensors(ones(&[4, 5]), None).forward(&ones(rows)).unwrap();
    assert_eq!(prepared.dims(), [0, 3, 4]);
}

#[test]
fn losses_refuse_what_they_cannot_compute_and_say_why() {
    let loss = CrossEntropy::default();
    let says = |result: Result<Tensor>| result.unwrap_err().to_string();
    let targets = |values: &[i64]| Tensor::new(values, &Device::Cpu).unwrap();
    let (logits, states, head) = (ones(&[2, 3]), ones(&[2, 4]), ones(&[3, 4]));
    let of_logits = |values: &[i64]| says(loss.of_logits(&logits, &targets(values)));
    let of_states = |head: &Tensor, bias: Option<&Tensor>| {
        says(loss.of_states(&states, head, bias, &targets(&[0, 1])))
    };
    assert_eq!(of_logits(&[0, 3]), "targets: found 3 in row 1, expected 0 to 2 or -100");
    assert_eq!(of_logits(&[-1, 0]), "targets: found -1 in row 0, expected 0 to 2 or -100");
    assert_eq!(of_logits(&[0]), "targets: expected shape [2], got [1]");
    assert_eq!(
        of_logits(&[-100, -100]),
        "training: no target of a batch counts; use larger batches"
    );
    assert_eq!(
        says(loss.of_logits(&ones(&[2, 0]), &targets(&[0, 0]))),
        "logits: expected shape (…, C), got [2, 0]"
    );
    assert_eq!(says(loss.of_logits(&logits, &ones(&[2]))), "targets: found f32, expected integers");
    assert_eq!(of_states(&ones(&[3, 5]), None), "hidden states: expected shape (…, 5), got [2, 4]");
    assert_eq!(of_states(&head, Some(&ones(&[4]))), "head bias: expected shape (3), got [4]");
    assert_eq!(
        of_states(&ones(&[0, 4]), None),
        "head weight: expected shape (C, D) without zeros, got [0, 4]"
    );
    let smooth = CrossEntropy { smoothing: 1.0, ..loss };
    assert_eq!(
        says(smooth.of_logits(&logits, &targets(&[0, 1]))),
        "label smoothing: found 1, expected at least 0 and below 1"
    );
    let two = ones(&[2]);
    let weighted = CrossEntropy { weights: Some(&two), ..loss };
    assert_eq!(
        says(weighted.of_logits(&logits, &targets(&[0, 1]))),
        "class weights: expected shape (3), got [2]"
    );
    assert_eq!(
        says(shared_cross_entropy(&logits, &states)),
        "target shares: expected shape [2, 3], got [2, 4]"
    );
    assert_eq!(
        says(Activation::Silu.gated(&logits, &states)),
        "gated values: expected shape [2, 3], got [2, 4]"
    );
}

#[test]
fn rows_without_a_target_learn_nothing_whatever_they_hold() {
    let logits = Tensor::new(&[[f32::NAN, 1.0], [0.3, 0.1]], &Device::Cpu).unwrap();
    let logits = Var::from_tensor(&logits).unwrap();
    let targets = Tensor::new(&[-100i64, 1], &Device::Cpu).unwrap();
    let loss = CrossEntropy::default().of_logits(&logits, &targets).unwrap();
    let store = loss.backward().unwrap();
    let gradient = store.get(&logits).unwrap().to_vec2::<f32>().unwrap();
    assert_eq!(gradient[0], [0.0, 0.0]);
    assert!(gradient[1][0] > 0.0 && loss.to_scalar::<f32>().unwrap().is_finite());
}
