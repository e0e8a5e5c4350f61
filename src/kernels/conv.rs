//! Two-dimensional convolution as a candle operation: which way it goes, forward and back.
//!
//! Source: Chellapilla et al. 2006, "High Performance Convolutional Neural Networks for Document
//! Processing", for the gradient of the input where the stride is larger than one: unfolded in
//! blocks by a product, then folded back. The other ways are in `conv_product`, `conv_gradient` and `depthwise`.

use candle::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};

use super::activation::Forward;
use super::buffer::{filled, read, read_any, slice, tensor, total};
use super::conv_product::Finish;
use super::crew::{map, threads};
use super::gemm::{Into, Matrix, Threads, multiply};
use super::planes::Planes;
use super::simd::level;
use super::tape::apply2;
use super::unfold::fold_rows;
use super::{conv_gradient, conv_product, depthwise, tile};

/// Unfolded numbers held at once by a task, so that they stay in its cache,
const UNFOLDED: usize = 1 << 16;
/// unless that leaves fewer columns than a product needs to run well.
const COLUMNS: usize = 128;
/// The batch is split in at most this many parts for the gradient of the weights.
const PARTS: usize = 8;

/// The sizes of one convolution. Height and width are of the input.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Geometry {
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    pub(crate) padding: usize,
    pub(crate) groups: usize,
}

/// Convolves `x` (B, C, H, W) with `weight` (O, C / G, K, K): (B, O, H', W').
///
/// The caller has checked that at least one window fits.
pub(crate) fn conv2d(x: &Tensor, weight: &Tensor, geometry: Geometry) -> Result<Tensor> {
    apply2(&x.contiguous()?, &weight.contiguous()?, Conv(geometry))
}

/// Bytes that a convolution of `x` needs beside its result, forward and backward.
pub(crate) fn conv2d_workspace(
    x: &[usize],
    weight: &[usize],
    geometry: Geometry,
) -> Result<[usize; 2]> {
    let sizes = Sizes::new(&Shape::from(x), &Shape::from(weight), geometry)?;
    if sizes.depthwise() {
        return Ok([0; 2]);
    }
    let planes = Planes::bytes(sizes);
    let (_, parts, cuts) = sizes.shares();
    let outputs = sizes.outputs.next_multiple_of(tile::size(level()).1);
    let weights = sizes.groups * sizes.taps() * outputs * size_of::<f32>();
    // The partial sums of all tasks, and the total of one cut of the taps.
    Ok([planes, planes + parts * weights + weights / cuts])
}

/// What surrounds a convolution of inference, done while its numbers are in the cache.
#[derive(Clone, Copy)]
pub(crate) struct ConvFollowing<'a> {
    /// A factor for each input channel of each image (B, C); for kernels of one place.
    pub(crate) gate: Option<&'a Tensor>,
    /// A factor for each output channel (O).
    pub(crate) scale: &'a Tensor,
    /// What is then added to each output channel (O).
    pub(crate) shift: &'a Tensor,
    /// What is added next, of the result's shape.
    pub(crate) residual: Option<&'a Tensor>,
    /// Applied last.
    pub(crate) map: Option<Forward>,
}

/// [`conv2d`] and what surrounds it. Outside any graph: no gradient passes. `None` for what has no
/// way of its own: a depthwise convolution onto a residual, a gate before a larger kernel.
pub(crate) fn conv2d_finished(
    x: &Tensor,
    weight: &Tensor,
    geometry: Geometry,
    then: ConvFollowing,
) -> Result<Option<Tensor>> {
    let sizes = Sizes::new(x.shape(), weight.shape(), geometry)?;
    if sizes.depthwise() && then.gate.is_none() && then.residual.is_none() {
        return Ok(Some(depthwise_finished(x, weight, geometry, then)?.0));
    }
    if sizes.depthwise() || (then.gate.is_some() && sizes.kernel > 1) {
        return Ok(None);
    }
    let shape = sizes.out_shape();
    let (scale, shift) = affine(sizes, then)?;
    if let Some(residual) = then.residual.filter(|residual| residual.shape() != &shape) {
        candle::bail!("a residual of {:?} beside {:?}", residual.dims(), shape.dims());
    }
    let inputs = (sizes.batch, sizes.groups * sizes.inputs);
    if let Some(gate) = then.gate.filter(|gate| gate.dims2().ok() != Some(inputs)) {
        candle::bail!("a gate of {:?} before {inputs:?}", gate.dims());
    }
    let run = |x: &[f32], weight: &[f32], residual: Option<&[f32]>, gate: Option<&[f32]>| {
        let affine = Some((&*scale, &*shift));
        let finish = Finish { gate, affine, residual, map: then.map, ..Finish::default() };
        conv_product::forward(x, weight, sizes, finish)
    };
    let out = read(x, |x| {
        read(weight, |weight| {
            read_any(then.residual, |residual| {
                read_any(then.gate, |gate| run(x, weight, residual, gate))
            })
        })
    })????;
    Ok(Some(Tensor::from_vec(out, shape, x.device())?))
}

