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
    Parameters, Pass, PatchEmbed2d, PatchEmbed2dConfig, Shadow, position,
};
use crate::progress::Progress;
use crate::weights::{Checkpoint, LoadReport, filled};
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
        filled(checkpoint, layout.map_name(), device, &Progress::silent(), |vb| {
            Self::new(config, vb)
        })
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
        Ok((patches.broadcast_add(&places.to_dtype(patches.dtype())?)?, grid))
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
            let block = block.clone();
            x =
                pass.block(&x, move |x, pass| block.forward(x, &AttentionInput::default(), pass))?;
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

    /// The memory of [`Self::embed`].
    fn trace_embed(&self, pixels: &Shadow) -> Shadow {
        let patches = self.patch_embed.trace(pixels);
        if let Some(table) = &self.pos_embed {
            let table = pixels.account().weight(table);
            let places = table.view(&patches.dims()[1..]).view(patches.dims());
            return Shadow::shared(patches.dims(), &[&patches, &places]);
        }
        if self.config.position == Position::None {
            return patches;
        }
        Shadow::shared(patches.dims(), &[&patches])
    }

    /// The memory of [`Self::encode`].
    fn trace_encode(&self, patches: &Shadow, pass: &Pass) -> Result<Shadow> {
        let &[batch, count, dim] = patches.dims() else {
            return Err(Error::shape("patches", "(B, N, D)", patches.dims()));
        };
        let all = match self.config.prefix() {
            0 => patches.clone(),
            prefix => Shadow::shared(&[batch, prefix + count, dim], &[patches]),
        };
        let x = self.dropout.trace(&all, pass);
        let mut x = self.norm_pre.as_ref().map_or(x.clone(), |norm| norm.trace(&x));
        for block in &self.blocks {
            let block = block.clone();
            x = x.block(pass, move |x, pass| Ok(block.trace(x, pass)))?;
        }
        Ok(self.norm.as_ref().map_or_else(|| x.clone(), |norm| norm.trace(&x)))
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
        Ok(TokenGrid { pooled: self.pool(&all)?, ..TokenGrid::of_film(tokens, grid) })
    }

    fn trace(&self, pixels: &Shadow, pass: &Pass) -> Result<Shadow> {
        let patches = self.trace_embed(pixels);
        let tokens = self.trace_encode(&patches, pass)?.view(patches.dims());
        let _pooled = self.attn_pool.as_ref().map(|pool| pool.trace(&tokens));
        Ok(tokens)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::testing::trained;
    use crate::vision::{PositionPrefix, VitConfig};
    use candle::DType;

    fn tiny() -> VitConfig {
        VitConfig {
            image_size: 16,
            patch_size: 8,
            channels: 1,
            dim: 8,
            depth: 3,
            heads: 2,
            ..VitConfig::default()
        }
    }

    fn pixels(batch: usize, height: usize, width: usize) -> Tensor {
        let values: Vec<f32> =
            (0..batch * height * width).map(|i| (i as f32 * 0.37).sin()).collect();
        Tensor::from_vec(values, (batch, 1, height, width), &Device::Cpu).unwrap()
    }

    fn build(config: &VitConfig) -> (Vit, Parameters) {
        let parameters = Parameters::new(0, &Device::Cpu);
        (Vit::new(config, parameters.builder()).unwrap(), parameters)
    }

    fn values(x: &Tensor) -> Vec<f32> {
        x.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn every_trainable_parameter_of_every_layout_receives_a_finite_gradient_in_training() {
        let pools = [(Pool::Class, false), (Pool::Mean, true), (Pool::Attention, false)];
        let prefixes = [PositionPrefix::All, PositionPrefix::Class, PositionPrefix::None];
        for ((pool, pool_norm), position_prefix) in pools.into_iter().zip(prefixes) {
            let config = VitConfig {
                registers: 2,
                pool,
                pool_norm,
                position_prefix,
                pre_norm: true,
                layer_scale: Some(0.5),
                dropout: 0.1,
                drop_path: 0.1,
                ..tiny()
            };
            let (model, parameters) = build(&config);
            let ((), mut gradients) = trained(|| {
                let out = model.forward(&pixels(8, 16, 24), &Pass::training(1, 0))?;
                let pooled = out.pooled.unwrap().sqr()?.sum_all()?;
                Ok(((), (pooled + out.tokens.exp()?.sum_all()?)?))
            });
            for (name, var) in parameters.trainable() {
                let gradient = gradients.take(&var).unwrap_or_else(|| panic!("{name}: none"));
                assert!(values(&gradient).iter().all(|g| g.is_finite()), "{name}");
            }
        }
    }

    #[test]
    fn training_passes_differ_by_step_and_inference_does_not() {
        let (model, _) = build(&VitConfig { dropout: 0.2, drop_path: 0.2, ..tiny() });
        let x = pixels(2, 16, 16);
        let run = |pass: &Pass| values(&model.forward(&x, pass).unwrap().tokens);
        assert_eq!(run(&Pass::training(1, 0)), run(&Pass::training(1, 0)));
        assert_ne!(run(&Pass::training(1, 0)), run(&Pass::training(1, 1)));
        assert_eq!(run(&Pass::inference()), run(&Pass::inference()));
    }

    #[test]
    fn fixed_and_absent_positions_need_no_table() {
        for position in [Position::Sincos, Position::None] {
            let config = VitConfig { position, pool: Pool::None, ..tiny() };
            let (model, parameters) = build(&config);
            assert!(parameters.get("pos_embed").is_none());
            let out = model.forward(&pixels(1, 24, 16), &Pass::inference()).unwrap();
            assert_eq!((out.tokens.dims(), out.grid), ([1, 6, 8].as_slice(), [1, 3, 2]));
            assert!(out.pooled.is_none());
        }
    }

    #[test]
    fn a_masked_pass_encodes_some_of_the_patches() {
        let (model, _) = build(&tiny());
        let (patches, _) = model.embed(&pixels(2, 16, 16)).unwrap();
        let some = Tensor::new(&[3u32, 0], &Device::Cpu).unwrap();
        let kept = patches.index_select(&some, 1).unwrap();
        let tokens = model.encode(&kept, &Pass::inference()).unwrap();
        assert_eq!(tokens.dims(), [2, 3, 8]);
    }

    #[test]
    fn wrong_pixels_and_options_are_named() {
        let (model, _) = build(&tiny());
        let run = |x: &Tensor| model.forward(x, &Pass::inference()).unwrap_err().to_string();
        let rgb = Tensor::zeros((1, 3, 16, 16), DType::F32, &Device::Cpu).unwrap();
        assert_eq!(run(&rgb), "pixels: expected shape (B, 1, H, W), got [1, 3, 16, 16]");
        assert!(run(&pixels(1, 16, 15)).contains("(B, 1, 8·n, 8·n), got [1, 1, 16, 15]"));
        let none = Tensor::zeros((1, 1, 0, 8), DType::F32, &Device::Cpu).unwrap();
        assert!(run(&none).contains("got [1, 1, 0, 8]"));
        let refuse = |config: VitConfig| config.validate().unwrap_err().to_string();
        let text = refuse(VitConfig { class_token: false, ..tiny() });
        assert_eq!(text, "config field `pool`: found class, but class_token is false");
        let text = refuse(VitConfig { depth: 1_000_000, ..tiny() });
        assert_eq!(text, "config field `depth`: found 1000000, expected 1 to 256");
        assert!(refuse(VitConfig { norm_eps: f64::NAN, ..tiny() }).contains("found NaN"));
        let misspelt = serde_json::from_str::<VitConfig>("{\"patchsize\": 8}").unwrap_err();
        assert!(misspelt.to_string().contains("unknown field `patchsize`"));
    }
}
