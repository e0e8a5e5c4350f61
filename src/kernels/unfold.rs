//! The way back from windows side by side to the feature map they came from.

use super::conv::Sizes;
use super::crew::{each, parts};
use super::gemm::Threads;

/// Adds `unfolded` (C·K·K, `count` · W') to the places in `dx` that its windows came from.
pub(super) fn fold_rows(
    unfolded: &[f32],
    sizes: Sizes,
    first: usize,
    count: usize,
    dx: &mut [f32],
    threads: Threads,
) {
    let (plane, kernel) = (sizes.height * sizes.width, sizes.kernel);
    let channel = kernel * kernel * count * sizes.out_width;
    let one = |i: usize, dx: &mut [f32]| {
        let unfolded = &unfolded[i * channel..][..channel];
        for (tap, part) in unfolded.chunks_exact(count * sizes.out_width).enumerate() {
            for (row, part) in part.chunks_exact(sizes.out_width).enumerate() {
                if let Some(y) = source_row(sizes, first + row, tap / kernel) {
                    give(part, sizes, tap % kernel, &mut dx[y * sizes.width..][..sizes.width]);
                }
            }
        }
    };
    match threads {
        Threads::One => {
            dx.chunks_exact_mut(plane).enumerate().for_each(|(i, dx)| one(i, dx));
        }
        Threads::All => {
            each(parts(dx, plane), 1, one);
        }
    }
}

/// The input row under output row `row` and kernel row `tap`; `None` in the padding.
pub(super) fn source_row(sizes: Sizes, row: usize, tap: usize) -> Option<usize> {
    let y = (row * sizes.stride + tap).checked_sub(sizes.padding)?;
    (y < sizes.height).then_some(y)
}

/// The outputs (start, end) of `count` whose window has its tap number `tap` inside 0..`size`, and
/// the place of the first.
pub(super) fn inside(
    tap: usize,
    (stride, padding): (usize, usize),
    size: usize,
    count: usize,
) -> (usize, usize, usize) {
    let start = padding.saturating_sub(tap).div_ceil(stride).min(count);
    let end = (size + padding).saturating_sub(tap).div_ceil(stride).clamp(start, count);
    (start, end, (start * stride + tap).saturating_sub(padding).min(size))
}

fn give(part: &[f32], sizes: Sizes, tap: usize, dx: &mut [f32]) {
    let steps = (sizes.stride, sizes.padding);
    let (start, end, source) = inside(tap, steps, sizes.width, sizes.out_width);
    if start == end {
        return;
    }
    let places = dx[source..].iter_mut().step_by(sizes.stride);
    for (dx, part) in places.zip(&part[start..end]) {
        *dx += part;
    }
}