/// A depthwise convolution and what follows, and the mean of each plane of the result (B, O).
/// Outside any graph; `then` has neither gate nor residual.
pub(crate) fn depthwise_finished(
    x: &Tensor,
    weight: &Tensor,
    geometry: Geometry,
    then: ConvFollowing,
) -> Result<(Tensor, Tensor)> {
    let sizes = Sizes::new(x.shape(), weight.shape(), geometry)?;
    let (scale, shift) = affine(sizes, then)?;
    let finish = depthwise::Finish { affine: Some((&scale, &shift)), map: then.map };
    let run = |x: &[f32], weight: &[f32]| depthwise::forward_summed(x, weight, sizes, finish);
    let (out, mut sums) = read(x, |x| read(weight, |weight| run(x, weight)))??;
    let area = (sizes.out_height * sizes.out_width) as f32;
    for sum in &mut sums {
        *sum /= area;
    }
    let means = Tensor::from_vec(sums, (sizes.batch, sizes.channels()), x.device())?;
    Ok((Tensor::from_vec(out, sizes.out_shape(), x.device())?, means))
}

/// The factors and shifts of all output channels.
fn affine(sizes: Sizes, then: ConvFollowing) -> Result<(Vec<f32>, Vec<f32>)> {
    let (scale, shift) = (then.scale.to_vec1()?, then.shift.to_vec1()?);
    let channels = sizes.channels();
    if scale.len() != channels || shift.len() != channels {
        candle::bail!("{channels} channels, {} factors, {} shifts", scale.len(), shift.len());
    }
    Ok((scale, shift))
}

/// All sizes, per group where they differ by group.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) batch: usize,
    pub(super) groups: usize,
    /// Input channels of a group.
    pub(super) inputs: usize,
    /// Output channels of a group.
    pub(super) outputs: usize,
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) out_height: usize,
    pub(super) out_width: usize,
    pub(super) kernel: usize,
    pub(super) stride: usize,
    pub(super) padding: usize,
}

impl Sizes {
    pub(super) fn new(x: &Shape, weight: &Shape, geometry: Geometry) -> Result<Self> {
        let (batch, channels, height, width) = x.dims4()?;
        let Geometry { kernel, stride, padding, groups } = geometry;
        let out = |size: usize| (size + 2 * padding - kernel) / stride + 1;
        Ok(Self {
            batch,
            groups,
            inputs: channels / groups,
            outputs: weight.dims4()?.0 / groups,
            height,
            width,
            out_height: out(height),
            out_width: out(width),
            kernel,
            stride,
            padding,
        })
    }

    /// Numbers of one image of the input.
    pub(super) fn image(&self) -> usize {
        self.groups * self.inputs * self.height * self.width
    }

    /// Numbers of one image of the output.
    pub(super) fn out_image(&self) -> usize {
        self.channels() * self.out_height * self.out_width
    }

    /// Output channels of all groups.
    pub(super) fn channels(&self) -> usize {
        self.groups * self.outputs
    }

    fn out_shape(&self) -> Shape {
        Shape::from((self.batch, self.channels(), self.out_height, self.out_width))
    }

    /// Numbers that one output value is made from.
    pub(super) fn taps(&self) -> usize {
        self.inputs * self.kernel * self.kernel
    }

    /// Whether the input already is its own unfolding.
    pub(super) fn plain(&self) -> bool {
        self.kernel == 1 && self.stride == 1 && self.padding == 0
    }

    /// How the gradient of the weights is shared out: images for each part of the batch, parts,
    /// and cuts of the taps.
    fn shares(&self) -> (usize, usize, usize) {
        let images = self.batch.div_ceil(PARTS).max(1);
        let parts = self.batch.div_ceil(images);
        // Taps are summed each by itself, so that cutting them changes no result.
        let most = self.taps().div_ceil(tile::size(level()).0);
        let cuts = (2 * threads()).div_ceil(parts.max(1)).clamp(1, most);
        (images, parts, cuts)
    }

    fn depthwise(&self) -> bool {
        self.inputs == 1 && self.outputs <= 2 && self.groups > 1
    }

    /// Rows of the output that are unfolded together.
    fn block(&self) -> usize {
        let cached = UNFOLDED / (self.taps() * self.out_width);
        cached.max(COLUMNS.div_ceil(self.out_width)).min(self.out_height)
    }

