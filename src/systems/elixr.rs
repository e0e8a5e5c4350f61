//! ELIXR: an image encoder aligned with language.
//!
//! Source: Xu et al. 2023, "ELIXR: Towards a general purpose X-ray artificial intelligence system
//! through alignment of large language models and radiology vision encoders", arXiv:2308.01317.
//! A film becomes Q query embeddings, a text becomes one; their similarity is the largest cosine
//! over the queries. Differs in that the queries come from one attention pool, and that a
//! linear head reads the pooled queries, so that the same trunk can be trained on labels.

use candle::{D, Tensor};
use candle_nn::{Init, VarBuilder};
use serde::{Deserialize, Serialize};

use crate::fusion::AttentionPool;
use crate::language::{Bert, BertConfig, TextPooling, TokenBatch};
use crate::nn::{Account, Bias, Linear, Parameters, Pass, Shadow, Work, wide};
use crate::vision::{ImageEncoder, ImageEncoderConfig, TokenGrid, VisionEncoder};
use crate::{Error, Result};

/// Sizes of an [`Elixr`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ElixrConfig {
    /// The image encoder.
    pub image: ImageEncoderConfig,
    /// The text encoder.
    pub text: BertConfig,
    /// How the text encoder's tokens become one vector.
    pub text_pooling: TextPooling,
    /// The most tokens of a text that are read.
    pub text_length: usize,
    /// How many queries look at the image.
    pub queries: usize,
    /// Attention heads of the queries.
    pub pool_heads: usize,
    /// Width of the space where films and texts meet.
    pub embedding: usize,
    /// What the classification head scores; empty until a supervised stage.
    pub findings: Vec<String>,
}

impl Default for ElixrConfig {
    fn default() -> Self {
        Self {
            image: ImageEncoderConfig::default(),
            text: BertConfig::default(),
            text_pooling: TextPooling::Mean,
            text_length: 128,
            queries: 32,
            pool_heads: 8,
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
        if !self.image.dim().is_multiple_of(self.pool_heads) {
            let why = format!(
                "found {}, expected a divisor of the image width {}",
                self.pool_heads,
                self.image.dim()
            );
            return Err(Error::config("pool_heads", why));
        }
        if self.text_length > self.text.max_positions {
            let why = format!(
                "found {}, expected at most text.max_positions = {}",
                self.text_length, self.text.max_positions
            );
            return Err(Error::config("text_length", why));
        }
        Ok(())
    }
}

/// What a film becomes.
#[derive(Clone, Debug)]
pub struct ImageFeatures {
    /// The encoder's tokens on their grid.
    pub grid: TokenGrid,
    /// What the queries gathered (B, Q, D).
    pub queries: Tensor,
}

/// The two towers, the queries between them, and the head.
#[derive(Clone, Debug)]
pub struct Elixr {
    image: ImageEncoder,
    pool: AttentionPool,
    image_proj: Linear,
    text: Bert,
    text_pooling: TextPooling,
    text_proj: Linear,
    logit_scale: Tensor,
    logit_bias: Tensor,
    head: Option<Linear>,
}

impl Elixr {
    /// Reads `image`, `pool`, `image_proj`, `text`, `text_proj`, `logit_scale`, `logit_bias` and,
    /// with findings, `head` under `vb`.
    pub fn new(config: &ElixrConfig, vb: &VarBuilder) -> Result<Self> {
        config.validate()?;
        let (dim, embedding) = (config.image.dim(), config.embedding);
        let constant = |name: &str, value: f64| vb.get_with_hints(1, name, Init::Const(value));
        Ok(Self {
            image: ImageEncoder::new(&config.image, vb.pp("image"))?,
            pool: AttentionPool::new(dim, config.pool_heads, config.queries, vb.pp("pool"))?,
            image_proj: Linear::new(dim, embedding, Bias::Without, vb.pp("image_proj"))?,
            text: Bert::new(&config.text, vb.pp("text"))?,
            text_pooling: config.text_pooling,
            text_proj: Linear::new(config.text.dim, embedding, Bias::Without, vb.pp("text_proj"))?,
            // exp(2.66) = 1 / 0.07, CLIP's start; the bias is SigLIP's, and rests at 0 for CLIP.
            logit_scale: constant("logit_scale", (1f64 / 0.07).ln())?,
            logit_bias: constant("logit_bias", 0.0)?,
            head: head(config, vb)?,
        })
    }

    /// Tokens of `pixels` (B, C, H, W).
    pub fn encode_image(&self, pixels: &Tensor, pass: &Pass) -> Result<TokenGrid> {
        let grid = self.image.forward(pixels, pass)?;
        Ok(TokenGrid { tokens: wide(&grid.tokens)?, ..grid })
    }

    /// Lets the queries look at the tokens.
    pub fn gather(&self, grid: TokenGrid) -> Result<ImageFeatures> {
        let queries = wide(&self.pool.forward(&grid.tokens, None)?)?; // (B, Q, D)
        Ok(ImageFeatures { grid, queries })
    }

    /// Encodes `pixels` (B, C, H, W) for inference.
    pub fn image(&self, pixels: &Tensor) -> Result<ImageFeatures> {
        self.gather(self.encode_image(pixels, &Pass::inference())?)
    }

    /// Unit embeddings (B, Q, E) of what the queries gathered.
    pub fn embed_image(&self, features: &ImageFeatures) -> Result<Tensor> {
        unit(&self.image_proj.forward(&features.queries)?)
    }

