//! A convolution without bias and its batch norm, the unit of convolutional trunks.

use candle::Tensor;
use candle_nn::VarBuilder;

use super::conv::{finished, gated, trace_finished};
use super::pool::plane_means;
use super::{Activation, BatchNorm2d, Bias, Conv2d, Conv2dConfig, ConvAround, Pass, Shadow, Work};
use crate::{Error, Result};

/// How the border of a feature map is filled up with zeros, so that an odd kernel of stride s
/// leaves 1 / s of each side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Padding {
    /// As many on each side, whatever the size: PyTorch's form.
    #[default]
    Symmetric,
    /// As few as the size needs, an odd one at the end: TensorFlow's form.
    Same,
}

/// The sizes of a [`ConvNorm`].
#[derive(Clone, Copy, Debug)]
pub struct ConvNormConfig {
    /// Channels of the input.
    pub in_channels: usize,
    /// Channels of the output.
    pub out_channels: usize,
    /// Side of the kernel.
    pub kernel: usize,
    /// Step between windows.
    pub stride: usize,
    /// Channel groups.
    pub groups: usize,
    /// What lies around the input.
    pub padding: Padding,
    /// Added to the variance.
    pub eps: f64,
    /// What a training pass moves the running statistics by.
    pub momentum: f64,
}

impl Default for ConvNormConfig {
    fn default() -> Self {
        Self {
            in_channels: 1,
            out_channels: 1,
            kernel: 1,
            stride: 1,
            groups: 1,
            padding: Padding::Symmetric,
            eps: 1e-5,
            momentum: 0.1,
        }
    }
}

/// What surrounds a [`ConvNorm`]: `activation(norm(conv(gate · x)) + residual)`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Around<'a> {
    /// A factor for each channel of each sample of the input (B, C).
    pub gate: Option<&'a Tensor>,
    /// Added after the norm, of the result's shape.
    pub residual: Option<&'a Tensor>,
    /// Applied last.
    pub activation: Option<Activation>,
}

/// A convolution without bias and its batch norm; where nothing trains, both in one go with what
/// surrounds them.
#[derive(Clone, Debug)]
pub struct ConvNorm {
    conv: Conv2d,
    norm: BatchNorm2d,
    /// Kernel and stride, where the zeros depend on the size of the input.
    sized: Option<(usize, usize)>,
}

impl ConvNorm {
    /// Reads the convolution and the norm under these `names` of `vb`.
    pub fn new(config: &ConvNormConfig, names: (&str, &str), vb: &VarBuilder) -> Result<Self> {
        let &ConvNormConfig { in_channels, out_channels, kernel, stride, groups, .. } = config;
        // Both forms of padding are one where an odd kernel takes every step.
        let sized = config.padding == Padding::Same && (stride > 1 || kernel.is_multiple_of(2));
        let padding = if sized { 0 } else { kernel.saturating_sub(1) / 2 };
        let bias = Bias::Without;
        let conv =
            Conv2dConfig { in_channels, out_channels, kernel, stride, padding, groups, bias };
        Ok(Self {
            conv: Conv2d::new(&conv, vb.pp(names.0))?,
            norm: BatchNorm2d::new(out_channels, config.eps, config.momentum, vb.pp(names.1))?,
            sized: sized.then_some((kernel, stride)),
        })
    }

    /// Maps `x` (B, C, H, W) to (B, O, H', W').
    pub fn forward(&self, x: &Tensor, around: Around, pass: &Pass) -> Result<Tensor> {
        let Around { gate, residual, activation } = around;
        let x = self.padded(x)?;
        if !pass.trains() {
            let (scale, shift) = self.norm.scale_and_shift()?;
            let around = ConvAround { gate, affine: (&scale, &shift), residual, activation };
            return self.conv.forward_among(&x, around);
        }
        let x = gate.map_or_else(|| Ok(x.clone()), |gate| gated(&x, gate))?;
        finished(self.norm.forward(&self.conv.forward(&x)?, pass)?, residual, activation)
    }

