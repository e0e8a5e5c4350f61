//! The vision transformer in the layouts of timm, `ViT`, CLIP, `SigLIP` and `DINOv2`.
//!
//! Source: Dosovitskiy et al. 2020, "An Image Is Worth 16x16 Words", arXiv:2010.11929; registers:
//! Darcet et al. 2023, arXiv:2309.16588. Parameter names are timm's; name maps bring the others.

use std::path::Path;

use candle::{Device, Tensor};
use candle_nn::{Init, VarBuilder};

use super::{Pool, Position, TokenGrid, VisionEncoder, VitConfig, VitLayout};
use crate::fusion::{AttentionPool, AttentionPoolConfig};
use crate::nn::{
    AttentionConfig, AttentionInput, Bias, Block, BlockConfig, Dropout, LayerNorm, Linear,
    Parameters, Pass, PatchEmbed2d, PatchEmbed2dConfig, position,
};
use crate::weights::{Checkpoint, LoadReport, NameMap, Strictness, load};
use crate::{Error, Result};

/// A vision transformer.
#[derive(Clone, Debug)]
pub struct Vit {
    config: VitConfig,
    patch_embed: PatchEmbed2d,
    cls_token: Option<Tensor>,
    reg_token: Option<Tensor>,
    pos_embed: Option<Tensor>,
    norm_pre: Option<LayerNorm>,
    blocks: Vec<Block>,
    norm: Option<LayerNorm>,
    attn_pool: Option<AttentionPool>,
    fc_norm: Option<LayerNorm>,
    dropout: Dropout,
}

impl Vit {
    /// A model as `config` says.
    pub fn new(config: &VitConfig, vb: VarBuilder) -> Result<Self> {
        config.validate()?;
        let &VitConfig { dim, depth, norm_eps, .. } = config;
        let table = |rows, name| {
            let init = Init::Randn { mean: 0.0, stdev: 0.02 };
            vb.get_with_hints((1, rows, dim), name, init).map(Some)
        };
        let norm = |wanted: bool, name| {
            wanted.then(|| LayerNorm::new(dim, norm_eps, vb.pp(name))).transpose()
        };
        let patch = PatchEmbed2dConfig {
            in_channels: config.channels,
            dim,
            patch: [config.patch_size; 2],
            bias: Bias::of(config.patch_bias),
        };
        let rows = config.position_rows() + config.native_grid().pow(2);
        Ok(Self {
            patch_embed: PatchEmbed2d::new(&patch, vb.pp("patch_embed.proj"))?,
            cls_token: if config.class_token { table(1, "cls_token")? } else { None },
            reg_token: match config.registers {
                0 => None,
                n => table(n, "reg_token")?,
            },
            pos_embed: match config.position {
                Position::Learned => table(rows, "pos_embed")?,
                Position::Sincos | Position::None => None,
            },
            norm_pre: norm(config.pre_norm, "norm_pre")?,
            blocks: (0..depth)
                .map(|i| Block::new(&block(config, i), vb.pp(format!("blocks.{i}"))))
                .collect::<Result<_>>()?,
            norm: norm(config.final_norm, "norm")?,
            attn_pool: match config.pool {
                Pool::Attention => Some(attention_pool(config, vb.pp("attn_pool"))?),
                Pool::Class | Pool::Mean | Pool::None => None,
            },
            fc_norm: norm(config.pool_norm && config.pool != Pool::None, "fc_norm")?,
            dropout: Dropout::new(config.dropout)?,
            config: config.clone(),
        })
    }

    /// Opens a published checkpoint: a folder with `config.json` of Hugging Face and weights.
    ///
    /// Strict: every key of the checkpoint must be used or be known to be of no use.
    pub fn open(
        folder: impl AsRef<Path>,
        device: &Device,
    ) -> Result<(Self, Parameters, LoadReport)> {
        let folder = folder.as_ref();
        let (config, layout) = VitConfig::from_hf_file(&folder.join("config.json"))?;
        Self::load(&config, layout, &Checkpoint::open(folder)?, device)
    }

    /// A model as `config` says, filled from a checkpoint of a known `layout`; strict.
    pub fn load(
        config: &VitConfig,
        layout: VitLayout,
        checkpoint: &Checkpoint,
        device: &Device,
    ) -> Result<(Self, Parameters, LoadReport)> {
        let parameters = Parameters::blank(device);
        let model = Self::new(config, parameters.builder())?;
        let map = NameMap::named(layout.map_name())?;
        let report = load(&parameters, checkpoint, &map, Strictness::Strict)?;
        Ok((model, parameters, report))
    }

    /// The options it was built from.
    pub fn config(&self) -> &VitConfig {
        &self.config
    }

    /// Patches of `pixels` (B, C, H, W) with their positions, (B, N, D), and their grid.
    ///
    /// Masked training drops some of them before [`Self::encode`].
    pub fn embed(&self, pixels: &Tensor) -> Result<(Tensor, (usize, usize))> {
        let patches = self.patch_embed.forward(pixels)?; // (B, N, D)
        let (_, _, height, width) = pixels.dims4()?;
        let [rows, columns] = self.patch_embed.grid([height, width]);
        let grid = (rows, columns);
        let places = match (&self.pos_embed, self.config.position) {
            (Some(table), _) => {
                let table = self.resized(table, grid)?; // (P + N, D)
                let prefix = self.config.position_rows();
                table.narrow(0, prefix, table.dim(0)? - prefix)?
            }
            (None, Position::Sincos) => {
                position::sincos_2d(self.config.dim, rows, columns, pixels.device())?
            }
            (None, _) => return Ok((patches, grid)),
        };
        Ok((patches.broadcast_add(&places)?, grid))
    }

