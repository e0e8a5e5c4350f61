//! Q-Former: queries that look at an image and read beside a text, in one BERT.
//!
//! Source: Li et al. 2023, "BLIP-2", arXiv:2301.12597, and its code (LAVIS, commit 506965b),
//! whose parameter names these are.
//!
//! One body runs in four ways. Who sees whom follows from the keys that a part is given, so no
//! mask of scores is ever built: queries alone ([`QFormer::look`]), a text alone
//! ([`QFormer::read`]), all together ([`QFormer::meet`]), or a text word by word behind queries
//! that do not see it ([`QFormer::tell`]).

mod caption;
mod config;
mod layer;
mod loss;
mod trace;

use candle::{DType, Device, Tensor};
use candle_nn::{Init, VarBuilder};

use crate::nn::{
    Activation, AttentionInput, Bias, CrossEntropy, Dropout, Embedding, LayerNorm, Linear,
    Parameters, Pass, join, linear, unit, wide,
};
use crate::progress::Progress;
use crate::weights::{Checkpoint, LoadReport, filled};
use crate::{Error, Result};
use layer::Layer;

pub use caption::Captioning;
pub use config::QFormerConfig;
pub use loss::{Alignment, Gather, Losses, Negatives, Pairing};

/// Added to the variance in the norm of image tokens.
const IMAGE_EPS: f64 = 1e-5;
/// Where the temperature starts, and what it does not fall below (CLIP's cap of 100).
const TEMPERATURE: f64 = 0.07;
const COLDEST: f64 = 0.01;

/// Token numbers of texts and which of them are real, both (B, T).
#[derive(Clone, Copy, Debug)]
pub struct Words<'a> {
    /// Integers below the size of the vocabulary.
    pub ids: &'a Tensor,
    /// 1 on real tokens, which come first; 0 on padding.
    pub mask: &'a Tensor,
}

/// Keys and values of the queries (B, Q, D) in every layer, as texts behind them see them.
#[derive(Debug)]
pub struct Keys(Vec<(Tensor, Tensor)>);

/// The Q-Former with its heads.
#[derive(Clone, Debug)]
pub struct QFormer {
    config: QFormerConfig,
    image_norm: Option<LayerNorm>,
    query_tokens: Tensor,
    words: Embedding,
    places: Embedding,
    norm: LayerNorm,
    dropout: Dropout,
    layers: Vec<Layer>,
    head: Head,
    vision_proj: Linear,
    text_proj: Linear,
    itm_head: Linear,
    temp: Tensor,
}

/// What lies between a token's state and the words: a dense layer, then the table of words.
#[derive(Clone, Debug)]
struct Head {
    dense: Linear,
    norm: LayerNorm,
    bias: Tensor,
    activation: Activation,
}

impl QFormer {
    /// A model as `config` says.
    pub fn new(config: &QFormerConfig, vb: &VarBuilder) -> Result<Self> {
        config.validate()?;
        let body = &config.body;
        let (bert, head) = (vb.pp("bert"), vb.pp("cls.predictions"));
        let embeddings = bert.pp("embeddings");
        let table = |rows, name| Embedding::new(rows, body.dim, embeddings.pp(name));
        let layer = |i: usize| Layer::new(config, i, &bert.pp(format!("encoder.layer.{i}")));
        let norm = |vb| LayerNorm::new(body.dim, body.norm_eps, vb);
        let linear = |to, name: &str| Linear::new(body.dim, to, Bias::With, vb.pp(name));
        let image_norm = || LayerNorm::new(config.image_dim, IMAGE_EPS, vb.pp("ln_vision"));
        let normal = Init::Randn { mean: 0.0, stdev: 0.02 };
        let transform = head.pp("transform");
        let bias = head.get_with_hints(body.vocab_size, "bias", Init::Const(0.0))?;
        Ok(Self {
            image_norm: config.image_norm.then(image_norm).transpose()?,
            query_tokens: vb.get_with_hints(
                (1, config.queries, body.dim),
                "query_tokens",
                normal,
            )?,
            words: table(body.vocab_size, "word_embeddings")?,
            places: table(body.max_positions, "position_embeddings")?,
            norm: norm(embeddings.pp("LayerNorm"))?,
            dropout: Dropout::new(body.dropout)?,
            layers: (0..body.depth).map(layer).collect::<Result<_>>()?,
            head: Head {
                dense: Linear::new(body.dim, body.dim, Bias::With, transform.pp("dense"))?,
                norm: norm(transform.pp("LayerNorm"))?,
                bias,
                activation: body.activation,
            },
            vision_proj: linear(config.embedding, "vision_proj")?,
            text_proj: linear(config.embedding, "text_proj")?,
            itm_head: linear(2, "itm_head")?,
            temp: vb.get_with_hints(1, "temp", Init::Const(TEMPERATURE))?,
            config: config.clone(),
        })
    }

