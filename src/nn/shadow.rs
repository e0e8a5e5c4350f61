//! Tensors without numbers: what a pass will hold in memory, found out from shapes alone.
//!
//! Every layer has a `trace` beside its `forward`: the same steps on [`Shadow`]s. A shadow owns
//! its bytes as candle's tensor does. It is freed with its last owner, and in training the result
//! of an operation owns what it was made from until the loss goes. [`Shadow::backward`] then walks
//! the graph in candle's order, and counts what candle makes on the way: for every gradient zeros,
//! and their sum with what an operation gives. So the peak follows from the shapes, and from one
//! definition for each layer.

use std::collections::{HashMap, HashSet};
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
    /// Bytes that its backward leaves behind until all gradients go.
    pub left: usize,
}

type Layer = dyn Fn(&Shadow, &Pass) -> crate::Result<Shadow>;

/// How an operation hands its gradient on.
#[derive(Clone)]
enum Back {
    /// As it is, or as a view.
    Shares,
    /// In tensors of its own.
    Makes(Work),
    /// By running a layer again with a graph.
    Again(Rc<Layer>),
}

struct Made {
    from: Vec<Shadow>,
    back: Back,
}

struct Node {
    key: Key,
    dims: Vec<usize>,
    /// Whether its numbers lie in the order of its axes.
    ordered: bool,
    learns: bool,
    memory: Rc<Held>,
    made: Option<Made>,
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
            made: None,
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

    fn over(&self, dims: &[usize], ordered: bool) -> Self {
        let made = self.learns().then(|| Made { from: vec![self.clone()], back: Back::Shares });
        self.account.node(Node {
            key: self.account.key(None),
            dims: dims.to_vec(),
            ordered,
            learns: self.learns(),
            memory: Rc::clone(&self.node.memory),
            made,
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
        let from = || from.iter().map(|input| (*input).clone()).collect();
        account.node(Node {
            key: account.key(None),
            dims: dims.to_vec(),
            ordered: true,
            learns,
            memory,
            made: learns.then(|| Made { from: from(), back }),
        })
    }

    /// What [`Pass::block`] gives for `layer` on this: all of its graph, or its result only.
    pub fn block(
        &self,
        pass: &Pass,
        layer: impl Fn(&Self, &Pass) -> crate::Result<Self> + 'static,
    ) -> crate::Result<Self> {
        if !pass.recomputes() || !self.learns() {
            return layer(self, pass);
        }
        let inside = layer(&self.beside(), pass)?;
        let back = Back::Again(Rc::new(layer));
        Ok(Self::of(inside.dims(), &[self], 0, back))
    }

    /// A leaf that learns and shares the numbers.
    fn beside(&self) -> Self {
        self.account.node(Node {
            key: self.account.key(None),
            dims: self.node.dims.clone(),
            ordered: self.node.ordered,
            learns: true,
            memory: Rc::clone(&self.node.memory),
            made: None,
        })
    }

    /// Runs backward from here, and drops the gradients at the end.
    pub fn backward(&self, pass: &Pass) -> crate::Result<()> {
        self.gradients(pass).map(drop)
    }

    /// The gradients of the leaves.
    fn gradients(&self, pass: &Pass) -> crate::Result<HashMap<Key, Held>> {
        let mut gradients = HashMap::from([(self.node.key, self.gradient())]);
        let mut left = Vec::new();
        for node in self.order() {
            let Some(made) = &node.node.made else { continue };
            let _gradient = gradients.remove(&node.node.key);
            let mut own = match &made.back {
                Back::Shares => Vec::new(),
                Back::Makes(work) => {
                    let _working = node.account.hold(Kind::Workspace, work.backward);
                    left.push(node.account.hold(Kind::Activations, work.left));
                    let learning = made.from.iter().filter(|input| input.learns());
                    learning.map(Self::gradient).collect()
                }
                Back::Again(layer) => {
                    let _copy = made.from[0].gradient();
                    let input = made.from[0].beside();
                    let inside = layer(&input, &pass.repetition())?;
                    // As for a mask: the product is with the gradient, which learns nothing.
                    let left = 4 * NUMBER * inside.dims().iter().product::<usize>();
                    let work = Work { left, ..Work::default() };
                    let product = Self::made(inside.dims(), &[&inside], work);
                    let sum = Self::made(&[1], &[&product], Work::default());
                    let mut inner = sum.gradients(&pass.repetition())?;
                    let own = inner.remove(&input.node.key);
                    gradients.extend(inner);
                    own.into_iter().collect()
                }
            };
            own.reverse();
            for input in made.from.iter().filter(|input| input.learns()) {
                let _own = own.pop();
                let key = input.node.key;
                let _zeros = (!gradients.contains_key(&key)).then(|| input.gradient());
                gradients.insert(key, input.gradient());
            }
        }
        Ok(gradients)
    }

    /// A gradient of this, or zeros of its size.
    fn gradient(&self) -> Held {
        let kind = match self.node.key {
            Key::Weight(_) => Kind::Gradients,
            Key::Node(_) => Kind::Activations,
        };
        self.account.hold(kind, NUMBER * self.dims().iter().product::<usize>())
    }

    /// What leads here and learns, later results first, as candle sorts it.
    fn order(&self) -> Vec<Self> {
        fn walk(node: &Shadow, seen: &mut HashSet<Key>, nodes: &mut Vec<Shadow>) {
            if !node.learns() || !seen.insert(node.node.key) {
                return;
            }
            for input in node.node.made.iter().flat_map(|made| &made.from) {
                walk(input, seen, nodes);
            }
            nodes.push(node.clone());
        }
        let mut nodes = Vec::new();
        walk(self, &mut HashSet::new(), &mut nodes);
        nodes.reverse();
        nodes
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
    fn a_graph_holds_everything_and_the_backward_adds_to_zeros() {
        let weight = Var::zeros((3, 4), DType::F32, &Device::Cpu).unwrap();
        let account = Account::default();
        let x = account.input(Kind::Data, &[2, 4]);
        let y = Shadow::made(&[2, 3], &[&x, &account.weight(&weight)], Work::default());
        let loss = Shadow::made(&[1], &[&y], Work::default());
        drop((x, y));
        let held = 8 + 6 + 1;
        assert_eq!(total(account.peak()), held);
        loss.backward(&Pass::training(0, 0)).unwrap();
        // The gradient of y, then for the weight what the product gives, zeros and their sum.
        assert_eq!(total(account.peak()), held + 6 + 3 * 12);
        assert_eq!(account.peak()[Kind::Gradients as usize], 3 * 12 * NUMBER);
    }
}