    /// All tokens after the last block, class token and registers first, (B, P + N, D), for
    /// `patches` (B, N, D) from [`Self::embed`], some of which may be left out.
    pub fn encode(&self, patches: &Tensor, pass: &Pass) -> Result<Tensor> {
        let batch = patches.dim(0)?;
        let mut all = Vec::new();
        if let Some(prefix) = self.prefix_tokens()? {
            let (_, count, dim) = prefix.dims3()?;
            all.push(prefix.broadcast_as((batch, count, dim))?);
        }
        all.push(patches.clone());
        let mut x = self.dropout.forward(&Tensor::cat(&all, 1)?, pass)?; // (B, P + N, D)
        if let Some(norm) = &self.norm_pre {
            x = norm.forward(&x)?;
        }
        for block in &self.blocks {
            x = block.forward(&x, &AttentionInput::default(), pass)?;
        }
        self.norm.as_ref().map_or_else(|| Ok(x.clone()), |norm| norm.forward(&x))
    }

    /// One vector (B, D) from all `tokens` (B, P + N, D); `None` when the model does not pool.
    pub fn pool(&self, tokens: &Tensor) -> Result<Option<Tensor>> {
        let prefix = self.config.prefix();
        let patches = || tokens.narrow(1, prefix, tokens.dim(1)? - prefix);
        let pooled = match (&self.attn_pool, self.config.pool) {
            (Some(pool), _) => pool.forward(&patches()?, None)?.squeeze(1)?,
            (None, Pool::Class) => tokens.narrow(1, 0, 1)?.squeeze(1)?,
            (None, Pool::Mean) => patches()?.mean(1)?,
            (None, _) => return Ok(None),
        };
        let pooled = self.fc_norm.as_ref().map_or(Ok(pooled.clone()), |n| n.forward(&pooled))?;
        Ok(Some(pooled))
    }

    /// Every linear map of the blocks, for adapters.
    pub fn linears_mut(&mut self) -> Vec<&mut Linear> {
        self.blocks.iter_mut().flat_map(Block::linears_mut).collect()
    }

    /// Class token and registers with their positions, (1, P, D).
    fn prefix_tokens(&self) -> Result<Option<Tensor>> {
        let tokens: Vec<&Tensor> = self.cls_token.iter().chain(&self.reg_token).collect();
        if tokens.is_empty() {
            return Ok(None);
        }
        let tokens = Tensor::cat(&tokens, 1)?;
        let covered = self.config.position_rows();
        let Some(table) = self.pos_embed.as_ref().filter(|_| covered > 0) else {
            return Ok(Some(tokens));
        };
        let placed = (tokens.narrow(1, 0, covered)? + table.narrow(1, 0, covered)?)?;
        let rest = tokens.dim(1)? - covered;
        if rest == 0 {
            return Ok(Some(placed));
        }
        Ok(Some(Tensor::cat(&[&placed, &tokens.narrow(1, covered, rest)?], 1)?))
    }

    fn resized(&self, table: &Tensor, grid: (usize, usize)) -> Result<Tensor> {
        let side = self.config.native_grid();
        let antialias = self.config.position_resize.antialias();
        let prefix = self.config.position_rows();
        position::interpolate_bicubic(&table.squeeze(0)?, (side, side), grid, prefix, antialias)
    }
}

impl VisionEncoder for Vit {
    fn forward(&self, pixels: &Tensor, pass: &Pass) -> Result<TokenGrid> {
        let channels = self.config.channels;
        let enough = pixels.rank() == 4 && pixels.elem_count() > 0;
        if !enough || pixels.dim(1)? != channels {
            let expected = format!("(B, {channels}, H, W)");
            return Err(Error::shape("pixels", expected, pixels.dims()));
        }
        let (patches, grid) = self.embed(pixels)?;
        let all = self.encode(&patches, pass)?; // (B, P + N, D)
        let prefix = self.config.prefix();
        let tokens = all.narrow(1, prefix, grid.0 * grid.1)?; // (B, N, D)
        Ok(TokenGrid { tokens, grid, pooled: self.pool(&all)? })
    }

    fn dim(&self) -> usize {
        self.config.dim
    }
}

fn block(config: &VitConfig, i: usize) -> BlockConfig {
    let depth = (config.depth.max(2) - 1) as f64;
    BlockConfig {
        attention: AttentionConfig {
            bias: Bias::of(config.qkv_bias),
            ..AttentionConfig::new(config.dim, config.heads)
        },
        mlp_dim: config.hidden(),
        activation: config.activation,
        norm_eps: config.norm_eps,
        layer_scale: config.layer_scale,
        dropout: config.dropout,
        drop_path: config.drop_path * i as f64 / depth,
    }
}

fn attention_pool(config: &VitConfig, vb: VarBuilder) -> Result<AttentionPool> {
    let pool = AttentionPoolConfig {
        pre_norm: false,
        mlp_dim: Some(config.hidden()),
        activation: config.activation,
        norm_eps: config.norm_eps,
        ..AttentionPoolConfig::new(config.dim, config.heads, 1)
    };
    AttentionPool::with(&pool, vb)
}
