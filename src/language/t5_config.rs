//! The options of T5 encoders, and Hugging Face's file of them.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::nn::Activation;
use crate::nn::limits::{chance, small, within};
use crate::{Error, Result, files};

/// The options of a [`T5`](super::T5); the default is the encoder of T5 v1.1 base.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct T5Config {
    /// Entries of the vocabulary.
    pub vocab_size: usize,
    /// Features of a token.
    pub dim: usize,
    /// Layers.
    pub depth: usize,
    /// Attention heads.
    pub heads: usize,
    /// Features of one head; those of all need not be as many as a token's.
    pub head_dim: usize,
    /// Features inside the feed-forward branch.
    pub mlp_dim: usize,
    /// Whether one of two maps gates the other (v1.1) in the feed-forward branch.
    pub gated: bool,
    /// What lies between the maps of the feed-forward branch.
    pub activation: Activation,
    /// Added to the mean square in every norm.
    pub norm_eps: f64,
    /// Into how many buckets the distances between two tokens fall.
    pub buckets: usize,
    /// The distance from which on all fall into one bucket.
    pub max_distance: usize,
    /// The longest text, in tokens; the buckets have no end of their own.
    pub max_positions: usize,
    /// Probability of omitting single values of a branch.
    pub dropout: f64,
}

impl Default for T5Config {
    fn default() -> Self {
        Self {
            vocab_size: 32_128,
            dim: 768,
            depth: 12,
            heads: 12,
            head_dim: 64,
            mlp_dim: 2048,
            gated: true,
            activation: Activation::GeluTanh,
            norm_eps: 1e-6,
            buckets: 32,
            max_distance: 128,
            max_positions: 512,
            dropout: 0.1,
        }
    }
}

impl T5Config {
    /// Refuses what no model can be built from, naming the field.
    pub fn validate(&self) -> Result<()> {
        let sizes = [
            ("vocab_size", self.vocab_size, 1 << 20),
            ("dim", self.dim, 16_384),
            ("depth", self.depth, 256),
            ("heads", self.heads, 1024),
            ("head_dim", self.head_dim, 1024),
            ("mlp_dim", self.mlp_dim, 65_536),
            ("buckets", self.buckets, 4096),
            ("max_distance", self.max_distance, 1 << 20),
            ("max_positions", self.max_positions, 1 << 16),
        ];
        for (field, found, most) in sizes {
            within(field, found, most)?;
        }
        // Half of them are for each direction, and half of those for one distance each.
        if !self.buckets.is_multiple_of(4) {
            let why = format!("found {}, expected a multiple of 4", self.buckets);
            return Err(Error::config("buckets", why));
        }
        if self.max_distance <= self.buckets / 4 {
            let (found, least) = (self.max_distance, self.buckets / 4);
            let why =
                format!("found {found}, expected more than a quarter of the buckets, {least}");
            return Err(Error::config("max_distance", why));
        }
        small("norm_eps", self.norm_eps)?;
        chance("dropout", self.dropout)
    }

    /// Reads Hugging Face's `config.json` of a T5 model or of its encoder.
    pub fn from_hf_file(path: &Path) -> Result<Self> {
        let json: Value = serde_json::from_slice(&files::read(path)?)
            .map_err(|why| Error::format(path, why.to_string()))?;
        Self::from_hf(&json)
    }

    /// As [`Self::from_hf_file`], for JSON already read.
    pub fn from_hf(json: &Value) -> Result<Self> {
        let raw: Raw = serde_json::from_value(json.clone())
            .map_err(|why| Error::config("config.json", why.to_string()))?;
        if !["t5", "mt5"].contains(&raw.model_type.as_str()) {
            let why = format!("found {:?}, expected \"t5\" or \"mt5\"", raw.model_type);
            return Err(Error::config("model_type", why));
        }
        let (gated, name) = match raw.feed_forward_proj.strip_prefix("gated-") {
            Some(name) => (true, name),
            None => (false, raw.feed_forward_proj.as_str()),
        };
        // A gated GELU is the one by tanh, whatever its name says.
        let name = if gated && name == "gelu" { "gelu_new" } else { name };
        let config = Self {
            vocab_size: raw.vocab_size,
            dim: raw.d_model,
            depth: raw.num_layers,
            heads: raw.num_heads,
            head_dim: raw.d_kv,
            mlp_dim: raw.d_ff,
            gated,
            activation: Activation::from_hf(name)?,
            norm_eps: raw.layer_norm_epsilon,
            buckets: raw.relative_attention_num_buckets,
            max_distance: raw.relative_attention_max_distance,
            max_positions: raw.n_positions,
            dropout: raw.dropout_rate,
        };
        config.validate()?;
        Ok(config)
    }
}

/// The fields of the file that decide what the model computes, with the library's defaults.
#[derive(Deserialize)]
#[serde(default)]
struct Raw {
    model_type: String,
    vocab_size: usize,
    d_model: usize,
    d_kv: usize,
    d_ff: usize,
    num_layers: usize,
    num_heads: usize,
    relative_attention_num_buckets: usize,
    relative_attention_max_distance: usize,
    dropout_rate: f64,
    layer_norm_epsilon: f64,
    feed_forward_proj: String,
    n_positions: usize,
}

impl Default for Raw {
    fn default() -> Self {
        Self {
            model_type: String::new(),
            vocab_size: 32_128,
            d_model: 512,
            d_kv: 64,
            d_ff: 2048,
            num_layers: 6,
            num_heads: 8,
            relative_attention_num_buckets: 32,
            relative_attention_max_distance: 128,
            dropout_rate: 0.1,
            layer_norm_epsilon: 1e-6,
            feed_forward_proj: "relu".to_owned(),
            n_positions: 512,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn both_versions_are_read_and_wrong_files_are_refused_with_the_field() {
        let read = |json: Value| T5Config::from_hf(&json);
        let first = read(json!({"model_type": "t5"})).unwrap();
        assert_eq!((first.dim, first.gated, first.activation), (512, false, Activation::Relu));
        let json = json!({"model_type": "t5", "feed_forward_proj": "gated-gelu", "d_model": 64});
        let second = read(json).unwrap();
        assert_eq!((second.dim, second.gated), (64, true));
        assert_eq!(second.activation, Activation::GeluTanh);
        let error = |json: Value| read(json).unwrap_err().to_string();
        assert!(error(json!({"model_type": "bert"})).starts_with("config field `model_type`"));
        let json = json!({"model_type": "t5", "relative_attention_num_buckets": 30});
        assert_eq!(error(json), "config field `buckets`: found 30, expected a multiple of 4");
        let json = json!({"model_type": "t5", "relative_attention_max_distance": 8});
        assert!(error(json).contains("expected more than a quarter of the buckets, 8"));
        assert!(error(json!({"model_type": "t5", "d_kv": 0})).contains("`head_dim`: found 0"));
        let json = json!({"model_type": "t5", "feed_forward_proj": "gated-mish"});
        assert!(error(json).contains("hidden_act"));
    }
}
