//! From tensors to slices and back, and parallel filling in blocks of fixed size.
//!
//! The blocks depend on the size of the data only, so results do not depend on the number of
//! threads.

use std::mem::MaybeUninit;
use std::sync::LazyLock;

use candle::{CpuStorage, DType, Device, Layout, Result, Storage, Tensor};

use super::crew::{each, parts};

/// Numbers a thread should get at least; less is not worth the handing out.
const GRAIN: usize = 1 << 14;

/// Whether the kernels take these tensors: float32 on the CPU.
pub(crate) fn serve(tensors: &[&Tensor]) -> bool {
    tensors.iter().all(|x| x.dtype() == DType::F32 && reach(x))
}

/// Whether the kernels work where `x` is.
///
/// With `CARINA_KERNELS=off` they work nowhere, and every layer is composed as on a GPU: for
/// tests.
pub(crate) fn reach(x: &Tensor) -> bool {
    static OFF: LazyLock<bool> =
        LazyLock::new(|| std::env::var_os("CARINA_KERNELS").is_some_and(|value| value == "off"));
    !*OFF && x.device().is_cpu()
}

/// The numbers behind a contiguous layout.
pub(super) fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((start, end))) => Ok(&values[start..end]),
        (CpuStorage::F32(_), None) => candle::bail!("a kernel was given a tensor out of order"),
        _ => candle::bail!("a kernel was given another type than f32"),
    }
}

/// Runs `work` on the numbers of `tensor` in order.
pub(crate) fn read<R>(tensor: &Tensor, work: impl FnOnce(&[f32]) -> R) -> Result<R> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => Ok(work(slice(storage, layout)?)),
        _ => candle::bail!("a CPU kernel was given a tensor on another device"),
    }
}

/// Runs `work` on the numbers of `tensor`, if there is one.
pub(super) fn read_any<R>(
    tensor: Option<&Tensor>,
    work: impl FnOnce(Option<&[f32]>) -> R,
) -> Result<R> {
    match tensor {
        Some(tensor) => read(tensor, |values| work(Some(values))),
        None => Ok(work(None)),
    }
}

/// A CPU tensor of these numbers.
pub(super) fn tensor(values: Vec<f32>, like: &Tensor) -> Result<Tensor> {
    Tensor::from_vec(values, like.shape(), &Device::Cpu)
}

/// A block of whole rows of `width` numbers that stays in the nearest cache.
pub(super) fn block_of_rows(width: usize) -> usize {
    width.max(1) * (GRAIN / 4).div_ceil(width.max(1))
}

/// A block of whole rows that is worth a partial sum of its own.
pub(super) fn large_block_of_rows(width: usize) -> usize {
    4 * block_of_rows(width)
}

/// `n` numbers, written in blocks in parallel: `fill` gets the block's number and zeros.
pub(super) fn filled(n: usize, block: usize, fill: impl Fn(usize, &mut [f32]) + Sync) -> Vec<f32> {
    filled_with(n, block, fill).0
}

/// As [`filled`], with what `fill` returned for each block, in order.
#[allow(unsafe_code)]
pub(super) fn filled_with<T: Send>(
    n: usize,
    block: usize,
    fill: impl Fn(usize, &mut [f32]) -> T + Sync,
) -> (Vec<f32>, Vec<T>) {
    // SAFETY: `zeroed` writes every number.
    unsafe { written_with(n, block, |i, part| fill(i, zeroed(part))) }
}

/// A number that may not be read before it is written.
pub(super) type Blank = MaybeUninit<f32>;

/// As [`filled`], for a `fill` that is given no zeros: where memory is the limit, they cost a
/// sixth of the time.
///
/// # Safety
/// `fill` writes every number of its block.
#[allow(unsafe_code)]
pub(super) unsafe fn written(
    n: usize,
    block: usize,
    fill: impl Fn(usize, &mut [Blank]) + Sync,
) -> Vec<f32> {
    // SAFETY: as the caller promises.
    unsafe { written_with(n, block, fill) }.0
}

