//! Factors of a product in bfloat16, as the processor's units for such products read them.
//!
//! A float32 is exactly the sum of three bfloat16 numbers: its leading eight bits, the next eight
//! and the last eight. Six of the nine products of such parts make a product of float32 with an
//! error below that of rounding it once; the units sum them in float32.
//!
//! Source: Henry, Tang and Heinecke 2019, "Leveraging the bfloat16 Artificial Intelligence Datatype
//! For Higher-Precision Computations", arXiv:1904.06376.

use std::arch::x86_64::{
    __m512, __m512bh, __m512i, _MM_HINT_T0, _mm_prefetch, _mm512_and_si512, _mm512_castps_si512,
    _mm512_castsi512_ps, _mm512_cvtne2ps_pbh, _mm512_fpclass_ps_mask, _mm512_loadu_si512,
    _mm512_mask_or_epi32, _mm512_maskz_loadu_ps, _mm512_maskz_sub_ps, _mm512_permutexvar_epi16,
    _mm512_set1_epi32, _mm512_setzero_ps, _mm512_setzero_si512, _mm512_shuffle_i32x4,
    _mm512_store_si512, _mm512_unpackhi_epi32, _mm512_unpackhi_epi64, _mm512_unpacklo_epi32,
    _mm512_unpacklo_epi64,
};
use std::mem::MaybeUninit;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use super::crew::{self, each};
use super::held::{Held, Plain};
use super::lines::Lines;

/// Numbers of the shared axis in one step.
pub(super) const STEP: usize = 32;
/// Lines of a block: rows or columns of the result that are formed together.
pub(super) const SIDE: usize = 32;
/// Lines of a tile, of which a block has two.
const TILE: usize = 16;

/// A row of a tile: 32 bfloat16 numbers on a cache line of their own.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct Row([u16; 32]);

// SAFETY: 64 bytes, as large as their alignment.
#[allow(unsafe_code)]
unsafe impl Plain for Row {}

/// Which side of a product the lines are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// A row of a tile holds a step of one line.
    Left,
    /// A row of a tile holds two neighbouring numbers of each line.
    Right,
}

/// Lines laid out: (block, step, part, tile, row), what is missing to whole blocks and steps
/// filled up with zeros.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) rows: Held<Row>,
    pub(super) count: usize,
    pub(super) depth: usize,
    /// Into how many parts a number is split: three are exact, one is the nearest bfloat16.
    pub(super) split: usize,
    /// Whether no number is infinite or NaN.
    pub(super) finite: bool,
}

/// Rows of tiles that one step of a block takes.
pub(super) fn step_rows(parts: usize) -> usize {
    parts * 2 * TILE
}

impl Parts {
    /// The bytes of `count` lines of `depth` numbers.
    pub(super) fn bytes(count: usize, depth: usize, parts: usize) -> usize {
        count.div_ceil(SIDE) * depth.div_ceil(STEP) * step_rows(parts) * size_of::<Row>()
    }

    /// What was laid out before as a right side; `None` where that is not as large as it must be.
    pub(super) fn held(
        rows: Held<Row>,
        (count, depth): (usize, usize),
        split: usize,
        finite: bool,
    ) -> Option<Self> {
        let fits = rows.len() * size_of::<Row>() == Self::bytes(count, depth, split);
        fits.then_some(Self { rows, count, depth, split, finite })
    }

    /// Lays out the right side of a product.
    ///
    /// # Safety
    /// The processor has AVX-512 with bfloat16.
    #[allow(unsafe_code)]
    pub(super) unsafe fn right(lines: Lines, parts: usize) -> Self {
        let steps = lines.depth.div_ceil(STEP);
        let block = steps * step_rows(parts);
        let size = lines.count.div_ceil(SIDE) * block;
        let mut rows: Vec<Row> = Vec::with_capacity(size);
        let finite = AtomicBool::new(true);
        each(crew::parts(&mut rows.spare_capacity_mut()[..size], block), 1, |i, out| {
            // SAFETY: as the caller promises.
            let all = unsafe { lay(lines, i * SIDE, 0..steps, parts, Side::Right, out) };
            finite.fetch_and(all, Ordering::Relaxed);
        });
        let finite = finite.into_inner();
        // SAFETY: each block was laid out in full.
        unsafe { rows.set_len(size) };
        Self { rows: rows.into(), count: lines.count, depth: lines.depth, split: parts, finite }
    }

