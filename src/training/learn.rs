//! The gradients of micro-batches: each by itself, or all as one large batch of a contrast.
//!
//! Source: Gao et al. 2021, "Scaling Deep Contrastive Learning Batch Size under Memory Limited
//! Setup", arXiv:2101.06983: all parts are embedded, the loss gives the gradients of the
//! embeddings, and each part runs again to hand its own on. A step holds the graph of one part,
//! and its gradients are those of the large batch; what depends on a batch inside an encoder
//! (batch norm) sees the parts.

use candle::{Tensor, Var};

use super::gradients::Gradients;
use super::objective::{Task, evaluate};
use crate::nn::{Pass, record};
use crate::systems::elixr::Elixr;
use crate::{Error, Result};

/// Adds the loss of `tasks` and its gradients, as the stage would have them, for step `step`.
pub(super) fn add(
    tasks: &[Task],
    learning: &[(String, Var)],
    gradients: &mut Gradients,
    step: u64,
) -> Result<()> {
    let Some(first) = tasks.first() else { return Ok(()) };
    let together = first.stage.together();
    for part in tasks.chunks(if together { tasks.len() } else { 1 }) {
        let loss = match part {
            [task] if !together => alone(task, learning, gradients)?,
            tasks => all(tasks, learning, gradients)?,
        };
        if !loss.is_finite() {
            return Err(Error::Training(format!(
                "the loss is {loss} at step {step}; lower schedule.peak (found {}) or clip_norm",
                first.stage.schedule.peak
            )));
        }
        gradients.loss += loss;
        gradients.films += part.iter().map(|task| task.films.indices.len()).sum::<usize>();
        gradients.parts += 1;
    }
    Ok(())
}

/// Adds the gradients of one micro-batch; gives its loss.
fn alone(task: &Task, learning: &[(String, Var)], gradients: &mut Gradients) -> Result<f64> {
    let (outcome, tape) = record(|| evaluate(task))?;
    let loss = value(&outcome.loss)?;
    if loss.is_finite() {
        let found = tape.backward(&outcome.loss)?;
        gradients.add_all(found, learning, task.model.parameters())?;
    }
    Ok(loss)
}

/// Adds the gradients of all `tasks` as one batch, films of each against texts of all; gives the
/// loss.
fn all(tasks: &[Task], learning: &[(String, Var)], gradients: &mut Gradients) -> Result<f64> {
    let Some(first) = tasks.first() else {
        return Err(Error::Internal("a step without a micro-batch".to_owned()));
    };
    let towers = first.model.towers_in(first.stage.precision)?;
    let parameters = first.model.parameters();
    let again: Vec<Pass> = tasks.iter().map(|task| task.pass.again()).collect();
    let (mut films, mut texts, mut shown) = (Vec::new(), Vec::new(), Vec::new());
    for task in tasks {
        let (part, _) = record(|| task.embed(&towers, task.pass))?;
        films.push(part.films.detach());
        texts.push(part.texts.detach());
        shown.extend(part.shown);
    }
    let rows = |parts: &[Tensor]| parts.iter().map(|part| part.dims()[0]).collect::<Vec<_>>();
    let counts = rows(&films).into_iter().zip(rows(&texts));
    let films = Var::from_tensor(&Tensor::cat(&films, 0)?)?;
    let texts = Var::from_tensor(&Tensor::cat(&texts, 0)?)?;
    let indices: Vec<usize> = tasks.iter().flat_map(|task| task.films.indices.clone()).collect();
    let (loss, tape) = record(|| first.contrast(&towers, (&films, &texts), &indices, &shown))?;
    let number = value(&loss)?;
    if !number.is_finite() {
        return Ok(number);
    }
    let mut found = tape.backward(&loss)?;
    let lost = || Error::Internal("a contrast without gradients".to_owned());
    let films = found.take(&films).ok_or_else(lost)?;
    let texts = found.take(&texts).ok_or_else(lost)?;
    gradients.add_some(found, learning, parameters)?;
    let (mut film, mut text) = (0, 0);
    for ((task, pass), (of_films, of_texts)) in tasks.iter().zip(&again).zip(counts) {
        let (films, texts) = (films.narrow(0, film, of_films)?, texts.narrow(0, text, of_texts)?);
        (film, text) = (film + of_films, text + of_texts);
        let (scalar, tape) = record(|| pulled(task, &towers, pass, (&films, &texts)))?;
        gradients.add_some(tape.backward(&scalar)?, learning, parameters)?;
    }
    gradients.check(learning)?;
    Ok(number)
}

