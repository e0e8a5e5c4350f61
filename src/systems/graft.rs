//! A decoder behind an adapter: what a film shows, as words that a language model reads on from.
//!
//! Source: Xu et al. 2023, "ELIXR", arXiv:2308.01317; Liu et al. 2023, "Visual Instruction
//! Tuning", arXiv:2304.08485. The decoder stays as it is; gradients pass through it to the
//! adapter.

use candle::Tensor;
use candle_nn::VarBuilder;
use serde::{Deserialize, Serialize};

use crate::fusion::Adapter;
use crate::language::{Cache, Fill, Line, Llama, LlamaConfig, LoraConfig};
use crate::nn::limits::within;
use crate::nn::{Account, CrossEntropy, Pass, Shadow, Work, sum, trace_join};
use crate::{Error, Result};

/// A decoder, and what leads to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GraftConfig {
    /// The decoder.
    pub llama: LlamaConfig,
    /// Features between the two maps of the adapter.
    pub adapter_dim: usize,
    /// Low-rank updates of the decoder; none when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lora: Option<LoraConfig>,
    /// The hash of the decoder's tokenizer and chat template.
    pub script: String,
}

impl GraftConfig {
    /// Refuses what no model can be built from, naming the field.
    pub fn validate(&self) -> Result<()> {
        self.llama.validate()?;
        within("decoder.adapter_dim", self.adapter_dim, 262_144)?;
        self.lora.as_ref().map_or(Ok(()), LoraConfig::validate)
    }
}

/// The adapter and the decoder.
#[derive(Clone, Debug)]
pub struct Graft {
    adapter: Adapter,
    decoder: Llama,
}

/// A text to learn: all of it is read, the answer is learnt.
#[derive(Clone, Debug)]
pub struct Lesson {
    /// Prompt and answer.
    pub line: Line,
    /// The first word of the answer.
    pub answer: usize,
    /// Lessons of one kind share a mean over their words.
    pub kind: usize,
}

impl Graft {
    /// Reads `adapter`, `decoder` and, with updates, `lora` under `vb`, for queries of `from`
    /// features.
    pub fn new(config: &GraftConfig, from: usize, vb: &VarBuilder) -> Result<Self> {
        config.validate()?;
        Ok(Self { adapter: Self::adapter(config, from, vb)?, decoder: Self::llama(config, vb)? })
    }

    /// Only the adapter, under `vb` as for [`Self::new`].
    pub fn adapter(config: &GraftConfig, from: usize, vb: &VarBuilder) -> Result<Adapter> {
        Adapter::new(from, config.adapter_dim, config.llama.dim, &vb.pp("adapter"))
    }

    /// Only the decoder, under `vb` as for [`Self::new`].
    pub fn llama(config: &GraftConfig, vb: &VarBuilder) -> Result<Llama> {
        let mut decoder = Llama::new(&config.llama, vb.pp("decoder"))?;
        if let Some(lora) = &config.lora {
            decoder.with_lora(lora, &vb.pp("lora"))?;
        }
        Ok(decoder)
    }

    /// Of two parts.
    pub fn of(adapter: Adapter, decoder: Llama) -> Self {
        Self { adapter, decoder }
    }

    /// The decoder.
    pub fn decoder(&self) -> &Llama {
        &self.decoder
    }

    /// The decoder, to be changed.
    pub fn decoder_mut(&mut self) -> &mut Llama {
        &mut self.decoder
    }

    /// What queries (B, Q, D) gathered, as words of the decoder (B, Q, W).
    pub fn adapt(&self, queries: &Tensor) -> Result<Tensor> {
        self.adapter.forward(queries)
    }

    /// The cross-entropy of the answers of `lessons`, among whose words `images` (I, Q, W) stand:
    /// the mean over the words of each kind, and of the kinds by their lessons, so that a report
    /// does not drown a word.
    pub fn loss(&self, lessons: &[Lesson], images: Option<&Tensor>, pass: &Pass) -> Result<Tensor> {
        let mut kinds: Vec<usize> = lessons.iter().map(|lesson| lesson.kind).collect();
        kinds.sort_unstable();
        kinds.dedup();
        let mut total: Option<Tensor> = None;
        // Lines of one kind are about as long as one another: little is filled.
        for kind in kinds {
            let own: Vec<&Lesson> = lessons.iter().filter(|lesson| lesson.kind == kind).collect();
            let share = own.len() as f64 / lessons.len() as f64;
            let part = (self.loss_of(&own, images, pass)? * share)?;
            total = Some(match total {
                Some(total) => sum(&total, &part)?,
                None => part,
            });
        }
        total.ok_or_else(|| Error::value("lessons", "found none, expected at least one"))
    }

