//! The vision transformer of `RadFM`, on films and volumes of any size that its patches divide.
//!
//! Source: Wu et al. 2023, "Towards Generalist Foundation Model for Radiology", arXiv:2308.02463.
//! A film is a volume of four equal slices there. Differs in that dropout omits single values of
//! the tokens and of the branches only, not weights of the attention nor values inside the
//! feed-forward branch, and in that tokens come slice by slice.

use candle::Tensor;
use candle_nn::VarBuilder;
use serde::{Deserialize, Serialize};

use super::{TokenGrid, VisionEncoder};
use crate::nn::limits::{chance, small, within};
use crate::nn::{
    AttentionConfig, AttentionInput, AxialPlaces, Bias, Block, BlockConfig, Dropout, Linear,
    NormedPatchEmbed3d, Pass, PatchEmbed3dConfig, Shadow,
};
use crate::{Error, Result};

/// Sizes of a [`Vit3d`]; the default is the published one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Vit3dConfig {
    /// Channels of the volume.
    pub channels: usize,
    /// Voxels of a patch: (slices, rows, columns).
    pub patch: [usize; 3],
    /// The most patches along (slices, rows, columns): rows of the tables of places.
    pub tables: [usize; 3],
    /// Features of a token, three times a number.
    pub dim: usize,
    /// Blocks.
    pub depth: usize,
    /// Attention heads.
    pub heads: usize,
    /// Features of a head.
    pub head_dim: usize,
    /// Features inside the feed-forward branch.
    pub mlp_dim: usize,
    /// Added to the variance in every norm.
    pub norm_eps: f64,
    /// Probability of omitting single values of the tokens and of a branch.
    pub dropout: f64,
}

impl Default for Vit3dConfig {
    fn default() -> Self {
        Self {
            channels: 3,
            patch: [4, 32, 32],
            tables: [128, 16, 16],
            dim: 768,
            depth: 12,
            heads: 8,
            head_dim: 64,
            mlp_dim: 2048,
            norm_eps: 1e-5,
            dropout: 0.1,
        }
    }
}

impl Vit3dConfig {
    /// Features of a token.
    pub fn token_dim(&self) -> usize {
        self.dim
    }

    /// Refuses what no model can be built from, naming the field.
    pub fn validate(&self) -> Result<()> {
        let [patch, tables] = [self.patch, self.tables];
        let sizes = [
            ("channels", self.channels, 64),
            ("patch", patch[0], 512),
            ("patch", patch[1], 512),
            ("patch", patch[2], 512),
            ("tables", tables[0], 8192),
            ("tables", tables[1], 8192),
            ("tables", tables[2], 8192),
            ("dim", self.dim, 16_384),
            ("depth", self.depth, 256),
            ("heads", self.heads, 1024),
            ("head_dim", self.head_dim, 1024),
            ("mlp_dim", self.mlp_dim, 65_536),
        ];
        for (field, found, most) in sizes {
            within(format!("image.{field}"), found, most)?;
        }
        if !self.dim.is_multiple_of(3) {
            let why = format!("found {}, expected a multiple of 3", self.dim);
            return Err(Error::config("image.dim", why));
        }
        small("image.norm_eps", self.norm_eps)?;
        chance("image.dropout", self.dropout)?;
        Ok(())
    }
}

/// A vision transformer on volumes of any size, without a class token and without a last norm.
#[derive(Clone, Debug)]
pub struct Vit3d {
    patch_embed: NormedPatchEmbed3d,
    pos_embedding: AxialPlaces,
    blocks: Vec<Block>,
    dropout: Dropout,
    dim: usize,
}

impl Vit3d {
    /// Reads `patch_embed`, `pos_embedding` and `blocks` under `vb`.
    pub fn new(config: &Vit3dConfig, vb: VarBuilder) -> Result<Self> {
        config.validate()?;
        let &Vit3dConfig { channels, patch, dim, heads, norm_eps, dropout, .. } = config;
        let patch = PatchEmbed3dConfig { in_channels: channels, dim, patch, bias: Bias::With };
        let block = BlockConfig {
            attention: AttentionConfig {
                head_dim: Some(config.head_dim),
                bias: Bias::Without,
                ..AttentionConfig::new(dim, heads)
            },
            mlp_dim: config.mlp_dim,
            norm_eps,
            dropout,
            ..BlockConfig::new(dim, heads)
        };
        let block = |i| Block::new(&block, vb.pp(format!("blocks.{i}")));
        Ok(Self {
            patch_embed: NormedPatchEmbed3d::new(&patch, norm_eps, &vb.pp("patch_embed"))?,
            pos_embedding: AxialPlaces::new(dim, config.tables, &vb.pp("pos_embedding"))?,
            blocks: (0..config.depth).map(block).collect::<Result<_>>()?,
            dropout: Dropout::new(dropout)?,
            dim,
        })
    }

