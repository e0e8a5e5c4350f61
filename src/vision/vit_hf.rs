//! Hugging Face's `config.json` of vision towers, read into a [`VitConfig`].
//!
//! Those files leave out what equals the library's defaults, which differ from family to family;
//! so each family's defaults are written down here.

use std::path::Path;

use serde_json::{Map, Value};

use super::{Pool, PositionPrefix, PositionResize, VitConfig, VitLayout};
use crate::nn::Activation;
use crate::{Error, Result, files};

impl VitConfig {
    /// Reads `config.json` of a `ViT`, `CLIP`, `SigLIP` or `DINOv2` model, alone or as the vision
    /// tower of a two-tower model.
    pub fn from_hf_file(path: &Path) -> Result<(Self, VitLayout)> {
        let json: Value = serde_json::from_slice(&files::read(path)?)
            .map_err(|why| Error::format(path, why.to_string()))?;
        Self::from_hf(&json)
    }

    /// As [`Self::from_hf_file`], for JSON already read.
    pub fn from_hf(json: &Value) -> Result<(Self, VitLayout)> {
        let kind = json.get("model_type").and_then(Value::as_str).unwrap_or_default();
        let tower = json.get("vision_config").filter(|tower| tower.is_object());
        let (tower, kind) = match (tower, kind) {
            (Some(tower), "clip") => (tower, "clip_vision_model"),
            (Some(tower), "siglip") => (tower, "siglip_vision_model"),
            _ => (json, kind),
        };
        let fields = Fields(tower.as_object().ok_or_else(|| {
            Error::config("config.json", "expected an object of names and values")
        })?);
        let (config, layout) = match kind {
            "vit" => (vit(&fields)?, VitLayout::VitHf),
            "clip_vision_model" => (clip(&fields)?, VitLayout::ClipVision),
            "siglip_vision_model" => (siglip(&fields)?, VitLayout::SiglipVision),
            "dinov2" | "dinov2_with_registers" => (dinov2(&fields, kind)?, VitLayout::Dinov2Hf),
            other => {
                let why = format!(
                    "found {other:?}, expected vit, clip, siglip, dinov2, dinov2_with_registers"
                );
                return Err(Error::config("model_type", why));
            }
        };
        config.validate()?;
        Ok((config, layout))
    }
}

fn vit(fields: &Fields) -> Result<VitConfig> {
    Ok(VitConfig { qkv_bias: fields.flag("qkv_bias", true)?, ..fields.common(16, "gelu", 1e-12)? })
}

fn clip(fields: &Fields) -> Result<VitConfig> {
    Ok(VitConfig {
        patch_bias: false,
        pre_norm: true,
        final_norm: false,
        pool_norm: true,
        ..fields.common(32, "quick_gelu", 1e-5)?
    })
}

fn siglip(fields: &Fields) -> Result<VitConfig> {
    let head = fields.flag("vision_use_head", true)?;
    Ok(VitConfig {
        class_token: false,
        pool: if head { Pool::Attention } else { Pool::None },
        ..fields.common(16, "gelu_pytorch_tanh", 1e-6)?
    })
}

fn dinov2(fields: &Fields, kind: &str) -> Result<VitConfig> {
    if fields.flag("use_swiglu_ffn", false)? {
        let why = "found true; the giant model's gated feed-forward branch is not supported";
        return Err(Error::config("use_swiglu_ffn", why));
    }
    let registers = kind == "dinov2_with_registers";
    Ok(VitConfig {
        qkv_bias: fields.flag("qkv_bias", true)?,
        mlp_ratio: fields.number("mlp_ratio", 4.0)?,
        mlp_dim: None,
        layer_scale: Some(fields.number("layerscale_value", 1.0)?),
        registers: if registers { fields.count("num_register_tokens", 4)? } else { 0 },
        position_prefix: PositionPrefix::Class,
        position_resize: if registers {
            PositionResize::BicubicAntialias // the library changed its mind between the two
        } else {
            PositionResize::Bicubic
        },
        ..fields.common(if registers { 16 } else { 14 }, "gelu", 1e-6)?
    })
}

/// Fields by name, with the default of the family for what is absent.
struct Fields<'a>(&'a Map<String, Value>);

impl Fields<'_> {
    fn common(&self, patch_size: usize, activation: &str, norm_eps: f64) -> Result<VitConfig> {
        Ok(VitConfig {
            image_size: self.count("image_size", 224)?,
            patch_size: self.count("patch_size", patch_size)?,
            channels: self.count("num_channels", 3)?,
            dim: self.count("hidden_size", 768)?,
            depth: self.count("num_hidden_layers", 12)?,
            heads: self.count("num_attention_heads", 12)?,
            mlp_dim: Some(self.count("intermediate_size", 3072)?),
            activation: self.activation(activation)?,
            norm_eps: self.number("layer_norm_eps", norm_eps)?,
            ..VitConfig::default()
        })
    }

    fn count(&self, name: &str, default: usize) -> Result<usize> {
        self.read(name, default, "a whole number", |value| {
            value.as_u64().and_then(|n| usize::try_from(n).ok())
        })
    }

    fn number(&self, name: &str, default: f64) -> Result<f64> {
        self.read(name, default, "a number", Value::as_f64)
    }

    fn flag(&self, name: &str, default: bool) -> Result<bool> {
        self.read(name, default, "true or false", Value::as_bool)
    }

    fn activation(&self, default: &str) -> Result<Activation> {
        let name = self.read("hidden_act", default.to_owned(), "a text", |value| {
            value.as_str().map(ToOwned::to_owned)
        })?;
        Activation::from_hf(&name)
    }

    fn read<T>(
        &self,
        name: &str,
        default: T,
        expected: &str,
        convert: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<T> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(default),
            Some(value) => convert(value)
                .ok_or_else(|| Error::config(name, format!("found {value}, expected {expected}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_two_tower_file_leaves_out_has_the_family_s_defaults() {
        let tower = json!({"hidden_size": 1152, "num_hidden_layers": 27, "intermediate_size": 4304,
            "num_attention_heads": 16, "image_size": 448, "patch_size": 14});
        let file = json!({"model_type": "siglip", "vision_config": tower});
        let (config, layout) = VitConfig::from_hf(&file).unwrap();
        assert_eq!(layout, VitLayout::SiglipVision);
        assert_eq!((config.hidden(), config.native_grid(), config.prefix()), (4304, 32, 0));
        assert_eq!((config.activation, config.norm_eps), (Activation::GeluTanh, 1e-6));
        assert_eq!(config.pool, Pool::Attention);
    }

    #[test]
    fn wrong_kinds_and_values_are_named() {
        let error = |json: Value| VitConfig::from_hf(&json).unwrap_err().to_string();
        assert!(error(json!({"model_type": "swin"})).contains("`model_type`: found \"swin\""));
        assert_eq!(
            error(json!({"model_type": "vit", "hidden_size": "big"})),
            "config field `hidden_size`: found \"big\", expected a whole number"
        );
        assert_eq!(
            error(json!({"model_type": "vit", "hidden_size": 100})),
            "config field `heads`: found 12, expected a divisor of dim 100"
        );
        assert!(error(json!({"model_type": "vit", "image_size": 225})).contains("`patch_size`"));
        assert!(error(json!([])).contains("config.json"));
    }
}
