//! Image encoders.

mod ct_tokenizer;
mod ctvit;
mod ctvit_config;
mod densenet;
mod efficientnet;
mod encoder;
mod mbconv;
mod registry;
mod resnet;
mod vit;
mod vit3d;
mod vit_config;
mod vit_hf;

pub use ctvit::CtVit;
pub use ctvit_config::{CtScale, CtVitConfig, CtVitSize};
pub use densenet::{DenseNet, DenseNetConfig, DenseNetSize};
pub use efficientnet::{EfficientNet, EfficientNetConfig, EfficientNetSize};
pub use encoder::{TokenGrid, VisionEncoder};
pub use registry::{ImageEncoder, ImageEncoderConfig};
pub use resnet::{BlockKind, ResNet, ResNetConfig};
pub use vit::Vit;
pub use vit_config::{Pool, Position, PositionPrefix, PositionResize, VitConfig, VitLayout};
pub use vit3d::{Vit3d, Vit3dConfig};
