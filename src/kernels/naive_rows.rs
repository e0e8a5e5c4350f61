//! The kernels of sequences against the definitions in float64, forward and backward, on every
//! path that the processor can take.

use candle::{Result, Tensor, Var};
use proptest::prelude::*;

use super::naive::{close, count, noise, same_for_any_threads, size, softmax, values};
use super::simd::forced::on_every_path;
use super::{
    Classes, GELU, GELU_TANH, QUICK_GELU, RELU, RopeLayout, SILU, Targets, cross_entropy, gate,
    layer_norm, linear_cross_entropy, rms_norm, rope,
};

/// What `work` makes of the inputs on each path, then the gradient of each input.
pub(super) fn runs(
    inputs: &[&Tensor],
    work: impl Fn(&[Var]) -> Result<Tensor> + Sync,
) -> Vec<(Tensor, Vec<Tensor>)> {
    on_every_path(|| {
        let vars: Vec<Var> = inputs.iter().map(|x| Var::from_tensor(x).unwrap()).collect();
        let out = work(&vars).unwrap();
        let probe = noise(99, out.dims());
        let store = (&out * probe).unwrap().sum_all().unwrap().backward().unwrap();
        (out.detach(), vars.iter().map(|var| store.get(var).unwrap().clone()).collect())
    })
}

/// The gradient that [`runs`] starts from.
pub(super) fn probe(shape: &[usize]) -> Vec<f64> {
    values(&noise(99, shape))
}

fn check(
    runs: Vec<(Tensor, Vec<Tensor>)>,
    expected: [&[f64]; 3],
) -> std::result::Result<(), TestCaseError> {
    for (out, gradients) in runs {
        close(&out, expected[0])?;
        for (gradient, expected) in gradients.iter().zip(&expected[1..]) {
            close(gradient, expected)?;
        }
    }
    Ok(())
}

/// The partner of a feature and the sign of its part: a' = a cos − b sin, b' = b cos + a sin.
fn partner(i: usize, half: usize, layout: RopeLayout) -> (usize, f64, usize) {
    match layout {
        RopeLayout::Halves if i < half => (i + half, -1.0, i),
        RopeLayout::Halves => (i - half, 1.0, i - half),
        RopeLayout::Interleaved if i.is_multiple_of(2) => (i + 1, -1.0, i / 2),
        RopeLayout::Interleaved => (i - 1, 1.0, i / 2),
    }
}

