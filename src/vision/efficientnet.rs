//! `EfficientNet`: inverted bottlenecks, widened and deepened by one rule.
//!
//! Source: Tan and Le 2019, "`EfficientNet`: Rethinking Model Scaling for Convolutional Neural
//! Networks", arXiv:1905.11946; L2 is that of Xie et al. 2020, "Self-training with Noisy Student",
//! arXiv:1911.04252. Parameters are named as in timm. ELIXR's trunk is L2 without the head, whose
//! last map (1376 channels) is averaged over 5×5 places.

use candle::Tensor;
use candle_nn::VarBuilder;
use serde::{Deserialize, Serialize};

use super::encoder::{check_channels, trace_of_map};
use super::mbconv::{MbConv, MbConvConfig};
use super::{TokenGrid, VisionEncoder};
use crate::nn::{
    Activation, Around, ConvNorm, ConvNormConfig, Dropout, Padding, Pass, Shadow, avg_pool2d,
    plane_means, trace_plane_means, trace_pool2d,
};
use crate::{Error, Result};

/// The stages of B0: blocks, kernel, stride, expansion, channels.
const STAGES: [[usize; 5]; 7] = [
    [1, 3, 1, 1, 16],
    [2, 3, 2, 6, 24],
    [2, 5, 2, 6, 40],
    [3, 3, 2, 6, 80],
    [3, 5, 1, 6, 112],
    [4, 5, 2, 6, 192],
    [1, 3, 1, 6, 320],
];
const STEM: usize = 32;
const HEAD: usize = 1280;
/// The largest factor of a width or depth.
const MOST: f64 = 10.0;

/// The published sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)] // their names say all
pub enum EfficientNetSize {
    B0,
    B1,
    B2,
    B3,
    B4,
    B5,
    B6,
    B7,
    L2,
}

impl EfficientNetSize {
    /// Every size, the smallest first.
    pub const ALL: [Self; 9] =
        [Self::B0, Self::B1, Self::B2, Self::B3, Self::B4, Self::B5, Self::B6, Self::B7, Self::L2];

    /// Factors of width and depth, side of the films in pixels, dropout.
    fn factors(self) -> (f64, f64, usize, f64) {
        match self {
            Self::B0 => (1.0, 1.0, 224, 0.2),
            Self::B1 => (1.0, 1.1, 240, 0.2),
            Self::B2 => (1.1, 1.2, 260, 0.3),
            Self::B3 => (1.2, 1.4, 300, 0.3),
            Self::B4 => (1.4, 1.8, 380, 0.4),
            Self::B5 => (1.6, 2.2, 456, 0.4),
            Self::B6 => (1.8, 2.6, 528, 0.5),
            Self::B7 => (2.0, 3.1, 600, 0.5),
            Self::L2 => (4.3, 5.3, 800, 0.5),
        }
    }

    /// The side in pixels of the films that the size was made for; any other works.
    pub fn resolution(self) -> usize {
        self.factors().2
    }
}

/// Sizes of an [`EfficientNet`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EfficientNetConfig {
    /// Channels of the input.
    pub channels: usize,
    /// Factor of every stage's channels.
    pub width: f64,
    /// Factor of every stage's blocks.
    pub depth: f64,
    /// What lies around the maps; published TensorFlow weights need `same`.
    pub padding: Padding,
    /// Whether the last map is widened to four times its channels, and its mean given as well.
    pub head: bool,
    /// Places along each side of the last map that are averaged to one token.
    pub cell: usize,
    /// Chance that a feature of the mean is omitted in training.
    pub dropout: f64,
    /// Chance that a block is skipped in training; grows linearly with depth.
    pub drop_connect: f64,
    /// Added to the variance in the norms: 1e-5 in PyTorch's weights, 1e-3 in TensorFlow's.
    pub norm_eps: f64,
    /// What a training pass moves the running statistics by: PyTorch's 0.1, TensorFlow's 0.01.
    pub norm_momentum: f64,
}

impl Default for EfficientNetConfig {
    /// B0 on one channel.
    fn default() -> Self {
        Self::of(EfficientNetSize::B0)
    }
}

impl EfficientNetConfig {
    /// A published size on one channel.
    pub fn of(size: EfficientNetSize) -> Self {
        let (width, depth, _, dropout) = size.factors();
        Self {
            channels: 1,
            width,
            depth,
            padding: Padding::Symmetric,
            head: true,
            cell: 1,
            dropout,
            drop_connect: 0.2,
            norm_eps: 1e-5,
            norm_momentum: 0.1,
        }
    }

    /// ELIXR's trunk: 1280 × 1280 pixels become 8 × 8 tokens of 1376 features.
    pub fn elixr() -> Self {
        Self { head: false, cell: 5, ..Self::of(EfficientNetSize::L2).as_in_tensorflow() }
    }

