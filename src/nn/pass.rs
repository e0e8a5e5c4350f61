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
}

impl Pass {
    /// A pass that does not train: dropout is off, running statistics stay as they are.
    pub fn inference() -> Self {
        Self { training: None, drawn: AtomicU64::new(0) }
    }

    /// A training pass at `step` (count micro-batches, so that no two passes share one).
    pub fn training(seed: u64, step: u64) -> Self {
        Self { training: Some((seed, step)), drawn: AtomicU64::new(0) }
    }

    /// Whether this pass trains.
    pub fn trains(&self) -> bool {
        self.training.is_some()
    }

    /// A fresh random stream for the next layer that needs one; `None` when not training.
    pub fn random(&self) -> Option<Random> {
        let (seed, step) = self.training?;
        let layer = self.drawn.fetch_add(1, Ordering::Relaxed);
        Some(Random::new(seed, &[0x6e6e, step, layer]))
    }
}
