//! Convolution of each channel by itself, without unfolding.
//!
//! A padded plane is split by rows and columns modulo the stride, so that one run over it gives
//! all outputs: rows follow one another, and every tap lies at a fixed distance. A plane stays in
//! the nearest cache from its splitting to its finished outputs.

use std::cell::RefCell;

use super::activation::Forward;
use super::buffer::{Blank, copied, filled, written_with, zeroed};
use super::conv::Sizes;
use super::crew::{each, parts};
use super::planes::{Places, copy_rows};
use super::runs::Runs;
use super::simd::{fma, kernel, sum};

/// Numbers of the widest register.
const LANES: usize = 16;
/// Taps whose gradients are summed together.
const TAPS: usize = 5;

thread_local! {
    /// A split plane, and its sums.
    static SCRATCH: RefCell<[Vec<f32>; 2]> = const { RefCell::new([const { Vec::new() }; 2]) };
}

/// What is done to the sums before they are written.
#[derive(Clone, Copy, Default)]
pub(super) struct Finish<'a> {
    /// For each output channel a factor and what is then added.
    pub(super) affine: Option<(&'a [f32], &'a [f32])>,
    /// Applied last.
    pub(super) map: Option<Forward>,
}

kernel! {
    /// Adds the product of gradient and source for each tap; `g` has whole blocks of `LANES`.
    fn gather(source: &[f32], g: &[f32], taps: &[usize], dw: &mut [f32]) {
        for (dw, taps) in dw.chunks_mut(TAPS).zip(taps.chunks(TAPS)) {
            match taps.len() {
                1 => gather_some::<FMA, 1>(source, g, taps, dw),
                2 => gather_some::<FMA, 2>(source, g, taps, dw),
                3 => gather_some::<FMA, 3>(source, g, taps, dw),
                4 => gather_some::<FMA, 4>(source, g, taps, dw),
                _ => gather_some::<FMA, TAPS>(source, g, taps, dw),
            }
        }
    }
}

#[inline(always)]
fn gather_some<const FMA: bool, const N: usize>(
    source: &[f32],
    g: &[f32],
    taps: &[usize],
    dw: &mut [f32],
) {
    let mut sums = [[0f32; LANES]; N];
    for (i, g) in g.as_chunks::<LANES>().0.iter().enumerate() {
        for (sums, tap) in sums.iter_mut().zip(taps) {
            let from = &source[i * LANES + tap..][..LANES];
            for ((sum, g), x) in sums.iter_mut().zip(g).zip(from) {
                *sum = fma::<FMA>(*g, *x, *sum);
            }
        }
    }
    for (dw, sums) in dw.iter_mut().zip(&sums) {
        *dw += sum(sums, |x| x);
    }
}

kernel! {
    fn plane_sum(x: &[f32]) -> f32 {
        sum(x, |x| x)
    }
}

/// Where everything lies for one kind of plane.
struct Plan {
    sizes: Sizes,
    places: Places,
    /// How far from an output's place the source of each tap lies.
    taps: Vec<usize>,
    /// Places of all outputs, filled up to whole registers.
    span: usize,
    /// Numbers of a split plane that may be read.
    len: usize,
}

impl Plan {
    fn new(sizes: Sizes) -> Self {
        let places = Places::of(sizes);
        let kernel = 0..sizes.kernel;
        let taps = kernel.clone().flat_map(|y| kernel.clone().map(move |x| (y, x)));
        let taps: Vec<usize> = taps.map(|(y, x)| places.tap(y, x, sizes.stride)).collect();
        let span = places.span(sizes).next_multiple_of(LANES);
        let reach = taps.iter().copied().max().unwrap_or(0);
        let len = places.plane().max(reach + span);
        Self { sizes, places, taps, span, len }
    }

    /// The numbers of the taps of one phase, column by column, from above.
    fn columns(&self, phase: usize) -> Vec<Vec<usize>> {
        let Sizes { kernel, stride, .. } = self.sizes;
        let (below, beside) = (phase / self.places.phases, phase % self.places.phases);
        let column = |x| (below..kernel).step_by(stride).map(|y| y * kernel + x).collect();
        (beside..kernel).step_by(stride).map(column).collect()
    }

    /// All taps, for the outputs.
    fn runs(&self) -> Runs {
        let phases = 0..self.places.phases.pow(2);
        let columns: Vec<_> = phases
            .flat_map(|phase| self.columns(phase))
            .map(|column| (self.taps[column[0]], column))
            .collect();
        Runs::new(self.places.row, [self.sizes.out_height, self.sizes.out_width], &columns)
    }

    /// Splits a plane into `split`, with zeros behind.
    fn split(&self, x: &[f32], len: usize, split: &mut Vec<f32>) {
        split.clear();
        split.resize(len.max(self.len), 0.0);
        self.places.split(x, self.sizes, split);
    }

