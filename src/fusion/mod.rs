//! Bridges from image tokens to language: pooling and resampling.

mod perceiver;
mod pool;

pub use perceiver::{Perceiver, PerceiverConfig};
pub use pool::{AttentionPool, AttentionPoolConfig};
