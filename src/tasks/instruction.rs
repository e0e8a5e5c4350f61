//! Instructions: what a decoder is asked to write, in several wordings.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// What a decoder is asked to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Instruction {
    /// The report of a film.
    Report,
    /// The answer to a question about a film.
    Vqa,
    /// The impression that follows from findings.
    Impression,
    /// The answer to a question about a report.
    Reading,
    /// What is wrong with a report of a film.
    ReportCheck,
    /// What is wrong with a report beside the true one.
    Comparison,
}

/// The file of an instruction.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Words {
    max_tokens: usize,
    wordings: Vec<String>,
}

static WORDS: LazyLock<[Words; 6]> = LazyLock::new(|| {
    let files = [
        include_str!("instructions/report.toml"),
        include_str!("instructions/vqa.toml"),
        include_str!("instructions/impression.toml"),
        include_str!("instructions/reading.toml"),
        include_str!("instructions/report_check.toml"),
        include_str!("instructions/comparison.toml"),
    ];
    files.map(|text| toml::from_str(text).expect("a file compiled in, which a test reads"))
});

impl Instruction {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Report,
        Self::Vqa,
        Self::Impression,
        Self::Reading,
        Self::ReportCheck,
        Self::Comparison,
    ];

    /// The name, as files and callers spell it.
    pub fn name(self) -> &'static str {
        ["report", "vqa", "impression", "reading", "report_check", "comparison"][self as usize]
    }

    /// The instruction about a film of this name.
    pub fn of_film(name: &str) -> Result<Self> {
        let mut known = Self::ALL.into_iter().filter(|one| one.sees_film());
        known.find(|one| one.name() == name).ok_or_else(|| {
            let names: Vec<&str> =
                Self::ALL.into_iter().filter(|one| one.sees_film()).map(Self::name).collect();
            Error::value("task", format!("found {name:?}, expected one of {}", names.join(", ")))
        })
    }

    /// Whether it is about a film; the others are about texts alone.
    pub fn sees_film(self) -> bool {
        matches!(self, Self::Report | Self::Vqa | Self::ReportCheck)
    }

    /// Whether it needs a question.
    pub fn asks(self) -> bool {
        matches!(self, Self::Vqa | Self::Reading)
    }

    /// Whether it needs a report to check.
    pub fn checks(self) -> bool {
        matches!(self, Self::ReportCheck | Self::Comparison)
    }

    /// The most tokens that an answer usually has.
    pub fn max_tokens(self) -> usize {
        WORDS[self as usize].max_tokens
    }

    /// In how many ways it is put.
    pub fn wordings(self) -> usize {
        WORDS[self as usize].wordings.len()
    }

    /// The prompt in wording `number` (the first is what a trained model is asked in), with
    /// `slots` filled in.
    pub fn prompt(self, number: usize, slots: &[(&str, &str)]) -> String {
        let wordings = &WORDS[self as usize].wordings;
        let mut rest = wordings[number % wordings.len()].as_str();
        let mut prompt = String::new();
        // What is filled in may hold braces of its own.
        while let Some((before, behind)) = rest.split_once('{') {
            prompt.push_str(before);
            let (name, after) = behind.split_once('}').unwrap_or((behind, ""));
            let filled = slots.iter().find(|(slot, _)| *slot == name);
            prompt.push_str(filled.map_or("", |(_, text)| text.trim()));
            rest = after;
        }
        prompt + rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_instruction_has_wordings_whose_slots_are_known() {
        for one in Instruction::ALL {
            assert!(one.wordings() > 0 && one.max_tokens() > 0, "{}", one.name());
            let json = serde_json::to_value(one).unwrap();
            assert_eq!(json, one.name());
            for number in 0..one.wordings() {
                let slots =
                    [("question", "QQ"), ("report", "RR"), ("findings", "FF"), ("draft", "DD")];
                let prompt = one.prompt(number, &slots);
                assert!(!prompt.contains(['{', '}']), "{prompt}");
                assert_eq!(prompt.contains("QQ"), one.asks(), "{prompt}");
                let reads = matches!(one, Instruction::Reading | Instruction::Comparison);
                assert_eq!(prompt.contains("RR"), reads, "{prompt}");
                assert_eq!(prompt.contains("DD"), one.checks(), "{prompt}");
                assert_eq!(prompt.contains("FF"), one == Instruction::Impression, "{prompt}");
            }
        }
    }

    #[test]
    fn what_is_filled_in_is_left_as_it_is() {
        let prompt = Instruction::Vqa.prompt(0, &[("question", " What is {question}? ")]);
        assert_eq!(prompt, "Question: What is {question}? Answer:");
    }

    #[test]
    fn an_unknown_task_lists_those_about_films() {
        let error = Instruction::of_film("reading").unwrap_err().to_string();
        assert_eq!(error, "task: found \"reading\", expected one of report, vqa, report_check");
    }
}
