//! A record of the operations that ran, which gives the gradients in the opposite order.
//!
//! candle's own graph keeps every result until the loss is gone, and makes zeros and a sum for
//! every gradient. While a tape records ([`record`]), the operations of this crate go on the
//! tape instead, and their results begin a new graph of candle's: each is a leaf that learns.
//! [`Tape::backward`] then runs candle's backward from the loss to the leaves it stands on, and
//! goes back through the tape: a gradient is moved to where it is due, and what a step kept is
//! freed as soon as it has been passed. What candle's own operations made between two steps is a
//! small graph, whose backward is candle's. So any mix of the two is right, and the mix that a
//! model is mostly made of is fast.
//!
//! Source: Baydin et al. 2018, "Automatic Differentiation in Machine Learning: a Survey",
//! arXiv:1502.05767, section 3.2.

mod gradients;
mod step;
mod sum;

use std::cell::RefCell;
use std::collections::HashSet;

use candle::op::BackpropOp;
use candle::{CustomOp1, CustomOp2, CustomOp3, Result, Shape, Storage, Tensor, TensorId};

use crate::Error;

pub use gradients::Gradients;
use step::{Op, Step};
pub(crate) use sum::sum;

thread_local! {
    /// Where this thread's operations go, the innermost last; no tape: nowhere, no graph is kept.
    static TAPES: RefCell<Vec<Option<Tape>>> = const { RefCell::new(Vec::new()) };
}

/// The operations that ran, in their order.
#[derive(Debug, Default)]
pub struct Tape {
    steps: Vec<Step>,
    /// What candle's operations made and a step here takes.
    between: HashSet<TensorId>,
}

/// What `work` gives, and the operations it ran on this thread.
pub fn record<T, E>(
    work: impl FnOnce() -> std::result::Result<T, E>,
) -> std::result::Result<(T, Tape), E> {
    let (result, tape) = within(Some(Tape::default()), work);
    Ok((result?, tape.unwrap_or_default()))
}

/// What `work` gives, when the operations of this crate keep no graph.
fn still<T>(work: impl FnOnce() -> T) -> T {
    within(None, work).0
}

fn within<T>(tape: Option<Tape>, work: impl FnOnce() -> T) -> (T, Option<Tape>) {
    /// Takes the tape off again, also when `work` panics.
    struct Top;
    impl Drop for Top {
        fn drop(&mut self) {
            TAPES.with_borrow_mut(Vec::pop);
        }
    }
    TAPES.with_borrow_mut(|tapes| tapes.push(tape));
    let top = Top;
    let result = work();
    let tape = TAPES.with_borrow_mut(|tapes| tapes.last_mut().and_then(Option::take));
    drop(top);
    (result, tape)
}

/// Where the next operation goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Into candle's graph.
    Graph,
    /// Onto the tape.
    Tape,
    /// Nowhere.
    Nowhere,
}

fn place(inputs: &[&Tensor]) -> Place {
    TAPES.with_borrow(|tapes| match tapes.last() {
        Some(None) => Place::Nowhere,
        Some(Some(_)) if inputs.iter().any(|input| input.track_op()) => Place::Tape,
        None | Some(Some(_)) => Place::Graph,
    })
}

/// The result of an operation on `x`.
pub(crate) fn apply1(x: &Tensor, op: impl CustomOp1 + Send + Sync + 'static) -> Result<Tensor> {
    match place(&[x]) {
        Place::Graph => x.apply_op1(op),
        Place::Nowhere => x.apply_op1_no_bwd(&op),
        Place::Tape => run(&[x], Op::One(Box::new(op))),
    }
}

/// The result of an operation on `x` and `y`.
pub(crate) fn apply2(
    x: &Tensor,
    y: &Tensor,
    op: impl CustomOp2 + Send + Sync + 'static,
) -> Result<Tensor> {
    match place(&[x, y]) {
        Place::Graph => x.apply_op2(y, op),
        Place::Nowhere => x.apply_op2_no_bwd(y, &op),
        Place::Tape => run(&[x, y], Op::Two(Box::new(op))),
    }
}

/// The result of an operation on `x`, `y` and `z`.
pub(crate) fn apply3(
    x: &Tensor,
    y: &Tensor,
    z: &Tensor,
    op: impl CustomOp3 + Send + Sync + 'static,
) -> Result<Tensor> {
    match place(&[x, y, z]) {
        Place::Graph => x.apply_op3(y, z, op),
        Place::Nowhere => x.apply_op3_no_bwd(y, z, &op),
        Place::Tape => run(&[x, y, z], Op::Three(Box::new(op))),
    }
}