/// Rows of (…, N, D) turned by (N, half) angles; `back` turns the other way.
fn turned(
    x: &[f64],
    (tokens, width): (usize, usize),
    tables: [&[f64]; 2],
    half: usize,
    layout: RopeLayout,
    back: bool,
) -> Vec<f64> {
    let one = |place: usize| {
        let (token, i) = (place / width % tokens, place % width);
        if i >= 2 * half {
            return x[place];
        }
        let (other, sign, pair) = partner(i, half, layout);
        let [cos, sin] = tables.map(|table| table[token * half + pair]);
        x[place] * cos + if back { -sign } else { sign } * x[place - i + other] * sin
    };
    (0..x.len()).map(one).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn features_turn_as_defined(
        batch in 0usize..3, heads in 1usize..4, tokens in count(), half in 1usize..20,
        rest in 0usize..5, interleaved: bool, turned_about: bool, seed: u64,
    ) {
        let layout = if interleaved { RopeLayout::Interleaved } else { RopeLayout::Halves };
        let width = 2 * half + rest;
        let shape = [batch, heads, tokens, width];
        let angles = noise(1, &[tokens, half]);
        let (cos, sin) = (angles.cos().unwrap(), angles.sin().unwrap());
        // Tokens before heads in memory, as attention finds them, or all the other way round.
        let (x, back): (_, Vec<usize>) = if turned_about {
            (noise(seed, &[width, tokens, heads, batch]), vec![3, 2, 1, 0])
        } else {
            (noise(seed, &[batch, tokens, heads, width]), vec![0, 2, 1, 3])
        };
        let runs = runs(&[&x], |x| rope(&x[0].permute(back.clone())?, &cos, &sin, layout));
        let wide = values(&x.permute(back.clone()).unwrap());
        let tables = [&values(&cos)[..], &values(&sin)];
        let expected = turned(&wide, (tokens, width), tables, half, layout, false);
        let slope = turned(&probe(&shape), (tokens, width), tables, half, layout, true);
        for (out, gradients) in runs {
            close(&out, &expected)?;
            close(&gradients[0].permute(back.clone()).unwrap(), &slope)?;
        }
    }

    #[test]
    fn gates_multiply_as_defined(n in prop_oneof![count(), Just(9001)], which in 0usize..5, seed: u64) {
        let function = [&RELU, &GELU, &GELU_TANH, &QUICK_GELU, &SILU][which];
        let (x, up) = ((noise(seed, &[n]) * 3.0).unwrap(), noise(seed ^ 1, &[n]));
        let normal = |x: f64| {
            // The distribution function by Simpson's rule; no series of ours in common.
            let (steps, density) = (400, |t: f64| (-0.5 * t * t).exp() / std::f64::consts::TAU.sqrt());
            let h = x / f64::from(steps);
            let factor = |i| if i == 0 || i == steps { 1.0 } else if i % 2 == 1 { 4.0 } else { 2.0 };
            0.5 + (0..=steps).map(|i| factor(i) * density(h * f64::from(i))).sum::<f64>() * h / 3.0
        };
        let logistic = |x: f64| 1.0 / (1.0 + (-x).exp());
        let cube = |x: f64| (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3));
        let f = |x: f64| match which {
            0 => x.max(0.0),
            1 => x * normal(x),
            2 => 0.5 * x * (1.0 + cube(x).tanh()),
            3 => x * logistic(1.702 * x),
            _ => x * logistic(x),
        };
        let (wide, wide_up, g) = (values(&x), values(&up), probe(&[n]));
        let slope = |x: f64| (f(x + 1e-4) - f(x - 1e-4)) / 2e-4;
        let some = |one: &dyn Fn(usize) -> f64| (0..n).map(one).collect::<Vec<f64>>();
        let expected = some(&|i| f(wide[i]) * wide_up[i]);
        let dx = some(&|i| g[i] * wide_up[i] * slope(wide[i]));
        let dup = some(&|i| g[i] * f(wide[i]));
        // The slope of ReLU jumps at 0, where quotients mean nothing.
        prop_assume!(which != 0 || wide.iter().all(|x| x.abs() > 1e-4));
        check(runs(&[&x, &up], |x| gate(&x[0], &x[1], function)), [&expected, &dx, &dup])?;
    }

    #[test]
    fn norms_and_their_gradients_are_as_defined(rows in count(), width in size(), seed: u64) {
        let (x, w, b) = (noise(seed, &[rows, width]), noise(1, &[width]), noise(2, &[width]));
        let (wide, weight, bias, g) = (values(&x), values(&w), values(&b), probe(&[rows, width]));
        let n = width as f64;
        for centred in [true, false] {
            let (mut out, mut dx, mut dw) = (Vec::new(), Vec::new(), vec![0.0; width]);
            for (x, g) in wide.chunks(width).zip(g.chunks(width)) {
                let mean = if centred { x.iter().sum::<f64>() / n } else { 0.0 };
                let square = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
                let scale = 1.0 / (square + 1e-2).sqrt();
                let unit: Vec<f64> = x.iter().map(|x| (x - mean) * scale).collect();
                let gw: Vec<f64> = g.iter().zip(&weight).map(|(g, w)| g * w).collect();
                let level = if centred { gw.iter().sum::<f64>() / n } else { 0.0 };
                let tilt = gw.iter().zip(&unit).map(|(g, u)| g * u).sum::<f64>() / n;
                for i in 0..width {
                    out.push(unit[i] * weight[i] + if centred { bias[i] } else { 0.0 });
                    dx.push(scale * (gw[i] - level - unit[i] * tilt));
                    dw[i] += g[i] * unit[i];
                }
            }
            let runs = if centred {
                runs(&[&x, &w, &b], |x| layer_norm(&x[0], &x[1], &x[2], 1e-2))
            } else {
                runs(&[&x, &w], |x| rms_norm(&x[0], &x[1], 1e-2))
            };
            let sum: Vec<f64> = (0..width).map(|i| g.iter().skip(i).step_by(width).sum()).collect();
            for (_, gradients) in runs.iter().filter(|_| centred) {
                close(&gradients[2], &sum)?;
            }
            check(runs, [&out, &dx, &dw])?;
        }
    }

    #[test]
    fn cross_entropies_are_as_defined(
        rows in 1usize..20, classes in prop_oneof![size(), 500usize..600], depth in 1usize..9,
        smooth: bool, weighted: bool, biased: bool, seed: u64,
    ) {
        let smoothing = if smooth { 0.1 } else { 0.0 };
        let weights = weighted.then(|| values(&noise(3, &[classes]).abs().unwrap()));
        let target = |row: usize| (row % 5 != 4).then_some((row * 7 + 3) % classes);
        let targets: Vec<Option<u32>> = (0..rows).map(|row| target(row).map(|y| y as u32)).collect();
        let factor = |c: usize| weights.as_ref().map_or(1.0, |weights| weights[c]);
        // The loss and its gradient, of logits that make the rest.
        let defined = |logits: &[f64]| {
            let (mut sum, mut slope) = (0.0, vec![0.0; logits.len()]);
            let all = logits.chunks(classes).zip(slope.chunks_mut(classes)).enumerate();
            for (row, (x, slope)) in all {
                let Some(y) = target(row) else { continue };
                let share = |c: usize| {
                    let own = if c == y { 1.0 - smoothing } else { 0.0 };
                    factor(c) * (own + smoothing / classes as f64)
                };
                let total: f64 = (0..classes).map(share).sum();
                let mut p = x.to_vec();
                softmax(&mut p);
                for c in 0..classes {
                    sum -= if share(c) > 0.0 { share(c) * p[c].ln() } else { 0.0 };
                    slope[c] = p[c] * total - share(c);
                }
            }
            (sum, slope)
        };
        let kernel = || {
            let weights = weights.as_ref().map(|all| all.iter().map(|w| *w as f32).collect());
            Targets::Classes(Classes::new(targets.clone(), classes, smoothing, weights))
        };
        let scale = probe(&[])[0];
        let x = (noise(seed, &[rows, classes]) * 4.0).unwrap();
        let (sum, mut slope) = defined(&values(&x));
        for x in &mut slope {
            *x *= scale;
        }
        for (out, gradients) in runs(&[&x], |x| cross_entropy(&x[0], kernel())) {
            close(&(out / rows as f64).unwrap(), &[sum / rows as f64])?;
            close(&gradients[0], &slope)?;
        }

        let (h, w) = (noise(seed, &[rows, depth]), noise(seed ^ 1, &[classes, depth]));
        let b = (noise(2, &[classes]) * if biased { 1.0 } else { 0.0 }).unwrap();
        let [hidden, weight, bias] = [&h, &w, &b].map(values);
        let product = |row: usize, c: usize| {
            let pairs = hidden[row * depth..][..depth].iter().zip(&weight[c * depth..]);
            pairs.map(|(h, w)| h * w).sum::<f64>() + bias[c]
        };
        let logits: Vec<f64> =
            (0..rows * classes).map(|place| product(place / classes, place % classes)).collect();
        let (sum, slope) = defined(&logits);
        let (mut dh, mut dw, mut db) =
            (vec![0.0; hidden.len()], vec![0.0; weight.len()], vec![0.0; classes]);
        for (place, slope) in slope.iter().enumerate() {
            let (row, c) = (place / classes, place % classes);
            db[c] += scale * slope;
            for d in 0..depth {
                dh[row * depth + d] += scale * slope * weight[c * depth + d];
                dw[c * depth + d] += scale * slope * hidden[row * depth + d];
            }
        }
        let runs = if biased {
            runs(&[&h, &w, &b], |x| linear_cross_entropy(&x[0], &x[1], Some(&x[2]), kernel()))
        } else {
            runs(&[&h, &w], |x| linear_cross_entropy(&x[0], &x[1], None, kernel()))
        };
        for (out, gradients) in runs {
            close(&(out / rows as f64).unwrap(), &[sum / rows as f64])?;
            for (gradient, expected) in gradients.iter().zip([&dh, &dw, &db]) {
                close(gradient, expected)?;
            }
        }
    }
}