    /// The memory of [`Self::forward`] without a gate, or of [`Self::forward_squeezed`] without the
    /// means.
    pub fn trace(
        &self,
        x: &Shadow,
        residual: Option<&Shadow>,
        activated: bool,
        pass: &Pass,
    ) -> Result<Shadow> {
        let x = &self.trace_padded(x)?;
        if !pass.trains() {
            return self.conv.trace_among(x, residual, activated);
        }
        Ok(trace_finished(self.norm.trace(&self.conv.trace(x)?), residual, activated))
    }

    /// The memory of [`Self::forward`] with a gate, for a kernel of one place.
    pub fn trace_gated(
        &self,
        x: &Shadow,
        gate: &Shadow,
        residual: Option<&Shadow>,
        pass: &Pass,
    ) -> Result<Shadow> {
        if !pass.trains() {
            return self.trace(x, residual, false, pass);
        }
        // candle's product makes a gradient of this size for the gate too, each with zeros and a sum.
        let backward = 5 * size_of::<f32>() * x.dims().iter().product::<usize>();
        let gated = Shadow::made(x.dims(), &[x, gate], Work { backward, ..Work::default() });
        self.trace(&gated, residual, false, pass)
    }

    /// As [`Self::forward`], and the mean of each plane of the result (B, O).
    pub fn forward_squeezed(
        &self,
        x: &Tensor,
        activation: Option<Activation>,
        pass: &Pass,
    ) -> Result<(Tensor, Tensor)> {
        if !pass.trains() {
            let (scale, shift) = self.norm.scale_and_shift()?;
            let affine = (&scale, &shift);
            let around = ConvAround { gate: None, affine, residual: None, activation };
            return self.conv.forward_squeezed(&self.padded(x)?, around);
        }
        let y = self.forward(x, Around { activation, ..Around::default() }, pass)?;
        let means = plane_means(&y)?;
        Ok((y, means))
    }

    /// `x` with the zeros that its size asks for.
    fn padded(&self, x: &Tensor) -> Result<Tensor> {
        let (_, _, height, width) = x.dims4()?;
        let (below, beside) = (self.zeros(height), self.zeros(width));
        let x = x.pad_with_zeros(2, below / 2, below.div_ceil(2))?;
        Ok(x.pad_with_zeros(3, beside / 2, beside.div_ceil(2))?)
    }

    /// The memory of [`Self::padded`].
    fn trace_padded(&self, x: &Shadow) -> Result<Shadow> {
        let &[batch, channels, height, width] = x.dims() else {
            return Err(Error::shape("convolution", "(B, C, H, W)", x.dims()));
        };
        let (below, beside) = (self.zeros(height), self.zeros(width));
        let padded = |x: &Shadow, zeros: usize, dims: [usize; 4]| {
            if zeros == 0 { x.clone() } else { Shadow::shared(&dims, &[x]) }
        };
        let x = padded(x, below, [batch, channels, height + below, width]);
        Ok(padded(&x, beside, [batch, channels, height + below, width + beside]))
    }

    /// How many zeros a side of `size` asks for, before and behind together.
    fn zeros(&self, size: usize) -> usize {
        let Some((kernel, stride)) = self.sized else { return 0 };
        let reached = (size.div_ceil(stride).max(1) - 1) * stride + kernel;
        reached.saturating_sub(size)
    }
}

#[cfg(test)]
mod tests {
    use candle::Device;

    use super::*;
    use crate::nn::Parameters;
    use crate::nn::testing::{assert_close, check_gradients, noise};
    use crate::random::Random;

    fn config(kernel: usize, stride: usize, groups: usize, padding: Padding) -> ConvNormConfig {
        let channels = 4;
        ConvNormConfig {
            in_channels: channels,
            out_channels: channels,
            kernel,
            stride,
            groups,
            padding,
            eps: 1e-3,
            ..ConvNormConfig::default()
        }
    }

