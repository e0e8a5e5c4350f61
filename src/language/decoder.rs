//! A decoder in a folder: texts in, texts and their probabilities out.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use candle::{DType, Device, Tensor};
use candle_nn::VarBuilder;

use super::{Generation, Llama, LlamaConfig, Message, Prompts, Script, Tokenizer};
use crate::kernels::{self, Layouts};
use crate::nn::{Linear, Outline, Parameters, Pass, Precision, in_precision, without};
use crate::progress::Progress;
use crate::weights::{Checkpoint, LoadReport, NameMap, filled, save, stream};
use crate::{Error, Result, files};

/// Larger batches only cost memory.
const LARGEST_BATCH: usize = 4096;

/// Tokenizer, decoder and perhaps a chat template, ready to write.
#[derive(Debug)]
pub struct Decoder {
    script: Script,
    model: Llama,
    /// What is saved and trained; a decoder opened in fewer bits, or shared, keeps none.
    parameters: Option<Parameters>,
    precision: Precision,
    report: Option<LoadReport>,
}

/// What the folder of a decoder holds.
struct Folder {
    config: LlamaConfig,
    script: Script,
    checkpoint: Checkpoint,
    /// How its weights are named.
    map: &'static str,
}

impl Folder {
    fn open(folder: &Path) -> Result<Self> {
        let config = LlamaConfig::from_hf_file(&folder.join("config.json"))?;
        let script = Script::open(folder, &config)?;
        let checkpoint = Checkpoint::open(folder)?;
        let map = if config.tied { "llama_tied" } else { "llama" };
        Ok(Self { config, script, checkpoint, map })
    }
}

/// The weights of `checkpoint`, one by one as layers ask for them.
fn streamed(
    config: &LlamaConfig,
    checkpoint: Checkpoint,
    (map, precision): (&str, Precision),
    device: &Device,
) -> Result<(VarBuilder<'static>, LoadReport)> {
    let outline = Outline::default();
    Llama::new(config, outline.builder(false, precision))?;
    stream(checkpoint, &NameMap::named(map)?, &outline, device)
}

/// A text that was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    /// The text, without special tokens.
    pub text: String,
    /// Tokens written.
    pub tokens: usize,
    /// Whether the decoder ended it; if not, there was no more room.
    pub ended: bool,
}

/// How likely a text is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    /// Tokens that were predicted: all but the first.
    pub tokens: usize,
    /// The mean of their log-probabilities.
    pub mean_log_probability: f64,
}

impl Decoder {
    /// Opens a folder with `config.json` (Hugging Face: `LLaMA`, Mistral, Qwen2),
    /// `tokenizer.json` or `vocab.txt`, and safetensors, whole or in shards.
    ///
    /// Strict: every key of the checkpoint must be used or be known to be of no use. In bfloat16
    /// and in eight bits no copy in float32 is kept, and one weight at a time is read.
    pub fn open(
        folder: impl AsRef<Path>,
        precision: Precision,
        device: &Device,
        progress: &Progress,
    ) -> Result<Self> {
        if precision == Precision::Q8_0 && !device.is_cpu() {
            let why = "found q8_0, expected f32 or bf16: eight bits are for the CPU";
            return Err(Error::value("precision", why));
        }
        let Folder { config, script, checkpoint, map } = Folder::open(folder.as_ref())?;
        if precision.is_single() {
            let build = |vb| Llama::new(&config, vb); // declares what to load
            let (_, parameters, report) = filled(&checkpoint, map, device, progress, build)?;
            let model = Llama::new(&config, parameters.frozen())?;
            let (parameters, report) = (Some(parameters), Some(report));
            return Ok(Self { script, model, parameters, precision, report });
        }
        let (source, report) = streamed(&config, checkpoint, (map, precision), device)?;
        let seal = |linear: &mut Linear| progress.check().and_then(|()| linear.seal());
        let model = Llama::sealed(&config, in_precision(source, precision), seal)?;
        let report = Some(report);
        Ok(Self { script, model, parameters: None, precision, report })
    }

    /// As [`Self::open`] on the CPU, for processes that use the same decoder: the weights of its
    /// linear maps lie in the file `shared`, laid out for products, and all who open it hold its
    /// pages together. It is written where it is not there, or is of other weights, another
    /// precision or another kind of processor.
    pub fn open_shared(
        folder: impl AsRef<Path>,
        precision: Precision,
        shared: &Path,
        progress: &Progress,
    ) -> Result<Self> {
        if !kernels::reach(&Tensor::zeros((), DType::F32, &Device::Cpu)?) {
            return Self::open(folder, precision, &Device::Cpu, progress); // nobody else reads it
        }
        let Folder { config, script, checkpoint, map } = Folder::open(folder.as_ref())?;
        let (version, identity) = (env!("CARGO_PKG_VERSION"), checkpoint.identity()?);
        let source = format!("{identity} by {map} in {precision:?}, carina {version}");
        let (weights, report) = streamed(&config, checkpoint, (map, precision), &Device::Cpu)?;
        let layouts = Layouts::open_or_write(shared, &source, progress, |file| {
            let seal = |linear: &mut Linear| progress.check().and_then(|()| linear.seal_to(file));
            Llama::sealed(&config, in_precision(weights.clone(), precision), seal).map(drop)
        })?;
        let layouts = Arc::new(layouts);
        let vb = in_precision(without(weights, layouts.clone()), precision);
        let model = Llama::sealed(&config, vb, |linear| linear.seal_from(&layouts))?;
        Ok(Self { script, model, parameters: None, precision, report: Some(report) })
    }

