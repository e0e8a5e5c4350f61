//! A stage of training, as data: what is learnt, which parameters learn it, and how.

use serde::{Deserialize, Serialize};

use super::aim::{Objective, not_negative, positive, share};
use super::{AdamWConfig, Schedule};
use crate::data::Augment;
use crate::nn::Precision;
use crate::{Error, Result};

/// One stage of training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// A name for tables and folders.
    pub name: String,
    /// What the loss compares.
    pub objective: Objective,
    /// Names of the parameters that learn, with `*` for any run of characters.
    pub train: Vec<String>,
    /// Exceptions from `train`.
    #[serde(default)]
    pub freeze: Vec<String>,
    /// How often every study is seen.
    pub epochs: usize,
    /// Studies in a step's micro-batch.
    pub batch_size: usize,
    /// Micro-batches whose gradients are averaged into one step.
    #[serde(default = "one")]
    pub accumulate: usize,
    /// The largest norm of all gradients taken as one vector; longer ones are shortened.
    #[serde(default = "one_norm")]
    pub clip_norm: f64,
    /// The optimiser's constants.
    #[serde(default)]
    pub optimiser: AdamWConfig,
    /// The learning rate over time.
    #[serde(default)]
    pub schedule: Schedule,
    /// Decay of a running mean of the weights, which the run then returns; 0 keeps the last weights.
    #[serde(default)]
    pub average: f64,
    /// What matrices are multiplied in; parameters, norms, softmax and losses stay in float32.
    #[serde(default, skip_serializing_if = "Precision::is_single")]
    pub precision: Precision,
    /// Augmentation of the films, per sample and epoch.
    #[serde(default)]
    pub augment: Augment,
    /// Seed of order, augmentation and dropout.
    #[serde(default)]
    pub seed: u64,
}

fn one() -> usize {
    1
}

fn one_norm() -> f64 {
    1.0
}

/// The presets compiled in, by name.
const PRESETS: &[(&str, &str)] = &[
    ("contrastive", include_str!("stages/contrastive.toml")),
    ("graft", include_str!("stages/graft.toml")),
    ("language", include_str!("stages/language.toml")),
    ("qformer", include_str!("stages/qformer.toml")),
    ("supcon", include_str!("stages/supcon.toml")),
    ("supervised", include_str!("stages/supervised.toml")),
];

impl Stage {
    /// The names that [`Self::preset`] knows.
    pub fn presets() -> Vec<&'static str> {
        PRESETS.iter().map(|(name, _)| *name).collect()
    }

    /// A stage from the presets compiled in.
    pub fn preset(name: &str) -> Result<Self> {
        let found = PRESETS.iter().find(|(known, _)| *known == name).ok_or_else(|| {
            let known = Self::presets().join(", ");
            Error::value("stage", format!("found {name:?}, expected one of {known}"))
        })?;
        toml::from_str(found.1)
            .map_err(|error| Error::Internal(format!("stage preset {name}: {error}")))
    }

    /// Reads a stage from JSON, every field checked.
    pub fn from_json(text: &str) -> Result<Self> {
        let stage: Self =
            serde_json::from_str(text).map_err(|e| Error::config("stage", e.to_string()))?;
        stage.validate()?;
        Ok(stage)
    }

    /// Refuses values that no training can use.
    pub fn validate(&self) -> Result<()> {
        positive("epochs", self.epochs as f64)?;
        positive("batch_size", self.batch_size as f64)?;
        positive("accumulate", self.accumulate as f64)?;
        positive("clip_norm", self.clip_norm)?;
        positive("schedule.peak", self.schedule.peak)?;
        share("schedule.warmup", self.schedule.warmup)?;
        share("average", self.average)?;
        let AdamWConfig { beta1, beta2, eps, weight_decay } = self.optimiser;
        share("optimiser.beta1", beta1)?;
        share("optimiser.beta2", beta2)?;
        positive("optimiser.eps", eps)?;
        not_negative("optimiser.weight_decay", weight_decay)?;
        not_negative("schedule.floor", self.schedule.floor)?;
        self.objective.validate(self.batch_size)
    }

    /// Whether the micro-batches of a step are one batch.
    pub fn together(&self) -> bool {
        matches!(self.objective, Objective::Contrastive { together: true, .. })
    }

    /// The most texts that `films` meet.
    pub(super) fn most_texts(&self, films: usize) -> usize {
        match &self.objective {
            Objective::Contrastive { wrong, .. } if !wrong.is_empty() => films.saturating_mul(2),
            _ => films,
        }
    }

    /// Whether no film is looked at.
    pub fn blind(&self) -> bool {
        matches!(self.objective, Objective::Instruct { blind: true, .. })
    }

    /// Whether the parameter `name` learns in this stage.
    pub fn trains(&self, name: &str) -> bool {
        let hit = |patterns: &[String]| patterns.iter().any(|pattern| glob(pattern, name));
        hit(&self.train) && !hit(&self.freeze)
    }
}

/// Whether `name` matches `pattern`, in which `*` stands for any run of characters.
fn glob(pattern: &str, name: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(tail) = name.strip_prefix(head) else {
        return false;
    };
    (0..=tail.len()).any(|at| tail.is_char_boundary(at) && glob(rest, &tail[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_is_valid() {
        for name in Stage::presets() {
            Stage::preset(name).unwrap().validate().unwrap();
        }
    }

    #[test]
    fn an_unknown_preset_lists_the_known_ones() {
        let error = Stage::preset("magic").unwrap_err().to_string();
        assert_eq!(
            error,
            "stage: found \"magic\", expected one of contrastive, graft, language, qformer, \
             supcon, supervised"
        );
    }

    #[test]
    fn a_misspelt_field_is_named() {
        let mut value = serde_json::to_value(Stage::preset("supcon").unwrap()).unwrap();
        value["epoch"] = 3.into();
        let error = Stage::from_json(&value.to_string()).unwrap_err().to_string();
        assert!(error.contains("unknown field `epoch`"), "{error}");
    }

    #[test]
    fn globs_match_runs_of_characters() {
        assert!(glob("image.*", "image.conv1.weight"));
        assert!(glob("*.bias", "text.a.bias"));
        assert!(glob("a*c*e", "abcde"));
        assert!(!glob("image.*", "text.image.x"));
        assert!(!glob("head.weight", "head.weights"));
    }

    #[test]
    fn a_value_out_of_range_names_its_field() {
        let mut stage = Stage::preset("contrastive").unwrap();
        stage.schedule.warmup = 1.5;
        let error = stage.validate().unwrap_err().to_string();
        assert!(error.contains("stage.schedule.warmup") && error.contains("1.5"), "{error}");
    }
}
