//! A multilayer perceptron with a logit for each label, trained by `AdamW`.
//!
//! Hidden layers are linear, rectifier, dropout; the loss is the weighted mean of binary
//! cross-entropies over known truths. Whole groups (patients) are held out to stop early.

use ndarray::{Array1, Array2, ArrayView2, Axis};
use serde_json::json;

use super::blocks::Scaler;
use super::optimiser::AdamW;
use super::{Body, Probe, Targets, check_features};
use crate::progress::Progress;
use crate::random::Random;
use crate::{Error, Result};

/// How to fit a network.
#[derive(Clone, Debug)]
pub struct NetworkOptions {
    /// Widths of the hidden layers.
    pub hidden: Vec<usize>,
    /// Share of hidden units silenced at each step.
    pub dropout: f32,
    /// Step size.
    pub learning_rate: f32,
    /// Decoupled decay of weights.
    pub weight_decay: f32,
    /// The most passes over the data.
    pub epochs: usize,
    /// Rows of one step.
    pub batch_size: usize,
    /// Share of groups held out to stop early; zero trains all epochs on all rows.
    pub validation: f64,
    /// Epochs without a better held-out loss before stopping.
    pub patience: usize,
    /// Whether to standardise features first.
    pub standardise: bool,
    /// What names the random streams.
    pub seed: u64,
}

impl NetworkOptions {
    fn check(&self) -> Result<()> {
        let wrong = |what: &str, why: String| Err(Error::value(what, why));
        let widths = self.hidden.iter().all(|h| (1..=1 << 16).contains(h));
        if self.hidden.is_empty() || self.hidden.len() > 8 || !widths {
            let why = format!("got {:?}, expected one to eight widths of 1 to 65536", self.hidden);
            return wrong("hidden", why);
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return wrong("dropout", format!("got {}, expected a share in [0, 1)", self.dropout));
        }
        if !(0.0..1.0).contains(&self.validation) {
            let why = format!("got {}, expected a share in [0, 1)", self.validation);
            return wrong("validation", why);
        }
        let rates = [("learning_rate", self.learning_rate), ("weight_decay", self.weight_decay)];
        for (what, rate) in rates {
            if !(rate >= 0.0 && rate.is_finite()) {
                return wrong(what, format!("got {rate}, expected zero or a positive number"));
            }
        }
        let counts = [("epochs", self.epochs), ("batch_size", self.batch_size)];
        for (what, count) in counts {
            if count == 0 {
                return wrong(what, "got 0, expected at least 1".to_owned());
            }
        }
        Ok(())
    }
}

/// A linear layer: x · weight + bias.
#[derive(Clone, Debug, PartialEq)]
pub struct Dense {
    /// (in, out)
    pub weight: Array2<f32>,
    /// (out,)
    pub bias: Array1<f32>,
}

/// Linear layers with rectifiers between them.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// First to last.
    pub layers: Vec<Dense>,
}

impl Network {
    fn new(widths: &[usize], seed: u64) -> Self {
        let layers = widths.windows(2).enumerate().map(|(number, pair)| {
            let mut random = Random::new(seed, &[0, number as u64]);
            let spread = (2.0 / pair[0] as f64).sqrt();
            let draw = || (random.normal() * spread) as f32;
            let weight = Array2::from_shape_simple_fn((pair[0], pair[1]), draw);
            Dense { weight, bias: Array1::zeros(pair[1]) }
        });
        Self { layers: layers.collect() }
    }

    /// How many logits a row gets.
    pub fn outputs(&self) -> usize {
        self.layers.last().map_or(0, |layer| layer.bias.len())
    }

    /// Logits (N, L) of standardised features (N, D).
    pub fn forward(&self, features: ArrayView2<'_, f32>) -> Array2<f32> {
        let mut x = features.to_owned();
        for (number, layer) in self.layers.iter().enumerate() {
            if number > 0 {
                x.mapv_inplace(|v| v.max(0.0));
            }
            x = x.dot(&layer.weight) + &layer.bias;
        }
        x
    }

