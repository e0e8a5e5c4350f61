//! Fused operations as candle custom ops, each with its forward and its backward.
//!
//! They take float32 tensors on the CPU; `nn` composes candle's own operations for the rest.

// A body must be inlined to be compiled for the instruction set of its caller.
#![allow(clippy::inline_always)]

mod activation;
mod buffer;
mod gemm;
mod linear;
mod norm;
mod simd;
mod softmax;

pub(crate) use activation::{
    apply_gelu, apply_gelu_tanh, apply_quick_gelu, apply_relu, apply_silu,
};
pub(crate) use buffer::serve;
pub(crate) use linear::linear;
pub(crate) use norm::{layer_norm, rms_norm};
pub(crate) use softmax::softmax;

mod mapped;

pub use mapped::MappedFile;