/// A scalar whose gradients are those that reach the part's embeddings.
fn pulled(
    task: &Task,
    towers: &Elixr,
    pass: &Pass,
    (films, texts): (&Tensor, &Tensor),
) -> Result<Tensor> {
    let part = task.embed(towers, pass)?;
    Ok(((part.films * films)?.sum_all()? + (part.texts * texts)?.sum_all()?)?)
}

fn value(loss: &Tensor) -> Result<f64> {
    Ok(f64::from(loss.to_scalar::<f32>()?))
}

#[cfg(test)]
mod tests {
    use candle::Device;

    use super::super::Stage;
    use super::super::objective::{Films, Target};
    use super::super::tests::studies;
    use super::*;
    use crate::data::Pixels;
    use crate::language::Tokenizer;
    use crate::systems::{Model, preset};

    /// The gradients of the first step.
    fn first_gradients(stage: &Stage) -> Vec<(String, Tensor)> {
        // Layers that see no batch, nor draw: the trunk is a ViT.
        let small = r#"{"image": {"arch": "vit", "image_size": 24, "patch_size": 8, "channels": 1,
            "dim": 16, "depth": 1, "heads": 2, "pool": "none", "class_token": false},
            "text": {"dim": 16, "depth": 1, "heads": 2, "mlp_dim": 32, "dropout": 0.0},
            "queries": 2, "pool_heads": 2, "embedding": 8}"#;
        let spec = preset("elixr-tiny").unwrap().customised(24, Some(small)).unwrap();
        let model = Model::create(spec, Tokenizer::builtin().unwrap(), 1, &Device::Cpu).unwrap();
        let dataset = studies(16);
        let target = Target::new(&model, &dataset, stage).unwrap();
        let learning: Vec<_> = model.parameters().trainable();
        let learning: Vec<_> =
            learning.into_iter().filter(|(name, _)| stage.trains(name)).collect();
        let size = stage.batch_size;
        let passes: Vec<Pass> = (0..16 / size).map(|i| Pass::training(0, i as u64)).collect();
        let films: Vec<Films> = (0..16 / size)
            .map(|i| {
                let pixels = |row: usize| {
                    let image = &dataset.studies[row].films[0].pixels;
                    let Pixels::Memory(image) = image else { panic!("not in memory") };
                    image.pixels.iter().copied().collect::<Vec<f32>>()
                };
                let indices: Vec<usize> = (i * size..(i + 1) * size).collect();
                let values: Vec<f32> = indices.iter().flat_map(|row| pixels(*row)).collect();
                let pixels = Tensor::from_vec(values, (size, 1, 24, 24), &Device::Cpu).unwrap();
                Films { pixels, indices }
            })
            .collect();
        let task = |(films, pass)| Task {
            model: &model,
            stage,
            dataset: &dataset,
            target: &target,
            films,
            epoch: Some(0),
            pass,
        };
        let tasks: Vec<Task> = films.iter().zip(&passes).map(task).collect();
        let mut gradients = Gradients::default();
        add(&tasks, &learning, &mut gradients, 1).unwrap();
        gradients.sums.into_iter().collect()
    }

    #[test]
    fn micro_batches_together_have_the_gradients_of_the_large_batch() {
        for (pair, wrong) in [("clip", vec![]), ("siglip", vec![]), ("clip", vec!["negation"])] {
            let with = |batch_size: usize, together: bool| {
                let mut fields =
                    serde_json::to_value(Stage::preset("contrastive").unwrap()).unwrap();
                fields["objective"]["loss"] = pair.into();
                fields["objective"]["together"] = together.into();
                fields["objective"]["wrong"] = wrong.clone().into();
                fields["batch_size"] = batch_size.into();
                fields["accumulate"] = (16 / batch_size).into();
                first_gradients(&Stage::from_json(&fields.to_string()).unwrap())
            };
            let whole = with(16, false);
            let length =
                |x: &Tensor| x.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap().sqrt();
            // A bias of keys learns nothing but rounding: what counts is what others learn.
            let longest = whole.iter().map(|(_, x)| length(x)).fold(0.0, f32::max);
            for size in [8, 4] {
                for ((name, whole), (_, parts)) in whole.iter().zip(with(size, true)) {
                    let apart = length(&(whole - &parts).unwrap());
                    let most = 2e-5 * length(whole).max(1e-3 * longest);
                    assert!(apart <= most, "{pair} {size} {name}: {apart} of {}", length(whole));
                }
            }
        }
    }
}
