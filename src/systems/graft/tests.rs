use candle::{Device, Var};

use super::*;
use crate::nn::{Parameters, record};

fn config(lora: Option<LoraConfig>) -> GraftConfig {
    let llama = LlamaConfig {
        vocab_size: 11,
        dim: 8,
        depth: 2,
        heads: 2,
        kv_heads: 1,
        mlp_dim: 12,
        max_positions: 24,
        tied: true,
        ..LlamaConfig::default()
    };
    GraftConfig { llama, adapter_dim: 6, lora, script: String::new() }
}

/// Parameters of a graft, and the graft in which those learn whose name `learns`.
fn graft(
    config: &GraftConfig,
    learns: impl Fn(&str) -> bool + Send + Sync + 'static,
) -> (Parameters, Graft) {
    let parameters = Parameters::new(3, &Device::Cpu);
    Graft::new(config, 5, &parameters.builder()).unwrap();
    for (name, var) in parameters.all() {
        if name.contains("lora_B") || name.contains("embed_tokens") {
            let values = (0..var.elem_count()).map(|i| ((i * 29 % 17) as f32 - 8.0) / 20.0);
            let values = Tensor::from_iter(values, &Device::Cpu).unwrap();
            parameters.set(&name, &values.reshape(var.dims()).unwrap()).unwrap();
        }
    }
    let graft = Graft::new(config, 5, &parameters.learning_part(learns)).unwrap();
    (parameters, graft)
}

fn queries(films: usize) -> Tensor {
    let values = (0..films * 10).map(|i| ((i * 37 % 23) as f32 - 11.0) / 9.0);
    Tensor::from_iter(values, &Device::Cpu).unwrap().reshape((films, 2, 5)).unwrap()
}

fn lesson(words: &[u32], answer: usize, image: Option<usize>, kind: usize) -> Lesson {
    let images = image.map(|image| (1, image)).into_iter().collect();
    Lesson { line: Line { words: words.to_vec(), images }, answer, kind }
}

fn lessons() -> Vec<Lesson> {
    vec![
        lesson(&[1, 2, 3, 4, 5, 6], 2, Some(0), 0),
        lesson(&[1, 7, 8], 2, Some(0), 1),
        lesson(&[1, 9, 10, 2], 3, Some(1), 1),
    ]
}

#[test]
fn gradients_reach_what_learns_through_what_is_frozen_as_finite_differences_say() {
    let lora = LoraConfig {
        rank: 2,
        alpha: 3.0,
        targets: ["q_proj", "v_proj", "down_proj"].map(str::to_owned).to_vec(),
    };
    let frozen = |name: &str| name.starts_with("decoder.");
    let (parameters, graft) = graft(&config(Some(lora)), move |name| !frozen(name));
    let loss = || {
        let films = graft.adapt(&queries(2)).unwrap();
        graft.loss(&lessons(), Some(&films), &Pass::training(0, 0)).unwrap()
    };
    let (scalar, tape) = record(|| Ok::<_, Error>(loss())).unwrap();
    let mut gradients = tape.backward(&scalar).unwrap();
    for (name, var) in parameters.all() {
        let Some(gradient) = gradients.take(&var) else {
            assert!(frozen(&name), "{name} has no gradient");
            continue;
        };
        assert!(!frozen(&name), "{name} has a gradient");
        let gradient = gradient.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let values = var.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let scale = gradient.iter().fold(1e-2, |scale: f32, x| scale.max(x.abs()));
        for i in (0..values.len()).step_by(values.len().div_ceil(7)) {
            let at = |by: f32| {
                let mut moved = values.clone();
                moved[i] += by;
                let moved = Tensor::from_vec(moved, var.dims(), &Device::Cpu).unwrap();
                parameters.set(&name, &moved).unwrap();
                f64::from(loss().to_scalar::<f32>().unwrap())
            };
            let slope = (at(1e-2) - at(-1e-2)) / 2e-2;
            at(0.0);
            let error = (slope - f64::from(gradient[i])).abs() / f64::from(scale);
            assert!(error < 2e-2, "{name}[{i}]: {slope} {}", gradient[i]);
        }
    }
    assert!(gradients.is_empty());
}

#[test]
fn kinds_count_by_their_lessons_and_not_by_their_words() {
    let (_, graft) = graft(&config(None), |_| false);
    let films = graft.adapt(&queries(2)).unwrap();
    let loss = |lessons: &[Lesson]| {
        let loss = graft.loss(lessons, Some(&films), &Pass::inference()).unwrap();
        loss.to_scalar::<f32>().unwrap()
    };
    let all = lessons();
    let apart = loss(&all[..1]) / 3.0 + loss(&all[1..]) * 2.0 / 3.0;
    assert!((loss(&all) - apart).abs() < 1e-5);
    assert!(graft.loss(&[], Some(&films), &Pass::inference()).is_err());
}

#[test]
fn a_likelihood_is_that_of_the_loss_whatever_the_batch_and_the_other_options() {
    let (_, graft) = graft(&config(None), |_| false);
    let films = graft.adapt(&queries(2)).unwrap();
    let lines: Vec<Line> = [&[1u32, 2, 3, 4][..], &[1, 5][..]]
        .iter()
        .enumerate()
        .map(|(i, words)| Line { words: words.to_vec(), images: vec![(1, i)] })
        .collect();
    let options = vec![vec![6u32], vec![7, 8, 2]];
    let sums =
        graft.likelihoods(&lines, &[options.clone(), options.clone()], Some(&films)).unwrap();
    for (line, sums) in lines.iter().zip(sums) {
        for (option, sum) in options.iter().zip(sums) {
            let words = [line.words.clone(), option.clone()].concat();
            let line = Line { words, images: line.images.clone() };
            let answer = line.words.len() - option.len();
            let lesson = Lesson { line, answer, kind: 0 };
            let loss = graft.loss(&[lesson], Some(&films), &Pass::inference()).unwrap();
            let mean = f64::from(loss.to_scalar::<f32>().unwrap());
            assert!((sum + mean * option.len() as f64).abs() < 1e-4, "{sum} {mean}");
        }
    }
}

#[test]
fn a_film_changes_what_is_likely() {
    let (_, graft) = graft(&config(None), |_| false);
    let line = [Line { words: vec![1, 2], images: vec![(1, 0)] }];
    let options = [vec![vec![3u32], vec![4]]];
    let of = |queries: &Tensor| {
        let films = graft.adapt(queries).unwrap();
        graft.likelihoods(&line, &options, Some(&films)).unwrap()[0][0]
    };
    let other = Var::from_tensor(&queries(1).neg().unwrap()).unwrap();
    assert!((of(&queries(1)) - of(other.as_tensor())).abs() > 1e-6);
}

#[test]
fn options_out_of_range_are_named() {
    let error = |change: fn(&mut GraftConfig)| {
        let mut config = config(Some(LoraConfig::default()));
        config.validate().unwrap();
        change(&mut config);
        config.validate().unwrap_err().to_string()
    };
    assert!(error(|c| c.adapter_dim = 0).contains("`decoder.adapter_dim`: found 0"));
    assert!(error(|c| c.lora.as_mut().unwrap().rank = 0).contains("`lora.rank`: found 0"));
    assert!(error(|c| c.lora.as_mut().unwrap().alpha = f64::NAN).contains("`lora.alpha`"));
    let text = error(|c| c.lora.as_mut().unwrap().targets = vec!["lm_head".to_owned()]);
    assert!(text.contains("found [\"lm_head\"], expected some of q_proj, k_proj"), "{text}");
}