    /// Some steps of a block.
    pub(super) fn block(&self, block: usize, steps: &Range<usize>) -> &[Row] {
        let (size, all) = (step_rows(self.split), self.depth.div_ceil(STEP));
        &self.rows[(block * all + steps.start) * size..(block * all + steps.end) * size]
    }
}

/// Lays out the block of lines that begins at `first`, writing all of `out`; whether all its
/// numbers are finite.
///
/// # Safety
/// The processor has AVX-512 with bfloat16.
#[allow(unsafe_code)]
pub(super) unsafe fn lay(
    lines: Lines,
    first: usize,
    steps: Range<usize>,
    parts: usize,
    side: Side,
    out: &mut [MaybeUninit<Row>],
) -> bool {
    assert!(out.len() == steps.len() * step_rows(parts), "size of a block's layout");
    // SAFETY: the caller vouches for the processor.
    unsafe {
        if parts == 1 {
            lay_block::<1>(lines, first, steps, side, out)
        } else {
            lay_block::<3>(lines, first, steps, side, out)
        }
    }
}

type Square = [__m512i; TILE];

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
fn lay_block<const PARTS: usize>(
    lines: Lines,
    first: usize,
    steps: Range<usize>,
    side: Side,
    out: &mut [MaybeUninit<Row>],
) -> bool {
    let (mut squares, mut bad) = ([[_mm512_setzero_si512(); TILE]; PARTS], 0);
    for (step, out) in steps.zip(out.chunks_exact_mut(step_rows(PARTS))) {
        for tile in 0..2 {
            bad |= cut(lines, first + tile * TILE, step * STEP, &mut squares);
            for (part, square) in squares.iter_mut().enumerate() {
                if lines.along != (side == Side::Left) {
                    turn(square);
                }
                let out = &mut out[(part * 2 + tile) * TILE..][..TILE];
                for (out, row) in out.iter_mut().zip(&*square) {
                    store(out, *row);
                }
            }
        }
    }
    bad == 0
}

#[target_feature(enable = "avx512f")]
#[allow(unsafe_code)]
fn store(out: &mut MaybeUninit<Row>, row: __m512i) {
    // SAFETY: a row is as large and as aligned as a register.
    unsafe { _mm512_store_si512(out.as_mut_ptr().cast(), row) }
}

/// Cuts 16 lines over one step into parts, as pairs of neighbouring numbers of a line: (line,
/// pair) when the numbers of a line are neighbours, else (pair, line). Not 0 if one is not finite.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
fn cut<const PARTS: usize>(
    lines: Lines,
    first: usize,
    start: usize,
    squares: &mut [Square; PARTS],
) -> u16 {
    let mut bad = 0;
    for i in 0..TILE {
        let row = |half: usize| {
            if lines.along {
                load(lines, (first + i, lines.count), (start + half * TILE, lines.depth))
            } else {
                load(lines, (start + 2 * i + half, lines.depth), (first, lines.count))
            }
        };
        let (mut low, mut high) = (row(0), row(1));
        for (part, square) in squares.iter_mut().enumerate() {
            // The last part, or the only one, is the nearest to what is left.
            let (low_lead, high_lead) =
                if part + 1 == PARTS { (low, high) } else { (lead(low), lead(high)) };
            let pairs = narrow(low_lead, high_lead);
            square[i] = if lines.along { pairs } else { interleave(pairs) };
            if part + 1 < PARTS {
                bad |= not_finite(low) | not_finite(high);
                (low, high) = (rest(low, low_lead), rest(high, high_lead));
            }
        }
    }
    bad
}

/// Sixteen neighbouring numbers of the slice, with zeros beyond its `rows` and `columns`.
#[target_feature(enable = "avx512f")]
#[allow(unsafe_code)]
fn load(lines: Lines, (row, rows): (usize, usize), (column, columns): (usize, usize)) -> __m512 {
    let wide = columns.saturating_sub(column).min(TILE);
    if row >= rows || wide == 0 {
        return _mm512_setzero_ps();
    }
    let values = &lines.values[row * lines.stride + column..][..wide];
    // What comes some steps later at the same place: too many streams for the processor to see.
    let ahead = if lines.along { 4 * STEP } else { 2 * STEP * lines.stride };
    _mm_prefetch::<_MM_HINT_T0>(values.as_ptr().wrapping_add(ahead).cast());
    let mask = (u32::from(u16::MAX) >> (TILE - wide)) as u16;
    // SAFETY: the mask lets `values` be read and nothing behind it.
    unsafe { _mm512_maskz_loadu_ps(mask, values.as_ptr()) }
}

