//! One body, compiled for the instruction sets of the day and chosen at run time.
//!
//! A wheel must run on every x86-64, yet the compiler uses wide registers only where it is told
//! to. `kernel!` compiles a plain function three times and calls the widest that the processor
//! has; the bodies are written so that the compiler vectorises them.

/// What the processor can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    /// 512-bit registers.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// 256-bit registers and fused multiply-add.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// What every processor of the architecture has.
    Baseline,
}

impl Level {
    /// Whether there are registers of 16 numbers.
    pub(super) fn wide(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        if self == Self::Avx512 {
            return true;
        }
        false
    }
}

/// The level of this processor; the standard library caches the detection.
#[inline]
pub(super) fn level() -> Level {
    #[cfg(test)]
    if let Some(level) = forced::LEVEL.get() {
        return level;
    }
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::is_x86_feature_detected as has;
        if has!("avx512f")
            && has!("avx512dq")
            && has!("avx512bw")
            && has!("avx512vl")
            && has!("fma")
        {
            return Level::Avx512;
        }
        if has!("avx2") && has!("fma") {
            return Level::Avx2;
        }
    }
    Level::Baseline
}

/// Every path that this processor can take, for tests that take them all.
#[cfg(test)]
pub(super) mod forced {
    use std::cell::Cell;

    use super::super::crew::with_own;
    use super::Level;

    thread_local! {
        pub(super) static LEVEL: Cell<Option<Level>> = const { Cell::new(None) };
    }

    /// Runs `work` once for each level, in a pool of threads that all keep to it.
    pub(in crate::kernels) fn on_every_path<R: Send>(work: impl Fn() -> R + Sync) -> Vec<R> {
        let one = |level: Level| {
            let force = move || LEVEL.set(Some(level));
            force();
            let result = with_own(2, force, &work);
            LEVEL.set(None);
            result
        };
        let levels = match super::level() {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => vec![Level::Baseline, Level::Avx2, Level::Avx512],
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => vec![Level::Baseline, Level::Avx2],
            Level::Baseline => vec![Level::Baseline],
        };
        levels.into_iter().map(one).collect()
    }
}

/// Defines a function whose body is compiled once for each [`Level`].
///
/// The body may use the constant `FMA`: whether a fused multiply-add is one instruction.
macro_rules! kernel {
    ($(#[$meta:meta])* fn $name:ident($($arg:ident: $kind:ty),* $(,)?) $(-> $out:ty)? $body:block) => {
        $(#[$meta])*
        #[allow(unsafe_code)]
        pub(crate) fn $name($($arg: $kind),*) $(-> $out)? {
            #[allow(clippy::extra_unused_type_parameters, clippy::too_many_arguments)]
            #[inline(always)]
            fn body<const FMA: bool>($($arg: $kind),*) $(-> $out)? $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx2,fma")]
                #[allow(clippy::too_many_arguments)]
                fn avx512($($arg: $kind),*) $(-> $out)? {
                    body::<true>($($arg),*)
                }
                #[target_feature(enable = "avx2,fma")]
                #[allow(clippy::too_many_arguments)]
                fn avx2($($arg: $kind),*) $(-> $out)? {
                    body::<true>($($arg),*)
                }
                match $crate::kernels::simd::level() {
                    // SAFETY: `level` found these features on this processor.
                    $crate::kernels::simd::Level::Avx512 => return unsafe { avx512($($arg),*) },
                    // SAFETY: as above.
                    $crate::kernels::simd::Level::Avx2 => return unsafe { avx2($($arg),*) },
                    $crate::kernels::simd::Level::Baseline => {}
                }
            }
            body::<{ cfg!(target_arch = "aarch64") }>($($arg),*)
        }
    };
}
pub(super) use kernel;

/// Independent partial sums, so that a reduction fills the pipelines of two wide registers.
pub(super) const LANES: usize = 32;

/// `a · b + c`, fused where that is one instruction.
#[inline(always)]
pub(super) fn fma<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// The sum of `term` over `x`, in an order that does not depend on the processor's width.
#[inline(always)]
pub(super) fn sum(x: &[f32], term: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0; LANES];
    let (whole, rest) = x.as_chunks::<LANES>();
    for chunk in whole {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane += term(*x);
        }
    }
    for (lane, x) in lanes.iter_mut().zip(rest) {
        *lane += term(*x);
    }
    fold(lanes, |a, b| a + b)
}

