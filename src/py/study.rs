//! One study for Python.

use std::collections::BTreeMap;
use std::sync::Arc;

use numpy::{IntoPyArray, PyArray2, PyArray3};
use pyo3::prelude::*;

use super::call::{long, quick};
use super::imaging::Image;
use crate::Error;
use crate::data::phantom::ct::Scan;
use crate::data::{self, Value};

/// Shape and spacing (z, y, x) and origin (x, y, z).
type ScanGrid = ([usize; 3], [f64; 3], [f64; 3]);

/// One visit of one patient.
#[pyclass(frozen, module = "carina._core")]
pub(crate) struct Study(pub(super) Arc<data::Study>);

#[pymethods]
impl Study {
    /// The study's id.
    #[getter]
    fn id(&self) -> &str {
        &self.0.id
    }

    /// The patient's id.
    #[getter]
    fn patient(&self) -> &str {
        &self.0.patient
    }

    /// The part of the data set that it belongs to; empty when not said.
    #[getter]
    fn split(&self) -> &str {
        &self.0.split
    }

    /// The labels, in the order of the data set's findings.
    #[getter]
    fn labels(&self) -> Vec<f32> {
        self.0.labels.clone()
    }

    /// Indication, findings and impression.
    #[getter]
    fn report(&self) -> (&str, &str, &str) {
        let report = &self.0.report;
        (&report.indication, &report.findings, &report.impression)
    }

    /// Finding and corners (x0, y0, x1, y1) of each box.
    #[getter]
    fn boxes(&self) -> Vec<(&str, [f32; 4])> {
        self.0.boxes.iter().map(|b| (b.finding.as_str(), b.corners)).collect()
    }

    /// Finding, side, zone, severity, attenuation and margin.
    #[getter]
    fn attributes(&self) -> Vec<[&str; 6]> {
        let all = self.0.attributes.iter();
        all.map(|a| {
            [&a.finding, &a.side, &a.zone, &a.severity, &a.attenuation, &a.margin]
                .map(String::as_str)
        })
        .collect()
    }

    /// Outcome, years and whether the event came.
    #[getter]
    fn follow_up(&self) -> Vec<(&str, f64, bool)> {
        self.0.follow_up.iter().map(|f| (f.outcome.as_str(), f.years, f.event)).collect()
    }

    /// For years 1 to `horizon`: whether the event of a follow-up came by then, and whether that
    /// is known.
    fn follow_up_targets(&self, index: usize, horizon: usize) -> PyResult<(Vec<bool>, Vec<bool>)> {
        let follow_up = self.0.follow_up.get(index).ok_or_else(|| {
            let why = format!("found {index}, expected below {} outcomes", self.0.follow_up.len());
            Error::value("index", why)
        })?;
        Ok(follow_up.targets(horizon))
    }

    /// How many volumes there are.
    #[getter]
    fn scan_count(&self) -> usize {
        self.0.scans.len()
    }

    /// Spacing (z, y, x) and origin (x, y, z) of the volume at `index`, in mm, and its shape.
    fn scan_grid(&self, index: usize) -> PyResult<ScanGrid> {
        let scan = self.scan_at(index)?;
        Ok((scan.shape(), scan.spacing(), scan.origin()))
    }

    /// Renders the volume at `index` (z, y, x), HU.
    fn scan<'py>(&self, py: Python<'py>, index: usize) -> PyResult<Bound<'py, PyArray3<f32>>> {
        let scan = self.scan_at(index)?;
        let volume = long(py, None, |progress| scan.read(progress))?;
        Ok(volume.voxels.into_pyarray(py))
    }

    /// What the first volume has masks of.
    #[getter]
    fn scan_mask_names(&self) -> Vec<&str> {
        self.0.scans.first().map_or_else(Vec::new, |scan| scan.mask_names().collect())
    }

    /// Renders a mask of the first volume (z, y, x).
    fn scan_mask<'py>(
        &self,
        py: Python<'py>,
        index: usize,
    ) -> PyResult<Bound<'py, PyArray3<bool>>> {
        let scan = self.scan_at(0)?;
        Ok(long(py, None, |progress| scan.mask(index, progress))?.into_pyarray(py))
    }

    /// Question, answer, form and topic.
    #[getter]
    fn questions(&self) -> Vec<[&str; 4]> {
        self.0
            .questions
            .iter()
            .map(|q| [&q.question, &q.answer, &q.form, &q.topic].map(String::as_str))
            .collect()
    }

    /// The clinical record.
    fn record<'py>(&self, py: Python<'py>) -> PyResult<BTreeMap<String, Bound<'py, PyAny>>> {
        record(py, &self.0)
    }

    /// How many films there are.
    #[getter]
    fn film_count(&self) -> usize {
        self.0.films.len()
    }

    /// Reads the film at `index`.
    fn film(&self, py: Python<'_>, index: usize) -> PyResult<Image> {
        let film = self.0.films.get(index).ok_or_else(|| {
            let why = format!("found {index}, expected below {} films", self.0.films.len());
            Error::value("index", why)
        })?;
        quick(py, || Ok(Image(Arc::unwrap_or_clone(film.read()?))))
    }

    /// The findings that have masks.
    #[getter]
    fn mask_findings(&self) -> Vec<&str> {
        self.0.masks.iter().map(|mask| mask.finding.as_str()).collect()
    }

    /// Reads the mask at `index` (rows, columns).
    fn mask<'py>(&self, py: Python<'py>, index: usize) -> PyResult<Bound<'py, PyArray2<bool>>> {
        let mask = self.0.masks.get(index).ok_or_else(|| {
            let why = format!("found {index}, expected below {} masks", self.0.masks.len());
            Error::value("index", why)
        })?;
        let pixels = quick(py, || mask.read())?;
        Ok(Arc::unwrap_or_clone(pixels).into_pyarray(py))
    }
}

impl Study {
    fn scan_at(&self, index: usize) -> crate::Result<&Scan> {
        self.0.scans.get(index).map(AsRef::as_ref).ok_or_else(|| {
            let why = format!("found {index}, expected below {} volumes", self.0.scans.len());
            Error::value("index", why)
        })
    }
}

/// The clinical record of a study as a mapping.
pub(super) fn record<'py>(
    py: Python<'py>,
    study: &data::Study,
) -> PyResult<BTreeMap<String, Bound<'py, PyAny>>> {
    let value = |value: &Value| -> PyResult<Bound<'py, PyAny>> {
        match value {
            Value::Number(number) => Ok(number.into_pyobject(py)?.into_any()),
            Value::Text(text) => Ok(text.into_pyobject(py)?.into_any()),
        }
    };
    study.record.iter().map(|(name, v)| Ok((name.clone(), value(v)?))).collect()
}
