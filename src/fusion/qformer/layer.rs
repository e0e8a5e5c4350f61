//! One layer of a Q-Former.

use candle::Tensor;
use candle_nn::VarBuilder;

use super::QFormerConfig;
use crate::Result;
use crate::language::{BertAttention, BertFeed};
use crate::nn::{AttentionInput, Pass, Shadow};

/// A layer of BERT in which queries, besides, look at the image and have a feed-forward branch
/// of their own; parameters `attention`, `crossattention`, `intermediate`, `output`,
/// `intermediate_query` and `output_query`.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    attention: BertAttention,
    cross: Option<BertAttention>,
    feed: BertFeed,
    feed_query: BertFeed,
}

impl Layer {
    /// Layer `i`.
    pub(super) fn new(config: &QFormerConfig, i: usize, vb: &VarBuilder) -> Result<Self> {
        let body = &config.body;
        let cross = || BertAttention::new(body, Some(config.image_dim), vb.pp("crossattention"));
        Ok(Self {
            attention: BertAttention::new(body, None, vb.pp("attention"))?,
            cross: config.looks(i).then(cross).transpose()?,
            feed: BertFeed::new(body, "", vb)?,
            feed_query: BertFeed::new(body, "_query", vb)?,
        })
    }

    /// The attention among queries and words.
    pub(super) fn attention(&self) -> &BertAttention {
        &self.attention
    }

    /// Keys and values of queries or words `x` (B, N, D).
    pub(super) fn keys(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        self.attention.keys_values(x)
    }

    /// Maps queries `x` (B, Q, D), who see `keys` and the image (B, N, C), to the same shape.
    pub(super) fn queries(
        &self,
        x: &Tensor,
        keys: &(Tensor, Tensor),
        input: &AttentionInput,
        image: (&Tensor, Option<&Tensor>),
        pass: &Pass,
    ) -> Result<Tensor> {
        self.behind_queries(self.attention.forward_over(x, keys, input, pass)?, image, pass)
    }

    /// What follows the attention among queries.
    pub(super) fn behind_queries(
        &self,
        x: Tensor,
        (image, mask): (&Tensor, Option<&Tensor>),
        pass: &Pass,
    ) -> Result<Tensor> {
        let x = match &self.cross {
            Some(cross) => {
                let input = AttentionInput { context: Some(image), mask, ..Default::default() };
                cross.forward(&x, &input, pass)?
            }
            None => x,
        };
        fed(&self.feed_query, &x, pass)
    }

    /// Maps words `x` (B, T, D), who see `keys`, to the same shape.
    pub(super) fn text(
        &self,
        x: &Tensor,
        keys: &(Tensor, Tensor),
        input: &AttentionInput,
        pass: &Pass,
    ) -> Result<Tensor> {
        self.behind_text(&self.attention.forward_over(x, keys, input, pass)?, pass)
    }

    /// What follows the attention among words.
    pub(super) fn behind_text(&self, x: &Tensor, pass: &Pass) -> Result<Tensor> {
        fed(&self.feed, x, pass)
    }
}

/// The memory of each function of the same name.
impl Layer {
    pub(super) fn trace_keys(&self, x: &Shadow) -> Result<(Shadow, Shadow)> {
        self.attention.trace_keys_values(x)
    }

    pub(super) fn trace_queries(
        &self,
        x: &Shadow,
        keys: &(Shadow, Shadow),
        image: &Shadow,
        pass: &Pass,
    ) -> Result<Shadow> {
        let x = self.attention.trace_over(x, keys, pass)?;
        let x = match &self.cross {
            Some(cross) => cross.trace(&x, Some(image), pass)?,
            None => x,
        };
        trace_fed(&self.feed_query, &x, pass)
    }

    pub(super) fn trace_text(
        &self,
        x: &Shadow,
        keys: &(Shadow, Shadow),
        pass: &Pass,
    ) -> Result<Shadow> {
        trace_fed(&self.feed, &self.attention.trace_over(x, keys, pass)?, pass)
    }
}

/// The feed-forward branch; a pass that recomputes keeps its input only.
fn fed(feed: &BertFeed, x: &Tensor, pass: &Pass) -> Result<Tensor> {
    let feed = feed.clone();
    pass.block(x, move |x, pass| feed.forward(x, pass))
}

fn trace_fed(feed: &BertFeed, x: &Shadow, pass: &Pass) -> Result<Shadow> {
    let feed = feed.clone();
    x.block(pass, move |x, pass| feed.trace(x, pass))
}
