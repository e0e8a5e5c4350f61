//! Prompt banks: for each finding, phrases that say it is there and phrases that say it is not.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The phrases of one finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prompt {
    /// What the phrases are about.
    pub finding: String,
    /// Phrases of a film that has it.
    pub present: Vec<String>,
    /// Phrases of a film that does not.
    pub absent: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Bank {
    prompt: Vec<Prompt>,
}

const BANKS: &[(&str, &str)] = &[
    ("chexpert13", include_str!("prompts/chexpert13.toml")),
    ("phantom", include_str!("prompts/phantom.toml")),
    ("tuberculosis", include_str!("prompts/tuberculosis.toml")),
];

/// The names that [`prompts`] knows.
pub fn prompt_banks() -> Vec<&'static str> {
    BANKS.iter().map(|(name, _)| *name).collect()
}

/// A prompt bank compiled in.
pub fn prompts(name: &str) -> Result<Vec<Prompt>> {
    let found = BANKS.iter().find(|(known, _)| *known == name).ok_or_else(|| {
        let known = prompt_banks().join(", ");
        Error::value("prompts", format!("found {name:?}, expected one of {known}"))
    })?;
    let bank: Bank = toml::from_str(found.1)
        .map_err(|error| Error::Internal(format!("prompt bank {name}: {error}")))?;
    Ok(bank.prompt)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_bank_has_phrases_for_both_sides_and_names_a_finding_once() {
        for name in prompt_banks() {
            let bank = prompts(name).unwrap();
            let findings: HashSet<_> = bank.iter().map(|p| &p.finding).collect();
            assert_eq!(findings.len(), bank.len(), "{name}");
            assert!(bank.iter().all(|p| !p.present.is_empty() && !p.absent.is_empty()), "{name}");
        }
    }

    #[test]
    fn chexpert13_has_thirteen_findings() {
        assert_eq!(prompts("chexpert13").unwrap().len(), 13);
    }
}
