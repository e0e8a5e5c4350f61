//! The loop as a whole, on films that take a second to learn.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle::{Device, Tensor};
use ndarray::Array2;

use super::{History, RunOptions, Stage, run};
use crate::data::{Dataset, Film, Pixels, Question, Report, Study};
use crate::imaging::{Image, View};
use crate::language::{Decoder, LlamaConfig, Tokenizer};
use crate::nn::Precision;
use crate::progress::Progress;
use crate::random::Random;
use crate::systems::{Grafting, Inquiry, Level, Model, preset};
use crate::tasks::Instruction;
use crate::{Error, Result};

/// Films with a bright spot on one side when the finding is there.
pub(super) fn studies(n: usize) -> Arc<Dataset> {
    let one = |i: usize| {
        let mut random = Random::new(9, &[i as u64]);
        let present = i.is_multiple_of(2);
        let pixels = Array2::from_shape_fn((24, 24), |(row, column)| {
            let spot = present && (6..14).contains(&row) && (12..20).contains(&column);
            (0.3 + 0.1 * random.normal() as f32 + if spot { 0.4 } else { 0.0 }).clamp(0.0, 1.0)
        });
        let image = Image { range: Some([0.0, 1.0]), ..Image::from_pixels(pixels) };
        let findings = if present { "Opacity on the left." } else { "Clear lungs. No opacity." };
        let question = Question {
            question: "Is there an opacity?".to_owned(),
            answer: if present { "yes" } else { "no" }.to_owned(),
            ..Question::default()
        };
        Arc::new(Study {
            questions: vec![question],
            id: format!("s{i}"),
            patient: format!("p{i}"),
            films: vec![Film { pixels: Pixels::Memory(Arc::new(image)), view: View::Pa }],
            report: Report { findings: findings.to_owned(), ..Report::default() },
            labels: vec![f32::from(u8::from(present))],
            ..Study::default()
        })
    };
    Arc::new(Dataset::new(vec!["opacity".to_owned()], (0..n).map(one).collect()).unwrap())
}

/// Studies with these reports.
pub(super) fn reported(reports: &[&str]) -> Arc<Dataset> {
    let mut dataset = Dataset::clone(&studies(reports.len()));
    for (study, report) in dataset.studies.iter_mut().zip(reports) {
        let report = Report { findings: (*report).to_owned(), ..Report::default() };
        *study = Arc::new(Study { report, ..Study::clone(study) });
    }
    Arc::new(dataset)
}

pub(super) fn model() -> Model {
    model_of("tiny")
}

/// A model that can learn by the stage.
fn model_for(stage: &str) -> Model {
    with_decoder(stage, model_of(if stage == "qformer" { "qformer" } else { "tiny" }))
}

/// The model with a decoder, if the stage needs one.
fn with_decoder(stage: &str, mut model: Model) -> Model {
    if ["graft", "language"].contains(&stage) {
        let config = LlamaConfig {
            dim: 16,
            depth: 1,
            heads: 2,
            kv_heads: 1,
            mlp_dim: 32,
            max_positions: 64,
            ..LlamaConfig::preset("1m").unwrap()
        };
        let decoder = Decoder::create(&config, 3, &Device::Cpu).unwrap();
        model.graft(&decoder, &Grafting::default()).unwrap();
    }
    model
}

fn model_of(size: &str) -> Model {
    let small = r#"{"image": {"widths": [8, 16], "depths": [1, 1], "stem_width": 8},
                    "text": {"dim": 16, "depth": 1, "heads": 2, "mlp_dim": 32, "dropout": 0.1},
                    "queries": 2, "pool_heads": 2, "embedding": 8}"#;
    let spec = preset(&format!("elixr-{size}")).unwrap().customised(24, Some(small)).unwrap();
    Model::create(spec, Tokenizer::builtin().unwrap(), 1, &Device::Cpu).unwrap()
}

pub(super) fn stage(name: &str) -> Stage {
    Stage { epochs: 3, batch_size: 8, accumulate: 2, ..Stage::preset(name).unwrap() }
}

