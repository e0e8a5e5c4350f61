//! A feature map laid out so that every tap of a convolution reads a run of neighbours.
//!
//! Each plane gets its padding and is split by rows and columns modulo the stride. Outputs then
//! have places in rows of one width; a tap finds its source at a fixed distance from each. The
//! few places at the end of a row that are no outputs are computed and thrown away; with a stride
//! of one the zeros on the left of a row serve the row above as well, so that they are fewer.

use std::borrow::Cow;

use super::buffer::filled;
use super::conv::Sizes;
use super::simd::kernel;

/// Numbers that are copied in one go.
const RUN: usize = 16;

/// Where the numbers of one plane go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Places {
    /// Places of a row.
    pub(super) row: usize,
    /// Numbers of one phase: the rows and columns that leave one rest each.
    pub(super) phase: usize,
    /// Phases along each axis that some tap reads.
    pub(super) phases: usize,
}

impl Places {
    pub(super) fn of(sizes: Sizes) -> Self {
        let Sizes { stride, padding, kernel, width, height, .. } = sizes;
        let rows = (height + 2 * padding).div_ceil(stride);
        if stride == 1 && padding < kernel {
            // What pads a row on its left pads the one before on its right.
            let row = width + padding;
            return Self { row, phase: rows * row + padding, phases: 1 };
        }
        let row = (width + 2 * padding).div_ceil(stride);
        Self { row, phase: rows * row, phases: stride.min(kernel) }
    }

    /// Numbers of a plane with all its phases.
    pub(super) fn plane(self) -> usize {
        self.phases * self.phases * self.phase
    }

    /// Places from the first output of a plane to its last.
    pub(super) fn span(self, sizes: Sizes) -> usize {
        (sizes.out_height - 1) * self.row + sizes.out_width
    }

    /// How far from an output's place the source of a tap lies.
    pub(super) fn tap(self, y: usize, x: usize, stride: usize) -> usize {
        let phase = (y % stride) * self.phases + x % stride;
        phase * self.phase + y / stride * self.row + x / stride
    }

    /// Copies one plane to its phases; padding stays as it is.
    pub(super) fn split(self, x: &[f32], sizes: Sizes, out: &mut [f32]) {
        let Sizes { stride, padding, width, .. } = sizes;
        if stride == 1 {
            return copy_rows(x, width, width, &mut out[padding * (self.row + 1)..], self.row);
        }
        for (phase, out) in out.chunks_exact_mut(self.phase).take(self.phases.pow(2)).enumerate() {
            let (below, beside) = (phase / self.phases, phase % self.phases);
            let (place, source) = first(beside, stride, padding);
            for (y, out) in out.chunks_exact_mut(self.row).enumerate() {
                let Some(y) = (y * stride + below).checked_sub(padding) else { continue };
                let Some(x) = x.get(y * width..(y + 1) * width) else { break };
                if source < width {
                    pick(&x[source..], stride, &mut out[place..]);
                }
            }
        }
    }

    /// Copies a phase back to the numbers of the plane that it came from.
    pub(super) fn join(self, phase: usize, values: &[f32], sizes: Sizes, x: &mut [f32]) {
        let Sizes { stride, padding, width, .. } = sizes;
        if stride == 1 {
            return copy_rows(&values[padding * (self.row + 1)..], self.row, width, x, width);
        }
        let (below, beside) = (phase / self.phases, phase % self.phases);
        let (place, source) = first(beside, stride, padding);
        for (y, values) in values.chunks_exact(self.row).enumerate() {
            let Some(y) = (y * stride + below).checked_sub(padding) else { continue };
            let Some(x) = x.get_mut(y * width..(y + 1) * width) else { break };
            if source < width {
                let x = x[source..].iter_mut().step_by(stride);
                x.zip(&values[place..]).for_each(|(x, value)| *x = *value);
            }
        }
    }
}

/// The first column of a phase that is not padding: where it goes, where it lies.
fn first(beside: usize, stride: usize, padding: usize) -> (usize, usize) {
    let place = padding.saturating_sub(beside).div_ceil(stride);
    (place, place * stride + beside - padding)
}

/// Copies every `stride`-th number of `x`, the first included.
fn pick(x: &[f32], stride: usize, out: &mut [f32]) {
    match stride {
        2 => pick_even(x, out),
        _ => out.iter_mut().zip(x.iter().step_by(stride)).for_each(|(out, x)| *out = *x),
    }
}

