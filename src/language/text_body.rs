//! Text encoders by kind: one vector for a text, whichever reads it.

use std::path::Path;

use candle::{Device, Tensor};
use candle_nn::VarBuilder;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::{Bert, BertConfig, SiglipText, SiglipTextConfig, T5, T5Config, TextPooling, Tokenizer};
use crate::nn::{Account, Pass, Shadow, Work, wide};
use crate::{Error, Result, files};

/// The options of a text encoder; as data, `arch` says whose they are: `bert` when it is absent,
/// `t5` or `siglip`.
#[derive(Clone, Debug, PartialEq)]
pub enum TextConfig {
    /// BERT and `RoBERTa`.
    Bert(BertConfig),
    /// The encoder of T5.
    T5(T5Config),
    /// The text tower of `SigLIP`.
    Siglip(SiglipTextConfig),
}

impl Default for TextConfig {
    fn default() -> Self {
        Self::Bert(BertConfig::default())
    }
}

impl TextConfig {
    /// Refuses what no model can be built from, naming the field.
    pub fn validate(&self) -> Result<()> {
        match self {
            Self::Bert(config) => config.validate(),
            Self::T5(config) => config.validate(),
            Self::Siglip(config) => config.validate(),
        }
    }

    /// Reads Hugging Face's `config.json` of any of them.
    pub fn from_hf_file(path: &Path) -> Result<Self> {
        let json: Value = serde_json::from_slice(&files::read(path)?)
            .map_err(|why| Error::format(path, why.to_string()))?;
        match json.get("model_type").and_then(Value::as_str) {
            Some("t5" | "mt5") => Ok(Self::T5(T5Config::from_hf(&json)?)),
            Some("siglip" | "siglip_text_model") => {
                Ok(Self::Siglip(SiglipTextConfig::from_hf_file(path)?))
            }
            _ => Ok(Self::Bert(BertConfig::from_hf(&json)?)),
        }
    }

    /// The options of a BERT, if it is one.
    pub fn bert(&self) -> Option<&BertConfig> {
        if let Self::Bert(config) = self { Some(config) } else { None }
    }

    /// Features of a text's vector.
    pub fn dim(&self) -> usize {
        match self {
            Self::Bert(config) => config.dim,
            Self::T5(config) => config.dim,
            Self::Siglip(config) => config.embedding,
        }
    }

    /// Entries of the vocabulary.
    pub fn vocab_size(&self) -> usize {
        match self {
            Self::Bert(config) => config.vocab_size,
            Self::T5(config) => config.vocab_size,
            Self::Siglip(config) => config.vocab_size,
        }
    }

    /// Sets the entries of the vocabulary.
    pub fn set_vocab_size(&mut self, count: usize) {
        match self {
            Self::Bert(config) => config.vocab_size = count,
            Self::T5(config) => config.vocab_size = count,
            Self::Siglip(config) => config.vocab_size = count,
        }
    }

    /// The longest text, in tokens.
    pub fn max_length(&self) -> usize {
        match self {
            Self::Bert(config) => config.max_length(),
            Self::T5(config) => config.max_positions,
            Self::Siglip(config) => config.max_positions,
        }
    }

    /// The name map of its published checkpoints.
    pub(super) fn map(&self) -> &'static str {
        match self {
            Self::Bert(_) => "bert",
            Self::T5(_) => "t5",
            Self::Siglip(_) => "siglip_text",
        }
    }

    /// The one way to pool that the encoder knows, if it does not leave it open.
    pub fn pooling(&self) -> Option<TextPooling> {
        matches!(self, Self::Siglip(_)).then_some(TextPooling::Last)
    }

    /// The tokenizer as the encoder needs it: `SigLIP` reads padding like words, up to the end.
    #[must_use]
    pub fn fitted(&self, tokenizer: Tokenizer) -> Tokenizer {
        if matches!(self, Self::Siglip(_)) { tokenizer.full_rows() } else { tokenizer }
    }
}

