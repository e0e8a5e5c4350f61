//! Plain numbers in memory of their own, or in a mapped file whose pages processes share.

use std::marker::PhantomData;
use std::ops::{Deref, Range};
use std::sync::Arc;

use super::MappedFile;

/// Where numbers begin in a file: a line of the cache, to which all of them are aligned.
pub(super) const LINE: usize = 64;

/// Numbers of which any bytes are some, and none is padding.
///
/// # Safety
/// That must be so, and their alignment is at most [`LINE`].
#[allow(unsafe_code)]
pub(super) unsafe trait Plain: Copy + Send + Sync + 'static {}

// SAFETY: an array of plain integers.
#[allow(unsafe_code)]
unsafe impl<const N: usize> Plain for [u16; N] {}

/// Numbers that never change.
#[derive(Debug)]
pub(super) enum Held<T> {
    Own(Vec<T>),
    Mapped(Mapped<T>),
}

/// A part of a mapped file.
#[derive(Debug)]
pub(super) struct Mapped<T> {
    file: Arc<MappedFile>,
    start: usize,
    count: usize,
    of: PhantomData<T>,
}

impl<T: Plain> Held<T> {
    /// The bytes `part` of a file: `None` where they do not lie in it, are not aligned, or do not
    /// make up `count` whole numbers.
    pub(super) fn mapped(
        file: &Arc<MappedFile>,
        part: &Range<usize>,
        count: usize,
    ) -> Option<Self> {
        let bytes = file.bytes().get(part.clone())?;
        let aligned = bytes.as_ptr().addr().is_multiple_of(align_of::<T>());
        let whole = aligned && Some(bytes.len()) == count.checked_mul(size_of::<T>());
        let mapped = Mapped { file: file.clone(), start: part.start, count, of: PhantomData };
        whole.then_some(Self::Mapped(mapped))
    }

    /// The numbers as they lie in memory.
    pub(super) fn bytes(&self) -> &[u8] {
        let numbers: &[T] = self;
        // SAFETY: plain numbers have no padding.
        #[allow(unsafe_code)]
        unsafe {
            std::slice::from_raw_parts(numbers.as_ptr().cast(), size_of_val(numbers))
        }
    }
}

impl<T> From<Vec<T>> for Held<T> {
    fn from(numbers: Vec<T>) -> Self {
        Self::Own(numbers)
    }
}

impl<T: Plain> Deref for Held<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Self::Own(numbers) => numbers,
            Self::Mapped(Mapped { file, start, count, .. }) => {
                let bytes = &file.bytes()[*start..];
                // SAFETY: `mapped` saw that so many numbers begin here, aligned; any bytes are
                // such numbers, and nobody changes the file.
                #[allow(unsafe_code)]
                unsafe {
                    std::slice::from_raw_parts(bytes.as_ptr().cast(), *count)
                }
            }
        }
    }
}
