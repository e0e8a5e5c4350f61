//! Encoders from a folder, and what loading them found.

use std::path::PathBuf;

use numpy::{PyArray2, PyArrayMethods, ToPyArray};
use pyo3::prelude::*;

use super::call;
use super::system::open_device;
use crate::Error;
use crate::language;
use crate::weights;

/// What a checkpoint gave to a model, key by key.
#[pyclass(frozen, module = "carina._core")]
pub(super) struct LoadReport(weights::LoadReport);

#[pymethods]
impl LoadReport {
    /// The file that was read.
    #[getter]
    fn source(&self) -> &str {
        &self.0.source
    }

    /// Parameters that took their values from the checkpoint.
    #[getter]
    fn matched(&self) -> Vec<String> {
        self.0.matched.clone()
    }

    /// Parameters that the checkpoint does not have.
    #[getter]
    fn missing(&self) -> Vec<String> {
        self.0.missing.clone()
    }

    /// Keys of the checkpoint that the model does not have.
    #[getter]
    fn unexpected(&self) -> Vec<String> {
        self.0.unexpected.clone()
    }

    /// Parameters whose shapes differ: name, shape found, shape expected.
    #[getter]
    fn misshapen(&self) -> Vec<(String, Vec<usize>, Vec<usize>)> {
        let one = |m: &weights::Misshapen| (m.name.clone(), m.found.clone(), m.expected.clone());
        self.0.misshapen.iter().map(one).collect()
    }

    /// Keys that the model is known to have no use for.
    #[getter]
    fn dropped(&self) -> Vec<String> {
        self.0.dropped.clone()
    }

    /// How many of the matched had another name, or were cut or joined.
    #[getter]
    fn renamed(&self) -> usize {
        self.0.renamed
    }

    /// Whether every parameter was matched and every key used or dropped on purpose.
    #[getter]
    fn complete(&self) -> bool {
        self.0.complete()
    }

    fn __repr__(&self) -> String {
        self.0.to_string()
    }

    fn _repr_html_(&self) -> String {
        self.0.to_html()
    }
}

impl From<weights::LoadReport> for LoadReport {
    fn from(report: weights::LoadReport) -> Self {
        Self(report)
    }
}

/// A text encoder in a folder.
#[pyclass(frozen, module = "carina._core")]
pub(super) struct TextEncoder(language::TextEncoder);

#[pymethods]
impl TextEncoder {
    /// Opens a folder with options, tokenizer and weights.
    #[staticmethod]
    fn load(py: Python<'_>, folder: PathBuf, device: &str) -> PyResult<Self> {
        let device = open_device(py, device)?;
        call::long(py, None, |_| Ok(Self(language::TextEncoder::open(&folder, &device)?)))
    }

    /// Embeds texts in their order, (n, d).
    fn encode<'py>(
        &self,
        py: Python<'py>,
        texts: Vec<String>,
        batch_size: usize,
        watch: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let rows = call::long(py, watch, |progress| self.0.encode(&texts, batch_size, progress))?;
        rows.to_pyarray(py).reshape([texts.len(), self.0.dim()])
    }

    /// The pieces that a text is read as, special ones included.
    fn tokenize(&self, py: Python<'_>, text: String) -> PyResult<Vec<String>> {
        call::quick(py, || self.0.tokenizer().pieces(&text))
    }

    /// What the checkpoint gave.
    #[getter]
    fn report(&self) -> LoadReport {
        LoadReport(self.0.report().clone())
    }

    /// Features of an embedding.
    #[getter]
    fn dim(&self) -> usize {
        self.0.dim()
    }

    /// The longest text, in tokens.
    #[getter]
    fn max_length(&self) -> usize {
        self.0.max_length()
    }

    /// How tokens become one vector.
    #[getter]
    fn pooling(&self) -> PyResult<String> {
        let name = serde_json::to_value(self.0.pooling());
        let name = name.map_err(|why| Error::Internal(why.to_string()))?;
        Ok(name.as_str().unwrap_or_default().to_owned())
    }

    /// Whether embeddings have length one.
    #[getter]
    fn normalises(&self) -> bool {
        self.0.normalises()
    }

    /// SHA-256 over options, tokenizer and weights on disk.
    fn fingerprint(&self, py: Python<'_>) -> PyResult<String> {
        call::long(py, None, |_| self.0.fingerprint())
    }
}
