//! Hugging Face's `config.json` of `LLaMA`, Mistral and Qwen2, read and written.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Family, LlamaConfig};
use crate::nn::{Activation, RopeScaling};
use crate::{Error, Result, files};

/// What `model_type` may say.
const KINDS: [&str; 3] = ["llama", "mistral", "qwen2"];

/// The fields of the file that decide what the model computes.
#[derive(Deserialize)]
struct Raw {
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    hidden_act: Option<String>,
    max_position_embeddings: Option<usize>,
    rms_norm_eps: Option<f64>,
    rope_theta: Option<f64>,
    rope_scaling: Option<Rope>,
    /// Newer files say both here.
    rope_parameters: Option<Rope>,
    attention_bias: Option<bool>,
    mlp_bias: Option<bool>,
    tie_word_embeddings: Option<bool>,
    use_sliding_window: Option<bool>,
    max_window_layers: Option<usize>,
    layer_types: Option<Vec<String>>,
    bos_token_id: Option<u32>,
    eos_token_id: Option<OneOrMore>,
    pad_token_id: Option<i64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(u32),
    More(Vec<u32>),
}

#[derive(Deserialize)]
struct Rope {
    #[serde(rename = "rope_type", alias = "type")]
    kind: Option<String>,
    #[serde(rename = "rope_theta")]
    theta: Option<f64>,
    factor: Option<f64>,
    low_freq_factor: Option<f64>,
    high_freq_factor: Option<f64>,
    original_max_position_embeddings: Option<usize>,
}

impl Rope {
    fn scaling(&self) -> Result<RopeScaling> {
        let need = |name: &str, value: Option<f64>| {
            let field =
                || Error::config(format!("rope_scaling.{name}"), "found none, expected one");
            value.ok_or_else(field)
        };
        let factor = || need("factor", self.factor);
        Ok(match self.kind.as_deref().unwrap_or("default") {
            // Up to the greatest length, which is enforced, the dynamic frequencies are the plain
            // ones; beyond it they would depend on what the keys before were turned by.
            "default" | "dynamic" => RopeScaling::Plain,
            "linear" => RopeScaling::Linear { factor: factor()? },
            "llama3" => {
                let name = "original_max_position_embeddings";
                let original = self.original_max_position_embeddings;
                RopeScaling::Llama3 {
                    factor: factor()?,
                    low: need("low_freq_factor", self.low_freq_factor)?,
                    high: need("high_freq_factor", self.high_freq_factor)?,
                    original: need(name, original.map(|n| n as f64))? as usize,
                }
            }
            other => {
                let why = format!("found {other:?}, expected default, dynamic, linear or llama3");
                return Err(Error::config("rope_scaling.rope_type", why));
            }
        })
    }
}

impl LlamaConfig {
    /// Reads Hugging Face's `config.json` of a `LLaMA`, Mistral or Qwen2 model.
    pub fn from_hf_file(path: &Path) -> Result<Self> {
        let json: Value = serde_json::from_slice(&files::read(path)?)
            .map_err(|why| Error::format(path, why.to_string()))?;
        Self::from_hf(&json)
    }

    /// As [`Self::from_hf_file`], for JSON already read.
    pub fn from_hf(json: &Value) -> Result<Self> {
        let kind = json.get("model_type").and_then(Value::as_str).unwrap_or_default();
        let family = match kind {
            "llama" => Family::Llama,
            "mistral" => Family::Mistral,
            "qwen2" => Family::Qwen2,
            _ => {
                let why = format!("found {kind:?}, expected one of {KINDS:?}");
                return Err(Error::config("model_type", why));
            }
        };
        let raw: Raw = serde_json::from_value(json.clone())
            .map_err(|why| Error::config("config.json", why.to_string()))?;
        let (window, window_from) = raw.window(family, json)?;
        let rope = raw.rope_parameters.as_ref().or(raw.rope_scaling.as_ref());
        let theta = rope.and_then(|rope| rope.theta).or(raw.rope_theta);
        let positions = [2048, 131_072, 32_768][family as usize];
        let kv_heads = if family == Family::Llama {
            raw.num_attention_heads
        } else {
            [0, 8, 32][family as usize]
        };
        let config = Self {
            family,
            vocab_size: raw.vocab_size,
            dim: raw.hidden_size,
            depth: raw.num_hidden_layers,
            heads: raw.num_attention_heads,
            kv_heads: raw.num_key_value_heads.unwrap_or(kv_heads),
            head_dim: raw.head_dim,
            mlp_dim: raw.intermediate_size,
            activation: Activation::from_hf(raw.hidden_act.as_deref().unwrap_or("silu"))?,
            norm_eps: raw.rms_norm_eps.unwrap_or(1e-6),
            max_positions: raw.max_position_embeddings.unwrap_or(positions),
            rope_theta: theta.unwrap_or(1e4),
            rope_scaling: rope.map_or(Ok(RopeScaling::Plain), Rope::scaling)?,
            attention_bias: raw.attention_bias.unwrap_or(false),
            mlp_bias: raw.mlp_bias.unwrap_or(false),
            window,
            window_from,
            tied: raw.tie_word_embeddings.unwrap_or(false),
            bos: raw.bos_token_id,
            eos: match raw.eos_token_id {
                None => Vec::new(),
                Some(OneOrMore::One(token)) => vec![token],
                Some(OneOrMore::More(tokens)) => tokens,
            },
            // Some files say −1 for none.
            pad: raw.pad_token_id.and_then(|token| u32::try_from(token).ok()),
        };
        config.validate()?;
        Ok(config)
    }