    /// One vector (T, D) for each text.
    pub fn encode_text(&self, tokens: &TokenBatch, pass: &Pass) -> Result<Tensor> {
        let (ids, mask) = tokens.to_tensors(self.logit_scale.device())?;
        let states = wide(&self.text.forward(&ids, Some(&mask), pass)?)?; // (T, N, D)
        self.text_pooling.apply(&states, &mask) // (T, D)
    }

    /// Unit embeddings (T, E) of the vectors that [`Self::encode_text`] gives.
    pub fn project_text(&self, states: &Tensor) -> Result<Tensor> {
        unit(&self.text_proj.forward(states)?)
    }

    /// Unit embeddings (T, E) of texts, for inference.
    pub fn text(&self, tokens: &TokenBatch) -> Result<Tensor> {
        self.project_text(&self.encode_text(tokens, &Pass::inference())?)
    }

    /// Cosine similarities (B, T): for each film and text the largest over the queries.
    pub fn similarity(image: &Tensor, text: &Tensor) -> Result<Tensor> {
        let (batch, queries, width) = image.dims3()?;
        let flat = image.reshape((batch * queries, width))?.matmul(&text.t()?)?;
        Ok(flat.reshape((batch, queries, text.dim(0)?))?.max(1)?)
    }

    /// Scaled and, for SigLIP, biased similarities.
    pub fn logits(&self, similarity: &Tensor) -> Result<Tensor> {
        // CLIP's cap of 100 keeps the softmax from freezing.
        let scale = self.logit_scale.clamp(-5f32, 100f32.ln())?.exp()?;
        Ok(similarity.broadcast_mul(&scale)?.broadcast_add(&self.logit_bias)?)
    }

    /// The factor that [`Self::logits`] applies.
    pub fn scale(&self) -> Result<f32> {
        Ok(self.logit_scale.clamp(-5f32, 100f32.ln())?.exp()?.squeeze(0)?.to_scalar::<f32>()?)
    }

    /// One logit for each film and finding (B, L); fails when the model has no head.
    pub fn classify(&self, features: &ImageFeatures) -> Result<Tensor> {
        let head = self.head.as_ref().ok_or_else(|| {
            Error::value("model", "found no classification head; train a supervised stage first")
        })?;
        wide(&head.forward(&features.queries.mean(1)?)?)
    }

    /// Gives the model a new, untrained head for `config.findings`.
    pub fn renew_head(&mut self, config: &ElixrConfig, parameters: &Parameters) -> Result<()> {
        parameters.forget("head.");
        self.head = head(config, &parameters.builder())?;
        Ok(())
    }
}

/// What the towers hold in memory, each function beside the one of its name above.
impl Elixr {
    /// The memory of [`Self::encode_image`].
    pub fn trace_image(&self, pixels: &Shadow, pass: &Pass) -> Result<Shadow> {
        self.image.trace(pixels, pass)
    }

    /// The memory of [`Self::gather`], up to the queries.
    #[must_use]
    pub fn trace_gather(&self, tokens: &Shadow) -> Shadow {
        self.pool.trace(tokens)
    }

    /// The memory of [`Self::embed_image`].
    #[must_use]
    pub fn trace_embed(&self, queries: &Shadow) -> Shadow {
        trace_unit(&self.image_proj.trace(queries, false, None))
    }

    /// The memory of [`Self::encode_text`] for (T, N) tokens.
    pub fn trace_text(&self, tokens: [usize; 2], account: &Account, pass: &Pass) -> Result<Shadow> {
        let states = self.text.trace(tokens, account, pass)?;
        let dims = [tokens[0], states.dims()[2]];
        Ok(match self.text_pooling {
            TextPooling::Class => states.view(&dims),
            TextPooling::Mean | TextPooling::Last => {
                Shadow::made(&dims, &[&states], Work::default())
            }
        })
    }

    /// The memory of [`Self::project_text`].
    #[must_use]
    pub fn trace_project(&self, states: &Shadow) -> Shadow {
        trace_unit(&self.text_proj.trace(states, false, None))
    }

    /// The memory of [`Self::classify`]; as little without a head.
    #[must_use]
    pub fn trace_classify(&self, queries: &Shadow) -> Shadow {
        let (batch, width) = (queries.dims()[0], queries.dims_to(0).len());
        let mean = Shadow::made(&[batch, queries.dims()[width - 1]], &[queries], Work::default());
        self.head.as_ref().map_or(mean.clone(), |head| head.trace(&mean, false, None))
    }
}

/// The memory of [`unit`].
fn trace_unit(x: &Shadow) -> Shadow {
    let squares = Shadow::made(x.dims(), &[x], Work::default());
    Shadow::made(x.dims(), &[x, &squares], Work::default())
}

fn head(config: &ElixrConfig, vb: &VarBuilder) -> Result<Option<Linear>> {
    if config.findings.is_empty() {
        return Ok(None);
    }
    let (from, to) = (config.image.dim(), config.findings.len());
    Ok(Some(Linear::new(from, to, Bias::With, vb.pp("head"))?))
}

/// `x` at length one along its last axis.
fn unit(x: &Tensor) -> Result<Tensor> {
    let x = wide(x)?;
    let norm = (x.sqr()?.sum_keepdim(D::Minus1)? + 1e-12)?.sqrt()?;
    Ok(x.broadcast_div(&norm)?)
}
