//! Configurations of the one architecture: config, assembly, forward.

pub mod elixr;
mod encode;
mod model;
mod preset;

pub use encode::{Encoded, Level, prepare};
pub use model::{Model, ModelSpec, SystemConfig};
pub use preset::{preset, presets};
