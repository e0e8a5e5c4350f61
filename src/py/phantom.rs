//! Synthetic studies.

use numpy::{PyArray1, PyArrayMethods};
use pyo3::prelude::*;

use super::call;
use crate::data::phantom::{self, PhantomOptions};
use crate::data::{MaskPixels, Pixels};

/// Debug.
#[pyfunction]
pub(super) fn phantom_debug(
    py: Python<'_>,
    studies: usize,
    seed: u64,
    size: usize,
) -> PyResult<(Py<PyAny>, Py<PyAny>, Py<PyAny>, Vec<String>)> {
    let options = PhantomOptions { studies, seed, size, ..PhantomOptions::default() };
    let data = call::long(py, None, |p| phantom::generate(&options, p))?;
    let mut films: Vec<f32> = Vec::new();
    let mut labels: Vec<f32> = Vec::new();
    let mut masks: Vec<u8> = Vec::new();
    let mut texts = Vec::new();
    for study in &data.studies {
        if let Pixels::Memory(image) = &study.films[0].pixels {
            films.extend(image.pixels.iter());
        }
        labels.extend(&study.labels);
        let mut mask = vec![0u8; size * size];
        for m in &study.masks {
            let bit = match m.finding.as_str() {
                "right lung" | "left lung" => 1,
                "heart" => 2,
                _ => 4,
            };
            if let MaskPixels::Memory(pixels) = &m.mask {
                for (out, inside) in mask.iter_mut().zip(pixels.iter()) {
                    *out |= bit * u8::from(*inside);
                }
            }
        }
        masks.extend(mask);
        let film = &study.films[0];
        texts.push(format!(
            "{:?}\n{:?}\n{:?}\n{:?}",
            film.view, study.attributes, study.report, study.record
        ));
    }
    let films = PyArray1::from_vec(py, films).reshape([studies, size, size])?;
    let labels = PyArray1::from_vec(py, labels).reshape([studies, 10])?;
    let masks = PyArray1::from_vec(py, masks).reshape([studies, size, size])?;
    Ok((films.into_any().unbind(), labels.into_any().unbind(), masks.into_any().unbind(), texts))
}
