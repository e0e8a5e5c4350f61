//! Layers with true gradients, one block a file. Nothing else in the crate defines a layer.

mod parameters;
mod pass;

pub use parameters::{Parameters, is_statistic};
pub use pass::Pass;