    /// The mean cross-entropy of the words of all answers.
    fn loss_of(&self, lessons: &[&Lesson], images: Option<&Tensor>, pass: &Pass) -> Result<Tensor> {
        let lines: Vec<Line> = lessons.iter().map(|lesson| lesson.line.clone()).collect();
        let spliced = self.decoder.splice(&lines, images, Fill::Behind)?;
        // No token sees those behind it: what fills a line needs no mask.
        let states = self.decoder.forward(&spliced.vectors, None, pass)?;
        let (rows, length, _) = states.dims3()?;
        let mut targets = vec![CrossEntropy::default().ignored; rows * length];
        for (row, lesson) in lessons.iter().enumerate() {
            let words = lesson.line.words.iter().zip(&spliced.places[row]);
            for (word, place) in words.skip(lesson.answer) {
                targets[row * length + place] = i64::from(*word);
            }
        }
        let targets = Tensor::from_vec(targets, (rows, length), states.device())?;
        self.decoder.loss(&states, &targets)
    }

    /// The sum of the log-probabilities of the words of each of the `options` of each line, after
    /// the line. Nothing learns.
    pub fn likelihoods(
        &self,
        lines: &[Line],
        options: &[Vec<Vec<u32>>],
        images: Option<&Tensor>,
    ) -> Result<Vec<Vec<f64>>> {
        let spliced = self.decoder.splice(lines, images, Fill::Before)?;
        let mut cache = Cache::default();
        let states =
            self.decoder.forward_after(&mut cache, &spliced.vectors, spliced.mask.as_ref())?;
        let read = cache.len();
        let last = states.narrow(1, read - 1, 1)?; // (B, 1, W)
        let mut all = vec![Vec::new(); lines.len()];
        for number in 0..options.first().map_or(0, Vec::len) {
            let words: Vec<&[u32]> = options.iter().map(|own| own[number].as_slice()).collect();
            let longest = words.iter().map(|words| words.len()).max().unwrap_or(0);
            let states = if longest > 1 {
                let filled = |words: &&[u32]| {
                    let words = &words[..words.len().saturating_sub(1)];
                    let fills = longest - 1 - words.len();
                    words.iter().copied().chain(std::iter::repeat_n(0, fills)).collect::<Vec<_>>()
                };
                let ids: Vec<u32> = words.iter().flat_map(filled).collect();
                let ids = Tensor::from_vec(ids, (lines.len(), longest - 1), states.device())?;
                let behind =
                    self.decoder.forward_after(&mut cache, &self.decoder.embed(&ids)?, None)?;
                Tensor::cat(&[&last, &behind], 1)?
            } else {
                last.clone()
            };
            for (row, words) in words.iter().enumerate() {
                let states = states.get(row)?.narrow(0, 0, words.len())?;
                all[row].push(self.decoder.log_probability(&states, words)?);
            }
            cache.truncate(read)?;
        }
        Ok(all)
    }
}

/// What all parts hold in memory, each function beside the one of its name above.
impl Graft {
    /// The memory of [`Self::adapt`].
    #[must_use]
    pub fn trace_adapt(&self, queries: &Shadow) -> Shadow {
        self.adapter.trace(queries)
    }

    /// The memory of lines of `words` (rows, tokens) in each of which an image stands.
    pub(super) fn trace_splice(
        &self,
        [rows, tokens]: [usize; 2],
        images: Option<&Shadow>,
        account: &Account,
    ) -> Shadow {
        let words = self.decoder.trace_embed([1, rows * tokens], account);
        let dim = words.dims()[2];
        let Some(images) = images else { return words.view(&[rows, tokens, dim]) };
        let &[count, queries, _] = images.dims() else { return words };
        let table = trace_join(&words, &images.view(&[1, count * queries, dim]));
        Shadow::made(&[rows, tokens + queries, dim], &[&table], Work::default())
    }

    /// The memory of [`Self::loss`] of `words` (lessons, tokens).
    pub fn trace_loss(
        &self,
        words: [usize; 2],
        images: Option<&Shadow>,
        account: &Account,
        pass: &Pass,
    ) -> Result<Shadow> {
        let vectors = self.trace_splice(words, images, account);
        let states = self.decoder.trace_learning(&vectors, pass)?;
        Ok(self.decoder.trace_loss(&states, words[0] * words[1]))
    }
}

#[cfg(test)]
mod tests;
