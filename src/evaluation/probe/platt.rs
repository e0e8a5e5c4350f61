//! Platt scaling: two numbers that turn a logit into a probability.
//!
//! Source: Platt, "Probabilistic outputs for support vector machines", 1999, with the smoothed
//! targets that keep a perfect separation from becoming certainty.

use ndarray::{Array1, Array2, ArrayView1, Axis};

use super::blocks::Scaler;
use super::logistic::{LogisticOptions, Problem};
use crate::progress::Progress;
use crate::{Error, Result};

/// Slope a and offset b such that the probability is 1 / (1 + e^−(a · logit + b)).
pub fn platt(
    logits: ArrayView1<'_, f64>,
    truth: ArrayView1<'_, f64>,
    weight: ArrayView1<'_, f64>,
) -> Result<[f64; 2]> {
    let known: f64 = weight.iter().filter(|&&w| w > 0.0).count() as f64;
    let positive = truth.iter().zip(weight).filter(|&(&t, &w)| t > 0.5 && w > 0.0).count() as f64;
    let (yes, no) = ((positive + 1.0) / (positive + 2.0), 1.0 / (known - positive + 2.0));
    let targets: Array1<f64> = truth.iter().map(|&t| if t > 0.5 { yes } else { no }).collect();
    let column: Vec<f32> = logits.iter().map(|&z| z as f32).collect();
    let features = Array2::from_shape_vec((column.len(), 1), column)
        .map_err(|error| Error::Internal(error.to_string()))?;
    let scaler = Scaler::fit(features.view(), true);
    let options = LogisticOptions { c: 1e6, ..LogisticOptions::default() };
    let (targets, weight) = (targets.insert_axis(Axis(1)), weight.insert_axis(Axis(1)));
    let problem = Problem::new(features.view(), &scaler, targets.view(), weight, options.c);
    let (solution, _) = problem.solve(&options, &Progress::silent())?;
    let slope = solution[[0, 0]] / scaler.scale[0];
    Ok([slope, solution[[1, 0]] - slope * scaler.mean[0]])
}
