//! Products of bfloat16 on the processor's units: tiles (AMX) and dot products (AVX-512).
//!
//! Their instructions are written by name, as the compiler knows no types for tiles yet.

use std::arch::asm;
use std::arch::x86_64::{
    __m512bh, __m512i, _MM_HINT_T1, _mm_prefetch, _mm512_dpbf16_ps, _mm512_loadu_ps,
    _mm512_loadu_si512, _mm512_set1_epi32, _mm512_setzero_ps, _mm512_storeu_ps,
};

use super::parts::{Row, SIDE, step_rows};
use super::tile::Start;
use super::unit::Unit;

/// Eight tiles of full size for this thread, until dropped. While one is held, the thread must
/// run nothing else that takes tiles.
pub(super) struct Tiles(Unit);

impl Tiles {
    /// # Safety
    /// `unit` is what [`unit`](super::unit::unit) found.
    #[allow(unsafe_code)]
    pub(super) unsafe fn take(unit: Unit) -> Self {
        #[repr(C, align(64))]
        struct Shape {
            palette: u8,
            reserved: [u8; 15],
            row_bytes: [u16; 16],
            rows: [u8; 16],
        }
        let (mut row_bytes, mut rows) = ([0; 16], [0; 16]);
        row_bytes[..8].fill(64);
        rows[..8].fill(16);
        let shape = Shape { palette: 1, reserved: [0; 15], row_bytes, rows };
        if unit == Unit::Amx {
            // SAFETY: the processor has tiles, and `shape` is a valid configuration.
            unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const shape, options(nostack, readonly)) };
        }
        Self(unit)
    }
}

impl Drop for Tiles {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        if self.0 == Unit::Amx {
            // SAFETY: whoever took the tiles had them; without them the state is small again.
            unsafe { asm!("tilerelease", options(nostack, nomem)) };
        }
    }
}

/// Where a block of the result is formed: what its rows start from (rows `stride` apart, of which
/// 0 repeats one; or zeros), and where they go.
#[derive(Clone, Copy)]
pub(super) struct Sums {
    pub(super) start: Option<Start>,
    pub(super) out: *mut f32,
    pub(super) stride: usize,
}

/// How many products of parts stand for one product of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Terms {
    /// That of the leading parts.
    Leading,
    /// Those of the leading parts, of the first two and of the outer two: six.
    Six,
}

impl Tiles {
    /// The product of two blocks of lines, each in `parts` parts, added to the start of `sums`;
    /// meanwhile `soon` is fetched from memory.
    ///
    /// # Safety
    /// The start may be read, and the result written, over a whole block; no other thread
    /// touches those numbers of the result.
    #[allow(unsafe_code)]
    pub(super) unsafe fn multiply(
        &self,
        terms: Terms,
        parts: usize,
        (left, right): (&[Row], &[Row]),
        soon: &[Row],
        sums: Sums,
    ) {
        let size = step_rows(parts);
        assert!(left.len() == right.len() && left.len().is_multiple_of(size), "sizes of a product");
        let (steps, stride) = (left.len() / size, size);
        let sides =
            Steps { count: steps, stride, left: left.as_ptr(), right: right.as_ptr(), soon };
        // SAFETY: both sides have `steps` steps; the caller vouches for the sums; what `unit`
        // found is there, and this thread holds the tiles.
        unsafe {
            match (self.0, terms) {
                (Unit::Dot, _) => {
                    assert!(parts == 1, "float32 in registers is faster");
                    dots(sides, sums);
                }
                (Unit::Amx, Terms::Leading) => {
                    start(sums);
                    leading(sides);
                    store(sums);
                }
                (Unit::Amx, Terms::Six) => {
                    assert!(parts == 3, "six products are those of three parts");
                    start(sums);
                    six(sides);
                    store(sums);
                }
            }
        }
    }
}

/// The products of four tiles: two of the left side by two of the right.
macro_rules! four {
    () => {
        "tdpbf16ps tmm0, tmm4, tmm6
         tdpbf16ps tmm1, tmm4, tmm7
         tdpbf16ps tmm2, tmm5, tmm6
         tdpbf16ps tmm3, tmm5, tmm7"
    };
}

/// Loads two tiles of a part of a side.
macro_rules! load {
    (left $part:literal) => {
        concat!(
            "tileloadd tmm4, [{left} + {row} + ",
            $part,
            " * 2048]\n",
            "tileloadd tmm5, [{left} + {row} + ",
            $part,
            " * 2048 + 1024]"
        )
    };
    (right $part:literal) => {
        concat!(
            "tileloadd tmm6, [{right} + {row} + ",
            $part,
            " * 2048]\n",
            "tileloadd tmm7, [{right} + {row} + ",
            $part,
            " * 2048 + 1024]"
        )
    };
}

/// Loads what the sums start from into tiles.
///
/// # Safety
/// As [`Tiles::multiply`], and this thread holds tiles.
#[allow(unsafe_code)]
unsafe fn start(sums: Sums) {
    let Some(start) = sums.start else {
        // SAFETY: changes tiles that this thread holds.
        unsafe {
            asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                options(nostack, nomem),
            );
        }
        return;
    };
    // SAFETY: two by two tiles of 16 rows of 16 numbers cover the block.
    unsafe {
        asm!(
            "tileloadd tmm0, [{top} + {row}]",
            "tileloadd tmm1, [{top} + {row} + 64]",
            "tileloadd tmm2, [{low} + {row}]",
            "tileloadd tmm3, [{low} + {row} + 64]",
            top = in(reg) start.rows,
            low = in(reg) start.rows.add(16 * start.stride),
            row = in(reg) 4 * start.stride,
            options(nostack, readonly),
        );
    }
}

