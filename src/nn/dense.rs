//! Densely connected layers: each reads what all before it gave.
//!
//! Source: Huang et al. 2017, "Densely Connected Convolutional Networks", arXiv:1608.06993, with
//! bottlenecks; the norm and the nonlinearity precede each convolution.

use candle::Tensor;
use candle_nn::VarBuilder;

use super::pool::trace_pool2d;
use super::{
    Activation, BatchNorm2d, Bias, Conv2d, Conv2dConfig, Dropout, Pass, Shadow, Work, avg_pool2d,
    join, trace_finished, trace_join,
};
use crate::kernels::DenseWeights;
use crate::{Error, Result, kernels};

const EPS: f64 = 1e-5;
const MOMENTUM: f64 = 0.1;

/// The sizes of a [`DenseBlock`].
#[derive(Clone, Copy, Debug)]
pub struct DenseBlockConfig {
    /// Channels of the input.
    pub channels: usize,
    /// How many layers.
    pub layers: usize,
    /// Channels that each layer adds.
    pub growth: usize,
    /// Channels inside a layer, as a multiple of `growth`.
    pub expansion: usize,
    /// Chance that a number which a layer adds is omitted in training.
    pub dropout: f64,
}

impl DenseBlockConfig {
    /// Channels of the output.
    pub fn out_channels(&self) -> usize {
        self.channels + self.layers * self.growth
    }
}

/// Layers that each add channels to the map they read; parameters `denselayer{1…}.norm1`,
/// `conv1`, `norm2` and `conv2`.
#[derive(Clone, Debug)]
pub struct DenseBlock {
    layers: Vec<Layer>,
    channels: usize,
}

#[derive(Clone, Debug)]
struct Layer {
    norm1: BatchNorm2d,
    conv1: Conv2d,
    norm2: BatchNorm2d,
    conv2: Conv2d,
    dropout: Dropout,
}

fn conv(channels: (usize, usize), kernel: usize, vb: VarBuilder) -> Result<Conv2d> {
    let config = Conv2dConfig {
        in_channels: channels.0,
        out_channels: channels.1,
        kernel,
        padding: kernel / 2,
        bias: Bias::Without,
        ..Conv2dConfig::default()
    };
    Conv2d::new(&config, vb)
}

impl Layer {
    fn new(channels: usize, config: &DenseBlockConfig, vb: &VarBuilder) -> Result<Self> {
        let inner = config.growth * config.expansion;
        Ok(Self {
            norm1: BatchNorm2d::new(channels, EPS, MOMENTUM, vb.pp("norm1"))?,
            conv1: conv((channels, inner), 1, vb.pp("conv1"))?,
            norm2: BatchNorm2d::new(inner, EPS, MOMENTUM, vb.pp("norm2"))?,
            conv2: conv((inner, config.growth), 3, vb.pp("conv2"))?,
            dropout: Dropout::new(config.dropout)?,
        })
    }

    fn forward(&self, x: &Tensor, pass: &Pass) -> Result<Tensor> {
        let inner = self.conv1.forward(&activated(x, &self.norm1, pass)?)?;
        let new = self.conv2.forward(&activated(&inner, &self.norm2, pass)?)?;
        self.dropout.forward(&new, pass)
    }

    /// The memory of [`Self::forward`].
    fn trace(&self, x: &Shadow, pass: &Pass) -> Result<Shadow> {
        let inner = self.conv1.trace(&trace_activated(x, &self.norm1))?;
        let new = self.conv2.trace(&trace_activated(&inner, &self.norm2))?;
        Ok(self.dropout.trace(&new, pass))
    }
}

fn activated(x: &Tensor, norm: &BatchNorm2d, pass: &Pass) -> Result<Tensor> {
    Activation::Relu.apply(&norm.forward(x, pass)?)
}

/// The memory of [`activated`].
fn trace_activated(x: &Shadow, norm: &BatchNorm2d) -> Shadow {
    trace_finished(norm.trace(x), None, true)
}

/// Whether neither the input nor the weights learn, and the kernels take them.
fn at_rest(x: &Tensor, weights: &[&Tensor], pass: &Pass) -> bool {
    let still = |t: &Tensor| !t.track_op() && kernels::serve(&[t]);
    !pass.trains() && still(x) && weights.iter().all(|weight| still(weight))
}

