//! Patch embedding of volumes between two norms.
//!
//! Source: Wu et al. 2023, "Towards Generalist Foundation Model for Radiology" (`RadFM`),
//! arXiv:2308.02463. The numbers of a patch keep the order of its weights: row, column, slice,
//! channel, the last the fastest. Tokens come slice by slice here, not row by row as there.

use candle::Tensor;
use candle_nn::VarBuilder;

use super::patch::patchify;
use super::{LayerNorm, Linear, PatchEmbed3dConfig, Shadow, Work};
use crate::{Error, Result};

/// Volumes (B, C, S, H, W) to tokens; parameters `norm1`, `proj` and `norm2`, where `proj` maps the
/// numbers of a patch to the features.
#[derive(Clone, Debug)]
pub struct NormedPatchEmbed3d {
    norm1: LayerNorm,
    proj: Linear,
    norm2: LayerNorm,
    in_channels: usize,
    patch: [usize; 3],
}

impl NormedPatchEmbed3d {
    /// A layer as `config` says, with `eps` added to the variance in both norms.
    pub fn new(config: &PatchEmbed3dConfig, eps: f64, vb: &VarBuilder) -> Result<Self> {
        let &PatchEmbed3dConfig { in_channels, dim, patch, bias } = config;
        let numbers = in_channels * patch.iter().product::<usize>();
        if numbers == 0 {
            let why = format!("found {patch:?} with {in_channels} channels, expected no zero");
            return Err(Error::config("patch", why));
        }
        Ok(Self {
            norm1: LayerNorm::new(numbers, eps, vb.pp("norm1"))?,
            proj: Linear::new(numbers, dim, bias, vb.pp("proj"))?,
            norm2: LayerNorm::new(dim, eps, vb.pp("norm2"))?,
            in_channels,
            patch,
        })
    }

    /// Maps `x` (B, C, S, H, W) to (B, N, D), slice by slice, row by row.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let grid = self.grid(x.dims())?;
        let (batch, channels, slices, height, width) = x.dims5()?;
        let x = x.permute((0, 3, 4, 2, 1))?; // (B, H, W, S, C)
        let x = x.reshape((batch, 1, height, width, slices * channels))?;
        let [depth, rows, columns] = self.patch;
        let x = patchify(&x, 1, [rows, columns, depth * channels])?; // (B, N, C·patch)
        let x = self.proj.forward(&self.norm1.forward(&x)?)?; // (B, N, D)
        let x = self.norm2.forward(&x)?;
        let (tokens, dim) = (x.dim(1)?, x.dim(2)?);
        if grid[0] == 1 {
            return Ok(x);
        }
        let x = x.reshape((batch, grid[1] * grid[2], grid[0], dim))?.transpose(1, 2)?;
        Ok(x.reshape((batch, tokens, dim))?)
    }

    /// The memory of [`Self::forward`].
    pub fn trace(&self, x: &Shadow) -> Result<Shadow> {
        let [depth, rows, columns] = self.grid(x.dims())?;
        let (batch, tokens) = (x.dims()[0], depth * rows * columns);
        let numbers = self.in_channels * self.patch.iter().product::<usize>();
        let turned = Shadow::shared(x.dims(), &[x]);
        let cut = Shadow::made(&[batch, tokens, numbers], &[&turned], Work::default());
        let x = self.proj.trace(&self.norm1.trace(&cut), false, None);
        let x = self.norm2.trace(&x);
        Ok(if depth == 1 { x } else { Shadow::shared(x.dims(), &[&x]) })
    }

    /// Patches along (slices, rows, columns) of a volume of these sizes (B, C, S, H, W).
    pub fn grid(&self, sizes: &[usize]) -> Result<[usize; 3]> {
        if let &[_, channels, s, h, w] = sizes
            && channels == self.in_channels
            && [s, h, w].iter().zip(&self.patch).all(|(n, side)| *n > 0 && n.is_multiple_of(*side))
        {
            return Ok([s / self.patch[0], h / self.patch[1], w / self.patch[2]]);
        }
        let [slices, rows, columns] = self.patch;
        let expected = format!("(B, {}, {slices}·n, {rows}·n, {columns}·n)", self.in_channels);
        Err(Error::shape("pixels", expected, sizes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::Bias;
    use crate::nn::testing::check_gradients;

    #[test]
    fn normed_patches_have_true_gradients() {
        let bias = Bias::With;
        let config = PatchEmbed3dConfig { in_channels: 2, dim: 3, patch: [2, 1, 3], bias };
        check_gradients(&[&[2, 2, 4, 2, 6]], |x, vb| {
            NormedPatchEmbed3d::new(&config, 1e-5, &vb)?.forward(&x[0])
        });
    }
}
