//! Probes on features whose truth is known.

use ndarray::{Array2, array};

use super::*;
use crate::progress::Progress;
use crate::random::Random;

/// Features (N, 4) and labels (N, 2): the first label is a plane, the second a ring.
fn data(n: usize) -> (Array2<f32>, Array2<f64>) {
    let mut random = Random::new(11, &[]);
    let features = Array2::from_shape_simple_fn((n, 4), || random.normal() as f32);
    let mut labels = Array2::zeros((n, 2));
    for (x, mut y) in features.rows().into_iter().zip(labels.rows_mut()) {
        let noise = random.normal() as f32;
        y[0] = f64::from(u8::from(x[0] - 2.0 * x[1] + 0.5 * noise > 0.3));
        y[1] = f64::from(u8::from(x[2] * x[2] + x[3] * x[3] > 1.5));
    }
    (features, labels)
}

fn targets(labels: &Array2<f64>) -> Targets {
    Targets::new(labels.view(), Policy::Ignore, false, &[]).unwrap()
}

fn accuracy(probe: &Probe, features: &Array2<f32>, labels: &Array2<f64>, label: usize) -> f64 {
    let logits = probe.decision(features.view()).unwrap();
    let right = logits.column(label).into_iter().zip(labels.column(label));
    right.filter(|&(&z, &y)| (z > 0.0) == (y > 0.5)).count() as f64 / labels.nrows() as f64
}

fn network_options() -> NetworkOptions {
    NetworkOptions {
        hidden: vec![32],
        dropout: 0.1,
        learning_rate: 3e-3,
        weight_decay: 1e-2,
        epochs: 60,
        batch_size: 64,
        validation: 0.1,
        patience: 10,
        standardise: true,
        seed: 3,
    }
}

#[test]
fn the_logistic_minimum_has_no_gradient() {
    let (features, labels) = data(500);
    let targets = targets(&labels);
    let options = LogisticOptions::default();
    let (probe, unfinished) =
        fit_logistic(features.view(), &targets, &options, &Progress::silent()).unwrap();
    assert!(unfinished.is_empty());
    let Body::Linear { weight, .. } = &probe.body else { panic!("linear") };
    let logits = probe.decision(features.view()).unwrap();
    let x = probe.scaler.apply(features.view());
    for label in 0..2 {
        let residual = logits.column(label).mapv(logistic::sigmoid) - labels.column(label);
        let gradient = x.t().dot(&residual) + weight.row(label);
        assert!(gradient.iter().all(|g| g.abs() < 1e-4), "{gradient}");
        assert!(residual.sum().abs() < 1e-4);
    }
    assert!(accuracy(&probe, &features, &labels, 0) > 0.9);
}

#[test]
fn unknown_truth_takes_no_part() {
    let (features, mut labels) = data(400);
    let kept: Vec<usize> = (0..400).filter(|i| i % 3 != 0).collect();
    for row in (0..400).step_by(3) {
        labels[[row, 0]] = if row % 2 == 0 { f64::NAN } else { -1.0 };
    }
    let options = LogisticOptions { standardise: false, ..LogisticOptions::default() };
    let fit = |features: &Array2<f32>, labels: &Array2<f64>| {
        let fitted =
            fit_logistic(features.view(), &targets(labels), &options, &Progress::silent()).unwrap();
        let Body::Linear { weight, .. } = fitted.0.body else { panic!("linear") };
        weight.row(0).to_owned()
    };
    let masked = fit(&features, &labels);
    let dropped =
        fit(&features.select(ndarray::Axis(0), &kept), &labels.select(ndarray::Axis(0), &kept));
    assert!((masked - dropped).iter().all(|d| d.abs() < 1e-5));
}

#[test]
fn a_network_learns_what_no_plane_separates() {
    let (features, labels) = data(1500);
    let groups: Vec<i64> = (0..1500).map(|i| i / 2).collect();
    let fit = || {
        let silent = Progress::silent();
        fit_network(features.view(), &targets(&labels), &groups, &network_options(), &silent)
            .unwrap()
    };
    let network = fit();
    assert!(accuracy(&network, &features, &labels, 1) > 0.9);
    let options = LogisticOptions::default();
    let linear =
        fit_logistic(features.view(), &targets(&labels), &options, &Progress::silent()).unwrap().0;
    assert!(accuracy(&linear, &features, &labels, 1) < 0.8);
    assert_eq!(network, fit(), "the same seed gives the same network");
}