impl DenseBlock {
    /// Reads the layers under `vb`.
    pub fn new(config: &DenseBlockConfig, vb: &VarBuilder) -> Result<Self> {
        let channels = config.channels;
        let layer = |i: usize| {
            let vb = vb.pp(format!("denselayer{}", i + 1));
            Layer::new(channels + i * config.growth, config, &vb)
        };
        let layers = (0..config.layers).map(layer).collect::<Result<_>>()?;
        Ok(Self { layers, channels })
    }

    /// Maps `x` (B, C, H, W) to (B, C + L · growth, H, W).
    pub fn forward(&self, x: &Tensor, pass: &Pass) -> Result<Tensor> {
        if x.rank() != 4 || x.dim(1)? != self.channels || x.dim(2)? * x.dim(3)? == 0 {
            let expected = format!("(B, {}, H, W) without zeros", self.channels);
            return Err(Error::shape("dense block", expected, x.dims()));
        }
        let weights: Vec<&Tensor> =
            self.layers.iter().flat_map(|l| [l.conv1.weight(), l.conv2.weight()]).collect();
        if at_rest(x, &weights, pass) {
            return self.forward_at_rest(x);
        }
        let mut all = x.clone();
        for layer in &self.layers {
            all = join(&all, &layer.forward(&all, pass)?)?;
        }
        Ok(all)
    }

    /// The memory of [`Self::forward`].
    pub fn trace(&self, x: &Shadow, pass: &Pass) -> Result<Shadow> {
        let &[batch, channels, height, width] = x.dims() else {
            return Err(Error::shape("dense block", "(B, C, H, W)", x.dims()));
        };
        let learns = |layer: &Layer| layer.conv1.weight().track_op();
        if !pass.trains() && !x.learns() && !self.layers.iter().any(learns) {
            let growth = self.layers.iter().map(|layer| layer.conv2.weight().dims()[0]);
            let dims = [batch, channels + growth.sum::<usize>(), height, width];
            let inner = |layer: &Layer| layer.conv1.weight().dims()[0];
            let inner = self.layers.iter().map(inner).max().unwrap_or(0);
            let forward = kernels::dense_workspace([batch, inner, height, width])?;
            return Ok(Shadow::made(&dims, &[x], Work { forward, ..Work::default() }));
        }
        let mut all = x.clone();
        for layer in &self.layers {
            all = trace_join(&all, &layer.trace(&all, pass)?);
        }
        Ok(all)
    }

    fn forward_at_rest(&self, x: &Tensor) -> Result<Tensor> {
        let norm = |l: &Layer| Ok((l.norm1.scale_and_shift()?, l.norm2.scale_and_shift()?));
        let norms = self.layers.iter().map(norm).collect::<Result<Vec<_>>>()?;
        let layers = self.layers.iter().zip(&norms).map(|(layer, (norm1, norm2))| DenseWeights {
            norm1: (&norm1.0, &norm1.1),
            conv1: layer.conv1.weight(),
            norm2: (&norm2.0, &norm2.1),
            conv2: layer.conv2.weight(),
        });
        Ok(kernels::dense_block(x, &layers.collect::<Vec<_>>())?)
    }
}

/// Between two blocks: fewer channels on half the grid; parameters `norm` and `conv`.
#[derive(Clone, Debug)]
pub struct DenseTransition {
    norm: BatchNorm2d,
    conv: Conv2d,
}

impl DenseTransition {
    /// A layer from `from` to `to` channels.
    pub fn new(from: usize, to: usize, vb: &VarBuilder) -> Result<Self> {
        let norm = BatchNorm2d::new(from, EPS, MOMENTUM, vb.pp("norm"))?;
        Ok(Self { norm, conv: conv((from, to), 1, vb.pp("conv"))? })
    }

