//! The pixels of a film or mask, read when they are needed.

use std::sync::Arc;

use ndarray::Array2;

use super::{Film, FindingMask, MaskPixels, Pixels};
use crate::imaging::{self, Image, View};
use crate::{Error, Result};

impl Film {
    /// The view as far as it is known without reading a file.
    pub fn view(&self) -> View {
        match &self.pixels {
            Pixels::Memory(image) if self.view == View::Unknown => image.view,
            _ => self.view,
        }
    }

    /// The film; the view that the manifest states goes before that of the file.
    pub fn read(&self) -> Result<Arc<Image>> {
        let image = match &self.pixels {
            Pixels::Memory(image) => Arc::clone(image),
            Pixels::File(path) => Arc::new(imaging::read(path)?),
        };
        if self.view == View::Unknown || image.view == self.view {
            return Ok(image);
        }
        Ok(Arc::new(Image { view: self.view, ..Arc::unwrap_or_clone(image) }))
    }
}

impl FindingMask {
    /// True where the finding is (rows, columns).
    pub fn read(&self) -> Result<Arc<Array2<bool>>> {
        match &self.mask {
            MaskPixels::Memory(mask) => Ok(Arc::clone(mask)),
            MaskPixels::File(path) => {
                let image = imaging::read(path)?;
                Ok(Arc::new(image.pixels.mapv(|value| value.abs() > 0.0)))
            }
        }
    }
}

/// Refuses values that no model can learn from.
pub(super) fn check_finite(pixels: &ndarray::Array3<f32>) -> Result<()> {
    let wrong = pixels.indexed_iter().find(|(_, value)| !value.is_finite());
    wrong.map_or(Ok(()), |((channel, row, column), value)| {
        let why = format!(
            "found {value} in channel {channel}, row {row}, column {column}, expected finite values"
        );
        Err(Error::value("pixels", why))
    })
}
