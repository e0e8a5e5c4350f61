//! Embeddings of other software for Python.

use std::path::PathBuf;

use ndarray::Array2;
use numpy::{IntoPyArray, PyArray2};
use pyo3::prelude::*;

use super::call::quick;
use crate::{Error, data};

type Named<'py> = (Vec<Option<String>>, Bound<'py, PyArray2<f32>>);

/// Names and floats (n, width) of the feature of a `TFRecord` file's examples.
#[pyfunction]
pub(super) fn read_records<'py>(
    py: Python<'py>,
    path: PathBuf,
    feature: &str,
) -> PyResult<Named<'py>> {
    let data::Records { ids, width, values } = quick(py, || data::read_records(&path, feature))?;
    let values = Array2::from_shape_vec((ids.len(), width), values)
        .map_err(|error| Error::Internal(error.to_string()))?;
    Ok((ids, values.into_pyarray(py)))
}
