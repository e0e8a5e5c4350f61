//! Pixels made right: readers, recipes, geometry. No tensors, no models, no Python.

mod cxr_foundation;
pub mod dicom;
mod geometry;
mod grid;
mod image;
mod nifti;
mod organs;
mod png;
mod raster;
mod read;
mod recipe;
mod resize;
mod series;
mod volume;
mod volume_geometry;
mod volume_options;
mod volume_read;

pub use cxr_foundation::{Rendering, cxr_foundation_film, write_cxr_foundation_png};
pub use geometry::Geometry;
pub use grid::{Grid, Turn};
pub use image::{Image, View};
pub use organs::{Edges, Organ, Organs};
pub use png::{png, write_png};
pub use read::{ReadOptions, WindowChoice, decode_bytes, read};
pub use recipe::{Intensity, Recipe, Step, VolumeInput, VoxelSize};
pub use resize::{Kernel, resize};
pub use series::{Folder, Repair, Series, read_series, scan};
pub use volume::{HuWindow, Volume, grown};
pub use volume_geometry::VolumeGeometry;
pub use volume_options::VolumeOptions;
pub use volume_read::{is_volume, read_volume};
