//! What a whole report claims, finding by finding.

use std::collections::BTreeSet;

use super::clause::{clauses, sides_of};
use super::lexicon::{Sort, lexicon};
use super::reading::{Reading, Says};
use super::sentence::sentences;
use super::statement::{Sides, read_statement};
use super::wording::{capitalised, degrees, level};
use crate::{Error, Result};

/// What one clause says of one finding or device.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    /// The finding or device, as the word lists name it.
    pub finding: &'static str,
    /// Present, absent, or `None` for in doubt.
    pub present: Option<bool>,
    /// Sides that the clause names.
    pub sides: Sides,
    /// Its degree, 0 to 2.
    pub level: Option<usize>,
    /// Thirds of the lung that the clause names.
    pub zones: BTreeSet<&'static str>,
    /// The size in mm that the clause names.
    pub size: Option<f64>,
}

/// A sentence that states a finding or device.
#[derive(Clone, Debug, PartialEq)]
pub struct Phrase {
    /// The sentence.
    pub text: String,
    /// The side that it names: left, or else right.
    pub left: Option<bool>,
    /// The degree that it names, 0 to 2.
    pub level: Option<usize>,
}

/// How a finding or device is worded.
#[derive(Clone, Debug, PartialEq)]
pub struct Phrases {
    /// All sentences of the word lists that state it, on each side and in each degree.
    pub stated: Vec<Phrase>,
    /// The one that denies it.
    pub denied: String,
    /// Whether it is a device.
    pub device: bool,
}

/// The sentences about a finding or device of this name, which [`claims`] gives.
pub fn phrases(name: &str) -> Result<Phrases> {
    let mut topics = lexicon().topics.iter().filter(|topic| topic.sort != Sort::Devices);
    let topic = topics.find(|topic| topic.name == name).ok_or_else(|| {
        Error::value("finding", format!("found {name:?}, expected a finding or device of claims"))
    })?;
    let mut stated = Vec::new();
    for sentence in &topic.sentences {
        for (left, side) in slot(sentence, "{side}", &["left", "right"]) {
            for (level, degree) in slot(sentence, "{degree}", &degrees(topic)) {
                let text = sentence.replace("{side}", side).replace("{degree}", degree);
                let left = left.map(|place| place == 0);
                stated.push(Phrase { text: capitalised(&text), left, level });
            }
        }
    }
    let denied = match topic.denial.as_str() {
        "" => format!("No {}.", topic.name),
        denial => denial.to_owned(),
    };
    Ok(Phrases { stated, denied, device: topic.sort == Sort::Device })
}

/// What a sentence's slot is filled with, each with its place; nothing, once, without the slot.
fn slot<'a>(sentence: &str, slot: &str, words: &[&'a str]) -> Vec<(Option<usize>, &'a str)> {
    if !sentence.contains(slot) {
        return vec![(None, "")];
    }
    words.iter().enumerate().map(|(place, word)| (Some(place), *word)).collect()
}

/// The claims of a report about findings and devices, in order.
pub fn claims(report: &str) -> Vec<Claim> {
    let mut found = all_claims(report);
    found.retain(|(topic, _)| lexicon().topics[*topic].sort != Sort::Devices);
    found.into_iter().map(|(_, claim)| claim).collect()
}

/// The claims of a report, in order, of devices in general too, each with its topic's number.
pub(super) fn all_claims(report: &str) -> Vec<(usize, Claim)> {
    let mut found = Vec::new();
    for sentence in sentences(report) {
        let body = &report[sentence.body];
        let reading = Reading::of(body);
        let clauses = clauses(&reading);
        for clause in &clauses {
            let text = &body[clause.bytes.clone()];
            let part = (clauses.len() > 1).then(|| Reading::of(text));
            let own = part.as_ref().unwrap_or(&reading);
            let read = read_statement(text);
            for mention in &reading.mentions[clause.mentions.clone()] {
                let topic = &lexicon().topics[mention.topic];
                let present = match mention.says {
                    Says::Present => Some(true),
                    Says::Absent => Some(false),
                    Says::Doubtful => None,
                };
                let level = if present == Some(true) { level(own, topic) } else { None };
                let claim = Claim {
                    finding: &topic.name,
                    present,
                    sides: sides_of(own),
                    level,
                    zones: read.zones.clone(),
                    size: read.size,
                };
                found.push((mention.topic, claim));
            }
        }
    }
    found
}

/// The name that the word lists give to a label, if they know it.
pub fn finding_called(label: &str) -> Option<&'static str> {
    let findings = lexicon().topics.iter().filter(|topic| topic.sort == Sort::Finding);
    findings.into_iter().find(|topic| topic.is_called(label)).map(|topic| topic.name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_read_sentence_by_sentence() {
        let found = claims("Small left effusion, no edema. The heart is enlarged. ET tube.");
        let of = |finding: &str| found.iter().find(|claim| claim.finding == finding).unwrap();
        let fluid = of("pleural effusion");
        assert_eq!((fluid.present, fluid.level), (Some(true), Some(0)));
        assert!(fluid.sides.left && !fluid.sides.right);
        assert_eq!(of("edema").present, Some(false));
        assert_eq!(of("cardiomegaly").level, None);
        assert_eq!(of("endotracheal tube").present, Some(true));
        assert_eq!(found.len(), 4);
        assert_eq!(finding_called("Pulmonary Edema"), Some("edema"));
        assert_eq!(finding_called("support devices"), None);
    }

    #[test]
    fn phrases_state_what_they_say_on_each_side_and_in_each_degree() {
        for topic in lexicon().topics.iter().filter(|topic| topic.sort != Sort::Devices) {
            let Phrases { stated, denied, device } = phrases(&topic.name).unwrap();
            assert_eq!(device, topic.sort == Sort::Device);
            for phrase in &stated {
                let read = claims(&phrase.text);
                let claim = read.iter().find(|claim| claim.finding == topic.name);
                let claim = claim.unwrap_or_else(|| panic!("{phrase:?}"));
                assert_eq!(claim.present, Some(true), "{phrase:?}");
                assert_eq!(claim.level, phrase.level, "{phrase:?}");
                let sides = phrase.left.map_or((false, false), |left| (left, !left));
                assert_eq!((claim.sides.left, claim.sides.right), sides, "{phrase:?}");
            }
            let read = claims(&denied);
            let claim = read.iter().find(|claim| claim.finding == topic.name);
            assert_eq!(claim.map(|claim| claim.present), Some(Some(false)), "{denied}");
        }
        assert_eq!(phrases("pleural effusion").unwrap().stated.len(), 2 * 2 * 3);
        assert!(phrases("support devices").is_err());
    }
}
