//! Slices that fall into parts, one for each task.

use std::marker::PhantomData;

/// Something that falls into parts that several threads may have at once.
///
/// # Safety
/// Parts of different numbers do not overlap.
#[allow(unsafe_code)]
pub(in crate::kernels) unsafe trait Split: Sync {
    type Part;

    /// How many parts there are.
    fn count(&self) -> usize;

    /// The part number `i`.
    ///
    /// # Safety
    /// `i` is below the count, and no part is taken twice.
    unsafe fn part(&self, i: usize) -> Self::Part;
}

/// Equal parts of a slice, but for the last.
pub(in crate::kernels) struct Parts<'a, T> {
    start: *mut T,
    len: usize,
    size: usize,
    of: PhantomData<&'a mut [T]>,
}

// SAFETY: it gives out what a mutable slice may give to other threads, each part once.
#[allow(unsafe_code)]
unsafe impl<T: Send> Sync for Parts<'_, T> {}

/// The parts of `size` values each.
pub(in crate::kernels) fn parts<T>(values: &mut [T], size: usize) -> Parts<'_, T> {
    let (start, len) = (values.as_mut_ptr(), values.len());
    Parts { start, len, size: size.max(1), of: PhantomData }
}

// SAFETY: part `i` begins where the one before ends.
#[allow(unsafe_code)]
unsafe impl<'a, T: Send> Split for Parts<'a, T> {
    type Part = &'a mut [T];

    fn count(&self) -> usize {
        self.len.div_ceil(self.size)
    }

    unsafe fn part(&self, i: usize) -> &'a mut [T] {
        let first = i * self.size;
        let len = self.size.min(self.len - first);
        // SAFETY: inside the slice, which is borrowed for as long; the caller takes it once.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(first), len) }
    }
}

// SAFETY: both give parts that do not overlap, of slices that do not either.
#[allow(unsafe_code)]
unsafe impl<A: Split, B: Split> Split for (A, B) {
    type Part = (A::Part, B::Part);

    fn count(&self) -> usize {
        self.0.count().min(self.1.count())
    }

    unsafe fn part(&self, i: usize) -> Self::Part {
        // SAFETY: as the caller promises.
        unsafe { (self.0.part(i), self.1.part(i)) }
    }
}

// SAFETY: as for two.
#[allow(unsafe_code)]
unsafe impl<A: Split, B: Split, C: Split> Split for (A, B, C) {
    type Part = (A::Part, B::Part, C::Part);

    fn count(&self) -> usize {
        self.0.count().min(self.1.count()).min(self.2.count())
    }

    unsafe fn part(&self, i: usize) -> Self::Part {
        // SAFETY: as the caller promises.
        unsafe { (self.0.part(i), self.1.part(i), self.2.part(i)) }
    }
}