    #[test]
    fn gated_and_padded_convolutions_have_true_gradients() {
        for padding in [Padding::Symmetric, Padding::Same] {
            for (kernel, stride, groups) in [(1, 1, 1), (3, 2, 4), (5, 1, 4), (3, 2, 1)] {
                let config = config(kernel, stride, groups, padding);
                for pass in [Pass::training(0, 0), Pass::inference()] {
                    check_gradients(&[&[2, 4, 5, 6], &[2, 4]], |x, vb| {
                        let layer = ConvNorm::new(&config, ("conv", "bn"), &vb)?;
                        let gate = Some(&x[1]);
                        let activation = Some(Activation::Silu);
                        layer.forward(&x[0], Around { gate, residual: None, activation }, &pass)
                    });
                }
            }
        }
    }

    /// Learning and at rest, forward and squeezed, with every combination of what surrounds.
    #[test]
    fn a_layer_at_rest_gives_what_it_gives_while_it_learns() {
        let mut random = Random::new(1, &[]);
        let mut tensor = |shape: &[usize]| noise(shape, &mut random).to_dtype(candle::DType::F32);
        for (kernel, stride, groups) in [(1, 1, 1), (3, 1, 4), (5, 2, 4), (3, 1, 2)] {
            let config = config(kernel, stride, groups, Padding::Symmetric);
            let parameters = Parameters::new(0, &Device::Cpu);
            let names = ("conv", "bn");
            let learning = ConvNorm::new(&config, names, &parameters.builder()).unwrap();
            let x = tensor(&[3, 4, 9, 7]).unwrap();
            learning.forward(&x, Around::default(), &Pass::training(0, 0)).unwrap();
            let still = ConvNorm::new(&config, names, &parameters.frozen()).unwrap();
            let pass = Pass::inference();
            let shape = [3, 4, 9usize.div_ceil(stride), 7usize.div_ceil(stride)];
            let (gate, residual) = (tensor(&[3, 4]).unwrap(), tensor(&shape).unwrap());
            for choice in 0..8 {
                let around = Around {
                    gate: (choice & 1 > 0).then_some(&gate),
                    residual: (choice & 2 > 0).then_some(&residual),
                    activation: (choice & 4 > 0).then_some(Activation::Silu),
                };
                let expected = learning.forward(&x, around, &pass).unwrap();
                let found = still.forward(&x, around, &pass).unwrap();
                assert!(expected.track_op() && !found.track_op());
                assert_close("at rest", &found, &expected, 1e-5);
            }
            let (expected, means) = learning.forward_squeezed(&x, None, &pass).unwrap();
            let (found, squeezed) = still.forward_squeezed(&x, None, &pass).unwrap();
            assert_close("squeezed", &found, &expected, 1e-5);
            assert_close("means", &squeezed, &means, 1e-5);
            let wrong = tensor(&[3, 5]).unwrap();
            let around = Around { gate: Some(&wrong), ..Around::default() };
            assert!(still.forward(&x, around, &pass).is_err());
        }
    }

    #[test]
    fn statistics_that_move_are_seen_at_once() {
        let parameters = Parameters::new(0, &Device::Cpu);
        let config = config(1, 1, 1, Padding::Symmetric);
        ConvNorm::new(&config, ("conv", "bn"), &parameters.builder()).unwrap();
        let still = ConvNorm::new(&config, ("conv", "bn"), &parameters.frozen()).unwrap();
        let x =
            noise(&[2, 4, 3, 3], &mut Random::new(2, &[])).to_dtype(candle::DType::F32).unwrap();
        let run = |pass: &Pass| still.forward(&x, Around::default(), pass).unwrap();
        let values = |x: &Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let before = values(&run(&Pass::inference()));
        run(&Pass::training(0, 0));
        assert_ne!(before, values(&run(&Pass::inference())));
    }
}
