//! Sums over the taps of a small window, for one plane: a tile of sums stays in registers.
//!
//! Taps that lie one below the other are summed together, so that a row of the source is read once
//! for all of them, and not once for each.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{
    __m256, __m512, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_set1_ps, _mm256_storeu_ps,
    _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_set1_ps, _mm512_storeu_ps,
};

use super::simd::{Level, level};

/// Numbers of the widest register, and of one half as wide.
const LANES: usize = 16;
const HALF: usize = LANES / 2;
/// The longest run of taps.
const TAPS: usize = 5;
/// Rows that a tile may have: as many as leave registers for a run of taps, or few.
const ROWS: [usize; 3] = [8, 7, 4];

/// The taps of a plane, in runs of some that lie one below the other.
pub(super) struct Runs {
    /// Numbers from one row of the source to the next.
    row: usize,
    /// The sums that are wanted.
    height: usize,
    width: usize,
    /// Rows of a tile.
    rows: usize,
    level: Level,
    /// By the number of their taps: where each run begins in the source of the first sum.
    starts: Vec<(usize, Vec<usize>)>,
    /// The number of each tap, in the order of the runs.
    pub(super) order: Vec<usize>,
}

impl Runs {
    /// Taps of `columns`, each where it begins and the numbers of its taps.
    pub(super) fn new(
        row: usize,
        [height, width]: [usize; 2],
        columns: &[(usize, Vec<usize>)],
    ) -> Self {
        let waste = |rows: &usize| height.next_multiple_of(*rows);
        let rows = ROWS.into_iter().min_by_key(waste).unwrap_or(ROWS[0]);
        let (mut starts, mut order) = (Vec::new(), Vec::new());
        for len in 1..=TAPS {
            let mut firsts = Vec::new();
            for (first, taps) in columns {
                for (i, run) in taps.chunks(TAPS).enumerate().filter(|(_, run)| run.len() == len) {
                    firsts.push(first + i * TAPS * row);
                    order.extend(run);
                }
            }
            if !firsts.is_empty() {
                starts.push((len, firsts));
            }
        }
        Self { row, height, width, rows, level: level(), starts, order }
    }

    /// The lanes of the tile that ends at column `x`: a tile begins at a multiple of them.
    fn lanes(&self, x: usize) -> usize {
        let half = !self.level.wide() || (1..=HALF).contains(&(x % LANES));
        if half { HALF } else { LANES }
    }

    /// Numbers of the source that may be read.
    pub(super) fn reach(&self) -> usize {
        let below = |(taps, firsts): &(usize, Vec<usize>)| {
            firsts.iter().max().map_or(0, |first| first + (taps - 1) * self.row)
        };
        let rows = self.height.next_multiple_of(self.rows);
        let last = self.starts.iter().map(below).max().unwrap_or(0);
        last + rows.saturating_sub(1) * self.row + self.width.next_multiple_of(LANES)
    }

    /// `start` plus the sums over all taps, in rows that follow one another, in `out`, of which
    /// the part is returned that holds them.
    #[allow(unsafe_code)]
    pub(super) fn correlate<'a>(
        &self,
        source: &[f32],
        weight: &[f32],
        start: f32,
        out: &'a mut Vec<f32>,
    ) -> &'a [f32] {
        let rows = self.height.next_multiple_of(self.rows);
        out.resize(rows * self.width + LANES, 0.0);
        assert!(source.len() >= self.reach() && weight.len() == self.order.len());
        for y in (0..self.height).step_by(self.rows) {
            // What a tile has too much on its right is the beginning of the next row, which is
            // written later: so the last tile of a row comes first.
            let mut x = self.width;
            while x > 0 {
                let lanes = self.lanes(x);
                x = (x - 1) / lanes * lanes;
                let from = source[y * self.row + x..].as_ptr();
                let to = out[y * self.width + x..].as_mut_ptr();
                // SAFETY: the level is this processor's. `source` reaches as far as the last tile
                // reads, `weight` has a number for each tap, and `out` has room for whole tiles.
                unsafe { self.tile(lanes, from, weight.as_ptr(), start, to) };
            }
        }
        &out[..self.height * self.width]
    }

    /// Writes the sums of one tile.
    ///
    /// # Safety
    /// All taps of the tile can be read from `source`, as many numbers from `weight`; `lanes`
    /// numbers can be written to each row of `out`.
    #[allow(unsafe_code)]
    unsafe fn tile(
        &self,
        lanes: usize,
        source: *const f32,
        weight: *const f32,
        start: f32,
        out: *mut f32,
    ) {
        macro_rules! call {
            ($tile:ident) => {
                // SAFETY: as the caller promises.
                unsafe {
                    match self.rows {
                        8 => $tile::<8>(self, source, weight, start, out),
                        7 => $tile::<7>(self, source, weight, start, out),
                        _ => $tile::<4>(self, source, weight, start, out),
                    }
                }
            };
        }
        match (self.level, lanes) {
            #[cfg(target_arch = "x86_64")]
            (Level::Avx512, LANES) => call!(wide),
            #[cfg(target_arch = "x86_64")]
            (Level::Avx512 | Level::Avx2, _) => call!(narrow),
            (Level::Baseline, _) => call!(basic),
        }
    }
}

