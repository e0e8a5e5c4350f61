//! ELIXR: an image encoder aligned with language.
//!
//! Source: Xu et al. 2023, "ELIXR: Towards a general purpose X-ray artificial intelligence system
//! through alignment of large language models and radiology vision encoders", arXiv:2308.01317.
//! A film becomes Q query embeddings, a text becomes one; their similarity is the largest cosine
//! over the queries. The queries are those of a Q-Former, as in ELIXR-B, or of an attention pool
//! beside a text encoder. Differs in that a linear head reads the mean of the queries, so that the
//! same trunk can be trained on labels.

use candle::Tensor;
use candle_nn::{Init, VarBuilder};

use super::towers::Towers;
use crate::fusion::{QFormer, Words, similarity};
use crate::language::TokenBatch;
use crate::nn::{Account, Bias, Linear, Parameters, Pass, Shadow, Work, wide};
use crate::vision::{ImageEncoder, TokenGrid, VisionEncoder};
use crate::{Error, Result};

pub use super::elixr_config::{ElixrConfig, Resampler};

/// What a film becomes.
#[derive(Clone, Debug)]
pub struct ImageFeatures {
    /// The encoder's tokens on their grid.
    pub grid: TokenGrid,
    /// What the queries gathered (B, Q, D).
    pub queries: Tensor,
}

/// The image encoder, what leads from it to language, and the head.
#[derive(Clone, Debug)]
pub struct Elixr {
    image: ImageEncoder,
    bridge: Bridge,
    logit_bias: Tensor,
    head: Option<Linear>,
}

/// What films and texts meet through.
#[derive(Clone, Debug)]
enum Bridge {
    Towers(Box<Towers>),
    QFormer(Box<QFormer>),
}

impl Elixr {
    /// Reads `image`, `logit_bias` and, with findings, `head` under `vb`; besides, `qformer` or
    /// else `pool`, `image_proj`, `text`, `text_proj` and `logit_scale`.
    pub fn new(config: &ElixrConfig, vb: &VarBuilder) -> Result<Self> {
        config.validate()?;
        let bridge = match config.qformer() {
            Some(config) => Bridge::QFormer(Box::new(QFormer::new(&config, &vb.pp("qformer"))?)),
            None => Bridge::Towers(Box::new(Towers::new(config, vb)?)),
        };
        Ok(Self {
            image: ImageEncoder::new(&config.image, vb.pp("image"))?,
            bridge,
            // SigLIP's; it rests at 0 for CLIP.
            logit_bias: vb.get_with_hints(1, "logit_bias", Init::Const(0.0))?,
            head: head(config, vb)?,
        })
    }

    /// Tokens of `pixels` (B, C, H, W).
    pub fn encode_image(&self, pixels: &Tensor, pass: &Pass) -> Result<TokenGrid> {
        let grid = self.image.forward(pixels, pass)?;
        Ok(TokenGrid { tokens: wide(&grid.tokens)?, ..grid })
    }

    /// Lets the queries look at the tokens.
    pub fn gather(&self, grid: TokenGrid, pass: &Pass) -> Result<ImageFeatures> {
        let queries = match &self.bridge {
            Bridge::Towers(towers) => towers.gather(&grid.tokens)?,
            Bridge::QFormer(qformer) => {
                qformer.look(&qformer.prepare(&grid.tokens)?, None, pass)?
            }
        }; // (B, Q, D)
        Ok(ImageFeatures { grid, queries })
    }

    /// Encodes `pixels` (B, C, H, W) for inference.
    pub fn image(&self, pixels: &Tensor) -> Result<ImageFeatures> {
        let pass = Pass::inference();
        self.gather(self.encode_image(pixels, &pass)?, &pass)
    }

    /// Unit embeddings (B, Q, E) of what the queries gathered.
    pub fn embed_image(&self, features: &ImageFeatures) -> Result<Tensor> {
        match &self.bridge {
            Bridge::Towers(towers) => towers.embed_image(&features.queries),
            Bridge::QFormer(qformer) => qformer.embed_image(&features.queries),
        }
    }

    /// One vector (T, D) for each text.
    pub fn encode_text(&self, tokens: &TokenBatch, pass: &Pass) -> Result<Tensor> {
        let (ids, mask) = tokens.to_tensors(self.logit_bias.device())?;
        match &self.bridge {
            Bridge::Towers(towers) => towers.encode_text(&ids, &mask, pass),
            Bridge::QFormer(qformer) => {
                let states = qformer.read(Words { ids: &ids, mask: &mask }, pass)?; // (T, N, D)
                Ok(states.narrow(1, 0, 1)?.squeeze(1)?)
            }
        }
    }