/// Stores the tiles as sums.
///
/// # Safety
/// As [`start`].
#[allow(unsafe_code)]
unsafe fn store(sums: Sums) {
    // SAFETY: as in `start`.
    unsafe {
        asm!(
            "tilestored [{top} + {row}], tmm0",
            "tilestored [{top} + {row} + 64], tmm1",
            "tilestored [{low} + {row}], tmm2",
            "tilestored [{low} + {row} + 64], tmm3",
            top = in(reg) sums.out,
            low = in(reg) sums.out.add(16 * sums.stride),
            row = in(reg) 4 * sums.stride,
            options(nostack),
        );
    }
}

/// The steps of two sides.
#[derive(Clone, Copy)]
struct Steps<'a> {
    count: usize,
    /// Rows of tiles from one step to the next.
    stride: usize,
    left: *const Row,
    right: *const Row,
    /// What is fetched meanwhile, in equal parts.
    soon: &'a [Row],
}

impl Steps<'_> {
    /// Where a step begins.
    fn at(&self, step: usize) -> (*const Row, *const Row) {
        let place = step * self.stride;
        (self.left.wrapping_add(place), self.right.wrapping_add(place))
    }

    /// Has a part of what comes soon fetched into the second cache.
    #[inline(always)]
    fn fetch(&self, step: usize) {
        let part = self.soon.len() * step / self.count..self.soon.len() * (step + 1) / self.count;
        for row in &self.soon[part] {
            // SAFETY: a hint, about a place inside a slice.
            #[allow(unsafe_code)]
            unsafe {
                _mm_prefetch::<_MM_HINT_T1>(std::ptr::from_ref(row).cast());
            }
        }
    }
}

/// The products of the leading parts.
///
/// # Safety
/// This thread holds tiles, and both sides have as many steps as is said.
#[allow(unsafe_code)]
unsafe fn leading(sides: Steps) {
    // SAFETY: as the caller promises.
    unsafe {
        for step in 0..sides.count {
            let (left, right) = sides.at(step);
            sides.fetch(step);
            asm!(
                load!(right 0),
                load!(left 0),
                four!(),
                left = in(reg) left,
                right = in(reg) right,
                row = in(reg) size_of::<Row>(),
                options(nostack, readonly),
            );
        }
    }
}

/// The six products of three parts that matter to float32, in an order that loads few tiles.
///
/// # Safety
/// As [`leading`], each side in three parts.
#[allow(unsafe_code)]
unsafe fn six(sides: Steps) {
    // SAFETY: as the caller promises.
    unsafe {
        for step in 0..sides.count {
            let (left, right) = sides.at(step);
            sides.fetch(step);
            asm!(
                load!(right 0),
                load!(left 2),
                four!(),
                load!(left 1),
                four!(),
                load!(left 0),
                four!(),
                load!(right 2),
                four!(),
                load!(right 1),
                four!(),
                load!(left 1),
                four!(),
                left = in(reg) left,
                right = in(reg) right,
                row = in(reg) size_of::<Row>(),
                options(nostack, readonly),
            );
        }
    }
}

/// As [`leading`], without tiles.
///
/// # Safety
/// The processor has AVX-512 with bfloat16; else as [`leading`] and [`start`].
#[target_feature(enable = "avx512f,avx512bf16")]
#[allow(unsafe_code)]
unsafe fn dots(sides: Steps, sums: Sums) {
    /// Rows whose sums stay in registers.
    const HIGH: usize = 8;
    let pairs = |x: __m512i| {
        // SAFETY: both are 512 bits, and every pattern of bits is valid.
        unsafe { std::mem::transmute::<__m512i, __m512bh>(x) }
    };
    for first in (0..SIDE).step_by(HIGH) {
        // SAFETY: the caller vouches for the sums; a side's step is two tiles of 16 rows of 16
        // pairs.
        unsafe {
            let mut tile = [[_mm512_setzero_ps(); 2]; HIGH];
            if let Some(start) = sums.start {
                for (i, row) in tile.iter_mut().enumerate() {
                    let from = start.rows.add((first + i) * start.stride);
                    *row = [_mm512_loadu_ps(from), _mm512_loadu_ps(from.add(16))];
                }
            }
            for step in 0..sides.count {
                let (left, right) = sides.at(step);
                let left = left.cast::<i32>().add(first * 16);
                let right = right.cast::<__m512i>();
                for pair in 0..16 {
                    let columns =
                        [0, 16].map(|tile| pairs(_mm512_loadu_si512(right.add(tile + pair))));
                    for (i, row) in tile.iter_mut().enumerate() {
                        let x = pairs(_mm512_set1_epi32(*left.add(i * 16 + pair)));
                        row[0] = _mm512_dpbf16_ps(row[0], x, columns[0]);
                        row[1] = _mm512_dpbf16_ps(row[1], x, columns[1]);
                    }
                }
            }
            for (i, row) in tile.into_iter().enumerate() {
                let to = sums.out.add((first + i) * sums.stride);
                _mm512_storeu_ps(to, row[0]);
                _mm512_storeu_ps(to.add(16), row[1]);
            }
        }
    }
}
