//! Tensors without numbers: what a pass will hold in memory, found out from shapes alone.
//!
//! Every layer has a `trace` beside its `forward`: the same steps on [`Shadow`]s. A shadow owns
//! its bytes as candle's tensor does, and is freed with its last owner. In training each step
//! goes on a tape, as those of [`record`](super::record) do, and the tape owns what the step took
//! and gave. [`Shadow::backward`] goes back through the tape, counts the gradients on their way
//! and lets go of each step. So the peak follows from the shapes, and from one definition for
//! each layer.

use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;

use candle::{Tensor, TensorId};

use super::account::Held;
use super::{Account, Kind, Pass};

/// Bytes of a number: everything is computed in float32.
const NUMBER: usize = 4;

/// What a gradient is filed under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    Node(usize),
    Weight(TensorId),
}

/// What an operation needs besides its inputs and results.
#[derive(Clone, Copy, Debug, Default)]
pub struct Work {
    /// Bytes while it runs forward.
    pub forward: usize,
    /// Bytes while it runs backward.
    pub backward: usize,
}

type Layer = dyn Fn(&Shadow, &Pass) -> crate::Result<Shadow>;

/// How an operation hands its gradient on.
enum Back {
    /// As it is.
    Shares,
    /// In tensors of its own.
    Makes(Work),
    /// By running a layer again.
    Again(Box<Layer>),
}

/// An operation that ran, on the tape.
pub(super) struct Step {
    from: Vec<Shadow>,
    result: Shadow,
    back: Back,
}

/// Gradients on their way. What is handed on as it is has several owners.
type Gradients = HashMap<Key, Rc<Held>>;

struct Node {
    key: Key,
    dims: Vec<usize>,
    /// Whether its numbers lie in the order of its axes.
    ordered: bool,
    learns: bool,
    memory: Rc<Held>,
}

impl Account {
    /// A tensor of these sizes that nothing learns from.
    pub fn input(&self, kind: Kind, dims: &[usize]) -> Shadow {
        self.leaf(dims, Some(kind), false, None)
    }

    /// A weight. Its own bytes are not counted here: a model knows how many it has.
    pub fn weight(&self, weight: &Tensor) -> Shadow {
        self.leaf(weight.dims(), None, weight.track_op(), Some(weight.id()))
    }

    fn leaf(
        &self,
        dims: &[usize],
        kind: Option<Kind>,
        learns: bool,
        weight: Option<TensorId>,
    ) -> Shadow {
        let memory = Rc::new(self.hold(
            kind.unwrap_or(Kind::Weights),
            match kind {
                Some(_) => NUMBER * dims.iter().product::<usize>(),
                None => 0,
            },
        ));
        self.node(Node {
            key: self.key(weight),
            dims: dims.to_vec(),
            ordered: true,
            learns,
            memory,
        })
    }

    fn node(&self, node: Node) -> Shadow {
        Shadow { node: Rc::new(node), account: self.clone() }
    }

    fn key(&self, weight: Option<TensorId>) -> Key {
        weight.map_or_else(|| Key::Node(self.number()), Key::Weight)
    }
}

/// A tensor without numbers. Clones share it.
#[derive(Clone)]
pub struct Shadow {
    node: Rc<Node>,
    account: Account,
}

impl fmt::Debug for Shadow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shadow({:?})", self.node.dims)
    }
}

impl Shadow {
    /// Its axes.
    pub fn dims(&self) -> &[usize] {
        &self.node.dims
    }

    /// Its axes with another last one.
    pub fn dims_to(&self, last: usize) -> Vec<usize> {
        let mut dims = self.node.dims.clone();
        if let Some(place) = dims.last_mut() {
            *place = last;
        }
        dims
    }

    /// What it is counted in.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// Counts the `bytes` that it takes laid out for products, if it is a weight.
    pub(super) fn lay_out(&self, bytes: usize) {
        if let Key::Weight(id) = self.node.key {
            self.account.lay_out(id, bytes);
        }
    }

    /// Whether a gradient is asked of it.
    pub fn learns(&self) -> bool {
        self.node.learns
    }

    /// Its numbers as other axes, where they lie.
    #[must_use]
    pub fn view(&self, dims: &[usize]) -> Self {
        self.over(dims, self.node.ordered)
    }

    /// Its numbers with two axes changed over, where they lie.
    #[must_use]
    pub fn turned(&self, dims: &[usize]) -> Self {
        self.over(dims, !self.node.ordered)
    }

    /// A view hands its gradient to what it shows, and so goes by the same key.
    fn over(&self, dims: &[usize], ordered: bool) -> Self {
        self.account.node(Node {
            key: self.node.key,
            dims: dims.to_vec(),
            ordered,
            learns: self.learns(),
            memory: Rc::clone(&self.node.memory),
        })
    }

    /// Itself, or a copy whose numbers lie in order.
    #[must_use]
    pub fn in_order(&self) -> Self {
        if self.node.ordered {
            return self.clone();
        }
        Self::shared(self.dims(), &[self])
    }

    /// The result of an operation that hands its gradient on as it is: a sum, a copy.
    pub fn shared(dims: &[usize], from: &[&Self]) -> Self {
        Self::of(dims, from, 0, Back::Shares)
    }