/// The sum of `term` over pairs of `x` and `y`.
#[inline(always)]
pub(super) fn sum_pairs(x: &[f32], y: &[f32], term: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0; LANES];
    let ((whole_x, rest_x), (whole_y, rest_y)) = (x.as_chunks::<LANES>(), y.as_chunks::<LANES>());
    for (x, y) in whole_x.iter().zip(whole_y) {
        for ((lane, x), y) in lanes.iter_mut().zip(x).zip(y) {
            *lane += term(*x, *y);
        }
    }
    for ((lane, x), y) in lanes.iter_mut().zip(rest_x).zip(rest_y) {
        *lane += term(*x, *y);
    }
    fold(lanes, |a, b| a + b)
}

/// The largest of `x`; −∞ when empty.
#[inline(always)]
pub(super) fn max(x: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (whole, rest) = x.as_chunks::<LANES>();
    for chunk in whole {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane = larger(*lane, *x);
        }
    }
    for (lane, x) in lanes.iter_mut().zip(rest) {
        *lane = larger(*lane, *x);
    }
    fold(lanes, larger)
}

/// Joins the lanes two by two.
#[inline(always)]
pub(super) fn fold(mut lanes: [f32; LANES], join: impl Fn(f32, f32) -> f32) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        let (low, high) = lanes.split_at_mut(width);
        for (a, b) in low.iter_mut().zip(high) {
            *a = join(*a, *b);
        }
        width /= 2;
    }
    lanes[0]
}

/// eˣ to 2 units in the last place; 0 below −87.3, ∞ above 88.3, NaN stays NaN.
///
/// Range reduction by multiples of ln 2 and the degree-6 polynomial of Cephes' `expf`.
#[inline(always)]
pub(super) fn exp<const FMA: bool>(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5 · 2²³: adding it rounds to an integer
    let shifted = fma::<FMA>(x, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = fma::<FMA>(n, -0.693_359_4, x);
    let r = fma::<FMA>(n, 2.121_944_4e-4, r);
    let mut p = 1.987_569_1e-4;
    p = fma::<FMA>(p, r, 1.398_2e-3);
    p = fma::<FMA>(p, r, 8.333_452e-3);
    p = fma::<FMA>(p, r, 4.166_579_6e-2);
    p = fma::<FMA>(p, r, 1.666_666_5e-1);
    p = fma::<FMA>(p, r, 0.5);
    p = fma::<FMA>(p, r * r, r + 1.0);
    // The low bits of `shifted` hold the integer; moved to the exponent they make 2ⁿ.
    let scale = f32::from_bits((shifted.to_bits() << 23).wrapping_add(0x3f80_0000));
    let value = if x > 88.3 { f32::INFINITY } else { p * scale };
    if x < -87.3 { 0.0 } else { value }
}

#[cfg(test)]
#[allow(clippy::float_cmp)] // small integers are exact
mod tests {
    use super::*;

    kernel! {
        fn exp_all(x: &[f32], out: &mut [f32]) {
            for (out, x) in out.iter_mut().zip(x) {
                *out = exp::<FMA>(*x);
            }
        }
    }

    #[test]
    fn exp_is_exact_to_single_precision() {
        let x: Vec<f32> = (-870..=880).map(|i| i as f32 * 0.1 + 0.0371).collect();
        let mut out = vec![0.0; x.len()];
        exp_all(&x, &mut out);
        for (x, out) in x.iter().zip(&out).filter(|(x, _)| **x < 88.0) {
            let expected = f64::from(*x).exp();
            let error = (f64::from(*out) - expected).abs() / expected;
            assert!(error < 2.5e-7, "exp({x}) = {out}, expected {expected}");
        }
    }

    #[test]
    fn exp_saturates_and_keeps_nan() {
        let mut out = [1.0; 5];
        exp_all(&[-100.0, f32::NEG_INFINITY, f32::NAN, 1e9, f32::INFINITY], &mut out);
        assert!(out[0] == 0.0 && out[1] == 0.0 && out[2].is_nan());
        assert!(out[3] == f32::INFINITY && out[4] == f32::INFINITY);
    }

    #[test]
    fn reductions_cover_every_length() {
        for n in [0, 1, 31, 32, 33, 95, 200] {
            let x: Vec<f32> = (0..n).map(|i| i as f32).collect();
            let expected = (n * (n.max(1) - 1) / 2) as f32;
            assert!(sum(&x, |x| x) == expected && sum_pairs(&x, &x, |x, _| x) == expected);
            assert!(max(&x) == if n == 0 { f32::NEG_INFINITY } else { n as f32 - 1.0 });
        }
    }
}
