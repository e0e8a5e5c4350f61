//! Patch embedding of films and volumes: a convolution whose windows do not overlap, as a product.
//!
//! Source: Dosovitskiy et al. 2020, "An Image Is Worth 16x16 Words", arXiv:2010.11929.

use candle::Tensor;
use candle_nn::VarBuilder;

use super::linear::uniform;
use super::prepared::Prepared;
use super::{Bias, Precision, Shadow, Work};
use crate::{Error, Result, kernels};

/// The sizes of a [`PatchEmbed2d`].
#[derive(Clone, Copy, Debug)]
pub struct PatchEmbed2dConfig {
    /// Channels of the film.
    pub in_channels: usize,
    /// Features of a token.
    pub dim: usize,
    /// Pixels of a patch: (rows, columns).
    pub patch: [usize; 2],
    /// Whether a bias is added.
    pub bias: Bias,
}

/// The sizes of a [`PatchEmbed3d`].
#[derive(Clone, Copy, Debug)]
pub struct PatchEmbed3dConfig {
    /// Channels of the volume.
    pub in_channels: usize,
    /// Features of a token.
    pub dim: usize,
    /// Voxels of a patch: (slices, rows, columns).
    pub patch: [usize; 3],
    /// Whether a bias is added.
    pub bias: Bias,
}

/// Films (B, C, H, W) to tokens; parameters `weight` (D, C, h, w) and `bias` (D).
#[derive(Clone, Debug)]
pub struct PatchEmbed2d(Patches<2>);

/// Volumes (B, C, T, H, W) to tokens; parameters `weight` (D, C, t, h, w) and `bias` (D).
#[derive(Clone, Debug)]
pub struct PatchEmbed3d(Patches<3>);

impl PatchEmbed2d {
    /// A layer initialised as PyTorch's convolution.
    pub fn new(config: &PatchEmbed2dConfig, vb: VarBuilder) -> Result<Self> {
        let &PatchEmbed2dConfig { in_channels, dim, patch, bias } = config;
        Ok(Self(Patches::new(in_channels, dim, patch, bias, vb)?))
    }

    /// Maps `x` (B, C, H, W) to (B, N, D), row by row.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.0.forward(x)
    }

    /// The memory of [`Self::forward`].
    #[must_use]
    pub fn trace(&self, x: &Shadow) -> Shadow {
        self.0.trace(x)
    }

    /// Patches along (rows, columns) of a film of `size`.
    pub fn grid(&self, size: [usize; 2]) -> [usize; 2] {
        self.0.grid(size)
    }
}

impl PatchEmbed3d {
    /// A layer initialised as PyTorch's convolution.
    pub fn new(config: &PatchEmbed3dConfig, vb: VarBuilder) -> Result<Self> {
        let &PatchEmbed3dConfig { in_channels, dim, patch, bias } = config;
        Ok(Self(Patches::new(in_channels, dim, patch, bias, vb)?))
    }

    /// Maps `x` (B, C, T, H, W) to (B, N, D), slice by slice, row by row.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.0.forward(x)
    }

    /// The memory of [`Self::forward`].
    #[must_use]
    pub fn trace(&self, x: &Shadow) -> Shadow {
        self.0.trace(x)
    }

    /// Patches along (slices, rows, columns) of a volume of `size`.
    pub fn grid(&self, size: [usize; 3]) -> [usize; 3] {
        self.0.grid(size)
    }
}

#[derive(Clone, Debug)]
struct Patches<const R: usize> {
    weight: Tensor,
    bias: Option<Tensor>,
    prepared: Prepared,
    in_channels: usize,
    patch: [usize; R],
}

impl<const R: usize> Patches<R> {
    fn new(
        in_channels: usize,
        dim: usize,
        patch: [usize; R],
        bias: Bias,
        vb: VarBuilder,
    ) -> Result<Self> {
        if patch.contains(&0) {
            return Err(Error::config("patch", format!("found {patch:?}, expected no zero")));
        }
        let init = uniform(in_channels * patch.iter().product::<usize>());
        let shape = [&[dim, in_channels], patch.as_slice()].concat();
        let weight = vb.get_with_hints(shape, "weight", init)?;
        let bias = match bias {
            Bias::With => Some(vb.get_with_hints(dim, "bias", init)?),
            Bias::Without => None,
        };
        Ok(Self { weight, bias, prepared: Prepared::default(), in_channels, patch })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let rows = patchify(x, self.in_channels, self.patch)?; // (B, N, C·patch)
        let weight = self.weight.flatten_from(1)?;
        self.prepared.linear(&rows, (&weight, Precision::F32), self.bias.as_ref(), None, None)
    }

    fn trace(&self, x: &Shadow) -> Shadow {
        let features = self.in_channels * self.patch.iter().product::<usize>();
        let tokens = x.dims()[1..].iter().product::<usize>() / features;
        let rows = Shadow::made(&[x.dims()[0], tokens, features], &[x], Work::default());
        let weight = x.account().weight(&self.weight);
        let weight = weight.view(&[self.weight.dims()[0], features]);
        Prepared::trace(&rows, (&weight, Precision::F32), self.bias.as_ref(), false, None)
    }

    fn grid(&self, size: [usize; R]) -> [usize; R] {
        std::array::from_fn(|axis| size[axis] / self.patch[axis])
    }
}

/// Cuts `x` (B, C, …) into the rows (B, N, C·patch) of its patches.
pub(super) fn patchify<const R: usize>(
    x: &Tensor,
    channels: usize,
    patch: [usize; R],
) -> Result<Tensor> {
    let sizes = x.dims();
    let fits = sizes.len() == R + 2
        && sizes[1] == channels
        && sizes[2..].iter().zip(&patch).all(|(size, patch)| size % patch == 0);
    if !fits {
        let sides: Vec<String> = patch.iter().map(|side| format!("{side}·n")).collect();
        let expected = format!("(B, {channels}, {})", sides.join(", "));
        return Err(Error::shape("patch embedding", expected, sizes));
    }
    let batch = sizes[0];
    if kernels::serve(&[x]) {
        let mut whole = [1; 3]; // a film is a volume of one slice
        whole[3 - R..].copy_from_slice(&patch);
        let mut shape = vec![batch, channels];
        shape.extend(std::iter::repeat_n(1, 3 - R));
        shape.extend(&sizes[2..]);
        return Ok(kernels::patchify(&x.reshape(shape)?, whole)?);
    }
    let mut split = vec![batch, channels]; // B, C, then (count, side) for each axis
    for (size, side) in sizes[2..].iter().zip(&patch) {
        split.extend([size / side, *side]);
    }
    let counts = (0..R).map(|axis| 2 + 2 * axis);
    let sides = (0..R).map(|axis| 3 + 2 * axis);
    let order: Vec<usize> = std::iter::once(0).chain(counts).chain([1]).chain(sides).collect();
    let tokens = sizes[2..].iter().zip(&patch).map(|(size, side)| size / side).product::<usize>();
    let features = channels * patch.iter().product::<usize>();
    Ok(x.reshape(split)?.permute(order)?.reshape((batch, tokens, features))?)
}
