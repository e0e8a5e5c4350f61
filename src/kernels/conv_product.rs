//! Convolution as products in registers, straight from the split planes: nothing is unfolded.
//!
//! Source: Dukhan 2019, "The Indirect Convolution Algorithm", arXiv:1907.02129, for products whose
//! right side is found by a table of places.

use std::cell::RefCell;
use std::ops::Range;

use rayon::prelude::*;

use super::activation::Forward;
use super::conv::Sizes;
use super::planes::Planes;
use super::product::Cells;
use super::simd::{Level, fma, kernel, level};
use super::tile::{self, DEPTH, Right, STRIDE, Start};

/// Places that a task computes together, so that their sums stay in the nearest cache.
const PLACES: usize = 256;
/// Tasks for each thread, where the sizes allow.
const TASKS: usize = 3;

thread_local! {
    /// A block of rows for the product, and the sums of a block.
    static SCRATCH: RefCell<(Vec<f32>, Vec<f32>)> = const { RefCell::new((Vec::new(), Vec::new())) };
}

/// What is done to the sums of a convolution before they are written.
#[derive(Clone, Copy, Default)]
pub(super) struct Finish<'a> {
    /// For each output channel a factor and what is then added, as a batch norm at rest does.
    pub(super) affine: Option<(&'a [f32], &'a [f32])>,
    /// Numbers of the result's shape, added next.
    pub(super) residual: Option<&'a [f32]>,
    /// Applied last.
    pub(super) map: Option<Forward>,
}

/// Every image convolved and finished: (B, O, H', W').
#[allow(unsafe_code)]
pub(super) fn forward(x: &[f32], weight: &[f32], sizes: Sizes, finish: Finish) -> Vec<f32> {
    let level = level();
    let len = sizes.batch * sizes.out_image();
    let mut out: Vec<f32> = Vec::with_capacity(len);
    let planes = Planes::new(x, sizes);
    let rows = (PLACES / planes.row).clamp(1, sizes.out_height);
    let chunks = sizes.out_height.div_ceil(rows);
    let blocks = sizes.outputs.div_ceil(tile::size(level).0);
    let places = sizes.batch * sizes.groups * chunks;
    // Few places: the output channels are cut as well, so that every thread has some tasks.
    let cuts = (TASKS * rayon::current_num_threads()).div_ceil(places.max(1)).clamp(1, blocks);
    let work = Work { planes, weight, sizes, level, finish, out: Cells(out.as_mut_ptr()) };
    (0..places * cuts).into_par_iter().with_max_len(1).for_each(|task| {
        let (cut, task) = (task % cuts, task / cuts);
        let (chunk, group) = (task % chunks, task / chunks);
        let end = ((chunk + 1) * rows).min(sizes.out_height);
        let channels = sizes.outputs * cut / cuts..sizes.outputs * (cut + 1) / cuts;
        work.run((group / sizes.groups, group % sizes.groups), chunk * rows..end, channels);
    });
    // SAFETY: the tasks cover all images, channels and rows, and each wrote all of its part.
    unsafe { out.set_len(len) };
    out
}

struct Work<'a> {
    planes: Planes<'a>,
    weight: &'a [f32],
    sizes: Sizes,
    level: Level,
    finish: Finish<'a>,
    out: Cells,
}

