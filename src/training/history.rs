//! The table of a run: one row a step, and one an epoch where something is validated.

use serde::{Deserialize, Serialize};

/// What one step measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepRow {
    /// The step, counted from 1.
    pub step: u64,
    /// The epoch, counted from 1.
    pub epoch: usize,
    /// The loss, before the step.
    pub loss: f64,
    /// The learning rate.
    pub rate: f64,
    /// The norm of all gradients taken as one vector, before clipping.
    pub gradient_norm: f64,
    /// Films a second since the row before; differs from run to run.
    pub films_per_second: f64,
}

/// What one epoch measured on the validation set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochRow {
    /// The epoch, counted from 1.
    pub epoch: usize,
    /// The stage's loss over the validation set.
    pub loss: f64,
    /// Mean AUROC over the findings that can be scored; NaN where the stage has no scores.
    #[serde(with = "nullable")]
    pub auroc: f64,
}

/// Everything a run measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// One row a step.
    pub steps: Vec<StepRow>,
    /// One row an epoch; empty without a validation set.
    pub epochs: Vec<EpochRow>,
    /// Rows of the data set that could not be read, each named once.
    pub failures: Vec<String>,
}

/// JSON has no NaN: it travels as null.
#[allow(clippy::trivially_copy_pass_by_ref)] // the signature that serde asks for
mod nullable {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &f64, to: S) -> Result<S::Ok, S::Error> {
        value.is_finite().then_some(*value).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
        Ok(Option::<f64>::deserialize(from)?.unwrap_or(f64::NAN))
    }
}