    /// The content of a `config.json` that gives this model back, here and in transformers.
    pub fn to_hf(&self) -> Value {
        let (kind, class) = match self.family {
            Family::Llama => ("llama", "LlamaForCausalLM"),
            Family::Mistral => ("mistral", "MistralForCausalLM"),
            Family::Qwen2 => ("qwen2", "Qwen2ForCausalLM"),
        };
        let mut json = json!({
            "architectures": [class],
            "model_type": kind,
            "vocab_size": self.vocab_size,
            "hidden_size": self.dim,
            "intermediate_size": self.mlp_dim,
            "num_hidden_layers": self.depth,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "hidden_act": self.activation.hf_name(),
            "max_position_embeddings": self.max_positions,
            "rms_norm_eps": self.norm_eps,
            "rope_theta": self.rope_theta,
            "rope_scaling": self.rope_to_hf(),
            "tie_word_embeddings": self.tied,
            "bos_token_id": self.bos,
            "eos_token_id": match self.eos.as_slice() {
                [] => Value::Null,
                [one] => json!(one),
                more => json!(more),
            },
            "pad_token_id": self.pad,
            "torch_dtype": "float32",
        });
        let mut more = Map::new();
        if let Some(dim) = self.head_dim {
            more.insert("head_dim".to_owned(), json!(dim));
        }
        match self.family {
            Family::Llama => {
                more.insert("attention_bias".to_owned(), json!(self.attention_bias));
                more.insert("mlp_bias".to_owned(), json!(self.mlp_bias));
            }
            Family::Mistral => {
                more.insert("sliding_window".to_owned(), json!(self.window));
            }
            Family::Qwen2 => {
                more.insert("use_sliding_window".to_owned(), json!(self.window.is_some()));
                more.insert("sliding_window".to_owned(), json!(self.window));
                more.insert("max_window_layers".to_owned(), json!(self.window_from));
            }
        }
        if let Some(fields) = json.as_object_mut() {
            fields.extend(more);
        }
        json
    }

    fn rope_to_hf(&self) -> Value {
        match self.rope_scaling {
            RopeScaling::Plain => Value::Null,
            RopeScaling::Linear { factor } => json!({"rope_type": "linear", "factor": factor}),
            RopeScaling::Llama3 { factor, low, high, original } => json!({
                "rope_type": "llama3",
                "factor": factor,
                "low_freq_factor": low,
                "high_freq_factor": high,
                "original_max_position_embeddings": original,
            }),
        }
    }
}

