use candle::{DType, Device, Var};

use super::*;
use crate::kernels::naive::noise;
use crate::kernels::{Precision, layer_norm, linear, softmax};

fn values(x: &Tensor) -> Vec<f32> {
    x.flatten_all().unwrap().to_vec1().unwrap()
}

fn var(seed: u64, dims: &[usize]) -> Var {
    Var::from_tensor(&noise(seed, dims)).unwrap()
}

/// Operations of this crate with candle's between them, and one parameter in both.
fn network(x: &Tensor, vars: &[Var]) -> Tensor {
    let [weight, bias, scale, second] = vars else { panic!("four parameters") };
    let y = linear(x, weight, Some(bias), Precision::F32).unwrap(); // (6, 8)
    let y = sum(&y, x).unwrap();
    let seen = layer_norm(&y, scale, bias, 1e-5).unwrap();
    let parts = seen.reshape((2, 3, 8)).unwrap();
    let low = parts.narrow(2, 0, 4).unwrap().contiguous().unwrap();
    let high = parts.narrow(2, 4, 4).unwrap().broadcast_mul(&scale.narrow(0, 0, 4).unwrap());
    let mixed = Tensor::cat(&[&low, &high.unwrap()], 2).unwrap().reshape((6, 8)).unwrap();
    let out = linear(&sum(&mixed, &y).unwrap(), second, None, Precision::F32).unwrap();
    softmax(&out).unwrap().sqr().unwrap().mean_all().unwrap()
}

fn parameters() -> Vec<Var> {
    [(1, &[8, 8][..]), (2, &[8]), (3, &[8]), (4, &[5, 8])].map(|(i, dims)| var(i, dims)).to_vec()
}

#[test]
fn gradients_are_those_of_candles_graph() {
    let (vars, x) = (parameters(), var(5, &[6, 8]));
    let expected = network(&x, &vars).backward().unwrap();
    let (loss, tape) = record(|| Ok::<_, Error>(network(&x, &vars))).unwrap();
    assert_eq!(values(&network(&x, &vars)), values(&loss));
    let mut found = tape.backward(&loss).unwrap();
    for var in vars.iter().chain([&x]) {
        let (found, expected) = (found.take(var).unwrap(), expected.get(var).unwrap());
        assert_eq!(found.dims(), expected.dims());
        for (a, b) in values(&found).iter().zip(values(expected)) {
            assert!((a - b).abs() <= 1e-6 * (1e-2 + b.abs()), "{a} and {b}");
        }
    }
    assert!(found.is_empty(), "a gradient of what is no parameter");
}

#[test]
fn a_layer_that_runs_again_gives_the_same_gradients_and_keeps_its_input_only() {
    let (vars, x) = (parameters(), var(5, &[6, 8]));
    let run = |again: bool| {
        let inner = vars.clone();
        let layer = move |x: &[Tensor]| Ok(network(&x[0], &inner).broadcast_as((6, 8))?);
        let (loss, tape) = record(|| {
            // candle's product stands between the leaf and the layer.
            let scaled = (x.as_tensor() * 0.5)?;
            let first = layer.clone();
            let y = if again { recomputed(&[&scaled], first, layer) } else { layer(&[scaled]) };
            Ok::<_, Error>(sum(&y?, &x)?.sqr()?.sum_all()?)
        })
        .unwrap();
        let steps = tape.steps.len();
        let mut found = tape.backward(&loss).unwrap();
        let all = vars.iter().chain([&x]);
        (steps, all.map(|var| values(&found.take(var).unwrap())).collect::<Vec<_>>())
    };
    let ((whole, expected), (kept, found)) = (run(false), run(true));
    assert_eq!(found, expected);
    assert_eq!(kept, 3, "what lies before the layer, the layer, a sum");
    assert!(whole > 8);
}

#[test]
fn what_learns_nothing_is_not_recorded_and_nothing_is_after_the_work() {
    let (still, weight) = (noise(1, &[3, 4]), var(2, &[5, 4]));
    let product = || linear(&still, &noise(2, &[5, 4]), None, Precision::F32);
    let (y, tape) = record(product).unwrap();
    assert!(tape.steps.is_empty() && !y.track_op());
    let graph = linear(&still, &weight, None, Precision::F32).unwrap();
    assert!(!graph.is_variable() && graph.track_op(), "candle's graph again");
    let panicked = std::panic::catch_unwind(|| record(|| -> Result<()> { panic!("work") }));
    assert!(panicked.is_err() && !recording());
}

#[test]
fn a_missing_gradient_is_an_error_that_names_the_operation() {
    struct Gap;
    impl CustomOp1 for Gap {
        fn name(&self) -> &'static str {
            "gap"
        }
        fn cpu_fwd(
            &self,
            x: &candle::CpuStorage,
            layout: &candle::Layout,
        ) -> Result<(candle::CpuStorage, Shape)> {
            Ok((x.clone(), layout.shape().clone()))
        }
        fn bwd(&self, _: &Tensor, _: &Tensor, _: &Tensor) -> Result<Option<Tensor>> {
            Ok(None)
        }
    }
    let x = Var::zeros(3, DType::F32, &Device::Cpu).unwrap();
    let (y, tape) = record(|| apply1(&x, Gap)).unwrap();
    let error = tape.backward(&y).unwrap_err().to_string();
    assert!(error.contains("gap gave no gradient for its input 0"), "{error}");
}
