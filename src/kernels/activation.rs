//! The pointwise nonlinearities, their slopes times a gradient, and gates made of them.
//!
//! Source: Abramowitz and Stegun 1964, formula 7.1.26, for the normal distribution function;
//! absolute error below 1e-7.

use candle::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor};

use super::buffer::{block_of_rows, filled, filled_pair, read, slice, tensor};
use super::simd::{exp, fma};
use super::tape::{apply1, apply2};

/// 2 √(2 / π), of the tanh approximation.
const TANH_SCALE: f32 = 1.595_769;
const TANH_CUBE: f32 = 0.044_715;

#[inline(always)]
fn sigmoid<const FMA: bool>(x: f32) -> f32 {
    1.0 / (1.0 + exp::<FMA>(-x))
}

/// The normal distribution function of `x`, and exp(−x² / 2).
#[inline(always)]
fn normal<const FMA: bool>(x: f32) -> (f32, f32) {
    let t = 1.0 / fma::<FMA>(x.abs(), 0.327_591_1 * std::f32::consts::FRAC_1_SQRT_2, 1.0);
    let mut p = 1.061_405_4;
    p = fma::<FMA>(p, t, -1.453_152);
    p = fma::<FMA>(p, t, 1.421_413_7);
    p = fma::<FMA>(p, t, -0.284_496_74);
    p = fma::<FMA>(p, t, 0.254_829_6);
    let density = exp::<FMA>(-0.5 * x * x);
    let tail = 0.5 * p * t * density; // of the side of x
    (if x < 0.0 { tail } else { 1.0 - tail }, density)
}

#[inline(always)]
fn relu<const FMA: bool>(x: f32) -> f32 {
    if x < 0.0 { 0.0 } else { x } // NaN stays NaN
}

#[inline(always)]
fn relu_slope<const FMA: bool>(x: f32, g: f32) -> f32 {
    if x <= 0.0 { 0.0 } else { g } // NaN lets the gradient through, as in PyTorch
}

#[inline(always)]
fn gelu<const FMA: bool>(x: f32) -> f32 {
    x * normal::<FMA>(x).0
}

#[inline(always)]
fn gelu_slope<const FMA: bool>(x: f32, g: f32) -> f32 {
    let (below, density) = normal::<FMA>(x);
    g * fma::<FMA>(x * 0.398_942_3, density, below)
}

#[inline(always)]
fn gelu_tanh<const FMA: bool>(x: f32) -> f32 {
    x * sigmoid::<FMA>(TANH_SCALE * x * fma::<FMA>(TANH_CUBE * x, x, 1.0))
}

#[inline(always)]
fn gelu_tanh_slope<const FMA: bool>(x: f32, g: f32) -> f32 {
    let s = sigmoid::<FMA>(TANH_SCALE * x * fma::<FMA>(TANH_CUBE * x, x, 1.0));
    let inner = TANH_SCALE * fma::<FMA>(3.0 * TANH_CUBE * x, x, 1.0);
    let bend = (1.0 - s) * s;
    // Far out the bend is 0 while x · inner may overflow.
    g * if bend == 0.0 { s } else { fma::<FMA>(x * bend, inner, s) }
}

#[inline(always)]
fn quick_gelu<const FMA: bool>(x: f32) -> f32 {
    x * sigmoid::<FMA>(1.702 * x)
}

#[inline(always)]
fn quick_gelu_slope<const FMA: bool>(x: f32, g: f32) -> f32 {
    let s = sigmoid::<FMA>(1.702 * x);
    g * fma::<FMA>(x, 1.702 * s * (1.0 - s), s)
}

#[inline(always)]
fn silu<const FMA: bool>(x: f32) -> f32 {
    x * sigmoid::<FMA>(x)
}

#[inline(always)]
fn silu_slope<const FMA: bool>(x: f32, g: f32) -> f32 {
    let s = sigmoid::<FMA>(x);
    g * fma::<FMA>(x, s * (1.0 - s), s)
}

