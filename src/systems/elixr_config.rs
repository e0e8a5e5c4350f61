//! Sizes of ELIXR.

use serde::{Deserialize, Serialize};

use super::GraftConfig;
use crate::fusion::QFormerConfig;
use crate::language::{TextConfig, TextPooling};
use crate::vision::ImageEncoderConfig;
use crate::{Error, Result};

/// What stands between image and language in place of an attention pool and a text encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Resampler {
    /// One BERT of the sizes of `text` whose queries look at the image (ELIXR-B).
    Qformer {
        /// Queries look at the image in the first layer, and in every so-manieth after it.
        #[serde(default = "two")]
        cross_every: usize,
        /// Whether image tokens are normalised before they are looked at.
        #[serde(default = "yes")]
        image_norm: bool,
    },
}

fn two() -> usize {
    2
}

fn yes() -> bool {
    true
}

/// Sizes of an [`Elixr`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ElixrConfig {
    /// The image encoder.
    pub image: ImageEncoderConfig,
    /// The text encoder, or the body (a BERT) that a Q-Former reads and looks with.
    pub text: TextConfig,
    /// How the text encoder's tokens become one vector.
    pub text_pooling: TextPooling,
    /// The most tokens of a text that are read.
    pub text_length: usize,
    /// Whether texts are numbered as CXR Foundation's published clients do
    /// ([`Tokenizer::cxr_foundation`](crate::language::Tokenizer::cxr_foundation)), for what was
    /// trained so; a Q-Former that learns captions so never learns to end one.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub cxr_foundation_tokens: bool,
    /// How many queries look at the image.
    pub queries: usize,
    /// Attention heads of the queries of an attention pool.
    pub pool_heads: usize,
    /// What stands between image and language; an attention pool and a text encoder when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resampler: Option<Resampler>,
    /// A decoder that films are told to; none when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decoder: Option<Box<GraftConfig>>,
    /// Width of the space where films and texts meet.
    pub embedding: usize,
    /// What the classification head scores; empty until a supervised stage.
    pub findings: Vec<String>,
}

impl Default for ElixrConfig {
    fn default() -> Self {
        Self {
            image: ImageEncoderConfig::default(),
            text: TextConfig::default(),
            text_pooling: TextPooling::Mean,
            text_length: 128,
            cxr_foundation_tokens: false,
            queries: 32,
            pool_heads: 8,
            resampler: None,
            decoder: None,
            embedding: 128,
            findings: Vec::new(),
        }
    }
}

impl ElixrConfig {
    /// Refuses sizes that no model can have.
    pub fn validate(&self) -> Result<()> {
        self.image.validate()?;
        self.text.validate()?;
        let positive = [
            ("queries", self.queries),
            ("pool_heads", self.pool_heads),
            ("embedding", self.embedding),
            ("text_length", self.text_length),
        ];
        if let Some((field, _)) = positive.iter().find(|(_, size)| *size == 0) {
            return Err(Error::config(*field, "found 0, expected at least 1"));
        }
        if self.resampler.is_some() && self.text.bert().is_none() {
            let why = "expected bert: it is the body of a Q-Former";
            return Err(Error::config("text.arch", why));
        }
        if self.text.pooling().is_some_and(|pooling| pooling != self.text_pooling) {
            let why = "expected last: a text speaks by its last place in SigLIP";
            return Err(Error::config("text_pooling", why));
        }
        match self.qformer() {
            Some(qformer) => {
                qformer.validate()?;
                if self.text_pooling != TextPooling::Class {
                    let why = "expected class: a Q-Former speaks for a text by its first token";
                    return Err(Error::config("text_pooling", why));
                }
            }
            None => self.check_pool()?,
        }
        if let Some(decoder) = &self.decoder {
            decoder.validate()?;
            let room = decoder.llama.max_positions;
            if self.queries + 2 > room {
                let why =
                    format!("found {}, too many for a decoder of {room} positions", self.queries);
                return Err(Error::config("queries", why));
            }
        }
        if self.text_length > self.text.max_length() {
            let why = format!(
                "found {}, expected at most the {} places of the text encoder",
                self.text_length,
                self.text.max_length()
            );
            return Err(Error::config("text_length", why));
        }
        Ok(())
    }

    fn check_pool(&self) -> Result<()> {
        if !self.image.dim().is_multiple_of(self.pool_heads) {
            let why = format!(
                "found {}, expected a divisor of the image width {}",
                self.pool_heads,
                self.image.dim()
            );
            return Err(Error::config("pool_heads", why));
        }
        Ok(())
    }

    /// The options of the Q-Former, if there is one.
    pub fn qformer(&self) -> Option<QFormerConfig> {
        let Resampler::Qformer { cross_every, image_norm } = self.resampler?;
        Some(QFormerConfig {
            body: self.text.bert()?.clone(),
            queries: self.queries,
            cross_every,
            image_dim: self.image.dim(),
            image_norm,
            embedding: self.embedding,
        })
    }

    /// Features of a query.
    pub fn query_dim(&self) -> usize {
        if self.resampler.is_some() { self.text.dim() } else { self.image.dim() }
    }
}
