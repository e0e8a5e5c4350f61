//! How a decoder chooses the tokens it writes.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// When a beam search has enough finished texts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stopping {
    /// When the best unfinished beam, at its length of now, scores below all finished ones.
    #[default]
    Usual,
    /// As soon as there are as many finished texts as beams.
    Early,
    /// When no unfinished beam can score above the finished ones at any length.
    Never,
}

/// How tokens are chosen. The default is greedy: the most likely token, always.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Generation {
    /// The most tokens that are written for a prompt.
    pub max_new_tokens: usize,
    /// Logits are divided by it before a token is drawn; 0 takes the most likely one.
    pub temperature: f64,
    /// Draw from this many of the most likely tokens only.
    pub top_k: Option<usize>,
    /// Draw from the fewest of the most likely tokens that have this probability together.
    pub top_p: f64,
    /// Logits of tokens that are there already are divided by it (times it, if negative).
    ///
    /// Source: Keskar et al. 2019, "CTRL", arXiv:1909.05858.
    pub repetition_penalty: f64,
    /// No run of this many tokens comes twice; 0 allows all.
    pub no_repeat_ngram: usize,
    /// Texts followed at once by beam search; 1 follows one.
    pub beams: usize,
    /// Scores of finished beams are divided by their length to this power.
    pub length_penalty: f64,
    /// When a beam search ends.
    pub stopping: Stopping,
    /// Tokens that end a text besides the model's own.
    pub stop: Vec<u32>,
    /// Seed of the draws.
    pub seed: u64,
}

impl Default for Generation {
    fn default() -> Self {
        Self {
            max_new_tokens: 128,
            temperature: 0.0,
            top_k: None,
            top_p: 1.0,
            repetition_penalty: 1.0,
            no_repeat_ngram: 0,
            beams: 1,
            length_penalty: 1.0,
            stopping: Stopping::Usual,
            stop: Vec::new(),
            seed: 0,
        }
    }
}

impl Generation {
    /// Refuses what cannot be followed, naming the option.
    pub fn validate(&self) -> Result<()> {
        let refuse = |what: &str, found: String, expected: &str| {
            Err(Error::value(what, format!("found {found}, expected {expected}")))
        };
        if self.max_new_tokens == 0 {
            return refuse("max_new_tokens", "0".to_owned(), "at least 1");
        }
        if !(self.temperature >= 0.0 && self.temperature <= 1e3) {
            return refuse("temperature", self.temperature.to_string(), "0 to 1000");
        }
        if self.top_k == Some(0) {
            return refuse("top_k", "0".to_owned(), "at least 1");
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return refuse("top_p", self.top_p.to_string(), "above 0 and at most 1");
        }
        if !(self.repetition_penalty > 0.0 && self.repetition_penalty <= 1e3) {
            let found = self.repetition_penalty.to_string();
            return refuse("repetition_penalty", found, "above 0 and at most 1000");
        }
        if !(1..=64).contains(&self.beams) {
            return refuse("beams", self.beams.to_string(), "1 to 64");
        }
        if self.length_penalty.is_nan() || self.length_penalty.abs() > 100.0 {
            return refuse("length_penalty", self.length_penalty.to_string(), "-100 to 100");
        }
        if self.beams > 1 && self.temperature > 0.0 {
            let found = format!("{} with a temperature", self.beams);
            return refuse("beams", found, "1, or a temperature of 0");
        }
        if self.temperature.to_bits() == 0 && (self.top_k.is_some() || self.top_p < 1.0) {
            let why = "found top_k or top_p without a temperature, expected one above 0";
            return Err(Error::value("temperature", why));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_without_meaning_are_refused_by_name() {
        let error = |change: fn(&mut Generation)| {
            let mut options = Generation::default();
            options.validate().unwrap();
            change(&mut options);
            options.validate().unwrap_err().to_string()
        };
        assert_eq!(error(|o| o.max_new_tokens = 0), "max_new_tokens: found 0, expected at least 1");
        assert!(error(|o| o.temperature = f64::NAN).starts_with("temperature: found NaN"));
        assert!(error(|o| o.temperature = -1.0).starts_with("temperature: found -1"));
        assert!(error(|o| o.top_k = Some(0)).starts_with("top_k: found 0"));
        assert!(error(|o| o.top_p = 0.0).starts_with("top_p: found 0"));
        assert!(error(|o| o.repetition_penalty = 0.0).starts_with("repetition_penalty: found 0"));
        assert!(error(|o| o.beams = 65).starts_with("beams: found 65, expected 1 to 64"));
        assert!(error(|o| o.length_penalty = f64::NAN).starts_with("length_penalty: found NaN"));
        assert!(error(|o| (o.beams, o.temperature) = (2, 1.0)).contains("with a temperature"));
        assert!(error(|o| o.top_p = 0.5).contains("without a temperature"));
    }
}
