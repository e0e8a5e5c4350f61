//! A film as an array with what a reader must know about it.

use ndarray::Array2;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// How the beam went through the patient.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum View {
    /// Posterior to anterior, the standing standard.
    Pa,
    /// Anterior to posterior, mostly at the bedside.
    Ap,
    /// From the side.
    Lateral,
    /// Not said, or none of the above.
    #[default]
    Unknown,
}

/// One two-dimensional film: float32 values in modality units, and no identifiers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Image {
    /// Pixel values (rows, columns), in modality units; for display-ready films, white is high.
    pub pixels: Array2<f32>,
    /// Size of a pixel (row spacing, column spacing) in mm, when known.
    pub spacing: Option<[f64; 2]>,
    /// DICOM modality (`DX`, `CR`, `CT`, …); empty when unknown.
    pub modality: String,
    /// How the beam went.
    pub view: View,
    /// Where x and y point in the patient, a letter each as [`super::Grid::orientation`] has them:
    /// `LI` for left and feet; empty when unknown.
    pub orientation: String,
    /// The lowest and highest value that the display pipeline can produce, when it is known.
    pub range: Option<[f32; 2]>,
    /// What was done to the pixels, in order, readable.
    pub history: Vec<String>,
}

impl Image {
    /// A film from bare values (rows, columns).
    pub fn from_pixels(pixels: Array2<f32>) -> Self {
        Self { pixels, ..Self::default() }
    }

    /// Checks a film that came from outside: pixels there and finite, spacing positive.
    pub fn validate(&self) -> Result<()> {
        let (rows, cols) = self.pixels.dim();
        if self.pixels.is_empty() {
            return Err(Error::shape("image", "(rows, columns) of at least 1", &[rows, cols]));
        }
        // All at once first: to look for the place of one takes longer.
        if !self.pixels.fold(true, |finite, v| finite & v.is_finite())
            && let Some(((row, col), value)) =
                self.pixels.indexed_iter().find(|(_, v)| !v.is_finite())
        {
            let why = format!("expected finite pixels, found {value} at row {row}, column {col}");
            return Err(Error::value("image", why));
        }
        if let Some(spacing) =
            self.spacing.filter(|s| s.iter().any(|v| !(v.is_finite() && *v > 0.0)))
        {
            return Err(Error::value(
                "spacing",
                format!("expected two lengths in mm, found {spacing:?}"),
            ));
        }
        match self.range {
            Some([low, high]) if !(low < high && low.is_finite() && high.is_finite()) => {
                Err(Error::value("range", format!("expected low < high, found {low} and {high}")))
            }
            _ => Ok(()),
        }
    }
}
