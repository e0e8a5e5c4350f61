//! Medical multimodal, multitask foundation models for chest imaging, on candle.
//!
//! Layers, lowest first; a module uses only those above it in this list
//! (`tests/rust/layers.rs` enforces it):
//!
//! | layer | modules |
//! |---|---|
//! | foundations | [`error`], [`device`], `cuda` (with its feature), [`progress`], [`random`], [`files`] |
//! | pure parts | [`imaging`], [`metrics`], [`kernels`] |
//! | blocks | [`nn`] |
//! | parts of models | [`vision`], [`language`], [`fusion`], [`weights`], [`tasks`] |
//! | studies | [`data`] |
//! | assembled models | [`systems`] |
//! | learning and measuring | [`training`], [`evaluation`] |
//! | the face | `py`, behind the feature `python` |

#[cfg(feature = "cuda")]
mod cuda;
pub mod data;
pub mod device;
pub mod error;
pub mod evaluation;
pub mod files;
pub mod fusion;
pub mod imaging;
pub mod kernels;
pub mod language;
pub mod metrics;
pub mod nn;
pub mod progress;
pub mod random;
pub mod systems;
pub mod tasks;
pub mod training;
pub mod vision;
pub mod weights;

#[cfg(feature = "python")]
mod py;

pub use error::{Error, Result};
