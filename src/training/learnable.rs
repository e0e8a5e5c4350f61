//! The studies of a data set that a stage can learn from.

use std::sync::Arc;

use super::Stage;
use super::aim::{Objective, Same};
use super::instruct;
use super::texts::section;
use crate::data::{Dataset, Study};
use crate::metrics::Policy;
use crate::{Error, Result};

/// What is left of a data set without the studies that lack what the stage's objective needs.
///
/// A film without a report has no pair, and one without a known label has no truth: in a batch
/// such films would count as alike.
#[derive(Debug)]
pub(super) struct Learnable {
    /// The studies that are left.
    pub(super) dataset: Arc<Dataset>,
    /// For each, its row in the whole data set.
    rows: Vec<usize>,
    /// What was said about the others, if there are any.
    pub(super) notice: Option<String>,
}

impl Learnable {
    /// The part of `whole` that `stage` can use; `name` is the argument that it came in by.
    pub(super) fn new(name: &'static str, whole: &Dataset, stage: &Stage) -> Result<Self> {
        let needed = needed(&stage.objective);
        let keeps = |row: &usize| has(&whole.studies[*row], &stage.objective);
        let rows: Vec<usize> = (0..whole.len()).filter(keeps).collect();
        let least = if stage.objective.compares() { 2 } else { 1 };
        if rows.len() < least {
            let why = format!(
                "stage `{}` needs {least} or more studies with {needed}, found {} among {}",
                stage.name,
                rows.len(),
                whole.len()
            );
            return Err(Error::value(name, why));
        }
        let left_out = whole.len() - rows.len();
        let notice = (left_out > 0)
            .then(|| format!("{left_out} of {} studies lack {needed}: left out", whole.len()));
        Ok(Self { dataset: Arc::new(whole.select(&rows)?), rows, notice })
    }

    /// The row in the whole data set of the study at `index`.
    pub(super) fn row(&self, index: usize) -> usize {
        self.rows[index]
    }
}

fn needed(objective: &Objective) -> &'static str {
    match objective {
        Objective::Contrastive { same: Same::Labels, .. }
        | Objective::Qformer { same: Same::Labels, .. } => "a report and a known label",
        Objective::Contrastive { .. } | Objective::Qformer { .. } => "a report",
        Objective::Instruct { .. } => "a report or a question for any of its tasks",
        Objective::Supcon { .. } | Objective::Supervised { .. } => "a known label",
    }
}

fn has(study: &Study, objective: &Objective) -> bool {
    let known = |policy: Policy| study.labels.iter().any(|label| !policy.apply(*label).is_nan());
    match objective {
        Objective::Contrastive { text, same, .. } | Objective::Qformer { text, same, .. } => {
            let reported = !section(study, *text).trim().is_empty();
            reported && (*same != Same::Labels || known(Policy::Ignore))
        }
        Objective::Instruct { tasks, .. } => !instruct::items(study, tasks).is_empty(),
        Objective::Supcon { uncertain, .. } | Objective::Supervised { uncertain, .. } => {
            known(*uncertain)
        }
    }
}
