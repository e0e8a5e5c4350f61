//! From a batch of studies to a loss: what each objective asks of the model.

use candle::{Device, Tensor};
use ndarray::Array2;

use super::loss;
use super::stage::{Objective, PairLoss, Same, Section, Stage};
use crate::Result;
use crate::data::{Dataset, Study};
use crate::metrics::Policy;
use crate::nn::Pass;
use crate::random::Random;
use crate::systems::Model;
use crate::systems::elixr::Elixr;

/// What the loss needs to know about the whole data set, found out once.
#[derive(Debug)]
pub(super) struct Target {
    /// 1, 0 or NaN for each study and finding; empty for objectives without labels.
    labels: Array2<f32>,
    /// Weight of a present and of an absent label, for each finding.
    weights: Vec<[f32; 2]>,
    /// The towers as they are at the first batch, without a graph.
    still: Elixr,
    /// Which towers no parameter of learns: they run in `still`.
    frozen: Frozen,
}

#[derive(Clone, Copy, Debug)]
struct Frozen {
    image: bool,
    text: bool,
}

impl Target {
    /// What `dataset` teaches by the stage's objective.
    pub(super) fn new(model: &Model, dataset: &Dataset, stage: &Stage) -> Result<Self> {
        let still = model.frozen_towers(stage.precision)?;
        let learning = model.parameters().trainable();
        let frozen = |prefix: &str| {
            !learning.iter().any(|(name, _)| name.starts_with(prefix) && stage.trains(name))
        };
        let frozen = Frozen { image: frozen("image."), text: frozen("text.") };
        let (policy, balance) = match &stage.objective {
            Objective::Contrastive { same: Same::Labels, .. } => (Policy::Ignore, false),
            Objective::Contrastive { .. } => {
                let (labels, weights) = (Array2::zeros((0, 0)), Vec::new());
                return Ok(Self { labels, weights, still, frozen });
            }
            Objective::Supcon { uncertain, .. } => (*uncertain, false),
            Objective::Supervised { uncertain, balance, .. } => (*uncertain, *balance),
        };
        let labels = dataset.targets(policy);
        let weights = labels.columns().into_iter().map(|column| class_weights(column, balance));
        Ok(Self { weights: weights.collect(), labels, still, frozen })
    }

    /// The labels of one study as a key that equal studies share.
    fn key(&self, index: usize) -> Vec<u32> {
        self.labels.row(index).iter().map(|label| label.to_bits()).collect()
    }
}

/// Weights that give both classes of a finding the same sum, with mean one; ones unless `balance`.
fn class_weights(column: ndarray::ArrayView1<'_, f32>, balance: bool) -> [f32; 2] {
    let count =
        |wanted: f32| column.iter().filter(|label| (**label - wanted).abs() < 0.5).count() as f32;
    let (present, absent) = (count(1.0), count(0.0));
    if !balance || present == 0.0 || absent == 0.0 {
        return [1.0, 1.0];
    }
    let half = f32::midpoint(present, absent);
    [half / present, half / absent]
}

/// One batch on the model's device.
#[derive(Debug)]
pub(super) struct Films {
    /// The films (B, C, H, W).
    pub(super) pixels: Tensor,
    /// Which study of the data set each is.
    pub(super) indices: Vec<usize>,
}

/// The loss of one batch, and the logits (B, L) where the objective has some.
pub(super) struct Outcome {
    pub(super) loss: Tensor,
    pub(super) logits: Option<Tensor>,
}

