//! Blocks that keep their input only: they run again in the backward.
//!
//! Source: Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost", arXiv:1604.06174, in
//! its usual form of one checkpoint a block.

use std::sync::Arc;

use candle::Tensor;

use super::Pass;
use crate::{Result, kernels};

impl Pass {
    /// What `layer` makes of `x`: with all that its backward needs, or, when this pass recomputes
    /// and a tape records, with its input only.
    ///
    /// The layer must depend on nothing that learns but its own parameters and `x`.
    pub fn block(
        &self,
        x: &Tensor,
        layer: impl Fn(&Tensor, &Self) -> Result<Tensor> + Send + Sync + 'static,
    ) -> Result<Tensor> {
        if !self.recomputes() || !x.track_op() || !kernels::recording() {
            return layer(x, self);
        }
        let pass = self.repetition(); // draws what the first run draws
        let layer = Arc::new(layer);
        let first = Arc::clone(&layer);
        let again = move |x: &[Tensor]| layer(&x[0], &pass.repetition());
        kernels::recomputed(&[x], |x| first(&x[0], self), again)
    }
}
