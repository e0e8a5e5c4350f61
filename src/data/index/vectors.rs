//! Vectors checked, and made ready for storing and comparing.

use ndarray::{Array3, ArrayView3};

use super::layout::{Layout, Metric, Precision};
use crate::{Error, Result};

/// Fails unless `vectors` is (N, V, D), with V free when `per_row` does not say.
pub(super) fn check_vectors(
    what: &str,
    vectors: ArrayView3<'_, f32>,
    layout: &Layout,
    per_row: Option<usize>,
) -> Result<()> {
    let (n, v, d) = vectors.dim();
    if d != layout.dimension || v == 0 || per_row.is_some_and(|expected| v != expected) {
        let middle = per_row.map_or("Q".to_owned(), |expected| expected.to_string());
        let expected = format!("(n, {middle}, {})", layout.dimension);
        return Err(Error::shape(what, expected, &[n, v, d]));
    }
    Ok(())
}

/// The vectors as they are stored: finite, of length one under the cosine, densely laid out.
pub(super) fn ready(
    what: &str,
    vectors: ArrayView3<'_, f32>,
    layout: &Layout,
) -> Result<Array3<f32>> {
    let mut vectors = vectors.as_standard_layout().into_owned();
    let limit = if layout.precision == Precision::Float16 { 65504.0 } else { f32::MAX };
    let per_row = vectors.dim().1.max(1);
    for (row, mut vector) in vectors.rows_mut().into_iter().enumerate() {
        let row = row / per_row;
        if vector.iter().any(|x| !x.is_finite()) {
            let why = format!("row {row} holds NaN or infinity, expected finite numbers");
            return Err(Error::value(what, why));
        }
        if layout.metric == Metric::Cosine {
            let length = vector.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt();
            if length == 0.0 {
                let why = format!("row {row} is all zeros, which has no cosine");
                return Err(Error::value(what, why));
            }
            vector.mapv_inplace(|x| (f64::from(x) / length) as f32);
        } else if vector.iter().any(|x| x.abs() > limit) {
            let why = format!("row {row} exceeds 65504, the largest float16; use float32");
            return Err(Error::value(what, why));
        }
    }
    Ok(vectors)
}
