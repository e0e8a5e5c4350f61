//! Convolution of each channel by itself, without unfolding.
//!
//! A padded plane is first split into its columns modulo the stride; every tap of the kernel then
//! reads a run of neighbours, whatever the stride.

use rayon::prelude::*;

use super::buffer::filled;
use super::conv::Sizes;
use super::simd::{fma, kernel, sum};

/// Columns, and rows, of the outputs that are computed together in registers.
const TILE: usize = 16;
const ROWS: usize = 4;

/// A plane with its padding: `height` rows of `stride` phases of `run` columns each.
#[derive(Clone, Copy, Debug)]
struct Split {
    height: usize,
    run: usize,
}

impl Split {
    fn of(sizes: Sizes) -> Self {
        // Every window of a whole tile must lie inside; the surplus holds zeros.
        let run = sizes.out_width.next_multiple_of(TILE) + sizes.kernel.div_ceil(sizes.stride);
        Self { height: sizes.height + 2 * sizes.padding, run }
    }

    fn len(self, sizes: Sizes) -> usize {
        self.height * sizes.stride * self.run
    }

    /// Between the sources of neighbouring output rows.
    fn step(self, sizes: Sizes) -> usize {
        sizes.stride * sizes.stride * self.run
    }

    /// Where the run of each kernel tap starts for output row 0.
    fn offsets(self, sizes: Sizes) -> Vec<usize> {
        let taps = 0..sizes.kernel * sizes.kernel;
        let offset = |tap: usize| {
            let (row, column) = (tap / sizes.kernel, tap % sizes.kernel);
            let line = row * sizes.stride + column % sizes.stride;
            line * self.run + column / sizes.stride
        };
        taps.map(offset).collect()
    }

    /// Copies a plane in; padding and surplus stay as they are.
    fn fill(self, x: &[f32], sizes: Sizes, out: &mut [f32]) {
        let rows = out.chunks_exact_mut(sizes.stride * self.run).skip(sizes.padding);
        for (x, out) in x.chunks_exact(sizes.width).zip(rows) {
            for (phase, out) in out.chunks_exact_mut(self.run).enumerate() {
                let (source, place) = phase_start(sizes, phase);
                if sizes.stride == 1 {
                    out[place..place + x.len()].copy_from_slice(x);
                    continue;
                }
                let x = x.iter().skip(source).step_by(sizes.stride);
                out.iter_mut().skip(place).zip(x).for_each(|(out, x)| *out = *x);
            }
        }
    }

    /// Copies a plane out.
    fn empty(self, split: &[f32], sizes: Sizes, x: &mut [f32]) {
        let rows = split.chunks_exact(sizes.stride * self.run).skip(sizes.padding);
        for (x, split) in x.chunks_exact_mut(sizes.width).zip(rows) {
            for (phase, split) in split.chunks_exact(self.run).enumerate() {
                let (source, place) = phase_start(sizes, phase);
                let x = x.iter_mut().skip(source).step_by(sizes.stride);
                x.zip(split.iter().skip(place)).for_each(|(x, split)| *x = *split);
            }
        }
    }
}

/// The first input column of a phase, and its place in the run.
fn phase_start(sizes: Sizes, phase: usize) -> (usize, usize) {
    let place = sizes.padding.saturating_sub(phase).div_ceil(sizes.stride);
    (phase + place * sizes.stride - sizes.padding, place)
}

kernel! {
    /// Writes the sums over the windows; `offsets` and `step` say where they lie in `split`.
    fn correlate(
        split: &[f32], weight: &[f32], offsets: &[usize], step: usize, width: usize,
        out: &mut [f32],
    ) {
        for (group, out) in out.chunks_mut(ROWS * width).enumerate() {
            let first = group * ROWS * step;
            for start in (0..width).step_by(TILE) {
                let place = (first + start, step);
                let size = (width, TILE.min(width - start));
                if out.len() == ROWS * width {
                    tile::<FMA, ROWS>(split, weight, offsets, place, size, &mut out[start..]);
                } else {
                    for (row, out) in out.chunks_exact_mut(width).enumerate() {
                        let place = (first + row * step + start, step);
                        tile::<FMA, 1>(split, weight, offsets, place, size, &mut out[start..]);
                    }
                }
            }
        }
    }
}

/// `R` rows of `count` ≤ `TILE` sums; the rows of `out` start `width` apart.
#[inline(always)]
fn tile<const FMA: bool, const R: usize>(
    split: &[f32],
    weight: &[f32],
    offsets: &[usize],
    (first, step): (usize, usize),
    (width, count): (usize, usize),
    out: &mut [f32],
) {
    let mut values = [[0.0f32; TILE]; R];
    for (w, offset) in weight.iter().zip(offsets) {
        for (row, values) in values.iter_mut().enumerate() {
            let source = &split[first + row * step + offset..][..TILE];
            for (value, x) in values.iter_mut().zip(source) {
                *value = fma::<FMA>(*w, *x, *value);
            }
        }
    }
    for (row, values) in values.iter().enumerate() {
        out[row * width..][..count].copy_from_slice(&values[..count]);
    }
}