    /// Loss of a batch, and the gradient of every layer.
    fn backward(&self, batch: &Batch, dropout: f32, random: &mut Random) -> (f64, Vec<Dense>) {
        // What enters each layer; the gate says which units of it pass gradient, and how much.
        let mut inputs = vec![batch.features.clone()];
        let mut gates: Vec<Array2<f32>> = Vec::new();
        for layer in &self.layers[..self.layers.len() - 1] {
            let x = inputs[inputs.len() - 1].dot(&layer.weight) + &layer.bias;
            let gate = x.mapv(|v| {
                let drop = dropout > 0.0 && random.chance(f64::from(dropout));
                if v > 0.0 && !drop { 1.0 / (1.0 - dropout) } else { 0.0 }
            });
            inputs.push(x * &gate);
            gates.push(gate);
        }
        let last = &self.layers[self.layers.len() - 1];
        let logits = inputs[inputs.len() - 1].dot(&last.weight) + &last.bias;
        let (loss, mut slope) = batch.loss(&logits);
        let mut gradients = Vec::with_capacity(self.layers.len());
        for number in (0..self.layers.len()).rev() {
            let weight = inputs[number].t().dot(&slope);
            gradients.push(Dense { weight, bias: slope.sum_axis(Axis(0)) });
            if number > 0 {
                slope = slope.dot(&self.layers[number].weight.t()) * &gates[number - 1];
            }
        }
        gradients.reverse();
        (loss, gradients)
    }
}

/// Rows of one step.
struct Batch {
    features: Array2<f32>,
    truth: Array2<f64>,
    weight: Array2<f64>,
}

impl Batch {
    fn new(scaler: &Scaler, x: ArrayView2<'_, f32>, targets: &Targets, rows: &[usize]) -> Self {
        let features = scaler.apply(x.select(Axis(0), rows).view()).mapv(|v| v as f32);
        let truth = targets.truth.select(Axis(0), rows);
        Self { features, truth, weight: targets.weight.select(Axis(0), rows) }
    }

    /// Weighted mean cross-entropy, and its slope by logit (N, L).
    fn loss(&self, logits: &Array2<f32>) -> (f64, Array2<f32>) {
        let total = self.weight.sum().max(f64::MIN_POSITIVE);
        let mut loss = 0.0;
        let mut slope = Array2::zeros(logits.dim());
        for (at, &logit) in logits.indexed_iter() {
            let (z, truth, weight) = (f64::from(logit), self.truth[at], self.weight[at] / total);
            if weight > 0.0 {
                loss += weight * (super::logistic::softplus(z) - truth * z);
                slope[at] = (weight * (super::logistic::sigmoid(z) - truth)) as f32;
            }
        }
        (loss, slope)
    }
}

