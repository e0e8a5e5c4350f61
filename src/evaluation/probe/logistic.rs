//! L2-regularised logistic regression, one label at a time, to a small gradient.
//!
//! Minimises mean loss + ‖w‖² / (2 C N), as scikit-learn does, with the bias left free.
//!
//! Source: truncated Newton steps by conjugate gradients with a backtracking line search
//! (Nocedal & Wright, Numerical Optimization, 2nd ed., algorithm 7.1).

use ndarray::{Array1, Array2, ArrayView1, ArrayView2, s};

use super::blocks::{Scaler, fold_blocks};
use super::{Body, Probe, Targets, check_features};
use crate::progress::Progress;
use crate::{Error, Result};

/// How to fit a logistic probe.
#[derive(Clone, Copy, Debug)]
pub struct LogisticOptions {
    /// Inverse strength of the regularisation.
    pub c: f64,
    /// Whether to standardise features first.
    pub standardise: bool,
    /// The largest gradient of the mean loss at which to stop.
    pub tolerance: f64,
    /// The most Newton steps for a label.
    pub max_steps: usize,
}

impl Default for LogisticOptions {
    fn default() -> Self {
        Self { c: 1.0, standardise: true, tolerance: 1e-8, max_steps: 100 }
    }
}

/// Fits one logistic regression for each label; the second value says which did not converge.
pub fn fit_logistic(
    features: ArrayView2<'_, f32>,
    targets: &Targets,
    options: &LogisticOptions,
    progress: &Progress,
) -> Result<(Probe, Vec<usize>)> {
    check_features(features, None)?;
    if !(options.c > 0.0 && options.c.is_finite()) {
        let why = format!("got {}, expected a positive number", options.c);
        return Err(Error::value("C", why));
    }
    let labels = targets.truth.ncols();
    let scaler = Scaler::fit(features, options.standardise);
    let mut weight = Array2::zeros((labels, features.ncols()));
    let mut bias = Array1::zeros(labels);
    let mut unfinished = Vec::new();
    progress.set_total(labels);
    for label in 0..labels {
        let truth = targets.truth.column(label);
        let problem = Problem::new(features, &scaler, truth, targets.weight.column(label), options);
        let (solution, converged) = problem.solve(options, progress)?;
        if !converged {
            unfinished.push(label);
        }
        weight.row_mut(label).assign(&solution.slice(s![..-1]));
        bias[label] = solution[features.ncols()];
        progress.tick(1)?;
    }
    Ok((Probe { scaler, body: Body::Linear { weight, bias } }, unfinished))
}

/// Mean loss of one label as a function of (w, b), a vector of D + 1.
pub(super) struct Problem<'a> {
    features: ArrayView2<'a, f32>,
    scaler: &'a Scaler,
    truth: ArrayView1<'a, f64>,
    /// Share of each row in the mean.
    share: Array1<f64>,
    /// 1 / (C N).
    ridge: f64,
}

impl<'a> Problem<'a> {
    pub(super) fn new(
        features: ArrayView2<'a, f32>,
        scaler: &'a Scaler,
        truth: ArrayView1<'a, f64>,
        weight: ArrayView1<'_, f64>,
        options: &LogisticOptions,
    ) -> Self {
        let total = weight.sum();
        let ridge = 1.0 / (options.c * total);
        Self { features, scaler, truth, share: &weight / total, ridge }
    }

    fn width(&self) -> usize {
        self.features.ncols() + 1
    }

    /// Loss and gradient at `at`.
    fn evaluate(&self, at: &Array1<f64>) -> (f64, Array1<f64>) {
        let d = self.features.ncols();
        let (w, b) = (at.slice(s![..d]), at[d]);
        let sums = fold_blocks(self.features.nrows(), d + 2, |start, end, out| {
            let block = self.scaler.apply(self.features.slice(s![start..end, ..]));
            let logits = block.dot(&w) + b;
            let mut residual = Array1::zeros(end - start);
            for (i, &z) in logits.iter().enumerate() {
                let (truth, share) = (self.truth[start + i], self.share[start + i]);
                out[d + 1] += share * (softplus(z) - truth * z);
                residual[i] = share * (sigmoid(z) - truth);
            }
            out.slice_mut(s![..d]).assign(&block.t().dot(&residual));
            out[d] = residual.sum();
        });
        let mut gradient = sums.slice(s![..=d]).to_owned();
        gradient.slice_mut(s![..d]).scaled_add(self.ridge, &w);
        (sums[d + 1] + 0.5 * self.ridge * w.dot(&w), gradient)
    }

