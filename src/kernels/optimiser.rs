//! What an optimiser does to all parameters at each step: one pass over memory each.

use std::sync::{Mutex, PoisonError};

use candle::{CpuStorage, InplaceOp2, Layout, Result, Tensor};

use super::crew::{each, map, parts};
use super::simd::{fma, kernel, sum};

/// Numbers that one thread handles at a time; fixed, so that results do not depend on threads.
const BLOCK: usize = 1 << 14;

/// Changes the numbers of `target` in place, with those of `source` beside them.
pub(crate) fn change(
    target: &Tensor,
    source: &Tensor,
    by: impl FnMut(&mut [f32], &[f32]) + Send,
) -> Result<()> {
    target.inplace_op2(source, &Change(Mutex::new(by)))
}

struct Change<F>(Mutex<F>);

impl<F: FnMut(&mut [f32], &[f32]) + Send> InplaceOp2 for Change<F> {
    fn name(&self) -> &'static str {
        "change"
    }

    fn cpu_fwd(
        &self,
        target: &mut CpuStorage,
        target_layout: &Layout,
        source: &CpuStorage,
        source_layout: &Layout,
    ) -> Result<()> {
        let places = target_layout.contiguous_offsets().zip(source_layout.contiguous_offsets());
        match (target, source, places) {
            (CpuStorage::F32(target), CpuStorage::F32(source), Some((to, from))) => {
                let mut by = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                by(&mut target[to.0..to.1], &source[from.0..from.1]);
                Ok(())
            }
            _ => candle::bail!("what an optimiser changes is kept in float32, in order"),
        }
    }
}

/// One step of `AdamW` as numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AdamWStep {
    /// Decay of the mean gradient and of the mean squared gradient.
    pub(crate) betas: [f32; 2],
    /// What every gradient is multiplied by first.
    pub(crate) scale: f32,
    /// What is kept of a parameter: one minus the decay.
    pub(crate) keep: f32,
    /// The rate, made up for the start from zero.
    pub(crate) rate: f32,
    /// Makes up for the mean squares' start from zero.
    pub(crate) unbias: f32,
    /// Keeps the quotient finite.
    pub(crate) eps: f32,
}

kernel! {
    fn adamw_block(step: AdamWStep, p: &mut [f32], m: &mut [f32], v: &mut [f32], g: &[f32]) {
        let AdamWStep { betas: [b1, b2], scale, keep, rate, unbias, eps } = step;
        for (((p, m), v), g) in p.iter_mut().zip(m).zip(v).zip(g) {
            let g = g * scale;
            *m = fma::<FMA>(b1, *m, (1.0 - b1) * g);
            *v = fma::<FMA>(b2, *v, (1.0 - b2) * g * g);
            *p = fma::<FMA>(*p, keep, -(rate * *m / ((*v * unbias).sqrt() + eps)));
        }
    }
}

/// Moves `parameter` against `gradient` by way of its moments: the means, then the mean squares.
pub(crate) fn adamw(step: AdamWStep, parameter: &mut [f32], moments: &mut [f32], gradient: &[f32]) {
    let (m, v) = moments.split_at_mut(parameter.len());
    let blocks = (parts(parameter, BLOCK), parts(m, BLOCK), parts(v, BLOCK));
    each(blocks, 1, |i, (p, m, v)| {
        adamw_block(step, p, m, v, &gradient[i * BLOCK..][..p.len()]);
    });
}

kernel! {
    fn blend_block(mean: &mut [f32], now: &[f32], keep: f32) {
        for (mean, now) in mean.iter_mut().zip(now) {
            *mean = fma::<FMA>(*mean, keep, (1.0 - keep) * now);
        }
    }
}

/// `mean · keep + now · (1 − keep)`, in place.
pub(crate) fn blend(mean: &mut [f32], now: &[f32], keep: f32) {
    each(parts(mean, BLOCK), 1, |i, mean| {
        blend_block(mean, &now[i * BLOCK..][..mean.len()], keep);
    });
}

kernel! {
    fn squares_block(x: &[f32]) -> f32 {
        sum(x, |x| x * x)
    }
}

/// The sum of the squares.
pub(crate) fn sum_of_squares(x: &[f32]) -> f64 {
    let block = |i| f64::from(squares_block(&x[i * BLOCK..x.len().min((i + 1) * BLOCK)]));
    map(x.len().div_ceil(BLOCK), block).iter().sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::naive::numbers;
    use super::*;

    proptest! {
        #[test]
        fn every_number_is_handled_as_defined(n in prop_oneof![0usize..70, 16_000usize..40_000]) {
            let (now, before) = (numbers(n, 1), numbers(n, 2));
            let mut mean = before.clone();
            blend(&mut mean, &now, 0.9);
            for ((mean, before), now) in mean.iter().zip(&before).zip(&now) {
                let expected = 0.9 * f64::from(*before) + 0.1 * f64::from(*now);
                prop_assert!((f64::from(*mean) - expected).abs() < 1e-6);
            }
            let expected: f64 = now.iter().map(|x| f64::from(*x).powi(2)).sum();
            prop_assert!((sum_of_squares(&now) - expected).abs() <= 1e-5 * expected);
        }
    }
}