pub(super) fn train(model: &mut Model, stage: &Stage, options: &RunOptions) -> Result<History> {
    run(model, &studies(48), None, stage, options, &Progress::silent())
}

fn bits(model: &Model) -> Vec<(String, Vec<u32>)> {
    let all = model.parameters().all().into_iter();
    let bits = |var: &candle::Var| {
        let values = var.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        values.iter().map(|value| value.to_bits()).collect()
    };
    all.map(|(name, var)| (name, bits(&var))).collect()
}

#[test]
fn every_stage_lowers_its_loss() {
    for name in Stage::presets() {
        let stage = Stage { epochs: 12, accumulate: 1, ..stage(name) };
        let history = train(&mut model_for(name), &stage, &RunOptions::default()).unwrap();
        let mean = |rows: &[super::StepRow]| {
            rows.iter().map(|row| row.loss).sum::<f64>() / rows.len() as f64
        };
        let (first, last) = (mean(&history.steps[..6]), mean(&history.steps[66..]));
        // A decoder that never learnt has little to say to an adapter.
        let bound = if name == "graft" { 1.0 } else { 0.9 };
        assert!(last < bound * first, "{name}: {first} -> {last}");
    }
}

#[test]
fn a_grafted_model_answers_by_what_it_sees() {
    let mut model = model_for("graft");
    let quick = |name: &str, epochs, peak| {
        let mut stage = Stage { epochs, accumulate: 1, average: 0.0, ..stage(name) };
        stage.schedule.peak = peak;
        stage
    };
    let stages =
        [quick("supervised", 8, 3e-3), quick("language", 20, 1e-2), quick("graft", 20, 1e-2)];
    for stage in stages {
        train(&mut model, &stage, &RunOptions::default()).unwrap();
    }
    let films = studies(64); // the last sixteen are new
    let inquiry = Inquiry {
        task: Instruction::Vqa,
        questions: vec!["Is there an opacity?".to_owned()],
        precision: Precision::F32,
    };
    let options = ["yes", "no"].map(str::to_owned);
    let (cache, silent) = (Arc::default(), Progress::silent());
    let chosen = model.prefer(&films, &inquiry, &options, 16, cache, &silent).unwrap().0;
    let right = |(i, row): (usize, &Option<Vec<f64>>)| {
        row.as_ref().is_some_and(|row| (row[0] > row[1]) == i.is_multiple_of(2))
    };
    let right = chosen.iter().enumerate().skip(48).filter(|one| right(*one)).count();
    assert!(right >= 14, "{right} of 16");
}

#[test]
fn a_run_cut_anywhere_ends_with_the_same_bits() {
    for name in ["contrastive", "qformer", "supervised", "language", "graft"] {
        let stage = stage(name);
        let mut whole = model_for(name);
        train(&mut whole, &stage, &RunOptions::default()).unwrap();
        for cut in [1, 3, 4, 8] {
            let folder = tempfile::tempdir().unwrap();
            let options = RunOptions {
                out: Some(folder.path().to_owned()),
                resume: true,
                checkpoint_steps: 1,
                stop_after: Some(cut),
                ..RunOptions::default()
            };
            train(&mut model_for(name), &stage, &options).unwrap();
            let mut resumed = model_for(name);
            let options = RunOptions { stop_after: None, ..options };
            let history = train(&mut resumed, &stage, &options).unwrap();
            assert_eq!(history.steps.len(), 9, "{name} cut at {cut}");
            assert!(bits(&resumed) == bits(&whole), "{name} cut at {cut}: the weights differ");
        }
    }
}

#[test]
fn the_number_of_decoding_threads_changes_nothing() {
    let trained = |workers| {
        let mut model = model();
        let options = RunOptions { workers, ..RunOptions::default() };
        train(&mut model, &stage("supervised"), &options).unwrap();
        bits(&model)
    };
    assert!(trained(1) == trained(3));
}

#[test]
fn frozen_parameters_stay_bit_identical_and_the_rest_moves() {
    let mut trained = model();
    let before = bits(&trained);
    let stage = Stage { freeze: vec!["image.*".to_owned()], ..stage("contrastive") };
    train(&mut trained, &stage, &RunOptions::default()).unwrap();
    for ((name, was), (_, is)) in before.iter().zip(bits(&trained)) {
        assert_eq!(*was != is, stage.trains(name), "{name}");
    }
}

