//! A feature map laid out so that every tap of a convolution reads a run of neighbours.
//!
//! Each plane gets its padding and is split by rows and columns modulo the stride. Outputs then
//! have places in rows of one width; a tap finds its source at a fixed distance from each. The
//! few places at the end of a row that are no outputs are computed and thrown away.

use std::borrow::Cow;

use super::buffer::filled;
use super::conv::Sizes;

/// Zeros at the end, so that a whole tile may be read from the last place.
const SLACK: usize = 32;

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
}

impl<'a> Planes<'a> {
    pub(super) fn new(x: &'a [f32], sizes: Sizes) -> Self {
        let Sizes { stride, padding, kernel, width, height, .. } = sizes;
        let phases = stride.min(kernel);
        let row = (width + 2 * padding).div_ceil(stride);
        let plane = (height + 2 * padding).div_ceil(stride) * row;
        let channel = phases * phases * plane;
        let tap = |tap: usize| {
            let (c, y, x) = (tap / (kernel * kernel), tap / kernel % kernel, tap % kernel);
            let phase = (y % stride) * phases + x % stride;
            c * channel + phase * plane + y / stride * row + x / stride
        };
        let taps = (0..sizes.taps()).map(tap).collect();
        let group = sizes.inputs * channel;
        let image = sizes.groups * group;
        let values = if sizes.plain() {
            Cow::Borrowed(x)
        } else {
            let area = height * width;
            Cow::Owned(filled(sizes.batch * image + SLACK, channel, |i, out| {
                if let Some(x) = x.get(i * area..(i + 1) * area) {
                    split(x, sizes, phases, row, out);
                }
            }))
        };
        Self { values, image, group, row, taps }
    }

    /// The largest distance of a tap.
    pub(super) fn reach(&self) -> usize {
        self.taps.iter().copied().max().unwrap_or(0)
    }
}

/// Copies one plane to its phases; padding stays as it is.
fn split(x: &[f32], sizes: Sizes, phases: usize, row: usize, out: &mut [f32]) {
    let Sizes { stride, padding, width, .. } = sizes;
    let plane = out.len() / (phases * phases);
    for (phase, out) in out.chunks_exact_mut(plane).enumerate() {
        let (below, beside) = (phase / phases, phase % phases);
        // The first column of this phase that is not padding: where it goes, where it lies.
        let place = padding.saturating_sub(beside).div_ceil(stride);
        let source = place * stride + beside - padding;
        for (y, out) in out.chunks_exact_mut(row).enumerate() {
            let Some(y) = (y * stride + below).checked_sub(padding) else { continue };
            let Some(x) = x.get(y * width..(y + 1) * width) else { break };
            if stride == 1 {
                out[place..place + width].copy_from_slice(x);
                continue;
            }
            let x = x.iter().skip(source).step_by(stride);
            out[place..].iter_mut().zip(x).for_each(|(out, x)| *out = *x);
        }
    }
}