impl Serialize for TextConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Named<'a, T> {
            arch: &'static str,
            #[serde(flatten)]
            config: &'a T,
        }
        match self {
            Self::Bert(config) => config.serialize(serializer),
            Self::T5(config) => Named { arch: "t5", config }.serialize(serializer),
            Self::Siglip(config) => Named { arch: "siglip", config }.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for TextConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let mut value = Value::deserialize(deserializer)?;
        let arch = value.as_object_mut().and_then(|fields| fields.remove("arch"));
        let read = match arch.as_ref().map_or(Some("bert"), Value::as_str) {
            Some("bert") => serde_json::from_value(value).map(Self::Bert),
            Some("t5") => serde_json::from_value(value).map(Self::T5),
            Some("siglip") => serde_json::from_value(value).map(Self::Siglip),
            _ => {
                let found = arch.unwrap_or_default();
                let why = format!("text: found arch {found}, expected bert, t5 or siglip");
                return Err(D::Error::custom(why));
            }
        };
        read.map_err(|why| D::Error::custom(format!("text: {why}")))
    }
}

/// A text encoder of any kind.
#[derive(Clone, Debug)]
pub enum TextBody {
    /// BERT and `RoBERTa`.
    Bert(Box<Bert>),
    /// The encoder of T5.
    T5(Box<T5>),
    /// The text tower of `SigLIP`.
    Siglip(Box<SiglipText>),
}

impl TextBody {
    /// A model as `config` says.
    pub fn new(config: &TextConfig, vb: VarBuilder) -> Result<Self> {
        Ok(match config {
            TextConfig::Bert(config) => Self::Bert(Box::new(Bert::new(config, vb)?)),
            TextConfig::T5(config) => Self::T5(Box::new(T5::new(config, vb)?)),
            TextConfig::Siglip(config) => Self::Siglip(Box::new(SiglipText::new(config, &vb)?)),
        })
    }

    /// One vector (T, D) for each text of `ids` (T, N), of which `mask` (T, N) is 1 on real
    /// tokens. `SigLIP` pools in its own way.
    pub fn encode(
        &self,
        (ids, mask): (&Tensor, &Tensor),
        pooling: TextPooling,
        pass: &Pass,
    ) -> Result<Tensor> {
        let tokens = match self {
            Self::Bert(bert) => bert.forward(ids, Some(mask), pass)?,
            Self::T5(t5) => t5.forward(ids, Some(mask), pass)?,
            Self::Siglip(tower) => {
                return wide(&tower.pool(&tower.forward(ids, None, pass)?)?);
            }
        };
        pooling.apply(&wide(&tokens)?, mask)
    }

    /// The memory of [`Self::encode`] for ids of these sizes (T, N).
    pub fn trace(
        &self,
        ids: [usize; 2],
        pooling: TextPooling,
        (account, pass): (&Account, &Pass),
    ) -> Result<Shadow> {
        let tokens = match self {
            Self::Bert(bert) => bert.trace(ids, account, pass)?,
            Self::T5(t5) => t5.trace(ids, account, pass)?,
            Self::Siglip(tower) => return Ok(tower.trace_pool(&tower.trace(ids, account, pass)?)),
        };
        let dims = [ids[0], tokens.dims()[2]];
        Ok(match pooling {
            TextPooling::Class => tokens.view(&dims),
            TextPooling::Mean | TextPooling::Last => {
                Shadow::made(&dims, &[&tokens], Work::default())
            }
        })
    }

    /// The device that holds the parameters.
    pub fn device(&self) -> &Device {
        match self {
            Self::Bert(bert) => bert.device(),
            Self::T5(t5) => t5.device(),
            Self::Siglip(tower) => tower.device(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_say_whose_they_are_and_old_ones_are_of_bert() {
        let read = |text: &str| serde_json::from_str::<TextConfig>(text);
        let bert = BertConfig { dim: 64, ..BertConfig::default() };
        assert_eq!(read(r#"{"dim":64}"#).unwrap(), TextConfig::Bert(bert.clone()));
        let stored = serde_json::to_string(&TextConfig::Bert(bert.clone())).unwrap();
        assert_eq!(stored, serde_json::to_string(&bert).unwrap());
        for text in [r#"{"arch":"t5","depth":3}"#, r#"{"arch":"siglip","embedding":16}"#] {
            let config = read(text).unwrap();
            assert!(config.bert().is_none());
            assert_eq!(read(&serde_json::to_string(&config).unwrap()).unwrap(), config);
        }
        let error = read(r#"{"arch":"gpt"}"#).unwrap_err().to_string();
        assert!(
            error.starts_with("text: found arch \"gpt\", expected bert, t5 or siglip"),
            "{error}"
        );
        let error = read(r#"{"arch":"t5","position_offset":2}"#).unwrap_err().to_string();
        assert!(error.starts_with("text: unknown field `position_offset`"), "{error}");
    }
}