impl Work<'_> {
    /// Output `rows` of some `channels` of one group of one image.
    fn run(&self, (image, group): (usize, usize), rows: Range<usize>, channels: Range<usize>) {
        let (sizes, planes) = (self.sizes, &self.planes);
        let (high, width) = tile::size(self.level);
        // The last row ends with its last output.
        let places = (rows.len() - 1) * planes.row + sizes.out_width;
        let stride = places.next_multiple_of(width);
        let start = image * planes.image + group * planes.group + rows.start * planes.row;
        // Equal blocks rather than full ones and a rest.
        let blocks = channels.len().div_ceil(high);
        SCRATCH.with_borrow_mut(|(block, sums)| {
            block.resize(high * STRIDE, 0.0);
            sums.resize((high * stride).max(sums.len()), 0.0);
            for number in 0..blocks {
                let first = channels.start + channels.len() * number / blocks;
                let end = channels.start + channels.len() * (number + 1) / blocks;
                let first_row = group * sizes.outputs + first;
                self.block(first_row, end - first, start, (places, stride), block, sums);
                for (i, sums) in sums.chunks_exact_mut(stride).take(end - first).enumerate() {
                    self.give(image, first_row + i, &rows, sums);
                }
            }
        });
    }

    /// The sums of `count` output channels over `places` that begin at `start`.
    #[allow(unsafe_code)]
    fn block(
        &self,
        channel: usize,
        count: usize,
        start: usize,
        (places, stride): (usize, usize),
        block: &mut [f32],
        sums: &mut [f32],
    ) {
        let depth = self.sizes.taps();
        let width = tile::size(self.level).1;
        let (values, reach) = (&self.planes.values, self.planes.reach());
        let parts = depth.div_ceil(DEPTH);
        let mut copied = Vec::new();
        for part in 0..parts {
            let taps = depth * part / parts..depth * (part + 1) / parts;
            for (i, to) in block.chunks_exact_mut(STRIDE).take(count).enumerate() {
                let row = &self.weight[(channel + i) * depth..][taps.clone()];
                to[..row.len()].copy_from_slice(row);
            }
            for place in (0..places).step_by(width) {
                let (values, taps) = (&values[start + place..], &self.planes.taps[taps.clone()]);
                let right = if values.len() >= reach + width {
                    Right::Rows { values, places: taps, reach }
                } else {
                    // At the very end of a map that was not copied.
                    gather(values, taps, width, &mut copied);
                    Right::Panel(&copied)
                };
                let out = sums[place..].as_mut_ptr();
                let begun = (part > 0).then_some(Start { rows: out, stride });
                // SAFETY: `level` found the processor's features; `sums` holds `count` rows, each
                // with room for whole tiles; no tap is farther than `reach`.
                unsafe {
                    let size = (count, taps.len());
                    tile::multiply(self.level, size, block, right, begun, (out, stride));
                }
            }
        }
    }

    /// Finishes the sums of one channel and writes them to its rows of the result, without the
    /// places between.
    #[allow(unsafe_code)]
    fn give(&self, image: usize, channel: usize, rows: &Range<usize>, sums: &mut [f32]) {
        let (sizes, row) = (self.sizes, self.planes.row);
        let wide = sizes.out_width;
        let plane = image * sizes.groups * sizes.outputs + channel;
        let start = (plane * sizes.out_height + rows.start) * wide;
        // SAFETY: these rows of this channel lie inside the result and belong to this task alone.
        let out =
            unsafe { std::slice::from_raw_parts_mut(self.out.0.add(start), rows.len() * wide) };
        let Finish { affine, residual, map } = self.finish;
        let (scale, shift) = affine.map_or((1.0, 0.0), |(a, b)| (a[channel], b[channel]));
        for (i, out) in out.chunks_exact_mut(wide).enumerate() {
            let sums = &sums[i * row..][..wide];
            let residual = residual.map(|residual| &residual[start + i * wide..][..wide]);
            match (affine, residual) {
                (None, None) => out.copy_from_slice(sums),
                (_, None) => rescale(sums, scale, shift, out),
                (_, Some(residual)) => rescale_onto(sums, scale, shift, residual, out),
            }
        }
        if let Some(map) = map {
            // The sums have been read: their place serves as what the map reads.
            let before = &mut sums[..out.len()];
            before.copy_from_slice(out);
            map(before, out);
        }
    }
}

kernel! {
    fn rescale(x: &[f32], scale: f32, shift: f32, out: &mut [f32]) {
        for (out, x) in out.iter_mut().zip(x) {
            *out = fma::<FMA>(*x, scale, shift);
        }
    }
}

kernel! {
    fn rescale_onto(x: &[f32], scale: f32, shift: f32, residual: &[f32], out: &mut [f32]) {
        for ((out, x), residual) in out.iter_mut().zip(x).zip(residual) {
            *out = fma::<FMA>(*x, scale, shift) + residual;
        }
    }
}

/// The rows at `places`, filled up with zeros where the values end.
fn gather(values: &[f32], places: &[usize], width: usize, out: &mut Vec<f32>) {
    out.clear();
    out.resize(places.len() * width, 0.0);
    for (out, place) in out.chunks_exact_mut(width).zip(places) {
        let from = values.get(*place..).unwrap_or_default();
        let count = from.len().min(width);
        out[..count].copy_from_slice(&from[..count]);
    }
}