    /// Builds a model and fills it from a checkpoint in LAVIS's layout, of which the image encoder
    /// is left alone. Strict: see [`Strictness::Strict`].
    pub fn load(
        config: &QFormerConfig,
        checkpoint: &Checkpoint,
        device: &Device,
    ) -> Result<(Self, Parameters, LoadReport)> {
        filled(checkpoint, "qformer", device, &Progress::silent(), |vb| Self::new(config, &vb))
    }

    /// The options it was built from.
    pub fn config(&self) -> &QFormerConfig {
        &self.config
    }

    /// The device that holds the parameters.
    pub fn device(&self) -> &Device {
        self.temp.device()
    }

    /// Image tokens (B, N, C) as the queries look at them, of the same shape.
    pub fn prepare(&self, tokens: &Tensor) -> Result<Tensor> {
        match (tokens.dims(), &self.image_norm) {
            (&[_, _, dim], norm) if dim == self.config.image_dim => {
                norm.as_ref().map_or_else(|| Ok(tokens.clone()), |norm| norm.forward(tokens))
            }
            (dims, _) => {
                let expected = format!("(B, N, {})", self.config.image_dim);
                Err(Error::shape("Q-Former image tokens", expected, dims))
            }
        }
    }

    /// What the queries gather (B, Q, D) of a prepared `image` (B, N, C), of which `mask` (B, N)
    /// says what is real.
    pub fn look(&self, image: &Tensor, mask: Option<&Tensor>, pass: &Pass) -> Result<Tensor> {
        self.gaze((image, mask), pass, |_| ())
    }

    /// As [`Self::look`], and the keys that [`Self::tell`] needs.
    pub fn look_keeping(
        &self,
        image: &Tensor,
        mask: Option<&Tensor>,
        pass: &Pass,
    ) -> Result<(Tensor, Keys)> {
        let mut keys = Vec::with_capacity(self.layers.len());
        let queries = self.gaze((image, mask), pass, |own| keys.push(own))?;
        Ok((queries, Keys(keys)))
    }

    fn gaze(
        &self,
        image: (&Tensor, Option<&Tensor>),
        pass: &Pass,
        mut keep: impl FnMut((Tensor, Tensor)),
    ) -> Result<Tensor> {
        let mut x = self.queries(image.0.dim(0)?, pass)?;
        for layer in &self.layers {
            let keys = layer.keys(&x)?;
            x = layer.queries(&x, &keys, &AttentionInput::default(), image, pass)?;
            keep(keys);
        }
        wide(&x)
    }

    /// What each token of texts means (B, T, D) without an image.
    pub fn read(&self, words: Words, pass: &Pass) -> Result<Tensor> {
        let mut x = self.embed(words, pass)?;
        let input = AttentionInput { mask: Some(words.mask), ..AttentionInput::default() };
        for layer in &self.layers {
            x = layer.text(&x, &layer.keys(&x)?, &input, pass)?;
        }
        wide(&x)
    }

    /// What the queries (B, Q, D) make of a prepared `image` (B, N, C) and a text together, where
    /// all see all.
    pub fn meet(
        &self,
        image: &Tensor,
        image_mask: Option<&Tensor>,
        words: Words,
        pass: &Pass,
    ) -> Result<Tensor> {
        let mut x = self.queries(image.dim(0)?, pass)?;
        let mut text = self.embed(words, pass)?;
        let mask = self.mask_behind(words.mask)?;
        let input = AttentionInput { mask: Some(&mask), ..AttentionInput::default() };
        for (i, layer) in self.layers.iter().enumerate() {
            let keys = both(&layer.keys(&x)?, &layer.keys(&text)?)?;
            x = layer.queries(&x, &keys, &input, (image, image_mask), pass)?;
            if i + 1 < self.layers.len() {
                text = layer.text(&text, &keys, &input, pass)?; // the last serves nobody
            }
        }
        wide(&x)
    }

