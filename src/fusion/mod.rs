//! Bridges from image tokens to language: pooling and resampling.

mod pool;

pub use pool::{AttentionPool, AttentionPoolConfig};
