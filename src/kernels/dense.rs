//! A block of densely connected layers, outside any graph.
//!
//! Source: Huang et al. 2017, "Densely Connected Convolutional Networks", arXiv:1608.06993. Every
//! layer reads what all before it gave. Here they share one wide map, so that nothing is copied
//! together: a layer's norm is applied while its input is laid out for the product, and its
//! result goes to its channels of the map.

use candle::{Result, Shape, Tensor};

use super::buffer::{filled, read};
use super::conv::{Geometry, Sizes};
use super::conv_product::{Finish, Target, convolve};
use super::planes::{Places, Planes};
use super::simd::{fma, kernel};
use super::{activation, buffer};

/// A factor and what is then added, for each channel (C).
pub(crate) type Affine<'a> = (&'a Tensor, &'a Tensor);

/// The weights of one layer, its norms at rest.
#[derive(Clone, Copy)]
pub(crate) struct DenseWeights<'a> {
    /// Applied to the input, before numbers below zero become zero.
    pub(crate) norm1: Affine<'a>,
    /// (I, C, 1, 1)
    pub(crate) conv1: &'a Tensor,
    /// Applied next, likewise.
    pub(crate) norm2: Affine<'a>,
    /// (G, I, 3, 3), with a border of one zero.
    pub(crate) conv2: &'a Tensor,
}

/// `x` (B, C, H, W) and behind it what each layer gives: (B, C + G + …, H, W).
///
/// The caller has checked the shapes.
pub(crate) fn dense_block(x: &Tensor, layers: &[DenseWeights]) -> Result<Tensor> {
    let (batch, channels, height, width) = x.dims4()?;
    let area = height * width;
    let growth = layers.iter().map(|layer| layer.conv2.dim(0)).sum::<Result<usize>>()?;
    let image = (channels + growth) * area;
    let mut wide = read(x, |x| {
        filled(batch * image, image, |i, out| {
            out[..channels * area].copy_from_slice(&x[i * channels * area..][..channels * area]);
        })
    })?;
    let mut inner = Vec::new();
    let mut known = channels;
    for layer in layers {
        let conv = |weight: &Tensor, kernel| {
            let geometry = Geometry { kernel, stride: 1, padding: kernel / 2, groups: 1 };
            let shape = (batch, weight.dim(1)?, height, width).into();
            Sizes::new(&shape, weight.shape(), geometry)
        };
        let (first, second) = (conv(layer.conv1, 1)?, conv(layer.conv2, 3)?);
        let places = Places::of(second);
        let between = Target {
            first: places.row + 1,
            image: second.inputs * places.plane(),
            channel: places.plane(),
            row: places.row,
        };
        // The border and what lies behind the last image stay zero.
        inner.resize(batch * between.image + Planes::SLACK, 0.0);
        let (before, after) = (Numbers::of(layer.norm1)?, Numbers::of(layer.norm2)?);
        let finish = Finish {
            before: Some(before.slices()),
            affine: Some(after.slices()),
            map: Some(activation::RELU.forward),
            ..Finish::default()
        };
        let input = Planes::laid(&wide, first, image);
        read(layer.conv1, |w| {
            convolve(&input, w, first, finish, buffer::as_uninit(&mut inner), between);
        })?;
        let input = Planes::laid(&inner, second, between.image);
        let target = Target { first: known * area, image, channel: area, row: width };
        read(layer.conv2, |w| {
            let out = buffer::as_uninit(&mut wide);
            convolve(&input, w, second, Finish::default(), out, target);
        })?;
        known += second.outputs;
    }
    Tensor::from_vec(wide, (batch, known, height, width), x.device())
}

/// Bytes that a block needs beside its result, for layers whose insides are (B, I, H, W).
pub(crate) fn dense_workspace(inner: [usize; 4]) -> Result<usize> {
    let [batch, channels, ..] = inner;
    let geometry = Geometry { kernel: 3, stride: 1, padding: 1, groups: 1 };
    let sizes = Sizes::new(&Shape::from(&inner), &(1, channels, 3, 3).into(), geometry)?;
    Ok(size_of::<f32>() * (batch * channels * Places::of(sizes).plane() + Planes::SLACK))
}

/// An affine map as slices.
struct Numbers(Vec<f32>, Vec<f32>);

impl Numbers {
    fn of((scale, shift): Affine) -> Result<Self> {
        Ok(Self(scale.to_vec1()?, shift.to_vec1()?))
    }

    fn slices(&self) -> (&[f32], &[f32]) {
        (&self.0, &self.1)
    }
}

kernel! {
    /// Means of two by two places after the affine map, with zero for what is below.
    fn halve(x: &[f32], width: usize, scale: f32, shift: f32, out: &mut [f32]) {
        let value = |x: f32| {
            let y = fma::<FMA>(x, scale, shift);
            if y < 0.0 { 0.0 } else { y }
        };
        for (rows, out) in x.chunks_exact(2 * width).zip(out.chunks_exact_mut(width / 2)) {
            let (above, below) = rows.split_at(width);
            let pairs = above.as_chunks::<2>().0.iter().zip(below.as_chunks::<2>().0);
            for (out, (a, b)) in out.iter_mut().zip(pairs) {
                *out = 0.25 * ((value(a[0]) + value(a[1])) + (value(b[0]) + value(b[1])));
            }
        }
    }
}

/// Means of two by two places of `max(scale · x + shift, 0)`: (B, C, H / 2, W / 2).
pub(crate) fn halve_activated(x: &Tensor, affine: Affine) -> Result<Tensor> {
    let (batch, channels, height, width) = x.dims4()?;
    let affine = Numbers::of(affine)?;
    let (scale, shift) = affine.slices();
    let (h, w) = (height / 2, width / 2);
    let out = read(x, |x| {
        filled(batch * channels * h * w, h * w, |i, out| {
            let x = &x[i * height * width..][..height * width];
            halve(x, width, scale[i % channels], shift[i % channels], out);
        })
    })?;
    Tensor::from_vec(out, (batch, channels, h, w), x.device())
}
