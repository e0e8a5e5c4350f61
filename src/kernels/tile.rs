//! The innermost loop of the matrix product: one tile of the result, held in registers.
//!
//! A tile is as high and wide as the registers allow; it runs down the shared axis once and is
//! written once. Each instruction set has its own; the tests of `product` force each in turn.

use super::simd::Level;

/// Numbers of the shared axis in one go: a block of rows and a panel then stay in the caches.
pub(super) const DEPTH: usize = 768;
/// Distance of the rows of a block; off the powers of two, whose cache lines would collide.
pub(super) const STRIDE: usize = DEPTH + 16;
/// Numbers of the largest tile.
pub(super) const TILE: usize = 14 * 32;
/// How far ahead of its use a right side is fetched, in steps of the shared axis.
const AHEAD: usize = 8;

/// Rows and columns of the result that stay in registers.
pub(super) fn size(level: Level) -> (usize, usize) {
    match level {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => (14, 32),
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => (6, 16),
        Level::Baseline => (4, 8),
    }
}

/// What a tile starts from: rows of numbers `stride` apart (0 repeats one row), or zeros.
#[derive(Clone, Copy)]
pub(super) struct Start {
    pub(super) rows: *const f32,
    pub(super) stride: usize,
}

/// The left side of a tile.
#[derive(Clone, Copy)]
pub(super) enum Block<'a> {
    /// Its rows begin [`STRIDE`] apart.
    Rows(&'a [f32]),
    /// Its columns begin `step` apart.
    Columns { values: &'a [f32], step: usize },
}

/// The right side of a product, as wide as a tile.
#[derive(Clone, Copy)]
pub(super) enum Right<'a> {
    /// Its rows lie one after the other.
    Panel(&'a [f32]),
    /// Each row starts at one of `places` in `values`, none beyond the last number of `reach`.
    Rows { values: &'a [f32], places: &'a [usize], reach: usize },
}

/// `start` plus the product of `left` (count, depth) and `right` (depth, width), written to rows
/// of `out` that are `stride` apart.
///
/// # Safety
/// The processor has `level`; `out` may be written, and `start`'s rows read, `count` times over
/// the width of a tile; no other thread touches those numbers of `out`; no place of `right`
/// exceeds its `reach`.
#[allow(unsafe_code)]
pub(super) unsafe fn multiply(
    level: Level,
    (count, depth): (usize, usize),
    left: Block,
    right: Right,
    start: Option<Start>,
    (out, stride): (*mut f32, usize),
) {
    let (high, width) = size(level);
    assert!(count > 0 && count <= high);
    macro_rules! call {
        ($kernel:ident, $left:expr, $right:expr; $($m:literal)+) => {
            match count {
                // SAFETY: the caller vouches for the processor, `start`, `out` and the places; the
                // sizes of `left` and `right` are checked below.
                $($m => unsafe { $kernel::<$m, _, _>(depth, $left, $right, start, out, stride) },)+
                _ => unreachable!("a block has no more rows than a tile"),
            }
        };
    }
    macro_rules! dispatch {
        ($left:expr, $right:expr) => {
            match level {
                #[cfg(target_arch = "x86_64")]
                Level::Avx512 => call!(wide, $left, $right; 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
                #[cfg(target_arch = "x86_64")]
                Level::Avx2 => call!(narrow, $left, $right; 1 2 3 4 5 6),
                Level::Baseline => call!(plain, $left, $right; 1 2 3 4),
            }
        };
    }
    if let Block::Rows(values) = left {
        assert!(depth <= STRIDE && values.len() >= (count - 1) * STRIDE + depth);
    }
    match (left, right) {
        (Block::Rows(rows), Right::Panel(panel)) => {
            assert!(panel.len() >= depth * width);
            dispatch!(Along(rows.as_ptr()), Even { start: panel.as_ptr(), width });
        }
        (Block::Rows(rows), Right::Rows { values, places, reach }) => {
            assert!(places.len() >= depth && values.len() >= reach + width);
            dispatch!(Along(rows.as_ptr()), Uneven { start: values.as_ptr(), places });
        }
        (Block::Columns { values, step }, Right::Panel(panel)) => {
            assert!(depth == 0 || values.len() >= (depth - 1) * step + count);
            assert!(panel.len() >= depth * width);
            let left = Across { start: values.as_ptr(), step };
            dispatch!(left, Even { start: panel.as_ptr(), width });
        }
        (Block::Columns { .. }, Right::Rows { .. }) => unreachable!("no product has both"),
    }
}

/// Where the numbers of a left side are.
trait Numbers: Copy {
    /// Step `k` of row `i`, both inside the block.
    fn number(self, i: usize, k: usize) -> *const f32;
}

/// The start of [`Block::Rows`].
#[derive(Clone, Copy)]
struct Along(*const f32);

impl Numbers for Along {
    #[inline(always)]
    fn number(self, i: usize, k: usize) -> *const f32 {
        self.0.wrapping_add(i * STRIDE + k)
    }
}

/// The start of [`Block::Columns`].
#[derive(Clone, Copy)]
struct Across {
    start: *const f32,
    step: usize,
}

impl Numbers for Across {
    #[inline(always)]
    fn number(self, i: usize, k: usize) -> *const f32 {
        self.start.wrapping_add(k * self.step + i)
    }
}

/// Where each row of a right side starts.
trait Places: Copy {
    /// Of row `k`, which must be one of them.
    fn row(self, k: usize) -> *const f32;
    /// Of a row that comes soon, to be fetched; may be anything.
    fn soon(self, k: usize) -> *const f32;
}

#[derive(Clone, Copy)]
struct Even {
    start: *const f32,
    width: usize,
}

impl Places for Even {
    #[inline(always)]
    fn row(self, k: usize) -> *const f32 {
        self.start.wrapping_add(k * self.width)
    }

    #[inline(always)]
    fn soon(self, k: usize) -> *const f32 {
        self.start.wrapping_add((k + AHEAD) * self.width)
    }
}

#[derive(Clone, Copy)]
struct Uneven<'a> {
    start: *const f32,
    places: &'a [usize],
}

impl Places for Uneven<'_> {
    #[inline(always)]
    fn row(self, k: usize) -> *const f32 {
        self.start.wrapping_add(self.places[k])
    }

    #[inline(always)]
    fn soon(self, k: usize) -> *const f32 {
        self.start.wrapping_add(self.places.get(k + AHEAD).copied().unwrap_or(0))
    }
}

