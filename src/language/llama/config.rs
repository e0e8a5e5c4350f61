//! The options of a [`Llama`](super::Llama), and what is refused of them.

use serde::{Deserialize, Serialize};

use crate::nn::limits::within;
use crate::nn::{Activation, RopeScaling};
use crate::{Error, Result};

/// The kinds of decoders that share the block, by the `model_type` of their files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// `LLaMA`, all generations of text models.
    #[default]
    Llama,
    /// Mistral: a window of tokens in every layer.
    Mistral,
    /// Qwen2: biases on queries, keys and values; perhaps a window in the last layers.
    Qwen2,
}

/// The options of a [`Llama`](super::Llama). The defaults are those of `LLaMA` 7 B.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LlamaConfig {
    /// Which kind of files it is read from and saved as.
    pub family: Family,
    /// Entries of the vocabulary.
    pub vocab_size: usize,
    /// Features of a token.
    pub dim: usize,
    /// Layers.
    pub depth: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads, a divisor of `heads`.
    pub kv_heads: usize,
    /// Features of a head; `dim / heads` when absent.
    pub head_dim: Option<usize>,
    /// Features inside the feed-forward branch.
    pub mlp_dim: usize,
    /// What gates the feed-forward branch.
    pub activation: Activation,
    /// Added to the mean square in every norm.
    pub norm_eps: f64,
    /// The longest text, in tokens.
    pub max_positions: usize,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// How the rotary frequencies are changed for longer texts.
    #[serde(skip_serializing_if = "RopeScaling::is_plain")]
    pub rope_scaling: RopeScaling,
    /// Whether the four maps of attention add biases; Qwen2's first three always do.
    pub attention_bias: bool,
    /// Whether the maps of the feed-forward branch add biases.
    pub mlp_bias: bool,
    /// How many tokens a token sees, itself the last of them; all when absent.
    pub window: Option<usize>,
    /// The first layer in which the window holds.
    pub window_from: usize,
    /// Whether the output layer is the table of the words.
    pub tied: bool,
    /// The token before every text.
    pub bos: Option<u32>,
    /// The tokens that end a text.
    pub eos: Vec<u32>,
    /// The token that fills short texts.
    pub pad: Option<u32>,
}

impl Default for LlamaConfig {
    fn default() -> Self {
        Self {
            family: Family::Llama,
            vocab_size: 32_000,
            dim: 4096,
            depth: 32,
            heads: 32,
            kv_heads: 32,
            head_dim: None,
            mlp_dim: 11_008,
            activation: Activation::Silu,
            norm_eps: 1e-6,
            max_positions: 2048,
            rope_theta: 1e4,
            rope_scaling: RopeScaling::Plain,
            attention_bias: false,
            mlp_bias: false,
            window: None,
            window_from: 0,
            tied: false,
            bos: Some(1),
            eos: vec![2],
            pad: None,
        }
    }
}

/// The presets by size: a size is one file and one line.
const PRESETS: &[(&str, &str)] = &[
    ("1m", include_str!("../decoders/1m.toml")),
    ("11m", include_str!("../decoders/11m.toml")),
    ("42m", include_str!("../decoders/42m.toml")),
    ("246m", include_str!("../decoders/246m.toml")),
    ("1b", include_str!("../decoders/1b.toml")),
    ("3b", include_str!("../decoders/3b.toml")),
    ("7b", include_str!("../decoders/7b.toml")),
    ("13b", include_str!("../decoders/13b.toml")),
];

