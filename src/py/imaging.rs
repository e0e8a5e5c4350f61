//! Films, recipes and geometry for Python.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ndarray::{Array2, ArrayD, IxDyn};
use numpy::{IntoPyArray, PyArray2, PyArray3, PyReadonlyArray2, PyUntypedArrayMethods};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use serde::de::DeserializeOwned;

use super::call::quick;
use crate::imaging::{self, ReadOptions, Rendering, View, WindowChoice, dicom};
use crate::{Error, Result, files};

/// A film: float32 pixels (rows, columns) with what a reader must know about them.
#[pyclass(frozen, module = "carina._core")]
pub(crate) struct Image(pub(crate) imaging::Image);

/// The steps from a film to a model's input, as data.
#[pyclass(frozen, module = "carina._core")]
pub(crate) struct Recipe(pub(crate) imaging::Recipe);

/// The map between original pixels and model pixels.
#[pyclass(frozen, module = "carina._core")]
pub(crate) struct Geometry(pub(crate) imaging::Geometry);

/// A file, or what it holds.
#[derive(FromPyObject)]
pub(super) enum Source {
    Bytes(PyBackedBytes),
    Path(PathBuf),
}

impl Source {
    /// Gives the content to `work`, with what errors call it.
    fn with<T>(&self, work: impl FnOnce(&[u8], &Path) -> Result<T>) -> Result<T> {
        match self {
            Self::Bytes(bytes) => work(bytes, Path::new("the bytes given")),
            Self::Path(path) => work(&files::read(path)?, path),
        }
    }
}

/// Reads a frame of a file; `window` is "auto", "on", "off" or the name or number of a window.
#[pyfunction]
#[pyo3(signature = (source, *, apply_window=None, window_index=None, window_name=None, frame=None))]
pub(super) fn read_film(
    py: Python<'_>,
    source: Source,
    apply_window: Option<bool>,
    window_index: Option<usize>,
    window_name: Option<String>,
    frame: Option<usize>,
) -> PyResult<Image> {
    let window = window_index.map(WindowChoice::Index).or(window_name.map(WindowChoice::Name));
    let options = ReadOptions { window, apply_window, frame };
    quick(py, || source.with(|bytes, name| imaging::decode_bytes(bytes, name, &options)).map(Image))
}

/// Reads a film in levels of 8 or 16 bits, as CXR Foundation's clients make them.
#[pyfunction]
#[pyo3(signature = (source, *, released, any_view))]
pub(super) fn cxr_foundation_film(
    py: Python<'_>,
    source: Source,
    released: bool,
    any_view: bool,
) -> PyResult<Image> {
    let rendering = if released { Rendering::Released } else { Rendering::Sound };
    let read =
        |bytes: &[u8], name: &Path| imaging::cxr_foundation_film(bytes, name, rendering, any_view);
    quick(py, || source.with(read).map(Image))
}

/// The stored values of a DICOM file in its own type (frames, rows, columns, samples), squeezed.
#[pyfunction]
pub(super) fn decode_dicom(py: Python<'_>, source: Source) -> PyResult<Bound<'_, PyAny>> {
    let (values, layout) = quick(py, || source.with(dicom::stored_values))?;
    let shape = layout.shape();
    Ok(match values {
        dicom::Values::U8(v) => shaped(py, v, &shape)?,
        dicom::Values::I8(v) => shaped(py, v, &shape)?,
        dicom::Values::U16(v) => shaped(py, v, &shape)?,
        dicom::Values::I16(v) => shaped(py, v, &shape)?,
        dicom::Values::U32(v) => shaped(py, v, &shape)?,
        dicom::Values::I32(v) => shaped(py, v, &shape)?,
        dicom::Values::F32(v) => shaped(py, v, &shape)?,
        dicom::Values::F64(v) => shaped(py, v, &shape)?,
    })
}

fn shaped<'py, T: numpy::Element>(
    py: Python<'py>,
    values: Vec<T>,
    shape: &[usize],
) -> PyResult<Bound<'py, PyAny>> {
    let array = ArrayD::from_shape_vec(IxDyn(shape), values)
        .map_err(|error| Error::Internal(error.to_string()))?;
    Ok(array.into_pyarray(py).into_any())
}

/// The names of the recipes that are built in, for films or for volumes.
#[pyfunction]
pub(super) fn recipe_presets(volumes: bool) -> Vec<&'static str> {
    if volumes { imaging::Recipe::volume_presets() } else { imaging::Recipe::presets() }.to_vec()
}