    /// Unit embeddings (T, E) of the vectors that [`Self::encode_text`] gives.
    pub fn project_text(&self, states: &Tensor) -> Result<Tensor> {
        match &self.bridge {
            Bridge::Towers(towers) => towers.project_text(states),
            Bridge::QFormer(qformer) => qformer.embed_text(states),
        }
    }

    /// Unit embeddings (T, E) of texts, for inference.
    pub fn text(&self, tokens: &TokenBatch) -> Result<Tensor> {
        self.project_text(&self.encode_text(tokens, &Pass::inference())?)
    }

    /// Cosine similarities (B, T): for each film and text the largest over the queries.
    pub fn similarity(image: &Tensor, text: &Tensor) -> Result<Tensor> {
        similarity(image, text)
    }

    /// Scaled and, for SigLIP, biased similarities.
    pub fn logits(&self, similarity: &Tensor) -> Result<Tensor> {
        Ok(similarity.broadcast_mul(&self.factor()?)?.broadcast_add(&self.logit_bias)?)
    }

    /// The factor that [`Self::logits`] applies.
    pub fn scale(&self) -> Result<f32> {
        Ok(self.factor()?.squeeze(0)?.to_scalar::<f32>()?)
    }

    fn factor(&self) -> Result<Tensor> {
        match &self.bridge {
            Bridge::Towers(towers) => towers.scale(),
            Bridge::QFormer(qformer) => Ok(qformer.temperature()?.recip()?),
        }
    }

    /// The Q-Former; fails when the model has none.
    pub fn qformer(&self) -> Result<&QFormer> {
        match &self.bridge {
            Bridge::QFormer(qformer) => Ok(qformer),
            Bridge::Towers(_) => Err(Error::value(
                "model",
                "found no Q-Former; create one with resampler={\"kind\": \"qformer\"}, or by a \
                 preset that has it",
            )),
        }
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

/// What all parts hold in memory, each function beside the one of its name above.
impl Elixr {
    /// The memory of [`Self::encode_image`].
    pub fn trace_image(&self, pixels: &Shadow, pass: &Pass) -> Result<Shadow> {
        self.image.trace(pixels, pass)
    }

    /// The memory of [`Self::gather`], up to the queries.
    pub fn trace_gather(&self, tokens: &Shadow, pass: &Pass) -> Result<Shadow> {
        match &self.bridge {
            Bridge::Towers(towers) => Ok(towers.trace_gather(tokens)),
            Bridge::QFormer(qformer) => qformer.trace_look(&qformer.trace_prepare(tokens), pass),
        }
    }

    /// The memory of [`Self::embed_image`].
    #[must_use]
    pub fn trace_embed(&self, queries: &Shadow) -> Shadow {
        match &self.bridge {
            Bridge::Towers(towers) => towers.trace_embed(queries),
            Bridge::QFormer(qformer) => qformer.trace_embed_image(queries),
        }
    }

    /// The memory of [`Self::encode_text`] for (T, N) tokens.
    pub fn trace_text(&self, tokens: [usize; 2], account: &Account, pass: &Pass) -> Result<Shadow> {
        match &self.bridge {
            Bridge::Towers(towers) => towers.trace_text(tokens, account, pass),
            Bridge::QFormer(qformer) => {
                let states = qformer.trace_read(tokens, account, pass)?;
                Ok(states.view(&[tokens[0], states.dims()[2]]))
            }
        }
    }

    /// The memory of [`Self::project_text`].
    #[must_use]
    pub fn trace_project(&self, states: &Shadow) -> Shadow {
        match &self.bridge {
            Bridge::Towers(towers) => towers.trace_project(states),
            Bridge::QFormer(qformer) => qformer.trace_embed_text(states),
        }
    }

    /// The memory of [`Self::classify`]; as little without a head.
    #[must_use]
    pub fn trace_classify(&self, queries: &Shadow) -> Shadow {
        let (batch, width) = (queries.dims()[0], queries.dims_to(0).len());
        let mean = Shadow::made(&[batch, queries.dims()[width - 1]], &[queries], Work::default());
        self.head.as_ref().map_or(mean.clone(), |head| head.trace(&mean, false, None))
    }
}

fn head(config: &ElixrConfig, vb: &VarBuilder) -> Result<Option<Linear>> {
    if config.findings.is_empty() {
        return Ok(None);
    }
    let (from, to) = (config.query_dim(), config.findings.len());
    Ok(Some(Linear::new(from, to, Bias::With, vb.pp("head"))?))
}
