//! Bridges from image tokens to language: pooling and resampling.

mod adapter;
mod perceiver;
mod pool;
mod qformer;
mod similarity;

pub use adapter::Adapter;
pub use perceiver::{Perceiver, PerceiverConfig};
pub use pool::{AttentionPool, AttentionPoolConfig};
pub use qformer::{
    Alignment, Captioning, Gather, Keys, Losses, Negatives, Pairing, QFormer, QFormerConfig, Words,
};
pub use similarity::{similarity, trace_similarity};
