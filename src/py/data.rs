//! Data sets for Python.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use numpy::{IntoPyArray, PyArray1, PyArray2, PyArray4, PyArrayMethods, PyReadonlyArray2};
use pyo3::prelude::*;

use super::call::{long, quick};
use super::imaging::{Image, Recipe};
use super::study::{Study, record};
use crate::data::{
    self, Augment, By, Cache, FilmChoice, Loader, LoaderOptions, Precision, Prepare, manifest,
};
use crate::metrics::Policy;
use crate::{Error, imaging};

/// Studies that share one list of findings.
#[pyclass(frozen, module = "carina._core")]
pub(crate) struct Dataset(pub(crate) Arc<data::Dataset>);

/// Builds a data set from rows that are handed over in portions.
#[pyclass(frozen, module = "carina._core")]
pub(crate) struct ManifestBuilder(Mutex<Option<manifest::Builder>>);

/// The batches of one epoch.
#[pyclass(frozen, module = "carina._core")]
pub(crate) struct Batches(Mutex<data::Epoch>);

type Columns = BTreeMap<String, Option<String>>;
type Failures = Vec<(usize, String)>;
type Batch<'py> = (Vec<usize>, Bound<'py, PyArray4<f32>>, Failures);
type Rows<'py> = (Vec<String>, Vec<usize>, Vec<Image>, Vec<Bound<'py, PyArray2<bool>>>);

/// Opens a CSV, TSV or JSON Lines manifest.
#[pyfunction]
pub(super) fn open_manifest(
    py: Python<'_>,
    path: PathBuf,
    root: PathBuf,
    findings: Option<Vec<String>>,
    columns: Columns,
    watch: Option<Py<PyAny>>,
) -> PyResult<Dataset> {
    let options = manifest::Options { root, findings, columns };
    long(py, watch, |progress| Ok(Dataset(Arc::new(manifest::open(&path, options, progress)?))))
}

