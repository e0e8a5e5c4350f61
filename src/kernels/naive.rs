//! The kernels against the definitions, written out in float64 loops, on random shapes.

use candle::{Device, Tensor};
use proptest::prelude::*;

use super::conv::Geometry;
use super::crew::with_threads;
use super::{Pool, Precision, Scores};
use crate::random::Random;

pub(super) fn numbers(n: usize, seed: u64) -> Vec<f32> {
    let mut random = Random::new(seed, &[n as u64]);
    (0..n).map(|_| random.normal() as f32).collect()
}

pub(super) fn noise(seed: u64, shape: &[usize]) -> Tensor {
    let mut random = Random::new(seed, &[shape.len() as u64]);
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| random.normal() as f32).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

pub(super) fn values(x: &Tensor) -> Vec<f64> {
    let values = x.contiguous().unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
    values.into_iter().map(f64::from).collect()
}

pub(super) fn close(found: &Tensor, expected: &[f64]) -> Result<(), TestCaseError> {
    let found = values(found);
    prop_assert_eq!(found.len(), expected.len());
    // What cancels out was as large as its neighbours before it did.
    let largest = expected.iter().fold(0.0, |top: f64, x| top.max(x.abs()));
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        let error = (found - expected).abs();
        let size = 1.0 + expected.abs().max(0.1 * largest);
        prop_assert!(error < 4e-5 * size, "[{}] {} {}", i, found, expected);
    }
    Ok(())
}

/// The softmax of one row, in place.
pub(super) fn softmax(row: &mut [f64]) {
    let top = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if top == f64::NEG_INFINITY {
        row.fill(0.0);
        return;
    }
    let sum: f64 = row.iter().map(|x| (x - top).exp()).sum();
    for x in row {
        *x = (*x - top).exp() / sum;
    }
}

/// Sizes around the widths of registers and tiles; 0 only where a batch may be empty.
pub(super) fn size() -> impl Strategy<Value = usize> {
    prop_oneof![Just(1), Just(2), Just(7), Just(16), Just(31), Just(33), 1usize..70]
}

pub(super) fn count() -> impl Strategy<Value = usize> {
    prop_oneof![Just(0), Just(1), Just(13), 1usize..300]
}

