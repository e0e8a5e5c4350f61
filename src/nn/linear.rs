//! The affine map of the last axis, with an optional low-rank adapter.

use candle::{D, Tensor};
use candle_nn::{Init, VarBuilder};

use super::half::{same_type, widened};
use super::precision::precision;
use super::prepared::{Prepared, absent};
use super::{Activation, Lora, Precision, Shadow, Work, sum};
use crate::kernels::{Layouts, LayoutsWriter, Packed};
use crate::{Error, Result, kernels};

/// Whether a layer adds a bias.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bias {
    /// A bias is added.
    #[default]
    With,
    /// No bias.
    Without,
}

impl Bias {
    /// [`Bias::With`] when `with` is true.
    pub fn of(with: bool) -> Self {
        if with { Self::With } else { Self::Without }
    }
}

/// `y = x Wᵀ + b` over the last axis; parameters `weight` (O, I) and `bias` (O).
#[derive(Clone, Debug)]
pub struct Linear {
    /// NaN in its shape once the layer was sealed.
    weight: Tensor,
    /// The name of the weight among the parameters; empty where it has none.
    name: String,
    bias: Option<Tensor>,
    lora: Option<Lora>,
    precision: Precision,
    prepared: Prepared,
}

impl Linear {
    /// A layer from `in_dim` to `out_dim` features, initialised as PyTorch does.
    pub fn new(in_dim: usize, out_dim: usize, bias: Bias, vb: VarBuilder) -> Result<Self> {
        let init = uniform(in_dim);
        let weight = vb.get_with_hints((out_dim, in_dim), "weight", init)?;
        let bias = match bias {
            Bias::With => Some(vb.get_with_hints(out_dim, "bias", init)?),
            Bias::Without => None,
        };
        Ok(Self::around(weight, bias, &vb))
    }

    fn around(weight: Tensor, bias: Option<Tensor>, vb: &VarBuilder) -> Self {
        let (name, precision) = (vb.pp("weight").prefix(), precision(vb));
        Self { name, precision, ..Self::from_tensors(weight, bias) }
    }

    /// A layer around existing tensors: `weight` (O, I), `bias` (O).
    pub fn from_tensors(weight: Tensor, bias: Option<Tensor>) -> Self {
        Self {
            weight,
            name: String::new(),
            bias,
            lora: None,
            precision: Precision::F32,
            prepared: Prepared::default(),
        }
    }

    /// A layer without bias around a table (O, I) that another layer owns, which computes as those
    /// built on `vb` do.
    pub fn tied(table: &Tensor, vb: &VarBuilder) -> Self {
        Self::around(table.clone(), None, vb)
    }

    /// Lays the weight out for products and lets go of it, where the layer's precision takes less
    /// memory than the weight. Nothing can learn from the layer or read its weight afterwards.
    pub fn seal(&mut self) -> Result<()> {
        self.rests()?;
        if self.precision == Precision::Q8_0 && !kernels::reach(&self.weight) {
            self.weight = kernels::in_eight_bits(&self.weight)?;
        } else if !self.prepared.alone
            && self.prepared.lay_out_alone(&self.weight, self.precision)?
        {
            self.weight = absent(self.weight.shape(), self.weight.device())?;
        }
        Ok(())
    }

    /// Lays the weight out to a file, and lets go of it; the layer serves nothing afterwards.
    pub fn seal_to(&mut self, file: &mut LayoutsWriter) -> Result<()> {
        self.rests()?;
        file.put(&self.name, &Packed::new(self.weight()?, self.precision)?, self.precision)?;
        self.weight = absent(self.weight.shape(), self.weight.device())?;
        self.prepared.alone = true;
        Ok(())
    }

    /// As [`Self::seal`], with what was laid out to a file before; the weight need not be there.
    pub fn seal_from(&mut self, file: &Layouts) -> Result<()> {
        self.rests()?;
        let (rows, columns) = self.weight.dims2()?;
        let packed = file.get(&self.name, [rows, columns], self.precision)?;
        self.prepared = Prepared::of(packed);
        self.weight = absent(self.weight.shape(), self.weight.device())?;
        Ok(())
    }

    /// Refuses what a layer that learns would need its weight for.
    fn rests(&self) -> Result<()> {
        if self.weight.track_op() || self.lora.is_some() {
            let why = "found a weight that learns, expected a frozen one without adapters";
            return Err(Error::value("linear layer to seal", why));
        }
        Ok(())
    }

    /// Freezes weight and bias and adds a trainable adapter of `rank`.
    pub fn with_lora(&mut self, rank: usize, alpha: f64, vb: VarBuilder) -> Result<()> {
        let (out_dim, in_dim) = self.weight()?.dims2()?;
        let lora = Lora::new(in_dim, out_dim, (rank, alpha), &vb)?;
        self.weight = self.weight.detach();
        self.bias = self.bias.as_ref().map(Tensor::detach);
        self.lora = Some(lora);
        Ok(())
    }