/// The gradient of the input of a convolution with stride 1: a convolution of the gradient `g`
/// with the kernels turned about.
pub(super) fn input_gradient(weight: &[f32], g: &[f32], sizes: Sizes) -> Vec<f32> {
    let area = sizes.kernel * sizes.kernel;
    let mut turned = Vec::with_capacity(weight.len());
    for group in weight.chunks_exact(sizes.outputs * sizes.taps()) {
        for input in 0..sizes.inputs {
            for kernels in group.chunks_exact(sizes.taps()) {
                turned.extend(kernels[input * area..][..area].iter().rev());
            }
        }
    }
    let back = Sizes {
        inputs: sizes.outputs,
        outputs: sizes.inputs,
        height: sizes.out_height,
        width: sizes.out_width,
        out_height: sizes.height,
        out_width: sizes.width,
        padding: sizes.kernel - 1 - sizes.padding,
        ..sizes
    };
    forward(g, &turned, back, Finish::default())
}

/// The gradient of the weights of the taps `some`, over `images`: (G, some, O) with O filled up
/// to whole tiles.
#[allow(unsafe_code)]
pub(super) fn weight_gradient(
    planes: &Planes,
    g: &[f32],
    images: Range<usize>,
    some: &Range<usize>,
    (sizes, level): (Sizes, Level),
) -> Vec<f32> {
    let (high, width) = tile::size(level);
    let outputs = sizes.outputs.next_multiple_of(width);
    let places = (sizes.out_height - 1) * planes.row + sizes.out_width;
    let parts = places.div_ceil(DEPTH);
    let mut dw = vec![0.0; sizes.groups * some.len() * outputs];
    let (mut panels, mut block) = (Vec::new(), vec![0.0; high * STRIDE]);
    for (image, group) in images.flat_map(|i| (0..sizes.groups).map(move |group| (i, group))) {
        let start = image * planes.image + group * planes.group;
        let area = sizes.out_height * sizes.out_width;
        let g = &g[(image * sizes.groups + group) * sizes.outputs * area..][..sizes.outputs * area];
        let dw = &mut dw[group * some.len() * outputs..][..some.len() * outputs];
        for part in 0..parts {
            let depths = places * part / parts..places * (part + 1) / parts;
            turn(g, sizes, planes.row, &depths, width, &mut panels);
            for first in (0..some.len()).step_by(high) {
                let count = high.min(some.len() - first);
                for (i, to) in block.chunks_exact_mut(STRIDE).take(count).enumerate() {
                    let from = start + planes.taps[some.start + first + i] + depths.start;
                    to[..depths.len()].copy_from_slice(&planes.values[from..][..depths.len()]);
                }
                for (p, panel) in panels.chunks_exact(depths.len() * width).enumerate() {
                    let out = dw[first * outputs + p * width..].as_mut_ptr();
                    let begun = Some(Start { rows: out, stride: outputs });
                    // SAFETY: `level` found the processor's features; `count` rows of `dw` begin
                    // here, each with room for this tile.
                    unsafe {
                        let (size, right) = ((count, depths.len()), Right::Panel(panel));
                        tile::multiply(level, size, &block, right, begun, (out, outputs));
                    }
                }
            }
        }
    }
    dw
}

/// The gradient of one group of one image (O, H'·W') as panels (places, width); places that are
/// no outputs get zeros.
fn turn(
    g: &[f32],
    sizes: Sizes,
    row: usize,
    depths: &Range<usize>,
    width: usize,
    panels: &mut Vec<f32>,
) {
    let area = sizes.out_height * sizes.out_width;
    let size = depths.len() * width;
    panels.clear();
    panels.resize(sizes.outputs.div_ceil(width) * size, 0.0);
    for y in depths.start / row..depths.end.div_ceil(row) {
        // The outputs of this row that lie in `depths`, a few at a time, so that the lines they
        // are written to stay in the cache from one channel to the next.
        let outs = (y * row).max(depths.start)..(y * row + sizes.out_width).min(depths.end);
        for start in outs.clone().step_by(SOME) {
            let some = start..(start + SOME).min(outs.end);
            let (from, to) = (start - y * (row - sizes.out_width), start - depths.start);
            for (channel, g) in g.chunks_exact(area).enumerate() {
                let panel = &mut panels[channel / width * size + channel % width..];
                let places = panel[to * width..].iter_mut().step_by(width);
                places.zip(&g[from..from + some.len()]).for_each(|(to, g)| *to = *g);
            }
        }
    }
}

/// Places that are turned together.
const SOME: usize = 16;
