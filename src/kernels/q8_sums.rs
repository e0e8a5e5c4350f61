//! Sums of products of eight-bit numbers, on what the processor has for them.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{
    __m128i, __m256, __m256i, __m512, __m512i, _mm256_abs_epi8, _mm256_add_epi32,
    _mm256_cvtepi32_ps, _mm256_cvtph_ps, _mm256_fmadd_ps, _mm256_loadu_si256, _mm256_madd_epi16,
    _mm256_maddubs_epi16, _mm256_mul_ps, _mm256_set1_epi8, _mm256_set1_epi16, _mm256_set1_epi32,
    _mm256_set1_ps, _mm256_setzero_ps, _mm256_setzero_si256, _mm256_sign_epi8, _mm256_storeu_ps,
    _mm256_xor_si256, _mm512_cvtepi32_ps, _mm512_cvtph_ps, _mm512_dpbusd_epi32, _mm512_fmadd_ps,
    _mm512_load_si512, _mm512_mul_ps, _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ps,
    _mm512_storeu_ps,
};

use half::f16;

use super::q8::{DEPTH, LINES, Quads, ROWS, Row};
#[cfg(target_arch = "x86_64")]
use super::simd::{Level, level};

/// How the sums are formed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Path {
    /// AVX-512 with dot products of four bytes.
    #[cfg(target_arch = "x86_64")]
    Vnni,
    /// AVX2: products of bytes to pairs, pairs to sums.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// Number by number.
    Portable,
}

/// The best path of this processor.
pub(super) fn path() -> Path {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::is_x86_feature_detected as has;
        match level() {
            Level::Avx512 if has!("avx512vnni") => return Path::Vnni,
            Level::Avx512 | Level::Avx2 if has!("f16c") => return Path::Avx2,
            _ => {}
        }
    }
    Path::Portable
}

/// Every path that this processor can take, the plainest first.
#[cfg(test)]
pub(super) fn paths() -> Vec<Path> {
    match path() {
        #[cfg(target_arch = "x86_64")]
        Path::Vnni => vec![Path::Portable, Path::Avx2, Path::Vnni],
        #[cfg(target_arch = "x86_64")]
        Path::Avx2 => vec![Path::Portable, Path::Avx2],
        Path::Portable => vec![Path::Portable],
    }
}

/// Some rows of the left side and a panel of the right one.
#[derive(Clone, Copy)]
pub(super) struct Sums<'a> {
    /// [`DEPTH`] for each block.
    pub(super) quads: &'a [Quads],
    /// The factors of each block as float16.
    pub(super) factors: &'a [[u16; LINES]],
    /// At most [`ROWS`], each with as many blocks.
    pub(super) rows: &'a [Row],
}

