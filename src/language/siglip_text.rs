//! The text tower of `SigLIP` (`MedSigLIP`): one vector for a text, read at its last place.
//!
//! Source: Zhai et al. 2023, "Sigmoid Loss for Language Image Pre-Training", arXiv:2303.15343; the
//! layout and numbers are those of Hugging Face's `SiglipTextModel`.

use std::path::Path;

use candle::{Device, Tensor};
use candle_nn::VarBuilder;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::nn::limits::{small, within};
use crate::nn::{
    Account, Activation, AttentionConfig, AttentionInput, Bias, Block, BlockConfig, Embedding,
    LayerNorm, Linear, Parameters, Pass, Shadow,
};
use crate::progress::Progress;
use crate::weights::{Checkpoint, LoadReport, filled};
use crate::{Error, Result, files};

/// The options of a [`SiglipText`]; the default is that of `SigLIP`'s base model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SiglipTextConfig {
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
    /// The length that texts are padded to.
    pub max_positions: usize,
    /// Features of a text's vector.
    pub embedding: usize,
}

impl Default for SiglipTextConfig {
    fn default() -> Self {
        Self {
            vocab_size: 32_000,
            dim: 768,
            depth: 12,
            heads: 12,
            mlp_dim: 3072,
            activation: Activation::GeluTanh,
            norm_eps: 1e-6,
            max_positions: 64,
            embedding: 768,
        }
    }
}

impl SiglipTextConfig {
    /// Refuses what no model can be built from, naming the field.
    pub fn validate(&self) -> Result<()> {
        let sizes = [
            ("vocab_size", self.vocab_size, 1 << 20),
            ("dim", self.dim, 16_384),
            ("depth", self.depth, 256),
            ("heads", self.heads, self.dim),
            ("mlp_dim", self.mlp_dim, 65_536),
            ("max_positions", self.max_positions, 1 << 16),
            ("embedding", self.embedding, 65_536),
        ];
        for (field, found, most) in sizes {
            within(field, found, most)?;
        }
        if !self.dim.is_multiple_of(self.heads) {
            let why = format!("found {}, expected a divisor of dim {}", self.heads, self.dim);
            return Err(Error::config("heads", why));
        }
        small("norm_eps", self.norm_eps)
    }

    /// Reads Hugging Face's `config.json` of a `SigLIP` model or of its text tower.
    pub fn from_hf_file(path: &Path) -> Result<Self> {
        let json: Value = serde_json::from_slice(&files::read(path)?)
            .map_err(|why| Error::format(path, why.to_string()))?;
        let tower = json.get("text_config").unwrap_or(&json);
        let raw: Raw = serde_json::from_value(tower.clone())
            .map_err(|why| Error::config("config.json", why.to_string()))?;
        if raw.model_type != "siglip_text_model" {
            let why = format!("found {:?}, expected \"siglip_text_model\"", raw.model_type);
            return Err(Error::config("model_type", why));
        }
        let config = Self {
            vocab_size: raw.vocab_size,
            dim: raw.hidden_size,
            depth: raw.num_hidden_layers,
            heads: raw.num_attention_heads,
            mlp_dim: raw.intermediate_size,
            activation: Activation::from_hf(&raw.hidden_act)?,
            norm_eps: raw.layer_norm_eps,
            max_positions: raw.max_position_embeddings,
            embedding: raw.projection_size.unwrap_or(raw.hidden_size),
        };
        config.validate()?;
        Ok(config)
    }
}

/// What the file says; it leaves out what equals the library's defaults.
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
    projection_size: Option<usize>,
}

impl Default for Raw {
    fn default() -> Self {
        let base = SiglipTextConfig::default();
        Self {
            model_type: "siglip_text_model".to_owned(),
            vocab_size: base.vocab_size,
            hidden_size: base.dim,
            num_hidden_layers: base.depth,
            num_attention_heads: base.heads,
            intermediate_size: base.mlp_dim,
            hidden_act: "gelu_pytorch_tanh".to_owned(),
            layer_norm_eps: base.norm_eps,
            max_position_embeddings: base.max_positions,
            projection_size: None,
        }
    }
}

/// The tower; parameters `token_embedding`, `position_embedding`, `blocks.{0…}`, `norm` and
/// `head`.
#[derive(Clone, Debug)]
pub struct SiglipText {
    config: SiglipTextConfig,
    token_embedding: Embedding,
    position_embedding: Embedding,
    blocks: Vec<Block>,
    norm: LayerNorm,
    head: Linear,
}

