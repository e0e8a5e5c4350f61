//! From a batch of studies to a loss: what each objective asks of the model.

use std::sync::OnceLock;

use candle::{Device, Tensor};
use ndarray::{Array2, Axis};

use super::Stage;
use super::aim::{Objective, PairLoss, Same};
use super::texts::{Read, Text, words};
use super::{instruct, loss, positives, texts};
use crate::data::Dataset;
use crate::fusion::{Negatives, Pairing, QFormer, Words};
use crate::metrics::Policy;
use crate::nn::Pass;
use crate::random::Random;
use crate::systems::elixr::Elixr;
use crate::systems::{Graft, Model};
use crate::tasks::report::{Donors, Facts};
use crate::vision::TokenGrid;
use crate::{Error, Result};

/// What the names of the parameters begin with that encode films, and those that read texts.
pub(super) const IMAGE: &[&str] = &["image."];
pub(super) const TEXT: &[&str] = &["text.", "qformer."];
/// Those that queries depend on, and those of a decoder.
pub(super) const QUERIES: &[&str] = &["image.", "pool.", "qformer."];
pub(super) const DECODER: &[&str] = &["decoder.", "lora."];

/// What the loss needs to know about the whole data set, found out once.
#[derive(Debug)]
pub(super) struct Target {
    /// 1, 0 or NaN for each study and finding; empty for objectives without labels.
    labels: Array2<f32>,
    /// What the report of each study says, read when it is first asked for.
    pub(super) facts: Vec<OnceLock<Facts>>,
    /// Weight of a present and of an absent label, for each finding.
    weights: Vec<[f32; 2]>,
    /// The towers as they are at the first batch, without a graph.
    still: Elixr,
    /// Sentences that reports to check are made wrong with.
    pub(super) donors: Donors,
    /// The decoder likewise, for objectives with one.
    pub(super) graft: Option<Graft>,
    /// Which towers no parameter of learns: they run in `still`.
    pub(super) frozen: Frozen,
}

#[derive(Clone, Copy, Debug)]
#[allow(clippy::struct_excessive_bools)] // one for each part
pub(super) struct Frozen {
    image: bool,
    text: bool,
    /// All that the queries depend on.
    queries: bool,
    pub(super) decoder: bool,
}

impl Target {
    /// What `dataset` teaches by the stage's objective.
    pub(super) fn new(model: &Model, dataset: &Dataset, stage: &Stage) -> Result<Self> {
        let still = model.frozen_towers(stage.precision)?;
        let learning = model.parameters().trainable();
        let frozen = |prefixes: &[&str]| {
            let mut learning = learning.iter().filter(|(name, _)| stage.trains(name));
            !learning.any(|(name, _)| prefixes.iter().any(|prefix| name.starts_with(prefix)))
        };
        let frozen = Frozen {
            image: frozen(IMAGE),
            text: frozen(TEXT),
            queries: frozen(QUERIES),
            decoder: frozen(DECODER),
        };
        let graft = match stage.objective {
            Objective::Instruct { .. } => Some(model.frozen_graft(stage.precision)?),
            _ => None,
        };
        let donors = texts::donors(dataset, stage);
        let facts = dataset.studies.iter().map(|_| OnceLock::new()).collect();
        let (policy, balance) = match &stage.objective {
            Objective::Contrastive { same: Same::Labels, .. }
            | Objective::Qformer { same: Same::Labels, .. } => (Policy::Ignore, false),
            Objective::Contrastive { .. }
            | Objective::Qformer { .. }
            | Objective::Instruct { .. } => {
                let (labels, weights) = (Array2::zeros((0, 0)), Vec::new());
                return Ok(Self { labels, facts, weights, still, donors, graft, frozen });
            }
            Objective::Supcon { uncertain, .. } => (*uncertain, false),
            Objective::Supervised { uncertain, balance, .. } => (*uncertain, *balance),
        };
        let labels = dataset.targets(policy);
        let weights = labels.columns().into_iter().map(|column| class_weights(column, balance));
        Ok(Self { weights: weights.collect(), labels, facts, still, donors, graft, frozen })
    }

    /// The labels of one study as a key that equal studies share.
    pub(super) fn key(&self, index: usize) -> Vec<u32> {
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
    /// The films (B, C, H, W), in a blind stage without numbers.
    pub(super) pixels: Tensor,
    /// Which study of the data set each is.
    pub(super) indices: Vec<usize>,
}

/// The loss of one batch, and the logits (B, L) where the objective has some.
pub(super) struct Outcome {
    pub(super) loss: Tensor,
    pub(super) logits: Option<Tensor>,
}

/// One batch, and what the model is to learn from it.
pub(super) struct Task<'a> {
    pub(super) model: &'a Model,
    pub(super) stage: &'a Stage,
    pub(super) dataset: &'a Dataset,
    pub(super) target: &'a Target,
    pub(super) films: &'a Films,
    /// Chooses which sentences are read; all without one.
    pub(super) epoch: Option<usize>,
    pub(super) pass: &'a Pass,
}