kernel! {
    /// Adds each gradient, times the kernel, to the window it came from.
    fn spread(
        g: &[f32], weight: &[f32], offsets: &[usize], step: usize, width: usize,
        split: &mut [f32],
    ) {
        for (y, g) in g.chunks_exact(width).enumerate() {
            for (w, offset) in weight.iter().zip(offsets) {
                let start = y * step + offset;
                for (place, g) in split[start..start + width].iter_mut().zip(g) {
                    *place = fma::<FMA>(*w, *g, *place);
                }
            }
        }
    }
}

kernel! {
    /// Adds the product of gradient and window for each tap of the kernel. The rows of `g` are
    /// `width` long, a multiple of `TILE`, and end in zeros.
    fn gather(
        split: &[f32], g: &[f32], offsets: &[usize], step: usize, width: usize, dw: &mut [f32],
    ) {
        for (dw, offset) in dw.iter_mut().zip(offsets) {
            let mut sums = [0.0f32; TILE];
            for (y, g) in g.chunks_exact(width).enumerate() {
                let source = &split[y * step + offset..][..width];
                for (g, x) in g.as_chunks::<TILE>().0.iter().zip(source.as_chunks::<TILE>().0) {
                    for ((sum, g), x) in sums.iter_mut().zip(g).zip(x) {
                        *sum = fma::<FMA>(*g, *x, *sum);
                    }
                }
            }
            *dw += sum(&sums, |x| x);
        }
    }
}

/// All images and channels: (B, O, H', W').
pub(super) fn forward(x: &[f32], weight: &[f32], sizes: Sizes) -> Vec<f32> {
    let (plane, area, taps) = areas(sizes);
    let shape = Split::of(sizes);
    let (offsets, step) = (shape.offsets(sizes), shape.step(sizes));
    let per_channel = sizes.outputs * area;
    filled(sizes.batch * sizes.out_image(), per_channel, |i, out| {
        let mut split = vec![0.0; shape.len(sizes)];
        shape.fill(&x[i * plane..][..plane], sizes, &mut split);
        let first = i % sizes.groups * sizes.outputs;
        let weight = weight[first * taps..].chunks_exact(taps);
        for (out, weight) in out.chunks_exact_mut(area).zip(weight) {
            correlate(&split, weight, &offsets, step, sizes.out_width, out);
        }
    })
}

/// The gradient of the input.
pub(super) fn input_gradient(weight: &[f32], g: &[f32], sizes: Sizes) -> Vec<f32> {
    let (plane, area, taps) = areas(sizes);
    let shape = Split::of(sizes);
    let (offsets, step) = (shape.offsets(sizes), shape.step(sizes));
    let per_channel = sizes.outputs * area;
    filled(sizes.batch * sizes.image(), plane, |i, dx| {
        let mut split = vec![0.0; shape.len(sizes)];
        let first = i % sizes.groups * sizes.outputs;
        let weight = weight[first * taps..].chunks_exact(taps);
        let g = &g[i * per_channel..][..per_channel];
        for (g, weight) in g.chunks_exact(area).zip(weight) {
            spread(g, weight, &offsets, step, sizes.out_width, &mut split);
        }
        shape.empty(&split, sizes, dx);
    })
}

/// The gradient of the weights, channel by channel.
pub(super) fn weight_gradient(x: &[f32], g: &[f32], sizes: Sizes) -> Vec<f32> {
    let (plane, area, taps) = areas(sizes);
    let shape = Split::of(sizes);
    let (offsets, step) = (shape.offsets(sizes), shape.step(sizes));
    let width = sizes.out_width.next_multiple_of(TILE);
    let mut dw = vec![0.0; sizes.groups * sizes.outputs * taps];
    dw.par_chunks_exact_mut(sizes.outputs * taps).enumerate().for_each(|(channel, dw)| {
        let mut split = vec![0.0; shape.len(sizes)];
        let mut padded = vec![0.0; width * sizes.out_height];
        for image in 0..sizes.batch {
            let i = image * sizes.groups + channel;
            shape.fill(&x[i * plane..][..plane], sizes, &mut split);
            let g = &g[i * sizes.outputs * area..];
            for (g, dw) in g.chunks_exact(area).zip(dw.chunks_exact_mut(taps)) {
                let rows = g.chunks_exact(sizes.out_width).zip(padded.chunks_exact_mut(width));
                rows.for_each(|(g, row)| row[..g.len()].copy_from_slice(g));
                gather(&split, &padded, &offsets, step, width, dw);
            }
        }
    });
    dw
}

/// Numbers of a plane of the input, of the output, and of a kernel.
fn areas(sizes: Sizes) -> (usize, usize, usize) {
    let taps = sizes.kernel * sizes.kernel;
    (sizes.height * sizes.width, sizes.out_height * sizes.out_width, taps)
}
