//! The options of a Q-Former.

use serde::{Deserialize, Serialize};

use crate::language::BertConfig;
use crate::nn::limits::within;
use crate::{Error, Result};

/// The options of a [`QFormer`](super::QFormer); the default is that of BLIP-2 on features of
/// EVA's ViT-g.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QFormerConfig {
    /// The body that queries and texts share. It has no segments, and no pooler.
    pub body: BertConfig,
    /// Learned queries.
    pub queries: usize,
    /// Queries look at the image in the first layer, and in every so-manieth after it.
    pub cross_every: usize,
    /// Features of an image token.
    pub image_dim: usize,
    /// Whether image tokens are normalised before they are looked at.
    pub image_norm: bool,
    /// Width of the space where queries and texts meet.
    pub embedding: usize,
}

impl Default for QFormerConfig {
    fn default() -> Self {
        Self {
            // BERT's words and one more, which starts a caption.
            body: BertConfig { vocab_size: 30_523, ..BertConfig::default() },
            queries: 32,
            cross_every: 2,
            image_dim: 1408,
            image_norm: true,
            embedding: 256,
        }
    }
}

impl QFormerConfig {
    /// Refuses what no model can be built from, naming the field.
    pub fn validate(&self) -> Result<()> {
        self.body.validate()?;
        let sizes = [
            ("queries", self.queries, 1 << 16),
            ("cross_every", self.cross_every, 256),
            ("image_dim", self.image_dim, 65_536),
            ("embedding", self.embedding, 65_536),
        ];
        for (field, found, most) in sizes {
            within(format!("qformer.{field}"), found, most)?;
        }
        if self.body.pooler {
            return Err(Error::config("qformer.body.pooler", "found true, expected false"));
        }
        Ok(())
    }

    /// Whether queries look at the image in layer `i`.
    pub(super) fn looks(&self, i: usize) -> bool {
        i.is_multiple_of(self.cross_every)
    }
}
