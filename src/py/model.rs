//! [`Model`]: a trained or untrained model behind a handle.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use numpy::{PyArray1, PyArrayDyn, PyArrayMethods, ToPyArray};
use pyo3::prelude::*;

use super::call::{long, quick};
use super::data::Dataset;
use super::system::open_device;
use crate::data::{Cache, Precision};
use crate::evaluation::{Scoring, Sides, zero_shot_scores};
use crate::language::Tokenizer;
use crate::systems::{self, Level, Sketch, SystemConfig};
use crate::training::{Conditions, Ranks, RunOptions, Stage, plan, run};
use crate::{Error, Result, device, imaging, tasks};

/// Rows (N, …) and what could not be read: its row, and why.
type Rows<'py> = (Bound<'py, PyArrayDyn<f32>>, Vec<(usize, String)>);

/// A caption for each row, and what could not be read.
type Captions = (Vec<Option<String>>, Vec<(usize, String)>);

/// A finding, phrases of presence, phrases of absence.
type Phrases = (String, Vec<String>, Vec<String>);

/// A model: towers, weights, recipe and tokenizer.
#[pyclass(frozen, module = "carina._core")]
pub(super) struct Model {
    pub(super) inner: RwLock<systems::Model>,
    _after: GiveBack,
}

/// Gives freed memory back when it goes: the last field of what holds much of it.
pub(super) struct GiveBack;

impl Drop for GiveBack {
    fn drop(&mut self) {
        crate::kernels::give_back_freed_memory();
    }
}

impl Model {
    fn new(inner: systems::Model) -> Self {
        crate::kernels::give_back_freed_memory(); // what its weights were drawn or read in
        Self { inner: RwLock::new(inner), _after: GiveBack }
    }

    pub(super) fn read(&self) -> RwLockReadGuard<'_, systems::Model> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Parses a name as serde spells it, naming the argument when it is unknown.
pub(super) fn named<T: serde::de::DeserializeOwned>(argument: &str, name: &str) -> Result<T> {
    serde_json::from_value(serde_json::Value::from(name))
        .map_err(|error| Error::value(argument, error.to_string()))
}

/// The most bytes of prepared films that a cache in memory holds.
const CACHE_BYTES: usize = 2 << 30;

pub(super) fn cache(mode: &str) -> Result<Arc<Cache>> {
    Ok(Arc::new(match mode {
        "none" => Cache::none(),
        "memory" => Cache::memory(CACHE_BYTES),
        folder => Cache::disk(&PathBuf::from(folder), Precision::F32)?,
    }))
}

#[pymethods]
impl Model {
    /// An untrained model of a preset (`system-size`), reproducible from `seed`.
    ///
    /// `overrides` is JSON merged over the preset's specification; `recipe`, as JSON, takes the
    /// place of the one for square films of `image_size`.
    #[staticmethod]
    #[pyo3(signature = (preset, *, seed, device, image_size, recipe=None, overrides=None))]
    fn create(
        py: Python<'_>,
        preset: &str,
        seed: u64,
        device: &str,
        image_size: usize,
        recipe: Option<&str>,
        overrides: Option<&str>,
    ) -> PyResult<Self> {
        let device = open_device(py, device)?;
        let model = quick(py, || {
            let mut spec = systems::preset(preset)?.customised(image_size, overrides)?;
            if let Some(recipe) = recipe {
                spec.recipe = imaging::Recipe::from_json(recipe)?;
            }
            systems::Model::create(spec, Tokenizer::builtin()?, seed, &device)
        })?;
        Ok(Self::new(model))
    }

    /// Opens a model's folder; the second value is the load report as text.
    #[staticmethod]
    fn load(py: Python<'_>, folder: PathBuf, device: &str) -> PyResult<(Self, String)> {
        let device = open_device(py, device)?;
        let (model, report) = quick(py, || systems::Model::load(&folder, &device))?;
        Ok((Self::new(model), report.to_string()))
    }

    /// Writes the model's folder.
    fn save(&self, py: Python<'_>, folder: PathBuf) -> PyResult<()> {
        quick(py, || self.read().save(&folder))
    }

    /// The specification (config.json) as text.
    fn spec(&self) -> PyResult<String> {
        let model = self.read();
        let text = serde_json::to_string_pretty(model.spec());
        Ok(text.map_err(|error| Error::Internal(error.to_string()))?)
    }

    /// How pixels are made right for the model, as JSON.
    fn recipe(&self) -> String {
        self.read().spec().recipe.to_json()
    }

    /// The hash of the recipe.
    fn recipe_hash(&self) -> String {
        self.read().spec().recipe.hash()
    }

