//! Losses, optimiser, schedules, the training loop and its checkpoints.

mod adamw;
mod aim;
mod average;
mod checkpoint;
mod feed;
mod gradients;
mod history;
mod instruct;
mod learn;
mod learnable;
pub mod loss;
mod objective;
mod overlong;
mod plan;
mod positives;
mod ranks;
mod run;
mod schedule;
mod stage;
#[cfg(test)]
mod tests;
mod texts;
mod validate;

pub use adamw::{AdamW, AdamWConfig};
pub use aim::{Objective, PairLoss, Same, Section};
pub use history::{EpochRow, History, StepRow};
pub use plan::{Conditions, plan};
pub use ranks::Ranks;
pub use run::{RunOptions, run};
pub use schedule::Schedule;
pub use stage::Stage;
