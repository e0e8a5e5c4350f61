//! The T5 encoder: what every token means in its text, places known by distance only.
//!
//! Source: Raffel et al. 2020, "Exploring the Limits of Transfer Learning with a Unified
//! Text-to-Text Transformer", arXiv:1910.10683; v1.1 gates its feed-forward branch (Shazeer 2020,
//! arXiv:2002.05202). Parameter names are those of Hugging Face's `T5EncoderModel`. Differs in
//! training in that neither attention weights nor inner features of the feed-forward branch are
//! omitted.

use std::path::Path;

use candle::{Device, Tensor};
use candle_nn::VarBuilder;

use super::T5Config;
use super::t5_bias::RelativeBias;
use crate::nn::{
    Account, Attention, AttentionConfig, AttentionInput, AttentionLayout, Bias, Dropout, Embedding,
    GatedMlp, Linear, Mlp, MlpConfig, Parameters, Pass, RmsNorm, Shadow, sum,
};
use crate::progress::Progress;
use crate::weights::{Checkpoint, LoadReport, filled};
use crate::{Error, Result};

/// The encoder of T5 or T5 v1.1.
#[derive(Clone, Debug)]
pub struct T5 {
    config: T5Config,
    shared: Embedding,
    bias: RelativeBias,
    block: Vec<Layer>,
    final_layer_norm: RmsNorm,
    dropout: Dropout,
}

impl T5 {
    /// A model as `config` says.
    pub fn new(config: &T5Config, vb: VarBuilder) -> Result<Self> {
        config.validate()?;
        let layer = |i: usize| Layer::new(config, &vb.pp(format!("block.{i}.layer")));
        let first = vb.pp("block.0.layer.0.SelfAttention.relative_attention_bias");
        Ok(Self {
            shared: Embedding::new(config.vocab_size, config.dim, vb.pp("shared"))?,
            bias: RelativeBias::new(config, first)?,
            block: (0..config.depth).map(layer).collect::<Result<_>>()?,
            final_layer_norm: RmsNorm::new(config.dim, config.norm_eps, vb.pp("final_layer_norm"))?,
            dropout: Dropout::new(config.dropout)?,
            config: config.clone(),
        })
    }

    /// Opens a folder with `config.json` and the weights of a T5 model or of its encoder. Strict:
    /// every key of the encoder must be used.
    pub fn open(
        folder: impl AsRef<Path>,
        device: &Device,
    ) -> Result<(Self, Parameters, LoadReport)> {
        let folder = folder.as_ref();
        let config = T5Config::from_hf_file(&folder.join("config.json"))?;
        let checkpoint = Checkpoint::open(folder)?;
        filled(&checkpoint, "t5", device, &Progress::silent(), |vb| Self::new(&config, vb))
    }

    /// The options it was built from.
    pub fn config(&self) -> &T5Config {
        &self.config
    }

    /// Maps `ids` (B, T), of which `mask` (B, T) is 1 on real tokens, to (B, T, D).
    pub fn forward(&self, ids: &Tensor, mask: Option<&Tensor>, pass: &Pass) -> Result<Tensor> {
        let most = self.config.max_positions;
        let count = match ids.dims() {
            &[_, count] if (1..=most).contains(&count) => count,
            dims => return Err(Error::shape("token ids", format!("(B, 1 to {most})"), dims)),
        };
        let mut x = self.dropout.forward(&self.shared.forward(ids)?, pass)?; // (B, T, D)
        let known = if self.bias.learns() { None } else { Some(self.bias.forward(count)?) };
        for layer in &self.block {
            let (layer, mask) = (layer.clone(), mask.cloned());
            let (bias, known) = (self.bias.clone(), known.clone());
            x = pass.block(&x, move |x, pass| {
                // A block that runs again must make all that learns itself.
                let bias = known.clone().map_or_else(|| bias.forward(count), Ok)?;
                layer.forward(x, mask.as_ref(), &bias, pass)
            })?;
        }
        self.dropout.forward(&self.final_layer_norm.forward(&x)?, pass)
    }

