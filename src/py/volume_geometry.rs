//! The geometry of volumes for Python.

use numpy::{IntoPyArray, PyArray2, PyArray3, PyReadonlyArray2, PyReadonlyArray3};
use pyo3::prelude::*;

use super::call::quick;
use super::imaging::{geometry_from, rows};
use crate::imaging;

/// The map between a volume as it was read and what became of it.
#[pyclass(frozen, module = "carina._core")]
pub(crate) struct VolumeGeometry(pub(crate) imaging::VolumeGeometry);

#[pymethods]
impl VolumeGeometry {
    /// Reads a map from JSON.
    #[staticmethod]
    fn from_json(text: &str) -> PyResult<Self> {
        let geometry: imaging::VolumeGeometry = geometry_from(text)?;
        geometry.validate()?;
        Ok(Self(geometry))
    }

    /// The map as JSON.
    fn to_json(&self) -> String {
        serde_json::to_string(&self.0).unwrap_or_default()
    }

    /// The map in one line.
    fn describe(&self) -> String {
        self.0.to_string()
    }

    /// Shapes (z, y, x) of the volume as it was read and of what the model sees.
    #[getter]
    fn shapes(&self) -> ([usize; 3], [usize; 3]) {
        (self.0.original.shape, self.0.model.shape)
    }

    /// Spacings (z, y, x) in mm, likewise.
    #[getter]
    fn spacings(&self) -> ([f64; 3], [f64; 3]) {
        (self.0.original.spacing, self.0.model.spacing)
    }

    /// Points (N, 3) as (z, y, x), from the original to the model, or back.
    fn points<'py>(
        &self,
        py: Python<'py>,
        points: PyReadonlyArray2<'py, f64>,
        back: bool,
    ) -> PyResult<Bound<'py, PyArray2<f64>>> {
        let map = |p| if back { self.0.to_original(p) } else { self.0.to_model(p) };
        rows(py, "points", &points, map)
    }

    /// Boxes (N, 6) as (z0, y0, x0, z1, y1, x1), from the original to the model, or back.
    fn boxes<'py>(
        &self,
        py: Python<'py>,
        boxes: PyReadonlyArray2<'py, f64>,
        back: bool,
    ) -> PyResult<Bound<'py, PyArray2<f64>>> {
        let map = |b| if back { self.0.box_to_original(b) } else { self.0.box_to_model(b) };
        rows(py, "boxes", &boxes, map)
    }

    /// Points (N, 3) of the original as patient points (x, y, z) in mm, or back.
    fn patient<'py>(
        &self,
        py: Python<'py>,
        points: PyReadonlyArray2<'py, f64>,
        back: bool,
    ) -> PyResult<Bound<'py, PyArray2<f64>>> {
        let grid = &self.0.original;
        let map = |p| if back { grid.to_voxel(p) } else { grid.to_patient(p) };
        rows(py, "points", &points, map)
    }

    /// A mask (z, y, x) from the original to the model, or back.
    fn mask<'py>(
        &self,
        py: Python<'py>,
        mask: PyReadonlyArray3<'py, bool>,
        back: bool,
    ) -> PyResult<Bound<'py, PyArray3<bool>>> {
        let mask = mask.as_array().to_owned();
        let mapped = quick(py, || {
            if back {
                self.0.mask_to_original(mask.view())
            } else {
                self.0.mask_to_model(mask.view())
            }
        })?;
        Ok(mapped.into_pyarray(py))
    }

    /// A heat map (any grid over the model's volume) on the original.
    fn heatmap<'py>(
        &self,
        py: Python<'py>,
        heatmap: PyReadonlyArray3<'py, f32>,
    ) -> PyResult<Bound<'py, PyArray3<f32>>> {
        let heat = heatmap.as_array().to_owned();
        Ok(quick(py, || self.0.heatmap_to_original(heat.view()))?.into_pyarray(py))
    }
}