#[test]
fn a_parameter_without_gradient_is_named() {
    let stage = Stage { train: vec!["*".to_owned()], ..stage("supervised") };
    let error = train(&mut model(), &stage, &RunOptions::default()).unwrap_err().to_string();
    assert!(error.contains("is trainable but got no gradient"), "{error}");
}

#[test]
fn a_stage_without_what_it_needs_says_so() {
    let bare = |study: &Arc<Study>| {
        let labels = vec![f32::NAN];
        Arc::new(Study { report: Report::default(), labels, ..Study::clone(study) })
    };
    let all = studies(16);
    let dataset = Dataset::new(all.findings.clone(), all.studies.iter().map(bare).collect());
    let dataset = Arc::new(dataset.unwrap());
    let needs = [
        ("contrastive", "2 or more studies with a report, found 0 among 16"),
        ("qformer", "2 or more studies with a report, found 0 among 16"),
        ("supervised", "1 or more studies with a known label, found 0 among 16"),
    ];
    for (name, needed) in needs {
        let outcome = run(
            &mut model_for(name),
            &dataset,
            None,
            &stage(name),
            &RunOptions::default(),
            &Progress::silent(),
        );
        let error = outcome.unwrap_err().to_string();
        assert!(error.contains(&format!("stage `{name}` needs {needed}")), "{error}");
    }
}

#[test]
fn a_model_without_a_q_former_is_told_how_to_get_one() {
    let error = train(&mut model(), &stage("qformer"), &RunOptions::default()).unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("model: found no Q-Former; create one with resampler="), "{text}");
}

#[test]
fn every_stage_teaches_a_q_former_its_part() {
    for name in Stage::presets() {
        let mut trained = with_decoder(name, model_of("qformer"));
        let before = bits(&trained);
        let stage = stage(name);
        train(&mut trained, &stage, &RunOptions::default()).unwrap();
        let now: BTreeMap<_, _> = bits(&trained).into_iter().collect();
        for (name, was) in before {
            let statistic = crate::nn::is_statistic(&name) && stage.trains("image.");
            assert_eq!(was != now[&name], stage.trains(&name) || statistic, "{name}");
        }
    }
}

#[test]
fn a_stop_comes_through_and_a_bad_film_costs_its_row_only() {
    let progress = Progress::silent();
    progress.stop();
    let options = RunOptions::default();
    let outcome = run(&mut model(), &studies(16), None, &stage("supcon"), &options, &progress);
    assert!(matches!(outcome, Err(Error::Interrupted)));

    let mut dataset = Dataset::clone(&studies(16));
    let missing = Film { pixels: Pixels::File("missing.png".into()), view: View::Pa };
    let broken = Study { films: vec![missing], ..Study::clone(&dataset.studies[3]) };
    dataset.studies[3] = Arc::new(broken);
    let history = run(
        &mut model(),
        &Arc::new(dataset),
        None,
        &stage("supervised"),
        &options,
        &Progress::silent(),
    );
    let failures = history.unwrap().failures;
    assert_eq!(failures.len(), 1);
    assert!(
        failures[0].starts_with("row 3: ") && failures[0].contains("missing.png"),
        "{failures:?}"
    );
}

#[test]
fn studies_that_lack_what_a_stage_needs_are_left_out_and_counted() {
    let all = studies(24);
    let bare = |study: &Arc<Study>| {
        let labels = vec![f32::NAN];
        Arc::new(Study { report: Report::default(), labels, ..Study::clone(study) })
    };
    let mut mixed = Dataset::clone(&all);
    for row in 0..8 {
        mixed.studies[row] = bare(&mixed.studies[row]);
    }
    let kept = Arc::new(all.select(&(8..24).collect::<Vec<_>>()).unwrap());
    let mixed = Arc::new(mixed);
    for (name, what) in
        [("contrastive", "a report"), ("supcon", "a known label"), ("supervised", "a known label")]
    {
        let (mut with, mut without) = (model(), model());
        let options = RunOptions::default();
        let silent = Progress::silent();
        let history = run(&mut with, &mixed, None, &stage(name), &options, &silent).unwrap();
        run(&mut without, &kept, None, &stage(name), &options, &silent).unwrap();
        assert_eq!(bits(&with), bits(&without), "{name}");
        assert_eq!(history.failures, [format!("8 of 24 studies lack {what}: left out")]);
    }
}