    /// An untrained decoder with the tokenizer compiled in, whose tokens `config` is given.
    pub fn create(config: &LlamaConfig, seed: u64, device: &Device) -> Result<Self> {
        let (script, config) = Script::builtin(config)?;
        let parameters = Parameters::new(seed, device);
        Llama::new(&config, parameters.builder())?;
        let model = Llama::new(&config, parameters.frozen())?;
        let (parameters, precision) = (Some(parameters), Precision::F32);
        Ok(Self { script, model, parameters, precision, report: None })
    }

    /// Writes after each of `texts`, in their order, `batch_size` at a time.
    pub fn generate<T: AsRef<str>>(
        &self,
        texts: &[T],
        options: &Generation,
        batch_size: usize,
        progress: &Progress,
    ) -> Result<Vec<Written>> {
        let prompts = self.read_all(texts)?;
        self.write(&prompts, options, batch_size, progress)
    }

    /// The assistant's answer to a conversation.
    pub fn chat(
        &self,
        messages: &[Message],
        options: &Generation,
        progress: &Progress,
    ) -> Result<Written> {
        let prompt = self.conversation(messages)?;
        let written = self.write(&[prompt], options, 1, progress)?.pop();
        written.ok_or_else(|| Error::Internal("no answer to a conversation".to_owned()))
    }

    /// The tokens of a conversation whose next turn is the assistant's.
    pub fn conversation(&self, messages: &[Message]) -> Result<Vec<u32>> {
        self.script.conversation(messages)
    }

    /// The most tokens that one of `texts` is read as.
    pub fn longest<T: AsRef<str>>(&self, texts: &[T]) -> Result<usize> {
        Ok(self.read_all(texts)?.iter().map(Vec::len).max().unwrap_or(0))
    }

    fn write(
        &self,
        prompts: &[Vec<u32>],
        options: &Generation,
        batch_size: usize,
        progress: &Progress,
    ) -> Result<Vec<Written>> {
        options.validate()?;
        check_batch(batch_size)?;
        progress.set_total(prompts.len().div_ceil(batch_size) * options.max_new_tokens);
        let mut all = Vec::with_capacity(prompts.len());
        for (i, batch) in prompts.chunks(batch_size).enumerate() {
            let before = progress.counts().0;
            let prompts = Prompts::of_tokens(&self.model, batch)?;
            for one in self.model.generate(&prompts, options, i * batch_size, progress)? {
                let text = self.script.tokenizer().decode(&one.tokens)?;
                all.push(Written { text, tokens: one.tokens.len(), ended: one.ended });
            }
            let written = progress.counts().0 - before;
            progress.tick(options.max_new_tokens.saturating_sub(written))?;
        }
        Ok(all)
    }

    /// The logits (T, V) after each of the T tokens of `text`, row by row, with T.
    pub fn logits(&self, text: &str) -> Result<(Vec<f32>, usize)> {
        let tokens = self.read(text)?;
        self.within_room(0, &tokens)?;
        let ids = Tensor::from_slice(&tokens, (1, tokens.len()), self.model.device())?;
        let states = self.model.forward(&self.model.embed(&ids)?, None, &Pass::inference())?;
        let logits = self.model.logits(&states)?.flatten_all()?.to_vec1()?;
        Ok((logits, tokens.len()))
    }

    /// How likely each of `texts` is, in their order.
    pub fn score<T: AsRef<str>>(
        &self,
        texts: &[T],
        batch_size: usize,
        progress: &Progress,
    ) -> Result<Vec<Score>> {
        check_batch(batch_size)?;
        let all = self.read_all(texts)?;
        for (i, tokens) in all.iter().enumerate() {
            self.within_room(i, tokens)?;
            if tokens.len() < 2 {
                let why = "found one token, expected at least one after the first";
                return Err(Error::value(format!("text {i}"), why));
            }
        }
        progress.set_total(all.len());
        let mut scores = Vec::with_capacity(all.len());
        for batch in all.chunks(batch_size) {
            let longest = batch.iter().map(Vec::len).max().unwrap_or(0);
            let padded = |tokens: &Vec<u32>| {
                let padding = longest - tokens.len();
                tokens.iter().copied().chain(std::iter::repeat_n(0, padding)).collect::<Vec<_>>()
            };
            // Padding on the right is seen by no token before it.
            let ids: Vec<u32> = batch.iter().flat_map(padded).collect();
            let ids = Tensor::from_vec(ids, (batch.len(), longest), self.model.device())?;
            let states = self.model.forward(&self.model.embed(&ids)?, None, &Pass::inference())?;
            for (row, tokens) in batch.iter().enumerate() {
                let next = &tokens[1..];
                let states = states.get(row)?.narrow(0, 0, next.len())?;
                let sum = self.model.log_probability(&states, next)?;
                let tokens = next.len();
                scores.push(Score { tokens, mean_log_probability: sum / tokens as f64 });
            }
            progress.tick(batch.len())?;
        }
        Ok(scores)
    }

