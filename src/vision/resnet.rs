//! `ResNet`: a convolutional trunk whose last feature map becomes tokens.
//!
//! Source: He et al. 2015, "Deep Residual Learning for Image Recognition", arXiv:1512.03385; the
//! stride sits on the 3×3 convolution of a bottleneck (v1.5), as in torchvision, whose parameter
//! names are kept. OmniFM-DR's trunk is this one cut after `layer3` (three entries in `depths`).
//! Differs in that the stem can be small (3×3, no pooling), for films below 100 pixels.

use candle::Tensor;
use candle_nn::VarBuilder;
use serde::{Deserialize, Serialize};

use super::encoder::{check_channels, trace_of_map};
use super::{TokenGrid, VisionEncoder};
use crate::nn::{
    Activation, Around, ConvNorm, ConvNormConfig, DropPath, Pass, Shadow, finished, max_pool2d,
    trace_finished, trace_pool2d,
};
use crate::{Error, Result};

/// The two residual blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BlockKind {
    /// Two 3×3 convolutions (ResNet-18, -34).
    #[default]
    Basic,
    /// 1×1, 3×3, 1×1 with four times the channels at the end (ResNet-50 and deeper).
    Bottleneck,
}

impl BlockKind {
    fn expansion(self) -> usize {
        match self {
            Self::Basic => 1,
            Self::Bottleneck => 4,
        }
    }
}

/// Sizes of a [`ResNet`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ResNetConfig {
    /// Channels of the input.
    pub channels: usize,
    /// Which residual block.
    pub block: BlockKind,
    /// Blocks in each stage; every stage but the first halves the grid.
    pub depths: Vec<usize>,
    /// Inner width of each stage.
    pub widths: Vec<usize>,
    /// Width of the stem.
    pub stem_width: usize,
    /// Kernel of the stem's convolution, odd.
    pub stem_kernel: usize,
    /// Stride of the stem's convolution.
    pub stem_stride: usize,
    /// Whether a 3×3 max pooling with stride 2 follows the stem.
    pub stem_pool: bool,
    /// Chance that a block is skipped in training; grows linearly with depth.
    pub drop_path: f64,
}

impl Default for ResNetConfig {
    /// ResNet-50 on one channel.
    fn default() -> Self {
        Self {
            channels: 1,
            block: BlockKind::Bottleneck,
            depths: vec![3, 4, 6, 3],
            widths: vec![64, 128, 256, 512],
            stem_width: 64,
            stem_kernel: 7,
            stem_stride: 2,
            stem_pool: true,
            drop_path: 0.0,
        }
    }
}

impl ResNetConfig {
    /// Refuses sizes that no trunk can have.
    pub fn validate(&self) -> Result<()> {
        if self.depths.is_empty() || self.depths.len() != self.widths.len() {
            let why = format!(
                "found {} depths and {} widths, expected as many of each, at least one",
                self.depths.len(),
                self.widths.len()
            );
            return Err(Error::config("image.depths", why));
        }
        let sizes = [self.channels, self.stem_width, self.stem_stride];
        if sizes.iter().chain(&self.depths).chain(&self.widths).any(|size| *size == 0) {
            return Err(Error::config("image", "found a size of 0, expected at least 1"));
        }
        if self.stem_kernel.is_multiple_of(2) {
            let why = format!("found {}, expected an odd number", self.stem_kernel);
            return Err(Error::config("image.stem_kernel", why));
        }
        if !(0.0..1.0).contains(&self.drop_path) {
            let why = format!("found {}, expected a number from 0 to below 1", self.drop_path);
            return Err(Error::config("image.drop_path", why));
        }
        Ok(())
    }

    /// Channels of the last feature map, which are the width of the tokens.
    pub fn token_dim(&self) -> usize {
        self.widths.last().map_or(0, |width| width * self.block.expansion())
    }
}

/// An unpadded or evenly padded convolution and its norm.
fn conv_norm(
    (from, to): (usize, usize),
    (kernel, stride): (usize, usize),
    names: (&str, &str),
    vb: &VarBuilder,
) -> Result<ConvNorm> {
    let config = ConvNormConfig {
        in_channels: from,
        out_channels: to,
        kernel,
        stride,
        ..ConvNormConfig::default()
    };
    ConvNorm::new(&config, names, vb)
}

/// Channels (from, to) and (kernel, stride) of a convolution.
type Plan = ((usize, usize), (usize, usize));

/// One residual block.
#[derive(Clone, Debug)]
struct Block {
    convs: Vec<ConvNorm>,
    downsample: Option<ConvNorm>,
    drop_path: DropPath,
}

