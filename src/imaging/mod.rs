//! Pixels made right: readers, recipes, geometry. No tensors, no models, no Python.

mod image;

pub use image::{Image, View};
