//! Decoders from a folder or a preset.

use std::path::PathBuf;

use numpy::{PyArray1, PyArray2, PyArrayMethods, ToPyArray};
use pyo3::prelude::*;
use serde::de::DeserializeOwned;

use super::call;
use super::encoders::LoadReport;
use super::model::{GiveBack, named};
use super::system::open_device;
use crate::language::{self, Generation, LlamaConfig, Message};
use crate::nn::Precision;
use crate::systems::{DecoderSketch, check_scoring, check_writing};
use crate::{Error, Result};

/// A decoder: tokenizer, weights and perhaps a chat template.
#[pyclass(frozen, module = "carina._core")]
pub(super) struct Decoder(pub(super) language::Decoder, GiveBack);

impl Decoder {
    fn new(inner: language::Decoder) -> Self {
        crate::kernels::give_back_freed_memory(); // what its weights were drawn or read in
        Self(inner, GiveBack)
    }
}

/// A text that was written: the text, its tokens, and whether the decoder ended it.
type Written = (String, usize, bool);

#[pymethods]
impl Decoder {
    /// Opens a folder with options, tokenizer and weights; these from the file `shared`, if one is
    /// named, which is written if need be.
    #[staticmethod]
    #[pyo3(signature = (folder, precision, device, shared=None))]
    fn load(
        py: Python<'_>,
        folder: PathBuf,
        precision: &str,
        device: &str,
        shared: Option<PathBuf>,
    ) -> PyResult<Self> {
        let precision: Precision = named("precision", precision)?;
        let Some(shared) = shared else {
            let device = open_device(py, device)?;
            return call::long(py, None, |progress| {
                Ok(Self::new(language::Decoder::open(&folder, precision, &device, progress)?))
            });
        };
        if !["auto", "cpu"].contains(&device) {
            let why = format!("found a file to share weights on {device}, expected \"cpu\"");
            return Err(Error::value("shared", why).into());
        }
        call::long(py, None, |progress| {
            Ok(Self::new(language::Decoder::open_shared(&folder, precision, &shared, progress)?))
        })
    }

    /// Makes an untrained decoder from a preset; `overrides` are fields of its options, as JSON.
    #[staticmethod]
    #[pyo3(signature = (size, *, seed, device, overrides=None))]
    fn create(
        py: Python<'_>,
        size: &str,
        seed: u64,
        device: &str,
        overrides: Option<&str>,
    ) -> PyResult<Self> {
        let device = open_device(py, device)?;
        let config = configured(size, overrides)?;
        call::long(py, None, |_| Ok(Self::new(language::Decoder::create(&config, seed, &device)?)))
    }

    /// Writes after each prompt; `options` are JSON.
    #[pyo3(signature = (prompts, *, options, batch_size, watch=None))]
    fn generate(
        &self,
        py: Python<'_>,
        prompts: Vec<String>,
        options: &str,
        batch_size: usize,
        watch: Option<Py<PyAny>>,
    ) -> PyResult<Vec<Written>> {
        let options: Generation = parsed("options", options)?;
        let run = |progress: &_| {
            let batch = batch_size.min(prompts.len());
            check_writing(&self.0, batch, self.0.longest(&prompts)?, &options)?;
            self.0.generate(&prompts, &options, batch_size, progress)
        };
        let all = call::long(py, watch, run)?;
        Ok(all.into_iter().map(|one| (one.text, one.tokens, one.ended)).collect())
    }

    /// Answers a conversation of (role, content); `options` are JSON.
    #[pyo3(signature = (messages, *, options, watch=None))]
    fn chat(
        &self,
        py: Python<'_>,
        messages: Vec<(String, String)>,
        options: &str,
        watch: Option<Py<PyAny>>,
    ) -> PyResult<Written> {
        let options: Generation = parsed("options", options)?;
        let message = |(role, content)| Message { role, content };
        let messages: Vec<Message> = messages.into_iter().map(message).collect();
        let one = call::long(py, watch, |progress| {
            check_writing(&self.0, 1, self.0.conversation(&messages)?.len(), &options)?;
            self.0.chat(&messages, &options, progress)
        })?;
        Ok((one.text, one.tokens, one.ended))
    }

