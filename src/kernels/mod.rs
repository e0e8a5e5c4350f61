//! Fused operations as candle custom ops, each with its forward and its backward.
//!
//! They take float32 tensors on the CPU; `nn` composes candle's own operations for the rest.

// A body must be inlined to be compiled for the instruction set of its caller.
#![allow(clippy::inline_always)]

mod activation;
#[cfg(target_arch = "x86_64")]
mod amx;
mod attention;
mod batch_norm;
#[cfg(all(target_os = "linux", any(feature = "allocator", test)))]
mod blocks;
mod buffer;
mod conv;
mod conv_gradient;
mod conv_product;
mod crew;
mod cross_entropy;
mod dense;
mod depthwise;
mod few;
#[cfg(target_arch = "x86_64")]
mod few_short;
mod gemm;
#[cfg(all(test, unix))]
mod guard;
mod held;
mod join;
mod linear;
mod linear_cross_entropy;
mod lines;
#[cfg(test)]
mod naive;
#[cfg(test)]
mod naive_rows;
mod norm;
mod optimiser;
mod packed;
mod panels;
#[cfg(target_arch = "x86_64")]
mod parts;
#[cfg(target_arch = "x86_64")]
mod parts_product;
mod patches;
#[cfg(target_arch = "x86_64")]
mod place;
mod planes;
mod pool;
mod product;
mod q8;
mod q8_sums;
mod rope;
mod runs;
mod simd;
mod softmax;
mod tape;
mod tile;
mod unfold;
#[cfg(target_arch = "x86_64")]
mod unit;

pub(crate) use activation::{
    Forward, GELU, GELU_TANH, Nonlinearity, QUICK_GELU, RELU, SILU, activate, gate,
};
pub(crate) use attention::{Scores, attend, attend_packed, attention_workspace};
pub(crate) use batch_norm::{Statistics, batch_norm, batch_statistics};
pub(crate) use buffer::{reach, read, serve};
pub(crate) use conv::{
    ConvFollowing, Geometry, conv2d, conv2d_finished, conv2d_workspace, depthwise_finished,
};
#[cfg(test)]
pub(crate) use crew::with_threads;
pub(crate) use cross_entropy::{Classes, Targets, cross_entropy};
pub(crate) use dense::{DenseWeights, dense_block, dense_workspace, halve_activated};
pub(crate) use join::join;
pub(crate) use linear::{Following, lies, linear, linear_as_it_lies, linear_prepared};
pub(crate) use linear_cross_entropy::linear_cross_entropy;
pub(crate) use norm::{layer_norm, rms_norm};
pub(crate) use optimiser::{AdamWStep, adamw, blend, change, sum_of_squares};
pub(crate) use packed::{Packed, in_eight_bits, preparing};
pub(crate) use patches::patchify;
pub(crate) use pool::{Pool, avg_pool2d, max_pool2d};
pub(crate) use rope::rope;
pub(crate) use softmax::softmax;
pub(crate) use tape::{recomputed, recording, sum};

mod given_back;
mod layouts;
mod mapped;

pub use given_back::give_back_freed_memory;
pub use layouts::{Layouts, LayoutsWriter};
pub use mapped::MappedFile;
pub use packed::{Precision, prepare_weights};
pub use rope::RopeLayout;
pub use tape::{Gradients, Tape, record};

/// The instruction set that the kernels run with here, chosen at run time.
pub fn instruction_set() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    match unit::unit() {
        Some(unit::Unit::Amx) => return "AVX-512, products on AMX tiles",
        Some(unit::Unit::Dot) => return "AVX-512 with bfloat16",
        None => (),
    }
    match simd::level() {
        #[cfg(target_arch = "x86_64")]
        simd::Level::Avx512 => "AVX-512",
        #[cfg(target_arch = "x86_64")]
        simd::Level::Avx2 => "AVX2 and FMA",
        simd::Level::Baseline => "the architecture's baseline",
    }
}
