//! Volumes of several sizes to tokens, each size by a tokenizer of its own.

use candle::Tensor;
use candle_nn::{Init, VarBuilder};

use super::{CtScale, CtVitConfig};
use crate::nn::{Bias, PatchEmbed3d, PatchEmbed3dConfig, Shadow, Work, join, position, trace_join};
use crate::{Error, Result};

/// One tokenizer for each scale; parameters `conv{1…}` and `tokenizer_(S, H, W)`, whose name has
/// the size of its volumes.
#[derive(Clone, Debug)]
pub(super) struct CtTokenizer {
    config: CtVitConfig,
    scales: Vec<Tokenizer>,
}

/// Patches of one scale and their places: in the plane, along the slices, and the class token's.
#[derive(Clone, Debug)]
struct Tokenizer {
    conv: PatchEmbed3d,
    cls_token: Tensor,
    pos_embed_spatial: Tensor,
    pos_embed_slice: Tensor,
    pos_embed_class: Tensor,
}

impl CtTokenizer {
    pub(super) fn new(config: &CtVitConfig, vb: &VarBuilder) -> Result<Self> {
        let scale = |(i, scale)| Tokenizer::new(scale, i, config, vb);
        let scales = config.scales.iter().enumerate().map(scale).collect::<Result<_>>()?;
        Ok(Self { config: config.clone(), scales })
    }

    /// Maps `pixels` (B, C, S, H, W) of the size of a scale to the class token and the patches
    /// (B, 1 + N, D), and their grid; `voxels` are mm along (slices, rows, columns), one triple
    /// for each volume.
    pub(super) fn forward(
        &self,
        pixels: &Tensor,
        voxels: Option<&[[f64; 3]]>,
    ) -> Result<(Tensor, [usize; 3])> {
        let (scale, tokenizer) = self.find(pixels.dims())?;
        let tokens = tokenizer.forward(pixels)?; // (B, 1 + N, D)
        let Some(voxels) = voxels else { return Ok((tokens, scale.grid())) };
        let patch = |voxel: &[f64; 3]| std::array::from_fn(|i| voxel[i] * scale.patch[i] as f64);
        let sizes: Vec<[f64; 3]> = voxels.iter().map(patch).collect();
        let sizes = position::sincos_sizes(self.config.dim, &sizes, pixels.device())?; // (B, D)
        let sizes = sizes.to_dtype(tokens.dtype())?.unsqueeze(1)?;
        Ok((tokens.broadcast_add(&sizes)?, scale.grid()))
    }

    /// The memory of [`Self::forward`] without sizes.
    pub(super) fn trace(&self, pixels: &Shadow) -> Result<Shadow> {
        let (_, tokenizer) = self.find(pixels.dims())?;
        Ok(tokenizer.trace(pixels))
    }

    fn find(&self, dims: &[usize]) -> Result<(&CtScale, &Tokenizer)> {
        let found = match dims {
            &[_, channels, s, h, w] if channels == self.config.channels => {
                self.config.scale([s, h, w])
            }
            _ => None,
        };
        let i = found.ok_or_else(|| Error::shape("pixels", self.config.sizes(), dims))?;
        Ok((&self.config.scales[i], &self.scales[i]))
    }
}

impl Tokenizer {
    fn new(scale: &CtScale, number: usize, config: &CtVitConfig, vb: &VarBuilder) -> Result<Self> {
        let [d, h, w] = scale.grid();
        let patch = PatchEmbed3dConfig {
            in_channels: config.channels,
            dim: config.dim,
            patch: scale.patch,
            bias: Bias::With,
        };
        let [slices, rows, columns] = scale.size;
        let own = vb.pp(format!("tokenizer_({slices}, {rows}, {columns})"));
        let table = |rows: usize, name| {
            let init = Init::Randn { mean: 0.0, stdev: 0.02 };
            own.get_with_hints((1, rows, config.dim), name, init)
        };
        Ok(Self {
            conv: PatchEmbed3d::new(&patch, vb.pp(format!("conv{}", number + 1)))?,
            cls_token: table(1, "cls_token")?,
            pos_embed_spatial: table(h * w, "pos_embed_spatial")?,
            pos_embed_slice: table(d, "pos_embed_slice")?,
            pos_embed_class: table(1, "pos_embed_class")?,
        })
    }

    /// Maps `pixels` (B, C, S, H, W) to (B, 1 + N, D).
    fn forward(&self, pixels: &Tensor) -> Result<Tensor> {
        let tokens = self.conv.forward(pixels)?; // (B, N, D)
        let (batch, count, dim) = tokens.dims3()?;
        let slices = self.pos_embed_slice.transpose(0, 1)?; // (d, 1, D)
        let places = self.pos_embed_spatial.broadcast_add(&slices)?; // (d, h·w, D)
        let places = places.reshape((1, count, dim))?;
        let class = (&self.cls_token + &self.pos_embed_class)?.broadcast_as((batch, 1, dim))?;
        join(&class, &tokens.broadcast_add(&places)?)
    }

    /// The memory of [`Self::forward`].
    fn trace(&self, pixels: &Shadow) -> Shadow {
        let tokens = self.conv.trace(pixels);
        let &[batch, count, dim] = tokens.dims() else { return tokens };
        let weight = |table| pixels.account().weight(table);
        let tables = [&self.pos_embed_spatial, &self.pos_embed_slice].map(weight);
        let places = Shadow::made(&[1, count, dim], &tables.each_ref(), Work::default());
        let placed = Shadow::shared(tokens.dims(), &[&tokens, &places]);
        let weights = [&self.cls_token, &self.pos_embed_class].map(weight);
        let class = Shadow::shared(&[batch, 1, dim], &weights.each_ref());
        trace_join(&class, &placed)
    }
}
