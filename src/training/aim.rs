//! What the loss of a stage compares.

use serde::{Deserialize, Serialize};

use super::positives::Positives;
use crate::fusion::Gather;
use crate::metrics::Policy;
use crate::tasks::Instruction;
use crate::tasks::report::CorruptionKind;
use crate::{Error, Result};

/// What the loss compares.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Objective {
    /// Films with their reports.
    Contrastive {
        /// Softmax over the batch (CLIP) or a sigmoid for each pair (SigLIP).
        #[serde(default)]
        loss: PairLoss,
        /// Which pairs off the diagonal count as positives too.
        #[serde(default)]
        same: Same,
        /// Which part of the report is read.
        #[serde(default)]
        text: Section,
        /// Chance that a sentence of the report is left out, per film and epoch.
        #[serde(default)]
        drop_sentence: f64,
        /// Chance that a sentence of it says one of its claims again in the plainest words, as the
        /// word lists name it: see [`restated`](crate::tasks::report::restated).
        #[serde(default, skip_serializing_if = "is_zero")]
        restate: f64,
        /// Chance that a sentence of it is read without its sides; zones, degrees, sizes and what
        /// else is seen with a finding alike.
        #[serde(default)]
        drop_detail: f64,
        /// Errors that a text is made wrong by: in every epoch each film also meets its text with
        /// one of them, where one can be made that word lists understand.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        wrong: Vec<CorruptionKind>,
        /// Whether the micro-batches of a step are one batch, in which each film meets the texts
        /// of all: a large batch with the memory of a small one, for twice the work.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        together: bool,
    },
    /// Films with their reports, by a Q-Former: contrast, match and caption.
    Qformer {
        /// Which pairs off the diagonal count as positives too, and are no negatives.
        #[serde(default)]
        same: Same,
        /// Which part of the report is read.
        #[serde(default)]
        text: Section,
        /// Chance that a sentence of the report is left out, per film and epoch.
        #[serde(default)]
        drop_sentence: f64,
        /// Chance that a sentence of it says one of its claims again in the plainest words, as the
        /// word lists name it: see [`restated`](crate::tasks::report::restated).
        #[serde(default, skip_serializing_if = "is_zero")]
        restate: f64,
        /// Chance that a sentence of it is read without its sides; zones, degrees, sizes and what
        /// else is seen with a finding alike.
        #[serde(default)]
        drop_detail: f64,
        /// What gradients pass in the contrast.
        #[serde(default)]
        gather: Gather,
        /// Label smoothing of the contrast.
        #[serde(default = "tenth")]
        contrast_smoothing: f64,
        /// Label smoothing of the words of a caption.
        #[serde(default = "tenth")]
        caption_smoothing: f64,
        /// Factors of the three losses: contrast, match, caption.
        #[serde(default = "ones")]
        weights: [f64; 3],
    },
    /// Films, and what a decoder is to write about them when it is asked.
    Instruct {
        /// What is asked; of all that a study has an answer to, some are drawn.
        tasks: Vec<Instruction>,
        /// How many are drawn, per study and epoch.
        #[serde(default = "one")]
        per_study: usize,
        /// The most tokens of prompt and answer together; longer reports end after a sentence.
        #[serde(default = "most_tokens")]
        max_tokens: usize,
        /// Whether the film is left out: the decoder learns from the texts alone.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        blind: bool,
    },
    /// Films that share their labels pull together.
    Supcon {
        /// Divides the similarities.
        #[serde(default = "supcon_temperature")]
        temperature: f64,
        /// When two films pull together.
        #[serde(default)]
        positives: Positives,
        /// What an uncertain label counts as.
        #[serde(default)]
        uncertain: Policy,
    },
    /// Films against their labels, each finding by itself.
    Supervised {
        /// What an uncertain label counts as.
        #[serde(default)]
        uncertain: Policy,
        /// Weighs the two classes of each finding alike.
        #[serde(default)]
        balance: bool,
        /// Label smoothing: targets move half of this from 0 and from 1.
        #[serde(default)]
        smoothing: f64,
    },
}

#[allow(clippy::trivially_copy_pass_by_ref)] // as serde calls it
fn is_zero(value: &f64) -> bool {
    *value == 0.0
}

fn supcon_temperature() -> f64 {
    0.1
}

fn one() -> usize {
    1
}

fn most_tokens() -> usize {
    256
}

fn tenth() -> f64 {
    0.1
}

fn ones() -> [f64; 3] {
    [1.0; 3]
}

/// The two contrastive losses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PairLoss {
    /// Softmax over the batch.
    #[default]
    Clip,
    /// A sigmoid for each pair.
    Siglip,
}

