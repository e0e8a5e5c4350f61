//! What this machine can do at most, measured: multiply-adds in registers, and copying memory.

use std::hint::black_box;
use std::time::Instant;

use rayon::prelude::*;

/// Registers' worth of sums that are independent, so that the pipelines are full.
const SUMS: usize = 12;
const LANES: usize = 16;

/// Peaks of all threads together.
pub(super) struct Peak {
    /// Multiplications and additions a second.
    pub(super) operations: f64,
    /// Bytes read and written a second.
    pub(super) bytes: f64,
}

impl Peak {
    /// The best of some tries.
    pub(super) fn measure() -> Self {
        let best = |run: fn() -> f64| (0..5).map(|_| run()).fold(0.0, f64::max);
        Self { operations: best(operations), bytes: best(bytes) }
    }
}

fn operations() -> f64 {
    const STEPS: usize = 4_000_000;
    let threads = rayon::current_num_threads();
    let start = Instant::now();
    (0..threads).into_par_iter().with_max_len(1).for_each(|i| {
        black_box(chains(STEPS, black_box(i as f32)));
    });
    (threads * STEPS * SUMS * LANES * 2) as f64 / start.elapsed().as_secs_f64()
}

fn chains(steps: usize, x: f32) -> f32 {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: the processor has what was asked for.
            return unsafe { avx512(steps, x) };
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: as above.
            return unsafe { avx2(steps, x) };
        }
    }
    let mut sums = [[x; LANES]; SUMS];
    for _ in 0..steps {
        for sum in sums.iter_mut().flatten() {
            *sum = *sum * 0.999 + x;
        }
    }
    sums.iter().flatten().sum()
}

/// Written in registers: the compiler does not see them in nested arrays.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn avx512(steps: usize, x: f32) -> f32 {
    use std::arch::x86_64::{_mm512_fmadd_ps, _mm512_reduce_add_ps, _mm512_set1_ps};
    let (mut sums, factor, x) =
        ([_mm512_set1_ps(x); SUMS], _mm512_set1_ps(0.999), _mm512_set1_ps(x));
    for _ in 0..steps {
        for sum in &mut sums {
            *sum = _mm512_fmadd_ps(*sum, factor, x);
        }
    }
    sums.into_iter().map(|sum| _mm512_reduce_add_ps(sum)).sum()
}

/// As above: two registers for what is one there.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2(steps: usize, x: f32) -> f32 {
    use std::arch::x86_64::{_mm256_cvtss_f32, _mm256_fmadd_ps, _mm256_set1_ps};
    let (mut sums, factor, x) =
        ([_mm256_set1_ps(x); SUMS], _mm256_set1_ps(0.999), _mm256_set1_ps(x));
    for _ in 0..2 * steps {
        for sum in &mut sums {
            *sum = _mm256_fmadd_ps(*sum, factor, x);
        }
    }
    sums.into_iter().map(|sum| _mm256_cvtss_f32(sum)).sum()
}

fn bytes() -> f64 {
    const SIZE: usize = 1 << 24;
    let (from, mut to) = (vec![1f32; SIZE], vec![2f32; SIZE]);
    let start = Instant::now();
    to.par_chunks_mut(1 << 16).zip(from.par_chunks(1 << 16)).for_each(|(to, from)| {
        to.copy_from_slice(from);
    });
    let seconds = start.elapsed().as_secs_f64();
    black_box(&to);
    (8 * SIZE) as f64 / seconds
}