impl Raw {
    /// How many tokens a token sees, and from which layer on.
    fn window(&self, family: Family, json: &Value) -> Result<(Option<usize>, usize)> {
        // Where the field is missing the library has a default; null is no window.
        let window = match (json.get("sliding_window"), family) {
            (None, Family::Llama) | (Some(Value::Null), _) => None,
            (None, _) => Some(4096),
            (Some(value), _) => {
                let why = || format!("found {value}, expected a number of tokens or null");
                let window =
                    value.as_u64().ok_or_else(|| Error::config("sliding_window", why()))?;
                Some(window as usize)
            }
        };
        let used = family != Family::Qwen2 || self.use_sliding_window.unwrap_or(false);
        let window = window.filter(|_| used && family != Family::Llama);
        let first = self.max_window_layers.unwrap_or(28);
        let first = if family == Family::Qwen2 && window.is_some() { first } else { 0 };
        let sliding = |layer: usize| window.is_some() && layer >= first;
        if let Some(kinds) = &self.layer_types {
            let kind = |layer| if sliding(layer) { "sliding_attention" } else { "full_attention" };
            let differs = |(layer, found): (usize, &String)| found != kind(layer);
            if let Some((layer, found)) = kinds.iter().enumerate().find(|one| differs(*one)) {
                let why = format!("found {found:?} in layer {layer}, expected {:?}", kind(layer));
                return Err(Error::config("layer_types", why));
            }
        }
        Ok((window, first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(more: Value) -> Value {
        let mut json = json!({
            "model_type": "llama", "vocab_size": 50, "hidden_size": 16, "intermediate_size": 40,
            "num_hidden_layers": 3, "num_attention_heads": 4,
        });
        json.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json
    }

    #[test]
    fn old_and_new_files_say_the_same() {
        let scaling = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 64});
        let mut new = scaling.clone();
        new["rope_theta"] = json!(5e5);
        let old = file(json!({"rope_theta": 5e5, "rope_scaling": scaling}));
        let old = LlamaConfig::from_hf(&old).unwrap();
        let new = LlamaConfig::from_hf(&file(json!({"rope_parameters": new}))).unwrap();
        assert_eq!(old, new);
        assert!((old.rope_theta - 5e5).abs() < 1e-6 && old.kv_heads == 4);
        let linear = file(json!({"rope_scaling": {"type": "linear", "factor": 2.0}}));
        let linear = LlamaConfig::from_hf(&linear).unwrap();
        assert_eq!(linear.rope_scaling, RopeScaling::Linear { factor: 2.0 });
    }

    #[test]
    fn what_is_written_is_read_back() {
        let plain = |family| LlamaConfig { family, window: None, ..LlamaConfig::default() };
        let scaling = RopeScaling::Llama3 { factor: 8.0, low: 1.0, high: 4.0, original: 512 };
        let all = [
            LlamaConfig { rope_scaling: scaling, attention_bias: true, ..plain(Family::Llama) },
            LlamaConfig {
                rope_scaling: RopeScaling::Linear { factor: 3.0 },
                mlp_bias: true,
                ..plain(Family::Llama)
            },
            LlamaConfig { window: Some(7), head_dim: Some(64), ..plain(Family::Mistral) },
            LlamaConfig { eos: vec![3, 4], bos: None, pad: Some(0), ..plain(Family::Mistral) },
            LlamaConfig { window: Some(9), window_from: 2, tied: true, ..plain(Family::Qwen2) },
            LlamaConfig { eos: Vec::new(), ..plain(Family::Qwen2) },
        ];
        for config in all {
            assert_eq!(LlamaConfig::from_hf(&config.to_hf()).unwrap(), config);
        }
    }

    #[test]
    fn windows_follow_the_family() {
        let window = |more: Value| {
            let config = LlamaConfig::from_hf(&file(more)).unwrap();
            [0, 1, 2].map(|layer| config.window_of(layer))
        };
        let (mistral, qwen) = ("mistral", "qwen2");
        let kv = 2;
        let base = json!({"model_type": mistral, "num_key_value_heads": kv});
        assert_eq!(window(base), [Some(4096); 3]);
        let none =
            json!({"model_type": mistral, "num_key_value_heads": kv, "sliding_window": null});
        assert_eq!(window(none), [None; 3]);
        let off = json!({"model_type": qwen, "num_key_value_heads": kv, "sliding_window": 8});
        assert_eq!(window(off), [None; 3]);
        let late = json!({"model_type": qwen, "num_key_value_heads": kv, "sliding_window": 8,
            "use_sliding_window": true, "max_window_layers": 1});
        assert_eq!(window(late), [None, Some(8), Some(8)]);
    }

    #[test]
    fn other_architectures_and_fields_are_refused_by_name() {
        let error = |more: Value| LlamaConfig::from_hf(&file(more)).unwrap_err().to_string();
        assert_eq!(
            error(json!({"model_type": "gemma3"})),
            "config field `model_type`: found \"gemma3\", expected one of \
             [\"llama\", \"mistral\", \"qwen2\"]"
        );
        let yarn = error(json!({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}));
        assert!(yarn.contains("found \"yarn\", expected default, dynamic, linear"), "{yarn}");
        let factor = error(json!({"rope_scaling": {"rope_type": "linear"}}));
        assert_eq!(factor, "config field `rope_scaling.factor`: found none, expected one");
        assert!(error(json!({"hidden_size": "wide"})).contains("config.json"));
        assert!(error(json!({"hidden_act": "mish"})).contains("hidden_act"));
        assert!(error(json!({"vocab_size": 1u64 << 50})).contains("expected 1 to 1048576"));
        let mixed = error(json!({"layer_types": ["full_attention", "linear_attention"]}));
        assert!(mixed.contains("found \"linear_attention\" in layer 1"), "{mixed}");
    }
}