#[pymethods]
impl Image {
    /// A film from float32 pixels (rows, columns) and facts about them.
    #[new]
    #[pyo3(signature = (pixels, *, spacing=None, modality=String::new(), view="UNKNOWN", orientation=String::new(), range=None, history=Vec::new()))]
    #[allow(clippy::too_many_arguments)] // each is a keyword in Python
    fn new(
        pixels: PyReadonlyArray2<'_, f32>,
        spacing: Option<[f64; 2]>,
        modality: String,
        view: &str,
        orientation: String,
        range: Option<[f32; 2]>,
        history: Vec<String>,
    ) -> PyResult<Self> {
        let view = serde_json::from_value(view.into()).map_err(|_| {
            let why = format!("expected PA, AP, LATERAL or UNKNOWN, found {view:?}");
            Error::value("view", why)
        })?;
        let pixels = pixels.as_array().as_standard_layout().into_owned();
        let image = imaging::Image { pixels, spacing, modality, view, orientation, range, history };
        image.validate()?;
        Ok(Self(image))
    }

    /// The pixels (rows, columns), float32, read-only, without a copy.
    #[allow(unsafe_code)]
    fn to_numpy<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyArray2<f32>>> {
        // SAFETY: the array's base is this object, which is frozen and keeps its pixels, unmoved,
        // as long as it lives.
        let array =
            unsafe { PyArray2::borrow_from_array(&slf.get().0.pixels, slf.clone().into_any()) };
        array.call_method1("setflags", (false,))?;
        Ok(array)
    }

    /// Rows and columns.
    #[getter]
    fn shape(&self) -> (usize, usize) {
        self.0.pixels.dim()
    }

    /// Size of a pixel (row spacing, column spacing) in mm, or None.
    #[getter]
    fn spacing(&self) -> Option<(f64, f64)> {
        self.0.spacing.map(Into::into)
    }

    /// DICOM modality; empty when unknown.
    #[getter]
    fn modality(&self) -> &str {
        &self.0.modality
    }

    /// PA, AP, LATERAL or UNKNOWN.
    #[getter]
    fn view(&self) -> &'static str {
        match self.0.view {
            View::Pa => "PA",
            View::Ap => "AP",
            View::Lateral => "LATERAL",
            View::Unknown => "UNKNOWN",
        }
    }

    /// Where x and y point in the patient, a letter each; empty when unknown.
    #[getter]
    fn orientation(&self) -> &str {
        &self.0.orientation
    }

    /// The lowest and highest value that the display pipeline can produce, or None.
    #[getter]
    fn range(&self) -> Option<(f32, f32)> {
        self.0.range.map(Into::into)
    }

    /// What was done to the pixels, in order.
    #[getter]
    fn history(&self) -> Vec<String> {
        self.0.history.clone()
    }

    /// Writes levels as a 16-bit grey PNG, as they are.
    fn save_levels(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        quick(py, || imaging::write_cxr_foundation_png(&self.0, &path))
    }

    /// Writes a 16-bit grey PNG.
    fn save_png(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        quick(py, || imaging::write_png(&self.0, &path))
    }
}

#[pymethods]
impl Recipe {
    /// Reads a recipe from JSON.
    #[staticmethod]
    fn from_json(text: &str) -> PyResult<Self> {
        Ok(Self(imaging::Recipe::from_json(text)?))
    }

    /// Our own default at a size.
    #[staticmethod]
    fn film(size: usize) -> PyResult<Self> {
        Ok(Self(imaging::Recipe::new(imaging::Recipe::film(size).steps)?))
    }

    /// That of CXR Foundation's clients, at a size.
    #[staticmethod]
    fn cxr_foundation(size: usize, any_view: bool) -> PyResult<Self> {
        Ok(Self(imaging::Recipe::new(imaging::Recipe::cxr_foundation(size, any_view).steps)?))
    }

    /// A recipe by name.
    #[staticmethod]
    fn preset(name: &str) -> PyResult<Self> {
        let known = imaging::Recipe::volume_presets().contains(&name);
        let of = if known { imaging::Recipe::volume_preset } else { imaging::Recipe::preset };
        Ok(Self(of(name)?))
    }

    /// The recipe as canonical JSON.
    fn to_json(&self) -> String {
        self.0.to_json()
    }

    /// SHA-256 of the canonical JSON.
    fn hash(&self) -> String {
        self.0.hash()
    }

    /// One line for each step.
    fn describe(&self) -> Vec<String> {
        self.0.steps.iter().map(ToString::to_string).collect()
    }

