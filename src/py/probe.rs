//! The fitted part of `carina.Probe`.

use std::path::{Path, PathBuf};

use numpy::{PyArray1, PyArray2, PyReadonlyArray1, PyReadonlyArray2, ToPyArray};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

use super::call;
use crate::evaluation::probe::{
    Body, LogisticOptions, NetworkOptions, Probe, Targets, check_features, fit_logistic,
    fit_network, platt,
};
use crate::metrics::Policy;
use crate::{Error, Result};

/// Standardisation and logits, fitted; numbers only, no names.
#[pyclass(frozen, module = "carina._core")]
pub(super) struct FittedProbe(Probe);

fn targets(
    y: ndarray::ArrayView2<'_, f64>,
    rows: usize,
    policy: &str,
    balanced: bool,
    names: &[String],
) -> Result<Targets> {
    if y.nrows() != rows || y.ncols() == 0 {
        return Err(Error::shape("y", format!("({rows}, labels), as many rows as X"), y.shape()));
    }
    Targets::new(y, Policy::parse(policy)?, balanced, names)
}

#[pymethods]
impl FittedProbe {
    /// Logistic regression of labels (N, L) on features (N, D); also the labels left unfinished.
    #[staticmethod]
    #[pyo3(signature = (
        features, labels, names, *, policy, balanced, c, standardise, tolerance, max_steps,
        watch=None
    ))]
    #[allow(clippy::too_many_arguments)] // keywords, all of them
    fn fit_logistic(
        py: Python<'_>,
        features: PyReadonlyArray2<'_, f32>,
        labels: PyReadonlyArray2<'_, f64>,
        names: Vec<String>,
        policy: &str,
        balanced: bool,
        c: f64,
        standardise: bool,
        tolerance: f64,
        max_steps: usize,
        watch: Option<Py<PyAny>>,
    ) -> PyResult<(Self, Vec<usize>)> {
        let (x, y) = (features.as_array(), labels.as_array());
        call::long(py, watch, |progress| {
            check_features(x, None)?;
            let targets = targets(y, x.nrows(), policy, balanced, &names)?;
            let options = LogisticOptions { c, standardise, tolerance, max_steps };
            let (probe, unfinished) = fit_logistic(x, &targets, &options, progress)?;
            Ok((Self(probe), unfinished))
        })
    }

    /// A network on labels (N, L) and features (N, D); `groups` (N,) names patients.
    #[staticmethod]
    #[pyo3(signature = (
        features, labels, names, groups, *, policy, balanced, hidden, dropout, learning_rate,
        weight_decay, epochs, batch_size, validation, patience, standardise, seed, watch=None
    ))]
    #[allow(clippy::too_many_arguments)] // keywords, all of them
    fn fit_network(
        py: Python<'_>,
        features: PyReadonlyArray2<'_, f32>,
        labels: PyReadonlyArray2<'_, f64>,
        names: Vec<String>,
        groups: PyReadonlyArray1<'_, i64>,
        policy: &str,
        balanced: bool,
        hidden: Vec<usize>,
        dropout: f32,
        learning_rate: f32,
        weight_decay: f32,
        epochs: usize,
        batch_size: usize,
        validation: f64,
        patience: usize,
        standardise: bool,
        seed: u64,
        watch: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        let (x, y, groups) = (features.as_array(), labels.as_array(), groups.as_array().to_vec());
        call::long(py, watch, |progress| {
            check_features(x, None)?;
            let targets = targets(y, x.nrows(), policy, balanced, &names)?;
            let options = NetworkOptions {
                hidden,
                dropout,
                learning_rate,
                weight_decay,
                epochs,
                batch_size,
                validation,
                patience,
                standardise,
                seed,
            };
            fit_network(x, &targets, &groups, &options, progress).map(Self)
        })
    }

    /// Logits (N, L) of features (N, D).
    fn decision<'py>(
        &self,
        py: Python<'py>,
        features: PyReadonlyArray2<'py, f32>,
    ) -> PyResult<Bound<'py, PyArray2<f64>>> {
        let x = features.as_array();
        Ok(call::quick(py, || self.0.decision(x))?.to_pyarray(py))
    }

    /// Platt's slope and offset of each label (L, 2), from logits and labels (N, L).
    #[staticmethod]
    fn platt<'py>(
        py: Python<'py>,
        logits: PyReadonlyArray2<'py, f64>,
        labels: PyReadonlyArray2<'py, f64>,
        names: Vec<String>,
        policy: &str,
    ) -> PyResult<Bound<'py, PyArray2<f64>>> {
        let (z, y) = (logits.as_array(), labels.as_array());
        let found = call::quick(py, || {
            let targets = targets(y, z.nrows(), policy, false, &names)?;
            let mut found = ndarray::Array2::zeros((z.ncols(), 2));
            for (label, mut row) in found.rows_mut().into_iter().enumerate() {
                let (truth, weight) = (targets.truth.column(label), targets.weight.column(label));
                let [slope, offset] = platt(z.column(label), truth, weight)?;
                (row[0], row[1]) = (slope, offset);
            }
            Ok(found)
        })?;
        Ok(found.to_pyarray(py))
    }

    /// Weights (L, D) and offsets (L,) for features as they come; `None` for a network.
    #[allow(clippy::type_complexity)] // two arrays, which read better in place
    fn coefficients<'py>(
        &self,
        py: Python<'py>,
    ) -> Option<(Bound<'py, PyArray2<f64>>, Bound<'py, PyArray1<f64>>)> {
        let Body::Linear { weight, bias } = &self.0.body else { return None };
        let weight = weight / &self.0.scaler.scale;
        let bias = bias - weight.dot(&self.0.scaler.mean);
        Some((weight.to_pyarray(py), bias.to_pyarray(py)))
    }

    /// How many features a row has.
    #[getter]
    fn features(&self) -> usize {
        self.0.features()
    }

    /// How many labels there are.
    #[getter]
    fn labels(&self) -> usize {
        self.0.labels()
    }

    /// Writes the probe to a folder, with details (JSON) in its card.
    fn save(&self, py: Python<'_>, folder: PathBuf, details: &str) -> PyResult<()> {
        call::quick(py, || self.0.save(&folder, details))
    }

    /// Reads the probe of a folder and the text of its card (JSON), whose `details` were given.
    #[staticmethod]
    fn load(py: Python<'_>, folder: PathBuf) -> PyResult<(Self, String)> {
        let (probe, card) = call::quick(py, || Probe::load(&folder))?;
        Ok((Self(probe), card))
    }

    /// Reads what pickling wrote.
    #[staticmethod]
    fn from_bytes(bytes: &[u8]) -> PyResult<Self> {
        Ok(Self(Probe::from_bytes(bytes, Path::new("pickled probe"))?))
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyTuple>> {
        let py = slf.py();
        let bytes = PyBytes::new(py, &slf.get().0.to_bytes()?);
        let arguments = PyTuple::new(py, [bytes])?;
        let rebuild = slf.get_type().getattr("from_bytes")?;
        PyTuple::new(py, [rebuild, arguments.into_any()])
    }
}
