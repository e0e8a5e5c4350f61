//! Bridges from image tokens to language: pooling and resampling.