/// Copies `x` to the start of `out`; for a short row a call of `memcpy` costs more than it does.
#[inline(always)]
pub(super) fn copy(x: &[f32], out: &mut [f32]) {
    let out = &mut out[..x.len()];
    let Some(last) = x.len().checked_sub(RUN) else {
        x.iter().zip(out).for_each(|(x, out)| *out = *x);
        return;
    };
    for (x, out) in x.as_chunks::<RUN>().0.iter().zip(out.as_chunks_mut::<RUN>().0) {
        *out = *x;
    }
    // The rest, together with some that were copied already.
    out[last..].copy_from_slice(&x[last..last + RUN]);
}

kernel! {
    /// Copies rows of `width` numbers that start `step` apart to places `out_step` apart, as many
    /// as there are; what lies between those places, up to the next row, may become zero.
    fn copy_rows(x: &[f32], step: usize, width: usize, out: &mut [f32], out_step: usize) {
        let rows = (x.len() + step).saturating_sub(width) / step;
        let room = (out.len() + out_step).saturating_sub(width) / out_step;
        for y in 0..rows.min(room) {
            let (x, out) = (&x[y * step..], &mut out[y * out_step..]);
            // A short row is one register; what it holds too much the next row overwrites.
            match (x.first_chunk::<RUN>(), out.first_chunk_mut::<RUN>()) {
                (Some(x), Some(out)) if width < RUN => {
                    for (i, (x, out)) in x.iter().zip(out).enumerate() {
                        *out = if i < width { *x } else { 0.0 };
                    }
                }
                _ => copy(&x[..width], out),
            }
        }
    }
}

kernel! {
    fn pick_even(x: &[f32], out: &mut [f32]) {
        let (pairs, rest) = x.as_chunks::<2>();
        out.iter_mut().zip(pairs).for_each(|(out, pair)| *out = pair[0]);
        if let [last] = rest {
            out[pairs.len()] = *last;
        }
    }
}

#[derive(Debug)]
pub(super) struct Planes<'a> {
    pub(super) values: Cow<'a, [f32]>,
    /// Numbers of one image.
    pub(super) image: usize,
    /// Numbers of one group of channels.
    pub(super) group: usize,
    /// Places of a row.
    pub(super) row: usize,
    /// For each tap of a group's window: how far from an output's place its source lies.
    pub(super) taps: Vec<usize>,
    /// The largest distance of a tap.
    pub(super) reach: usize,
}

impl<'a> Planes<'a> {
    /// Zeros at the end, so that a whole tile may be read from the last place.
    pub(super) const SLACK: usize = 32;

    /// Lays out every image of `x`.
    pub(super) fn new(x: &'a [f32], sizes: Sizes) -> Self {
        let places = Places::of(sizes);
        let channel = places.plane();
        let image = sizes.groups * sizes.inputs * channel;
        if sizes.plain() {
            return Self::laid(x, sizes, image);
        }
        let area = sizes.height * sizes.width;
        let values = filled(sizes.batch * image + Self::SLACK, channel, |i, out| {
            if let Some(x) = x.get(i * area..(i + 1) * area) {
                places.split(x, sizes, out);
            }
        });
        Self { values: Cow::Owned(values), ..Self::laid(&[], sizes, image) }
    }

    /// Numbers that lie as they should, `image` of them from one image to the next.
    pub(super) fn laid(values: &'a [f32], sizes: Sizes, image: usize) -> Self {
        let Sizes { stride, kernel, .. } = sizes;
        let places = Places::of(sizes);
        let channel = places.plane();
        let tap = |tap: usize| {
            let (c, y, x) = (tap / (kernel * kernel), tap / kernel % kernel, tap % kernel);
            c * channel + places.tap(y, x, stride)
        };
        let taps: Vec<usize> = (0..sizes.taps()).map(tap).collect();
        let reach = taps.iter().copied().max().unwrap_or(0);
        let group = sizes.inputs * channel;
        Self { values: Cow::Borrowed(values), image, group, row: places.row, taps, reach }
    }

    /// The bytes of the planes of a whole batch; none when they are the input itself.
    pub(super) fn bytes(sizes: Sizes) -> usize {
        if sizes.plain() {
            return 0;
        }
        let image = sizes.groups * sizes.inputs * Places::of(sizes).plane();
        (sizes.batch * image + Self::SLACK) * size_of::<f32>()
    }
}