/// Two registers of numbers that bfloat16 holds, or the nearest such, in one.
#[target_feature(enable = "avx512bf16")]
#[allow(unsafe_code)]
fn narrow(low: __m512, high: __m512) -> __m512i {
    // SAFETY: both are 512 bits, and every pattern of bits is valid.
    unsafe { std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low)) }
}

/// The leading eight bits of each number; NaN stays NaN.
#[target_feature(enable = "avx512f,avx512dq")]
fn lead(x: __m512) -> __m512 {
    const NAN: i32 = 0x81;
    let bits = _mm512_castps_si512(x);
    let lead = _mm512_and_si512(bits, _mm512_set1_epi32(0xffff_0000_u32 as i32));
    let nan = _mm512_fpclass_ps_mask::<NAN>(x);
    _mm512_castsi512_ps(_mm512_mask_or_epi32(lead, nan, lead, _mm512_set1_epi32(0x0040_0000)))
}

/// What the leading part leaves, which is exact; nothing of what is not finite.
#[target_feature(enable = "avx512f,avx512dq")]
fn rest(x: __m512, lead: __m512) -> __m512 {
    _mm512_maskz_sub_ps(!not_finite(x), x, lead)
}

#[target_feature(enable = "avx512f,avx512dq")]
fn not_finite(x: __m512) -> u16 {
    const NOT_FINITE: i32 = 0x99;
    _mm512_fpclass_ps_mask::<NOT_FINITE>(x)
}

/// From sixteen first and sixteen second numbers to sixteen pairs.
#[target_feature(enable = "avx512f,avx512bw")]
fn interleave(row: __m512i) -> __m512i {
    const ORDER: [u16; 32] = {
        let mut order = [0; 32];
        let mut i = 0;
        while i < 16 {
            order[2 * i] = i as u16;
            order[2 * i + 1] = 16 + i as u16;
            i += 1;
        }
        order
    };
    _mm512_permutexvar_epi16(bits(&ORDER), row)
}

#[target_feature(enable = "avx512f")]
#[allow(unsafe_code)]
fn bits(values: &[u16; 32]) -> __m512i {
    // SAFETY: 64 bytes are there to be read.
    unsafe { _mm512_loadu_si512(values.as_ptr().cast()) }
}

/// Exchanges rows and columns of 16 by 16 pairs.
#[target_feature(enable = "avx512f")]
fn turn(square: &mut Square) {
    // Written out so that all of it stays in registers.
    macro_rules! stage {
        ($low:path, $high:path, $x:ident; $($a:literal $b:literal)+) => {
            [$($low($x[$a], $x[$b]), $high($x[$a], $x[$b])),+]
        };
    }
    let x = *square;
    let x: Square = stage!(_mm512_unpacklo_epi32, _mm512_unpackhi_epi32, x;
        0 1  2 3  4 5  6 7  8 9  10 11  12 13  14 15);
    // Quarter q of row 4 r + c becomes column 4 q + c of rows 4 r to 4 r + 3.
    let x: Square = stage!(_mm512_unpacklo_epi64, _mm512_unpackhi_epi64, x;
        0 2  1 3  4 6  5 7  8 10  9 11  12 14  13 15);
    let x: Square = stage!(_mm512_shuffle_i32x4::<0x88>, _mm512_shuffle_i32x4::<0xdd>, x;
        0 4  1 5  2 6  3 7  8 12  9 13  10 14  11 15);
    let x: Square = stage!(_mm512_shuffle_i32x4::<0x88>, _mm512_shuffle_i32x4::<0xdd>, x;
        0 8  2 10  4 12  6 14  1 9  3 11  5 13  7 15);
    let order = [0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15];
    for (to, from) in square.iter_mut().zip(order) {
        *to = x[from];
    }
}
