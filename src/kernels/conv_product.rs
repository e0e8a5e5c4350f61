//! Convolution as products in registers, straight from the split planes: nothing is unfolded.
//!
//! Source: Dukhan 2019, "The Indirect Convolution Algorithm", arXiv:1907.02129, for products whose
//! right side is found by a table of places.

use std::cell::RefCell;
use std::mem::MaybeUninit;
use std::ops::Range;

use super::activation::Forward;
use super::conv::Sizes;
use super::crew::{parallel, threads};
use super::planes::{Planes, copy};
use super::product::Cells;
use super::simd::{Level, fma, kernel, level};
use super::tile::{self, Block, DEPTH, Right, STRIDE, Start};

/// Places that a task computes together, so that their sums stay in the nearest cache.
const PLACES: usize = 384;
/// Tasks for each thread, where the sizes allow.
const TASKS: usize = 3;

thread_local! {
    static SCRATCH: RefCell<Scratch> = const { RefCell::new(Scratch::new()) };
}

/// What a task works on.
struct Scratch {
    /// A block of rows for the product.
    block: Vec<f32>,
    /// The sums of a block, and what the nonlinearity makes of one of its rows.
    sums: Vec<f32>,
    mapped: Vec<f32>,
    /// The input, where it is changed before the product.
    changed: Vec<f32>,
}

impl Scratch {
    const fn new() -> Self {
        Self { block: Vec::new(), sums: Vec::new(), mapped: Vec::new(), changed: Vec::new() }
    }
}

/// What is done to the input of a convolution, and to its sums before they are written.
#[derive(Clone, Copy, Default)]
pub(super) struct Finish<'a> {
    /// For each image and input channel a factor of the input; for kernels of one place.
    pub(super) gate: Option<&'a [f32]>,
    /// For each input channel a factor and what is then added, before numbers below zero become
    /// zero; for kernels of one place without groups.
    pub(super) before: Option<(&'a [f32], &'a [f32])>,
    /// For each output channel a factor and what is then added, as a batch norm at rest does.
    pub(super) affine: Option<(&'a [f32], &'a [f32])>,
    /// Numbers of the result's shape, added next.
    pub(super) residual: Option<&'a [f32]>,
    /// Applied last.
    pub(super) map: Option<Forward>,
}

/// Where the rows of a result go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    /// The first number of the first channel.
    pub(super) first: usize,
    /// Numbers from one image to the next, from one channel to the next, from one row to the next.
    pub(super) image: usize,
    pub(super) channel: usize,
    pub(super) row: usize,
}

impl Target {
    /// Rows, channels and images one after the other.
    fn close(sizes: Sizes) -> Self {
        let channel = sizes.out_height * sizes.out_width;
        Self { first: 0, image: sizes.out_image(), channel, row: sizes.out_width }
    }

    /// Where the last number goes.
    fn last(self, sizes: Sizes) -> usize {
        let inside = (sizes.out_height - 1) * self.row + sizes.out_width - 1;
        let channels = sizes.channels() - 1;
        self.first + (sizes.batch - 1) * self.image + channels * self.channel + inside
    }
}

/// Every image convolved and finished: (B, O, H', W').
#[allow(unsafe_code)]
pub(super) fn forward(x: &[f32], weight: &[f32], sizes: Sizes, finish: Finish) -> Vec<f32> {
    let len = sizes.batch * sizes.out_image();
    let mut out: Vec<f32> = Vec::with_capacity(len);
    let spare = &mut out.spare_capacity_mut()[..len];
    convolve(&Planes::new(x, sizes), weight, sizes, finish, spare, Target::close(sizes));
    // SAFETY: `convolve` has written every number.
    unsafe { out.set_len(len) };
    out
}

/// Every image convolved and finished, to its rows of `out`, all of which are written.
pub(super) fn convolve(
    planes: &Planes,
    weight: &[f32],
    sizes: Sizes,
    finish: Finish,
    out: &mut [MaybeUninit<f32>],
    target: Target,
) {
    if sizes.batch == 0 {
        return;
    }
    assert!(target.last(sizes) < out.len(), "room for the result of a convolution");
    assert!(finish.before.is_none() || (sizes.kernel, sizes.groups) == (1, 1), "a plain kernel");
    let level = level();
    let rows = rows_of_a_task(planes.row, sizes, tile::size(level).1);
    let chunks = sizes.out_height.div_ceil(rows);
    let blocks = sizes.outputs.div_ceil(tile::size(level).0);
    let places = sizes.batch * sizes.groups * chunks;
    // Few places: the output channels are cut as well, so that every thread has some tasks.
    // What is changed before the product would be changed anew for each cut.
    let tasks = if finish.before.is_some() { 1 } else { TASKS } * threads();
    let cuts = tasks.div_ceil(places).clamp(1, blocks);
    let out = Cells(out.as_mut_ptr().cast());
    let work = Work { planes, weight, sizes, level, finish, out, target };
    parallel(places * cuts, |task| {
        let (cut, task) = (task % cuts, task / cuts);
        let (chunk, group) = (task % chunks, task / chunks);
        let end = ((chunk + 1) * rows).min(sizes.out_height);
        let channels = sizes.outputs * cut / cuts..sizes.outputs * (cut + 1) / cuts;
        work.run((group / sizes.groups, group % sizes.groups), chunk * rows..end, channels);
    });
}

