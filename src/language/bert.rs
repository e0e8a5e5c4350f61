//! The BERT encoder: what every token means in its text.
//!
//! Source: Devlin et al. 2018, "BERT", arXiv:1810.04805; Liu et al. 2019, "`RoBERTa`",
//! arXiv:1907.11692. Parameter names are those of Hugging Face's `BertModel`.

use candle::{Device, Tensor};
use candle_nn::VarBuilder;

use super::BertConfig;
use super::bert_branch::{BertAttention, BertFeed};
use crate::nn::{
    Account, AttentionInput, Bias, Dropout, Embedding, LayerNorm, Linear, Pass, Shadow,
};
use crate::{Error, Result};

/// A BERT or `RoBERTa` encoder.
#[derive(Clone, Debug)]
pub struct Bert {
    config: BertConfig,
    word_embeddings: Embedding,
    position_embeddings: Embedding,
    token_type_embeddings: Embedding,
    norm: LayerNorm,
    dropout: Dropout,
    layers: Vec<Layer>,
    pooler: Option<Linear>,
}

impl Bert {
    /// A model as `config` says.
    pub fn new(config: &BertConfig, vb: VarBuilder) -> Result<Self> {
        config.validate()?;
        let dim = config.dim;
        let embeddings = vb.pp("embeddings");
        let table = |rows, name| Embedding::new(rows, dim, embeddings.pp(name));
        let layer = |i: usize| Layer::new(config, &vb.pp(format!("encoder.layer.{i}")));
        let pooler = || Linear::new(dim, dim, Bias::With, vb.pp("pooler.dense"));
        Ok(Self {
            word_embeddings: table(config.vocab_size, "word_embeddings")?,
            position_embeddings: table(config.max_positions, "position_embeddings")?,
            token_type_embeddings: table(config.type_vocab, "token_type_embeddings")?,
            norm: LayerNorm::new(dim, config.norm_eps, embeddings.pp("LayerNorm"))?,
            dropout: Dropout::new(config.dropout)?,
            layers: (0..config.depth).map(layer).collect::<Result<_>>()?,
            pooler: config.pooler.then(pooler).transpose()?,
            config: config.clone(),
        })
    }

    /// The options it was built from.
    pub fn config(&self) -> &BertConfig {
        &self.config
    }

    /// Maps `ids` (B, T), of which `mask` (B, T) is 1 on real tokens, to (B, T, D).
    pub fn forward(&self, ids: &Tensor, mask: Option<&Tensor>, pass: &Pass) -> Result<Tensor> {
        let mut x = self.embed(ids, pass)?;
        for layer in &self.layers {
            let (layer, mask) = (layer.clone(), mask.cloned());
            x = pass.block(&x, move |x, pass| {
                let input = AttentionInput { mask: mask.as_ref(), ..AttentionInput::default() };
                layer.forward(x, &input, pass)
            })?;
        }
        Ok(x)
    }

    /// The memory of [`Self::forward`] for ids of these sizes (B, T).
    pub fn trace(&self, ids: [usize; 2], account: &Account, pass: &Pass) -> Result<Shadow> {
        let mut x = self.trace_embed(ids, account, pass);
        for layer in &self.layers {
            let layer = layer.clone();
            x = x.block(pass, move |x, pass| layer.trace(x, pass))?;
        }
        Ok(x)
    }

    /// The memory of [`Self::embed`].
    fn trace_embed(&self, ids: [usize; 2], account: &Account, pass: &Pass) -> Shadow {
        let words = self.word_embeddings.trace(&ids, account);
        let tables = [&self.position_embeddings, &self.token_type_embeddings];
        let [places, segment] = tables.map(|table| account.weight(table.weight()));
        let places = Shadow::shared(&words.dims()[1..], &[&places, &segment]);
        let x = Shadow::shared(words.dims(), &[&words, &places]);
        self.dropout.trace(&self.norm.trace(&x), pass)
    }

    /// The sum of word, place and segment 0 for `ids` (B, T), normalised: (B, T, D).
    pub fn embed(&self, ids: &Tensor, pass: &Pass) -> Result<Tensor> {
        let (_, count) =
            ids.dims2().map_err(|_| Error::shape("token ids", "(B, T)", ids.dims()))?;
        let most = self.config.max_length();
        if count == 0 || count > most {
            return Err(Error::shape("token ids", format!("(B, 1 to {most})"), ids.dims()));
        }
        let words = self.word_embeddings.forward(ids)?; // (B, T, D)
        let places = self.position_embeddings.weight();
        let places = places.narrow(0, self.config.position_offset, count)?; // (T, D)
        let segment = self.token_type_embeddings.weight().narrow(0, 0, 1)?; // (1, D)
        let x = words.broadcast_add(&places.broadcast_add(&segment)?)?;
        self.dropout.forward(&self.norm.forward(&x)?, pass)
    }