    /// Maps `x` (…, I) to (…, O).
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.finished(x, None, None)
    }

    /// The nonlinearity of what [`Self::forward`] gives.
    pub fn forward_activated(&self, x: &Tensor, activation: Activation) -> Result<Tensor> {
        self.finished(x, Some(activation), None)
    }

    /// `residual` (…, O) plus what [`Self::forward`] gives.
    pub fn forward_onto(&self, x: &Tensor, residual: &Tensor) -> Result<Tensor> {
        self.finished(x, None, Some(residual))
    }

    /// The memory of [`Self::forward`], of an activation of it, or of a sum with a residual.
    #[must_use]
    pub fn trace(&self, x: &Shadow, activated: bool, residual: Option<&Shadow>) -> Shadow {
        let (weight, bias) = (x.account().weight(&self.weight), self.bias.as_ref());
        let Some(lora) = &self.lora else {
            return Prepared::trace(x, (&weight, self.precision), bias, activated, residual);
        };
        let y = trace(x, &weight, bias);
        let update = lora.trace(x);
        trace_finish(Shadow::shared(y.dims(), &[&y, &update]), activated, residual)
    }

    fn finished(
        &self,
        x: &Tensor,
        activation: Option<Activation>,
        residual: Option<&Tensor>,
    ) -> Result<Tensor> {
        let (weight, bias) = (&self.weight, self.bias.as_ref());
        let Some(lora) = &self.lora else {
            let weight = (weight, self.precision);
            return self.prepared.linear(x, weight, bias, activation, residual);
        };
        let y = sum(&linear_in(self.precision, x, weight, bias)?, &lora.forward(x)?)?;
        finish(y, activation, residual)
    }

    /// The weight (O, I), without the adapter.
    ///
    /// # Errors
    /// When the layer was sealed.
    pub fn weight(&self) -> Result<&Tensor> {
        if self.prepared.alone {
            let why = "found a sealed layer, expected one that still has its weight";
            return Err(Error::value("linear layer", why));
        }
        Ok(&self.weight)
    }

    /// The bias (O).
    pub fn bias(&self) -> Option<&Tensor> {
        self.bias.as_ref()
    }

    /// The adapter.
    pub fn lora(&self) -> Option<&Lora> {
        self.lora.as_ref()
    }

    /// The weight (O, I) with the adapter added in: what to save for use without adapters.
    pub fn merged_weight(&self) -> Result<Tensor> {
        match &self.lora {
            None => Ok(self.weight()?.clone()),
            Some(lora) => Ok((self.weight()? + lora.delta()?)?),
        }
    }
}

/// The memory of [`linear`].
pub(super) fn trace(x: &Shadow, weight: &Shadow, bias: Option<&Tensor>) -> Shadow {
    let (x, dims) = (x.in_order(), x.dims_to(weight.dims()[0]));
    match bias.map(|bias| x.account().weight(bias)) {
        Some(bias) => Shadow::made(&dims, &[&x, weight, &bias], Work::default()),
        None => Shadow::made(&dims, &[&x, weight], Work::default()),
    }
}

/// The memory of [`finish`].
pub(super) fn trace_finish(y: Shadow, activated: bool, residual: Option<&Shadow>) -> Shadow {
    let y = if activated { Shadow::made(y.dims(), &[&y], Work::default()) } else { y };
    match residual {
        Some(residual) => Shadow::shared(y.dims(), &[residual, &y]),
        None => y,
    }
}

pub(super) fn finish(
    y: Tensor,
    activation: Option<Activation>,
    residual: Option<&Tensor>,
) -> Result<Tensor> {
    let y = activation.map_or_else(|| Ok(y.clone()), |activation| activation.apply(&y))?;
    Ok(match residual {
        Some(residual) => {
            same_type("residual", residual, &y)?;
            sum(residual, &y)?
        }
        None => y,
    })
}

/// Refuses what has no affine map.
pub(super) fn check(x: &Tensor, weight: &Tensor) -> Result<()> {
    let (out_dim, in_dim) = weight.dims2()?;
    if out_dim == 0 || in_dim == 0 {
        return Err(Error::shape("linear weight", "(O, I) without zeros", weight.dims()));
    }
    if x.rank() == 0 || x.dim(D::Minus1)? != in_dim {
        return Err(Error::shape("linear", format!("(…, {in_dim})"), x.dims()));
    }
    Ok(())
}

/// `x` (…, I) times the transposed `weight` (O, I), plus `bias` (O): (…, O).
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    linear_in(Precision::F32, x, weight, bias)
}

/// [`linear`] with products in `precision`.
pub(super) fn linear_in(
    precision: Precision,
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
) -> Result<Tensor> {
    check(x, weight)?;
    let wide = if let Some(bias) = bias {
        let parts = [("input", x), ("weight", weight), ("bias", bias)];
        widened("linear", parts, |[x, weight, bias]| linear_in(precision, x, weight, Some(bias)))?
    } else {
        let parts = [("input", x), ("weight", weight)];
        widened("linear", parts, |[x, weight]| linear_in(precision, x, weight, None))?
    };
    if let Some(y) = wide {
        return Ok(y);
    }
    let (out_dim, in_dim) = weight.dims2()?;
    if kernels::serve(&[x, weight]) {
        return Ok(kernels::linear(x, weight, bias, precision)?);
    }
    let mut shape = x.dims().to_vec();
    shape[x.rank() - 1] = out_dim;
    let rows = shape[..x.rank() - 1].iter().product::<usize>();
    // Layers compute in the type of their matrices.
    let x = x.to_dtype(weight.dtype())?.reshape((rows, in_dim))?;
    let y = x.matmul(&weight.contiguous()?.t()?)?; // (M, O)
    let y = match bias {
        Some(bias) => y.broadcast_add(&bias.to_dtype(y.dtype())?)?,
        None => y,
    };
    Ok(y.reshape(shape)?)
}

/// PyTorch's default for linear and convolution: uniform within 1 / √fan-in.
pub(super) fn uniform(fan_in: usize) -> Init {
    let bound = 1.0 / (fan_in.max(1) as f64).sqrt();
    Init::Uniform { lo: -bound, up: bound }
}