#[cfg(target_arch = "x86_64")]
macro_rules! registers {
    ($name:ident, $features:literal, $lanes:literal, $zero:ident, $load:ident, $splat:ident, $fma:ident, $store:ident) => {
        /// `M` rows times a panel of two registers' width.
        ///
        /// # Safety
        /// As [`multiply`], whose checks have been made.
        #[allow(unsafe_code)]
        #[target_feature(enable = $features)]
        unsafe fn $name<const M: usize, L: Numbers, P: Places>(
            depth: usize,
            left: L,
            right: P,
            start: Option<Start>,
            out: *mut f32,
            stride: usize,
        ) {
            use std::arch::x86_64::{
                _MM_HINT_T0, _mm_prefetch, $fma, $load, $splat, $store, $zero,
            };
            let mut tile = [[$zero(); 2]; M];
            // SAFETY: the caller's promises keep every address inside what may be touched; a
            // prefetch touches nothing.
            unsafe {
                for i in 0..M {
                    _mm_prefetch::<_MM_HINT_T0>(out.add(i * stride).cast());
                    _mm_prefetch::<_MM_HINT_T0>(out.add(i * stride + $lanes).cast());
                }
                if let Some(start) = start {
                    for (i, sum) in tile.iter_mut().enumerate() {
                        let from = start.rows.add(i * start.stride);
                        *sum = [$load(from), $load(from.add($lanes))];
                    }
                }
                for k in 0..depth {
                    let (at, soon) = (right.row(k), right.soon(k));
                    _mm_prefetch::<_MM_HINT_T0>(soon.cast());
                    _mm_prefetch::<_MM_HINT_T0>(soon.wrapping_add($lanes).cast());
                    let right = [$load(at), $load(at.add($lanes))];
                    for (i, sum) in tile.iter_mut().enumerate() {
                        let x = $splat(*left.number(i, k));
                        sum[0] = $fma(x, right[0], sum[0]);
                        sum[1] = $fma(x, right[1], sum[1]);
                    }
                }
                for (i, [left, right]) in tile.into_iter().enumerate() {
                    let to = out.add(i * stride);
                    $store(to, left);
                    $store(to.add($lanes), right);
                }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
registers! {
    wide, "avx512f", 16, _mm512_setzero_ps, _mm512_loadu_ps, _mm512_set1_ps, _mm512_fmadd_ps, _mm512_storeu_ps
}
#[cfg(target_arch = "x86_64")]
registers! {
    narrow, "avx2,fma", 8, _mm256_setzero_ps, _mm256_loadu_ps, _mm256_set1_ps, _mm256_fmadd_ps, _mm256_storeu_ps
}

/// The tile in the compiler's hands, for every other processor.
///
/// # Safety
/// As [`multiply`].
#[allow(unsafe_code)]
unsafe fn plain<const M: usize, L: Numbers, P: Places>(
    depth: usize,
    left: L,
    right: P,
    start: Option<Start>,
    out: *mut f32,
    stride: usize,
) {
    const FMA: bool = cfg!(target_arch = "aarch64");
    let mut tile = [[0f32; 8]; M];
    for (i, sum) in tile.iter_mut().enumerate() {
        if let Some(start) = start {
            // SAFETY: the caller lets `M` rows of `start` be read.
            unsafe { sum.as_mut_ptr().copy_from(start.rows.add(i * start.stride), 8) };
        }
    }
    for k in 0..depth {
        // SAFETY: the caller lets every place be read over the width of a tile.
        let right = unsafe { &*right.row(k).cast::<[f32; 8]>() };
        for (i, sum) in tile.iter_mut().enumerate() {
            // SAFETY: inside the block, whose size the caller has checked.
            let x = unsafe { *left.number(i, k) };
            for (sum, b) in sum.iter_mut().zip(right) {
                *sum = super::simd::fma::<FMA>(x, *b, *sum);
            }
        }
    }
    for (i, sum) in tile.iter().enumerate() {
        // SAFETY: the caller lets `M` rows of `out` be written; `sum` is a local.
        unsafe { out.add(i * stride).copy_from_nonoverlapping(sum.as_ptr(), 8) };
    }
}