/// Fails when one patient is in two of the named parts.
#[pyfunction]
pub(super) fn check_disjoint(parts: Vec<(String, Bound<'_, Dataset>)>) -> PyResult<()> {
    let parts: Vec<(&str, &data::Dataset)> =
        parts.iter().map(|(name, part)| (name.as_str(), part.get().0.as_ref())).collect();
    Ok(data::check_disjoint(&parts)?)
}

#[pymethods]
impl ManifestBuilder {
    /// A builder whose errors call the rows' origin `source`.
    #[new]
    fn new(
        source: &str,
        root: PathBuf,
        findings: Option<Vec<String>>,
        columns: Columns,
    ) -> PyResult<Self> {
        let options = manifest::Options { root, findings, columns };
        Ok(Self(Mutex::new(Some(manifest::Builder::new(source, "row", options)?))))
    }

    /// Adds rows, each a JSON object; `first` is the number of the first one.
    fn push(
        &self,
        py: Python<'_>,
        first: usize,
        rows: Vec<String>,
        images: Vec<PyRef<'_, Image>>,
        masks: Vec<PyReadonlyArray2<'_, bool>>,
    ) -> PyResult<()> {
        let arrays = manifest::Arrays {
            images: images.iter().map(|image| Arc::new(image.0.clone())).collect(),
            masks: masks.iter().map(|mask| Arc::new(mask.as_array().to_owned())).collect(),
        };
        quick(py, || {
            let mut builder = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let builder = builder.as_mut().ok_or_else(finished)?;
            for (number, row) in rows.iter().enumerate() {
                let row = serde_json::from_str(row).map_err(|why| {
                    Error::value(format!("row {}", first + number), why.to_string())
                })?;
                builder.push(first + number, &row, &arrays)?;
            }
            Ok(())
        })
    }

    /// The data set, once every row is in.
    fn finish(&self, py: Python<'_>) -> PyResult<Dataset> {
        quick(py, || {
            let builder = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
            Ok(Dataset(Arc::new(builder.ok_or_else(finished)?.finish()?)))
        })
    }
}

fn finished() -> Error {
    Error::value("builder", "the data set is already made")
}

#[pymethods]
impl Dataset {
    /// A data set without studies.
    #[staticmethod]
    fn empty(findings: Vec<String>) -> PyResult<Self> {
        Ok(Self(Arc::new(data::Dataset::new(findings, Vec::new())?)))
    }

    fn __len__(&self) -> usize {
        self.0.len()
    }

    /// What the columns of labels mean.
    #[getter]
    fn findings(&self) -> Vec<String> {
        self.0.findings.clone()
    }

    /// The study ids.
    #[getter]
    fn ids(&self) -> Vec<&str> {
        self.0.studies.iter().map(|study| study.id.as_str()).collect()
    }

    /// The patient ids.
    #[getter]
    fn patients(&self) -> Vec<&str> {
        self.0.studies.iter().map(|study| study.patient.as_str()).collect()
    }

    /// How many different patients there are.
    #[getter]
    fn patient_count(&self) -> usize {
        self.0.patient_count()
    }

    /// The part that each study belongs to; empty when not said.
    #[getter]
    fn splits(&self) -> Vec<&str> {
        self.0.studies.iter().map(|study| study.split.as_str()).collect()
    }

    /// The findings and impression of each report, joined.
    #[getter]
    fn reports(&self) -> Vec<String> {
        self.0.studies.iter().map(|study| study.report.text()).collect()
    }

    /// The clinical records.
    fn records<'py>(&self, py: Python<'py>) -> PyResult<Vec<BTreeMap<String, Bound<'py, PyAny>>>> {
        self.0.studies.iter().map(|study| record(py, study)).collect()
    }

    /// The labels (studies, findings) as stored: 1, 0, -1 or NaN.
    fn labels<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray2<f32>> {
        self.0.labels().into_pyarray(py)
    }

    /// The labels (studies, findings) to learn from: 1, 0 or NaN.
    fn targets<'py>(&self, py: Python<'py>, policy: &str) -> PyResult<Bound<'py, PyArray2<f32>>> {
        Ok(self.0.targets(Policy::parse(policy)?).into_pyarray(py))
    }

    /// The study at `index`.
    fn study(&self, index: usize) -> PyResult<Study> {
        Ok(Study(Arc::clone(self.0.study(index)?)))
    }

    /// The studies at `indices`, in that order.
    fn select(&self, indices: Vec<usize>) -> PyResult<Self> {
        Ok(Self(Arc::new(self.0.select(&indices)?)))
    }

    /// The studies whose split is `name`.
    fn split_named(&self, name: &str) -> PyResult<Self> {
        Ok(Self(Arc::new(self.0.split_named(name)?)))
    }

    /// Named parts by patient or by study.
    fn split(
        &self,
        by: &str,
        fractions: Vec<(String, f64)>,
        seed: u64,
    ) -> PyResult<Vec<(String, Self)>> {
        let parts = self.0.split(By::named(by)?, &fractions, seed)?;
        let select =
            |(name, rows): (String, Vec<usize>)| Ok((name, Self(Arc::new(self.0.select(&rows)?))));
        parts.into_iter().map(select).collect()
    }

    /// The same studies under other findings: pairs of a new name and the old one, or None.
    fn with_findings(&self, mapping: Vec<(String, Option<String>)>) -> PyResult<Self> {
        Ok(Self(Arc::new(self.0.with_findings(&mapping)?)))
    }

    /// The same studies with other reports, one text each.
    fn with_reports(&self, py: Python<'_>, reports: Vec<String>) -> PyResult<Self> {
        quick(py, || Ok(Self(Arc::new(self.0.with_reports(&reports)?))))
    }

    /// One data set of several; `names` go before the ids.
    #[staticmethod]
    fn concat(parts: Vec<Bound<'_, Self>>, names: Option<Vec<String>>) -> PyResult<Self> {
        let parts: Vec<&data::Dataset> = parts.iter().map(|part| part.get().0.as_ref()).collect();
        Ok(Self(Arc::new(data::Dataset::concat(&parts, names.as_deref())?)))
    }

    /// Writes a JSON Lines manifest and, beside it, the pixels that are in memory.
    fn write(&self, py: Python<'_>, path: PathBuf, watch: Option<Py<PyAny>>) -> PyResult<()> {
        long(py, watch, |progress| manifest::write(&self.0, &path, progress))
    }

    /// Writes phantoms as DICOM files below `folder`; gives the files.
    fn write_dicom(
        &self,
        py: Python<'_>,
        folder: PathBuf,
        syntax: &str,
        watch: Option<Py<PyAny>>,
    ) -> PyResult<Vec<PathBuf>> {
        let syntax = imaging::dicom::write::Syntax::named(syntax)?;
        long(py, watch, |progress| data::write_dicom(&self.0, &folder, syntax, progress))
    }

    /// The rows as JSON, for each place the number of its row, and the images and masks that the
    /// rows refer to by number.
    fn rows<'py>(&self, py: Python<'py>) -> PyResult<Rows<'py>> {
        let rows = quick(py, || manifest::rows(&self.0))?;
        let images = rows.arrays.images.iter().map(|image| Image(imaging::Image::clone(image)));
        let masks = rows.arrays.masks.iter().map(|mask| mask.as_ref().clone().into_pyarray(py));
        Ok((rows.lines, rows.order, images.collect(), masks.collect()))
    }

    /// Every first film, prepared (N, C, H, W), and the failures as (index, message).
    fn tensors<'py>(
        &self,
        py: Python<'py>,
        recipe: PyRef<'_, Recipe>,
        cache: Option<PathBuf>,
        workers: usize,
        watch: Option<Py<PyAny>>,
    ) -> PyResult<(Bound<'py, PyArray4<f32>>, Failures)> {
        let prepare = Prepare::from_recipe(recipe.0.clone());
        let all = long(py, watch, |progress| {
            data::Dataset::tensors(&self.0, prepare, &opened(cache)?, workers, progress)
        })?;
        let pixels = PyArray1::from_vec(py, all.pixels).reshape(all.shape)?;
        Ok((pixels, failures(all.failures)))
    }

    /// The batches of one epoch.
    #[pyo3(signature = (recipe, *, batch_size, shuffle, drop_last, seed, epoch, start, augment, random_film, cache, workers))]
    #[allow(clippy::too_many_arguments, clippy::fn_params_excessive_bools)] // one for each keyword
    fn batches(
        &self,
        recipe: PyRef<'_, Recipe>,
        batch_size: usize,
        shuffle: bool,
        drop_last: bool,
        seed: u64,
        epoch: u64,
        start: usize,
        augment: Option<&str>,
        random_film: bool,
        cache: Option<PathBuf>,
        workers: usize,
    ) -> PyResult<Batches> {
        let options = LoaderOptions {
            batch_size,
            shuffle,
            drop_last,
            seed,
            workers,
            film: if random_film { FilmChoice::Random } else { FilmChoice::First },
            augment: augment.map_or_else(|| Ok(Augment::none()), Augment::from_json)?,
            ..LoaderOptions::default()
        };
        let prepare = Prepare::from_recipe(recipe.0.clone());
        let loader = Loader::new(Arc::clone(&self.0), prepare, opened(cache)?, options)?;
        Ok(Batches(Mutex::new(loader.epoch_from(epoch, start)?)))
    }
}

fn opened(cache: Option<PathBuf>) -> crate::Result<Arc<Cache>> {
    let cache = cache.map(|folder| Cache::disk(&folder, Precision::F32));
    Ok(Arc::new(cache.transpose()?.unwrap_or_default()))
}

fn failures(rows: Vec<data::RowError>) -> Failures {
    rows.into_iter().map(|row| (row.index, row.message)).collect()
}

/// The amounts of the random changes that suit films, as JSON.
#[pyfunction]
pub(super) fn film_augmentation() -> String {
    Augment::film().to_json()
}

#[pymethods]
impl Batches {
    /// The next batch: indices, pixels (B, C, H, W) and failures; None after the last.
    fn next<'py>(&self, py: Python<'py>) -> PyResult<Option<Batch<'py>>> {
        let next = long(py, None, |progress| {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).next_batch(progress)
        })?;
        let Some(batch) = next else { return Ok(None) };
        let pixels = PyArray1::from_vec(py, batch.pixels).reshape(batch.shape)?;
        Ok(Some((batch.indices, pixels, failures(batch.failures))))
    }
}
