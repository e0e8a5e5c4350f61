//! L2-regularised logistic regression of each label, to a small gradient.
//!
//! Minimises mean loss + ‖w‖² / (2 C N), as scikit-learn does, with the bias left free.
//!
//! Source: truncated Newton steps by conjugate gradients with a backtracking line search
//! (Nocedal & Wright, Numerical Optimization, 2nd ed., algorithm 7.1).

use ndarray::linalg::general_mat_mul;
use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis, Ix2, s};

use super::blocks::{Scaler, fold_blocks, for_each_block};
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
    let scaler = Scaler::fit(features, options.standardise);
    let (truth, weight) = (targets.truth.view(), targets.weight.view());
    let problem = Problem::new(features, &scaler, truth, weight, options.c);
    let (solution, unfinished) = problem.solve(options, progress)?;
    let weight = solution.slice(s![..-1, ..]).t().as_standard_layout().into_owned();
    let bias = solution.row(features.ncols()).to_owned();
    Ok((Probe { scaler, body: Body::Linear { weight, bias } }, unfinished))
}

/// Mean loss of each label as a function of (w, b), a column of D + 1.
///
/// Labels do not touch each other, but go through the features together: a pass over them is
/// one matrix product for all labels that still need it.
pub(super) struct Problem<'a> {
    features: ArrayView2<'a, f32>,
    scaler: &'a Scaler,
    /// (N, L)
    truth: ArrayView2<'a, f64>,
    /// Share of each row in its label's mean (N, L).
    share: Array2<f64>,
    /// 1 / (C N) of each label.
    ridge: Array1<f64>,
}

impl<'a> Problem<'a> {
    pub(super) fn new(
        features: ArrayView2<'a, f32>,
        scaler: &'a Scaler,
        truth: ArrayView2<'a, f64>,
        weight: ArrayView2<'_, f64>,
        c: f64,
    ) -> Self {
        let total = weight.sum_axis(Axis(0));
        let ridge = total.mapv(|n| 1.0 / (c * n));
        Self { features, scaler, truth, share: &weight / &total, ridge }
    }

    /// Losses (A,) and gradients (D + 1, A) of `labels` at `at` (D + 1, A).
    fn evaluate(&self, at: &Array2<f64>, labels: &[usize]) -> (Array1<f64>, Array2<f64>) {
        let d = self.features.ncols();
        let (w, b) = (at.slice(s![..d, ..]), at.row(d));
        let sums =
            fold_blocks(self.features.nrows(), Ix2(d + 2, labels.len()), |start, end, out| {
                let block = self.scaler.apply(self.features.slice(s![start..end, ..]));
                let mut residual = block.dot(&w) + b; // (R, A)
                for ((row, column), z) in residual.indexed_iter_mut() {
                    let place = [start + row, labels[column]];
                    let (truth, share) = (self.truth[place], self.share[place]);
                    out[[d + 1, column]] += share * (softplus(*z) - truth * *z);
                    *z = share * (sigmoid(*z) - truth);
                }
                add_products(&block, &residual, out);
            });
        let ridge = self.ridge.select(Axis(0), labels);
        let gradient = &sums.slice(s![..=d, ..]) + &self.pull(at, &ridge);
        let penalty = (&w * &w).sum_axis(Axis(0)) * &ridge * 0.5;
        (&sums.row(d + 1) + &penalty, gradient)
    }

    /// The ridge times w, with zero for the bias.
    fn pull(&self, at: &Array2<f64>, ridge: &Array1<f64>) -> Array2<f64> {
        let mut pull = at * ridge;
        pull.row_mut(self.features.ncols()).fill(0.0);
        pull
    }

    /// Second derivative of the loss by each logit (N, A).
    fn curvature(&self, at: &Array2<f64>, labels: &[usize]) -> Array2<f64> {
        let d = self.features.ncols();
        let mut curvature = Array2::zeros((self.features.nrows(), labels.len()));
        for_each_block(self.scaler, self.features, &mut curvature, |block, mut out| {
            out.assign(&(block.dot(&at.slice(s![..d, ..])) + at.row(d)));
        });
        for ((row, column), z) in curvature.indexed_iter_mut() {
            *z = self.share[[row, labels[column]]] * sigmoid(*z) * sigmoid(-*z);
        }
        curvature
    }

    /// Hessians times `directions` (D + 1, A), for the columns `which` of `curvature`.
    fn hessian_times(
        &self,
        curvature: &Array2<f64>,
        which: &[usize],
        ridge: &Array1<f64>,
        directions: &Array2<f64>,
    ) -> Array2<f64> {
        let d = self.features.ncols();
        let (v, b) = (directions.slice(s![..d, ..]), directions.row(d));
        let shape = Ix2(d + 1, which.len());
        let product = fold_blocks(self.features.nrows(), shape, |start, end, out| {
            let block = self.scaler.apply(self.features.slice(s![start..end, ..]));
            let mut change = block.dot(&v) + b; // (R, A)
            for ((row, column), z) in change.indexed_iter_mut() {
                *z *= curvature[[start + row, which[column]]];
            }
            add_products(&block, &change, out);
        });
        product + self.pull(directions, ridge)
    }

