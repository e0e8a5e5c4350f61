//! The words of chest reports, compiled in as data.

use std::sync::LazyLock;

use serde::Deserialize;

use super::reading::words;

/// A row of words to look for; `*` stands for up to [`GAP`] words.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub(super) struct Term(pub(super) Vec<String>);

/// The most words that a `*` stands for.
pub(super) const GAP: usize = 4;

impl From<String> for Term {
    fn from(text: String) -> Self {
        let parts = text.split_whitespace().flat_map(|part| match part {
            "*" => vec!["*".to_owned()],
            part => words(part).into_iter().map(|word| word.lower).collect(),
        });
        Self(parts.collect())
    }
}

/// All word lists of `words.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Lexicon {
    pub(super) negators: Vec<Term>,
    pub(super) not_negators: Vec<Term>,
    pub(super) late_negators: Vec<Term>,
    pub(super) doubts: Vec<Term>,
    pub(super) late_doubts: Vec<Term>,
    pub(super) links: Vec<Term>,
    pub(super) scope_ends: Vec<Term>,
    pub(super) clause_starts: Vec<String>,
    pub(super) fillers: Vec<String>,
    pub(super) normal_words: Vec<Term>,
    pub(super) references: Vec<Term>,
    pub(super) all_clear: String,
    pub(super) abbreviations: Vec<String>,
    pub(super) organs: Vec<String>,
    pub(super) sided_organs: Vec<String>,
    pub(super) side_pairs: Vec<[String; 2]>,
    pub(super) one_sided: Vec<Term>,
    pub(super) answers: Answers,
    cover: Vec<Cover>,
    pub(super) normality: Normality,
    pub(super) details: Details,
    pub(super) plain: Plain,
    pub(super) scale: Vec<Scale>,
    finding: Vec<Entry>,
    device: Vec<Entry>,
    devices: General,
    /// Findings, then devices, then what speaks of devices in general.
    #[serde(skip)]
    pub(super) topics: Vec<Topic>,
}

/// What short answers are made of.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Answers {
    pub(super) left: Vec<Term>,
    pub(super) right: Vec<Term>,
    pub(super) both: Vec<Term>,
    pub(super) upper: Vec<Term>,
    pub(super) middle: Vec<Term>,
    pub(super) lower: Vec<Term>,
    /// From zero on.
    pub(super) numbers: Vec<String>,
    pub(super) small_words: Vec<Term>,
}

/// Words that alone make a sentence of normality.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Normality {
    pub(super) words: Vec<String>,
}

/// Words around what can be left out.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Details {
    pub(super) companies: Vec<Term>,
    pub(super) taken_for: Vec<Term>,
    pub(super) measures: Vec<Term>,
    pub(super) with_size: Vec<Term>,
    pub(super) before_size: Vec<Term>,
}

/// The plainest sentences that state or deny something; `{}` is its name.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Plain {
    pub(super) stated: Vec<String>,
    pub(super) denied: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cover {
    terms: Vec<Term>,
    findings: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct General {
    aliases: Vec<String>,
    terms: Vec<Term>,
}

/// Words for degrees, the least first.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Scale {
    pub(super) name: String,
    pub(super) levels: Vec<Vec<Degree>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Entry {
    name: String,
    aliases: Vec<String>,
    terms: Vec<Term>,
    normal: Vec<Term>,
    scale: String,
    denial: String,
    sentences: Vec<String>,
    places: Vec<String>,
    kinds: Vec<String>,
}

/// A word for a degree, as it is written and as it is looked for.
#[derive(Debug, Deserialize)]
#[serde(from = "String")]
pub(super) struct Degree {
    pub(super) text: String,
    pub(super) term: Term,
}

impl From<String> for Degree {
    fn from(text: String) -> Self {
        Self { term: Term::from(text.clone()), text }
    }
}

/// What a topic is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    Finding,
    Device,
    /// "Support devices" and the like.
    Devices,
}

/// Something that a sentence may be about.
#[derive(Debug)]
pub(super) struct Topic {
    pub(super) name: String,
    pub(super) sort: Sort,
    aliases: Vec<String>,
    pub(super) terms: Vec<Term>,
    /// Terms that deny it.
    pub(super) denials: Vec<Term>,
    pub(super) scale: String,
    /// A sentence that denies it.
    pub(super) denial: String,
    pub(super) sentences: Vec<String>,
    pub(super) places: Vec<String>,
    /// The topic that it is a kind of.
    pub(super) broader: Option<usize>,
}