/// Output rows that a task computes: as many as leave the smallest part of the last tile unused.
fn rows_of_a_task(row: usize, sizes: Sizes, width: usize) -> usize {
    let most = (PLACES / row).clamp(1, sizes.out_height);
    let used = |rows: usize| {
        let places = (rows - 1) * row + sizes.out_width;
        rows * sizes.out_width * PLACES / places.next_multiple_of(width)
    };
    (most.div_ceil(2)..=most).max_by_key(|rows| used(*rows)).unwrap_or(1)
}

struct Work<'a> {
    planes: &'a Planes<'a>,
    weight: &'a [f32],
    sizes: Sizes,
    level: Level,
    finish: Finish<'a>,
    out: Cells,
    target: Target,
}

/// The places that a task computes: the first source of the first one, how many there are, and
/// that filled up to whole tiles.
#[derive(Clone, Copy)]
struct Span {
    start: usize,
    places: usize,
    stride: usize,
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
        let span = Span { start, places, stride };
        // Equal blocks rather than full ones and a rest.
        let blocks = channels.len().div_ceil(high);
        SCRATCH.with_borrow_mut(|Scratch { block, sums, mapped, changed }| {
            block.resize(high * STRIDE, 0.0);
            sums.resize((high * stride).max(sums.len()), 0.0);
            mapped.resize(stride.max(mapped.len()), 0.0);
            self.change(span, changed);
            for number in 0..blocks {
                let first = channels.start + channels.len() * number / blocks;
                let end = channels.start + channels.len() * (number + 1) / blocks;
                let first_row = group * sizes.outputs + first;
                let gate = self.gate(image, group);
                self.block((first_row, end - first), gate, span, changed, block, sums);
                for (i, sums) in sums.chunks_exact_mut(stride).take(end - first).enumerate() {
                    self.give((image, first_row + i), &rows, &mut sums[..places], mapped);
                }
            }
        });
    }

    /// What [`Finish::before`] makes of the places, as panels (depth, width) one after the other.
    fn change(&self, span: Span, changed: &mut Vec<f32>) {
        let Some((scale, shift)) = self.finish.before else { return };
        let width = tile::size(self.level).1;
        let depth = self.sizes.inputs;
        changed.clear();
        changed.resize(span.stride * depth, 0.0);
        for (c, tap) in self.planes.taps.iter().enumerate() {
            let from = &self.planes.values[span.start + tap..][..span.places];
            let panels = &mut changed[c * width..];
            rescale_up(from, scale[c], shift[c], panels, width, width * depth);
        }
    }

    /// The factors of the input channels of one group of one image.
    fn gate(&self, image: usize, group: usize) -> Option<&[f32]> {
        let Sizes { groups, inputs, .. } = self.sizes;
        self.finish.gate.map(|gate| &gate[(image * groups + group) * inputs..][..inputs])
    }

    /// The sums of `count` output channels over `places` that begin at `start`.
    #[allow(unsafe_code)]
    fn block(
        &self,
        (channel, count): (usize, usize),
        gate: Option<&[f32]>,
        Span { start, places, stride }: Span,
        changed: &[f32],
        block: &mut [f32],
        sums: &mut [f32],
    ) {
        let depth = self.sizes.taps();
        let width = tile::size(self.level).1;
        let (values, reach) = (&self.planes.values, self.planes.reach);
        let channels = channel..channel + count;
        let (scales, shifts) = self.finish.affine.unzip();
        let mut starts = [0.0; tile::TILE];
        if let Some(shifts) = shifts {
            let rows = starts.chunks_exact_mut(width).zip(&shifts[channels.clone()]);
            rows.for_each(|(row, shift)| row.fill(*shift));
        }
        let shifted = shifts.map(|_| Start { rows: starts.as_ptr(), stride: width });
        let parts = depth.div_ceil(DEPTH);
        let mut copied = Vec::new();
        for part in 0..parts {
            let taps = depth * part / parts..depth * (part + 1) / parts;
            for (channel, to) in channels.clone().zip(block.chunks_exact_mut(STRIDE)) {
                let row = &self.weight[channel * depth..][taps.clone()];
                let to = &mut to[..row.len()];
                match gate {
                    None => to.copy_from_slice(row),
                    Some(gate) => times(row, &gate[taps.clone()], to),
                }
                if let Some(scales) = scales {
                    for weight in to {
                        *weight *= scales[channel];
                    }
                }
            }
            for place in (0..places).step_by(width) {
                let (values, places) = (&values[start + place..], &self.planes.taps[taps.clone()]);
                let right = if self.finish.before.is_some() {
                    Right::Panel(&changed[place * depth..][taps.start * width..taps.end * width])
                } else if values.len() >= reach + width {
                    Right::Rows { values, places, reach }
                } else {
                    // At the very end of a map that was not copied.
                    gather(values, places, width, &mut copied);
                    Right::Panel(&copied)
                };
                let out = sums[place..].as_mut_ptr();
                let begun = if part > 0 { Some(Start { rows: out, stride }) } else { shifted };
                // SAFETY: `level` found the processor's features; `sums` holds `count` rows, each
                // with room for whole tiles; no tap is farther than `reach`.
                unsafe {
                    let size = (count, taps.len());
                    tile::multiply(
                        self.level,
                        size,
                        Block::Rows(block),
                        right,
                        begun,
                        (out, stride),
                    );
                }
            }
        }
    }

    /// Finishes the sums of one channel and writes them to its rows of the result, without the
    /// places between.
    #[allow(unsafe_code)]
    fn give(
        &self,
        (image, channel): (usize, usize),
        rows: &Range<usize>,
        sums: &mut [f32],
        mapped: &mut [f32],
    ) {
        let (sizes, row, target) = (self.sizes, self.planes.row, self.target);
        let Finish { residual, map, .. } = self.finish;
        if let Some(residual) = residual {
            let plane = image * sizes.channels() + channel;
            let residual = &residual[(plane * sizes.out_height + rows.start) * sizes.out_width..];
            let residual = residual.chunks_exact(sizes.out_width).take(rows.len());
            sums.chunks_mut(row).zip(residual).for_each(|(sums, x)| add(x, &mut sums[..x.len()]));
        }
        let first = target.first + image * target.image + channel * target.channel;
        let to = |y: usize, len: usize| {
            // SAFETY: this row of this channel (or all of the task's) lies inside the result, as
            // `convolve` has checked for the last one, and belongs to this task alone.
            unsafe {
                let start = self.out.0.add(first + y * target.row);
                std::slice::from_raw_parts_mut(start, len)
            }
        };
        // Rows without anything between, here and there, are one.
        if row == sizes.out_width && target.row == row {
            let out = to(rows.start, sums.len());
            match map {
                Some(map) => map(sums, out),
                None => copy(sums, out),
            }
            return;
        }
        let done = match map {
            Some(map) => {
                let mapped = &mut mapped[..sums.len()];
                map(sums, mapped);
                mapped
            }
            None => sums,
        };
        for (y, done) in rows.clone().zip(done.chunks(row)) {
            copy(&done[..sizes.out_width], to(y, sizes.out_width));
        }
    }
}

kernel! {
    fn times(a: &[f32], b: &[f32], out: &mut [f32]) {
        for ((out, a), b) in out.iter_mut().zip(a).zip(b) {
            *out = a * b;
        }
    }
}

kernel! {
    /// Scaled and shifted, with zero for what would be below, cut into parts of `width` that are
    /// written `step` apart.
    fn rescale_up(
        x: &[f32], scale: f32, shift: f32, out: &mut [f32], width: usize, step: usize,
    ) {
        let value = |x: f32| {
            let y = fma::<FMA>(x, scale, shift);
            if y < 0.0 { 0.0 } else { y } // NaN stays NaN
        };
        for (i, x) in x.chunks(width).enumerate() {
            let out = &mut out[i * step..];
            // The widest tile of all processors, in two registers.
            if let (Some(x), Some(out)) = (x.first_chunk::<32>(), out.first_chunk_mut::<32>()) {
                out.iter_mut().zip(x).for_each(|(out, x)| *out = value(*x));
            } else {
                out.iter_mut().zip(x).for_each(|(out, x)| *out = value(*x));
            }
        }
    }
}

kernel! {
    fn add(x: &[f32], sums: &mut [f32]) {
        for (sum, x) in sums.iter_mut().zip(x) {
            *sum += x;
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
