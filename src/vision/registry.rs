//! The image encoders by name, so that a configuration can choose one.

use candle::Tensor;
use candle_nn::VarBuilder;
use serde::{Deserialize, Serialize};

use super::resnet::{ResNet, ResNetConfig};
use super::{TokenGrid, VisionEncoder};
use super::{Vit, VitConfig};
use crate::Result;
use crate::nn::Pass;

/// Declares each encoder once: its config and its block.
macro_rules! encoders {
    ($($(#[doc = $doc:literal])+ $Name:ident($Config:ident)),+ $(,)?) => {
        /// An image encoder's sizes; the field `arch` says which.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "arch", rename_all = "lowercase")]
        pub enum ImageEncoderConfig { $($(#[doc = $doc])+ $Name($Config)),+ }

        impl ImageEncoderConfig {
            /// The blocks' names; lower case, they are what `arch` takes.
            pub const BLOCKS: &'static [&'static str] = &[$(stringify!($Name)),+];

            /// Refuses sizes that no encoder can have.
            pub fn validate(&self) -> Result<()> {
                match self { $(Self::$Name(config) => config.validate()),+ }
            }

            /// Width D of the tokens.
            pub fn dim(&self) -> usize {
                match self { $(Self::$Name(config) => config.token_dim()),+ }
            }
        }

        /// A built image encoder.
        #[allow(clippy::large_enum_variant)] // there is one in a model
        #[derive(Clone, Debug)]
        pub enum ImageEncoder { $($(#[doc = $doc])+ $Name($Name)),+ }

        impl ImageEncoder {
            /// Builds the encoder and reads its weights under `vb`.
            pub fn new(config: &ImageEncoderConfig, vb: VarBuilder) -> Result<Self> {
                Ok(match config {
                    $(ImageEncoderConfig::$Name(config) => Self::$Name($Name::new(config, vb)?)),+
                })
            }
        }

        impl VisionEncoder for ImageEncoder {
            fn forward(&self, pixels: &Tensor, pass: &Pass) -> Result<TokenGrid> {
                match self { $(Self::$Name(encoder) => encoder.forward(pixels, pass)),+ }
            }

            fn dim(&self) -> usize {
                match self { $(Self::$Name(encoder) => encoder.dim()),+ }
            }
        }
    };
}

encoders! {
    /// Vision transformer.
    Vit(VitConfig),
    /// Convolutional trunk.
    ResNet(ResNetConfig),
}

impl Default for ImageEncoderConfig {
    fn default() -> Self {
        Self::Vit(VitConfig::default())
    }
}
