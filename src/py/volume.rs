//! Volumes, series and their geometry for Python.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ndarray::Array2;
use numpy::{IntoPyArray, PyArray2, PyArray3, PyArray4, PyReadonlyArray3};
use pyo3::prelude::*;

use super::call::{long, quick};
use super::imaging::Recipe;
use super::volume_geometry::VolumeGeometry;
use crate::imaging::{self, Grid, HuWindow, Kernel, Organ, Repair, VolumeOptions};
use crate::progress::Progress;
use crate::{Error, Result};

/// A volume: float32 voxels (z, y, x) with their place in the patient.
#[pyclass(frozen, module = "carina._core")]
pub(crate) struct Volume(pub(crate) imaging::Volume);

/// A series of slices, not yet decoded.
#[pyclass(frozen, module = "carina._core")]
pub(crate) struct Series(imaging::Series);

/// How to read a volume.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(super) struct Options {
    orientation: Option<String>,
    repair: Vec<String>,
    fill: Option<f32>,
    assume: Option<String>,
    series: Option<usize>,
}

impl Options {
    fn parse(self) -> Result<VolumeOptions> {
        let repair = self.repair.iter().map(|name| Repair::named(name)).collect::<Result<_>>()?;
        let Self { orientation, fill, assume, series, .. } = self;
        Ok(VolumeOptions { orientation, repair, fill, assume, series })
    }
}

/// Whether a path is a volume by its kind: a folder, NIfTI, or an enhanced CT, MR or PET.
#[pyfunction]
pub(super) fn is_volume(py: Python<'_>, path: PathBuf) -> PyResult<bool> {
    quick(py, || imaging::is_volume(&path))
}

/// Reads a volume from a folder of slices, a file of frames or a NIfTI file.
#[pyfunction]
pub(super) fn read_volume(
    py: Python<'_>,
    path: PathBuf,
    options: Options,
    watch: Option<Py<PyAny>>,
) -> PyResult<Volume> {
    let options = options.parse()?;
    long(py, watch, |progress| imaging::read_volume(&path, &options, progress).map(Volume))
}

/// Finds the series of a folder; with the counts of its files and why some were left out.
#[pyfunction]
#[allow(clippy::type_complexity)] // one tuple, taken apart at once
pub(super) fn scan_folder(
    py: Python<'_>,
    path: PathBuf,
    watch: Option<Py<PyAny>>,
) -> PyResult<(Vec<Series>, [usize; 4], Vec<(PathBuf, String)>)> {
    let folder = long(py, watch, |progress| imaging::scan(&path, progress))?;
    let counts = [folder.files, folder.foreign, folder.without_pixels, folder.patients];
    Ok((folder.series.into_iter().map(Series).collect(), counts, folder.unreadable))
}

/// The names of the windows of Hounsfield units, with their ends.
#[pyfunction]
pub(super) fn hu_windows() -> Vec<(&'static str, (f32, f32))> {
    HuWindow::NAMED.map(|(name, window)| (name, (window.low, window.high))).to_vec()
}

fn kernel(nearest: bool) -> Kernel {
    if nearest { Kernel::Nearest } else { Kernel::Bilinear }
}

#[pymethods]
impl Series {
    /// Number of slices.
    fn __len__(&self) -> usize {
        self.0.len()
    }

    /// Its files, in the order of their names.
    #[getter]
    fn files(&self) -> Vec<PathBuf> {
        self.0.files.clone()
    }

    /// DICOM modality.
    #[getter]
    fn modality(&self) -> &str {
        self.0.modality()
    }

    /// Whether it is scout films.
    #[getter]
    fn localizer(&self) -> bool {
        self.0.localizer
    }

    /// Which of the folder's patients, counted from 0.
    #[getter]
    fn patient(&self) -> usize {
        self.0.patient()
    }

    /// Shape (z, y, x) of the stack, or None.
    #[getter]
    fn shape(&self) -> Option<(usize, usize, usize)> {
        self.0.stack.map(|(shape, _)| shape.into())
    }

    /// Spacing (z, y, x) of the stack in mm, or None.
    #[getter]
    fn spacing(&self) -> Option<(f64, f64, f64)> {
        self.0.stack.map(|(_, spacing)| spacing.into())
    }

    /// Why the slices are no regular stack, or None.
    #[getter]
    fn problem(&self) -> Option<&str> {
        self.0.problem.as_deref()
    }

    /// Reads the slices as a volume.
    fn read(&self, py: Python<'_>, options: Options, watch: Option<Py<PyAny>>) -> PyResult<Volume> {
        let options = options.parse()?;
        long(py, watch, |progress: &Progress| self.0.read(&options, progress).map(Volume))
    }
}

#[pymethods]
impl Volume {
    /// A volume from float32 voxels (z, y, x), a grid as JSON (and the one it was read with) and
    /// facts about them.
    #[new]
    #[pyo3(signature = (voxels, grid, *, original=None, modality=String::new(), history=Vec::new()))]
    fn new(
        voxels: PyReadonlyArray3<'_, f32>,
        grid: &str,
        original: Option<&str>,
        modality: String,
        history: Vec<String>,
    ) -> PyResult<Self> {
        let parse = |text: &str| -> Result<Grid> {
            let grid: Grid = serde_json::from_str(text)
                .map_err(|error| Error::config("grid", error.to_string()))?;
            grid.validate().map(|()| grid)
        };
        let voxels = voxels.as_array().as_standard_layout().into_owned();
        let volume = imaging::Volume::new(voxels, parse(grid)?)?;
        let original = original.map_or_else(|| Ok(volume.grid.clone()), parse)?;
        Ok(Self(imaging::Volume { original, modality, history, ..volume }))
    }

