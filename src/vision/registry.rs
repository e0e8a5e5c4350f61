//! The image encoders by name, so that a configuration can choose one.

use candle::Tensor;
use candle_nn::VarBuilder;
use serde::{Deserialize, Serialize};

use super::{
    CtVit, CtVitConfig, DenseNet, DenseNetConfig, EfficientNet, EfficientNetConfig, ResNet,
    ResNetConfig, TokenGrid, VisionEncoder, Vit, Vit3d, Vit3dConfig, VitConfig,
};
use crate::Result;
use crate::nn::{Pass, Shadow};

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

            fn forward_sized(
                &self,
                pixels: &Tensor,
                voxels: &[[f64; 3]],
                pass: &Pass,
            ) -> Result<TokenGrid> {
                match self { $(Self::$Name(encoder) => encoder.forward_sized(pixels, voxels, pass)),+ }
            }

            fn trace(&self, pixels: &Shadow, pass: &Pass) -> Result<Shadow> {
                match self { $(Self::$Name(encoder) => encoder.trace(pixels, pass)),+ }
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
    /// Inverted bottlenecks, scaled by one rule.
    EfficientNet(EfficientNetConfig),
    /// Convolutional trunk whose layers read all before them.
    DenseNet(DenseNetConfig),
    /// Vision transformer on volumes of several sizes.
    CtVit(CtVitConfig),
    /// Vision transformer on volumes of any size.
    Vit3d(Vit3dConfig),
}

impl Default for ImageEncoderConfig {
    fn default() -> Self {
        Self::Vit(VitConfig::default())
    }
}

#[cfg(test)]
mod tests {
    use candle::{DType, Device};

    use super::*;
    use crate::kernels::with_threads;
    use crate::nn::Parameters;
    use crate::nn::testing::trained;
    use crate::random::Random;

    /// Small trunks, with all that draws random numbers.
    fn trunks() -> [ImageEncoderConfig; 2] {
        [
            ImageEncoderConfig::EfficientNet(EfficientNetConfig {
                width: 0.2,
                depth: 0.3,
                drop_connect: 0.5,
                ..EfficientNetConfig::default()
            }),
            ImageEncoderConfig::DenseNet(DenseNetConfig {
                stem_width: 16,
                growth: 8,
                depths: vec![2, 3],
                dropout: 0.3,
                ..DenseNetConfig::default()
            }),
        ]
    }

    /// Bits of a film's tokens at rest, and of all that a training step gives.
    fn step(config: &ImageEncoderConfig, seed: u64) -> Vec<u32> {
        let parameters = Parameters::new(3, &Device::Cpu);
        let model = ImageEncoder::new(config, parameters.builder()).unwrap();
        let mut random = Random::new(5, &[]);
        let pixels = (0..3 * 70 * 66).map(|_| random.normal() as f32).collect();
        let pixels = Tensor::from_vec(pixels, (3, 1, 70, 66), &Device::Cpu).unwrap();
        let (out, mut found) = trained(|| {
            let out = model.forward(&pixels, &Pass::training(seed, 0))?;
            let loss = out.tokens.sqr()?.mean_all()?;
            Ok((out, loss))
        });
        let still = ImageEncoder::new(config, parameters.frozen()).unwrap();
        let at_rest = still.forward(&pixels, &Pass::inference()).unwrap().tokens;
        let mut all = vec![out.tokens, out.pooled.unwrap(), at_rest];
        for (name, var) in parameters.trainable() {
            all.push(found.take(&var).unwrap_or_else(|| panic!("{name} got no gradient")));
        }
        all.extend(parameters.all().into_iter().map(|(_, var)| var.as_detached_tensor()));
        let flat = |x: &Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        all.iter().flat_map(flat).map(f32::to_bits).collect()
    }

    #[test]
    fn trunks_do_not_depend_on_the_number_of_threads_but_on_the_seed() {
        for config in trunks() {
            let run = |threads| with_threads(threads, || step(&config, 1));
            let one = run(1);
            assert!([2, 3, 7].into_iter().all(|threads| run(threads) == one));
            assert_ne!(step(&config, 2), one);
        }
    }

    #[test]
    fn a_configuration_survives_json_and_names_an_unknown_field() {
        for config in trunks() {
            let text = serde_json::to_string(&config).unwrap();
            assert_eq!(serde_json::from_str::<ImageEncoderConfig>(&text).unwrap(), config);
            let wrong = text.replacen("\"channels\"", "\"chanels\"", 1);
            let error = serde_json::from_str::<ImageEncoderConfig>(&wrong).unwrap_err().to_string();
            assert!(error.contains("chanels"), "{error}");
        }
    }

    #[test]
    fn no_film_gives_no_tokens() {
        for config in trunks() {
            let parameters = Parameters::new(0, &Device::Cpu);
            ImageEncoder::new(&config, parameters.builder()).unwrap();
            let still = ImageEncoder::new(&config, parameters.frozen()).unwrap();
            let none = Tensor::zeros((0, 1, 64, 64), DType::F32, &Device::Cpu).unwrap();
            let out = still.forward(&none, &Pass::inference()).unwrap();
            assert_eq!(out.tokens.dims()[0], 0);
        }
    }
}