    /// The pooler on the first of `tokens` (B, T, D): (B, D); `None` without a pooler.
    pub fn pool(&self, tokens: &Tensor) -> Result<Option<Tensor>> {
        let Some(pooler) = &self.pooler else { return Ok(None) };
        let first = tokens.narrow(1, 0, 1)?.squeeze(1)?;
        Ok(Some(pooler.forward(&first)?.tanh()?))
    }

    /// The word table (V, D), for tied output layers.
    pub fn word_table(&self) -> &Tensor {
        self.word_embeddings.weight()
    }

    /// Every linear map of the layers, for adapters.
    pub fn linears_mut(&mut self) -> Vec<&mut Linear> {
        self.layers.iter_mut().flat_map(Layer::linears_mut).collect()
    }

    /// The device that holds the parameters.
    pub fn device(&self) -> &Device {
        self.word_embeddings.weight().device()
    }
}

/// One layer: attention, then feed-forward.
#[derive(Clone, Debug)]
struct Layer {
    attention: BertAttention,
    feed: BertFeed,
}

impl Layer {
    fn new(config: &BertConfig, vb: &VarBuilder) -> Result<Self> {
        Ok(Self {
            attention: BertAttention::new(config, None, vb.pp("attention"))?,
            feed: BertFeed::new(config, "", vb)?,
        })
    }

    fn forward(&self, x: &Tensor, input: &AttentionInput, pass: &Pass) -> Result<Tensor> {
        self.feed.forward(&self.attention.forward(x, input, pass)?, pass)
    }

    fn trace(&self, x: &Shadow, pass: &Pass) -> Result<Shadow> {
        self.feed.trace(&self.attention.trace(x, None, pass)?, pass)
    }

    fn linears_mut(&mut self) -> Vec<&mut Linear> {
        let mut all = self.attention.linears_mut();
        all.extend(self.feed.linears_mut());
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::Parameters;
    use crate::nn::testing::trained;

    fn build() -> (Bert, Parameters) {
        let config = BertConfig {
            vocab_size: 20,
            dim: 8,
            depth: 2,
            heads: 2,
            mlp_dim: 16,
            max_positions: 6,
            pooler: true,
            ..BertConfig::default()
        };
        let parameters = Parameters::new(0, &Device::Cpu);
        (Bert::new(&config, parameters.builder()).unwrap(), parameters)
    }

    #[test]
    fn every_parameter_receives_a_finite_gradient_in_training() {
        let (model, parameters) = build();
        let ids = Tensor::new(&[[1u32, 2, 3], [4, 5, 0]], &Device::Cpu).unwrap();
        let mask = Tensor::new(&[[1u32, 1, 1], [1, 1, 0]], &Device::Cpu).unwrap();
        let ((), mut gradients) = trained(|| {
            let tokens = model.forward(&ids, Some(&mask), &Pass::training(0, 0))?;
            let pooled = model.pool(&tokens)?.unwrap();
            Ok(((), (tokens.exp()?.sum_all()? + pooled.exp()?.sum_all()?)?))
        });
        for (name, var) in parameters.trainable() {
            let gradient = gradients.take(&var).unwrap_or_else(|| panic!("{name}: none"));
            let sum = gradient.abs().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap();
            assert!(sum.is_finite(), "{name}: {sum}");
        }
    }

    #[test]
    fn what_is_padded_does_not_change_the_rest() {
        let (model, _) = build();
        let run = |ids: &[u32], mask: &[u32]| {
            let tensor = |x: &[u32]| Tensor::new(x, &Device::Cpu).unwrap().unsqueeze(0).unwrap();
            let tokens = model.forward(&tensor(ids), Some(&tensor(mask)), &Pass::inference());
            tokens.unwrap().narrow(1, 0, 2).unwrap().flatten_all().unwrap().to_vec1().unwrap()
        };
        let short: Vec<f32> = run(&[3, 4], &[1, 1]);
        let padded: Vec<f32> = run(&[3, 4, 9, 9], &[1, 1, 0, 0]);
        assert!(short.iter().zip(&padded).all(|(a, b)| (a - b).abs() < 1e-5));
    }

    #[test]
    fn texts_beyond_the_position_table_and_unknown_numbers_are_errors() {
        let (model, _) = build();
        let run = |ids: &Tensor| model.forward(ids, None, &Pass::inference()).unwrap_err();
        let long = Tensor::zeros((1, 7), candle::DType::U32, &Device::Cpu).unwrap();
        let text = run(&long).to_string();
        assert_eq!(text, "token ids: expected shape (B, 1 to 6), got [1, 7]");
        run(&Tensor::new(&[[20u32]], &Device::Cpu).unwrap());
    }
}
