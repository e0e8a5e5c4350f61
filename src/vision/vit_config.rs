//! The options of a vision transformer, wide enough for the published layouts.

use serde::{Deserialize, Serialize};

use crate::nn::Activation;
use crate::nn::limits::{chance, small, within};
use crate::nn::position::Antialias;
use crate::{Error, Result};

/// Which published layout a checkpoint has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VitLayout {
    /// timm, `open_clip` trunks, the files of the authors of `DINOv2`.
    #[default]
    VitTimm,
    /// Hugging Face `ViTModel`.
    VitHf,
    /// Hugging Face `CLIPVisionModel`.
    ClipVision,
    /// Hugging Face `SiglipVisionModel`.
    SiglipVision,
    /// Hugging Face `Dinov2Model`, with and without registers.
    Dinov2Hf,
}

impl VitLayout {
    /// The name of its map, for [`NameMap::named`](crate::weights::NameMap::named).
    pub fn map_name(self) -> &'static str {
        match self {
            Self::VitTimm => "vit_timm",
            Self::VitHf => "vit_hf",
            Self::ClipVision => "clip_vision",
            Self::SiglipVision => "siglip_vision",
            Self::Dinov2Hf => "dinov2_hf",
        }
    }
}

/// How tokens become one vector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pool {
    /// The class token.
    #[default]
    Class,
    /// The mean of the patches.
    Mean,
    /// One learned query over the patches.
    Attention,
    /// Not at all.
    None,
}

/// Where tokens learn their places from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Position {
    /// A trained table.
    #[default]
    Learned,
    /// Fixed sines and cosines on the patches.
    Sincos,
    /// Nowhere.
    None,
}

/// Which tokens before the patches the position table covers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PositionPrefix {
    /// The class token and the registers.
    #[default]
    All,
    /// The class token only.
    Class,
    /// None of them.
    None,
}

/// How the position table is resized to another grid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PositionResize {
    /// Bicubic, as in Hugging Face's models.
    #[default]
    Bicubic,
    /// Bicubic with antialiasing, as in timm.
    BicubicAntialias,
}

impl PositionResize {
    pub(super) fn antialias(self) -> Antialias {
        match self {
            Self::Bicubic => Antialias::Off,
            Self::BicubicAntialias => Antialias::On,
        }
    }
}

/// The options of a [`Vit`](super::Vit); the default is timm's ViT-B/16.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(clippy::struct_excessive_bools)] // the options that the published layouts differ in
pub struct VitConfig {
    /// Side of the square film that the position table is made for, in pixels.
    pub image_size: usize,
    /// Side of a patch, in pixels.
    pub patch_size: usize,
    /// Channels of the film.
    pub channels: usize,
    /// Features of a token.
    pub dim: usize,
    /// Blocks.
    pub depth: usize,
    /// Attention heads, a divisor of `dim`.
    pub heads: usize,
    /// Features inside the feed-forward branch, as a multiple of `dim`.
    pub mlp_ratio: f64,
    /// Features inside the feed-forward branch; wins over `mlp_ratio`.
    pub mlp_dim: Option<usize>,
    /// What lies between the two maps of the feed-forward branch.
    pub activation: Activation,
    /// Added to the variance in every norm.
    pub norm_eps: f64,
    /// Whether the maps to queries, keys and values add biases.
    pub qkv_bias: bool,
    /// Whether the patch embedding adds a bias.
    pub patch_bias: bool,
    /// Whether a class token leads the patches.
    pub class_token: bool,
    /// Register tokens between the class token and the patches.
    pub registers: usize,
    /// Whether tokens are normalised before the first block.
    pub pre_norm: bool,
    /// Whether all tokens are normalised after the last block.
    pub final_norm: bool,
    /// How tokens become one vector.
    pub pool: Pool,
    /// Whether that vector is normalised.
    pub pool_norm: bool,
    /// Where the factors of the residual branches start; no factors when absent.
    pub layer_scale: Option<f64>,
    /// Where tokens learn their places from.
    pub position: Position,
    /// Which tokens before the patches the position table covers.
    pub position_prefix: PositionPrefix,
    /// How the position table is resized to another grid.
    pub position_resize: PositionResize,
    /// Probability of omitting a whole branch in the last block; grows linearly from zero.
    pub drop_path: f64,
    /// Probability of omitting single values of a branch.
    pub dropout: f64,
}

impl Default for VitConfig {
    fn default() -> Self {
        Self {
            image_size: 224,
            patch_size: 16,
            channels: 3,
            dim: 768,
            depth: 12,
            heads: 12,
            mlp_ratio: 4.0,
            mlp_dim: None,
            activation: Activation::Gelu,
            norm_eps: 1e-6,
            qkv_bias: true,
            patch_bias: true,
            class_token: true,
            registers: 0,
            pre_norm: false,
            final_norm: true,
            pool: Pool::Class,
            pool_norm: false,
            layer_scale: None,
            position: Position::Learned,
            position_prefix: PositionPrefix::All,
            position_resize: PositionResize::Bicubic,
            drop_path: 0.0,
            dropout: 0.0,
        }
    }
}

impl VitConfig {
    /// Features of a token.
    pub fn token_dim(&self) -> usize {
        self.dim
    }

    /// Refuses what no model can be built from, naming the field.
    pub fn validate(&self) -> Result<()> {
        within("image_size", self.image_size, 8192)?;
        within("patch_size", self.patch_size, self.image_size)?;
        within("channels", self.channels, 64)?;
        within("dim", self.dim, 16_384)?;
        within("depth", self.depth, 256)?;
        within("heads", self.heads, self.dim)?;
        within("registers", self.registers + 1, 1024)?;
        within("mlp_dim", self.hidden(), 65_536)?;
        if !self.dim.is_multiple_of(self.heads) {
            let why = format!("found {}, expected a divisor of dim {}", self.heads, self.dim);
            return Err(Error::config("heads", why));
        }
        if !self.image_size.is_multiple_of(self.patch_size) {
            let why = format!(
                "found {}, expected a divisor of image_size {}",
                self.patch_size, self.image_size
            );
            return Err(Error::config("patch_size", why));
        }
        if self.position == Position::Sincos && !self.dim.is_multiple_of(4) {
            let why = format!("found {}, expected a multiple of 4 for sincos positions", self.dim);
            return Err(Error::config("dim", why));
        }
        if self.pool == Pool::Class && !self.class_token {
            return Err(Error::config("pool", "found class, but class_token is false"));
        }
        small("norm_eps", self.norm_eps)?;
        for (field, p) in [("drop_path", self.drop_path), ("dropout", self.dropout)] {
            chance(field, p)?;
        }
        Ok(())
    }

    /// Features inside the feed-forward branch.
    pub fn hidden(&self) -> usize {
        self.mlp_dim.unwrap_or((self.dim as f64 * self.mlp_ratio) as usize)
    }

    /// Patches along one side of the native film.
    pub fn native_grid(&self) -> usize {
        self.image_size / self.patch_size
    }

    /// Tokens before the patches.
    pub fn prefix(&self) -> usize {
        usize::from(self.class_token) + self.registers
    }

    /// Tokens before the patches that the position table covers.
    pub(super) fn position_rows(&self) -> usize {
        match self.position_prefix {
            PositionPrefix::All => self.prefix(),
            PositionPrefix::Class => usize::from(self.class_token),
            PositionPrefix::None => 0,
        }
    }
}