proptest! {
    #[test]
    fn rows_are_normalised_as_defined(rows in count(), width in size(), seed: u64) {
        let (x, w, b) = (noise(seed, &[rows, width]), noise(1, &[width]), noise(2, &[width]));
        let (wide, weight, bias) = (values(&x), values(&w), values(&b));
        let (mut soft, mut layer, mut rms) = (wide.clone(), wide.clone(), wide.clone());
        soft.chunks_mut(width).for_each(softmax);
        for row in layer.chunks_mut(width) {
            let mean = row.iter().sum::<f64>() / width as f64;
            let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / width as f64;
            for ((x, w), b) in row.iter_mut().zip(&weight).zip(&bias) {
                *x = (*x - mean) / (variance + 1e-2).sqrt() * w + b;
            }
        }
        for row in rms.chunks_mut(width) {
            let square = row.iter().map(|x| x * x).sum::<f64>() / width as f64;
            row.iter_mut().zip(&weight).for_each(|(x, w)| *x *= w / (square + 1e-2).sqrt());
        }
        close(&super::softmax(&x).unwrap(), &soft)?;
        close(&super::layer_norm(&x, &w, &b, 1e-2).unwrap(), &layer)?;
        close(&super::rms_norm(&x, &w, 1e-2).unwrap(), &rms)?;
    }

    #[test]
    fn maps_are_linear(rows in count(), from in size(), to in size(), seed: u64) {
        let (x, w, b) = (noise(seed, &[rows, from]), noise(1, &[to, from]), noise(2, &[to]));
        let (wide, weight, bias) = (values(&x), values(&w), values(&b));
        let mut expected = Vec::new();
        for row in wide.chunks(from) {
            for (weight, b) in weight.chunks(from).zip(&bias) {
                expected.push(row.iter().zip(weight).map(|(x, w)| x * w).sum::<f64>() + b);
            }
        }
        close(&super::linear(&x, &w, Some(&b), Precision::F32).unwrap(), &expected)?;
    }

    #[test]
    fn windows_are_convolved_and_pooled_as_defined(
        batch in 0usize..3, groups in 1usize..4, inputs in 1usize..4, outputs in 1usize..4,
        height in 1usize..24, width in 1usize..24, kernel in 1usize..6, stride in 1usize..4,
        padding in 0usize..3, seed: u64,
    ) {
        prop_assume!(height.min(width) + 2 * padding >= kernel);
        let x = noise(seed, &[batch, groups * inputs, height, width]);
        let w = noise(1, &[groups * outputs, inputs, kernel, kernel]);
        let (wide, weight) = (values(&x), values(&w));
        let out = |size: usize| (size + 2 * padding - kernel) / stride + 1;
        // The value of channel `c` under a tap, if it is not padding.
        let at = |image: usize, c: usize, y: usize, x: usize| {
            let (y, x) = (y.checked_sub(padding)?, x.checked_sub(padding)?);
            let place = ((image * groups * inputs + c) * height + y) * width + x;
            (y < height && x < width).then(|| wide[place])
        };
        let taps = |y: usize, x: usize| {
            let corner = (y * stride, x * stride);
            (0..kernel * kernel).map(move |t| (corner.0 + t / kernel, corner.1 + t % kernel))
        };
        let mut expected = Vec::new();
        for (image, o) in (0..batch).flat_map(|b| (0..groups * outputs).map(move |o| (b, o))) {
            for (y, x) in (0..out(height)).flat_map(|y| (0..out(width)).map(move |x| (y, x))) {
                let mut sum = 0.0;
                for i in 0..inputs {
                    let kernel = &weight[(o * inputs + i) * kernel * kernel..];
                    for ((y, x), w) in taps(y, x).zip(kernel) {
                        sum += w * at(image, o / outputs * inputs + i, y, x).unwrap_or(0.0);
                    }
                }
                expected.push(sum);
            }
        }
        let geometry = Geometry { kernel, stride, padding, groups };
        close(&super::conv2d(&x, &w, geometry).unwrap(), &expected)?;

        prop_assume!(2 * padding <= kernel);
        let (mut largest, mut mean) = (Vec::new(), Vec::new());
        for (image, c) in (0..batch).flat_map(|b| (0..groups * inputs).map(move |c| (b, c))) {
            for (y, x) in (0..out(height)).flat_map(|y| (0..out(width)).map(move |x| (y, x))) {
                let inside: Vec<f64> = taps(y, x).filter_map(|(y, x)| at(image, c, y, x)).collect();
                largest.push(inside.iter().copied().fold(f64::NEG_INFINITY, f64::max));
                mean.push(inside.iter().sum::<f64>() / (kernel * kernel) as f64);
            }
        }
        let pool = Pool { kernel, stride, padding };
        close(&super::max_pool2d(&x, pool).unwrap(), &largest)?;
        close(&super::avg_pool2d(&x, pool).unwrap(), &mean)?;
    }

    #[test]
    fn convolutions_and_their_gradients_are_as_defined(
        batch in 1usize..4, groups in 1usize..3, inputs in 1usize..20, outputs in 1usize..40,
        height in 1usize..12, width in 1usize..40, kernel in 1usize..5, stride in 1usize..4,
        padding in 0usize..4, seed: u64,
    ) {
        prop_assume!(height.min(width) + 2 * padding >= kernel);
        let x = noise(seed, &[batch, groups * inputs, height, width]);
        let w = noise(1, &[groups * outputs, inputs, kernel, kernel]);
        let (x, w) = (candle::Var::from_tensor(&x).unwrap(), candle::Var::from_tensor(&w).unwrap());
        let out = super::conv2d(&x, &w, Geometry { kernel, stride, padding, groups }).unwrap();
        let g = noise(2, out.dims());
        let store = (&out * &g).unwrap().sum_all().unwrap().backward().unwrap();
        let (wide, weight, g) = (values(&x), values(&w), values(&g));
        let mut sums = vec![0.0; g.len()];
        let (mut dx, mut dw) = (vec![0.0; wide.len()], vec![0.0; weight.len()]);
        let (rows, columns) = (out.dim(2).unwrap(), out.dim(3).unwrap());
        for (place, (sum, g)) in sums.iter_mut().zip(&g).enumerate() {
            let (plane, at) = (place / (rows * columns), place % (rows * columns));
            let (image, o) = (plane / (groups * outputs), plane % (groups * outputs));
            for (i, t) in (0..inputs).flat_map(|i| (0..kernel * kernel).map(move |t| (i, t))) {
                let y = (at / columns * stride + t / kernel).checked_sub(padding);
                let z = (at % columns * stride + t % kernel).checked_sub(padding);
                let (Some(y), Some(z)) = (y, z) else { continue };
                if y < height && z < width {
                    let channel = image * groups * inputs + o / outputs * inputs + i;
                    let (from, tap) = ((channel * height + y) * width + z, o * inputs + i);
                    let tap = tap * kernel * kernel + t;
                    *sum += wide[from] * weight[tap];
                    dx[from] += g * weight[tap];
                    dw[tap] += g * wide[from];
                }
            }
        }
        close(&out, &sums)?;
        close(store.get(&x).unwrap(), &dx)?;
        close(store.get(&w).unwrap(), &dw)?;
    }
}

/// Bits of the outputs and gradients of what the trunk of a model is made of.
fn bits_of_a_step() -> Vec<u32> {
    let [x, w] = [noise(1, &[5, 12, 20, 23]), noise(2, &[33, 12, 3, 3])]
        .map(|x| candle::Var::from_tensor(&x).unwrap());
    let geometry = Geometry { kernel: 3, stride: 1, padding: 1, groups: 1 };
    let y = super::conv2d(&x, &w, geometry).unwrap();
    let y = super::max_pool2d(&y, Pool { kernel: 3, stride: 2, padding: 1 }).unwrap();
    let tokens = y.flatten_from(2).unwrap().reshape((5, 3, 11, 120)).unwrap();
    let scores = Scores::new([5, 3, 120, 120], 0.3, (false, None), None, None).unwrap();
    let heads = tokens.transpose(2, 3).unwrap();
    let seen = super::attend(&heads, &heads, &heads, scores).unwrap();
    let store = (&seen * noise(3, seen.dims())).unwrap().sum_all().unwrap().backward().unwrap();
    let parts = [&seen, store.get(&x).unwrap(), store.get(&w).unwrap()];
    let flat = |x: &&Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    parts.iter().flat_map(flat).map(f32::to_bits).collect()
}

/// Asserts that the number of threads does not change the result.
pub(super) fn same_for_any_threads<T: PartialEq + Send>(run: impl Fn() -> T + Sync) {
    let one = with_threads(1, &run);
    assert!([2, 3, 5, 7].into_iter().all(|threads| with_threads(threads, &run) == one));
}

#[test]
fn threads_do_not_change_a_bit() {
    same_for_any_threads(bits_of_a_step);
}