    /// Patches of `pixels` (B, C, S, H, W) with their places, (B, N, D), and their grid.
    pub fn embed(&self, pixels: &Tensor) -> Result<(Tensor, [usize; 3])> {
        let grid = self.patch_embed.grid(pixels.dims())?;
        let places = self.pos_embedding.forward(grid)?; // (N, D)
        let patches = self.patch_embed.forward(pixels)?; // (B, N, D)
        Ok((patches.broadcast_add(&places.to_dtype(patches.dtype())?)?, grid))
    }

    /// The memory of [`Self::embed`].
    fn trace_embed(&self, pixels: &Shadow) -> Result<Shadow> {
        let grid = self.patch_embed.grid(pixels.dims())?;
        let places = self.pos_embedding.trace(grid, pixels);
        let patches = self.patch_embed.trace(pixels)?;
        Ok(Shadow::shared(patches.dims(), &[&patches, &places]))
    }

    /// Every linear map of the blocks, for adapters.
    pub fn linears_mut(&mut self) -> Vec<&mut Linear> {
        self.blocks.iter_mut().flat_map(Block::linears_mut).collect()
    }
}

impl VisionEncoder for Vit3d {
    fn forward(&self, pixels: &Tensor, pass: &Pass) -> Result<TokenGrid> {
        let (patches, grid) = self.embed(pixels)?;
        let mut tokens = self.dropout.forward(&patches, pass)?;
        drop(patches);
        for block in &self.blocks {
            let block = block.clone();
            let layer =
                move |x: &Tensor, pass: &Pass| block.forward(x, &AttentionInput::default(), pass);
            tokens = pass.block(&tokens, layer)?;
        }
        Ok(TokenGrid { tokens, grid, spacing: None, pooled: None })
    }

    fn trace(&self, pixels: &Shadow, pass: &Pass) -> Result<Shadow> {
        let mut x = self.dropout.trace(&self.trace_embed(pixels)?, pass);
        for block in &self.blocks {
            let block = block.clone();
            x = x.block(pass, move |x, pass| Ok(block.trace(x, pass)))?;
        }
        Ok(x)
    }

    fn dim(&self) -> usize {
        self.dim
    }
}

#[cfg(test)]
mod tests {
    use candle::{DType, Device};

    use super::*;
    use crate::nn::Parameters;

    fn small() -> Vit3dConfig {
        Vit3dConfig {
            channels: 1,
            patch: [2, 4, 4],
            tables: [3, 4, 4],
            dim: 6,
            depth: 2,
            heads: 2,
            head_dim: 5,
            mlp_dim: 7,
            ..Vit3dConfig::default()
        }
    }

    #[test]
    fn every_parameter_gets_a_finite_gradient_in_training() {
        let parameters = Parameters::new(0, &Device::Cpu);
        let model = Vit3d::new(&small(), parameters.builder()).unwrap();
        let volume = Tensor::rand(0f32, 1.0, (2, 1, 6, 8, 12), &Device::Cpu).unwrap();
        let out = model.forward(&volume, &Pass::training(0, 0)).unwrap();
        assert_eq!((out.tokens.dims(), out.grid), ([2, 18, 6].as_slice(), [3, 2, 3]));
        let store = out.tokens.sqr().unwrap().sum_all().unwrap().backward().unwrap();
        for (name, var) in parameters.trainable() {
            let gradient = store.get(&var).unwrap_or_else(|| panic!("{name} got no gradient"));
            let sum = gradient.abs().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap();
            assert!(sum.is_finite(), "{name}: {sum}");
        }
    }

    #[test]
    fn volumes_that_the_patches_do_not_divide_or_that_are_too_large_are_refused() {
        let parameters = Parameters::new(0, &Device::Cpu);
        let model = Vit3d::new(&small(), parameters.builder()).unwrap();
        let says = |shape: &[usize]| {
            let volume = Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
            model.forward(&volume, &Pass::inference()).unwrap_err().to_string()
        };
        for shape in [&[1, 1, 3, 8, 8][..], &[1, 2, 2, 8, 8], &[1, 8, 8], &[1, 1, 0, 4, 4]] {
            let expected = "pixels: expected shape (B, 1, 2·n, 4·n, 4·n)";
            assert_eq!(says(shape), format!("{expected}, got {shape:?}"));
        }
        assert_eq!(
            says(&[1, 1, 8, 8, 8]),
            "position table: found 4 patches along an axis, expected 1 to 3"
        );
    }

    #[test]
    fn sizes_that_no_model_can_have_are_refused_by_name() {
        let says = |config: Vit3dConfig| config.validate().unwrap_err().to_string();
        Vit3dConfig::default().validate().unwrap();
        assert_eq!(
            says(Vit3dConfig { dim: 8, ..small() }),
            "config field `image.dim`: found 8, expected a multiple of 3"
        );
        assert_eq!(
            says(Vit3dConfig { patch: [0, 4, 4], ..small() }),
            "config field `image.patch`: found 0, expected 1 to 512"
        );
        assert_eq!(
            says(Vit3dConfig { dropout: f64::NAN, ..small() }),
            "config field `image.dropout`: found NaN, expected 0 ≤ p < 1"
        );
    }
}