impl Topic {
    /// Whether a data set's label of this name is about it.
    pub(super) fn is_called(&self, label: &str) -> bool {
        let same = |name: &String| name.eq_ignore_ascii_case(label);
        same(&self.name) || self.aliases.iter().any(same)
    }
}

impl Lexicon {
    fn read() -> Self {
        let mut lexicon: Self = toml::from_str(include_str!("words.toml"))
            .expect("the word lists are part of the crate, and a test reads them");
        let findings = std::mem::take(&mut lexicon.finding).into_iter();
        let devices = std::mem::take(&mut lexicon.device).into_iter();
        let mut kinds: Vec<Vec<String>> = Vec::new();
        let mut topics: Vec<Topic> = findings
            .map(|entry| (entry, Sort::Finding))
            .chain(devices.map(|entry| (entry, Sort::Device)))
            .inspect(|(entry, _)| kinds.push(entry.kinds.clone()))
            .map(|(entry, sort)| Topic {
                broader: None,
                denials: entry.normal,
                name: entry.name,
                sort,
                aliases: entry.aliases,
                terms: entry.terms,
                scale: entry.scale,
                denial: entry.denial,
                sentences: entry.sentences,
                places: entry.places,
            })
            .collect();
        let general = topics.len();
        for (number, kinds) in kinds.iter().enumerate() {
            let named = |topic: &Topic| kinds.contains(&topic.name);
            topics.iter_mut().filter(|topic| named(topic)).for_each(|t| t.broader = Some(number));
        }
        for topic in topics.iter_mut().filter(|topic| topic.sort == Sort::Device) {
            topic.broader = Some(general);
        }
        topics.push(Topic {
            name: "support devices".to_owned(),
            sort: Sort::Devices,
            broader: None,
            aliases: lexicon.devices.aliases.clone(),
            terms: lexicon.devices.terms.clone(),
            denials: Vec::new(),
            scale: String::new(),
            denial: "No support devices.".to_owned(),
            sentences: Vec::new(),
            places: Vec::new(),
        });
        for cover in &lexicon.cover {
            for topic in topics.iter_mut().filter(|topic| topic.sort == Sort::Finding) {
                if cover.findings.iter().any(|name| name == "all" || *name == topic.name) {
                    topic.denials.extend(cover.terms.iter().cloned());
                }
            }
        }
        lexicon.topics = topics;
        lexicon
    }
}

static LEXICON: LazyLock<Lexicon> = LazyLock::new(Lexicon::read);

/// The word lists.
pub(super) fn lexicon() -> &'static Lexicon {
    &LEXICON
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_word_lists_agree_with_themselves() {
        let lexicon = lexicon();
        let names: HashSet<_> = lexicon.topics.iter().map(|topic| &topic.name).collect();
        assert_eq!(names.len(), lexicon.topics.len());
        let scales: HashSet<_> = lexicon.scale.iter().map(|scale| &scale.name).collect();
        for topic in &lexicon.topics {
            assert!(!topic.terms.is_empty() || topic.sort == Sort::Devices, "{}", topic.name);
            assert_eq!(
                topic.sort == Sort::Finding,
                scales.contains(&topic.scale),
                "{}",
                topic.name
            );
            assert_eq!(topic.sort == Sort::Devices, topic.sentences.is_empty(), "{}", topic.name);
            assert_ne!(topic.places.len(), 1, "{} has nowhere to move", topic.name);
        }
        let broader = |name: &str| {
            let topic = lexicon.topics.iter().find(|topic| topic.name == name).unwrap();
            topic.broader.map(|number| lexicon.topics[number].name.as_str())
        };
        assert_eq!(broader("edema"), Some("lung opacity"));
        assert_eq!(broader("pacemaker"), Some("support devices"));
        assert_eq!(broader("pneumothorax"), None);
        let kinds = lexicon.topics.iter().filter(|t| t.broader.is_some());
        assert_eq!(kinds.count(), 10, "a kind that no list names");
        for cover in &lexicon.cover {
            assert!(cover.findings.iter().all(|name| name == "all" || names.contains(name)));
        }
        assert!(lexicon.scale.iter().all(|scale| scale.levels.len() == 3));
        let plain = lexicon.plain.stated.iter().chain(&lexicon.plain.denied);
        assert!(
            plain.clone().count() > 1 && plain.clone().all(|text| text.matches("{}").count() == 1)
        );
    }
}
