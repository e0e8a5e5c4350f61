//! The inverted bottleneck with squeeze and excitation.
//!
//! Source: Sandler et al. 2018, "`MobileNetV2`: Inverted Residuals and Linear Bottlenecks",
//! arXiv:1801.04381, with the squeeze of Hu et al. 2018, arXiv:1709.01507, to a quarter of the
//! block's input, and `SiLU` for its nonlinearity.

use candle::Tensor;
use candle_nn::VarBuilder;

use crate::Result;
use crate::nn::{
    Activation, Around, ConvNorm, ConvNormConfig, DropPath, Pass, Shadow, SqueezeExcite, finished,
    trace_finished, trace_plane_means,
};

/// The sizes of an [`MbConv`].
#[derive(Clone, Copy, Debug)]
pub(super) struct MbConvConfig {
    /// Of the input and of the output.
    pub(super) channels: (usize, usize),
    /// Side of the depthwise kernel.
    pub(super) kernel: usize,
    pub(super) stride: usize,
    /// How many times the input's channels the inside has; with 1 nothing is widened.
    pub(super) expansion: usize,
    /// Chance that the block is skipped in training.
    pub(super) drop_connect: f64,
    /// Padding and norms of its convolutions.
    pub(super) shape: ConvNormConfig,
}

/// One block: widened, convolved channel by channel, gated, narrowed, added to its input where
/// the shapes are the same.
#[derive(Clone, Debug)]
pub(super) struct MbConv {
    expand: Option<ConvNorm>,
    depthwise: ConvNorm,
    squeeze: SqueezeExcite,
    project: ConvNorm,
    drop_path: DropPath,
    residual: bool,
}

impl MbConv {
    /// Reads `conv_pw`, `bn1`, `conv_dw`, `bn2`, `se`, `conv_pwl` and `bn3`; a block that does not
    /// widen has `conv_dw`, `bn1`, `se`, `conv_pw` and `bn2`.
    pub(super) fn new(config: &MbConvConfig, vb: &VarBuilder) -> Result<Self> {
        let &MbConvConfig { channels: (from, to), kernel, stride, expansion, .. } = config;
        let inner = from * expansion;
        let names: [(&str, &str); 3] = if expansion == 1 {
            [("", ""), ("conv_dw", "bn1"), ("conv_pw", "bn2")]
        } else {
            [("conv_pw", "bn1"), ("conv_dw", "bn2"), ("conv_pwl", "bn3")]
        };
        let pointwise =
            |from, to| ConvNormConfig { in_channels: from, out_channels: to, ..config.shape };
        let depthwise = ConvNormConfig { kernel, stride, groups: inner, ..pointwise(inner, inner) };
        let expand = || ConvNorm::new(&pointwise(from, inner), names[0], vb);
        Ok(Self {
            expand: (expansion > 1).then(expand).transpose()?,
            depthwise: ConvNorm::new(&depthwise, names[1], vb)?,
            squeeze: SqueezeExcite::new(inner, (from / 4).max(1), &vb.pp("se"))?,
            project: ConvNorm::new(&pointwise(inner, to), names[2], vb)?,
            drop_path: DropPath::new(config.drop_connect)?,
            residual: stride == 1 && from == to,
        })
    }

    /// Maps `x` (B, C, H, W) to (B, O, H / stride, W / stride).
    pub(super) fn forward(&self, x: &Tensor, pass: &Pass) -> Result<Tensor> {
        let silu = Some(Activation::Silu);
        let inner = match &self.expand {
            Some(expand) => {
                expand.forward(x, Around { activation: silu, ..Around::default() }, pass)?
            }
            None => x.clone(),
        };
        let (inner, means) = self.depthwise.forward_squeezed(&inner, silu, pass)?;
        let gate = self.squeeze.forward(&means)?; // (B, C)
        let residual = self.residual.then_some(x);
        let gated = Around { gate: Some(&gate), ..Around::default() };
        if residual.is_none() || !self.drop_path.omits(pass) {
            return self.project.forward(&inner, Around { residual, ..gated }, pass);
        }
        let y = self.project.forward(&inner, gated, pass)?;
        finished(self.drop_path.forward(&y, pass)?, residual, None)
    }

    /// The memory of [`Self::forward`].
    pub(super) fn trace(&self, x: &Shadow, pass: &Pass) -> Result<Shadow> {
        let wide = match &self.expand {
            Some(expand) => expand.trace(x, None, true, pass)?,
            None => x.clone(),
        };
        let inner = self.depthwise.trace(&wide, None, true, pass)?;
        let gate = self.squeeze.trace(&trace_plane_means(&inner));
        let residual = self.residual.then_some(x);
        if residual.is_none() || !self.drop_path.omits(pass) {
            return self.project.trace_gated(&inner, &gate, residual, pass);
        }
        let y = self.project.trace_gated(&inner, &gate, None, pass)?;
        Ok(trace_finished(self.drop_path.trace(&y, pass), residual, false))
    }
}
