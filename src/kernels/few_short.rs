//! Products of a few rows with a weight laid out in bfloat16, which is read once.

use std::arch::x86_64::{
    __m512, __m512bh, __m512i, _mm512_add_ps, _mm512_dpbf16_ps, _mm512_load_si512,
    _mm512_set1_epi32, _mm512_setzero_ps, _mm512_storeu_ps,
};

use half::bf16;

use super::crew::{each, parts};
use super::few::FEW;
use super::parts::{Parts, Row, SIDE, STEP};
use super::product::Finish;

/// Numbers of the weight that a task reads.
const TASK: usize = 1 << 16;
/// Rows of a tile.
const TILE: usize = 16;

/// `x` (M, K) of few rows times the columns `b`, finished: (M, N).
///
/// # Safety
/// The processor has AVX-512 with bfloat16.
#[allow(unsafe_code)]
pub(super) unsafe fn product(x: &[f32], b: &Parts, finish: Finish) -> Vec<f32> {
    assert!(b.split == 1 && b.depth > 0, "one part of a number, and some numbers");
    let rows = x.len() / b.depth;
    assert!(rows <= FEW && x.len() == rows * b.depth, "a few whole rows");
    let steps = b.depth.div_ceil(STEP);
    let pairs: Vec<Vec<u32>> = x.chunks_exact(b.depth).map(|row| paired(row, steps)).collect();
    let blocks = b.count.div_ceil(SIDE);
    let group = (TASK / (SIDE * steps * STEP)).max(1);
    let one = |i: usize, out: &mut [[f32; SIDE]]| {
        let rows_of = b.block(i, &(0..steps));
        // SAFETY: the caller vouches for the processor.
        unsafe {
            match out.len() {
                1 => sums::<1>(&pairs, rows_of, out),
                2 => sums::<2>(&pairs, rows_of, out),
                3 | 4 => sums::<4>(&pairs, rows_of, out),
                _ => sums::<FEW>(&pairs, rows_of, out),
            }
        }
    };
    let mut found = vec![[0.0; SIDE]; blocks * rows]; // (block, row)
    each(parts(&mut found, rows), group, one);
    let place = |i: usize| {
        let (row, column) = (i / b.count, i % b.count);
        found[column / SIDE * rows + row][column % SIDE]
    };
    let mut out: Vec<f32> = (0..rows * b.count).map(place).collect();
    finish.apply(&mut out, b.count);
    out
}

/// Pairs of neighbours as bfloat16, with zeros up to whole steps.
fn paired(row: &[f32], steps: usize) -> Vec<u32> {
    let bits = |x: Option<&f32>| u32::from(bf16::from_f32(x.copied().unwrap_or(0.0)).to_bits());
    let pair = |i: usize| bits(row.get(2 * i)) | bits(row.get(2 * i + 1)) << 16;
    (0..steps * STEP / 2).map(pair).collect()
}

/// The products of up to `M` rows with a block of columns.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
#[allow(unsafe_code)]
fn sums<const M: usize>(pairs: &[Vec<u32>], weight: &[Row], out: &mut [[f32; SIDE]]) {
    // Rows beyond the last repeat it, and are not written.
    let row = |r: usize| pairs[r.min(pairs.len() - 1)].as_slice();
    let rows: [&[u32]; M] = std::array::from_fn(row);
    // Two sums for each tile: the next product need not wait for the one before.
    let mut sums = [[[_mm512_setzero_ps(); 2]; 2]; M];
    for (step, weight) in weight.chunks_exact(2 * TILE).enumerate() {
        for i in 0..TILE {
            let tiles = [pair(&weight[i]), pair(&weight[TILE + i])];
            for (sums, row) in sums.iter_mut().zip(&rows) {
                let x = as_pairs(_mm512_set1_epi32(row[step * TILE + i] as i32));
                for (sum, tile) in sums.iter_mut().zip(tiles) {
                    sum[i % 2] = _mm512_dpbf16_ps(sum[i % 2], tile, x);
                }
            }
        }
    }
    for (out, [low, high]) in out.iter_mut().zip(sums) {
        let (first, second) = out.split_at_mut(TILE);
        store(first, _mm512_add_ps(low[0], low[1]));
        store(second, _mm512_add_ps(high[0], high[1]));
    }
}

#[target_feature(enable = "avx512f")]
#[allow(unsafe_code)]
fn store(out: &mut [f32], sums: __m512) {
    assert!(out.len() == TILE, "a register of numbers");
    // SAFETY: there is room for sixteen numbers.
    unsafe { _mm512_storeu_ps(out.as_mut_ptr(), sums) }
}

#[target_feature(enable = "avx512f")]
#[allow(unsafe_code)]
fn pair(row: &Row) -> __m512bh {
    // SAFETY: a row is as large and as aligned as a register.
    as_pairs(unsafe { _mm512_load_si512(std::ptr::from_ref(row).cast()) })
}

#[allow(unsafe_code)]
fn as_pairs(bits: __m512i) -> __m512bh {
    // SAFETY: both are 512 bits, and every pattern of bits is valid.
    unsafe { std::mem::transmute::<__m512i, __m512bh>(bits) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::few::tests::Example;
    use super::super::lines::Lines;
    use super::super::unit::unit;
    use super::*;

    proptest! {
        #[test]
        #[allow(unsafe_code)]
        fn few_rows_agree_with_float64(
            rows in 1usize..=FEW, columns in 0usize..90, depth in 1usize..300,
        ) {
            if unit().is_none() {
                return Ok(()); // this kernel is for other processors
            }
            let example = Example::new(rows, columns, depth);
            // SAFETY: a processor with such a unit has AVX-512 with bfloat16.
            let out = unsafe {
                let weight = Parts::right(Lines::rows(&example.weight, columns, depth), 1);
                product(&example.x, &weight, example.finish())
            };
            prop_assert_eq!(out.len(), rows * columns);
            for (out, (sum, size)) in out.iter().zip(&example.expected) {
                // Rounding both factors to bfloat16 costs up to 2 in 256.
                prop_assert!((f64::from(*out) - sum).abs() <= 2.0 / 256.0 * size, "{out} {sum}");
            }
        }
    }
}