/// A tile of `ROWS` rows: its sums are one register each, from the first tap to the last.
macro_rules! tile {
    ($name:ident, $down:ident, $register:ty, $splat:expr, $load:expr, $fma:expr, $store:expr $(, $features:literal)?) => {
        /// # Safety
        /// As [`Runs::tile`]; the processor has these registers.
        #[allow(unsafe_code)]
        $(#[target_feature(enable = $features)])?
        unsafe fn $name<const ROWS: usize>(
            runs: &Runs,
            source: *const f32,
            mut weight: *const f32,
            start: f32,
            out: *mut f32,
        ) {
            let mut sums = [$splat(start); ROWS];
            // SAFETY: as the caller promises.
            unsafe {
                for (taps, firsts) in &runs.starts {
                    sums = match taps {
                        1 => $down::<ROWS, 1>(source, runs.row, firsts, weight, sums),
                        2 => $down::<ROWS, 2>(source, runs.row, firsts, weight, sums),
                        3 => $down::<ROWS, 3>(source, runs.row, firsts, weight, sums),
                        4 => $down::<ROWS, 4>(source, runs.row, firsts, weight, sums),
                        _ => $down::<ROWS, TAPS>(source, runs.row, firsts, weight, sums),
                    };
                    weight = weight.add(taps * firsts.len());
                }
                for (y, sum) in sums.into_iter().enumerate() {
                    $store(out.add(y * runs.width), sum);
                }
            }
        }

        /// Adds the runs of `N` taps.
        ///
        /// # Safety
        /// As above.
        #[allow(unsafe_code)]
        #[inline]
        $(#[target_feature(enable = $features)])?
        unsafe fn $down<const ROWS: usize, const N: usize>(
            source: *const f32,
            row: usize,
            firsts: &[usize],
            weight: *const f32,
            mut sums: [$register; ROWS],
        ) -> [$register; ROWS] {
            for (run, first) in firsts.iter().enumerate() {
                // SAFETY: as the caller promises.
                unsafe {
                    let (source, weight) = (source.add(*first), weight.add(run * N));
                    for (y, sum) in sums.iter_mut().enumerate() {
                        for tap in 0..N {
                            let line = $load(source.add((y + tap) * row));
                            *sum = $fma($splat(*weight.add(tap)), line, *sum);
                        }
                    }
                }
            }
            sums
        }
    };
}

#[cfg(target_arch = "x86_64")]
tile! {
    wide, wide_down, __m512, _mm512_set1_ps, _mm512_loadu_ps, _mm512_fmadd_ps, _mm512_storeu_ps,
    "avx512f"
}
#[cfg(target_arch = "x86_64")]
tile! {
    narrow, narrow_down, __m256, _mm256_set1_ps, _mm256_loadu_ps, _mm256_fmadd_ps, _mm256_storeu_ps,
    "avx2,fma"
}

/// The registers of every other processor, in the compiler's hands.
mod plain {
    use super::HALF;
    use crate::kernels::simd::fma;

    pub(super) type Register = [f32; HALF];

    #[inline(always)]
    pub(super) fn splat(x: f32) -> Register {
        [x; HALF]
    }

    #[inline(always)]
    pub(super) fn add_product(a: Register, b: Register, sum: Register) -> Register {
        std::array::from_fn(|i| fma::<{ cfg!(target_arch = "aarch64") }>(a[i], b[i], sum[i]))
    }

    /// # Safety
    /// As many numbers may be read.
    #[allow(unsafe_code)]
    #[inline(always)]
    pub(super) unsafe fn load(from: *const f32) -> Register {
        // SAFETY: numbers of one array, which needs no more alignment than they do.
        unsafe { *from.cast() }
    }

    /// # Safety
    /// As many numbers may be written.
    #[allow(unsafe_code)]
    #[inline(always)]
    pub(super) unsafe fn store(to: *mut f32, x: Register) {
        // SAFETY: as for `load`.
        unsafe { *to.cast() = x }
    }
}

tile! {
    basic, basic_down, plain::Register, plain::splat, plain::load, plain::add_product, plain::store
}