/// Whether what learns goes on a tape here.
pub(crate) fn recording() -> bool {
    TAPES.with_borrow(|tapes| matches!(tapes.last(), Some(Some(_))))
}

/// What `first` makes of `inputs`; its gradients are those of `again`, which runs in the backward.
///
/// Both compute the same, and depend on nothing that learns but `inputs` and parameters. Only
/// the inputs are kept. Where nothing records, `again` runs at once and its graph is kept.
pub(crate) fn recomputed(
    inputs: &[&Tensor],
    first: impl FnOnce(&[Tensor]) -> crate::Result<Tensor>,
    again: impl Fn(&[Tensor]) -> crate::Result<Tensor> + Send + Sync + 'static,
) -> crate::Result<Tensor> {
    let all = |of: fn(&Tensor) -> Tensor| inputs.iter().map(|x| of(x)).collect::<Vec<_>>();
    match place(inputs) {
        Place::Graph if inputs.iter().any(|input| input.track_op()) => again(&all(Tensor::clone)),
        Place::Graph | Place::Nowhere => first(&all(Tensor::detach)),
        Place::Tape => {
            let result = still(|| first(&all(Tensor::detach)))?.detach();
            let op = Op::Again(Box::new(move |inputs| again(inputs).map_err(as_candle)));
            let (storage, shape) = owned(&result)?;
            Ok(note(inputs, op, storage, shape))
        }
    }
}

/// The numbers of a tensor as storage of their own.
fn owned(x: &Tensor) -> Result<(Storage, Shape)> {
    // A part of a larger tensor is copied out of it.
    let whole = x.is_contiguous() && x.layout().start_offset() == 0;
    let x = if whole { x.clone() } else { x.force_contiguous()? };
    let (storage, layout) = x.storage_and_layout();
    Ok((storage.try_clone(layout)?, x.shape().clone()))
}

/// An error as candle's own, for what runs inside one of its operations.
fn as_candle(error: Error) -> candle::Error {
    match error {
        Error::Tensor(error) => error,
        error => candle::Error::wrap(error),
    }
}

fn run(inputs: &[&Tensor], op: Op) -> Result<Tensor> {
    let (storage, shape) = op.forward(inputs)?;
    Ok(note(inputs, op, storage, shape))
}

/// The result of a step that has run, and the step on the tape.
fn note(inputs: &[&Tensor], op: Op, storage: Storage, shape: Shape) -> Tensor {
    let result = Tensor::from_storage(storage, shape, BackpropOp::none(), true);
    TAPES.with_borrow_mut(|tapes| {
        let Some(Some(tape)) = tapes.last_mut() else { return };
        for input in inputs.iter().filter(|input| input.track_op() && !input.is_variable()) {
            if tape.between.insert(input.id()) {
                tape.steps.push(Step::Between((*input).clone()));
            }
        }
        let inputs = inputs.iter().map(|&input| input.clone()).collect();
        tape.steps.push(Step::Ran { op, inputs, result: result.clone() });
    });
    result
}

impl Tape {
    /// How many of candle's operations each step crosses on its way back, on the average. It
    /// grows with the depth of a model whose branches meet in candle's sum: see [`sum`].
    #[cfg(test)]
    pub(crate) fn crossed(&self) -> usize {
        let between = self.steps.iter().filter_map(|step| match step {
            Step::Between(made) => Some(made.sorted_nodes().len()),
            Step::Ran { .. } => None,
        });
        between.sum::<usize>() / self.steps.len().max(1)
    }

    /// The gradients of `loss`, to which the work on this tape has led, by parameter.
    pub fn backward(self, loss: &Tensor) -> Result<Gradients> {
        self.backward_from(loss, loss.ones_like()?)
    }

    /// As [`Self::backward`], for a `result` whose gradient is given.
    fn backward_from(mut self, result: &Tensor, gradient: Tensor) -> Result<Gradients> {
        let mut gradients = Gradients::default();
        gradients.through(result, gradient)?;
        while let Some(step) = self.steps.pop() {
            step.back(&mut gradients)?;
        }
        Ok(gradients)
    }
}

#[cfg(test)]
mod tests;
