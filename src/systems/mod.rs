//! Configurations of the one architecture: config, assembly, forward.

mod ask;
pub mod elixr;
mod elixr_config;
mod encode;
mod graft;
mod grafting;
mod model;
mod plan;
mod preset;
mod room;
mod towers;
mod writing;

pub use ask::{Answered, Answers, Inquiry, place_of_film};
pub use encode::{Encoded, Level, prepare};
pub use graft::{Graft, GraftConfig, Lesson};
pub use grafting::Grafting;
pub use model::{Model, ModelSpec, SystemConfig};
pub use plan::{Plan, Sketch, TEXTS};
pub use preset::{preset, presets};
pub use room::{available, check_memory};
pub use writing::{DecoderSketch, check_scoring, check_writing};
