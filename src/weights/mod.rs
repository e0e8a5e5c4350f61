//! Weights in and out: the only opener of checkpoints.
//!
//! [`Checkpoint`] reads safetensors only, [`NameMap`] says in data how a published layout's
//! names become ours, [`load`] fills a model or touches nothing, [`save`] writes atomically.

mod checkpoint;
mod header;
mod load;
mod name_map;
mod pattern;
mod report;
mod save;
mod stream;

pub use checkpoint::{Checkpoint, TensorInfo};
pub use load::{Strictness, filled, load};
pub use name_map::NameMap;
pub use report::{LoadReport, Misshapen};
pub use save::save;
pub use stream::stream;
