//! A film as an array with what a reader must know about it.

use ndarray::Array2;
use serde::{Deserialize, Serialize};

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
}