    /// The minima (D + 1, L), and the labels whose gradient did not get small enough.
    pub(super) fn solve(
        &self,
        options: &LogisticOptions,
        progress: &Progress,
    ) -> Result<(Array2<f64>, Vec<usize>)> {
        let labels: Vec<usize> = (0..self.ridge.len()).collect();
        progress.set_total(labels.len());
        let mut at = Array2::zeros((self.features.ncols() + 1, labels.len()));
        let (mut loss, mut gradient) = self.evaluate(&at, &labels);
        let mut active = labels.clone();
        for step in 0..=options.max_steps {
            let before = active.len();
            active.retain(|&label| largest(gradient.column(label)) > options.tolerance);
            progress.tick(before - active.len())?;
            if active.is_empty() || step == options.max_steps {
                break;
            }
            let steps = self.newton_steps(&at, &gradient, &active, progress)?;
            let stuck = self.line_search(&active, &steps, &mut at, &mut loss, &mut gradient);
            active.retain(|label| !stuck.contains(label));
        }
        let finished = |label: &usize| largest(gradient.column(*label)) <= options.tolerance;
        let unfinished = labels.into_iter().filter(|label| !finished(label)).collect();
        Ok((at, unfinished))
    }

    /// Moves each of `active` along its step, halved until it helps; returns those it never did.
    fn line_search(
        &self,
        active: &[usize],
        steps: &Array2<f64>,
        at: &mut Array2<f64>,
        loss: &mut Array1<f64>,
        gradient: &mut Array2<f64>,
    ) -> Vec<usize> {
        let mut length = 1.0;
        // Places in `active` that still look for a length.
        let mut pending: Vec<usize> = (0..active.len()).collect();
        while !pending.is_empty() && length > 1e-10 {
            let labels: Vec<usize> = pending.iter().map(|&place| active[place]).collect();
            let moved = steps.select(Axis(1), &pending) * length;
            let candidate = at.select(Axis(1), &labels) + moved;
            let (new_loss, new_gradient) = self.evaluate(&candidate, &labels);
            let mut column = 0;
            pending.retain(|&place| {
                let (label, own) = (active[place], column);
                column += 1;
                let slope = gradient.column(label).dot(&steps.column(place));
                // Near the minimum a gain drowns in rounding; then a smaller gradient decides.
                let small =
                    largest(new_gradient.column(own)) < 0.9 * largest(gradient.column(label));
                let flat = (new_loss[own] - loss[label]).abs() <= 1e-14 * loss[label].abs();
                if new_loss[own] > loss[label] + 1e-4 * length * slope && !(flat && small) {
                    return true;
                }
                at.column_mut(label).assign(&candidate.column(own));
                gradient.column_mut(label).assign(&new_gradient.column(own));
                loss[label] = new_loss[own];
                false
            });
            length *= 0.5;
        }
        pending.into_iter().map(|place| active[place]).collect()
    }

    /// Solves Hessian · step = −gradient for each of `active`: roughly far from the minimum,
    /// well near it.
    fn newton_steps(
        &self,
        at: &Array2<f64>,
        gradient: &Array2<f64>,
        active: &[usize],
        progress: &Progress,
    ) -> Result<Array2<f64>> {
        let curvature = self.curvature(&at.select(Axis(1), active), active);
        let mut steps = Array2::zeros((at.nrows(), active.len()));
        let mut residual = -gradient.select(Axis(1), active);
        let mut direction = residual.clone();
        let mut squared = squares(&residual);
        let goal = squared.mapv(|s| s * s.sqrt().min(0.01));
        // Places in `active` that are not solved yet.
        let mut open: Vec<usize> = (0..active.len()).collect();
        for _ in 0..2 * at.nrows().min(500) {
            progress.check()?;
            let labels: Vec<usize> = open.iter().map(|&place| active[place]).collect();
            let ridge = self.ridge.select(Axis(0), &labels);
            let directions = direction.select(Axis(1), &open);
            let product = self.hessian_times(&curvature, &open, &ridge, &directions);
            let bends = (&directions * &product).sum_axis(Axis(0));
            let mut column = 0;
            open.retain(|&place| {
                let own = column;
                column += 1;
                if bends[own] <= 0.0 {
                    return false;
                }
                let length = squared[place] / bends[own];
                steps.column_mut(place).scaled_add(length, &directions.column(own));
                residual.column_mut(place).scaled_add(-length, &product.column(own));
                let rest = residual.column(place);
                let next = rest.dot(&rest);
                let turned = &rest + &(next / squared[place] * &directions.column(own));
                direction.column_mut(place).assign(&turned);
                squared[place] = next;
                next > goal[place]
            });
            if open.is_empty() {
                break;
            }
        }
        Ok(steps)
    }
}

/// Adds block' · values (D, A) to the first D rows of `out`, and column sums to the next.
fn add_products(block: &Array2<f64>, values: &Array2<f64>, out: &mut Array2<f64>) {
    let d = block.ncols();
    general_mat_mul(1.0, &block.t(), values, 1.0, &mut out.slice_mut(s![..d, ..]));
    let sums = values.sum_axis(Axis(0));
    out.row_mut(d).scaled_add(1.0, &sums);
}

fn squares(values: &Array2<f64>) -> Array1<f64> {
    values.mapv(|x| x * x).sum_axis(Axis(0))
}

fn largest(values: ArrayView1<'_, f64>) -> f64 {
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
