//! A whole data set as one array, for models and estimators that take it at once.

use std::sync::Arc;

use super::{Cache, Dataset, Loader, LoaderOptions, Prepare, RowError};
use crate::progress::Progress;
use crate::{Error, Result};

/// Every film of a data set, prepared.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensors {
    /// The pixels (N, C, H, W) in row-major order; NaN where a film failed.
    pub pixels: Vec<f32>,
    /// N, C, H, W.
    pub shape: [usize; 4],
    /// The films that could not be prepared.
    pub failures: Vec<RowError>,
}

impl Dataset {
    /// The first film of every study, prepared, in the data set's order.
    ///
    /// All of it must fit into memory; [`Loader`] gives it in batches instead.
    pub fn tensors(
        dataset: &Arc<Self>,
        prepare: Prepare,
        cache: &Arc<Cache>,
        workers: usize,
        progress: &Progress,
    ) -> Result<Tensors> {
        let count = dataset.len();
        progress.set_total(count);
        let options = LoaderOptions { workers, ..LoaderOptions::sequential(32) };
        let loader = Loader::new(Arc::clone(dataset), prepare, Arc::clone(cache), options)?;
        let mut epoch = loader.epoch(0)?;
        let mut all = Tensors { pixels: Vec::new(), shape: [count, 0, 0, 0], failures: Vec::new() };
        while let Some(batch) = epoch.next_batch(progress)? {
            let done = batch.indices.len() + batch.failures.len();
            all.failures.extend(batch.failures);
            if !batch.indices.is_empty() {
                if all.pixels.is_empty() {
                    all.shape[1..].copy_from_slice(&batch.shape[1..]);
                    all.pixels = filled(all.shape)?;
                }
                if all.shape[1..] == batch.shape[1..] {
                    let size = all.shape[1..].iter().product::<usize>();
                    for (film, &index) in batch.pixels.chunks(size.max(1)).zip(&batch.indices) {
                        all.pixels[index * size..(index + 1) * size].copy_from_slice(film);
                    }
                } else {
                    let [_, c, h, w] = all.shape;
                    let expected = format!("({c}, {h}, {w}) as in the first film");
                    let wrong = Error::shape("prepared film", expected, &batch.shape[1..]);
                    let message = wrong.to_string();
                    let row = |&index| RowError { index, message: message.clone() };
                    all.failures.extend(batch.indices.iter().map(row));
                }
            }
            progress.tick(done)?;
        }
        match all.failures.first() {
            Some(first) if all.pixels.is_empty() => {
                let why = format!("all {count} films failed; the first: {}", first.message);
                Err(Error::value("dataset", why))
            }
            _ => Ok(all),
        }
    }
}

/// An array of NaN, or an error when it does not fit into memory.
fn filled(shape: [usize; 4]) -> Result<Vec<f32>> {
    let size = shape.iter().try_fold(1usize, |size, &side| size.checked_mul(side));
    let mut pixels = Vec::new();
    let fits = size.is_some_and(|size| {
        let bytes = size.saturating_mul(size_of::<f32>()) as u64;
        available_memory().is_none_or(|free| bytes <= free)
            && pixels.try_reserve_exact(size).is_ok()
    });
    if !fits {
        let why =
            format!("found films of {shape:?} floats, which do not fit into memory; batches do");
        return Err(Error::value("dataset", why));
    }
    pixels.resize(size.unwrap_or(0), f32::NAN);
    Ok(pixels)
}

/// Bytes of memory that are free, where the system tells: asking for more would end the process.
fn available_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("MemAvailable:"))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, Axis};

    use super::*;
    use crate::data::{Film, Pixels, Study};
    use crate::imaging::{Image, View};

    fn dataset(sides: &[usize]) -> Arc<Dataset> {
        let study = |(index, &side): (usize, &usize)| {
            let image = Image::from_pixels(Array2::from_elem((side, side), index as f32));
            let film = Film { pixels: Pixels::Memory(Arc::new(image)), view: View::Unknown };
            Arc::new(Study { id: index.to_string(), films: vec![film], ..Study::default() })
        };
        let studies = sides.iter().enumerate().map(study).collect();
        Arc::new(Dataset { findings: vec![], studies })
    }

    fn tensors(sides: &[usize]) -> Result<Tensors> {
        let prepare = Prepare::new("plain", |image| {
            if image.pixels.nrows() == 9 {
                return Err(Error::value("film", "too large"));
            }
            Ok(image.pixels.clone().insert_axis(Axis(0)))
        });
        let progress = Progress::silent();
        let all = Dataset::tensors(&dataset(sides), prepare, &Arc::default(), 2, &progress);
        assert!(all.is_err() || progress.counts() == (sides.len(), sides.len()));
        all
    }

    #[test]
    fn rows_keep_their_places_and_failures_are_nan() {
        let mut sides = vec![2; 70];
        (sides[3], sides[5]) = (9, 3);
        let all = tensors(&sides).unwrap();
        assert_eq!(all.shape, [70, 1, 2, 2]);
        assert!((all.pixels[69 * 4] - 69.0).abs() < 1e-9 && all.pixels[3 * 4].is_nan());
        assert_eq!(all.failures.iter().map(|f| f.index).collect::<Vec<_>>(), [3, 5]);
    }

    #[test]
    fn a_data_set_without_a_readable_film_says_why() {
        let error = tensors(&[9, 9]).unwrap_err().to_string();
        assert_eq!(error, "dataset: all 2 films failed; the first: film: too large");
    }
}