/// As [`written`], with what `fill` returned for each block, in order.
///
/// # Safety
/// `fill` writes every number of its block.
#[allow(unsafe_code)]
pub(super) unsafe fn written_with<T: Send>(
    n: usize,
    block: usize,
    fill: impl Fn(usize, &mut [Blank]) -> T + Sync,
) -> (Vec<f32>, Vec<T>) {
    let block = block.max(1);
    let mut values: Vec<f32> = Vec::with_capacity(n);
    let mut results: Vec<Option<T>> = (0..n.div_ceil(block)).map(|_| None).collect();
    let blocks = parts(&mut values.spare_capacity_mut()[..n], block);
    each((blocks, parts(&mut results, 1)), GRAIN / block, |i, (part, result)| {
        result[0] = Some(fill(i, part));
    });
    // SAFETY: the blocks cover all `n` numbers, and the caller promises that each was written.
    unsafe { values.set_len(n) };
    (values, results.into_iter().flatten().collect())
}

/// Two times `n` numbers, written side by side as in [`filled`].
#[allow(unsafe_code)]
pub(super) fn filled_pair(
    n: usize,
    block: usize,
    fill: impl Fn(usize, &mut [f32], &mut [f32]) + Sync,
) -> (Vec<f32>, Vec<f32>) {
    let (mut first, mut second) = (Vec::with_capacity(n), Vec::with_capacity(n));
    let (a, b) = (first.spare_capacity_mut(), second.spare_capacity_mut());
    let blocks = (parts(&mut a[..n], block), parts(&mut b[..n], block));
    each(blocks, GRAIN / block.max(1), |i, (a, b)| fill(i, zeroed(a), zeroed(b)));
    // SAFETY: the blocks cover all `n` numbers of both, and each was written.
    unsafe {
        first.set_len(n);
        second.set_len(n);
    }
    (first, second)
}

/// A copy of `from` in a block of the same size.
#[allow(unsafe_code)]
pub(super) fn copied<'a>(from: &[f32], block: &'a mut [Blank]) -> &'a mut [f32] {
    // SAFETY: of the same layout.
    let from = unsafe { &*(std::ptr::from_ref(from) as *const [Blank]) };
    block.copy_from_slice(from);
    // SAFETY: every number was written just above.
    unsafe { &mut *(std::ptr::from_mut(block) as *mut [f32]) }
}

/// Zeros, written by the thread that fills the block, while it is in the cache.
#[allow(unsafe_code)]
pub(super) fn zeroed(block: &mut [Blank]) -> &mut [f32] {
    block.fill(Blank::new(0.0));
    // SAFETY: every number was written just above.
    unsafe { &mut *(std::ptr::from_mut(block) as *mut [f32]) }
}

/// The same numbers for a writer that never reads them.
#[allow(unsafe_code)]
pub(super) fn as_uninit(values: &mut [f32]) -> &mut [Blank] {
    // SAFETY: of the same layout; our writers only store whole numbers in it.
    unsafe { &mut *(std::ptr::from_mut(values) as *mut [Blank]) }
}

/// Adds up vectors of one length, in order.
pub(super) fn total(parts: Vec<Vec<f32>>, len: usize) -> Vec<f32> {
    let mut sum = vec![0.0; len];
    for part in parts {
        for (sum, x) in sum.iter_mut().zip(&part) {
            *sum += x;
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_filled_in_place_and_reported_in_order() {
        let (values, starts) = filled_with(10, 4, |i, part| {
            part.iter_mut().enumerate().for_each(|(j, x)| *x = (4 * i + j) as f32);
            (i, part.len())
        });
        assert_eq!(values, (0..10).map(|i| i as f32).collect::<Vec<f32>>());
        assert_eq!(starts, [(0, 4), (1, 4), (2, 2)]);
        assert!(filled(0, 0, |_, _| ()).is_empty());
    }
}