    /// What each token of texts means (B, T, D) to one who sees the queries and the tokens before
    /// it only.
    pub fn tell(&self, keys: &Keys, words: Words, pass: &Pass) -> Result<Tensor> {
        let mut x = self.embed(words, pass)?;
        let mask = self.mask_behind(words.mask)?;
        let mask = Some(&mask);
        let input = AttentionInput { mask, causal: true, ..AttentionInput::default() };
        for (layer, queries) in self.layers.iter().zip(&keys.0) {
            let keys = both(queries, &layer.keys(&x)?)?;
            x = layer.text(&x, &keys, &input, pass)?;
        }
        wide(&x)
    }

    /// The logits (…, V) of the words that come after tokens whose states (…, D) are given.
    pub fn logits(&self, states: &Tensor) -> Result<Tensor> {
        let table = self.words.weight();
        wide(&linear(&self.transform(states)?, table, Some(&self.head.bias))?)
    }

    /// Unit embeddings (B, Q, E) of what the queries gathered (B, Q, D).
    pub fn embed_image(&self, queries: &Tensor) -> Result<Tensor> {
        unit(&self.vision_proj.forward(queries)?)
    }

    /// Unit embeddings (B, E) of texts by their first tokens (B, D).
    pub fn embed_text(&self, first: &Tensor) -> Result<Tensor> {
        unit(&self.text_proj.forward(first)?)
    }

    /// How well an image and a text match, each query's opinion: logits (B, Q, 2) of no and yes
    /// from what [`Self::meet`] gives.
    pub fn matches(&self, queries: &Tensor) -> Result<Tensor> {
        wide(&self.itm_head.forward(queries)?)
    }

    /// What similarities are divided by (1).
    pub fn temperature(&self) -> Result<Tensor> {
        // The gradient passes the limit, so that a temperature beyond it can come back.
        let temp = wide(&self.temp)?;
        let beyond = (temp.clamp(COLDEST, f64::INFINITY)? - &temp)?.detach();
        Ok((temp + beyond)?)
    }

    /// The mean cross-entropy of the `targets` (…) that come after tokens in `states` (…, D).
    fn next_words(&self, states: &Tensor, targets: &Tensor, smoothing: f64) -> Result<Tensor> {
        let loss = CrossEntropy { smoothing, ..CrossEntropy::default() };
        let states = self.transform(states)?;
        wide(&loss.of_states(&states, self.words.weight(), Some(&self.head.bias), targets)?)
    }

    fn transform(&self, states: &Tensor) -> Result<Tensor> {
        let Head { dense, norm, activation, .. } = &self.head;
        norm.forward(&dense.forward_activated(states, *activation)?)
    }

    /// The queries at their start (B, Q, D).
    fn queries(&self, batch: usize, pass: &Pass) -> Result<Tensor> {
        let shape = (batch, self.config.queries, self.config.body.dim);
        let x = self.norm.forward(&self.query_tokens)?.broadcast_as(shape)?;
        self.dropout.forward(&x.contiguous()?, pass)
    }

    /// The tokens at their start (B, T, D).
    fn embed(&self, words: Words, pass: &Pass) -> Result<Tensor> {
        let (ids, mask) = (words.ids.dims(), words.mask.dims());
        if ids != mask {
            return Err(Error::shape("text mask", format!("{ids:?}"), mask));
        }
        self.embed_from(words.ids, 0, pass)
    }

    /// As [`Self::embed`], for tokens of which the first stands at `place`.
    fn embed_from(&self, ids: &Tensor, place: usize, pass: &Pass) -> Result<Tensor> {
        let body = &self.config.body;
        let most = body.max_length().saturating_sub(place);
        let count = match ids.dims() {
            &[_, count] if (1..=most).contains(&count) => count,
            dims => return Err(Error::shape("token ids", format!("(B, 1 to {most})"), dims)),
        };
        let places = self.places.weight().narrow(0, body.position_offset + place, count)?; // (T, D)
        let x = self.words.forward(ids)?.broadcast_add(&places)?;
        self.dropout.forward(&self.norm.forward(&x)?, pass)
    }

    /// The mask (B, Q + T) of texts behind the queries, all of which are real.
    fn mask_behind(&self, mask: &Tensor) -> Result<Tensor> {
        let (batch, _) = mask.dims2()?;
        let real = Tensor::ones((batch, self.config.queries), DType::U32, mask.device())?;
        Ok(Tensor::cat(&[&real, &mask.to_dtype(DType::U32)?], 1)?)
    }
}

/// The keys and values of `first`, and behind them those of `second`.
fn both(first: &(Tensor, Tensor), second: &(Tensor, Tensor)) -> Result<(Tensor, Tensor)> {
    Ok((join(&first.0, &second.0)?, join(&first.1, &second.1)?))
}

#[cfg(test)]
mod tests;
