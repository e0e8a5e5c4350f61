//! One operation on a tape.

use std::fmt;

use candle::{CustomOp1, CustomOp2, CustomOp3, Result, Shape, Storage, Tensor, Var, bail};

use super::{Gradients, record};

/// A function that composes a result from its inputs.
type Composed = dyn Fn(&[Tensor]) -> Result<Tensor> + Send + Sync;

/// What runs, by the number of its inputs.
pub(super) enum Op {
    One(Box<dyn CustomOp1 + Send + Sync>),
    Two(Box<dyn CustomOp2 + Send + Sync>),
    Three(Box<dyn CustomOp3 + Send + Sync>),
    /// Anything: it runs again in the backward, with a tape of its own.
    Again(Box<Composed>),
}

impl Op {
    fn name(&self) -> &'static str {
        match self {
            Self::One(op) => op.name(),
            Self::Two(op) => op.name(),
            Self::Three(op) => op.name(),
            Self::Again(_) => "a layer that runs again",
        }
    }

    /// What the operation makes of its inputs, without a graph.
    pub(super) fn forward(&self, inputs: &[&Tensor]) -> Result<(Storage, Shape)> {
        let held: Vec<_> = inputs.iter().map(|input| input.storage_and_layout()).collect();
        let at = |i: usize| (&*held[i].0, held[i].1);
        let cpu = |(storage, shape)| (Storage::Cpu(storage), shape);
        let cuda = |(storage, shape)| (Storage::Cuda(storage), shape);
        match self {
            Self::One(op) => match at(0) {
                (Storage::Cpu(x), i) => return op.cpu_fwd(x, i).map(cpu),
                (Storage::Cuda(x), i) => return op.cuda_fwd(x, i).map(cuda),
                _ => (),
            },
            Self::Two(op) => match (at(0), at(1)) {
                ((Storage::Cpu(x), i), (Storage::Cpu(y), j)) => {
                    return op.cpu_fwd(x, i, y, j).map(cpu);
                }
                ((Storage::Cuda(x), i), (Storage::Cuda(y), j)) => {
                    return op.cuda_fwd(x, i, y, j).map(cuda);
                }
                _ => (),
            },
            Self::Three(op) => match (at(0), at(1), at(2)) {
                ((Storage::Cpu(x), i), (Storage::Cpu(y), j), (Storage::Cpu(z), k)) => {
                    return op.cpu_fwd(x, i, y, j, z, k).map(cpu);
                }
                ((Storage::Cuda(x), i), (Storage::Cuda(y), j), (Storage::Cuda(z), k)) => {
                    return op.cuda_fwd(x, i, y, j, z, k).map(cuda);
                }
                _ => (),
            },
            Self::Again(_) => (),
        }
        let devices: Vec<_> = inputs.iter().map(|input| input.device().location()).collect();
        bail!("{} does not run on {devices:?}", self.name())
    }

    /// The gradients of the inputs, where something learns.
    fn backward(
        &self,
        inputs: &[Tensor],
        result: &Tensor,
        gradient: &Tensor,
    ) -> Result<Vec<Option<Tensor>>> {
        Ok(match (self, inputs) {
            (Self::One(op), [x]) => vec![op.bwd(x, result, gradient)?],
            (Self::Two(op), [x, y]) => {
                let (x, y) = op.bwd(x, y, result, gradient)?;
                vec![x, y]
            }
            (Self::Three(op), [x, y, z]) => {
                let (x, y, z) = op.bwd(x, y, z, result, gradient)?;
                vec![x, y, z]
            }
            _ => bail!("{} was given {} inputs", self.name(), inputs.len()),
        })
    }
}

/// What a tape holds.
pub(super) enum Step {
    /// An operation that ran.
    Ran { op: Op, inputs: Vec<Tensor>, result: Tensor },
    /// What candle's operations made of results of earlier steps, for later ones.
    Between(Tensor),
}

impl Step {
    /// Hands the gradient of the result, if there is one, on to what it was made from.
    pub(super) fn back(self, gradients: &mut Gradients) -> Result<()> {
        match self {
            Self::Between(made) => match gradients.take(&made) {
                Some(gradient) => gradients.through(&made, gradient),
                None => Ok(()),
            },
            Self::Ran { op, inputs, result } => {
                let Some(gradient) = gradients.take(&result) else { return Ok(()) };
                if let Op::Again(layer) = op {
                    drop(result);
                    return run_again(&*layer, &inputs, gradient, gradients);
                }
                let own = op.backward(&inputs, &result, &gradient)?;
                drop((result, gradient));
                for (i, (input, own)) in inputs.iter().zip(own).enumerate() {
                    match own {
                        Some(own) if input.track_op() => gradients.add(input, own.detach())?,
                        None if input.track_op() => {
                            bail!("{} gave no gradient for its input {i}", op.name())
                        }
                        _ => (),
                    }
                }
                Ok(())
            }
        }
    }
}

/// Runs a layer again, and backward.
fn run_again(
    layer: &Composed,
    inputs: &[Tensor],
    gradient: Tensor,
    gradients: &mut Gradients,
) -> Result<()> {
    // The layer's tape must end at its inputs: those that candle's operations made are copied.
    let leaf = |input: &Tensor| {
        let made = input.track_op() && !input.is_variable();
        if made { Ok(Var::from_tensor(&input.detach())?.into_inner()) } else { Ok(input.clone()) }
    };
    let leaves = inputs.iter().map(leaf).collect::<Result<Vec<_>>>()?;
    let (result, tape) = record(|| layer(&leaves))?;
    let mut inner = tape.backward_from(&result, gradient)?;
    for (input, leaf) in inputs.iter().zip(&leaves) {
        if input.id() != leaf.id()
            && let Some(own) = inner.take(leaf)
        {
            gradients.add(input, own)?;
        }
    }
    gradients.extend(inner)
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Between(made) => write!(f, "candle's {:?}", made.dims()),
            Self::Ran { op, result, .. } => write!(f, "{} {:?}", op.name(), result.dims()),
        }
    }
}