    /// Second derivative of the loss by each row's logit (N,).
    fn curvature(&self, at: &Array1<f64>) -> Array1<f64> {
        let d = self.features.ncols();
        let mut logits = Array2::zeros((self.features.nrows(), 1));
        super::blocks::for_each_block(self.scaler, self.features, &mut logits, |block, mut out| {
            out.column_mut(0).assign(&(block.dot(&at.slice(s![..d])) + at[d]));
        });
        let curve = |(&z, &share): (&f64, &f64)| share * sigmoid(z) * sigmoid(-z);
        logits.iter().zip(&self.share).map(curve).collect()
    }

    fn hessian_times(&self, curvature: &Array1<f64>, direction: &Array1<f64>) -> Array1<f64> {
        let d = self.features.ncols();
        let (v, b) = (direction.slice(s![..d]), direction[d]);
        let mut product = fold_blocks(self.features.nrows(), d + 1, |start, end, out| {
            let block = self.scaler.apply(self.features.slice(s![start..end, ..]));
            let change = (block.dot(&v) + b) * curvature.slice(s![start..end]);
            out.slice_mut(s![..d]).assign(&block.t().dot(&change));
            out[d] = change.sum();
        });
        product.slice_mut(s![..d]).scaled_add(self.ridge, &v);
        product
    }

    /// The minimum, and whether the gradient got small enough.
    pub(super) fn solve(
        &self,
        options: &LogisticOptions,
        progress: &Progress,
    ) -> Result<(Array1<f64>, bool)> {
        let mut at = Array1::zeros(self.width());
        let (mut loss, mut gradient) = self.evaluate(&at);
        for _ in 0..options.max_steps {
            if largest(&gradient) <= options.tolerance {
                return Ok((at, true));
            }
            let step = self.newton_step(&gradient, &self.curvature(&at), progress)?;
            let slope = gradient.dot(&step);
            let mut length = 1.0;
            let accepted = loop {
                let candidate = &at + &(length * &step);
                let (new_loss, new_gradient) = self.evaluate(&candidate);
                // Near the minimum a gain drowns in rounding; then a smaller gradient decides.
                let small = largest(&new_gradient) < 0.9 * largest(&gradient);
                let flat = (new_loss - loss).abs() <= 1e-14 * loss.abs();
                if new_loss <= loss + 1e-4 * length * slope || (flat && small) {
                    (at, loss, gradient) = (candidate, new_loss, new_gradient);
                    break true;
                }
                length *= 0.5;
                if length < 1e-10 {
                    break false;
                }
            };
            if !accepted {
                break;
            }
        }
        let converged = largest(&gradient) <= options.tolerance;
        Ok((at, converged))
    }

    /// Solves Hessian · step = −gradient, roughly far from the minimum and well near it.
    fn newton_step(
        &self,
        gradient: &Array1<f64>,
        curvature: &Array1<f64>,
        progress: &Progress,
    ) -> Result<Array1<f64>> {
        let mut step = Array1::zeros(self.width());
        let mut residual = -gradient;
        let mut direction = residual.clone();
        let mut squared = residual.dot(&residual);
        let goal = gradient.dot(gradient) * squared.sqrt().min(0.01);
        for _ in 0..self.width().min(500) * 2 {
            progress.check()?;
            let product = self.hessian_times(curvature, &direction);
            let bend = direction.dot(&product);
            if bend <= 0.0 {
                break;
            }
            let length = squared / bend;
            step.scaled_add(length, &direction);
            residual.scaled_add(-length, &product);
            let next = residual.dot(&residual);
            if next <= goal {
                break;
            }
            direction = &residual + &(next / squared * &direction);
            squared = next;
        }
        Ok(if step.iter().all(|&x| x == 0.0) { -gradient } else { step })
    }
}

fn largest(values: &Array1<f64>) -> f64 {
    values.iter().fold(0.0, |most: f64, x| most.max(x.abs()))
}

/// 1 / (1 + e^−z), without overflow.
pub(super) fn sigmoid(z: f64) -> f64 {
    if z >= 0.0 { 1.0 / (1.0 + (-z).exp()) } else { z.exp() / (1.0 + z.exp()) }
}

/// ln(1 + e^z), without overflow.
pub(super) fn softplus(z: f64) -> f64 {
    z.max(0.0) + (-z.abs()).exp().ln_1p()
}
