//! Blocks that keep no graph: they run again in the backward, for memory that grows with the
//! number of blocks by their inputs only.
//!
//! Source: Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost", arXiv:1604.06174, in
//! its usual form of one checkpoint a block.
//!
//! Each block is one custom operation from its input to its result. The alternative, a training
//! step that runs backward block by block, would have to know the order of every encoder; here a
//! model calls [`Pass::block`] and the step stays one `backward`. A custom operation has at most
//! three inputs, so the parameters of a block are not among them: their gradients come from the
//! inner backward and are left with the [`Pass`], where [`Pass::backward`] picks them up.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle::backprop::GradStore;
use candle::{CpuStorage, CudaStorage, CustomOp1, Layout, Shape, Tensor, TensorId, Var};

use super::Pass;
use super::given::{Given, as_candle};
use crate::Result;

/// Gradients of the parameters of blocks that ran again.
#[derive(Debug, Default)]
pub(super) struct Gathered(Mutex<HashMap<TensorId, Tensor>>);

impl Gathered {
    fn lock(&self) -> MutexGuard<'_, HashMap<TensorId, Tensor>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The gradients of one backward.
#[derive(Debug)]
pub struct Gradients {
    store: GradStore,
    blocks: HashMap<TensorId, Tensor>,
}

impl Gradients {
    /// The gradient of `var`, if the loss depends on it.
    pub fn get(&self, var: &Var) -> Result<Option<Tensor>> {
        Ok(match (self.store.get(var), self.blocks.get(&var.id())) {
            (Some(outside), Some(inside)) => Some((outside + inside)?),
            (one, other) => one.or(other).cloned(),
        })
    }
}

type Layer = dyn Fn(&Tensor, &Pass) -> Result<Tensor> + Send + Sync;

impl Pass {
    /// What `layer` makes of `x`: with its graph, or, when this pass recomputes, without.
    ///
    /// The layer must depend on nothing that learns but its own parameters and `x`.
    pub fn block(
        &self,
        x: &Tensor,
        layer: impl Fn(&Tensor, &Self) -> Result<Tensor> + Send + Sync + 'static,
    ) -> Result<Tensor> {
        let gathered = match &self.gathered {
            Some(gathered) if self.trains() && x.track_op() => Arc::clone(gathered),
            _ => return layer(x, self),
        };
        let pass = self.repetition();
        let result = Given::new(&layer(&x.detach(), self)?)?;
        let op = Again { layer: Box::new(layer), pass, result, gathered };
        Ok(x.apply_op1(op)?)
    }

    /// Runs backward from `loss`, which this pass led to.
    pub fn backward(&self, loss: &Tensor) -> Result<Gradients> {
        let store = loss.backward()?;
        let gathered = self.gathered.as_ref();
        let blocks = gathered.map(|gathered| std::mem::take(&mut *gathered.lock()));
        Ok(Gradients { store, blocks: blocks.unwrap_or_default() })
    }
}

/// One block, as an operation.
struct Again {
    layer: Box<Layer>,
    /// Draws what the first run drew.
    pass: Pass,
    /// What the first run gave.
    result: Given,
    gathered: Arc<Gathered>,
}

impl Again {
    fn gradient(&self, x: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let input = Var::from_tensor(&x.detach())?;
        let result = (self.layer)(input.as_tensor(), &self.pass.repetition())?;
        // The gradient of the sum of products is the gradient itself.
        let sum = (result * gradient)?.sum_all()?;
        let mut store = sum.backward()?;
        let own = store.remove(&input);
        let mut gathered = self.gathered.lock();
        // Only what learns: the store also holds gradients of masks, and with them whole graphs.
        for leaf in sum.sorted_nodes().into_iter().filter(|node| node.is_variable()) {
            let Some(gradient) = store.remove(leaf) else { continue };
            let total = match gathered.get(&leaf.id()) {
                Some(total) => (total + gradient)?,
                None => gradient,
            };
            gathered.insert(leaf.id(), total.detach());
        }
        Ok(own)
    }
}

impl CustomOp1 for Again {
    fn name(&self) -> &'static str {
        "block"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> candle::Result<(CpuStorage, Shape)> {
        self.result.cpu()
    }

    fn cuda_fwd(&self, _: &CudaStorage, _: &Layout) -> candle::Result<(CudaStorage, Shape)> {
        self.result.cuda()
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, gradient: &Tensor) -> candle::Result<Option<Tensor>> {
        self.gradient(x, gradient).map_err(as_candle)
    }
}