impl Sums<'_> {
    /// The sums of the lines of the panel, for each row.
    #[allow(unsafe_code)]
    pub(super) fn on(self, path: Path) -> [[f32; LINES]; ROWS] {
        assert!(self.rows.len() <= ROWS && self.quads.len() == DEPTH * self.factors.len());
        for row in self.rows {
            let blocks = [row.factors.len(), row.excess.len(), row.quads.len() / DEPTH];
            assert!(blocks == [self.factors.len(); 3], "blocks of a row and of the panel");
        }
        let mut out = [[0.0; LINES]; ROWS];
        match (path, self.rows.len()) {
            // SAFETY: `path` found what these need.
            #[cfg(target_arch = "x86_64")]
            (Path::Vnni, 1) => unsafe { self.vnni::<1>(&mut out) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            (Path::Vnni, 2..=4) => unsafe { self.vnni::<4>(&mut out) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            (Path::Vnni, _) => unsafe { self.vnni::<ROWS>(&mut out) },
            #[cfg(target_arch = "x86_64")]
            (Path::Avx2, _) => {
                for (row, out) in self.rows.iter().zip(&mut out) {
                    // SAFETY: as above.
                    unsafe { self.avx2(row, out) };
                }
            }
            (Path::Portable, _) => {
                for (row, out) in self.rows.iter().zip(&mut out) {
                    self.portable(row, out);
                }
            }
        }
        out
    }

    fn portable(self, row: &Row, out: &mut [f32; LINES]) {
        let blocks = self.quads.chunks_exact(DEPTH).zip(self.factors);
        let ours = row.quads.chunks_exact(DEPTH).zip(&row.factors);
        for ((quads, factors), (x, factor)) in blocks.zip(ours) {
            let mut sums = [0i32; LINES];
            for (quad, x) in quads.iter().zip(x) {
                for (sum, quad) in sums.iter_mut().zip(&quad.0) {
                    for (w, x) in quad.iter().zip(x) {
                        *sum += (i32::from(*w) - 128) * i32::from(*x);
                    }
                }
            }
            for ((out, sum), bits) in out.iter_mut().zip(sums).zip(factors) {
                *out += sum as f32 * (f16::from_bits(*bits).to_f32() * factor);
            }
        }
    }

    /// Up to `M` rows at a time, so that the panel is read once.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[allow(unsafe_code)]
    fn vnni<const M: usize>(self, out: &mut [[f32; LINES]; ROWS]) {
        // Rows beyond the last repeat it, and are not read by the caller.
        let rows: [&Row; M] = std::array::from_fn(|r| &self.rows[r.min(self.rows.len() - 1)]);
        let mut totals = [_mm512_setzero_ps(); M];
        for (b, (quads, factors)) in self.quads.chunks_exact(DEPTH).zip(self.factors).enumerate() {
            let mut sums: [__m512i; M] =
                std::array::from_fn(|r| _mm512_set1_epi32(rows[r].excess[b]));
            for (i, quad) in quads.iter().enumerate() {
                // SAFETY: a row of quads is as large and as aligned as a register.
                let quad = unsafe { _mm512_load_si512(std::ptr::from_ref(quad).cast()) };
                for (sum, row) in sums.iter_mut().zip(rows) {
                    let x = i32::from_le_bytes(row.quads[b * DEPTH + i].map(|x| x as u8));
                    *sum = _mm512_dpbusd_epi32(*sum, quad, _mm512_set1_epi32(x));
                }
            }
            let unit = _mm512_cvtph_ps(sixteen(factors));
            for ((total, sum), row) in totals.iter_mut().zip(sums).zip(rows) {
                let unit = _mm512_mul_ps(unit, _mm512_set1_ps(row.factors[b]));
                *total = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), unit, *total);
            }
        }
        for (out, total) in out.iter_mut().zip(totals) {
            let total: __m512 = total;
            // SAFETY: there is room for sixteen numbers.
            unsafe { _mm512_storeu_ps(out.as_mut_ptr(), total) };
        }
    }

    /// One row.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma,f16c")]
    #[allow(unsafe_code)]
    fn avx2(self, row: &Row, out: &mut [f32; LINES]) {
        let (flip, ones) = (_mm256_set1_epi8(-128), _mm256_set1_epi16(1));
        let mut totals: [__m256; 2] = [_mm256_setzero_ps(); 2];
        for (b, (quads, factors)) in self.quads.chunks_exact(DEPTH).zip(self.factors).enumerate() {
            let mut sums = [_mm256_setzero_si256(); 2];
            for (i, quad) in quads.iter().enumerate() {
                let x = i32::from_le_bytes(row.quads[b * DEPTH + i].map(|x| x as u8));
                let x = _mm256_set1_epi32(x);
                let at = std::ptr::from_ref(quad).cast::<__m256i>();
                for (half, sum) in sums.iter_mut().enumerate() {
                    // SAFETY: a row of quads is two such registers.
                    let w = unsafe { _mm256_loadu_si256(at.add(half)) };
                    let w = _mm256_xor_si256(w, flip); // without the 128
                    // Unsigned times signed: the sign of w moves to x.
                    let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
                    *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(pairs, ones));
                }
            }
            let bits = halves(sixteen(factors));
            let factor = _mm256_set1_ps(row.factors[b]);
            for ((total, sum), bits) in totals.iter_mut().zip(sums).zip(bits) {
                let unit = _mm256_mul_ps(_mm256_cvtph_ps(bits), factor);
                *total = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), unit, *total);
            }
        }
        for (out, total) in out.chunks_exact_mut(8).zip(totals) {
            // SAFETY: there is room for eight numbers.
            unsafe { _mm256_storeu_ps(out.as_mut_ptr(), total) };
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
#[allow(unsafe_code)]
fn sixteen(factors: &[u16; LINES]) -> __m256i {
    // SAFETY: 32 bytes are there to be read.
    unsafe { _mm256_loadu_si256(factors.as_ptr().cast()) }
}

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
fn halves(register: __m256i) -> [__m128i; 2] {
    // SAFETY: both are 256 bits, and every pattern of bits is valid.
    unsafe { std::mem::transmute::<__m256i, [__m128i; 2]>(register) }
}
