//! Where a block of a product goes: its part of the rows of a result.

use std::arch::x86_64::_mm_prefetch;

use super::parts::SIDE;
use super::simd::kernel;

/// Has a block's part of some rows fetched, to be read or to be written.
#[allow(unsafe_code)]
pub(super) fn fetch<const HINT: i32>(start: *const f32, stride: usize, rows: usize) {
    for i in 0..rows {
        let row = start.wrapping_add(i * stride);
        // SAFETY: a hint touches nothing.
        unsafe {
            _mm_prefetch::<HINT>(row.cast());
            _mm_prefetch::<HINT>(row.wrapping_add(SIDE / 2).cast());
        }
    }
}

/// A block's part of the result: rows `stride` apart.
pub(super) struct Place {
    pub(super) start: *mut f32,
    pub(super) stride: usize,
    /// Rows and columns that lie inside the result.
    pub(super) size: (usize, usize),
}

impl Place {
    /// Writes sums, plus the residual whose rows are as far apart.
    ///
    /// # Safety
    /// The part may be written, by this thread alone.
    #[allow(unsafe_code)]
    pub(super) unsafe fn write(&self, sums: &[f32], residual: Option<&[f32]>) {
        let (rows, columns) = self.size;
        for (i, sums) in sums.chunks_exact(SIDE).take(rows).enumerate() {
            let start = self.start.wrapping_add(i * self.stride);
            // SAFETY: as the caller promises.
            let out = unsafe { std::slice::from_raw_parts_mut(start, columns) };
            let residual = residual.map(|residual| &residual[i * self.stride..][..columns]);
            match (out.first_chunk_mut::<SIDE>(), sums.first_chunk::<SIDE>(), residual) {
                (Some(out), Some(sums), None) => *out = *sums, // in registers
                (_, _, None) => out.copy_from_slice(&sums[..columns]),
                (_, _, Some(residual)) => add(sums, residual, out),
            }
        }
    }
}

kernel! {
    fn add(a: &[f32], b: &[f32], out: &mut [f32]) {
        for ((out, a), b) in out.iter_mut().zip(a).zip(b) {
            *out = a + b;
        }
    }
}