    /// Maps `x` (B, C, H, W) to (B, O, H / 2, W / 2).
    pub fn forward(&self, x: &Tensor, pass: &Pass) -> Result<Tensor> {
        let weight = self.conv.weight();
        let (_, channels, height, width) = x.dims4()?;
        let large = channels == weight.dim(1)? && height.min(width) > 1;
        if large && at_rest(x, &[weight], pass) {
            // Means and a product of each place by itself change places: a quarter of the work.
            let (scale, shift) = self.norm.scale_and_shift()?;
            return self.conv.forward(&kernels::halve_activated(x, (&scale, &shift))?);
        }
        avg_pool2d(&self.conv.forward(&activated(x, &self.norm, pass)?)?, 2, 2, 0)
    }

    /// The memory of [`Self::forward`].
    pub fn trace(&self, x: &Shadow, pass: &Pass) -> Result<Shadow> {
        let &[batch, channels, height, width] = x.dims() else {
            return Err(Error::shape("dense transition", "(B, C, H, W)", x.dims()));
        };
        if !pass.trains() && !x.learns() && !self.conv.weight().track_op() {
            let dims = [batch, channels, height / 2, width / 2];
            return self.conv.trace(&Shadow::made(&dims, &[x], Work::default()));
        }
        trace_pool2d(&self.conv.trace(&trace_activated(x, &self.norm))?, 2, 2, 0)
    }
}

#[cfg(test)]
mod tests {
    use candle::Device;
    use proptest::prelude::*;

    use super::*;
    use crate::nn::Parameters;
    use crate::nn::testing::{assert_close, check_gradients, noise};
    use crate::random::Random;

    const SIZES: DenseBlockConfig =
        DenseBlockConfig { channels: 3, layers: 2, growth: 2, expansion: 2, dropout: 0.0 };

    #[test]
    fn blocks_and_what_lies_between_have_true_gradients() {
        for pass in [Pass::training(0, 0), Pass::inference()] {
            check_gradients(&[&[2, 3, 4, 5]], |x, vb| {
                let x = DenseBlock::new(&SIZES, &vb.pp("block"))?.forward(&x[0], &pass)?;
                DenseTransition::new(7, 3, &vb.pp("between"))?.forward(&x, &pass)
            });
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn a_block_at_rest_gives_what_it_gives_while_it_learns(
            batch in 0usize..3, channels in 1usize..40, layers in 1usize..4, growth in 1usize..18,
            height in 1usize..19, width in 1usize..40, seed: u64,
        ) {
            let sizes = DenseBlockConfig { channels, layers, growth, ..SIZES };
            let wide = sizes.out_channels();
            let parameters = Parameters::new(seed, &Device::Cpu);
            let build = |vb: VarBuilder| {
                let block = DenseBlock::new(&sizes, &vb.pp("block")).unwrap();
                (block, DenseTransition::new(wide, 5, &vb.pp("between")).unwrap())
            };
            let learning = build(parameters.builder());
            let mut random = Random::new(seed, &[]);
            let mut tensor = |shape: &[usize]| noise(shape, &mut random).to_dtype(candle::DType::F32).unwrap();
            for (name, var) in parameters.all() {
                let value = tensor(var.dims());
                let value = if name.ends_with("running_var") { value.sqr().unwrap() } else { value };
                parameters.set(&name, &(value * 0.5).unwrap()).unwrap();
            }
            let still = build(parameters.frozen());
            let (x, pass) = (tensor(&[batch, channels, height, width]), Pass::inference());
            let expected = learning.0.forward(&x, &pass).unwrap();
            let found = still.0.forward(&x, &pass).unwrap();
            prop_assert!(!found.track_op());
            assert_close("block", &found, &expected, 1e-4);
            if height.min(width) > 1 {
                let half = learning.1.forward(&expected, &pass).unwrap();
                assert_close("between", &still.1.forward(&found, &pass).unwrap(), &half, 1e-4);
            }
        }
    }

    #[test]
    fn a_map_of_other_channels_is_refused() {
        let block = DenseBlock::new(&SIZES, &Parameters::new(0, &Device::Cpu).builder()).unwrap();
        let x = Tensor::zeros((1, 4, 2, 2), candle::DType::F32, &Device::Cpu).unwrap();
        let error = block.forward(&x, &Pass::inference()).unwrap_err().to_string();
        assert_eq!(
            error,
            "dense block: expected shape (B, 3, H, W) without zeros, got [1, 4, 2, 2]"
        );
    }
}
