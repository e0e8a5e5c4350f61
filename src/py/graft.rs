//! Decoders behind models: graft, ask, prefer.

use std::sync::{Arc, PoisonError};

use pyo3::prelude::*;

use super::call::long;
use super::data::Dataset;
use super::decoder::{Decoder, parsed};
use super::model::{Model, cache, named};
use crate::Error;
use crate::data::RowError;
use crate::language::{Generation, LoraConfig};
use crate::nn::Precision;
use crate::systems::{Grafting, Inquiry, Sketch};
use crate::tasks::Instruction;

/// An answer: the text, its mean log-probability, and whether the decoder ended it.
type Answer = (String, f64, bool);

/// For each row an answer, or none; and (row, message) failures.
type Answers<T> = (Vec<Option<T>>, Vec<(usize, String)>);

/// Puts a copy of a decoder behind a model; `lora` is JSON.
#[pyfunction]
#[pyo3(signature = (model, decoder, *, adapter_dim=None, lora=None, seed=0))]
pub(super) fn graft(
    py: Python<'_>,
    model: &Model,
    decoder: &Decoder,
    adapter_dim: Option<usize>,
    lora: Option<&str>,
    seed: u64,
) -> PyResult<()> {
    let lora: Option<LoraConfig> = lora.map(|lora| parsed("lora", lora)).transpose()?;
    long(py, None, |_| {
        let mut model = model.inner.write().unwrap_or_else(PoisonError::into_inner);
        model.graft(&decoder.0, &Grafting { adapter_dim, lora, seed })
    })
}

/// Adds the low-rank updates to the weights of a model's decoder, and drops them.
#[pyfunction]
pub(super) fn merge_lora(py: Python<'_>, model: &Model) -> PyResult<()> {
    long(py, None, |_| model.inner.write().unwrap_or_else(PoisonError::into_inner).merge_lora())
}

/// Writes an answer about every study; `options` are JSON.
#[pyfunction]
#[pyo3(signature = (model, dataset, *, task, questions, options, precision, batch_size, cached, watch=None))]
#[allow(clippy::too_many_arguments)] // one argument for each keyword of the Python function
pub(super) fn ask(
    py: Python<'_>,
    model: &Model,
    dataset: &Dataset,
    task: &str,
    questions: Vec<String>,
    options: &str,
    precision: &str,
    batch_size: usize,
    cached: &str,
    watch: Option<Py<PyAny>>,
) -> PyResult<Answers<Answer>> {
    let dataset = Arc::clone(&dataset.0);
    let options: Generation = parsed("options", options)?;
    let (answers, failures) = long(py, watch, |progress| {
        let how = (Instruction::of_film(task)?, named("precision", precision)?);
        let inquiry = Inquiry::new(how.0, questions, how.1, dataset.len())?;
        model.read().ask(&dataset, &inquiry, &options, batch_size, cache(cached)?, progress)
    })?;
    let answer = |one: crate::systems::Answered| (one.text, one.score, one.ended);
    Ok((answers.into_iter().map(|one| one.map(answer)).collect(), rows(failures)))
}

/// How likely each of `options` is as the answer about every study.
#[pyfunction]
#[pyo3(signature = (model, dataset, *, task, questions, options, precision, batch_size, cached, watch=None))]
#[allow(clippy::too_many_arguments)] // one argument for each keyword of the Python function
pub(super) fn prefer(
    py: Python<'_>,
    model: &Model,
    dataset: &Dataset,
    task: &str,
    questions: Vec<String>,
    options: Vec<String>,
    precision: &str,
    batch_size: usize,
    cached: &str,
    watch: Option<Py<PyAny>>,
) -> PyResult<Answers<Vec<f64>>> {
    let dataset = Arc::clone(&dataset.0);
    let (answers, failures) = long(py, watch, |progress| {
        let how = (Instruction::of_film(task)?, named("precision", precision)?);
        let inquiry = Inquiry::new(how.0, questions, how.1, dataset.len())?;
        model.read().prefer(&dataset, &inquiry, &options, batch_size, cache(cached)?, progress)
    })?;
    Ok((answers, rows(failures)))
}

/// What asking will hold in memory, as JSON.
#[pyfunction]
#[pyo3(signature = (model, batch, *, tokens, options, size=None))]
pub(super) fn plan_asking(
    model: &Model,
    batch: usize,
    tokens: usize,
    options: &str,
    size: Option<[usize; 2]>,
) -> PyResult<String> {
    let sketch = Sketch::new(model.read().spec(), size, Precision::F32)?;
    let plan = sketch.ask(batch, tokens, &parsed("options", options)?)?;
    Ok(serde_json::to_string(&plan).map_err(|error| Error::Internal(error.to_string()))?)
}

/// The tasks that films can be asked for, and the most tokens that answers usually have.
#[pyfunction]
pub(super) fn film_tasks() -> Vec<(&'static str, usize)> {
    let of_film = Instruction::ALL.into_iter().filter(|task| task.sees_film());
    of_film.map(|task| (task.name(), task.max_tokens())).collect()
}

fn rows(failures: Vec<RowError>) -> Vec<(usize, String)> {
    failures.into_iter().map(|failure| (failure.index, failure.message)).collect()
}
