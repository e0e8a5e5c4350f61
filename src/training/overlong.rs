//! What a stage cannot read whole, said before it starts.

use super::Stage;
use super::aim::Objective;
use super::instruct;
use super::texts::section;
use crate::Result;
use crate::data::Dataset;
use crate::progress::Progress;
use crate::systems::Model;

/// What is to be said of reports that are longer than the model reads.
pub(super) fn overlong(
    model: &Model,
    stage: &Stage,
    dataset: &Dataset,
    progress: &Progress,
) -> Result<Option<String>> {
    let text = match &stage.objective {
        Objective::Contrastive { text, .. } | Objective::Qformer { text, .. } => text,
        Objective::Instruct { .. } => return instruct::overlong(model, stage, dataset, progress),
        Objective::Supcon { .. } | Objective::Supervised { .. } => return Ok(None),
    };
    let (mut cut, mut most) = (0, 0);
    for part in dataset.studies.chunks(256) {
        progress.check()?;
        let reports: Vec<String> = part.iter().map(|study| section(study, *text)).collect();
        let (found, limit) = model.overlong(&reports)?;
        (cut, most) = (cut + found, limit);
    }
    Ok(cut_notice("reports", [cut, dataset.len()], most))
}

/// What is said of the texts, of all of them, that had more than `most` tokens.
pub(super) fn cut_notice(what: &str, [cut, all]: [usize; 2], most: usize) -> Option<String> {
    (cut > 0).then(|| {
        format!("{cut} of {all} {what} have more than {most} tokens: cut after a sentence")
    })
}