/// A function of each number: what to read, where to write.
pub(crate) type Forward = fn(&[f32], &mut [f32]);

/// `g u f'(x)` and `g f(x)`, of `x`, `u` and `g`.
type GateBackward = fn(&[f32], &[f32], &[f32], &mut [f32], &mut [f32]);

/// A nonlinearity on slices.
pub(crate) struct Nonlinearity {
    name: &'static str,
    pub(crate) forward: Forward,
    /// `g f'(x)`, of `x` and `g`.
    backward: fn(&[f32], &[f32], &mut [f32]),
    /// `f(x) u`, of `x` and `u`.
    pub(super) gate: fn(&[f32], &[f32], &mut [f32]),
    pub(super) gate_backward: GateBackward,
}

macro_rules! nonlinearities {
    ($($(#[$meta:meta])* $name:ident, $module:ident, $value:ident, $slope:ident;)*) => {
        $(
            mod $module {
                use super::super::simd::kernel;

                kernel! {
                    fn forward(x: &[f32], out: &mut [f32]) {
                        for (out, x) in out.iter_mut().zip(x) {
                            *out = super::$value::<FMA>(*x);
                        }
                    }
                }

                kernel! {
                    fn backward(x: &[f32], g: &[f32], out: &mut [f32]) {
                        for ((out, x), g) in out.iter_mut().zip(x).zip(g) {
                            *out = super::$slope::<FMA>(*x, *g);
                        }
                    }
                }

                kernel! {
                    fn gate(x: &[f32], up: &[f32], out: &mut [f32]) {
                        for ((out, x), up) in out.iter_mut().zip(x).zip(up) {
                            *out = super::$value::<FMA>(*x) * up;
                        }
                    }
                }

                kernel! {
                    fn gate_backward(
                        x: &[f32], up: &[f32], g: &[f32], dx: &mut [f32], dup: &mut [f32],
                    ) {
                        let out = dx.iter_mut().zip(dup);
                        for (((x, up), g), (dx, dup)) in x.iter().zip(up).zip(g).zip(out) {
                            *dx = super::$slope::<FMA>(*x, g * up);
                            *dup = g * super::$value::<FMA>(*x);
                        }
                    }
                }
            }

            $(#[$meta])*
            pub(crate) static $name: Nonlinearity = Nonlinearity {
                name: stringify!($module),
                forward: $module::forward,
                backward: $module::backward,
                gate: $module::gate,
                gate_backward: $module::gate_backward,
            };
        )*
    };
}

nonlinearities! {
    /// `max(x, 0)`.
    RELU, on_relu, relu, relu_slope;
    /// `x Φ(x)`.
    GELU, on_gelu, gelu, gelu_slope;
    /// GELU by its tanh approximation.
    GELU_TANH, on_gelu_tanh, gelu_tanh, gelu_tanh_slope;
    /// `x σ(1.702 x)`.
    QUICK_GELU, on_quick_gelu, quick_gelu, quick_gelu_slope;
    /// `x σ(x)`.
    SILU, on_silu, silu, silu_slope;
}

/// The nonlinearity of every number of `x`.
pub(crate) fn activate(x: &Tensor, function: &'static Nonlinearity) -> Result<Tensor> {
    apply1(&x.contiguous()?, Pointwise(function))
}

/// The nonlinearity of every number of `x`, times that of `up` in its place.
pub(crate) fn gate(x: &Tensor, up: &Tensor, function: &'static Nonlinearity) -> Result<Tensor> {
    apply2(&x.contiguous()?, &up.contiguous()?, Gate(function))
}

struct Pointwise(&'static Nonlinearity);

impl CustomOp1 for Pointwise {
    fn name(&self) -> &'static str {
        self.0.name
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = slice(storage, layout)?;
        let block = block_of_rows(1);
        let out = filled(x.len(), block, |i, out| {
            (self.0.forward)(&x[i * block..][..out.len()], out);
        });
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }

    fn bwd(&self, arg: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let block = block_of_rows(1);
        let out = read(arg, |x| {
            read(grad, |g| {
                filled(x.len(), block, |i, out| {
                    let part = i * block..i * block + out.len();
                    (self.0.backward)(&x[part.clone()], &g[part], out);
                })
            })
        })??;
        Ok(Some(tensor(out, arg)?))
    }
}

struct Gate(&'static Nonlinearity);

impl CustomOp2 for Gate {
    fn name(&self) -> &'static str {
        "gate"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        up: &CpuStorage,
        up_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, up) = (slice(x, x_layout)?, slice(up, up_layout)?);
        let block = block_of_rows(1);
        let out = filled(x.len(), block, |i, out| {
            let part = i * block..i * block + out.len();
            (self.0.gate)(&x[part.clone()], &up[part], out);
        });
        Ok((CpuStorage::F32(out), x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        up: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let block = block_of_rows(1);
        let run = |x: &[f32], up: &[f32], g: &[f32]| {
            filled_pair(x.len(), block, |i, dx, dup| {
                let part = i * block..i * block + dx.len();
                (self.0.gate_backward)(&x[part.clone()], &up[part.clone()], &g[part], dx, dup);
            })
        };
        let (dx, dup) = read(x, |x| read(up, |up| read(grad, |g| run(x, up, g))))???;
        Ok((Some(tensor(dx, x)?), Some(tensor(dup, up)?)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn erf_gelu(x: f64) -> f64 {
        // The distribution function by a fine trapezoid sum; no series of ours in common.
        let steps = 20_000;
        let width = x / f64::from(steps);
        let density = |t: f64| (-0.5 * t * t).exp() / std::f64::consts::TAU.sqrt();
        let inner: f64 = (1..steps).map(|i| density(width * f64::from(i))).sum();
        x * (0.5 + width * (inner + 0.5 * (density(0.0) + density(x))))
    }

    fn one(forward: Forward, x: f32) -> f64 {
        let mut out = [0.0];
        forward(&[x], &mut out);
        f64::from(out[0])
    }

    proptest! {
        #[test]
        fn values_are_exact_to_a_millionth(x in -12.0f32..12.0) {
            let wide = f64::from(x);
            let logistic = |x: f64| 1.0 / (1.0 + (-x).exp());
            let cube = (2.0 / std::f64::consts::PI).sqrt() * (wide + 0.044_715 * wide.powi(3));
            let cases: [(Forward, f64); 5] = [
                (RELU.forward, wide.max(0.0)),
                (GELU.forward, erf_gelu(wide)),
                (GELU_TANH.forward, 0.5 * wide * (1.0 + cube.tanh())),
                (QUICK_GELU.forward, wide * logistic(1.702 * wide)),
                (SILU.forward, wide * logistic(wide)),
            ];
            for (forward, expected) in cases {
                let error = (one(forward, x) - expected).abs();
                prop_assert!(error < 1e-6 * (1.0 + expected.abs()), "{x} {expected} {error}");
            }
        }
    }

    #[test]
    fn extremes_stay_finite_and_nan_stays_nan() {
        let x = [f32::MAX, f32::MIN, 1e20, -1e20, 0.0, f32::NAN];
        for function in [&RELU, &GELU, &GELU_TANH, &QUICK_GELU, &SILU] {
            let (mut out, mut slope) = ([0.0; 6], [0.0; 6]);
            (function.forward)(&x, &mut out);
            (function.backward)(&x, &[1.0; 6], &mut slope);
            assert!(out[..5].iter().all(|y| y.is_finite()), "{out:?}");
            assert!(slope[..5].iter().all(|y| y.is_finite()), "{slope:?}");
            assert!(out[5].is_nan());
        }
    }
}
