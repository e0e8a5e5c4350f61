//! Two-dimensional convolution, grouped and strided.

use candle::Tensor;
use candle_nn::VarBuilder;

use super::composed::wide;
use super::half::{same_type, widened};
use super::linear::uniform;
use super::pool::plane_means;
use super::windows::{Window, windows};
use super::{Activation, Bias, Shadow, Work};
use crate::kernels::Geometry;
use crate::{Error, Result, kernels};

/// The geometry of a [`Conv2d`]; kernel, stride and padding are square.
#[derive(Clone, Copy, Debug)]
pub struct Conv2dConfig {
    /// Channels of the input.
    pub in_channels: usize,
    /// Channels of the output.
    pub out_channels: usize,
    /// Side of the kernel.
    pub kernel: usize,
    /// Step between windows.
    pub stride: usize,
    /// Zeros on each side.
    pub padding: usize,
    /// Channel groups; `in_channels` of them make a depthwise convolution.
    pub groups: usize,
    /// Whether a bias is added.
    pub bias: Bias,
}

impl Default for Conv2dConfig {
    fn default() -> Self {
        Self {
            in_channels: 1,
            out_channels: 1,
            kernel: 1,
            stride: 1,
            padding: 0,
            groups: 1,
            bias: Bias::With,
        }
    }
}

/// Convolution of (B, C, H, W); parameters `weight` (O, C / G, K, K) and `bias` (O).
#[derive(Clone, Debug)]
pub struct Conv2d {
    weight: Tensor,
    bias: Option<Tensor>,
    window: Window,
    groups: usize,
}

impl Conv2d {
    /// A layer initialised as PyTorch does.
    pub fn new(config: &Conv2dConfig, vb: VarBuilder) -> Result<Self> {
        let Conv2dConfig { in_channels, out_channels, kernel, stride, padding, groups, bias } =
            *config;
        if in_channels == 0 || out_channels == 0 {
            let why = format!("found {in_channels} in and {out_channels} out, expected at least 1");
            return Err(Error::config("channels", why));
        }
        let divides = groups > 0 && in_channels % groups == 0 && out_channels % groups == 0;
        if !divides {
            let why =
                format!("found {groups}, expected a divisor of {in_channels} and {out_channels}");
            return Err(Error::config("groups", why));
        }
        let init = uniform(in_channels / groups * kernel * kernel);
        let shape = (out_channels, in_channels / groups, kernel, kernel);
        let weight = vb.get_with_hints(shape, "weight", init)?;
        let bias = match bias {
            Bias::With => Some(vb.get_with_hints(out_channels, "bias", init)?),
            Bias::Without => None,
        };
        Ok(Self { weight, bias, window: Window { kernel, stride, padding }, groups })
    }

