//! Pixels for people, for Python: planes at the size of a screen, and PNG.

use numpy::{IntoPyArray, PyArray2, PyReadonlyArray2, PyReadonlyArray3};
use pyo3::prelude::*;

use super::call::quick;
use crate::imaging::{self, Kernel};

/// A plane (rows, columns) at another size, bilinear, smoothed where it shrinks.
#[pyfunction]
pub(super) fn resize_plane<'py>(
    py: Python<'py>,
    plane: PyReadonlyArray2<'py, f32>,
    rows: usize,
    columns: usize,
) -> PyResult<Bound<'py, PyArray2<f32>>> {
    let plane = plane.as_array();
    let resized = quick(py, || imaging::resize(plane, rows, columns, Kernel::Bilinear, true))?;
    Ok(resized.into_pyarray(py))
}

/// The bytes of a PNG of grey values (rows, columns, 1) or colours (rows, columns, 3).
#[pyfunction]
pub(super) fn encode_png(py: Python<'_>, pixels: PyReadonlyArray3<'_, u8>) -> PyResult<Vec<u8>> {
    let pixels = pixels.as_array();
    quick(py, || imaging::png(pixels))
}
