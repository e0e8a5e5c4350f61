//! Configurations of the one architecture: config, assembly, forward.

pub mod elixr;
mod elixr_config;
mod encode;
mod model;
mod plan;
mod preset;
mod room;
mod towers;
mod writing;

pub use encode::{Encoded, Level, prepare};
pub use model::{Model, ModelSpec, SystemConfig};
pub use plan::{Plan, Sketch, TEXTS};
pub use preset::{preset, presets};
pub use room::{available, check_memory};
pub use writing::{DecoderSketch, check_scoring, check_writing};