    /// A hash that changes with any weight or setting.
    fn fingerprint(&self, py: Python<'_>) -> PyResult<String> {
        quick(py, || self.read().fingerprint())
    }

    /// The system's name.
    fn system(&self) -> &'static str {
        let SystemConfig::Elixr(_) = self.read().spec().system;
        "elixr"
    }

    /// What the classification head scores.
    fn findings(&self) -> Vec<String> {
        self.read().findings().to_vec()
    }

    /// How many numbers the parameters hold.
    fn parameter_count(&self) -> usize {
        self.read().parameters().count()
    }

    /// Names and shapes of the parameters.
    fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        let all = self.read().parameters().all();
        all.into_iter().map(|(name, var)| (name, var.dims().to_vec())).collect()
    }

    /// One parameter as an array.
    fn parameter<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyArrayDyn<f32>>> {
        let (values, shape) = quick(py, || {
            let var = self.read().parameters().get(name);
            let var = var.ok_or_else(|| {
                Error::value("name", format!("found {name:?}, expected a parameter's name"))
            })?;
            Ok((var.flatten_all()?.to_vec1::<f32>()?, var.dims().to_vec()))
        })?;
        values.to_pyarray(py).reshape(shape)
    }

    /// Where the model computes.
    fn device(&self) -> String {
        device::name(self.read().device())
    }

    /// Sets the licence of the weights.
    fn set_licence(&self, licence: String) {
        self.inner.write().unwrap_or_else(PoisonError::into_inner).set_licence(licence);
    }

    /// Features of every study at a level: float32 array (N, …) and (row, message) failures.
    #[pyo3(signature = (dataset, *, level, precision, batch_size, cached, watch=None))]
    #[allow(clippy::too_many_arguments)] // one argument for each keyword of the Python function
    fn encode<'py>(
        &self,
        py: Python<'py>,
        dataset: &Dataset,
        level: &str,
        precision: &str,
        batch_size: usize,
        cached: &str,
        watch: Option<Py<PyAny>>,
    ) -> PyResult<Rows<'py>> {
        let dataset = Arc::clone(&dataset.0);
        let encoded = long(py, watch, |progress| {
            let how = (named::<Level>("level", level)?, named("precision", precision)?);
            self.read().encode(&dataset, how, batch_size, cache(cached)?, progress)
        })?;
        let failures = encoded.failures.into_iter().map(|f| (f.index, f.message)).collect();
        Ok((encoded.values.to_pyarray(py).reshape(encoded.shape)?, failures))
    }

    /// A caption for every study, none where it could not be read, and (row, message) failures.
    #[pyo3(signature = (dataset, *, max_tokens, batch_size, cached, watch=None))]
    fn caption(
        &self,
        py: Python<'_>,
        dataset: &Dataset,
        max_tokens: usize,
        batch_size: usize,
        cached: &str,
        watch: Option<Py<PyAny>>,
    ) -> PyResult<Captions> {
        let dataset = Arc::clone(&dataset.0);
        let (texts, failures) = long(py, watch, |progress| {
            self.read().caption(&dataset, max_tokens, batch_size, cache(cached)?, progress)
        })?;
        Ok((texts, failures.into_iter().map(|f| (f.index, f.message)).collect()))
    }

    /// What encoding films, or embedding texts, will hold in memory, as JSON.
    #[pyo3(signature = (batch, *, size=None, level="pooled", precision="f32", texts=false, films=None))]
    fn plan(
        &self,
        batch: usize,
        size: Option<[usize; 2]>,
        level: &str,
        precision: &str,
        texts: bool,
        films: Option<usize>,
    ) -> PyResult<String> {
        let sketch = Sketch::new(self.read().spec(), size, named("precision", precision)?)?;
        let plan = if texts {
            sketch.encode_text(batch)?
        } else {
            sketch.encode(batch, named("level", level)?, films)?
        };
        Ok(serde_json::to_string(&plan).map_err(|error| Error::Internal(error.to_string()))?)
    }

    /// What a step of a stage (JSON) will hold in memory, as JSON.
    #[pyo3(signature = (stage, *, size=None, recompute=false))]
    fn plan_training(
        &self,
        stage: &str,
        size: Option<[usize; 2]>,
        recompute: bool,
    ) -> PyResult<String> {
        let conditions = Conditions { size, recompute, ..Conditions::default() };
        let plan = plan(self.read().spec(), &Stage::from_json(stage)?, &conditions)?;
        Ok(serde_json::to_string(&plan).map_err(|error| Error::Internal(error.to_string()))?)
    }

    /// How many texts are longer than the text tower reads, and how many tokens that are.
    fn overlong(&self, py: Python<'_>, texts: Vec<String>) -> PyResult<(usize, usize)> {
        quick(py, || self.read().overlong(&texts))
    }

    /// Unit embeddings (T, E) of texts.
    fn encode_text<'py>(
        &self,
        py: Python<'py>,
        texts: Vec<String>,
    ) -> PyResult<Bound<'py, PyArrayDyn<f32>>> {
        let (values, shape) = quick(py, || {
            if texts.is_empty() {
                return Err(Error::value("texts", "found none, expected at least one"));
            }
            let model = self.read();
            let parts: Result<Vec<_>> =
                texts.chunks(systems::TEXTS).map(|part| model.embed_text(part)).collect();
            let all = candle::Tensor::cat(&parts?, 0)?;
            Ok((all.flatten_all()?.to_vec1::<f32>()?, all.dims().to_vec()))
        })?;
        values.to_pyarray(py).reshape(shape)
    }

    /// Zero-shot scores (N) of films embedded at the contrastive level (N, Q, E).
    #[pyo3(signature = (films, *, present, absent, scoring))]
    fn zero_shot<'py>(
        &self,
        py: Python<'py>,
        films: numpy::PyReadonlyArray3<'py, f32>,
        present: Vec<String>,
        absent: Vec<String>,
        scoring: &str,
    ) -> PyResult<Bound<'py, PyArray1<f32>>> {
        let view = films.as_array();
        let shape = (view.shape()[1], view.shape()[2]);
        let values: Vec<f32> = view.iter().copied().collect();
        let scores = quick(py, || {
            let scoring: Scoring = named("scoring", scoring)?;
            let model = self.read();
            let embed = |texts: &[String]| -> Result<Vec<f32>> {
                Ok(model.embed_text(texts)?.flatten_all()?.to_vec1::<f32>()?)
            };
            let sides = Sides { present: embed(&present)?, absent: embed(&absent)? };
            zero_shot_scores(&values, shape, &sides, scoring, model.towers().scale()?)
        })?;
        Ok(scores.to_pyarray(py))
    }

    /// Trains the model in place by a stage (JSON); gives the history as JSON.
    #[pyo3(signature = (dataset, stage, *, validation=None, out=None, resume=true, checkpoint_steps=0, stop_after=None, cached="memory", workers=2, recompute=false, watch=None))]
    #[allow(clippy::too_many_arguments)] // one argument for each keyword of the Python function
    fn train(
        &self,
        py: Python<'_>,
        dataset: &Dataset,
        stage: &str,
        validation: Option<&Dataset>,
        out: Option<PathBuf>,
        resume: bool,
        checkpoint_steps: u64,
        stop_after: Option<u64>,
        cached: &str,
        workers: usize,
        recompute: bool,
        watch: Option<Py<PyAny>>,
    ) -> PyResult<String> {
        let dataset = Arc::clone(&dataset.0);
        let validation = validation.map(|dataset| Arc::clone(&dataset.0));
        let history = long(py, watch, |progress| {
            let stage = Stage::from_json(stage)?;
            let cache = cache(cached)?;
            let mut model = self.inner.write().unwrap_or_else(PoisonError::into_inner);
            let ranks = Ranks::from_env(model.device())?.map(Arc::new);
            let options = RunOptions {
                out,
                resume,
                checkpoint_steps,
                stop_after,
                cache,
                workers,
                recompute,
                ranks,
            };
            run(&mut model, &dataset, validation.as_ref(), &stage, &options, progress)
        })?;
        Ok(serde_json::to_string(&history).map_err(|e| Error::Internal(e.to_string()))?)
    }
}

/// The model presets.
#[pyfunction]
pub(super) fn list_presets() -> Vec<&'static str> {
    systems::presets()
}

/// The stage presets.
#[pyfunction]
pub(super) fn list_stages() -> Vec<&'static str> {
    Stage::presets()
}

/// A stage preset as JSON.
#[pyfunction]
pub(super) fn stage_preset(name: &str) -> PyResult<String> {
    let stage = Stage::preset(name)?;
    Ok(serde_json::to_string(&stage).map_err(|error| Error::Internal(error.to_string()))?)
}

/// The prompt banks.
#[pyfunction]
pub(super) fn list_prompts() -> Vec<&'static str> {
    tasks::prompt_banks()
}

/// A prompt bank: (finding, phrases of presence, phrases of absence).
#[pyfunction]
pub(super) fn prompt_bank(name: &str) -> PyResult<Vec<Phrases>> {
    let bank = tasks::prompts(name)?;
    Ok(bank.into_iter().map(|prompt| (prompt.finding, prompt.present, prompt.absent)).collect())
}