/// Which pairs of different studies are positives. A text made wrong is no positive of its own film,
/// and one of others only where it equals their text or, by claims, holds by their report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Same {
    /// Only a film and its own report.
    Nothing,
    /// Those whose texts are equal: radiology repeats itself ("normal").
    #[default]
    Text,
    /// Those whose labels are all equal.
    Labels,
    /// Those where all that the text says of findings and devices holds by the film's report:
    /// "no pneumothorax" belongs to every film without one. Read by the word lists of reports, in
    /// English.
    Claims,
}

/// The part of a report that is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Section {
    /// Findings and impression, whatever is there.
    #[default]
    Report,
    /// Findings only.
    Findings,
    /// Impression only.
    Impression,
}

impl Objective {
    /// Whether the films of a batch are compared with one another.
    pub(super) fn compares(&self) -> bool {
        !matches!(self, Self::Supervised { .. } | Self::Instruct { .. })
    }

    /// Refuses values that no loss can use, for batches of `batch_size` studies.
    pub(super) fn validate(&self, batch_size: usize) -> Result<()> {
        let pairs = || {
            if batch_size < 2 {
                return Err(number("batch_size", 1.0, "at least 2 for a contrastive loss"));
            }
            Ok(())
        };
        match *self {
            Self::Contrastive { drop_sentence, restate, drop_detail, ref wrong, .. } => {
                share("objective.drop_sentence", drop_sentence)?;
                share("objective.restate", restate)?;
                share("objective.drop_detail", drop_detail)?;
                errors(wrong)?;
                pairs()
            }
            Self::Qformer {
                drop_sentence,
                restate,
                drop_detail,
                contrast_smoothing,
                caption_smoothing,
                weights,
                ..
            } => {
                share("objective.drop_sentence", drop_sentence)?;
                share("objective.restate", restate)?;
                share("objective.drop_detail", drop_detail)?;
                share("objective.contrast_smoothing", contrast_smoothing)?;
                share("objective.caption_smoothing", caption_smoothing)?;
                weights.iter().try_for_each(|&weight| positive("objective.weights", weight))?;
                pairs()
            }
            Self::Instruct { ref tasks, per_study, max_tokens, blind } => {
                instructions(tasks, blind)?;
                positive("objective.per_study", per_study as f64)?;
                if max_tokens < 8 {
                    return Err(number("objective.max_tokens", max_tokens as f64, "at least 8"));
                }
                Ok(())
            }
            Self::Supcon { temperature, .. } => {
                positive("objective.temperature", temperature)?;
                pairs()
            }
            Self::Supervised { smoothing, .. } => share("objective.smoothing", smoothing),
        }
    }
}

/// Refuses instructions that a stage has no use for.
fn instructions(tasks: &[Instruction], blind: bool) -> Result<()> {
    let field = "stage.objective.tasks";
    if tasks.is_empty() {
        return Err(Error::config(field, "found none, expected at least one"));
    }
    once(field, tasks, Instruction::name)?;
    if !blind && !tasks.iter().any(|task| task.sees_film()) {
        let why = "found none about a film, expected one, or blind = true";
        return Err(Error::config(field, why));
    }
    Ok(())
}

/// Refuses errors that no text can be made wrong by.
fn errors(wrong: &[CorruptionKind]) -> Result<()> {
    let field = "stage.objective.wrong";
    // A text that only leaves something out is true.
    for silent in [CorruptionKind::None, CorruptionKind::Dropped] {
        if wrong.contains(&silent) {
            let why = format!("found {:?}, expected kinds that say something wrong", silent.name());
            return Err(Error::config(field, why));
        }
    }
    once(field, wrong, CorruptionKind::name)
}

/// Refuses what stands in a list twice.
fn once<T: PartialEq + Copy>(
    field: &str,
    all: &[T],
    name: impl Fn(T) -> &'static str,
) -> Result<()> {
    let twice = (1..all.len()).find(|&i| all[..i].contains(&all[i]));
    twice.map_or(Ok(()), |at| {
        let why = format!("found {:?} twice, expected each once", name(all[at]));
        Err(Error::config(field, why))
    })
}

pub(super) fn positive(field: &str, value: f64) -> Result<()> {
    let fine = value.is_finite() && value > 0.0;
    if fine { Ok(()) } else { Err(number(field, value, "a number above 0")) }
}

pub(super) fn share(field: &str, value: f64) -> Result<()> {
    let fine = (0.0..1.0).contains(&value);
    if fine { Ok(()) } else { Err(number(field, value, "a number from 0 to below 1")) }
}

pub(super) fn not_negative(field: &str, value: f64) -> Result<()> {
    let fine = value.is_finite() && value >= 0.0;
    if fine { Ok(()) } else { Err(number(field, value, "a number from 0 on")) }
}

fn number(field: &str, found: f64, expected: &str) -> Error {
    Error::config(format!("stage.{field}"), format!("found {found}, expected {expected}"))
}