    /// The same size with the padding and the norms of the published TensorFlow weights.
    #[must_use]
    pub fn as_in_tensorflow(self) -> Self {
        Self { padding: Padding::Same, norm_eps: 1e-3, norm_momentum: 0.01, ..self }
    }

    /// Refuses sizes that no trunk can have.
    pub fn validate(&self) -> Result<()> {
        for (field, value) in [("image.width", self.width), ("image.depth", self.depth)] {
            if !(value > 0.0 && value <= MOST) {
                let why = format!("found {value}, expected a number above 0, at most {MOST}");
                return Err(Error::config(field, why));
            }
        }
        for (field, value) in [("image.channels", self.channels), ("image.cell", self.cell)] {
            if value == 0 {
                return Err(Error::config(field, "found 0, expected at least 1"));
            }
        }
        let chances = [("dropout", self.dropout), ("drop_connect", self.drop_connect)];
        if let Some((name, value)) = chances.iter().find(|(_, p)| !(0.0..1.0).contains(p)) {
            let why = format!("found {value}, expected a number from 0 to below 1");
            return Err(Error::config(format!("image.{name}"), why));
        }
        if !(self.norm_eps > 0.0 && (0.0..=1.0).contains(&self.norm_momentum)) {
            let why = format!(
                "found eps {} and momentum {}, expected one above 0 and one from 0 to 1",
                self.norm_eps, self.norm_momentum
            );
            return Err(Error::config("image.norm", why));
        }
        Ok(())
    }

    /// Channels of the last feature map, which are the width of the tokens.
    pub fn token_dim(&self) -> usize {
        self.widened(if self.head { HEAD } else { STAGES[6][4] })
    }

    /// `channels` times the width: a multiple of eight, not below nine tenths of the product.
    fn widened(&self, channels: usize) -> usize {
        let exact = channels as f64 * self.width;
        let near = (((exact + 4.0) / 8.0) as usize * 8).max(8);
        if (near as f64) < 0.9 * exact { near + 8 } else { near }
    }

    /// Blocks of a stage that has `blocks` in B0.
    fn deepened(&self, blocks: usize) -> usize {
        (blocks as f64 * self.depth).ceil() as usize
    }

    /// The form that every convolution shares.
    fn conv(&self) -> ConvNormConfig {
        ConvNormConfig {
            padding: self.padding,
            eps: self.norm_eps,
            momentum: self.norm_momentum,
            ..ConvNormConfig::default()
        }
    }
}

/// The trunk.
#[derive(Clone, Debug)]
pub struct EfficientNet {
    stem: ConvNorm,
    blocks: Vec<MbConv>,
    head: Option<ConvNorm>,
    dropout: Dropout,
    cell: usize,
    channels: usize,
    dim: usize,
}

impl EfficientNet {
    /// Reads `conv_stem`, `bn1`, `blocks.{0…6}.{0…}` and, with a head, `conv_head` and `bn2`.
    pub fn new(config: &EfficientNetConfig, vb: VarBuilder) -> Result<Self> {
        config.validate()?;
        let &EfficientNetConfig { channels, cell, dropout, drop_connect, .. } = config;
        let shape = config.conv();
        let mut from = config.widened(STEM);
        let stem = ConvNormConfig {
            in_channels: channels,
            out_channels: from,
            kernel: 3,
            stride: 2,
            ..shape
        };
        let stem = ConvNorm::new(&stem, ("conv_stem", "bn1"), &vb)?;
        let total: usize = STAGES.iter().map(|stage| config.deepened(stage[0])).sum();
        let mut blocks = Vec::with_capacity(total);
        for (number, [depth, kernel, stride, expansion, width]) in STAGES.into_iter().enumerate() {
            for i in 0..config.deepened(depth) {
                let to = config.widened(width);
                let block = MbConvConfig {
                    channels: (from, to),
                    kernel,
                    stride: if i == 0 { stride } else { 1 },
                    expansion,
                    drop_connect: drop_connect * blocks.len() as f64 / total as f64,
                    shape,
                };
                blocks.push(MbConv::new(&block, &vb.pp(format!("blocks.{number}.{i}")))?);
                from = to;
            }
        }
        let dim = config.token_dim();
        let head = ConvNormConfig { in_channels: from, out_channels: dim, ..shape };
        let head = config.head.then(|| ConvNorm::new(&head, ("conv_head", "bn2"), &vb));
        let (head, dropout) = (head.transpose()?, Dropout::new(dropout)?);
        Ok(Self { stem, blocks, head, dropout, cell, channels, dim })
    }

    /// The last feature map of `pixels` (B, C, H, W), before any pooling: (B, D, H/32, W/32).
    pub fn feature_map(&self, pixels: &Tensor, pass: &Pass) -> Result<Tensor> {
        check_channels(pixels, self.channels)?;
        let silu = Around { activation: Some(Activation::Silu), ..Around::default() };
        let mut x = self.stem.forward(pixels, silu, pass)?; // (B, C, H/2, W/2)
        for block in &self.blocks {
            x = block.forward(&x, pass)?;
        }
        match &self.head {
            Some(head) => head.forward(&x, silu, pass),
            None => Ok(x),
        }
    }