impl LlamaConfig {
    /// The names that [`Self::preset`] knows, small ones first.
    pub fn presets() -> impl Iterator<Item = &'static str> {
        PRESETS.iter().map(|(name, _)| *name)
    }

    /// The options of a size, such as `"7b"`.
    pub fn preset(name: &str) -> Result<Self> {
        let (_, text) = PRESETS.iter().find(|(known, _)| *known == name).ok_or_else(|| {
            let known: Vec<&str> = Self::presets().collect();
            Error::value("decoder size", format!("found {name:?}, expected {}", known.join(", ")))
        })?;
        toml::from_str(text).map_err(|why| Error::Internal(format!("decoder {name}: {why}")))
    }

    /// Features of a head.
    pub fn head_size(&self) -> usize {
        self.head_dim.unwrap_or(self.dim / self.heads.max(1))
    }

    /// Whether the maps to queries, keys and values add biases.
    pub fn biased_inputs(&self) -> bool {
        self.attention_bias || self.family == Family::Qwen2
    }

    /// How many tokens a token of `layer` sees.
    pub fn window_of(&self, layer: usize) -> Option<usize> {
        self.window.filter(|_| layer >= self.window_from)
    }

    /// Refuses what no model can be built from, naming the field.
    pub fn validate(&self) -> Result<()> {
        within("vocab_size", self.vocab_size, 1 << 20)?;
        within("dim", self.dim, 32_768)?;
        within("depth", self.depth, 256)?;
        within("heads", self.heads, 1024)?;
        within("kv_heads", self.kv_heads, self.heads)?;
        within("mlp_dim", self.mlp_dim, 262_144)?;
        within("max_positions", self.max_positions, 1 << 24)?;
        within("head_dim", self.head_size(), 1024)?;
        if let Some(window) = self.window {
            within("window", window, 1 << 24)?;
        }
        if self.head_dim.is_none() && !self.dim.is_multiple_of(self.heads) {
            let why = format!("found {}, expected a divisor of dim {}", self.heads, self.dim);
            return Err(Error::config("heads", why));
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            let why =
                format!("found {}, expected a divisor of heads {}", self.kv_heads, self.heads);
            return Err(Error::config("kv_heads", why));
        }
        if !self.head_size().is_multiple_of(2) {
            let why = format!("found {}, expected an even number", self.head_size());
            return Err(Error::config("head_dim", why));
        }
        self.validate_numbers()?;
        self.validate_family()
    }

    fn validate_numbers(&self) -> Result<()> {
        let positive = |field: &str, value: f64, most: f64| {
            if value > 0.0 && value < most {
                return Ok(());
            }
            Err(Error::config(field, format!("found {value}, expected above 0 and below {most}")))
        };
        positive("norm_eps", self.norm_eps, 1.0)?;
        positive("rope_theta", self.rope_theta, 1e12)?;
        match self.rope_scaling {
            RopeScaling::Plain => {}
            RopeScaling::Linear { factor } => positive("rope_scaling.factor", factor, 1e6)?,
            RopeScaling::Llama3 { factor, low, high, original } => {
                positive("rope_scaling.factor", factor, 1e6)?;
                positive("rope_scaling.low_freq_factor", low, high)?;
                positive("rope_scaling.high_freq_factor", high, 1e6)?;
                positive("rope_scaling.original_max_position_embeddings", original as f64, 1e9)?;
            }
        }
        let tokens = self.bos.iter().chain(&self.eos).chain(&self.pad);
        match tokens.into_iter().find(|token| **token as usize >= self.vocab_size) {
            None => Ok(()),
            Some(token) => {
                let why = format!("found token {token}, expected less than {}", self.vocab_size);
                Err(Error::config("bos, eos or pad", why))
            }
        }
    }

    /// Refuses what the files of the family cannot say.
    fn validate_family(&self) -> Result<()> {
        let name = format!("{:?}", self.family);
        let only = |field: &str, set: bool, families: &[Family]| {
            if !set || families.contains(&self.family) {
                return Ok(());
            }
            Err(Error::config(field, format!("found a value, expected none in the family {name}")))
        };
        only("attention_bias", self.attention_bias, &[Family::Llama])?;
        only("mlp_bias", self.mlp_bias, &[Family::Llama])?;
        only("window", self.window.is_some(), &[Family::Mistral, Family::Qwen2])?;
        only("window_from", self.window_from > 0, &[Family::Qwen2])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::language::Llama;
    use crate::nn::{Outline, Precision};

    #[test]
    fn every_preset_has_about_the_parameters_that_its_name_says() {
        for name in LlamaConfig::presets() {
            let config = LlamaConfig::preset(name).unwrap();
            config.validate().unwrap();
            let outline = Outline::default();
            Llama::new(&config, outline.builder(false, Precision::F32)).unwrap();
            let count = outline.count(|_| true) as f64;
            let unit = if name.ends_with('b') { 1e9 } else { 1e6 };
            let said: f64 = name[..name.len() - 1].parse().unwrap();
            assert!((count / unit - said).abs() <= 0.3 * said, "{name}: {count}");
        }
        let error = LlamaConfig::preset("8b").unwrap_err().to_string();
        assert!(error.starts_with("decoder size: found \"8b\", expected 1m, 11m"), "{error}");
    }

    #[test]
    fn options_without_a_model_are_refused_by_field() {
        let error = |change: fn(&mut LlamaConfig)| {
            let mut config = LlamaConfig::default();
            change(&mut config);
            config.validate().unwrap_err().to_string()
        };
        let start = |text: String, expected: &str| assert!(text.contains(expected), "{text}");
        start(error(|c| c.heads = 0), "`heads`: found 0, expected 1 to 1024");
        start(error(|c| c.dim = 100), "`heads`: found 32, expected a divisor of dim 100");
        start(error(|c| c.kv_heads = 5), "`kv_heads`: found 5, expected a divisor of heads 32");
        start(error(|c| c.head_dim = Some(7)), "`head_dim`: found 7, expected an even number");
        start(error(|c| c.depth = 1 << 40), "`depth`: found 1099511627776, expected 1 to 256");
        start(error(|c| c.norm_eps = f64::NAN), "`norm_eps`: found NaN");
        start(error(|c| c.eos = vec![32_000]), "found token 32000, expected less than 32000");
        start(error(|c| c.window = Some(9)), "`window`: found a value, expected none in the");
        start(
            error(|c| c.rope_scaling = RopeScaling::Linear { factor: 0.0 }),
            "`rope_scaling.factor`: found 0",
        );
    }
}