impl SiglipText {
    /// A tower as `config` says.
    pub fn new(config: &SiglipTextConfig, vb: &VarBuilder) -> Result<Self> {
        config.validate()?;
        let &SiglipTextConfig { dim, heads, mlp_dim, activation, norm_eps, .. } = config;
        let block = BlockConfig {
            attention: AttentionConfig::new(dim, heads),
            mlp_dim,
            activation,
            norm_eps,
            ..BlockConfig::new(dim, heads)
        };
        let block = |i: usize| Block::new(&block, vb.pp(format!("blocks.{i}")));
        let table = |rows, name| Embedding::new(rows, dim, vb.pp(name));
        Ok(Self {
            token_embedding: table(config.vocab_size, "token_embedding")?,
            position_embedding: table(config.max_positions, "position_embedding")?,
            blocks: (0..config.depth).map(block).collect::<Result<_>>()?,
            norm: LayerNorm::new(dim, norm_eps, vb.pp("norm"))?,
            head: Linear::new(dim, config.embedding, Bias::With, vb.pp("head"))?,
            config: config.clone(),
        })
    }

    /// Opens a folder with `config.json` and the weights of a `SigLIP` model or of its text tower.
    /// Strict: every key of the text tower must be used.
    pub fn open(
        folder: impl AsRef<Path>,
        device: &Device,
    ) -> Result<(Self, Parameters, LoadReport)> {
        let folder = folder.as_ref();
        let config = SiglipTextConfig::from_hf_file(&folder.join("config.json"))?;
        let checkpoint = Checkpoint::open(folder)?;
        filled(&checkpoint, "siglip_text", device, &Progress::silent(), |vb| {
            Self::new(&config, &vb)
        })
    }

    /// The options it was built from.
    pub fn config(&self) -> &SiglipTextConfig {
        &self.config
    }

    /// What each place of `ids` (B, T) means (B, T, D). `mask` (B, T) is 1 on real tokens; without
    /// one, as `SigLIP` was trained, padding is read like words.
    pub fn forward(&self, ids: &Tensor, mask: Option<&Tensor>, pass: &Pass) -> Result<Tensor> {
        let most = self.config.max_positions;
        let count = match ids.dims() {
            &[_, count] if (1..=most).contains(&count) => count,
            dims => return Err(Error::shape("token ids", format!("(B, 1 to {most})"), dims)),
        };
        let places = self.position_embedding.weight().narrow(0, 0, count)?; // (T, D)
        let mut x = self.token_embedding.forward(ids)?.broadcast_add(&places)?;
        for block in &self.blocks {
            let (block, mask) = (block.clone(), mask.cloned());
            x = pass.block(&x, move |x, pass| {
                let input = AttentionInput { mask: mask.as_ref(), ..AttentionInput::default() };
                block.forward(x, &input, pass)
            })?;
        }
        self.norm.forward(&x)
    }

    /// A text's vector (B, E) from what its places mean (B, T, D): the last of them speaks.
    pub fn pool(&self, tokens: &Tensor) -> Result<Tensor> {
        let last =
            tokens.dims3().map_err(|_| Error::shape("tokens", "(B, T, D)", tokens.dims()))?;
        let last = tokens.narrow(1, last.1.saturating_sub(1), 1)?.squeeze(1)?;
        self.head.forward(&last)
    }

    /// The memory of [`Self::pool`].
    pub(super) fn trace_pool(&self, tokens: &Shadow) -> Shadow {
        let dims = tokens.dims();
        self.head.trace(&tokens.view(&[dims[0], dims[2]]), false, None)
    }

    /// The device that holds the parameters.
    pub fn device(&self) -> &Device {
        self.token_embedding.weight().device()
    }

    /// The memory of [`Self::forward`] for ids of these sizes (B, T).
    pub fn trace(&self, ids: [usize; 2], account: &Account, pass: &Pass) -> Result<Shadow> {
        let words = self.token_embedding.trace(&ids, account);
        let places = account.weight(self.position_embedding.weight());
        let mut x = Shadow::shared(words.dims(), &[&words, &places]);
        for block in &self.blocks {
            let block = block.clone();
            x = x.block(pass, move |x, pass| Ok(block.trace(x, pass)))?;
        }
        Ok(self.norm.trace(&x))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_beyond_the_table_and_sizes_that_cannot_be_are_named() {
        let config = SiglipTextConfig {
            vocab_size: 20,
            dim: 8,
            depth: 1,
            heads: 2,
            mlp_dim: 12,
            max_positions: 6,
            embedding: 4,
            ..SiglipTextConfig::default()
        };
        let parameters = Parameters::new(0, &Device::Cpu);
        let model = SiglipText::new(&config, &parameters.builder()).unwrap();
        let ids = Tensor::zeros((1, 7), candle::DType::U32, &Device::Cpu).unwrap();
        let error = model.forward(&ids, None, &Pass::inference()).unwrap_err().to_string();
        assert_eq!(error, "token ids: expected shape (B, 1 to 6), got [1, 7]");
        let error = SiglipTextConfig { heads: 3, ..config }.validate().unwrap_err().to_string();
        assert_eq!(error, "config field `heads`: found 3, expected a divisor of dim 8");
    }
}
