//! Zero-shot scores: how much more a film looks like "present" than like "absent".

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// How the phrases of the two sides become one score.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scoring {
    /// The largest cosine over queries and phrases of the present side, less that of the absent
    /// side (CXR Foundation's rule, extended to several phrases a side). In [−2, 2].
    #[default]
    Margin,
    /// Phrases averaged to one text embedding a side, then a softmax over the two cosines times
    /// the model's scale (MedSigLIP's rule). In [0, 1], yet not calibrated.
    Softmax,
}

/// Unit text embeddings of the two sides of one finding, row after row.
#[derive(Clone, Debug)]
pub struct Sides {
    /// Embeddings of the present side (P, E).
    pub present: Vec<f32>,
    /// Embeddings of the absent side (A, E).
    pub absent: Vec<f32>,
}

/// One score for each film. `films` holds unit embeddings (N, Q, E); a film that could not be
/// read is NaN and so is its score. `scale` is the model's logit scale.
pub fn scores(
    films: &[f32],
    (queries, width): (usize, usize),
    sides: &Sides,
    scoring: Scoring,
    scale: f32,
) -> Result<Vec<f32>> {
    let stride = queries * width;
    if stride == 0 || !films.len().is_multiple_of(stride) {
        return Err(Error::shape("films", format!("(N, {queries}, {width})"), &[films.len()]));
    }
    for (name, side) in [("present", &sides.present), ("absent", &sides.absent)] {
        if side.is_empty() || side.len() % width != 0 {
            return Err(Error::shape(name, format!("(P, {width}) with P ≥ 1"), &[side.len()]));
        }
    }
    let (present, absent) = match scoring {
        Scoring::Margin => (sides.present.clone(), sides.absent.clone()),
        Scoring::Softmax => (mean_unit(&sides.present, width), mean_unit(&sides.absent, width)),
    };
    let one = |film: &[f32]| {
        let (yes, no) = (best(film, &present, width), best(film, &absent, width));
        match scoring {
            Scoring::Margin => yes - no,
            Scoring::Softmax => 1.0 / (1.0 + (scale * (no - yes)).exp()),
        }
    };
    Ok(films.par_chunks(stride).map(one).collect())
}

/// The largest dot product of any query with any text; NaN when the film is NaN.
fn best(film: &[f32], texts: &[f32], width: usize) -> f32 {
    let mut best = f32::NEG_INFINITY;
    for query in film.chunks_exact(width) {
        for text in texts.chunks_exact(width) {
            let dot: f32 = query.iter().zip(text).map(|(a, b)| a * b).sum();
            if dot.is_nan() {
                return f32::NAN;
            }
            best = best.max(dot);
        }
    }
    best
}

fn mean_unit(texts: &[f32], width: usize) -> Vec<f32> {
    let mut mean = vec![0f32; width];
    for text in texts.chunks_exact(width) {
        mean.iter_mut().zip(text).for_each(|(m, t)| *m += t);
    }
    let norm = mean.iter().map(|m| m * m).sum::<f32>().sqrt().max(1e-12);
    mean.iter().map(|m| m / norm).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILMS: &[f32] = &[1.0, 0.0, 0.0, 1.0, 0.6, 0.8, 0.6, 0.8]; // two films, two queries

    #[test]
    fn the_margin_is_the_difference_of_the_best_matches() {
        let sides = Sides { present: vec![1.0, 0.0], absent: vec![0.8, 0.6] };
        let got = scores(FILMS, (2, 2), &sides, Scoring::Margin, 1.0).unwrap();
        assert!((got[0] - 0.2).abs() < 1e-6 && (got[1] - (0.6 - 0.96)).abs() < 1e-6, "{got:?}");
    }

    #[test]
    fn the_softmax_averages_phrases_first() {
        let sides = Sides { present: vec![1.0, 0.0, 0.0, 1.0], absent: vec![0.0, 1.0] };
        let got = scores(FILMS, (2, 2), &sides, Scoring::Softmax, 2.0).unwrap();
        let expected = 1.0 / (1.0 + (2.0f32 * (1.0 - 0.5f32.sqrt())).exp());
        assert!((got[0] - expected).abs() < 1e-6, "{got:?}");
    }

    #[test]
    fn a_film_that_could_not_be_read_scores_nan() {
        let sides = Sides { present: vec![1.0, 0.0], absent: vec![0.0, 1.0] };
        let films = [f32::NAN, f32::NAN, 1.0, 0.0];
        let got = scores(&films, (1, 2), &sides, Scoring::Margin, 1.0).unwrap();
        assert!(got[0].is_nan() && (got[1] - 1.0).abs() < 1e-6);
    }

    #[test]
    fn a_side_without_phrases_is_refused() {
        let sides = Sides { present: vec![], absent: vec![0.0, 1.0] };
        let error = scores(FILMS, (2, 2), &sides, Scoring::Margin, 1.0).unwrap_err().to_string();
        assert!(error.starts_with("present: expected shape (P, 2) with P ≥ 1"), "{error}");
    }
}
