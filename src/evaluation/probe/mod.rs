//! Classifiers on frozen features: logistic regression or a small network, label by label.
//!
//! A truth that is unknown (weight zero) takes no part, so films with some labels missing
//! serve the others.

mod blocks;
mod logistic;
mod network;
mod optimiser;
mod platt;
mod store;

use ndarray::{Array1, Array2, ArrayView2};

pub use blocks::Scaler;
pub use logistic::{LogisticOptions, fit_logistic};
pub use network::{Dense, Network, NetworkOptions, fit_network};
pub use platt::platt;

use crate::metrics::Policy;
use crate::{Error, Result};

/// Truth and weight of each label (N, L); unknown truth has weight zero.
#[derive(Clone, Debug)]
pub struct Targets {
    /// One where present, zero elsewhere.
    pub truth: Array2<f64>,
    /// How much each truth counts.
    pub weight: Array2<f64>,
}

impl Targets {
    /// Reads `labels` (N, L) under `policy`; `balanced` makes both classes of a label weigh alike.
    ///
    /// `names` are the labels' names, for messages.
    pub fn new(
        labels: ArrayView2<'_, f64>,
        policy: Policy,
        balanced: bool,
        names: &[String],
    ) -> Result<Self> {
        let mut truth = Array2::zeros(labels.dim());
        let mut weight = Array2::zeros(labels.dim());
        for ((row, column), &label) in labels.indexed_iter() {
            let known = policy
                .truth(label)
                .map_err(|_| Error::value("y", format!("row {row} holds {label}, {EXPECTED}")))?;
            if let Some(present) = known {
                truth[[row, column]] = f64::from(u8::from(present));
                weight[[row, column]] = 1.0;
            }
        }
        for column in 0..labels.ncols() {
            let known = weight.column(column).sum();
            let positive = truth.column(column).sum();
            if positive < 0.5 || known - positive < 0.5 {
                let name = names.get(column).map_or_else(|| column.to_string(), Clone::clone);
                let why = format!(
                    "label {name} has {positive} positive and {} negative rows, expected both; \
                     leave it out or change the policy",
                    known - positive
                );
                return Err(Error::value("y", why));
            }
            if balanced {
                for row in 0..labels.nrows() {
                    let own = if truth[[row, column]] > 0.5 { positive } else { known - positive };
                    weight[[row, column]] *= known / (2.0 * own);
                }
            }
        }
        Ok(Self { truth, weight })
    }
}

const EXPECTED: &str = "expected 0 (absent), 1 (present), -1 (uncertain) or NaN";

/// What turns standardised features into logits.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// Logit = x · weight + bias.
    Linear {
        /// (L, D)
        weight: Array2<f64>,
        /// (L,)
        bias: Array1<f64>,
    },
    /// A multilayer perceptron.
    Network(Network),
}

/// A fitted probe: standardisation, then logits.
#[derive(Clone, Debug, PartialEq)]
pub struct Probe {
    /// The standardisation learnt from the training features.
    pub scaler: Scaler,
    /// The rest.
    pub body: Body,
}

impl Probe {
    /// How many features a row has, D.
    pub fn features(&self) -> usize {
        self.scaler.mean.len()
    }

    /// How many labels there are, L.
    pub fn labels(&self) -> usize {
        match &self.body {
            Body::Linear { bias, .. } => bias.len(),
            Body::Network(network) => network.outputs(),
        }
    }

    /// Logits (N, L) of features (N, D).
    pub fn decision(&self, features: ArrayView2<'_, f32>) -> Result<Array2<f64>> {
        check_features(features, Some(self.features()))?;
        let mut logits = Array2::zeros((features.nrows(), self.labels()));
        blocks::for_each_block(&self.scaler, features, &mut logits, |block, mut out| {
            match &self.body {
                Body::Linear { weight, bias } => out.assign(&(block.dot(&weight.t()) + bias)),
                Body::Network(network) => {
                    let block = block.mapv(|x| x as f32);
                    out.assign(&network.forward(block.view()).mapv(f64::from));
                }
            }
        });
        Ok(logits)
    }
}

/// Fails unless `features` is a finite (N, D) with N > 0, and D as `expected` where it is said.
pub fn check_features(features: ArrayView2<'_, f32>, expected: Option<usize>) -> Result<()> {
    let (n, d) = features.dim();
    if n == 0 || d == 0 || expected.is_some_and(|expected| expected != d) {
        let d_expected = expected.map_or("d".to_owned(), |d| d.to_string());
        return Err(Error::shape("X", format!("(n, {d_expected}) with n > 0"), &[n, d]));
    }
    if let Some(((row, column), value)) = features.indexed_iter().find(|(_, x)| !x.is_finite()) {
        let why = format!("row {row}, feature {column} is {value}, expected finite numbers");
        return Err(Error::value("X", why));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
