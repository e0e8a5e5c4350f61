//! A table of learned vectors: words, segments, learned positions.

use candle::{DType, Tensor};
use candle_nn::{Init, VarBuilder};

use super::composed::wide;
use super::{Account, Shadow};
use crate::Result;

/// Rows of the parameter `weight` (V, D) by their number.
#[derive(Clone, Debug)]
pub struct Embedding {
    weight: Tensor,
}

impl Embedding {
    /// `count` vectors of `dim` features, normal with deviation 0.02.
    pub fn new(count: usize, dim: usize, vb: VarBuilder) -> Result<Self> {
        let init = Init::Randn { mean: 0.0, stdev: 0.02 };
        Ok(Self { weight: vb.get_with_hints((count, dim), "weight", init)? })
    }

    /// Looks up `ids` (any shape, integers): (…, D).
    pub fn forward(&self, ids: &Tensor) -> Result<Tensor> {
        let rows = ids.flatten_all()?.to_dtype(DType::U32)?;
        let shape = [ids.dims(), &[self.weight.dim(1)?]].concat();
        if !self.weight.track_op() {
            return Ok(self.weight.index_select(&rows, 0)?.reshape(shape)?);
        }
        // The gradients of a frequent row are many small numbers, to be added up in float32.
        let found = wide(&self.weight)?.index_select(&rows, 0)?;
        Ok(found.to_dtype(self.weight.dtype())?.reshape(shape)?)
    }

    /// The memory of [`Self::forward`] for ids of these sizes.
    #[must_use]
    pub fn trace(&self, ids: &[usize], account: &Account) -> Shadow {
        let dims = [ids, &self.weight.dims()[1..]].concat();
        Shadow::shared(&dims, &[&account.weight(&self.weight)])
    }

    /// The table (V, D), for tied output layers and learned positions.
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }
}
