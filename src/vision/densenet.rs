//! `DenseNet`: a convolutional trunk whose layers read all maps before them.
//!
//! Source: Huang et al. 2017, "Densely Connected Convolutional Networks", arXiv:1608.06993;
//! parameters are named as in torchvision. `TorchXRayVision`'s classifiers of chest radiographs are
//! the 121-layer form on one channel (Cohen et al. 2022, arXiv:2111.00595).

use candle::Tensor;
use candle_nn::VarBuilder;
use serde::{Deserialize, Serialize};

use super::encoder::{check_channels, trace_of_map};
use super::{TokenGrid, VisionEncoder};
use crate::nn::{
    Activation, Around, BatchNorm2d, ConvNorm, ConvNormConfig, DenseBlock, DenseBlockConfig,
    DenseTransition, Pass, Shadow, max_pool2d, plane_means, trace_finished, trace_plane_means,
    trace_pool2d,
};
use crate::{Error, Result};

/// The published sizes, by their number of layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DenseNetSize {
    /// DenseNet-121.
    Layers121,
    /// DenseNet-169.
    Layers169,
    /// DenseNet-201.
    Layers201,
}

/// Sizes of a [`DenseNet`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DenseNetConfig {
    /// Channels of the input.
    pub channels: usize,
    /// Width of the stem.
    pub stem_width: usize,
    /// Channels that each layer adds.
    pub growth: usize,
    /// Channels inside a layer, as a multiple of `growth`.
    pub expansion: usize,
    /// Layers in each block; between two blocks the grid and the channels are halved.
    pub depths: Vec<usize>,
    /// Chance that a number which a layer adds is omitted in training.
    pub dropout: f64,
}

impl Default for DenseNetConfig {
    /// DenseNet-121 on one channel, as `TorchXRayVision` has it.
    fn default() -> Self {
        Self::of(DenseNetSize::Layers121)
    }
}

impl DenseNetConfig {
    /// A published size on one channel.
    pub fn of(size: DenseNetSize) -> Self {
        let depths = match size {
            DenseNetSize::Layers121 => vec![6, 12, 24, 16],
            DenseNetSize::Layers169 => vec![6, 12, 32, 32],
            DenseNetSize::Layers201 => vec![6, 12, 48, 32],
        };
        Self { channels: 1, stem_width: 64, growth: 32, expansion: 4, depths, dropout: 0.0 }
    }

    /// Refuses sizes that no trunk can have.
    pub fn validate(&self) -> Result<()> {
        if self.depths.is_empty() {
            return Err(Error::config("image.depths", "found none, expected at least one"));
        }
        let sizes = [self.channels, self.stem_width, self.growth, self.expansion];
        if sizes.iter().chain(&self.depths).any(|size| *size == 0) {
            return Err(Error::config("image", "found a size of 0, expected at least 1"));
        }
        if self.blocks().iter().any(|block| block.out_channels() < 2) {
            let why = "found 1 channel before a halving, expected at least 2";
            return Err(Error::config("image.growth", why));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            let why = format!("found {}, expected a number from 0 to below 1", self.dropout);
            return Err(Error::config("image.dropout", why));
        }
        Ok(())
    }

    /// Channels of the last feature map, which are the width of the tokens.
    pub fn token_dim(&self) -> usize {
        self.blocks().last().map_or(0, DenseBlockConfig::out_channels)
    }

    fn blocks(&self) -> Vec<DenseBlockConfig> {
        let &Self { growth, expansion, dropout, .. } = self;
        let mut channels = self.stem_width;
        let block = |layers: &usize| {
            let block = DenseBlockConfig { channels, layers: *layers, growth, expansion, dropout };
            channels = block.out_channels() / 2;
            block
        };
        self.depths.iter().map(block).collect()
    }
}

/// The trunk.
#[derive(Clone, Debug)]
pub struct DenseNet {
    stem: ConvNorm,
    blocks: Vec<(DenseBlock, Option<DenseTransition>)>,
    norm: BatchNorm2d,
    channels: usize,
    dim: usize,
}