/// Bits of what the kernels of this file make, forward and backward, in blocks and threads.
fn bits() -> Vec<u32> {
    let angles = noise(1, &[130, 16]);
    let (cos, sin) = (angles.cos().unwrap(), angles.sin().unwrap());
    let [x, w, norm] = [noise(1, &[2, 3, 130, 40]), noise(2, &[700, 40]), noise(3, &[40])]
        .map(|x| Var::from_tensor(&x).unwrap());
    let y = rope(&x, &cos, &sin, RopeLayout::Halves).unwrap();
    let y = gate(&y, &x, &SILU).unwrap();
    let y = rms_norm(&layer_norm(&y, &norm, &norm, 1e-5).unwrap(), &norm, 1e-5).unwrap();
    let classes: Vec<Option<u32>> = (0..780).map(|row| Some(row * 11 % 700)).collect();
    let targets = || Targets::Classes(Classes::new(classes.clone(), 700, 0.1, None));
    let blockwise = linear_cross_entropy(&y, &w, None, targets()).unwrap();
    let logits = super::linear(&y, &w, None, super::Precision::F32).unwrap();
    let loss = (cross_entropy(&logits, targets()).unwrap() + blockwise).unwrap();
    let store = loss.backward().unwrap();
    let parts = [&loss, store.get(&x).unwrap(), store.get(&w).unwrap(), store.get(&norm).unwrap()];
    let flat = |x: &&Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    parts.iter().flat_map(flat).map(f32::to_bits).collect()
}

#[test]
fn threads_do_not_change_a_bit() {
    same_for_any_threads(bits);
}
