//! What the loader hands out.

use ndarray::Array3;

use crate::Error;

/// A film that could not be prepared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowError {
    /// The study's index in the data set.
    pub index: usize,
    /// What was wrong.
    pub message: String,
}

/// Films of equal shape, ready for a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// The number of the batch in its epoch.
    pub number: usize,
    /// For each row of `pixels`, the study's index in the data set.
    pub indices: Vec<usize>,
    /// The pixels (B, C, H, W), in row-major order.
    pub pixels: Vec<f32>,
    /// B, C, H, W; all but B are 0 when every film failed.
    pub shape: [usize; 4],
    /// The films that could not be prepared.
    pub failures: Vec<RowError>,
}

impl Batch {
    /// Adds a film, or a failure when its shape is not that of the first; `left` are to come.
    pub(super) fn add(&mut self, index: usize, film: &Array3<f32>, left: usize) {
        let (channels, height, width) = film.dim();
        if self.indices.is_empty() {
            self.shape = [0, channels, height, width];
            self.pixels.reserve(film.len() * (left + 1));
        }
        if self.shape[1..] != [channels, height, width] {
            let [_, c, h, w] = self.shape;
            let expected = format!("({c}, {h}, {w}) as in the first film of the batch");
            let message = Error::shape("prepared film", expected, film.shape()).to_string();
            return self.failures.push(RowError { index, message });
        }
        self.pixels.extend(film.iter());
        self.indices.push(index);
        self.shape[0] += 1;
    }
}