/// Runs the model on one batch.
pub(super) fn evaluate(task: &Task) -> Result<Outcome> {
    let &Task { model, stage, target, films, pass, .. } = task;
    let device = model.device();
    let learning = if pass.trains() { Some(model.towers_in(stage.precision)?) } else { None };
    let towers = learning.as_ref().unwrap_or(&target.still);
    let grid = || task.grid(towers, pass);
    let features = || towers.gather(grid()?, pass);
    match &stage.objective {
        Objective::Contrastive { .. } => {
            let Embedded { films: at, texts, shown } = task.embed(towers, pass)?;
            let loss = task.contrast(towers, (&at, &texts), &films.indices, &shown)?;
            Ok(Outcome { loss, logits: None })
        }
        Objective::Qformer { .. } => task.query(towers.qformer()?, &grid()?.tokens),
        Objective::Instruct { .. } => {
            let queries = || -> Result<Tensor> {
                if target.frozen.queries {
                    return Ok(target.still.image(&films.pixels)?.queries);
                }
                Ok(features()?.queries)
            };
            Ok(Outcome { loss: instruct::loss(task, queries)?, logits: None })
        }
        Objective::Supcon { temperature, positives, .. } => {
            let at = towers.embed_image(&features()?)?; // (B, Q, E)
            let (batch, queries, width) = at.dims3()?;
            // Each query votes for itself: the mean of their similarities is that of the
            // concatenation, whose length is √Q.
            let z = (at.reshape((batch, queries * width))? / (queries as f64).sqrt())?;
            let labels = target.labels.select(Axis(0), &films.indices);
            let pull = positives::pull(labels.view(), *positives, device)?;
            Ok(Outcome { loss: loss::supcon(&z, &pull, *temperature)?, logits: None })
        }
        Objective::Supervised { smoothing, .. } => {
            let logits = towers.classify(&features()?)?;
            let (targets, known) = label_tensors(target, &films.indices, *smoothing, device)?;
            let loss = loss::binary(&logits, &targets, &known)?;
            Ok(Outcome { loss, logits: Some(logits) })
        }
    }
}

/// Where the films and texts of a batch lie in the space that they share.
pub(super) struct Embedded {
    /// Unit vectors of films (B, Q, E).
    pub(super) films: Tensor,
    /// Unit vectors of texts (T, E), T at least B.
    pub(super) texts: Tensor,
    /// The texts.
    pub(super) shown: Vec<Text>,
}

impl Task<'_> {
    /// The tokens of the films.
    fn grid(&self, towers: &Elixr, pass: &Pass) -> Result<TokenGrid> {
        if self.target.frozen.image {
            return self.target.still.encode_image(&self.films.pixels, &Pass::inference());
        }
        towers.encode_image(&self.films.pixels, pass)
    }

    /// The embeddings of a contrast.
    pub(super) fn embed(&self, towers: &Elixr, pass: &Pass) -> Result<Embedded> {
        let Objective::Contrastive { text, drop_sentence, restate, drop_detail, wrong, .. } =
            &self.stage.objective
        else {
            return Err(other_objective());
        };
        let chances = [*drop_sentence, *restate, *drop_detail];
        let shown = self.texts(Read { part: *text, chances, wrong });
        let features = towers.gather(self.grid(towers, pass)?, pass)?;
        let films = towers.embed_image(&features)?;
        let tokens = self.model.tokenize(&words(&shown))?;
        let states = if self.target.frozen.text {
            self.target.still.encode_text(&tokens, &Pass::inference())?
        } else {
            towers.encode_text(&tokens, pass)?
        };
        Ok(Embedded { films, texts: towers.project_text(&states)?, shown })
    }

    /// The contrast of `films` (B, Q, E), of these rows of the data set, and `texts` (T, E).
    pub(super) fn contrast(
        &self,
        towers: &Elixr,
        (films, texts): (&Tensor, &Tensor),
        indices: &[usize],
        shown: &[Text],
    ) -> Result<Tensor> {
        let Objective::Contrastive { loss, same, .. } = &self.stage.objective else {
            return Err(other_objective());
        };
        let logits = towers.logits(&Elixr::similarity(films, texts)?)?;
        let same = self.pairs(*same, indices, shown)?;
        match loss {
            PairLoss::Clip => loss::clip(&logits, &same),
            PairLoss::Siglip => loss::siglip(&logits, &same),
        }
    }

    /// The losses of a Q-Former that looks at image tokens (B, N, C), weighed.
    fn query(&self, qformer: &QFormer, tokens: &Tensor) -> Result<Outcome> {
        let Objective::Qformer {
            same,
            text,
            drop_sentence,
            restate,
            drop_detail,
            gather,
            contrast_smoothing,
            caption_smoothing,
            weights,
        } = &self.stage.objective
        else {
            return Err(other_objective());
        };
        let chances = [*drop_sentence, *restate, *drop_detail];
        let texts = self.texts(Read { part: *text, chances, wrong: &[] });
        let (ids, mask) = self.model.tokenize(&words(&texts))?.to_tensors(self.model.device())?;
        let [start, _] = self.model.caption_tokens()?;
        let pairing = Pairing {
            gather: *gather,
            contrast_smoothing: *contrast_smoothing,
            caption_smoothing: *caption_smoothing,
            start,
        };
        let epoch = self.epoch.map_or(u64::MAX, |epoch| epoch as u64);
        let stream = |row: usize| {
            Random::new(self.stage.seed, &[0x6e65_6761, epoch, self.films.indices[row] as u64])
        };
        let losses = qformer.losses(
            tokens,
            Words { ids: &ids, mask: &mask },
            &self.pairs(*same, &self.films.indices, &texts)?,
            &pairing,
            |chances| Negatives::draw(chances, stream),
            self.pass,
        )?;
        let parts = [losses.contrast, losses.matching, losses.caption];
        let [contrast, matching, caption] = std::array::from_fn(|i| &parts[i] * weights[i]);
        Ok(Outcome { loss: ((contrast? + matching?)? + caption?)?, logits: None })
    }
}

fn other_objective() -> Error {
    Error::Internal("a stage was asked for the loss of another objective".to_owned())
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
}
