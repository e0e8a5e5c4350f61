//! The gradients of a convolution as products in registers, from the split planes.

use std::ops::Range;

use super::conv::Sizes;
use super::conv_product::{Finish, forward};
use super::planes::Planes;
use super::simd::Level;
use super::tile::{self, Block, DEPTH, Right, STRIDE, Start};

/// Places that are turned together.
const SOME: usize = 16;

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
                        tile::multiply(
                            level,
                            size,
                            Block::Rows(&block),
                            right,
                            begun,
                            (out, outputs),
                        );
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