#[test]
fn a_validation_set_of_other_findings_is_refused_where_they_count() {
    let mut other = Dataset::clone(&studies(8));
    other.findings = vec!["nodule".to_owned()];
    let options = RunOptions::default();
    let other = Arc::new(other);
    let mut model = model();
    let (train, silent) = (studies(16), Progress::silent());
    let mut validated = |name| {
        let before = model.fingerprint().unwrap();
        let outcome = run(&mut model, &train, Some(&other), &stage(name), &options, &silent);
        (outcome, before == model.fingerprint().unwrap())
    };
    assert!(validated("contrastive").0.is_ok(), "words need no findings");
    let (outcome, same) = validated("supervised");
    assert!(same, "a refused run changed the model");
    let error = outcome.unwrap_err().to_string();
    assert!(error.contains(r#"validation set: found ["nodule"], expected ["opacity"]"#), "{error}");
}

#[test]
fn bfloat16_products_learn_as_float32_ones_do_and_the_parameters_stay_exact() {
    for name in Stage::presets() {
        let losses = |precision| {
            let mut model = model_for(name);
            let stage = Stage { epochs: 6, accumulate: 1, precision, ..stage(name) };
            let history = train(&mut model, &stage, &RunOptions::default()).unwrap();
            for (name, var) in model.parameters().all() {
                assert_eq!(var.dtype(), candle::DType::F32, "{name}");
            }
            history.steps.iter().map(|row| row.loss).collect::<Vec<f64>>()
        };
        let (single, half) = (losses(Precision::F32), losses(Precision::Bf16));
        assert!((single[0] - half[0]).abs() < 0.02 * single[0], "{name}: {single:?} {half:?}");
        let end = |losses: &[f64]| losses[30..].iter().sum::<f64>() / 6.0;
        let (single, half) = (end(&single), end(&half));
        assert!((single - half).abs() < 0.1 * single, "{name}: {single} {half}");
    }
}

#[test]
fn encoding_in_bfloat16_gives_float32_rows_close_to_the_exact_ones() {
    let model = model();
    let pixels = Tensor::rand(0f32, 1.0, (3, 1, 24, 24), &Device::Cpu).unwrap();
    for level in [Level::Pooled, Level::Contrastive, Level::Tokens] {
        let rows = |precision| model.features(&pixels, level, precision).unwrap();
        let (single, half) = (rows(Precision::F32), rows(Precision::Bf16));
        let apart = (&single - half).unwrap().sqr().unwrap().mean_all().unwrap();
        let scale = single.sqr().unwrap().mean_all().unwrap();
        let ratio = (apart / scale).unwrap().to_scalar::<f32>().unwrap().sqrt();
        assert!(ratio < 0.03, "{level:?}: {ratio}"); // 0 where no unit serves
    }
}

#[test]
fn gradients_that_are_not_finite_end_the_run_and_reach_no_weight() {
    let mut model = model();
    model.set_findings(&["opacity".to_owned()]).unwrap();
    let head = model.parameters().get("head.weight").unwrap();
    // The loss stays finite; the squares of its gradients do not.
    let large = Tensor::full(1e25f32, head.shape(), &Device::Cpu).unwrap();
    model.parameters().set("head.weight", &large).unwrap();
    let before = bits(&model);
    let options = RunOptions::default();
    let error = train(&mut model, &stage("supervised"), &options).unwrap_err().to_string();
    assert!(error.contains("the gradients are ") && error.contains(" at step 1;"), "{error}");
    let learnt = |(name, _): &(String, Vec<u32>)| !crate::nn::is_statistic(name);
    let learnt = |all: Vec<_>| all.into_iter().filter(learnt).collect::<Vec<_>>();
    assert_eq!(learnt(bits(&model)), learnt(before));
}
