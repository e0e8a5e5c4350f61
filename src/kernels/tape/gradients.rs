//! Gradients on their way, and in the end those of the parameters.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use candle::{CpuStorage, CudaStorage, CustomOp1, Layout, Result, Shape, Tensor, TensorId, Var};

/// The gradients of one backward.
#[derive(Debug, Default)]
pub struct Gradients(HashMap<TensorId, Tensor>);

impl Gradients {
    /// The gradient of `var`, if the loss depends on it.
    pub fn get(&self, var: &Var) -> Option<&Tensor> {
        self.0.get(&var.id())
    }

    /// As [`Self::get`], out of here.
    pub fn take(&mut self, tensor: &Tensor) -> Option<Tensor> {
        self.0.remove(&tensor.id())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds to the gradient of `tensor`.
    pub(super) fn add(&mut self, tensor: &Tensor, gradient: Tensor) -> Result<()> {
        self.add_to(tensor.id(), gradient)
    }

    fn add_to(&mut self, id: TensorId, gradient: Tensor) -> Result<()> {
        match self.0.entry(id) {
            Entry::Vacant(entry) => {
                entry.insert(gradient);
            }
            Entry::Occupied(mut entry) => {
                let sum = super::sum(entry.get(), &gradient)?;
                entry.insert(sum);
            }
        }
        Ok(())
    }

    pub(super) fn extend(&mut self, other: Self) -> Result<()> {
        other.0.into_iter().try_for_each(|(id, gradient)| self.add_to(id, gradient))
    }

    /// Hands the gradient of what candle's operations `made` on to the leaves it was made from.
    pub(super) fn through(&mut self, made: &Tensor, gradient: Tensor) -> Result<()> {
        if made.is_variable() {
            return self.add(made, gradient);
        }
        let nodes = made.sorted_nodes();
        let leaves: Vec<_> = nodes.into_iter().filter(|node| node.is_variable()).collect();
        if let [leaf] = leaves[..]
            && same_numbers(made, leaf)
        {
            return self.add(leaf, gradient.reshape(leaf.shape())?);
        }
        let mut store = made.apply_op1(Start(gradient))?.backward()?;
        // Only what learns: the store also holds gradients of masks, and with them whole graphs.
        for leaf in leaves {
            if let Some(own) = store.remove(leaf) {
                self.add(leaf, own.detach())?;
            }
        }
        Ok(())
    }
}

/// Whether the one is the other with other axes: its gradient is too.
fn same_numbers(view: &Tensor, of: &Tensor) -> bool {
    let ((a, i), (b, j)) = (view.storage_and_layout(), of.storage_and_layout());
    std::ptr::eq(&raw const *a, &raw const *b)
        && i.is_contiguous()
        && j.is_contiguous()
        && i.start_offset() == j.start_offset()
        && i.shape().elem_count() == j.shape().elem_count()
}

/// A number whose gradient starts candle's backward with one that is given.
struct Start(Tensor);

impl CustomOp1 for Start {
    fn name(&self) -> &'static str {
        "start of a backward"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok((CpuStorage::F32(vec![0.0]), Shape::from(())))
    }

    fn cuda_fwd(&self, x: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        use candle::backend::{BackendDevice, BackendStorage};
        Ok((x.device().zeros_impl(&Shape::from(()), x.dtype())?, layout.shape().clone()))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, _: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(self.0.clone()))
    }
}