    /// The memory of [`Self::forward`] for ids of these sizes (B, T).
    pub fn trace(&self, ids: [usize; 2], account: &Account, pass: &Pass) -> Result<Shadow> {
        let mut x = self.dropout.trace(&self.shared.trace(&ids, account), pass);
        let known = (!self.bias.learns()).then(|| self.bias.trace(ids[1], account));
        for layer in &self.block {
            let (layer, bias, known) = (layer.clone(), self.bias.clone(), known.clone());
            let (account, count) = (account.clone(), ids[1]);
            x = x.block(pass, move |x, pass| {
                let bias = known.clone().unwrap_or_else(|| bias.trace(count, &account));
                Ok(layer.trace(x, &bias, pass))
            })?;
        }
        Ok(self.dropout.trace(&self.final_layer_norm.trace(&x), pass))
    }

    /// Every linear map of the layers, for adapters.
    pub fn linears_mut(&mut self) -> Vec<&mut Linear> {
        self.block.iter_mut().flat_map(Layer::linears_mut).collect()
    }

    /// The device that holds the parameters.
    pub fn device(&self) -> &Device {
        self.shared.weight().device()
    }
}

/// One layer: attention, then feed-forward, each normalised before it.
#[derive(Clone, Debug)]
struct Layer {
    norms: [RmsNorm; 2],
    attention: Attention,
    feed: Feed,
    dropout: Dropout,
}

#[derive(Clone, Debug)]
enum Feed {
    Plain(Mlp),
    Gated(GatedMlp),
}

impl Layer {
    fn new(config: &T5Config, vb: &VarBuilder) -> Result<Self> {
        let norm = |part: &str| RmsNorm::new(config.dim, config.norm_eps, vb.pp(part));
        let attention = AttentionConfig {
            head_dim: Some(config.head_dim),
            bias: Bias::Without,
            out_bias: Bias::Without,
            layout: AttentionLayout::split("q", "k", "v", "o"),
            ..AttentionConfig::new(config.dim, config.heads)
        };
        let &T5Config { dim, mlp_dim: hidden, activation, .. } = config;
        let mlp = MlpConfig { dim, hidden, activation, bias: Bias::Without };
        let feed = vb.pp("1.DenseReluDense");
        Ok(Self {
            norms: [norm("0.layer_norm")?, norm("1.layer_norm")?],
            attention: Attention::new(&attention, vb.pp("0.SelfAttention"))?,
            feed: if config.gated {
                Feed::Gated(GatedMlp::new(&mlp, ["wi_0", "wi_1", "wo"], feed)?)
            } else {
                Feed::Plain(Mlp::new(&mlp, ["wi", "wo"], feed)?)
            },
            dropout: Dropout::new(config.dropout)?,
        })
    }

    /// `bias` is added to the scores, which nothing scales.
    fn forward(
        &self,
        x: &Tensor,
        mask: Option<&Tensor>,
        bias: &Tensor,
        pass: &Pass,
    ) -> Result<Tensor> {
        let scale = Some(1.0);
        let input = AttentionInput { mask, bias: Some(bias), scale, ..AttentionInput::default() };
        let seen = self.norms[0].forward(x)?;
        if !self.dropout.omits(pass) {
            let x = self.attention.forward_onto(&seen, &input, x)?;
            return self.feed.forward_onto(&self.norms[1].forward(&x)?, &x);
        }
        let branch = self.attention.forward(&seen, &input)?;
        let x = sum(x, &self.dropout.forward(&branch, pass)?)?;
        let branch = self.feed.forward(&self.norms[1].forward(&x)?)?;
        sum(&x, &self.dropout.forward(&branch, pass)?)
    }

    fn trace(&self, x: &Shadow, bias: &Shadow, pass: &Pass) -> Shadow {
        let seen = self.norms[0].trace(x);
        if !self.dropout.omits(pass) {
            let x = self.attention.trace_biased(&seen, bias, Some(x));
            return self.feed.trace(&self.norms[1].trace(&x), Some(&x));
        }
        let branch = self.attention.trace_biased(&seen, bias, None);
        let x = Shadow::shared(x.dims(), &[x, &self.dropout.trace(&branch, pass)]);
        let branch = self.feed.trace(&self.norms[1].trace(&x), None);
        Shadow::shared(x.dims(), &[&x, &self.dropout.trace(&branch, pass)])
    }

