//! What is held in memory, by kind, and the most that ever was.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::fmt;
use std::rc::Rc;

use candle::TensorId;

use super::shadow::Step;

/// What memory is held for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Parameters and running statistics.
    Weights,
    /// Weights laid out for products, beside the weights themselves.
    Packed,
    /// Gradients of parameters.
    Gradients,
    /// The optimiser's moments, and the running mean of the weights.
    Optimiser,
    /// What layers put out, and its gradients while they pass.
    Activations,
    /// What a kernel needs while it runs.
    Workspace,
    /// Keys and values of the tokens that a decoder has read.
    Cache,
    /// Films that wait, and results that are gathered.
    Data,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 8] = [
        Self::Weights,
        Self::Packed,
        Self::Gradients,
        Self::Optimiser,
        Self::Activations,
        Self::Workspace,
        Self::Cache,
        Self::Data,
    ];

    /// A word for tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Weights => "weights",
            Self::Packed => "packed",
            Self::Gradients => "gradients",
            Self::Optimiser => "optimiser",
            Self::Activations => "activations",
            Self::Workspace => "workspace",
            Self::Cache => "cache",
            Self::Data => "data",
        }
    }
}

/// Bytes by [`Kind`], in the order of [`Kind::ALL`].
pub type Bytes = [usize; Kind::ALL.len()];

/// What is held, and the most that ever was. Clones share it.
#[derive(Clone, Default)]
pub struct Account(Rc<Book>);

#[derive(Default)]
struct Book {
    live: Cell<Bytes>,
    peak: Cell<Bytes>,
    numbers: Cell<usize>,
    /// Weights that are laid out.
    laid_out: RefCell<HashSet<TensorId>>,
    /// What a backward will go through.
    tape: RefCell<Vec<Step>>,
    /// Whether steps are not noted.
    still: Cell<bool>,
}

impl Account {
    /// Holds `bytes` from now on.
    ///
    /// What is laid out at first use stays for every use after, so it counts as held before.
    pub fn keep(&self, kind: Kind, bytes: usize) {
        if kind == Kind::Packed {
            for book in [&self.0.live, &self.0.peak] {
                let mut all = book.get();
                all[kind as usize] += bytes;
                book.set(all);
            }
            return;
        }
        let mut live = self.0.live.get();
        live[kind as usize] += bytes;
        self.0.live.set(live);
        if live.iter().sum::<usize>() > self.0.peak.get().iter().sum() {
            self.0.peak.set(live);
        }
    }

    /// Holds the `bytes` that a weight takes laid out, once.
    pub(super) fn lay_out(&self, weight: TensorId, bytes: usize) {
        if self.0.laid_out.borrow_mut().insert(weight) {
            self.keep(Kind::Packed, bytes);
        }
    }

    /// The bytes by kind at the moment when the most were held.
    pub fn peak(&self) -> Bytes {
        self.0.peak.get()
    }

    /// The bytes by kind that are held now.
    #[cfg(test)]
    pub(super) fn held(&self) -> Bytes {
        self.0.live.get()
    }

    /// A number that was not given before.
    pub(super) fn number(&self) -> usize {
        self.0.numbers.set(self.0.numbers.get() + 1);
        self.0.numbers.get()
    }

    /// Puts a step on the tape.
    pub(super) fn note(&self, step: impl FnOnce() -> Step) {
        if !self.0.still.get() {
            self.0.tape.borrow_mut().push(step());
        }
    }

    /// The steps so far, off the tape.
    pub(super) fn steps(&self) -> Vec<Step> {
        self.replace(Vec::new())
    }

    /// As [`Self::steps`]; others take their place.
    pub(super) fn replace(&self, steps: Vec<Step>) -> Vec<Step> {
        self.0.tape.replace(steps)
    }

    /// What `work` gives when its steps are not noted.
    pub(super) fn still<T>(&self, work: impl FnOnce() -> T) -> T {
        let before = self.0.still.replace(true);
        let result = work();
        self.0.still.set(before);
        result
    }

    /// Holds `bytes` until the result goes.
    pub(super) fn hold(&self, kind: Kind, bytes: usize) -> Held {
        self.keep(kind, bytes);
        Held { account: self.clone(), kind, bytes }
    }
}

/// Bytes that are held as long as this lives.
#[derive(Debug)]
pub(super) struct Held {
    account: Account,
    kind: Kind,
    bytes: usize,
}

impl Held {
    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Account({:?})", self.0.live.get())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut live = self.account.0.live.get();
        live[self.kind as usize] -= self.bytes;
        self.account.0.live.set(live);
    }
}