    /// The result of an operation that makes the gradients of its inputs, all of `from`, of which
    /// there is at least one.
    pub fn made(dims: &[usize], from: &[&Self], work: Work) -> Self {
        Self::of(dims, from, work.forward, Back::Makes(work))
    }

    fn of(dims: &[usize], from: &[&Self], workspace: usize, back: Back) -> Self {
        let account = &from[0].account;
        let learns = from.iter().any(|input| input.learns());
        let working = account.hold(Kind::Workspace, workspace);
        let bytes = NUMBER * dims.iter().product::<usize>();
        let memory = Rc::new(account.hold(Kind::Activations, bytes));
        drop(working);
        let key = account.key(None);
        let result = account.node(Node { key, dims: dims.to_vec(), ordered: true, learns, memory });
        if learns {
            let from = from.iter().map(|&input| input.clone()).collect();
            account.note(|| Step { from, result: result.clone(), back });
        }
        result
    }

    /// What [`Pass::block`] gives for `layer` on this: all that its backward needs, or its input.
    pub fn block(
        &self,
        pass: &Pass,
        layer: impl Fn(&Self, &Pass) -> crate::Result<Self> + 'static,
    ) -> crate::Result<Self> {
        if !pass.recomputes() || !self.learns() {
            return layer(self, pass);
        }
        let inside = self.account.still(|| layer(self, pass))?;
        // The result is copied out of what the layer gave.
        Ok(Self::of(inside.dims(), &[self], 0, Back::Again(Box::new(layer))))
    }

    /// Runs backward from here, and drops the gradients at the end.
    pub fn backward(&self, pass: &Pass) -> crate::Result<()> {
        let steps = self.account.steps();
        self.gradients(steps, Rc::new(self.gradient()), pass).map(drop)
    }

    /// The gradients of what learns and is no result of these steps.
    fn gradients(
        &self,
        mut steps: Vec<Step>,
        own: Rc<Held>,
        pass: &Pass,
    ) -> crate::Result<Gradients> {
        let mut gradients = Gradients::from([(self.node.key, own)]);
        while let Some(Step { from, result, back }) = steps.pop() {
            let Some(gradient) = gradients.remove(&result.node.key) else { continue };
            let learning = || from.iter().filter(|input| input.learns());
            let own: Vec<_> = match back {
                Back::Shares => learning().map(|_| Rc::clone(&gradient)).collect(),
                Back::Makes(work) => {
                    let _working = self.account.hold(Kind::Workspace, work.backward);
                    learning().map(|input| Rc::new(input.gradient())).collect()
                }
                Back::Again(layer) => {
                    drop(result);
                    let input = &from[0];
                    let outer = self.account.steps();
                    let inside = layer(input, &pass.repetition())?;
                    let inner = self.account.replace(outer);
                    for (key, own) in inside.gradients(inner, gradient, pass)? {
                        self.add(&mut gradients, key, own);
                    }
                    continue;
                }
            };
            drop((result, gradient));
            for (input, own) in learning().zip(own) {
                self.add(&mut gradients, input.node.key, own);
            }
        }
        Ok(gradients)
    }

    fn add(&self, gradients: &mut Gradients, key: Key, own: Rc<Held>) {
        let sum = match gradients.get(&key) {
            Some(there) => Rc::new(self.account.hold(there.kind(), there.bytes())),
            None => own,
        };
        gradients.insert(key, sum);
    }

    /// A gradient of this.
    fn gradient(&self) -> Held {
        let kind = match self.node.key {
            Key::Weight(_) => Kind::Gradients,
            Key::Node(_) => Kind::Activations,
        };
        self.account.hold(kind, NUMBER * self.dims().iter().product::<usize>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle::{DType, Device, Var};

    fn total(bytes: crate::nn::Bytes) -> usize {
        bytes.iter().sum::<usize>() / NUMBER
    }

    #[test]
    fn without_a_graph_only_what_is_owned_is_held() {
        let account = Account::default();
        let mut x = account.input(Kind::Data, &[10]);
        for _ in 0..5 {
            x = Shadow::made(&[20], &[&x], Work { forward: 7 * NUMBER, ..Work::default() });
        }
        assert_eq!(total(account.peak()), 20 + 20 + 7);
    }

    #[test]
    fn a_tape_holds_everything_and_the_backward_lets_it_go() {
        let weight = Var::zeros((3, 4), DType::F32, &Device::Cpu).unwrap();
        let account = Account::default();
        let x = account.input(Kind::Data, &[2, 4]);
        let y = Shadow::made(&[2, 3], &[&x, &account.weight(&weight)], Work::default());
        let loss = Shadow::made(&[1], &[&y], Work::default());
        drop((x, y));
        let held = 8 + 6 + 1;
        assert_eq!(total(account.peak()), held);
        loss.backward(&Pass::training(0, 0)).unwrap();
        // The gradients of y and of the weight; that of the loss is gone.
        assert_eq!(total(account.peak()), held + 6 + 12);
        assert_eq!(account.peak()[Kind::Gradients as usize], 12 * NUMBER);
        assert_eq!(total(account.held()), 1, "the loss");
    }
}
