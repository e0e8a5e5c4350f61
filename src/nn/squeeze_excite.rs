//! Squeeze and excitation: a factor for each channel, made from the means of all.
//!
//! Source: Hu et al. 2018, "Squeeze-and-Excitation Networks", arXiv:1709.01507, with the `SiLU` of
//! `EfficientNet`.

use candle::Tensor;
use candle_nn::{VarBuilder, ops};

use super::linear::{trace, uniform};
use super::{Activation, Shadow, Work, linear};
use crate::Result;

/// Maps means (B, C) to factors (B, C) in (0, 1); parameters `conv_reduce` and `conv_expand`, as
/// 1×1 convolutions with biases.
#[derive(Clone, Debug)]
pub struct SqueezeExcite {
    reduce: (Tensor, Tensor),
    expand: (Tensor, Tensor),
}

impl SqueezeExcite {
    /// A layer for `channels` channels by way of `inner`.
    pub fn new(channels: usize, inner: usize, vb: &VarBuilder) -> Result<Self> {
        let get = |from: usize, to: usize, name: &str| -> Result<(Tensor, Tensor)> {
            let weight = vb.pp(name).get_with_hints((to, from, 1, 1), "weight", uniform(from))?;
            let bias = vb.pp(name).get_with_hints(to, "bias", uniform(from))?;
            Ok((weight.reshape((to, from))?, bias))
        };
        Ok(Self {
            reduce: get(channels, inner, "conv_reduce")?,
            expand: get(inner, channels, "conv_expand")?,
        })
    }

    /// The factors for maps of these `means` (B, C).
    pub fn forward(&self, means: &Tensor) -> Result<Tensor> {
        let inner = linear(means, &self.reduce.0, Some(&self.reduce.1))?;
        let inner = Activation::Silu.apply(&inner)?; // (B, S)
        Ok(ops::sigmoid(&linear(&inner, &self.expand.0, Some(&self.expand.1))?)?)
    }

    /// The memory of [`Self::forward`].
    #[must_use]
    pub fn trace(&self, means: &Shadow) -> Shadow {
        let activated = |x: &Shadow, (weight, bias): &(Tensor, Tensor)| {
            let y = trace(x, &x.account().weight(weight), Some(bias));
            Shadow::made(y.dims(), &[&y], Work::default())
        };
        activated(&activated(means, &self.reduce), &self.expand)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::testing::check_gradients;

    #[test]
    fn gates_have_true_gradients() {
        check_gradients(&[&[3, 5]], |x, vb| SqueezeExcite::new(5, 2, &vb)?.forward(&x[0]));
    }
}