#[test]
fn hopeless_options_are_named() {
    let (features, labels) = data(40);
    let groups: Vec<i64> = (0..40).collect();
    let fit = |options: NetworkOptions| {
        let silent = Progress::silent();
        fit_network(features.view(), &targets(&labels), &groups, &options, &silent)
            .unwrap_err()
            .to_string()
    };
    let error = fit(NetworkOptions { hidden: vec![], ..network_options() });
    assert_eq!(error, "hidden: got [], expected one to eight widths of 1 to 65536");
    let error = fit(NetworkOptions { dropout: 1.0, ..network_options() });
    assert_eq!(error, "dropout: got 1, expected a share in [0, 1)");
    let error = fit(NetworkOptions { learning_rate: 1e30, ..network_options() });
    assert!(error.starts_with("training: the loss is "), "{error}");
}

#[test]
fn platt_recovers_a_known_distortion() {
    let mut random = Random::new(5, &[]);
    let logits: Array1<f64> = (0..20_000).map(|_| 2.0 * random.normal()).collect();
    let truth: Array1<f64> = logits
        .iter()
        .map(|&z| f64::from(u8::from(random.chance(logistic::sigmoid(0.5 * z - 1.0)))))
        .collect();
    let [slope, offset] = platt(logits.view(), truth.view(), Array1::ones(20_000).view()).unwrap();
    assert!((slope - 0.5).abs() < 0.03 && (offset + 1.0).abs() < 0.05, "{slope} {offset}");
}

#[test]
fn saving_keeps_every_number() {
    let (features, labels) = data(200);
    let groups: Vec<i64> = (0..200).collect();
    let silent = Progress::silent();
    let linear =
        fit_logistic(features.view(), &targets(&labels), &LogisticOptions::default(), &silent);
    let network =
        fit_network(features.view(), &targets(&labels), &groups, &network_options(), &silent);
    let folder = tempfile::tempdir().unwrap();
    for probe in [linear.unwrap().0, network.unwrap()] {
        probe.save(folder.path(), r#"{"recipe_hash": "abc"}"#).unwrap();
        let (loaded, card) = Probe::load(folder.path()).unwrap();
        assert_eq!(loaded, probe);
        assert!(card.contains(r#""details": {"recipe_hash": "abc"}"#), "{card}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "old weights are gone");
}

#[test]
fn damage_and_strange_input_are_named() {
    let (features, labels) = data(60);
    let fitted = fit_logistic(
        features.view(),
        &targets(&labels),
        &LogisticOptions::default(),
        &Progress::silent(),
    );
    let probe = fitted.unwrap().0;
    let error = probe.decision(Array2::zeros((2, 3)).view()).unwrap_err().to_string();
    assert_eq!(error, "X: expected shape (n, 4) with n > 0, got [2, 3]");
    let error = probe.decision(array![[0.0, f32::NAN, 0.0, 0.0]].view()).unwrap_err().to_string();
    assert_eq!(error, "X: row 0, feature 1 is NaN, expected finite numbers");
    let all = Array2::ones((3, 1));
    let error = Targets::new(all.view(), Policy::Ignore, false, &["edema".to_owned()]);
    let error = error.unwrap_err().to_string();
    assert!(error.starts_with("y: label edema has 3 positive and 0 negative rows"), "{error}");
    let folder = tempfile::tempdir().unwrap();
    probe.save(folder.path(), "{}").unwrap();
    let weights = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|e| e.unwrap().path())
        .find(|p| p.extension().is_some_and(|e| e == "safetensors"))
        .unwrap();
    let mut bytes = std::fs::read(&weights).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&weights, bytes).unwrap();
    let error = Probe::load(folder.path()).unwrap_err().to_string();
    assert!(error.contains("damaged: its checksum is not that of probe.json"), "{error}");
}
