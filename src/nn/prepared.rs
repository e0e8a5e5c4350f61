//! Weights laid out for products, kept beside the weight or in place of it.

use std::sync::{Arc, OnceLock};

use candle::{DType, Device, Shape, Tensor};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder};

use super::linear::{check, finish, linear_in, trace, trace_finish};
use super::{Activation, Precision, Shadow, Work};
use crate::kernels::{self, Layouts, Packed};
use crate::{Error, Result};

/// What stands for a weight that was let go of: NaN in its shape.
pub(super) fn absent(shape: &Shape, device: &Device) -> candle::Result<Tensor> {
    Tensor::full(f32::NAN, (), device)?.broadcast_as(shape)
}

/// The builder `source` without the weights that `layouts` holds, for layers that are sealed from
/// there: they are not read.
pub fn without(source: VarBuilder<'static>, layouts: Arc<Layouts>) -> VarBuilder<'static> {
    let (dtype, device) = (source.dtype(), source.device().clone());
    VarBuilder::from_backend(Box::new(Without { source, layouts }), dtype, device)
}

struct Without {
    source: VarBuilder<'static>,
    layouts: Arc<Layouts>,
}

impl SimpleBackend for Without {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        init: Init,
        _: DType,
        device: &Device,
    ) -> candle::Result<Tensor> {
        if self.layouts.contains(name) {
            return absent(&shape, device);
        }
        self.source.get_with_hints(shape, name, init)
    }

    fn get_unchecked(&self, name: &str, dtype: DType, _: &Device) -> candle::Result<Tensor> {
        self.source.get_unchecked_dtype(name, dtype)
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.source.contains_tensor(name)
    }
}

/// A weight laid out for products at its first use outside training, and kept.
///
/// The layout is as large as the weight, half as large again where three parts stand for a
/// number, half as large in bfloat16. Whoever changes the weight must let go of the layers
/// that read it without a graph: see [`Parameters::frozen`](super::Parameters::frozen).
#[derive(Clone, Debug, Default)]
pub(super) struct Prepared {
    packed: Arc<OnceLock<Packed>>,
    /// Whether there is nothing else: the weight was let go of.
    pub(super) alone: bool,
}

impl Prepared {
    /// Around what was laid out before, whose weight is not there.
    pub(super) fn of(packed: Packed) -> Self {
        Self { packed: Arc::new(OnceLock::from(packed)), alone: true }
    }

    /// The affine map of `x`, then the nonlinearity, then plus `residual`: in one go where
    /// nothing learns, else composed.
    pub(super) fn linear(
        &self,
        x: &Tensor,
        (weight, precision): (&Tensor, Precision),
        bias: Option<&Tensor>,
        activation: Option<Activation>,
        residual: Option<&Tensor>,
    ) -> Result<Tensor> {
        let parts = [Some(x), Some(weight), bias, residual];
        let served = parts.iter().flatten().all(|t| !t.track_op() && kernels::serve(&[t]));
        if self.alone && !served {
            let why = "found one whose weight is laid out and gone, expected one that still has its \
                       weight: nothing learns from it, and only the kernels can read it";
            return Err(Error::value("linear layer", why));
        }
        let prepared = kernels::preparing() || self.packed.get().is_some();
        let lies = served && !self.alone && !Packed::is_short(precision);
        if !(lies || served && prepared) {
            return finish(linear_in(precision, x, weight, bias)?, activation, residual);
        }
        check(x, weight)?;
        if let Some(residual) = residual {
            let expected = [&x.dims()[..x.rank() - 1], &weight.dims()[..1]].concat();
            if residual.dims() != expected {
                return Err(Error::shape("residual", format!("{expected:?}"), residual.dims()));
            }
        }
        let map = activation.map(Activation::on_slices);
        let then = kernels::Following { bias, map, residual };
        if lies && let Some(y) = kernels::linear_as_it_lies(x, weight, then)? {
            return Ok(y);
        }
        if !prepared {
            return finish(linear_in(precision, x, weight, bias)?, activation, residual);
        }
        let packed = self.packed(weight, precision)?;
        Ok(kernels::linear_prepared(x, packed, then)?)
    }

    /// Lays the weight out, if that takes less memory than the weight and serves all products.
    pub(super) fn lay_out_alone(&mut self, weight: &Tensor, precision: Precision) -> Result<bool> {
        if kernels::serve(&[weight]) && Packed::is_short(precision) {
            self.packed(weight, precision)?;
            self.alone = true;
        }
        Ok(self.alone)
    }

    fn packed(&self, weight: &Tensor, precision: Precision) -> Result<&Packed> {
        if let Some(packed) = self.packed.get() {
            return Ok(packed);
        }
        let packed = Packed::new(weight, precision)?;
        Ok(self.packed.get_or_init(|| packed))
    }

    /// The memory of [`Self::linear`].
    pub(super) fn trace(
        x: &Shadow,
        (weight, precision): (&Shadow, Precision),
        bias: Option<&Tensor>,
        activated: bool,
        residual: Option<&Shadow>,
    ) -> Shadow {
        let learns = bias.is_some_and(Tensor::track_op) || weight.learns() || x.learns();
        if learns || residual.is_some_and(Shadow::learns) || !kernels::preparing() {
            return trace_finish(trace(x, weight, bias), activated, residual);
        }
        let [columns, depth] = [weight.dims()[0], weight.dims()[1]];
        if Packed::is_short(precision) || !kernels::lies(x.dims()) {
            weight.lay_out(Packed::bytes(columns, depth, precision));
        }
        Shadow::made(&x.dims_to(columns), &[&x.in_order()], Work::default())
    }
}
