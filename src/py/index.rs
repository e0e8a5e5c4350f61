//! The store behind `carina.Index`.

use std::path::PathBuf;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use numpy::{PyArray1, PyReadonlyArray3, ToPyArray};
use pyo3::prelude::*;
use serde_json::{Map, Value};

use super::call;
use crate::data::index::{Filter, Index, Item, Layout, Metric, Precision};
use crate::{Error, Result};

/// Vectors and metadata in a folder, searched exactly.
#[pyclass(frozen, module = "carina._core")]
pub(super) struct VectorIndex(RwLock<Index>);

impl VectorIndex {
    // A panic leaves the handle as it was: changes are made as a whole or not at all.
    fn read(&self) -> RwLockReadGuard<'_, Index> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Index> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn parse(filter: Option<&str>) -> Result<Option<Filter>> {
    filter.map(Filter::parse).transpose()
}

#[pymethods]
impl VectorIndex {
    /// Makes an empty index in `folder`.
    #[staticmethod]
    #[pyo3(signature = (folder, *, dimension, vectors, metric, precision, model=None))]
    fn create(
        py: Python<'_>,
        folder: PathBuf,
        dimension: usize,
        vectors: usize,
        metric: &str,
        precision: &str,
        model: Option<String>,
    ) -> PyResult<Self> {
        let metric = match metric {
            "cosine" => Metric::Cosine,
            "dot" => Metric::Dot,
            other => {
                let why = format!("got {other:?}, expected \"cosine\" or \"dot\"");
                return Err(Error::value("metric", why).into());
            }
        };
        let precision = match precision {
            "float32" => Precision::Float32,
            "float16" => Precision::Float16,
            other => {
                let why = format!("got {other:?}, expected \"float32\" or \"float16\"");
                return Err(Error::value("dtype", why).into());
            }
        };
        let layout = Layout { dimension, vectors, metric, precision };
        let index = call::quick(py, || Index::create(&folder, layout, model))?;
        Ok(Self(RwLock::new(index)))
    }

    /// Opens the index in `folder`; `verify` compares all vectors with their checksums.
    #[staticmethod]
    fn open(py: Python<'_>, folder: PathBuf, verify: bool) -> PyResult<Self> {
        Ok(Self(RwLock::new(call::quick(py, || Index::open(&folder, verify))?)))
    }

    /// Appends vectors (N, V, D) with a key and a JSON object of metadata each.
    fn add(
        &self,
        py: Python<'_>,
        vectors: PyReadonlyArray3<'_, f32>,
        keys: Vec<String>,
        metadata: Vec<String>,
    ) -> PyResult<()> {
        let vectors = vectors.as_array();
        call::quick(py, || {
            if keys.len() != metadata.len() {
                let why =
                    format!("{} rows for {} keys, expected one each", metadata.len(), keys.len());
                return Err(Error::value("metadata", why));
            }
            let items = keys
                .into_iter()
                .zip(&metadata)
                .map(|(key, text)| {
                    let metadata: Map<String, Value> = serde_json::from_str(text)
                        .map_err(|error| Error::value("metadata", error.to_string()))?;
                    Ok(Item { key, metadata })
                })
                .collect::<Result<Vec<Item>>>()?;
            self.write().add(vectors, &items)
        })
    }

    /// Deletes rows by key and says how many.
    fn delete_keys(&self, py: Python<'_>, keys: Vec<String>) -> PyResult<usize> {
        call::quick(py, || self.write().delete_keys(&keys))
    }

    /// Deletes the rows that a filter keeps and says how many.
    fn delete_where(&self, py: Python<'_>, filter: &str) -> PyResult<usize> {
        call::quick(py, || self.write().delete_where(&Filter::parse(filter)?))
    }

    /// Hits of queries (M, Q, D): how many for each, then keys, scores and metadata (JSON) of all.
    #[pyo3(signature = (queries, k, filter=None, watch=None))]
    #[allow(clippy::type_complexity)] // four columns, which read better in place
    fn search<'py>(
        &self,
        py: Python<'py>,
        queries: PyReadonlyArray3<'py, f32>,
        k: usize,
        filter: Option<&str>,
        watch: Option<Py<PyAny>>,
    ) -> PyResult<(Vec<usize>, Vec<String>, Bound<'py, PyArray1<f32>>, Vec<String>)> {
        let queries = queries.as_array();
        let found = call::long(py, watch, |progress| {
            self.read().search(queries, k, parse(filter)?.as_ref(), progress)
        })?;
        let counts = found.iter().map(Vec::len).collect();
        let (mut keys, mut scores, mut metadata) = (Vec::new(), Vec::new(), Vec::new());
        for hit in found.into_iter().flatten() {
            keys.push(hit.key);
            scores.push(hit.score);
            metadata.push(Value::Object(hit.metadata).to_string());
        }
        Ok((counts, keys, scores.to_pyarray(py), metadata))
    }

    /// Rewrites live rows as one segment.
    fn compact(&self, py: Python<'_>) -> PyResult<()> {
        call::quick(py, || self.write().compact())
    }

    /// Catches up with what other processes wrote; says whether there was anything.
    fn refresh(&self, py: Python<'_>) -> PyResult<bool> {
        call::quick(py, || self.write().refresh())
    }

    /// Fails when `model` is known not to be what made the vectors.
    #[pyo3(signature = (model))]
    fn check_model(&self, model: Option<&str>) -> PyResult<()> {
        Ok(self.read().check_model(model)?)
    }

    fn __len__(&self) -> usize {
        self.read().len()
    }

    fn __contains__(&self, key: &str) -> bool {
        self.read().contains(key)
    }

    /// Length of one vector.
    #[getter]
    fn dimension(&self) -> usize {
        self.read().layout().dimension
    }

    /// Vectors of one row.
    #[getter]
    fn vectors(&self) -> usize {
        self.read().layout().vectors
    }

    /// How vectors are compared.
    #[getter]
    fn metric(&self) -> &'static str {
        match self.read().layout().metric {
            Metric::Cosine => "cosine",
            Metric::Dot => "dot",
        }
    }

    /// How numbers are stored.
    #[getter]
    fn precision(&self) -> &'static str {
        match self.read().layout().precision {
            Precision::Float32 => "float32",
            Precision::Float16 => "float16",
        }
    }

    /// What made the vectors.
    #[getter]
    fn model(&self) -> Option<String> {
        self.read().model().map(str::to_owned)
    }

    /// Names of the metadata columns.
    #[getter]
    fn columns(&self) -> Vec<String> {
        self.read().columns()
    }

    /// Segments and deleted rows that are still on disk.
    #[getter]
    fn waste(&self) -> (usize, usize) {
        self.read().waste()
    }
}

/// A filter as an SQL condition, every value quoted.
#[pyfunction]
pub(super) fn filter_to_sql(filter: &str) -> PyResult<String> {
    Ok(Filter::parse(filter)?.to_sql())
}
