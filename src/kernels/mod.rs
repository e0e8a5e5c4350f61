//! Fused operations as candle custom ops, each with its forward and its backward.

mod mapped;

pub use mapped::MappedFile;