/// Fits a network on all labels together; `groups` (N,) names the patient of each row.
///
/// Each epoch emits `{"epoch", "loss", "validation_loss"}`.
pub fn fit_network(
    features: ArrayView2<'_, f32>,
    targets: &Targets,
    groups: &[i64],
    options: &NetworkOptions,
    progress: &Progress,
) -> Result<Probe> {
    check_features(features, None)?;
    options.check()?;
    if groups.len() != features.nrows() {
        return Err(Error::shape("groups", format!("({},)", features.nrows()), &[groups.len()]));
    }
    let (mut train, held) = hold_out(groups, options.validation, options.seed);
    let scaler = Scaler::fit(features.select(Axis(0), &train).view(), options.standardise);
    let outputs = targets.truth.ncols();
    let widths = [&[features.ncols()][..], &options.hidden, &[outputs]].concat();
    let mut network = Network::new(&widths, options.seed);
    let mut moments: Vec<_> = network
        .layers
        .iter()
        .map(|layer| (AdamW::new(&layer.weight), AdamW::new(&layer.bias)))
        .collect();
    let watch = Batch::new(&scaler, features, targets, &held);
    let mut best = (f64::INFINITY, network.clone(), 0);
    progress.set_total(options.epochs);
    for epoch in 0..options.epochs {
        Random::new(options.seed, &[1, epoch as u64]).shuffle(&mut train);
        let mut sum = 0.0;
        for (step, rows) in train.chunks(options.batch_size).enumerate() {
            progress.check()?;
            let batch = Batch::new(&scaler, features, targets, rows);
            let mut random = Random::new(options.seed, &[2, epoch as u64, step as u64]);
            let (loss, gradients) = network.backward(&batch, options.dropout, &mut random);
            sum += loss * rows.len() as f64;
            let (rate, decay) = (options.learning_rate, options.weight_decay);
            for ((layer, slope), (weight, bias)) in
                network.layers.iter_mut().zip(&gradients).zip(&mut moments)
            {
                weight.step(&mut layer.weight, &slope.weight, rate, decay);
                bias.step(&mut layer.bias, &slope.bias, rate, 0.0);
            }
        }
        let loss = sum / train.len() as f64;
        if !loss.is_finite() {
            let why = format!("the loss is {loss} in epoch {epoch}; lower learning_rate");
            return Err(Error::Training(why));
        }
        let held_loss =
            (!held.is_empty()).then(|| watch.loss(&network.forward(watch.features.view())).0);
        progress.emit(json!({"epoch": epoch, "loss": loss, "validation_loss": held_loss}));
        progress.tick(1)?;
        let Some(held_loss) = held_loss else { continue };
        if held_loss < best.0 {
            best = (held_loss, network.clone(), epoch);
        } else if epoch - best.2 >= options.patience {
            break;
        }
    }
    let network = if held.is_empty() { network } else { best.1 };
    Ok(Probe { scaler, body: Body::Network(network) })
}

/// Rows to train on and rows held out, whole groups at a time.
fn hold_out(groups: &[i64], share: f64, seed: u64) -> (Vec<usize>, Vec<usize>) {
    let mut names: Vec<i64> = groups.to_vec();
    names.sort_unstable();
    names.dedup();
    let count = (names.len() as f64 * share).round() as usize;
    Random::new(seed, &[3]).shuffle(&mut names);
    let held: std::collections::HashSet<i64> = names.into_iter().take(count).collect();
    (0..groups.len()).partition(|&row| !held.contains(&groups[row]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gradients_agree_with_finite_differences() {
        let mut random = Random::new(2, &[]);
        let mut network = Network::new(&[5, 7, 6, 2], 4);
        let features = Array2::from_shape_simple_fn((30, 5), || random.normal() as f32);
        let truth =
            Array2::from_shape_simple_fn((30, 2), || f64::from(u8::from(random.chance(0.4))));
        let weight = Array2::from_shape_simple_fn((30, 2), || random.uniform());
        let batch = Batch { features, truth, weight };
        let (_, gradients) = network.backward(&batch, 0.0, &mut random);
        let step = 2e-3;
        for (number, gradient) in gradients.iter().enumerate() {
            for at in [[0, 0], [4, 1], [2, 1]] {
                let original = network.layers[number].weight[at];
                let mut loss = |change: f32| {
                    network.layers[number].weight[at] = original + change;
                    batch.loss(&network.forward(batch.features.view())).0
                };
                let slope = (loss(step) - loss(-step)) / (2.0 * f64::from(step));
                network.layers[number].weight[at] = original;
                let exact = f64::from(gradient.weight[at]);
                assert!((slope - exact).abs() < 2e-4 + 0.01 * exact.abs(), "{slope} {exact}");
            }
        }
    }

    #[test]
    fn patients_are_never_split() {
        let groups: Vec<i64> = (0..100).map(|row| row / 4).collect();
        let (train, held) = hold_out(&groups, 0.2, 0);
        assert_eq!((train.len(), held.len()), (80, 20));
        assert!(held.iter().all(|&h| train.iter().all(|&t| groups[t] != groups[h])));
    }
}
