//! Losses, optimiser, schedules, the training loop and its checkpoints.

mod adamw;
pub mod loss;
mod schedule;

pub use adamw::{AdamW, AdamWConfig};
pub use schedule::Schedule;
