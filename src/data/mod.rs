//! Studies: manifests, batches, the cache, augmentation, synthetic films.

mod augment;
mod cache;
mod dataset;
mod export;
mod film;
pub mod index;
mod loader;
pub mod manifest;
pub mod phantom;
mod records;
mod report;
mod split;
mod study;
mod tensors;
mod warp;

pub use augment::Augment;
pub use cache::{Cache, Precision};
pub use export::write_dicom;
pub use loader::{
    Ahead, Batch, Epoch, FilmChoice, Loader, LoaderOptions, OnDevice, Prepare, RowError,
};
pub use records::{Records, read_records};
pub use split::{By, check_disjoint, shared_patients};
pub use study::{
    Attributes, Dataset, Film, FindingBox, FindingMask, FollowUp, MaskPixels, Pixels, Question,
    Record, Report, Study, Value, joined,
};
pub use tensors::Tensors;
