//! Whether a forward pass trains, and the random numbers it may use.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::random::Random;

/// One forward pass through a model.
///
/// Layers that behave differently in training (dropout, drop-path, batch norm) ask it. Their
/// random numbers depend on the seed, the step and the order of the layers only, so a resumed
/// run draws what the uninterrupted one would have drawn.
#[derive(Debug)]
pub struct Pass {
    training: Option<(u64, u64)>,
    drawn: AtomicU64,
    repeats: bool,
    recomputes: bool,
}

impl Pass {
    /// A pass that does not train: dropout is off, running statistics stay as they are.
    pub fn inference() -> Self {
        Self { training: None, drawn: AtomicU64::new(0), repeats: false, recomputes: false }
    }

    /// A training pass at `step` (count micro-batches, so that no two passes share one).
    pub fn training(seed: u64, step: u64) -> Self {
        Self { training: Some((seed, step)), ..Self::inference() }
    }

    /// The same pass, in which transformer blocks keep their input only and run again in the backward.
    #[must_use]
    pub fn recomputing(self) -> Self {
        Self { recomputes: true, ..self }
    }

    /// Whether this pass trains.
    pub fn trains(&self) -> bool {
        self.training.is_some()
    }

    /// Whether blocks keep their input only and run again in the backward.
    pub fn recomputes(&self) -> bool {
        self.trains() && self.recomputes
    }

    /// Whether a block runs again: what it leaves behind (running statistics) is there already.
    pub fn repeats(&self) -> bool {
        self.repeats
    }

    /// A fresh random stream for the next layer that needs one; `None` when not training.
    pub fn random(&self) -> Option<Random> {
        let (seed, step) = self.training?;
        let layer = self.drawn.fetch_add(1, Ordering::Relaxed);
        Some(Random::new(seed, &[0x6e6e, step, layer]))
    }

    /// A pass that draws from here on what this one will draw, leaves nothing behind, and keeps or
    /// recomputes as this one does.
    #[must_use]
    pub fn again(&self) -> Self {
        Self { recomputes: self.recomputes, ..self.repetition() }
    }

    /// A pass that draws from here on what this one will draw, and keeps everything.
    pub(super) fn repetition(&self) -> Self {
        let drawn = AtomicU64::new(self.drawn.load(Ordering::Relaxed));
        Self { training: self.training, drawn, repeats: true, recomputes: false }
    }
}