impl Block {
    fn new(
        kind: BlockKind,
        (from, width): (usize, usize),
        stride: usize,
        drop_path: f64,
        vb: &VarBuilder,
    ) -> Result<Self> {
        let to = width * kind.expansion();
        let plan: &[Plan] = match kind {
            BlockKind::Basic => &[((from, width), (3, stride)), ((width, to), (3, 1))],
            BlockKind::Bottleneck => {
                &[((from, width), (1, 1)), ((width, width), (3, stride)), ((width, to), (1, 1))]
            }
        };
        let convs = plan.iter().enumerate().map(|(i, (channels, shape))| {
            let names = (format!("conv{}", i + 1), format!("bn{}", i + 1));
            conv_norm(*channels, *shape, (&names.0, &names.1), vb)
        });
        let convs = convs.collect::<Result<_>>()?;
        let reshapes = stride != 1 || from != to;
        let downsample = reshapes
            .then(|| conv_norm((from, to), (1, stride), ("downsample.0", "downsample.1"), vb))
            .transpose()?;
        Ok(Self { convs, downsample, drop_path: DropPath::new(drop_path)? })
    }

    fn forward(&self, x: &Tensor, pass: &Pass) -> Result<Tensor> {
        let activated = Around { activation: Some(Activation::Relu), ..Around::default() };
        let skip = match &self.downsample {
            Some(downsample) => downsample.forward(x, Around::default(), pass)?,
            None => x.clone(),
        };
        let Some((last, before)) = self.convs.split_last() else { return Ok(skip) };
        let mut inner = x.clone();
        for conv in before {
            inner = conv.forward(&inner, activated, pass)?;
        }
        if !self.drop_path.omits(pass) {
            return last.forward(&inner, Around { residual: Some(&skip), ..activated }, pass);
        }
        let inner = last.forward(&inner, Around::default(), pass)?;
        finished(self.drop_path.forward(&inner, pass)?, Some(&skip), activated.activation)
    }
}

impl Block {
    /// The memory of [`Self::forward`].
    fn trace(&self, x: &Shadow, pass: &Pass) -> Result<Shadow> {
        let skip = match &self.downsample {
            Some(downsample) => downsample.trace(x, None, false, pass)?,
            None => x.clone(),
        };
        let Some((last, before)) = self.convs.split_last() else { return Ok(skip) };
        let mut inner = x.clone();
        for conv in before {
            inner = conv.trace(&inner, None, true, pass)?;
        }
        if !self.drop_path.omits(pass) {
            return last.trace(&inner, Some(&skip), true, pass);
        }
        let inner = self.drop_path.trace(&last.trace(&inner, None, false, pass)?, pass);
        Ok(trace_finished(inner, Some(&skip), true))
    }
}

/// The trunk.
#[derive(Clone, Debug)]
pub struct ResNet {
    stem: ConvNorm,
    stem_pool: bool,
    channels: usize,
    dim: usize,
    blocks: Vec<Block>,
}

impl ResNet {
    /// Reads `conv1`, `bn1` and `layer{1…}.{0…}` under `vb`.
    pub fn new(config: &ResNetConfig, vb: VarBuilder) -> Result<Self> {
        config.validate()?;
        let shape = (config.stem_kernel, config.stem_stride);
        let channels = (config.channels, config.stem_width);
        let stem = conv_norm(channels, shape, ("conv1", "bn1"), &vb)?;
        let total: usize = config.depths.iter().sum();
        let mut blocks = Vec::with_capacity(total);
        let mut from = config.stem_width;
        for (stage, (&depth, &width)) in config.depths.iter().zip(&config.widths).enumerate() {
            for i in 0..depth {
                let stride = if stage > 0 && i == 0 { 2 } else { 1 };
                let drop = config.drop_path * blocks.len() as f64 / (total - 1).max(1) as f64;
                let vb = vb.pp(format!("layer{}.{i}", stage + 1));
                blocks.push(Block::new(config.block, (from, width), stride, drop, &vb)?);
                from = width * config.block.expansion();
            }
        }
        let &ResNetConfig { stem_pool, channels, .. } = config;
        Ok(Self { stem, stem_pool, channels, dim: from, blocks })
    }
}

impl VisionEncoder for ResNet {
    fn forward(&self, pixels: &Tensor, pass: &Pass) -> Result<TokenGrid> {
        check_channels(pixels, self.channels)?;
        let relu = Around { activation: Some(Activation::Relu), ..Around::default() };
        let mut x = self.stem.forward(pixels, relu, pass)?; // (B, C, H/s, W/s)
        if self.stem_pool {
            x = max_pool2d(&x, 3, 2, 1)?;
        }
        for block in &self.blocks {
            x = block.forward(&x, pass)?;
        }
        TokenGrid::of_map(&x)
    }

    fn trace(&self, pixels: &Shadow, pass: &Pass) -> Result<Shadow> {
        let mut x = self.stem.trace(pixels, None, true, pass)?;
        if self.stem_pool {
            x = trace_pool2d(&x, 3, 2, 1)?;
        }
        for block in &self.blocks {
            x = block.trace(&x, pass)?;
        }
        trace_of_map(&x)
    }

    fn dim(&self) -> usize {
        self.dim
    }
}
