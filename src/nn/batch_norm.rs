//! Batch normalisation of feature maps.
//!
//! Source: Ioffe and Szegedy 2015, "Batch Normalization", arXiv:1502.03167.

use std::sync::{Arc, Mutex, PoisonError};

use candle::{DType, Tensor, Var};
use candle_nn::{Init, VarBuilder};

use super::composed::wide;
use super::conv::affine;
use super::half::widened;
use super::{Pass, Shadow, Work};
use crate::kernels::Statistics;
use crate::{Error, Result, kernels};

/// Normalises each channel of (B, C, H, W); parameters `weight`, `bias` and the statistics
/// `running_mean`, `running_var`, all (C).
///
/// A training pass uses the batch's statistics, lets gradients through them, and moves the
/// running ones by `momentum` (the variance unbiased), in the tensors that are saved.
#[derive(Clone, Debug)]
pub struct BatchNorm2d {
    weight: Tensor,
    bias: Tensor,
    running_mean: Var,
    running_var: Var,
    eps: f64,
    momentum: f64,
    /// What [`Self::scale_and_shift`] gave where nothing learns, until the statistics move.
    at_rest: Arc<Mutex<Option<(Tensor, Tensor)>>>,
}

impl BatchNorm2d {
    /// A layer with unit variance and zero mean on record; PyTorch's momentum is 0.1.
    pub fn new(channels: usize, eps: f64, momentum: f64, vb: VarBuilder) -> Result<Self> {
        let get = |name: &str, value| vb.get_with_hints(channels, name, Init::Const(value));
        Ok(Self {
            weight: get("weight", 1.0)?,
            bias: get("bias", 0.0)?,
            // A variable taken from `Parameters` keeps its storage, so updates reach what is saved.
            running_mean: Var::from_tensor(&get("running_mean", 0.0)?)?,
            running_var: Var::from_tensor(&get("running_var", 1.0)?)?,
            eps,
            momentum,
            at_rest: Arc::default(),
        })
    }

    /// Maps `x` (B, C, H, W) to the same shape.
    pub fn forward(&self, x: &Tensor, pass: &Pass) -> Result<Tensor> {
        let channels = self.weight.elem_count();
        if x.rank() != 4 || x.dim(1)? != channels {
            return Err(Error::shape("batch norm", format!("(B, {channels}, H, W)"), x.dims()));
        }
        let parts = [("input", x), ("weight", &self.weight), ("bias", &self.bias)];
        let alone = |[x, weight, bias]: [&Tensor; 3]| {
            let layer = Self { weight: weight.clone(), bias: bias.clone(), ..self.clone() };
            layer.forward(x, pass)
        };
        if let Some(y) = widened("batch norm", parts, alone)? {
            return Ok(y);
        }
        if pass.trains() { self.forward_batch(x, pass) } else { self.forward_running(x) }
    }

    /// The memory of [`Self::forward`].
    #[must_use]
    pub fn trace(&self, x: &Shadow) -> Shadow {
        let [weight, bias] = [&self.weight, &self.bias].map(|w| x.account().weight(w));
        Shadow::made(x.dims(), &[&x.in_order(), &weight, &bias], Work::default())
    }

    /// The affine map (scale, shift), each (C), that inference applies; foldable into a
    /// convolution before it. Kept where nothing learns.
    pub fn scale_and_shift(&self) -> Result<(Tensor, Tensor)> {
        if self.weight.track_op() {
            return self.affine();
        }
        let mut at_rest = self.at_rest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = &*at_rest {
            return Ok(known.clone());
        }
        Ok(at_rest.insert(self.affine()?).clone())
    }

    fn affine(&self) -> Result<(Tensor, Tensor)> {
        let mean = self.running_mean.as_detached_tensor();
        let deviation = (self.running_var.as_detached_tensor() + self.eps)?.sqrt()?;
        let scale = (&self.weight / deviation)?;
        let shift = (&self.bias - (mean * &scale)?)?;
        Ok((scale, shift))
    }

    fn forward_running(&self, x: &Tensor) -> Result<Tensor> {
        if kernels::serve(&[x, &self.weight]) {
            let values = |var: &Var| var.to_dtype(DType::F32)?.to_vec1::<f32>();
            let (mean, variance) = (values(&self.running_mean)?, values(&self.running_var)?);
            return self.fused(x, &Statistics { mean, variance }, false);
        }
        let (scale, shift) = self.scale_and_shift()?;
        Ok(affine(&wide(x)?, &scale, &shift)?.to_dtype(x.dtype())?)
    }

    fn forward_batch(&self, x: &Tensor, pass: &Pass) -> Result<Tensor> {
        let (batch, channels, height, width) = x.dims4()?;
        let count = batch * height * width;
        if count < 2 {
            let why = "training needs more than one value for each channel; found 1";
            return Err(Error::value("batch norm", why));
        }
        if kernels::serve(&[x, &self.weight]) {
            let batch = kernels::batch_statistics(x)?;
            let row = |values: &[f32]| Tensor::new(values, x.device());
            self.record(&row(&batch.mean)?, &row(&batch.variance)?, count, pass)?;
            return self.fused(x, &batch, true);
        }
        let wide = wide(x)?;
        let mean = wide.mean_keepdim((0, 2, 3))?; // (1, C, 1, 1)
        let centred = wide.broadcast_sub(&mean)?;
        let variance = centred.sqr()?.mean_keepdim((0, 2, 3))?;
        let unit = centred.broadcast_div(&(&variance + self.eps)?.sqrt()?)?;
        self.record(&mean.reshape(channels)?, &variance.reshape(channels)?, count, pass)?;
        Ok(affine(&unit, &self.weight, &self.bias)?.to_dtype(x.dtype())?)
    }

    fn fused(&self, x: &Tensor, statistics: &Statistics, through: bool) -> Result<Tensor> {
        Ok(kernels::batch_norm(x, &self.weight, &self.bias, statistics, self.eps, through)?)
    }

    fn record(&self, mean: &Tensor, variance: &Tensor, count: usize, pass: &Pass) -> Result<()> {
        if pass.repeats() {
            return Ok(());
        }
        *self.at_rest.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let unbiased = (variance.detach() * (count as f64 / (count as f64 - 1.0)))?;
        self.blend(&self.running_mean, &mean.detach())?;
        self.blend(&self.running_var, &unbiased)
    }

    fn blend(&self, running: &Var, batch: &Tensor) -> Result<()> {
        let kept = (running.as_detached_tensor() * (1.0 - self.momentum))?;
        let moved = (batch.to_dtype(running.dtype())? * self.momentum)?;
        Ok(running.set(&(kept + moved)?)?)
    }
}
