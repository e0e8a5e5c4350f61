//! A text encoder in a folder: texts in, embeddings out.
//!
//! Source: Reimers and Gurevych 2019, "Sentence-BERT", arXiv:1908.10084.

use std::path::{Path, PathBuf};

use candle::Device;

use super::pooling::normalise;
use super::sentence::Sentence;
use super::{TextBody, TextConfig, TextPooling, Tokenizer};
use crate::nn::{Parameters, Pass};
use crate::progress::Progress;
use crate::weights::{Checkpoint, LoadReport, filled};
use crate::{Error, Result, files};

/// Larger batches only cost memory.
const LARGEST_BATCH: usize = 65_536;

/// Tokenizer, encoder and pooling, ready to embed texts.
#[derive(Debug)]
pub struct TextEncoder {
    tokenizer: Tokenizer,
    config: TextConfig,
    body: TextBody,
    parameters: Parameters,
    sentence: Sentence,
    report: LoadReport,
    config_path: PathBuf,
    checkpoint: Checkpoint,
}

impl TextEncoder {
    /// Opens a folder with `config.json`, `tokenizer.json` or `vocab.txt`, and safetensors; the
    /// pooling and normalisation that sentence-transformers noted there are followed.
    ///
    /// Strict: every key of the checkpoint must be used or be known to be of no use.
    pub fn open(folder: impl AsRef<Path>, device: &Device) -> Result<Self> {
        let folder = folder.as_ref();
        let path = folder.join("config.json");
        let mut config = TextConfig::from_hf_file(&path)?;
        let mut sentence = Sentence::open(folder)?;
        sentence.pooling = config.pooling().unwrap_or(sentence.pooling);
        let most = config.max_length().min(sentence.max_length.unwrap_or(usize::MAX));
        let tokenizer = config.fitted(Tokenizer::open(folder, most)?);
        if tokenizer.vocab_size() > config.vocab_size() {
            let (pieces, rows) = (tokenizer.vocab_size(), config.vocab_size());
            let why =
                format!("found vocab_size {rows}, expected at least the tokenizer's {pieces}");
            return Err(Error::format(&path, why));
        }
        let checkpoint = Checkpoint::open(folder)?;
        if let TextConfig::Bert(config) = &mut config {
            config.pooler = checkpoint.keys().any(|key| key.ends_with("pooler.dense.weight"));
        }
        let build = |vb| TextBody::new(&config, vb); // declares what to load
        let (_, parameters, report) =
            filled(&checkpoint, config.map(), device, &Progress::silent(), build)?;
        let body = TextBody::new(&config, parameters.frozen())?;
        let config_path = path;
        Ok(Self { tokenizer, config, body, parameters, sentence, report, config_path, checkpoint })
    }

    /// Embeds `texts` in their order, row by row: `texts.len()` × [`Self::dim`] numbers.
    pub fn encode<T: AsRef<str>>(
        &self,
        texts: &[T],
        batch_size: usize,
        progress: &Progress,
    ) -> Result<Vec<f32>> {
        if !(1..=LARGEST_BATCH).contains(&batch_size) {
            let why = format!("found {batch_size}, expected 1 to {LARGEST_BATCH}");
            return Err(Error::value("batch_size", why));
        }
        progress.set_total(texts.len());
        let dim = self.dim();
        let mut all = vec![0.0; texts.len() * dim];
        let lengths: Vec<usize> = texts.iter().map(|text| text.as_ref().len()).collect();
        for batch in &alike(&lengths, batch_size) {
            let some: Vec<&str> = batch.iter().map(|&i| texts[i].as_ref()).collect();
            let rows = self.embed(&some)?;
            for (&i, row) in batch.iter().zip(rows) {
                all[i * dim..(i + 1) * dim].copy_from_slice(&row);
            }
            progress.tick(batch.len())?;
        }
        Ok(all)
    }

    /// Features of an embedding.
    pub fn dim(&self) -> usize {
        self.config.dim()
    }

    /// The longest text, in tokens; the rest of a longer one is not read.
    pub fn max_length(&self) -> usize {
        self.tokenizer.max_length()
    }

    /// How tokens become one vector.
    pub fn pooling(&self) -> TextPooling {
        self.sentence.pooling
    }

    /// Whether embeddings have length one.
    pub fn normalises(&self) -> bool {
        self.sentence.normalise
    }

    /// What the checkpoint gave.
    pub fn report(&self) -> &LoadReport {
        &self.report
    }

    /// SHA-256 over options, tokenizer and weights as they are on disk: embeddings of two
    /// encoders that differ in it must not be mixed. Reads all weights.
    pub fn fingerprint(&self) -> Result<String> {
        let mut text = files::read(&self.config_path)?;
        text.extend(self.tokenizer.to_json()?.into_bytes());
        text.extend(format!("{:?}", self.sentence).into_bytes());
        text.extend(self.checkpoint.sha256()?.into_bytes());
        Ok(files::sha256_hex(&text))
    }

    /// The encoder, for training it further.
    pub fn body(&self) -> &TextBody {
        &self.body
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The parameters, for saving them or for building a model that learns on
    /// [`Parameters::builder`].
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>> {
        let (ids, mask) = self.tokenizer.encode(texts)?.to_tensors(self.body.device())?;
        let pass = Pass::inference();
        let pooled = self.body.encode((&ids, &mask), self.sentence.pooling, &pass)?; // (B, D)
        let pooled = if self.sentence.normalise { normalise(&pooled)? } else { pooled };
        Ok(pooled.to_vec2::<f32>()?)
    }
}

/// Numbers of texts in batches of at most `batch_size`, long ones first. The shortest of a batch
/// has at least half the bytes of its longest, so that little is spent on padding.
fn alike(lengths: &[usize], batch_size: usize) -> Vec<Vec<usize>> {
    const SHORT: usize = 32; // bytes; below it padding costs nothing worth a batch
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|&i| std::cmp::Reverse(lengths[i]));
    let mut batches: Vec<Vec<usize>> = Vec::new();
    for i in order {
        match batches.last_mut() {
            Some(batch)
                if batch.len() < batch_size
                    && 2 * lengths[i].max(SHORT) >= lengths[batch[0]].max(SHORT) =>
            {
                batch.push(i);
            }
            _ => batches.push(vec![i]),
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_like_length_share_a_batch() {
        let batches = alike(&[5, 4000, 0, 60, 2000, 40, 31, 1999], 3);
        assert_eq!(batches, [vec![1, 4], vec![7], vec![3, 5, 6], vec![0, 2]]);
        assert!(alike(&[], 3).is_empty());
    }
}
