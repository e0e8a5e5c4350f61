//! Layers with true gradients, one block a file. Nothing else in the crate defines a layer.
//!
//! Every constructor takes a `VarBuilder` last and asks it for PyTorch's parameter names, so a
//! struct reads like the state dict it loads.

mod account;
mod activation;
mod attend;
mod attention;
mod axial;
mod batch_norm;
mod block;
mod composed;
mod conv;
mod conv_norm;
mod cross_entropy;
mod dense;
mod dropout;
#[cfg(test)]
mod edges;
mod embedding;
#[cfg(test)]
mod gradients;
mod half;
mod key_values;
mod layer_scale;
pub(crate) mod limits;
mod linear;
mod lora;
mod mlp;
mod norm;
mod parameters;
mod pass;
mod patch;
mod patch_normed;
mod pool;
pub mod position;
mod precision;
mod prepared;
mod recompute;
mod rope;
mod shadow;
mod softmax;
mod spans;
mod squeeze_excite;
mod sum;
#[cfg(test)]
pub(crate) mod testing;
mod unit;
mod windows;

pub use account::{Account, Bytes, Kind};
pub use activation::Activation;
pub use attend::{Attend, attend};
pub use attention::{Attention, AttentionConfig, AttentionInput, AttentionLayout};
pub use axial::AxialPlaces;
pub use batch_norm::BatchNorm2d;
pub use block::{Block, BlockConfig};
pub(crate) use composed::wide;
pub use conv::{Conv2d, Conv2dConfig, ConvAround, conv2d};
pub(crate) use conv::{finished, trace_finished};
pub use conv_norm::{Around, ConvNorm, ConvNormConfig, Padding};
pub use cross_entropy::{CrossEntropy, shared_cross_entropy};
pub use dense::{DenseBlock, DenseBlockConfig, DenseTransition};
pub use dropout::{DropPath, Dropout};
pub use embedding::Embedding;
pub use key_values::KeyValues;
pub(crate) use key_values::room_for;
pub use layer_scale::LayerScale;
pub use linear::{Bias, Linear, linear};
pub use lora::Lora;
pub use mlp::{GatedMlp, Mlp, MlpConfig};
pub use norm::{LayerNorm, RmsNorm, layer_norm, rms_norm};
pub use parameters::{Outline, Parameters, is_statistic};
pub use pass::Pass;
pub use patch::{PatchEmbed2d, PatchEmbed2dConfig, PatchEmbed3d, PatchEmbed3dConfig};
pub use patch_normed::NormedPatchEmbed3d;
pub use pool::{adaptive_avg_pool2d, avg_pool2d, max_pool2d, plane_means};
pub(crate) use pool::{trace_plane_means, trace_pool2d};
pub(crate) use precision::builder_type;
pub use precision::{Precision, in_precision};
pub use prepared::without;
pub use rope::{Rope, RopeLayout, RopeScaling};
pub use shadow::{Shadow, Work};
pub use softmax::softmax;
pub use squeeze_excite::SqueezeExcite;
pub(crate) use sum::trace_join;
pub use sum::{join, sum};
pub(crate) use unit::trace_unit;
pub use unit::unit;
pub use windows::Window;

pub use crate::kernels::{Gradients, Tape, record};