    /// Shape (C, H, W) that comes out, when it does not depend on the film.
    #[getter]
    fn output_shape(&self) -> Option<(usize, usize, usize)> {
        self.0.output_shape().map(Into::into)
    }

    /// Makes a model's input (C, H, W), float32, and the map back.
    fn apply<'py>(
        &self,
        py: Python<'py>,
        image: &Image,
    ) -> PyResult<(Bound<'py, PyArray3<f32>>, Geometry)> {
        let (pixels, geometry) = quick(py, || self.0.apply(&image.0))?;
        Ok((pixels.into_pyarray(py), Geometry(geometry)))
    }
}

/// A map from JSON.
pub(super) fn geometry_from<G: DeserializeOwned>(text: &str) -> Result<G> {
    serde_json::from_str(text).map_err(|error| Error::config("geometry", error.to_string()))
}

#[pymethods]
impl Geometry {
    /// Reads a map from JSON.
    #[staticmethod]
    fn from_json(text: &str) -> PyResult<Self> {
        let geometry: imaging::Geometry = geometry_from(text)?;
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

    /// The sizes, scales and offsets, by name.
    fn facts(&self) -> BTreeMap<&'static str, (f64, f64)> {
        let sizes = |size: [usize; 2]| (size[0] as f64, size[1] as f64);
        BTreeMap::from([
            ("original", sizes(self.0.original)),
            ("model", sizes(self.0.model)),
            ("scale", self.0.scale.into()),
            ("offset", self.0.offset.into()),
        ])
    }

    /// Spacing of the film's pixels in mm, or None.
    #[getter]
    fn spacing(&self) -> Option<(f64, f64)> {
        self.0.spacing.map(Into::into)
    }

    /// Spacing of the model's pixels in mm, or None.
    #[getter]
    fn model_spacing(&self) -> Option<(f64, f64)> {
        self.0.model_spacing().map(Into::into)
    }

    /// Points (N, 2) as (x, y), from the film to the model, or back.
    fn points<'py>(
        &self,
        py: Python<'py>,
        points: PyReadonlyArray2<'py, f64>,
        back: bool,
    ) -> PyResult<Bound<'py, PyArray2<f64>>> {
        rows(
            py,
            "points",
            &points,
            |p| {
                if back { self.0.to_original(p) } else { self.0.to_model(p) }
            },
        )
    }

    /// Boxes (N, 4) as (x0, y0, x1, y1), from the film to the model, or back.
    fn boxes<'py>(
        &self,
        py: Python<'py>,
        boxes: PyReadonlyArray2<'py, f64>,
        back: bool,
    ) -> PyResult<Bound<'py, PyArray2<f64>>> {
        rows(py, "boxes", &boxes, |b| {
            if back { self.0.box_to_original(b) } else { self.0.box_to_model(b) }
        })
    }

    /// A mask (H, W) from the film to the model, or back.
    fn mask<'py>(
        &self,
        py: Python<'py>,
        mask: PyReadonlyArray2<'py, bool>,
        back: bool,
    ) -> PyResult<Bound<'py, PyArray2<bool>>> {
        let mask = mask.as_array().to_owned();
        let mapped = quick(py, || {
            if back { self.0.mask_to_original(&mask) } else { self.0.mask_to_model(&mask) }
        })?;
        Ok(mapped.into_pyarray(py))
    }

    /// A heat map (any grid over the model's canvas) on the film (H, W).
    fn heatmap<'py>(
        &self,
        py: Python<'py>,
        heatmap: PyReadonlyArray2<'py, f32>,
    ) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let heatmap = heatmap.as_array().to_owned();
        Ok(quick(py, || self.0.heatmap_to_original(&heatmap))?.into_pyarray(py))
    }
}

/// Maps every row of N numbers.
pub(super) fn rows<'py, const N: usize>(
    py: Python<'py>,
    what: &str,
    input: &PyReadonlyArray2<'py, f64>,
    map: impl Fn([f64; N]) -> [f64; N],
) -> PyResult<Bound<'py, PyArray2<f64>>> {
    let shape = input.shape();
    if shape[1] != N {
        return Err(Error::shape(what, format!("(N, {N})"), shape).into());
    }
    let mut mapped = Vec::with_capacity(shape[0] * N);
    for row in input.as_array().rows() {
        let mut numbers = [0.0; N];
        numbers.iter_mut().zip(row).for_each(|(place, &v)| *place = v);
        mapped.extend(map(numbers));
    }
    let mapped = Array2::from_shape_vec((shape[0], N), mapped)
        .map_err(|error| Error::Internal(error.to_string()))?;
    Ok(mapped.into_pyarray(py))
}
