//! Studies: manifests, batches, the cache, augmentation, synthetic films.

pub mod index;
mod study;

pub use study::{
    Attributes, Dataset, Film, FindingBox, FindingMask, MaskPixels, Pixels, Record, Report, Study,
    Value,
};
