//! `AdamW` on plain arrays.
//!
//! Source: Loshchilov & Hutter, "Decoupled weight decay regularization", arXiv:1711.05101.

use ndarray::{Array, Dimension, Zip};

const BETA1: f32 = 0.9;
const BETA2: f32 = 0.999;
const EPSILON: f32 = 1e-8;

/// Running moments of one parameter array.
#[derive(Clone, Debug)]
pub(super) struct AdamW<D: Dimension> {
    first: Array<f32, D>,
    second: Array<f32, D>,
    steps: i32,
}

impl<D: Dimension> AdamW<D> {
    pub(super) fn new(parameter: &Array<f32, D>) -> Self {
        let zeros = Array::zeros(parameter.raw_dim());
        Self { first: zeros.clone(), second: zeros, steps: 0 }
    }

    /// One step of `rate`, with `decay` of the parameter itself.
    pub(super) fn step(
        &mut self,
        parameter: &mut Array<f32, D>,
        gradient: &Array<f32, D>,
        rate: f32,
        decay: f32,
    ) {
        self.steps = self.steps.saturating_add(1);
        let (unbias1, unbias2) = (1.0 - BETA1.powi(self.steps), 1.0 - BETA2.powi(self.steps));
        Zip::from(parameter).and(gradient).and(&mut self.first).and(&mut self.second).for_each(
            |p, &g, m, v| {
                *m = BETA1 * *m + (1.0 - BETA1) * g;
                *v = BETA2 * *v + (1.0 - BETA2) * g * g;
                *p -= rate * (*m / unbias1 / ((*v / unbias2).sqrt() + EPSILON) + decay * *p);
            },
        );
    }
}
