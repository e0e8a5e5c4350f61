//! Reports made wrong on purpose, in one known way, to ask whether the error is seen.
//!
//! Source: the report quality task of Xu et al. 2023, "ELIXR", arXiv:2308.01317, which names
//! swapped sides, added and left-out findings. Every sentence that states the changed fact is
//! changed with it, so that a report does not give its error away by contradicting itself.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::case::Case;
use super::draft::{Change, Draft};
use super::lexicon::{Sort, lexicon};
use super::reading::{Reading, Says};
use super::sentence::sentences;
use super::wording::{refers_back, sentence_of};
use crate::random::Random;
use crate::{Error, Result};

/// What is made wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CorruptionKind {
    /// Nothing.
    None,
    /// Left for right, right for left.
    Laterality,
    /// A finding left out.
    Dropped,
    /// A finding put in that is absent.
    Inserted,
    /// Another degree or size.
    Severity,
    /// A finding denied, or an absent one affirmed, in its own words.
    Negation,
    /// A device put in, left out or moved.
    Device,
}

impl CorruptionKind {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::None,
        Self::Laterality,
        Self::Dropped,
        Self::Inserted,
        Self::Severity,
        Self::Negation,
        Self::Device,
    ];

    /// How it is called.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Laterality => "laterality",
            Self::Dropped => "dropped",
            Self::Inserted => "inserted",
            Self::Severity => "severity",
            Self::Negation => "negation",
            Self::Device => "device",
        }
    }

    /// The kind called `name`.
    pub fn parse(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| {
            let known = Self::ALL.map(Self::name).join(", ");
            Error::value("kind", format!("found {name:?}, expected one of {known}"))
        })
    }
}

/// A report with at most one wrong fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Corruption {
    /// What was made wrong.
    pub kind: CorruptionKind,
    /// The sections, each as given but for the changed sentences.
    pub sections: Vec<String>,
    /// What the changed fact is about; empty when no list of words knows it.
    pub finding: String,
    /// What was done: `affirmed` or `denied`, or `added`, `removed` or `moved`; empty otherwise.
    pub detail: &'static str,
    /// The sentences that changed; none without an error.
    pub changes: Vec<Change>,
}

/// Sentences of other reports, by what they affirm: what is put in sounds like the rest.
#[derive(Clone, Debug, Default)]
pub struct Donors(HashMap<usize, Vec<String>>);

impl Donors {
    /// The sentences of `sections` that affirm one thing and need no other sentence.
    pub fn of<'a>(sections: impl IntoIterator<Item = &'a str>) -> Self {
        let mut found: HashMap<usize, Vec<String>> = HashMap::new();
        for text in sections {
            for sentence in sentences(text) {
                let body = &text[sentence.body];
                let reading = Reading::of(body);
                let [topic] = reading.topics(Says::Present)[..] else { continue };
                let alone = reading.mentions.iter().all(|m| m.topic == topic)
                    && lexicon().topics[topic].sort != Sort::Devices;
                if alone && body.len() <= 200 && !refers_back(&reading) {
                    found.entry(topic).or_default().push(body.to_owned());
                }
            }
        }
        for of_topic in found.values_mut() {
            of_topic.sort_unstable();
            of_topic.dedup();
        }
        Self(found)
    }

    /// A sentence that affirms a topic, of another report where there is one.
    pub(super) fn sentence(&self, topic: usize, random: &mut Random) -> String {
        match self.0.get(&topic) {
            Some(found) => random.choose(found).clone(),
            None => sentence_of(&lexicon().topics[topic], random),
        }
    }
}

/// Makes one fact of a report wrong, or says why the report has none of this kind.
///
/// `facts` are labels of the study by name (1 present, 0 absent, −1 or NaN in doubt): what they
/// call present is never put in as an error. Without a label a finding counts as absent only
/// where the report denies it, and a device where the report does not name it.
pub fn corrupt(
    sections: &[String],
    facts: &[(String, f32)],
    kind: CorruptionKind,
    donors: &Donors,
    random: &mut Random,
) -> std::result::Result<Corruption, &'static str> {
    let mut case = Case { draft: Draft::new(sections), facts, donors, random };
    let (finding, detail) = match kind {
        CorruptionKind::None => Some((None, "")),
        CorruptionKind::Laterality => case.laterality(),
        CorruptionKind::Dropped => case.dropped(),
        CorruptionKind::Inserted => case.inserted(),
        CorruptionKind::Severity => case.severity(),
        CorruptionKind::Negation => case.negation(),
        CorruptionKind::Device => case.device(),
    }
    .ok_or(lacking(kind))?;
    let (changed, changes) = case.draft.finish();
    if kind != CorruptionKind::None && changed == sections {
        return Err(lacking(kind));
    }
    let finding =
        finding.map_or(String::new(), |topic: usize| lexicon().topics[topic].name.clone());
    Ok(Corruption { kind, sections: changed, finding, detail, changes })
}

const fn lacking(kind: CorruptionKind) -> &'static str {
    match kind {
        CorruptionKind::None => "",
        CorruptionKind::Laterality => "no finding on one side is affirmed",
        CorruptionKind::Dropped => "no finding is affirmed in sentences of its own",
        CorruptionKind::Inserted => "no finding is known to be absent",
        CorruptionKind::Severity => "no finding is affirmed with a degree or a size",
        CorruptionKind::Negation => "no finding is affirmed or denied in words that can be turned",
        CorruptionKind::Device => "no device can be added, removed or moved",
    }
}