    /// Maps `x` (B, C, H, W) to (B, O, H', W').
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        conv2d(x, &self.weight, self.bias.as_ref(), self.window, self.groups)
    }

    /// [`Self::forward`] and what surrounds it: in one go where nothing learns, else composed.
    pub fn forward_among(&self, x: &Tensor, around: ConvAround) -> Result<Tensor> {
        let ConvAround { gate, affine: (scale, shift), residual, activation } = around;
        if self.served(x, &[gate, Some(scale), Some(shift), residual]) {
            let (geometry, then) = (self.geometry(), around.on_slices());
            check(x, &self.weight, self.window, self.groups)?;
            if let Some(y) = kernels::conv2d_finished(x, &self.weight, geometry, then)? {
                return Ok(y);
            }
        }
        let gated = gate.map(|gate| gated(x, gate)).transpose()?;
        let y = self.forward(gated.as_ref().unwrap_or(x))?;
        let affine = affine(&wide(&y)?, scale, shift)?.to_dtype(y.dtype())?;
        finished(affine, residual, activation)
    }

    /// As [`Self::forward_among`] without a residual, and the mean of each plane of the result
    /// (B, O): for a depthwise convolution both in one go where nothing learns.
    pub fn forward_squeezed(&self, x: &Tensor, around: ConvAround) -> Result<(Tensor, Tensor)> {
        let ConvAround { gate, affine: (scale, shift), residual, .. } = around;
        let alone = gate.is_none() && residual.is_none() && self.weight.dim(1)? == 1;
        if alone && self.groups > 1 && self.served(x, &[Some(scale), Some(shift)]) {
            check(x, &self.weight, self.window, self.groups)?;
            let (geometry, then) = (self.geometry(), around.on_slices());
            return Ok(kernels::depthwise_finished(x, &self.weight, geometry, then)?);
        }
        let y = self.forward_among(x, around)?;
        let means = plane_means(&y)?;
        Ok((y, means))
    }

    /// Whether nothing learns and the kernels take all of these tensors.
    fn served(&self, x: &Tensor, parts: &[Option<&Tensor>]) -> bool {
        let mut all = parts.iter().copied().flatten().chain([x, &self.weight]);
        self.bias.is_none() && all.all(|t| !t.track_op() && kernels::serve(&[t]))
    }

    fn geometry(&self) -> Geometry {
        let Window { kernel, stride, padding } = self.window;
        Geometry { kernel, stride, padding, groups: self.groups }
    }

    /// The memory of [`Self::forward`].
    pub fn trace(&self, x: &Shadow) -> Result<Shadow> {
        let (dims, work) = self.sizes(x)?;
        let weight = x.account().weight(&self.weight);
        let y = Shadow::made(&dims, &[&x.in_order(), &weight], work);
        Ok(match &self.bias {
            Some(bias) => {
                let bias = x.account().weight(bias).view(&dims);
                Shadow::shared(&dims, &[&y, &bias])
            }
            None => y,
        })
    }

    /// The memory of [`Self::forward_among`]; a gate is of no account where it is applied on the way.
    pub fn trace_among(
        &self,
        x: &Shadow,
        residual: Option<&Shadow>,
        activated: bool,
    ) -> Result<Shadow> {
        let (dims, work) = self.sizes(x)?;
        let at_once = !x.learns() && !self.weight.track_op() && self.bias.is_none();
        if at_once && !(self.depthwise() && residual.is_some()) {
            return Ok(Shadow::made(&dims, &[x], work));
        }
        let y = Shadow::made(&dims, &[&self.trace(x)?], Work::default());
        let y = Shadow::shared(&dims, &[&y]);
        Ok(trace_finished(y, residual, activated))
    }

    /// The sizes of the result, and what the kernel needs: its input, or the gradient, laid out
    /// with its padding, and the partial sums of the weights' gradient.
    fn sizes(&self, x: &Shadow) -> Result<(Vec<usize>, Work)> {
        let &[batch, _, height, width] = x.dims() else {
            return Err(Error::shape("conv2d", "(B, C, H, W)", x.dims()));
        };
        let geometry = self.geometry();
        let shape = [self.window.count(height)?, self.window.count(width)?];
        let [forward, backward] =
            kernels::conv2d_workspace(x.dims(), self.weight.dims(), geometry)?;
        Ok((vec![batch, self.weight.dims()[0], shape[0], shape[1]], Work { forward, backward }))
    }

    fn depthwise(&self) -> bool {
        self.groups > 1 && self.weight.dims()[1] == 1
    }

    /// The weight (O, C / G, K, K).
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// The bias (O).
    pub fn bias(&self) -> Option<&Tensor> {
        self.bias.as_ref()
    }
}

/// What surrounds a convolution when a batch norm at rest follows it:
/// `activation(scale · conv(gate · x) + shift + residual)`.
#[derive(Clone, Copy, Debug)]
pub struct ConvAround<'a> {
    /// A factor for each channel of each sample of the input (B, C).
    pub gate: Option<&'a Tensor>,
    /// `scale` and `shift`, each (O).
    pub affine: (&'a Tensor, &'a Tensor),
    /// Added next, of the result's shape.
    pub residual: Option<&'a Tensor>,
    /// Applied last.
    pub activation: Option<Activation>,
}

impl<'a> ConvAround<'a> {
    fn on_slices(self) -> kernels::ConvFollowing<'a> {
        let Self { gate, affine: (scale, shift), residual, activation } = self;
        let map = activation.map(Activation::on_slices);
        kernels::ConvFollowing { gate, scale, shift, residual, map }
    }
}

/// `x` (B, C, H, W) times a factor for each of its planes (B, C).
pub(crate) fn gated(x: &Tensor, gate: &Tensor) -> Result<Tensor> {
    let (batch, channels) = gate.dims2()?;
    Ok(x.broadcast_mul(&gate.reshape((batch, channels, 1, 1))?)?)
}

/// `activation(y + residual)`, each where there is one.
pub(crate) fn finished(
    y: Tensor,
    residual: Option<&Tensor>,
    activation: Option<Activation>,
) -> Result<Tensor> {
    let y = match residual {
        Some(residual) => (residual + y)?,
        None => y,
    };
    activation.map_or_else(|| Ok(y.clone()), |activation| activation.apply(&y))
}

/// The memory of [`finished`].
pub(crate) fn trace_finished(y: Shadow, residual: Option<&Shadow>, activated: bool) -> Shadow {
    let y = match residual {
        Some(residual) => Shadow::shared(y.dims(), &[residual, &y]),
        None => y,
    };
    if activated { Shadow::made(y.dims(), &[&y], Work::default()) } else { y }
}