    /// The voxels (z, y, x), float32, read-only, without a copy.
    #[allow(unsafe_code)]
    fn to_numpy<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyArray3<f32>>> {
        // SAFETY: the array's base is this object, which is frozen and keeps its voxels, unmoved,
        // as long as it lives.
        let array =
            unsafe { PyArray3::borrow_from_array(&slf.get().0.voxels, slf.clone().into_any()) };
        array.call_method1("setflags", (false,))?;
        Ok(array)
    }

    /// Voxels along (z, y, x).
    #[getter]
    fn shape(&self) -> (usize, usize, usize) {
        self.0.grid.shape.into()
    }

    /// Distance of the voxels along (z, y, x) in mm.
    #[getter]
    fn spacing(&self) -> (f64, f64, f64) {
        self.0.grid.spacing.into()
    }

    /// Centre of the first voxel, (x, y, z) in mm.
    #[getter]
    fn origin(&self) -> (f64, f64, f64) {
        self.0.grid.origin.into()
    }

    /// Where the axes z, y, x point: rows of unit vectors (x, y, z).
    #[getter]
    fn direction(&self) -> [[f64; 3]; 3] {
        self.0.grid.direction
    }

    /// Where x, y, z point, a letter each.
    #[getter]
    fn orientation(&self) -> String {
        self.0.grid.orientation()
    }

    /// DICOM modality; empty when unknown.
    #[getter]
    fn modality(&self) -> &str {
        &self.0.modality
    }

    /// What was done to the voxels, in order.
    #[getter]
    fn history(&self) -> Vec<String> {
        self.0.history.clone()
    }

    /// The map between the volume as it was read and this one.
    #[getter]
    fn geometry(&self) -> VolumeGeometry {
        VolumeGeometry(self.0.geometry())
    }

    /// Row by row, the matrix (4, 4) from a voxel's index (z, y, x, 1) to (x, y, z, 1) in mm.
    fn affine<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray2<f64>> {
        let affine = self.0.grid.affine();
        Array2::from_shape_fn((4, 4), |(row, col)| affine[row][col]).into_pyarray(py)
    }

    /// The grid as JSON.
    fn grid_json(&self) -> String {
        serde_json::to_string(&self.0.grid).unwrap_or_default()
    }

    /// The volume with x, y, z pointing where three letters say.
    fn reorient(&self, py: Python<'_>, orientation: &str) -> PyResult<Self> {
        quick(py, || self.0.reorient(orientation).map(Self))
    }

    /// The same box at about this spacing (z, y, x) in mm.
    fn resample(&self, py: Python<'_>, spacing: [f64; 3], nearest: bool) -> PyResult<Self> {
        quick(py, || self.0.resample(spacing, kernel(nearest)).map(Self))
    }

    /// The same box as (z, y, x) voxels.
    fn resize(&self, py: Python<'_>, shape: [usize; 3], nearest: bool) -> PyResult<Self> {
        quick(py, || self.0.resize(shape, kernel(nearest)).map(Self))
    }

    /// The box (z0, y0, x0, z1, y1, x1) of voxels, with `fill` outside the volume.
    fn crop(&self, py: Python<'_>, edges: [i64; 6], fill: f32) -> PyResult<Self> {
        quick(py, || self.0.crop(edges, fill).map(Self))
    }

    /// The box, grown to `size` where there is room, cut out and resized to it.
    fn crop_resize(&self, py: Python<'_>, edges: [i64; 6], size: [usize; 3]) -> PyResult<Self> {
        quick(py, || self.0.crop_resize(edges, size).map(Self))
    }

    /// A window of a name, or from `low` to `high`, as [0, 1].
    #[pyo3(signature = (*, name=None, ends=None))]
    fn window(
        &self,
        py: Python<'_>,
        name: Option<&str>,
        ends: Option<(f32, f32)>,
    ) -> PyResult<Self> {
        let window = match (name, ends) {
            (_, Some((low, high))) => HuWindow::new(low, high)?,
            (name, None) => HuWindow::named(name.unwrap_or_default())?,
        };
        quick(py, || Ok(Self(self.0.window(window))))
    }

    /// Boxes of one size that cover the volume.
    fn tiles(&self, size: [usize; 3], overlap: f64) -> PyResult<Vec<[i64; 6]>> {
        Ok(self.0.tiles(size, overlap)?)
    }

    /// The labels of the lungs (0 none, 1 right, 2 left) and the boxes of the organs by name.
    #[allow(clippy::type_complexity)] // one tuple, taken apart at once
    fn organs<'py>(
        &self,
        py: Python<'py>,
    ) -> PyResult<(Bound<'py, PyArray3<u8>>, BTreeMap<&'static str, Option<[i64; 6]>>)> {
        let organs = quick(py, || self.0.organs())?;
        let boxes = Organ::NAMED.map(|(name, organ)| (name, organs.edges(organ)));
        Ok((organs.labels.into_pyarray(py), BTreeMap::from(boxes)))
    }

    /// What a recipe makes of the volume: (C, D, H, W), the map back, the voxel size to tell.
    #[allow(clippy::type_complexity)] // one tuple, taken apart at once
    fn cook<'py>(
        &self,
        py: Python<'py>,
        recipe: &Recipe,
    ) -> PyResult<(Bound<'py, PyArray4<f32>>, VolumeGeometry, [f64; 3])> {
        let input = quick(py, || recipe.0.apply_volume(&self.0))?;
        Ok((input.voxels.into_pyarray(py), VolumeGeometry(input.geometry), input.voxel_size))
    }

    /// Writes a .nii or .nii.gz file.
    fn save(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        quick(py, || self.0.save(&path))
    }
}
