//! The options of BERT and `RoBERTa` encoders, and Hugging Face's file of them.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::nn::Activation;
use crate::nn::limits::{chance, small, within};
use crate::{Error, Result, files};

/// Body types whose encoder is BERT's; the last two count positions from `pad_token_id` + 1.
const KINDS: [&str; 5] = ["bert", "cxr-bert", "ernie", "roberta", "xlm-roberta"];

/// The options of a [`Bert`](super::Bert); the default is BERT-base, uncased.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BertConfig {
    /// Entries of the vocabulary.
    pub vocab_size: usize,
    /// Features of a token.
    pub dim: usize,
    /// Layers.
    pub depth: usize,
    /// Attention heads, a divisor of `dim`.
    pub heads: usize,
    /// Features inside the feed-forward branch.
    pub mlp_dim: usize,
    /// What lies between the two maps of the feed-forward branch.
    pub activation: Activation,
    /// Added to the variance in every norm.
    pub norm_eps: f64,
    /// Rows of the position table.
    pub max_positions: usize,
    /// The row of the first token: 0 in BERT, 2 in `RoBERTa`.
    pub position_offset: usize,
    /// Kinds of segments.
    pub type_vocab: usize,
    /// Probability of omitting single values of a branch.
    pub dropout: f64,
    /// Whether a dense layer and tanh follow on the first token.
    pub pooler: bool,
}

impl Default for BertConfig {
    fn default() -> Self {
        Self {
            vocab_size: 30_522,
            dim: 768,
            depth: 12,
            heads: 12,
            mlp_dim: 3072,
            activation: Activation::Gelu,
            norm_eps: 1e-12,
            max_positions: 512,
            position_offset: 0,
            type_vocab: 2,
            dropout: 0.1,
            pooler: false,
        }
    }
}

impl BertConfig {
    /// Refuses what no model can be built from, naming the field.
    pub fn validate(&self) -> Result<()> {
        within("vocab_size", self.vocab_size, 1 << 20)?;
        within("dim", self.dim, 16_384)?;
        within("depth", self.depth, 256)?;
        within("heads", self.heads, self.dim)?;
        within("mlp_dim", self.mlp_dim, 65_536)?;
        within("max_positions", self.max_positions, 1 << 16)?;
        within("type_vocab", self.type_vocab, 1024)?;
        if !self.dim.is_multiple_of(self.heads) {
            let why = format!("found {}, expected a divisor of dim {}", self.heads, self.dim);
            return Err(Error::config("heads", why));
        }
        if self.position_offset >= self.max_positions {
            let (offset, rows) = (self.position_offset, self.max_positions);
            let why = format!("found {offset}, expected less than max_positions {rows}");
            return Err(Error::config("position_offset", why));
        }
        small("norm_eps", self.norm_eps)?;
        chance("dropout", self.dropout)?;
        Ok(())
    }

    /// The longest text, in tokens.
    pub fn max_length(&self) -> usize {
        self.max_positions - self.position_offset
    }

    /// Reads Hugging Face's `config.json` of a BERT or `RoBERTa` model.
    pub fn from_hf_file(path: &Path) -> Result<Self> {
        let json: Value = serde_json::from_slice(&files::read(path)?)
            .map_err(|why| Error::format(path, why.to_string()))?;
        Self::from_hf(&json)
    }

    /// As [`Self::from_hf_file`], for JSON already read.
    pub fn from_hf(json: &Value) -> Result<Self> {
        let raw: Raw = serde_json::from_value(json.clone())
            .map_err(|why| Error::config("config.json", why.to_string()))?;
        if !KINDS.contains(&raw.model_type.as_str()) {
            let why = format!("found {:?}, expected one of {KINDS:?}", raw.model_type);
            return Err(Error::config("model_type", why));
        }
        if raw.position_embedding_type != "absolute" {
            let why = format!("found {:?}, expected \"absolute\"", raw.position_embedding_type);
            return Err(Error::config("position_embedding_type", why));
        }
        let roberta = raw.model_type.ends_with("roberta");
        let config = Self {
            vocab_size: raw.vocab_size,
            dim: raw.hidden_size,
            depth: raw.num_hidden_layers,
            heads: raw.num_attention_heads,
            mlp_dim: raw.intermediate_size,
            activation: Activation::from_hf(&raw.hidden_act)?,
            norm_eps: raw.layer_norm_eps,
            max_positions: raw.max_position_embeddings,
            position_offset: if roberta { raw.pad_token_id.unwrap_or(1) + 1 } else { 0 },
            type_vocab: raw.type_vocab_size,
            dropout: raw.hidden_dropout_prob,
            pooler: true,
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
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    hidden_act: String,
    layer_norm_eps: f64,
    max_position_embeddings: usize,
    position_embedding_type: String,
    type_vocab_size: usize,
    hidden_dropout_prob: f64,
    pad_token_id: Option<usize>,
}

impl Default for Raw {
    fn default() -> Self {
        let config = BertConfig::default();
        Self {
            model_type: String::new(),
            vocab_size: config.vocab_size,
            hidden_size: config.dim,
            num_hidden_layers: config.depth,
            num_attention_heads: config.heads,
            intermediate_size: config.mlp_dim,
            hidden_act: "gelu".to_owned(),
            layer_norm_eps: config.norm_eps,
            max_position_embeddings: config.max_positions,
            position_embedding_type: "absolute".to_owned(),
            type_vocab_size: config.type_vocab,
            hidden_dropout_prob: config.dropout,
            pad_token_id: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn wrong_files_are_refused_with_the_field() {
        let error = |json: Value| BertConfig::from_hf(&json).unwrap_err().to_string();
        assert!(error(json!({"model_type": "t5"})).starts_with("config field `model_type`: found"));
        assert_eq!(
            error(json!({"model_type": "bert", "hidden_size": 100})),
            "config field `heads`: found 12, expected a divisor of dim 100"
        );
        assert_eq!(
            error(json!({"model_type": "bert", "vocab_size": 1_000_000_000_000u64})),
            "config field `vocab_size`: found 1000000000000, expected 1 to 1048576"
        );
        let relative = json!({"model_type": "bert", "position_embedding_type": "relative_key"});
        assert!(error(relative).contains("expected \"absolute\""));
        assert!(error(json!({"model_type": "bert", "hidden_act": "mish"})).contains("hidden_act"));
        assert!(error(json!({"model_type": "roberta", "pad_token_id": 600})).contains("offset"));
    }
}