    /// The gradient of a plane in the places of its outputs, zeros between.
    fn spread(&self, g: &[f32], out: &mut [f32]) {
        let width = self.sizes.out_width;
        copy_rows(g, width, width, out, self.places.row);
    }
}

/// All images and channels, finished: (B, O, H', W').
pub(super) fn forward(x: &[f32], weight: &[f32], sizes: Sizes, finish: Finish) -> Vec<f32> {
    forward_with(x, weight, sizes, finish, |_| ()).0
}

/// As [`forward`], with the sum of each plane.
pub(super) fn forward_summed(
    x: &[f32],
    weight: &[f32],
    sizes: Sizes,
    finish: Finish,
) -> (Vec<f32>, Vec<f32>) {
    forward_with(x, weight, sizes, finish, plane_sum)
}

/// As [`forward`], with what `after` makes of each plane.
#[allow(unsafe_code)]
fn forward_with<T: Send>(
    x: &[f32],
    weight: &[f32],
    sizes: Sizes,
    finish: Finish,
    after: impl Fn(&[f32]) -> T + Sync,
) -> (Vec<f32>, Vec<T>) {
    let plan = Plan::new(sizes);
    let runs = plan.runs();
    let len = plan.len.max(runs.reach());
    let (plane, area, taps) = areas(sizes);
    let channels = sizes.groups * sizes.outputs;
    let mut ordered = Vec::with_capacity(weight.len());
    for (channel, kernel) in weight.chunks_exact(taps).enumerate() {
        let scale = finish.affine.map_or(1.0, |(scale, _)| scale[channel]);
        ordered.extend(runs.order.iter().map(|tap| kernel[*tap] * scale));
    }
    let one = |i: usize, out: &mut [Blank]| {
        let (image, channel) = (i / channels, i % channels);
        let from = image * sizes.groups + channel / sizes.outputs;
        let weight = &ordered[channel * taps..][..taps];
        let start = finish.affine.map_or(0.0, |(_, shift)| shift[channel]);
        SCRATCH.with_borrow_mut(|[split, sums]| {
            plan.split(&x[from * plane..][..plane], len, split);
            let sums = runs.correlate(split, weight, start, sums);
            after(match finish.map {
                None => copied(sums, out),
                Some(map) => {
                    let out = zeroed(out);
                    map(sums, out);
                    out
                }
            })
        })
    };
    // SAFETY: a plane is written as a whole.
    unsafe { written_with(sizes.batch * sizes.out_image(), area, one) }
}

/// The gradient of the input: for each phase of it the gradients its numbers went into, times
/// the taps by which they did.
pub(super) fn input_gradient(weight: &[f32], g: &[f32], sizes: Sizes) -> Vec<f32> {
    let plan = Plan::new(sizes);
    let (plane, area, taps) = areas(sizes);
    let Places { row, phase, phases } = plan.places;
    // Places of a phase that the farthest tap lies behind.
    let lead = (sizes.kernel - 1) / sizes.stride * (row + 1);
    let long = lead + phase;
    // By phase of the input: the taps that lead there from each output channel. The last of a
    // column lies farthest back in the gradients, so it comes first.
    let ways = (0..phases * phases).map(|number| {
        let mut columns = Vec::new();
        for output in 0..sizes.outputs {
            for mut column in plan.columns(number) {
                column.reverse();
                let back = plan.taps[column[0]] - number * phase;
                for tap in &mut column {
                    *tap += output * taps;
                }
                columns.push((output * long + lead - back, column));
            }
        }
        Runs::new(row, [phase / row, row], &columns)
    });
    let ways: Vec<Runs> = ways.collect();
    let len = ways.iter().map(Runs::reach).max().unwrap_or(0).max(sizes.outputs * long);
    filled(sizes.batch * sizes.image(), plane, |i, dx| {
        let first = i % sizes.groups * sizes.outputs;
        let weight = &weight[first * taps..][..sizes.outputs * taps];
        let g = &g[i * sizes.outputs * area..][..sizes.outputs * area];
        SCRATCH.with_borrow_mut(|[spread, sums]| {
            spread.clear();
            spread.resize(len, 0.0);
            for (g, spread) in g.chunks_exact(area).zip(spread.chunks_exact_mut(long)) {
                plan.spread(g, &mut spread[lead..]);
            }
            for (number, ways) in ways.iter().enumerate() {
                let weight: Vec<f32> = ways.order.iter().map(|tap| weight[*tap]).collect();
                plan.places.join(number, ways.correlate(spread, &weight, 0.0, sums), sizes, dx);
            }
        });
    })
}