/// Runs the model on one batch. `epoch` chooses which sentences are read; `None` reads all.
pub(super) fn evaluate(
    model: &Model,
    stage: &Stage,
    dataset: &Dataset,
    target: &Target,
    films: &Films,
    epoch: Option<usize>,
    pass: &Pass,
) -> Result<Outcome> {
    let (still, device) = (&target.still, model.device());
    let learning = if pass.trains() { Some(model.towers_in(stage.precision)?) } else { None };
    let towers = learning.as_ref().unwrap_or(still);
    let grid = if target.frozen.image {
        still.encode_image(&films.pixels, &Pass::inference())?
    } else {
        towers.encode_image(&films.pixels, pass)?
    };
    let features = towers.gather(grid)?;
    match &stage.objective {
        Objective::Contrastive { loss: pair, same, text, drop_sentence } => {
            let drop = epoch.map(|epoch| (*drop_sentence, epoch));
            let texts = texts(dataset, &films.indices, *text, drop, stage.seed);
            let films_at = towers.embed_image(&features)?;
            let tokens = model.tokenize(&texts)?;
            let states = if target.frozen.text {
                still.encode_text(&tokens, &Pass::inference())?
            } else {
                towers.encode_text(&tokens, pass)?
            };
            let texts_at = towers.project_text(&states)?;
            let logits = towers.logits(&Elixr::similarity(&films_at, &texts_at)?)?;
            let same = pairs(*same, &texts, target, &films.indices, device)?;
            let loss = match pair {
                PairLoss::Clip => loss::clip(&logits, &same)?,
                PairLoss::Siglip => loss::siglip(&logits, &same)?,
            };
            Ok(Outcome { loss, logits: None })
        }
        Objective::Supcon { temperature, .. } => {
            let at = towers.embed_image(&features)?; // (B, Q, E)
            let (batch, queries, width) = at.dims3()?;
            // Each query votes for itself: the mean of their similarities is that of the
            // concatenation, whose length is √Q.
            let z = (at.reshape((batch, queries * width))? / (queries as f64).sqrt())?;
            let keys: Vec<_> = films.indices.iter().map(|&index| target.key(index)).collect();
            let same = loss::equal_pairs(&keys, device)?;
            Ok(Outcome { loss: loss::supcon(&z, &same, *temperature)?, logits: None })
        }
        Objective::Supervised { smoothing, .. } => {
            let logits = towers.classify(&features)?;
            let (targets, known) = label_tensors(target, &films.indices, *smoothing, device)?;
            let loss = loss::binary(&logits, &targets, &known)?;
            Ok(Outcome { loss, logits: Some(logits) })
        }
    }
}

fn pairs(
    same: Same,
    texts: &[String],
    target: &Target,
    indices: &[usize],
    device: &Device,
) -> Result<Tensor> {
    match same {
        Same::Nothing => loss::equal_pairs(indices, device),
        Same::Text => loss::equal_pairs(texts, device),
        Same::Labels => {
            let keys: Vec<_> = indices.iter().map(|&index| target.key(index)).collect();
            loss::equal_pairs(&keys, device)
        }
    }
}

fn label_tensors(
    target: &Target,
    indices: &[usize],
    smoothing: f64,
    device: &Device,
) -> Result<(Tensor, Tensor)> {
    let findings = target.weights.len();
    let (mut targets, mut known) = (Vec::new(), Vec::new());
    for &index in indices {
        for (label, [present, absent]) in target.labels.row(index).iter().zip(&target.weights) {
            let smooth = smoothing as f32 / 2.0;
            targets.push(if label.is_nan() { 0.0 } else { label * (1.0 - 2.0 * smooth) + smooth });
            known.push(match label {
                label if label.is_nan() => 0.0,
                label if *label > 0.5 => *present,
                _ => *absent,
            });
        }
    }
    let shape = (indices.len(), findings);
    Ok((Tensor::from_vec(targets, shape, device)?, Tensor::from_vec(known, shape, device)?))
}

/// The texts of a batch; with `drop`, each sentence is left out with that chance, never all.
fn texts(
    dataset: &Dataset,
    indices: &[usize],
    part: Section,
    drop: Option<(f64, usize)>,
    seed: u64,
) -> Vec<String> {
    let one = |&index: &usize| {
        let text = section(&dataset.studies[index], part);
        match drop {
            Some((chance, epoch)) if chance > 0.0 => {
                let mut random = Random::new(seed, &[0x7465_7874, epoch as u64, index as u64]);
                without_some_sentences(&text, chance, &mut random)
            }
            _ => text,
        }
    };
    indices.iter().map(one).collect()
}

pub(super) fn section(study: &Study, part: Section) -> String {
    match part {
        Section::Report => study.report.text(),
        Section::Findings => study.report.findings.trim().to_owned(),
        Section::Impression => study.report.impression.trim().to_owned(),
    }
}

fn without_some_sentences(text: &str, chance: f64, random: &mut Random) -> String {
    let sentences: Vec<&str> = text.split_inclusive(". ").collect();
    let kept: String =
        sentences.iter().filter(|_| !random.chance(chance)).copied().collect::<String>();
    if kept.is_empty() { (*random.choose(&sentences)).to_owned() } else { kept }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn balanced_weights_give_both_classes_the_same_sum() {
        let column = ndarray::arr1(&[1.0, 0.0, 0.0, 0.0, f32::NAN]);
        let close = |found: [f32; 2], wanted: [f32; 2]| {
            found.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-6)
        };
        assert!(close(class_weights(column.view(), true), [2.0, 2.0 / 3.0]));
        assert!(close(class_weights(column.view(), false), [1.0, 1.0]));
    }

    #[test]
    fn some_sentence_always_stays() {
        let text = "One. Two. Three.";
        for seed in 0..50 {
            let kept = without_some_sentences(text, 0.95, &mut Random::new(seed, &[]));
            assert!(
                !kept.is_empty() && text.contains(kept.trim()) || kept.contains(". "),
                "{kept}"
            );
        }
    }
}
