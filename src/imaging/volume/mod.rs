//! A CT, or another volume, as an array that knows where it lies in the patient.

mod crop;
mod resample;
mod tiles;
mod window;

use ndarray::Array3;

use super::{Grid, VolumeGeometry};
use crate::{Error, Result};

pub use crop::grown;
pub(super) use resample::{turned, turned_view};
pub use window::HuWindow;

/// A three-dimensional image: float32 values in modality units (HU for CT), and no identifiers.
#[derive(Clone, Debug, PartialEq)]
pub struct Volume {
    /// Values (z, y, x).
    pub voxels: Array3<f32>,
    /// Where they lie in the patient.
    pub grid: Grid,
    /// Where they lay when the volume was read.
    pub original: Grid,
    /// DICOM modality (`CT`, `MR`, …); empty when unknown.
    pub modality: String,
    /// What was done to the values, in order, readable.
    pub history: Vec<String>,
}

impl Volume {
    /// A checked volume: finite values, as many as the grid has.
    pub fn new(voxels: Array3<f32>, grid: Grid) -> Result<Self> {
        grid.validate()?;
        if voxels.shape() != grid.shape {
            let [d, h, w] = grid.shape;
            return Err(Error::shape("volume", format!("({d}, {h}, {w})"), voxels.shape()));
        }
        if let Some(((z, y, x), value)) = voxels.indexed_iter().find(|(_, v)| !v.is_finite()) {
            let why = format!("expected finite values, found {value} at ({z}, {y}, {x})");
            return Err(Error::value("volume", why));
        }
        let original = grid.clone();
        Ok(Self { voxels, grid, original, modality: String::new(), history: Vec::new() })
    }

    /// The map between the volume as it was read and this one.
    pub fn geometry(&self) -> VolumeGeometry {
        VolumeGeometry { original: self.original.clone(), model: self.grid.clone() }
    }

    /// What becomes of the volume by one more step.
    fn became(&self, voxels: Array3<f32>, grid: Grid, step: String) -> Self {
        let mut history = self.history.clone();
        history.push(step);
        Self {
            voxels,
            grid,
            original: self.original.clone(),
            modality: self.modality.clone(),
            history,
        }
    }
}

/// An array of one value, or an error where there is no memory for it: never an abort.
pub(super) fn room<T: Copy>(shape: [usize; 3], value: T) -> Result<Array3<T>> {
    super::grid::check_shape("volume", shape)?;
    let count = shape.iter().product();
    let refused = || {
        let [d, h, w] = shape;
        Error::value("volume", format!("there is no memory for {d} x {h} x {w} values"))
    };
    // Asked for and given back: what follows gets zeroed pages from the system without a pass.
    Vec::<T>::new().try_reserve_exact(count).map_err(|_| refused())?;
    Array3::from_shape_vec(shape, vec![value; count]).map_err(|_| refused())
}
