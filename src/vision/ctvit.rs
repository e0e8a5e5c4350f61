//! CTViT: volumes of several sizes, one transformer.
//!
//! Source: Niu et al. 2025, "Medical multimodal multitask foundation model for lung cancer
//! screening", Nature Communications 16:1523 (M3FM); a `ViT` without a pre-norm before its blocks,
//! whose tokens also carry the size of a patch in mm. Parameters are named as in the release, so
//! that the name of a tokenizer has parentheses. Differs in that a volume of unknown size is
//! refused, where the release goes on with a zero, and in that the sizes are computed in float64.
//! The release's windows, which none of its models use, are left out.

use candle::Tensor;
use candle_nn::VarBuilder;

use super::ct_tokenizer::CtTokenizer;
use super::encoder::check_voxels;
use super::{CtVitConfig, TokenGrid, VisionEncoder};
use crate::nn::{
    AttentionConfig, AttentionInput, AttentionLayout, Block, BlockConfig, LayerNorm, Linear, Pass,
    Shadow,
};
use crate::{Error, Result};

/// A vision transformer on volumes.
#[derive(Clone, Debug)]
pub struct CtVit {
    img_tokenizer: CtTokenizer,
    blocks: Vec<Block>,
    norm: LayerNorm,
    dim: usize,
}

impl CtVit {
    /// Reads `img_tokenizer` and `encoder_img.{blocks,norm}` under `vb`.
    pub fn new(config: &CtVitConfig, vb: VarBuilder) -> Result<Self> {
        config.validate()?;
        let (dim, encoder) = (config.dim, vb.pp("encoder_img"));
        let last = (config.depth.max(2) - 1) as f64;
        let block = |i: usize| {
            let block = BlockConfig {
                attention: AttentionConfig {
                    layout: AttentionLayout::split("q", "k", "v", "proj"),
                    ..AttentionConfig::new(dim, config.heads)
                },
                mlp_dim: config.mlp_ratio * dim,
                norm_eps: config.norm_eps,
                dropout: config.dropout,
                drop_path: config.drop_path * i as f64 / last,
                ..BlockConfig::new(dim, config.heads)
            };
            Block::new(&block, encoder.pp(format!("blocks.{i}")))
        };
        Ok(Self {
            img_tokenizer: CtTokenizer::new(config, &vb.pp("img_tokenizer"))?,
            blocks: (0..config.depth).map(block).collect::<Result<_>>()?,
            norm: LayerNorm::new(dim, config.norm_eps, encoder.pp("norm"))?,
            dim,
        })
    }

    /// The class token and the patches (B, 1 + N, D) of `pixels` (B, C, S, H, W) whose size is that
    /// of a scale, and the grid of the patches; `voxels` as in [`VisionEncoder::forward_sized`].
    ///
    /// Masked training drops some of the patches before [`Self::encode`].
    pub fn embed(
        &self,
        pixels: &Tensor,
        voxels: Option<&[[f64; 3]]>,
    ) -> Result<(Tensor, [usize; 3])> {
        voxels.map_or(Ok(()), |voxels| check_voxels(pixels, voxels))?;
        self.img_tokenizer.forward(pixels, voxels)
    }

    /// All tokens after the last block, for `tokens` (B, N, D) from [`Self::embed`]. `bias` is
    /// added to the scores and learns nothing, broadcastable to (B, H, N, N).
    pub fn encode(&self, tokens: &Tensor, bias: Option<&Tensor>, pass: &Pass) -> Result<Tensor> {
        if !matches!(tokens.dims(), [_, _, dim] if *dim == self.dim) {
            return Err(Error::shape("tokens", format!("(B, N, {})", self.dim), tokens.dims()));
        }
        let bias = bias.map(Tensor::detach);
        let mut x = tokens.clone();
        for block in &self.blocks {
            let (block, bias) = (block.clone(), bias.clone());
            x = pass.block(&x, move |x, pass| {
                let input = AttentionInput { bias: bias.as_ref(), ..AttentionInput::default() };
                block.forward(x, &input, pass)
            })?;
        }
        self.norm.forward(&x)
    }

    /// Every linear map of the blocks, for adapters.
    pub fn linears_mut(&mut self) -> Vec<&mut Linear> {
        self.blocks.iter_mut().flat_map(Block::linears_mut).collect()
    }

    fn grid(&self, tokens: &Tensor, grid: [usize; 3], pass: &Pass) -> Result<TokenGrid> {
        let all = self.encode(tokens, None, pass)?; // (B, 1 + N, D)
        let pooled = Some(all.narrow(1, 0, 1)?.squeeze(1)?);
        let tokens = all.narrow(1, 1, grid.iter().product())?;
        Ok(TokenGrid { tokens, grid, spacing: None, pooled })
    }
}

impl VisionEncoder for CtVit {
    fn forward(&self, pixels: &Tensor, pass: &Pass) -> Result<TokenGrid> {
        let (tokens, grid) = self.embed(pixels, None)?;
        self.grid(&tokens, grid, pass)
    }

    fn forward_sized(
        &self,
        pixels: &Tensor,
        voxels: &[[f64; 3]],
        pass: &Pass,
    ) -> Result<TokenGrid> {
        let (tokens, grid) = self.embed(pixels, Some(voxels))?;
        Ok(self.grid(&tokens, grid, pass)?.spaced(pixels, voxels))
    }

    fn trace(&self, pixels: &Shadow, pass: &Pass) -> Result<Shadow> {
        let mut x = self.img_tokenizer.trace(pixels)?;
        for block in &self.blocks {
            let block = block.clone();
            x = x.block(pass, move |x, pass| Ok(block.trace(x, pass)))?;
        }
        let all = self.norm.trace(&x);
        let &[batch, count, dim] = all.dims() else { return Ok(all) };
        Ok(all.view(&[batch, count - 1, dim]))
    }

    fn dim(&self) -> usize {
        self.dim
    }
}