    /// The logits after each token of a text, (T, V).
    fn logits<'py>(&self, py: Python<'py>, text: String) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let (logits, tokens) = call::long(py, None, |_| self.0.logits(&text))?;
        logits.to_pyarray(py).reshape([tokens, self.0.config().vocab_size])
    }

    /// Mean log-probability and number of the tokens after the first of each text.
    #[pyo3(signature = (texts, *, batch_size, watch=None))]
    #[allow(clippy::type_complexity)] // two columns
    fn score<'py>(
        &self,
        py: Python<'py>,
        texts: Vec<String>,
        batch_size: usize,
        watch: Option<Py<PyAny>>,
    ) -> PyResult<(Bound<'py, PyArray1<f64>>, Bound<'py, PyArray1<i64>>)> {
        let run = |progress: &_| {
            let batch = batch_size.min(texts.len());
            check_scoring(&self.0, batch, self.0.longest(&texts)?)?;
            self.0.score(&texts, batch_size, progress)
        };
        let all = call::long(py, watch, run)?;
        let means: Vec<f64> = all.iter().map(|one| one.mean_log_probability).collect();
        let tokens: Vec<i64> = all.iter().map(|one| one.tokens as i64).collect();
        Ok((means.to_pyarray(py), tokens.to_pyarray(py)))
    }

    /// What writing (with `options`, JSON) or scoring (without) will hold in memory, as JSON.
    #[pyo3(signature = (batch, tokens, *, options=None))]
    fn plan(&self, batch: usize, tokens: usize, options: Option<&str>) -> PyResult<String> {
        let sketch = DecoderSketch::of(&self.0)?;
        let plan = match options {
            Some(options) => sketch.write(batch, tokens, &parsed("options", options)?)?,
            None => sketch.score(batch, tokens),
        };
        Ok(serde_json::to_string(&plan).map_err(|error| Error::Internal(error.to_string()))?)
    }

    /// The pieces that a prompt is read as.
    fn tokenize(&self, py: Python<'_>, text: String) -> PyResult<Vec<String>> {
        call::quick(py, || {
            let piece = |id| self.0.tokenizer().piece(id).unwrap_or_default();
            Ok(self.0.read(&text)?.into_iter().map(piece).collect())
        })
    }

    /// Writes options, tokenizer and weights in the layout of published decoders.
    fn save(&self, py: Python<'_>, folder: PathBuf) -> PyResult<()> {
        call::long(py, None, |_| self.0.save(&folder))
    }

    /// What the checkpoint gave, if there was one.
    #[getter]
    fn report(&self) -> Option<LoadReport> {
        self.0.report().cloned().map(LoadReport::from)
    }

    /// Its options, as JSON in the layout of published decoders.
    #[getter]
    fn config(&self) -> String {
        self.0.config().to_hf().to_string()
    }

    /// What its matrices are multiplied in.
    #[getter]
    fn precision(&self) -> &'static str {
        match self.0.precision() {
            Precision::F32 => "f32",
            Precision::Bf16 => "bf16",
            Precision::Q8_0 => "q8_0",
        }
    }

    /// How many numbers its parameters hold.
    #[getter]
    fn parameters(&self) -> PyResult<usize> {
        Ok(self.0.count()?)
    }

    /// Whether it knows how conversations are written.
    #[getter]
    fn chats(&self) -> bool {
        self.0.chats()
    }
}

/// The sizes that decoders can be created in.
#[pyfunction]
pub(super) fn decoder_sizes() -> Vec<&'static str> {
    LlamaConfig::presets().collect()
}

pub(super) fn parsed<T: DeserializeOwned>(what: &str, json: &str) -> Result<T> {
    serde_json::from_str(json).map_err(|why| Error::value(what, why.to_string()))
}

/// The options of a size, some of them replaced.
fn configured(size: &str, overrides: Option<&str>) -> Result<LlamaConfig> {
    let config = LlamaConfig::preset(size)?;
    let Some(overrides) = overrides else { return Ok(config) };
    let wrong = |why: serde_json::Error| Error::config("overrides", why.to_string());
    let mut fields = serde_json::to_value(config).map_err(wrong)?;
    let changes: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(overrides).map_err(wrong)?;
    if let Some(fields) = fields.as_object_mut() {
        fields.extend(changes);
    }
    serde_json::from_value(fields).map_err(wrong)
}