impl DenseNet {
    /// Reads `features.conv0`, `norm0`, `denseblock{1…}`, `transition{1…}` and `norm5`.
    pub fn new(config: &DenseNetConfig, vb: VarBuilder) -> Result<Self> {
        config.validate()?;
        let vb = vb.pp("features");
        let stem = ConvNormConfig {
            in_channels: config.channels,
            out_channels: config.stem_width,
            kernel: 7,
            stride: 2,
            ..ConvNormConfig::default()
        };
        let plan = config.blocks();
        let mut blocks = Vec::with_capacity(plan.len());
        for (i, block) in plan.iter().enumerate() {
            let dense = DenseBlock::new(block, &vb.pp(format!("denseblock{}", i + 1)))?;
            let between = plan.get(i + 1).map(|next| {
                let vb = vb.pp(format!("transition{}", i + 1));
                DenseTransition::new(block.out_channels(), next.channels, &vb)
            });
            blocks.push((dense, between.transpose()?));
        }
        let dim = config.token_dim();
        Ok(Self {
            stem: ConvNorm::new(&stem, ("conv0", "norm0"), &vb)?,
            blocks,
            norm: BatchNorm2d::new(dim, 1e-5, 0.1, vb.pp("norm5"))?,
            channels: config.channels,
            dim,
        })
    }
}

impl VisionEncoder for DenseNet {
    fn forward(&self, pixels: &Tensor, pass: &Pass) -> Result<TokenGrid> {
        check_channels(pixels, self.channels)?;
        let relu = Around { activation: Some(Activation::Relu), ..Around::default() };
        let mut x = max_pool2d(&self.stem.forward(pixels, relu, pass)?, 3, 2, 1)?; // (B, C, H/4, W/4)
        for (block, between) in &self.blocks {
            x = block.forward(&x, pass)?;
            if let Some(between) = between {
                x = between.forward(&x, pass)?; // half the grid
            }
        }
        let map = Activation::Relu.apply(&self.norm.forward(&x, pass)?)?;
        let pooled = Some(plane_means(&map)?); // (B, D)
        Ok(TokenGrid { pooled, ..TokenGrid::of_map(&map)? })
    }

    fn trace(&self, pixels: &Shadow, pass: &Pass) -> Result<Shadow> {
        let mut x = trace_pool2d(&self.stem.trace(pixels, None, true, pass)?, 3, 2, 1)?;
        for (block, between) in &self.blocks {
            x = block.trace(&x, pass)?;
            if let Some(between) = between {
                x = between.trace(&x, pass)?;
            }
        }
        let map = trace_finished(self.norm.trace(&x), None, true);
        let _pooled = trace_plane_means(&map);
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
    fn every_size_has_the_width_and_the_parameters_that_torchvision_counts() {
        let sizes = [
            (DenseNetSize::Layers121, 1024, 6_953_856),
            (DenseNetSize::Layers169, 1664, 12_484_480),
            (DenseNetSize::Layers201, 1920, 18_092_928),
        ];
        for (size, dim, learnt) in sizes {
            let config = DenseNetConfig { channels: 3, ..DenseNetConfig::of(size) };
            assert_eq!(config.token_dim(), dim);
            let parameters = Parameters::blank(&Device::Cpu);
            DenseNet::new(&config, parameters.builder()).unwrap();
            let counted: usize =
                parameters.trainable().iter().map(|(_, var)| var.elem_count()).sum();
            assert_eq!(counted, learnt, "{size:?}");
        }
    }

    #[test]
    fn sizes_that_no_trunk_can_have_are_refused_by_name() {
        let says = |config: DenseNetConfig| config.validate().unwrap_err().to_string();
        let thin = || DenseNetConfig { growth: 2, stem_width: 4, ..DenseNetConfig::default() };
        assert_eq!(
            says(DenseNetConfig { depths: vec![], ..thin() }),
            "config field `image.depths`: found none, expected at least one"
        );
        assert_eq!(
            says(DenseNetConfig { depths: vec![2, 0], ..thin() }),
            "config field `image`: found a size of 0, expected at least 1"
        );
        assert_eq!(
            says(DenseNetConfig { dropout: -0.5, ..thin() }),
            "config field `image.dropout`: found -0.5, expected a number from 0 to below 1"
        );
        // Too small a film for the last halving.
        let parameters = Parameters::new(0, &Device::Cpu);
        DenseNet::new(&thin(), parameters.builder()).unwrap();
        for vb in [parameters.builder(), parameters.frozen()] {
            let trunk = DenseNet::new(&thin(), vb).unwrap();
            let film = Tensor::zeros((1, 1, 16, 64), DType::F32, &Device::Cpu).unwrap();
            let error = trunk.forward(&film, &Pass::inference()).unwrap_err().to_string();
            assert_eq!(error, "window: kernel 2 does not fit 1 padded pixels");
        }
    }
}