    /// The memory of [`Self::feature_map`].
    fn trace_map(&self, pixels: &Shadow, pass: &Pass) -> Result<Shadow> {
        let mut x = self.stem.trace(pixels, None, true, pass)?;
        for block in &self.blocks {
            x = block.trace(&x, pass)?;
        }
        match &self.head {
            Some(head) => head.trace(&x, None, true, pass),
            None => Ok(x),
        }
    }
}

impl VisionEncoder for EfficientNet {
    fn forward(&self, pixels: &Tensor, pass: &Pass) -> Result<TokenGrid> {
        let map = self.feature_map(pixels, pass)?;
        let pooled = match &self.head {
            Some(_) => Some(self.dropout.forward(&plane_means(&map)?, pass)?), // (B, D)
            None => None,
        };
        let map = if self.cell > 1 { avg_pool2d(&map, self.cell, self.cell, 0)? } else { map };
        Ok(TokenGrid { pooled, ..TokenGrid::of_map(&map)? })
    }

    fn trace(&self, pixels: &Shadow, pass: &Pass) -> Result<Shadow> {
        let map = self.trace_map(pixels, pass)?;
        let _pooled = trace_plane_means(&map);
        let map = if self.cell > 1 { trace_pool2d(&map, self.cell, self.cell, 0)? } else { map };
        trace_of_map(&map)
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

    #[test]
    fn every_size_has_the_channels_and_blocks_of_the_paper() {
        let of = |size| {
            let config = EfficientNetConfig::of(size);
            let widths = STAGES.map(|stage| config.widened(stage[4]));
            let depths = STAGES.map(|stage| config.deepened(stage[0]));
            (config.widened(STEM), widths, depths, config.token_dim())
        };
        let b0 = (32, [16, 24, 40, 80, 112, 192, 320], [1, 2, 2, 3, 3, 4, 1], 1280);
        let b4 = (48, [24, 32, 56, 112, 160, 272, 448], [2, 4, 4, 6, 6, 8, 2], 1792);
        let l2 = (136, [72, 104, 176, 344, 480, 824, 1376], [6, 11, 11, 16, 16, 22, 6], 5504);
        assert_eq!(of(EfficientNetSize::B0), b0);
        assert_eq!(of(EfficientNetSize::B4), b4);
        assert_eq!(of(EfficientNetSize::L2), l2);
        assert_eq!(EfficientNetSize::ALL.map(EfficientNetSize::resolution)[8], 800);
    }

    #[test]
    fn the_trunk_of_elixr_gives_eight_by_eight_tokens_of_its_published_width() {
        assert_eq!(EfficientNetConfig::elixr().token_dim(), 1376);
        // As many places at a width that a test can bear.
        let thin = EfficientNetConfig { width: 0.1, depth: 0.1, ..EfficientNetConfig::elixr() };
        let parameters = Parameters::new(0, &Device::Cpu);
        EfficientNet::new(&thin, parameters.builder()).unwrap();
        let still = EfficientNet::new(&thin, parameters.frozen()).unwrap();
        let film = Tensor::zeros((1, 1, 1280, 1280), DType::F32, &Device::Cpu).unwrap();
        let grid = still.forward(&film, &Pass::inference()).unwrap();
        assert_eq!((grid.grid, grid.tokens.dims()), ([1, 8, 8], [1, 64, 32].as_slice()));
    }

    #[test]
    fn sizes_that_no_trunk_can_have_are_refused_by_name() {
        let says = |config: EfficientNetConfig| config.validate().unwrap_err().to_string();
        let b0 = EfficientNetConfig::default;
        assert_eq!(
            says(EfficientNetConfig { width: f64::NAN, ..b0() }),
            "config field `image.width`: found NaN, expected a number above 0, at most 10"
        );
        assert_eq!(
            says(EfficientNetConfig { cell: 0, ..b0() }),
            "config field `image.cell`: found 0, expected at least 1"
        );
        assert_eq!(
            says(EfficientNetConfig { drop_connect: 1.0, ..b0() }),
            "config field `image.drop_connect`: found 1, expected a number from 0 to below 1"
        );
        let parameters = Parameters::new(0, &Device::Cpu);
        let thin = EfficientNetConfig { width: 0.1, depth: 0.1, ..b0() };
        let trunk = EfficientNet::new(&thin, parameters.builder()).unwrap();
        let film = Tensor::zeros((1, 3, 64, 64), DType::F32, &Device::Cpu).unwrap();
        let error = trunk.forward(&film, &Pass::inference()).unwrap_err().to_string();
        assert_eq!(error, "pixels: expected shape (B, 1, H, W), got [1, 3, 64, 64]");
    }
}
