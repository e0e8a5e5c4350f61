//! Protocols: what is asked of a model, how it is scored and reported.

mod zero_shot;

pub use zero_shot::{Scoring, Sides, scores as zero_shot_scores};
pub mod probe;
