//! Synthetic studies for Python.

use std::sync::Arc;

use pyo3::prelude::*;

use super::call::long;
use super::data::Dataset;
use crate::Error;
use crate::data::phantom::ct::{self, CtOptions};
use crate::data::phantom::{self, PhantomOptions};

/// Synthetic studies with exact truth; `options` is the JSON of the core's `PhantomOptions`.
#[pyfunction]
pub(super) fn make_phantoms(
    py: Python<'_>,
    options: &str,
    watch: Option<Py<PyAny>>,
) -> PyResult<Dataset> {
    let options: PhantomOptions = serde_json::from_str(options)
        .map_err(|why| Error::value("phantom options", why.to_string()))?;
    long(py, watch, |progress| Ok(Dataset(Arc::new(phantom::generate(&options, progress)?))))
}

/// The findings of every phantom, in the order of the labels.
#[pyfunction]
pub(super) fn phantom_findings() -> Vec<&'static str> {
    phantom::FINDINGS.to_vec()
}

/// Synthetic chest CT with exact truth; `options` is the JSON of the core's `CtOptions`.
#[pyfunction]
pub(super) fn make_ct_phantoms(
    py: Python<'_>,
    options: &str,
    watch: Option<Py<PyAny>>,
) -> PyResult<Dataset> {
    let options: CtOptions = serde_json::from_str(options)
        .map_err(|why| Error::value("phantom options", why.to_string()))?;
    long(py, watch, |progress| Ok(Dataset(Arc::new(ct::generate(&options, progress)?))))
}

/// The findings of every CT phantom, in the order of the labels.
#[pyfunction]
pub(super) fn ct_phantom_findings() -> Vec<&'static str> {
    ct::FINDINGS.to_vec()
}