/// The gradient of the weights, channel by channel.
pub(super) fn weight_gradient(x: &[f32], g: &[f32], sizes: Sizes) -> Vec<f32> {
    let plan = Plan::new(sizes);
    let (plane, area, taps) = areas(sizes);
    let mut dw = vec![0.0; sizes.groups * sizes.outputs * taps];
    each(parts(&mut dw, sizes.outputs * taps), 1, |channel, dw| {
        SCRATCH.with_borrow_mut(|[split, spread]| {
            spread.clear();
            spread.resize(plan.span, 0.0);
            for image in 0..sizes.batch {
                let i = image * sizes.groups + channel;
                plan.split(&x[i * plane..][..plane], plan.len, split);
                let g = &g[i * sizes.outputs * area..];
                for (g, dw) in g.chunks_exact(area).zip(dw.chunks_exact_mut(taps)) {
                    plan.spread(g, spread);
                    gather(split, spread, &plan.taps, dw);
                }
            }
        });
    });
    dw
}

/// Numbers of a plane of the input, of the output, and of a kernel.
fn areas(sizes: Sizes) -> (usize, usize, usize) {
    let taps = sizes.kernel * sizes.kernel;
    (sizes.height * sizes.width, sizes.out_height * sizes.out_width, taps)
}

#[cfg(test)]
mod tests {
    use candle::Shape;
    use proptest::prelude::*;

    use super::super::RELU;
    use super::super::conv::Geometry;
    use super::super::naive::numbers;
    use super::super::simd::forced::on_every_path;
    use super::*;

    /// Forward, gradient of the input and of the weights, as defined, in float64.
    fn defined(x: &[f32], w: &[f32], g: &[f32], sizes: Sizes) -> [Vec<f64>; 3] {
        let (plane, area, taps) = areas(sizes);
        let mut out = vec![0.0; sizes.batch * sizes.out_image()];
        let (mut dx, mut dw) = (vec![0.0; x.len()], vec![0.0; w.len()]);
        for place in 0..out.len() {
            let (channel, at) = (place / area % sizes.channels(), place % area);
            let from = place / area / sizes.channels() * sizes.groups + channel / sizes.outputs;
            for tap in 0..taps {
                let step = (sizes.stride, sizes.padding);
                let y = at / sizes.out_width * step.0 + tap / sizes.kernel;
                let x_at = at % sizes.out_width * step.0 + tap % sizes.kernel;
                let (y, x_at) = (y.wrapping_sub(step.1), x_at.wrapping_sub(step.1));
                if y < sizes.height && x_at < sizes.width {
                    let source = from * plane + y * sizes.width + x_at;
                    let (x, w) = (f64::from(x[source]), f64::from(w[channel * taps + tap]));
                    out[place] += x * w;
                    dx[source] += f64::from(g[place]) * w;
                    dw[channel * taps + tap] += f64::from(g[place]) * x;
                }
            }
        }
        [out, dx, dw]
    }

    fn close(found: &[f32], expected: &[f64]) -> std::result::Result<(), TestCaseError> {
        prop_assert_eq!(found.len(), expected.len());
        let scale = expected.iter().fold(1.0, |most: f64, x| most.max(x.abs()));
        for (found, expected) in found.iter().zip(expected) {
            let error = (f64::from(*found) - expected).abs();
            prop_assert!(error < 1e-5 * scale, "{found} instead of {expected}");
        }
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn every_shape_gives_what_is_defined(
            batch in 0usize..3, groups in 2usize..5, outputs in 1usize..3, height in 1usize..20,
            width in 1usize..40, kernel in 1usize..8, stride in 1usize..5, padding in 0usize..4,
            finished in any::<bool>(),
        ) {
            prop_assume!(height.min(width) + 2 * padding >= kernel);
            let geometry = Geometry { kernel, stride, padding, groups };
            let shape = Shape::from((batch, groups, height, width));
            let weights = Shape::from((groups * outputs, 1, kernel, kernel));
            let sizes = Sizes::new(&shape, &weights, geometry).unwrap();
            let (x, w) = (numbers(shape.elem_count(), 1), numbers(weights.elem_count(), 2));
            let g = numbers(batch * sizes.out_image(), 3);
            let (scale, shift) = (numbers(sizes.channels(), 4), numbers(sizes.channels(), 5));
            let [mut out, dx, dw] = defined(&x, &w, &g, sizes);
            let (_, area, _) = areas(sizes);
            let mut finish = Finish::default();
            if finished {
                finish = Finish { affine: Some((&scale, &shift)), map: Some(RELU.forward) };
                for (i, out) in out.iter_mut().enumerate() {
                    let c = i / area % sizes.channels();
                    *out = (*out * f64::from(scale[c]) + f64::from(shift[c])).max(0.0);
                }
            }
            let expected: Vec<f64> = out.chunks_exact(area).map(|plane| plane.iter().sum()).collect();
            for found in on_every_path(|| {
                let (found, sums) = forward_summed(&x, &w, sizes, finish);
                let alone = forward(&x, &w, sizes, finish);
                [found, sums, alone, input_gradient(&w, &g, sizes), weight_gradient(&x, &g, sizes)]
            }) {
                for (found, expected) in found.iter().zip([&out, &expected, &out, &dx, &dw]) {
                    close(found, expected)?;
                }
            }
        }
    }
}