    fn linears_mut(&mut self) -> Vec<&mut Linear> {
        let mut all = self.attention.linears_mut();
        match &mut self.feed {
            Feed::Plain(mlp) => all.extend(mlp.linears_mut()),
            Feed::Gated(mlp) => all.extend(mlp.linears_mut()),
        }
        all
    }
}

impl Feed {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Plain(mlp) => mlp.forward(x),
            Self::Gated(mlp) => mlp.forward(x),
        }
    }

    fn forward_onto(&self, x: &Tensor, residual: &Tensor) -> Result<Tensor> {
        match self {
            Self::Plain(mlp) => mlp.forward_onto(x, residual),
            Self::Gated(mlp) => mlp.forward_onto(x, residual),
        }
    }

    fn trace(&self, x: &Shadow, residual: Option<&Shadow>) -> Shadow {
        match self {
            Self::Plain(mlp) => mlp.trace(x, residual),
            Self::Gated(mlp) => mlp.trace(x, residual),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::testing::{check_gradients, trained};

    fn config(gated: bool) -> T5Config {
        T5Config {
            vocab_size: 20,
            dim: 8,
            depth: 2,
            heads: 2,
            head_dim: 3,
            mlp_dim: 10,
            gated,
            buckets: 8,
            max_distance: 12,
            max_positions: 6,
            ..T5Config::default()
        }
    }

    #[test]
    fn every_parameter_receives_a_finite_gradient_in_training() {
        for gated in [true, false] {
            let parameters = Parameters::new(0, &Device::Cpu);
            let model = T5::new(&config(gated), parameters.builder()).unwrap();
            let ids = Tensor::new(&[[1u32, 2, 3], [4, 5, 0]], &Device::Cpu).unwrap();
            let mask = Tensor::new(&[[1u32, 1, 1], [1, 1, 0]], &Device::Cpu).unwrap();
            for pass in [Pass::training(0, 0), Pass::training(0, 0).recomputing()] {
                let ((), mut gradients) = trained(|| {
                    let tokens = model.forward(&ids, Some(&mask), &pass)?;
                    Ok(((), tokens.exp()?.sum_all()?))
                });
                for (name, var) in parameters.trainable() {
                    let gradient = gradients.take(&var).unwrap_or_else(|| panic!("{name}: none"));
                    let sum = gradient.abs().unwrap().sum_all().unwrap();
                    let sum = sum.to_scalar::<f32>().unwrap();
                    assert!(sum.is_finite() && sum > 0.0, "{name}: {sum}");
                }
            }
        }
    }

    #[test]
    fn a_layer_has_true_gradients() {
        for gated in [true, false] {
            let config = T5Config { dropout: 0.0, ..config(gated) };
            check_gradients(&[&[2, 5, 8]], |x, vb| {
                let bias = RelativeBias::new(&config, vb.pp("bias"))?.forward(5)?;
                let layer = Layer::new(&config, &vb.pp("layer"))?;
                layer.forward(&x[0], None, &bias, &Pass::training(0, 0))
            });
        }
    }

    #[test]
    fn what_is_padded_does_not_change_the_rest() {
        let parameters = Parameters::new(0, &Device::Cpu);
        let model = T5::new(&config(true), parameters.builder()).unwrap();
        let run = |ids: &[u32], mask: &[u32]| {
            let tensor = |x: &[u32]| Tensor::new(x, &Device::Cpu).unwrap().unsqueeze(0).unwrap();
            let tokens = model.forward(&tensor(ids), Some(&tensor(mask)), &Pass::inference());
            tokens.unwrap().narrow(1, 0, 2).unwrap().flatten_all().unwrap().to_vec1().unwrap()
        };
        let short: Vec<f32> = run(&[3, 4], &[1, 1]);
        let padded: Vec<f32> = run(&[3, 4, 9, 9], &[1, 1, 0, 0]);
        assert!(short.iter().zip(&padded).all(|(a, b)| (a - b).abs() < 1e-5));
        let error = |ids: &[u32]| {
            let ids = Tensor::new(ids, &Device::Cpu).unwrap().unsqueeze(0).unwrap();
            model.forward(&ids, None, &Pass::inference()).unwrap_err().to_string()
        };
        assert_eq!(error(&[1; 7]), "token ids: expected shape (B, 1 to 6), got [1, 7]");
        error(&[20]);
    }
}