    /// Calls `work` with each block of output rows: (first, count).
    fn blocks(&self, mut work: impl FnMut(usize, usize)) {
        let block = self.block();
        for first in (0..self.out_height).step_by(block) {
            work(first, block.min(self.out_height - first));
        }
    }
}

struct Conv(Geometry);

impl CustomOp2 for Conv {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let sizes = Sizes::new(x_layout.shape(), weight_layout.shape(), self.0)?;
        let (x, weight) = (slice(x, x_layout)?, slice(weight, weight_layout)?);
        let out = if sizes.depthwise() {
            depthwise::forward(x, weight, sizes, depthwise::Finish::default())
        } else {
            conv_product::forward(x, weight, sizes, Finish::default())
        };
        Ok((CpuStorage::F32(out), sizes.out_shape()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let sizes = Sizes::new(x.shape(), weight.shape(), self.0)?;
        read(grad, |g| {
            let dx = if x.track_op() {
                Some(tensor(read(weight, |weight| input_gradient(weight, g, sizes))?, x)?)
            } else {
                None
            };
            let dw = if weight.track_op() {
                Some(tensor(read(x, |x| weight_gradient(x, g, sizes))?, weight)?)
            } else {
                None
            };
            Ok((dx, dw))
        })?
    }
}

/// The gradient of the input.
fn input_gradient(weight: &[f32], g: &[f32], sizes: Sizes) -> Vec<f32> {
    if sizes.depthwise() {
        return depthwise::input_gradient(weight, g, sizes);
    }
    if sizes.stride == 1 && sizes.padding < sizes.kernel {
        return conv_gradient::input_gradient(weight, g, sizes);
    }
    let threads = Threads::beside(sizes.batch);
    filled(sizes.batch * sizes.image(), sizes.image(), |i, dx| {
        let g = &g[i * sizes.out_image()..][..sizes.out_image()];
        image_gradient(weight, g, sizes, dx, threads);
    })
}

/// Transposed weight times gradient, folded back, for one image.
fn image_gradient(weight: &[f32], g: &[f32], sizes: Sizes, dx: &mut [f32], threads: Threads) {
    let (plane, area) =
        (sizes.inputs * sizes.height * sizes.width, sizes.out_height * sizes.out_width);
    let mut unfolded = Vec::new();
    let groups = weight.chunks_exact(sizes.outputs * sizes.taps());
    let groups = groups.zip(g.chunks_exact(sizes.outputs * area));
    for ((weight, g), dx) in groups.zip(dx.chunks_exact_mut(plane)) {
        let weight = Matrix::new(weight, sizes.outputs, sizes.taps()).transposed();
        sizes.blocks(|first, count| {
            let columns = count * sizes.out_width;
            unfolded.resize(sizes.taps() * columns, 0.0);
            let g = Matrix::strided(&g[first * sizes.out_width..], sizes.outputs, columns, area);
            multiply(weight, g, 1.0, &mut unfolded, columns, Into::Fresh, threads);
            fold_rows(&unfolded, sizes, first, count, dx, threads);
        });
    }
}

/// The gradient of the weights, summed over fixed parts of the batch.
fn weight_gradient(x: &[f32], g: &[f32], sizes: Sizes) -> Vec<f32> {
    if sizes.depthwise() {
        return depthwise::weight_gradient(x, g, sizes);
    }
    let level = level();
    let planes = Planes::new(x, sizes);
    let (images, parts, cuts) = sizes.shares();
    let some = |cut: usize| sizes.taps() * cut / cuts..sizes.taps() * (cut + 1) / cuts;
    let tasks = map(cuts * parts, |task| {
        let (cut, first) = (task / parts, task % parts * images);
        let images = first..(first + images).min(sizes.batch);
        conv_gradient::weight_gradient(&planes, g, images, &some(cut), (sizes, level))
    });
    let mut tasks = tasks.into_iter();
    let outputs = sizes.outputs.next_multiple_of(tile::size(level).1);
    let mut dw = vec![0.0; sizes.groups * sizes.outputs * sizes.taps()];
    for cut in 0..cuts {
        let some = some(cut);
        let sum = total(tasks.by_ref().take(parts).collect(), sizes.groups * some.len() * outputs);
        // From (G, taps, outputs and more) to (G, outputs, taps).
        for (row, dw) in dw.chunks_exact_mut(sizes.taps()).enumerate() {
            let (group, output) = (row / sizes.outputs, row % sizes.outputs);
            let column = sum[group * some.len() * outputs + output..].iter().step_by(outputs);
            dw[some.clone()].iter_mut().zip(column).for_each(|(dw, x)| *dw = *x);
        }
    }
    dw
}
