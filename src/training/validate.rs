//! What a stage measures on studies it does not learn from.

use std::sync::Arc;

use ndarray::Array2;

use super::aim::Objective;
use super::feed::Feed;
use super::objective::{self, Films, Target, Task};
use super::stage::Stage;
use crate::Result;
use crate::data::{Dataset, Loader};
use crate::metrics::{Measure, Policy, Samples, Setting};
use crate::nn::Pass;
use crate::progress::Progress;
use crate::systems::Model;

/// The mean loss, and the mean AUROC over the findings that have both classes (NaN without one).
pub(super) fn measure(
    model: &Model,
    stage: &Stage,
    dataset: &Arc<Dataset>,
    loader: &Loader,
    progress: &Progress,
) -> Result<(f64, f64)> {
    let target = Target::new(model, dataset, stage)?;
    let mut scores = Array2::from_elem((dataset.len(), dataset.findings.len()), f32::NAN);
    let (mut sum, mut films_seen) = (0.0, 0);
    let feed = Feed::new(loader, stage, loader.plan(0), (0, 0), model.device())?;
    for batch in feed {
        let (batch, pixels) = batch?;
        progress.check()?;
        if batch.indices.len() < 2 && stage.objective.compares() {
            continue; // a contrastive loss of one film says nothing
        }
        let Some(pixels) = pixels else { continue };
        let films = Films { pixels, indices: batch.indices };
        let pass = &Pass::inference();
        let target = &target;
        let task = Task { model, stage, dataset, target, films: &films, epoch: None, pass };
        let outcome = objective::evaluate(&task)?;
        let loss = f64::from(outcome.loss.to_scalar::<f32>()?);
        if loss == 0.0 && matches!(stage.objective, Objective::Supcon { .. }) {
            continue; // nor does one of films that share nothing
        }
        let n = films.indices.len();
        sum += loss * n as f64;
        films_seen += n;
        if let Some(logits) = outcome.logits {
            for (row, index) in logits.to_vec2::<f32>()?.iter().zip(&films.indices) {
                scores.row_mut(*index).iter_mut().zip(row).for_each(|(to, from)| *to = *from);
            }
        }
    }
    Ok((sum / films_seen.max(1) as f64, mean_auroc(dataset, &scores)))
}

fn mean_auroc(dataset: &Dataset, scores: &Array2<f32>) -> f64 {
    let targets = dataset.targets(Policy::Ignore);
    let each = targets.columns().into_iter().zip(scores.columns()).filter_map(|(truth, score)| {
        let pairs = truth.iter().zip(score).filter(|(t, s)| !t.is_nan() && !s.is_nan());
        let (truth, score): (Vec<f64>, Vec<f64>) =
            pairs.map(|(t, s)| (f64::from(*t), f64::from(*s))).unzip();
        let samples = Samples::new(&truth, &score, Policy::Ignore).ok()?;
        let area = Measure::Auroc.value(&samples, &samples.ones(), &Setting::default());
        (!area.is_nan()).then_some(area)
    });
    let each: Vec<f64> = each.collect();
    if each.is_empty() { f64::NAN } else { each.iter().sum::<f64>() / each.len() as f64 }
}