    /// Writes what [`Self::open`] reads: options, tokenizer, chat template and weights in float32.
    pub fn save(&self, folder: &Path) -> Result<()> {
        let Some(parameters) = &self.parameters else {
            let why = "found a decoder without its weights in float32, expected one opened in f32 \
                       that shares none";
            return Err(Error::value("precision", why));
        };
        files::create_folder(folder)?;
        let config = folder.join("config.json");
        // It goes first and comes last: a folder that has one is whole.
        files::remove(&config)?;
        self.script.save(folder)?;
        let tensors = parameters.all().into_iter();
        let tensors: Vec<_> = tensors.map(|(name, var)| (name, var.as_tensor().clone())).collect();
        let format = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
        save(&tensors, &folder.join("model.safetensors"), &format)?;
        files::write_atomic(&config, format!("{:#}\n", self.config().to_hf()).as_bytes())
    }

    /// The options of the model.
    pub fn config(&self) -> &LlamaConfig {
        self.model.config()
    }

    /// The model as it is used: nothing learns in it.
    pub fn model(&self) -> &Llama {
        &self.model
    }

    /// The model whose parameters gather gradients, and those; `None` when opened in fewer bits, or shared.
    pub fn learning(&self) -> Result<Option<(Llama, &Parameters)>> {
        let Some(parameters) = &self.parameters else { return Ok(None) };
        Ok(Some((Llama::new(self.config(), parameters.builder())?, parameters)))
    }

    /// Lets go of what was made of the weights. To be called by whoever changes them.
    pub fn changed(&mut self) -> Result<()> {
        if let Some(parameters) = &self.parameters {
            self.model = Llama::new(self.model.config(), parameters.frozen())?;
        }
        Ok(())
    }

    /// What its matrices are multiplied in.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// The named tensors; `None` when opened in fewer bits, or shared.
    pub fn parameters(&self) -> Option<&Parameters> {
        self.parameters.as_ref()
    }

    /// How its texts are read.
    pub fn script(&self) -> &Script {
        &self.script
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        self.script.tokenizer()
    }

    /// Whether it knows how conversations are written.
    pub fn chats(&self) -> bool {
        self.script.chats()
    }

    /// What the checkpoint gave, if there was one.
    pub fn report(&self) -> Option<&LoadReport> {
        self.report.as_ref()
    }

    /// How many numbers its parameters hold.
    pub fn count(&self) -> Result<usize> {
        let outline = Outline::default();
        Llama::new(self.config(), outline.builder(false, Precision::F32))?;
        Ok(outline.count(|_| true))
    }

    /// The tokens of a text that goes on: with what begins a text and without what ends one.
    pub fn read(&self, text: &str) -> Result<Vec<u32>> {
        self.script.read(text, self.config())
    }

    fn read_all<T: AsRef<str>>(&self, texts: &[T]) -> Result<Vec<Vec<u32>>> {
        texts.iter().map(|text| self.read(text.as_ref())).collect()
    }

    fn within_room(&self, i: usize, tokens: &[u32]) -> Result<()> {
        let (found, room) = (tokens.len(), self.config().max_positions);
        if (1..=room).contains(&found) {
            return Ok(());
        }
        Err(Error::value(
            format!("text {i}"),
            format!("found {found} tokens, expected 1 to {room}"),
        ))
    }
}

fn check_batch(batch_size: usize) -> Result<()> {
    if !(1..=LARGEST_BATCH).contains(&batch_size) {
        let why = format!("found {batch_size}, expected 1 to {LARGEST_BATCH}");
        return Err(Error::value("batch_size", why));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_ends_opening_and_leaves_no_file() {
        let config = LlamaConfig {
            depth: 1,
            dim: 16,
            heads: 2,
            kv_heads: 1,
            mlp_dim: 32,
            max_positions: 16,
            ..LlamaConfig::preset("1m").unwrap()
        };
        let folder = tempfile::tempdir().unwrap();
        let made = folder.path().join("decoder");
        Decoder::create(&config, 0, &Device::Cpu).unwrap().save(&made).unwrap();
        let (shared, stopped) = (folder.path().join("shared"), Progress::silent());
        stopped.stop();
        for precision in [Precision::F32, Precision::Bf16, Precision::Q8_0] {
            let opened = Decoder::open(&made, precision, &Device::Cpu, &stopped);
            assert!(matches!(opened, Err(Error::Interrupted)), "{opened:?}");
        }
        let opened = Decoder::open_shared(&made, Precision::F32, &shared, &stopped);
        assert!(matches!(opened, Err(Error::Interrupted)), "{opened:?}");
        let files = std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name());
        let files: Vec<_> = files.filter(|name| name != "decoder").collect();
        assert!(files.iter().all(|name| name == ".shared.lock"), "{files:?}");
    }
}