/// Refuses sizes that do not fit one another.
fn check(x: &Tensor, weight: &Tensor, window: Window, groups: usize) -> Result<()> {
    let &[outputs, inputs, rows, columns] = weight.dims() else {
        return Err(Error::shape("conv2d weight", "(O, C / G, K, K)", weight.dims()));
    };
    let square = [rows, columns] == [window.kernel; 2];
    if !square || groups == 0 || outputs == 0 || inputs == 0 || outputs % groups != 0 {
        let expected = format!("(n·{groups}, C / {groups}, {0}, {0})", window.kernel);
        return Err(Error::shape("conv2d weight", expected, weight.dims()));
    }
    let channels = inputs * groups;
    let fits = x.rank() == 4 && x.dim(1)? == channels;
    if !fits {
        return Err(Error::shape("conv2d", format!("(B, {channels}, H, W)"), x.dims()));
    }
    window.count(x.dim(2)?)?;
    window.count(x.dim(3)?)?;
    Ok(())
}

/// Convolves `x` (B, C, H, W) with `weight` (O, C / groups, K, K): (B, O, H', W').
pub fn conv2d(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    window: Window,
    groups: usize,
) -> Result<Tensor> {
    check(x, weight, window, groups)?;
    if let Some(bias) = bias {
        same_type("conv2d bias", bias, x)?;
    }
    let alone = |[x, weight]: [&Tensor; 2]| conv2d(x, weight, None, window, groups);
    let parts = [("input", x), ("weight", weight)];
    let y = if let Some(y) = widened("conv2d", parts, alone)? {
        y
    } else if kernels::serve(&[x, weight]) {
        let Window { kernel, stride, padding } = window;
        kernels::conv2d(x, weight, Geometry { kernel, stride, padding, groups })?
    } else {
        unfolded(&x.to_dtype(weight.dtype())?, weight, window, groups)?
    };
    match bias {
        Some(bias) => Ok(y.broadcast_add(&bias.to_dtype(y.dtype())?.reshape((1, (), 1, 1))?)?),
        None => Ok(y),
    }
}

/// `scale · x + shift` of `x` (B, C, H, W), with factors for each channel (C).
pub(super) fn affine(x: &Tensor, scale: &Tensor, shift: &Tensor) -> Result<Tensor> {
    let scale = scale.reshape((1, (), 1, 1))?;
    Ok(x.broadcast_mul(&scale)?.broadcast_add(&shift.reshape((1, (), 1, 1))?)?)
}

/// The convolution as a product with every window. candle's own has no gradient where the stride
/// leaves a rest.
fn unfolded(x: &Tensor, weight: &Tensor, window: Window, groups: usize) -> Result<Tensor> {
    let (batch, channels, height, width) = x.dims4()?;
    let (h, w) = (window.count(height)?, window.count(width)?);
    let (outputs, taps) = (weight.dim(0)?, window.kernel * window.kernel);
    let x = windows(x, window, 0.0)?.reshape((batch, channels, h * w, taps))?.transpose(2, 3)?;
    let x = x.reshape((batch, groups, channels / groups * taps, h * w))?;
    let weight = weight.reshape((groups, outputs / groups, channels / groups * taps))?;
    let weight = weight.broadcast_left(batch)?;
    Ok(weight.contiguous()?.matmul(&x)?.reshape((batch, outputs, h, w))?)
}

#[cfg(test)]
mod tests {
    use candle::{DType, Device};

    use super::*;
    use crate::nn::Parameters;

    #[test]
    fn what_follows_a_convolution_is_the_same_in_one_go_and_composed() {
        let config = Conv2dConfig {
            in_channels: 3,
            out_channels: 5,
            kernel: 3,
            padding: 1,
            bias: Bias::Without,
            ..Conv2dConfig::default()
        };
        let parameters = Parameters::new(0, &Device::Cpu);
        let learning = Conv2d::new(&config, parameters.builder()).unwrap();
        let still = Conv2d::new(&config, parameters.frozen()).unwrap();
        let tensor = |shape: &[usize]| Tensor::randn(0f32, 1.0, shape, &Device::Cpu).unwrap();
        let (x, residual) = (tensor(&[2, 3, 7, 9]), tensor(&[2, 5, 7, 9]));
        let (scale, shift) = (tensor(&[5]), tensor(&[5]));
        let run = |conv: &Conv2d, residual: &Tensor| {
            let around = ConvAround {
                gate: None,
                affine: (&scale, &shift),
                residual: Some(residual),
                activation: Some(Activation::Gelu),
            };
            conv.forward_among(&x, around)
        };
        let (composed, at_once) = (run(&learning, &residual), run(&still, &residual).unwrap());
        assert!(!at_once.track_op());
        let apart = (composed.unwrap() - at_once).unwrap().abs().unwrap().max_all().unwrap();
        assert!(apart.to_scalar::<f32>().unwrap() < 1e-5);
        let wrong = Tensor::zeros((2, 5, 9, 7), DType::F32, &Device::Cpu).unwrap();
        assert!(run(&still, &wrong).is_err() && run(&learning, &wrong).is_err());
    }
}
