//! Pixels made right: readers, recipes, geometry. No tensors, no models, no Python.

pub mod dicom;
mod geometry;
mod image;
mod png;
mod raster;
mod read;
mod recipe;
mod resize;

pub use geometry::Geometry;
pub use image::{Image, View};
pub use png::{preview_png, write_png};
pub use read::{ReadOptions, WindowChoice, decode_bytes, read, read_with};
pub use recipe::{Intensity, Recipe, Step};
pub use resize::{Kernel, resize};
