//! A short answer as facts: yes or no, sides, places, degree, size, number.

use std::collections::BTreeSet;

use super::lexicon::{Term, lexicon};
use super::reading::{Reading, Says, matches, places};
use super::scope::negators;
use super::size::sizes;

/// The sides that a text names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sides {
    /// The patient's left.
    pub left: bool,
    /// The patient's right.
    pub right: bool,
}

/// How an answer begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Opening {
    /// With yes.
    Yes,
    /// With no.
    No,
    /// With both at once ("yes and no").
    Both,
    /// With something else.
    #[default]
    Neither,
}

/// What a short text says, as far as its words are known.
#[derive(Clone, Debug, Default)]
pub struct Statement {
    /// All words, in small letters.
    pub words: Vec<String>,
    /// Words that are neither small words nor known to be a place or degree.
    pub content: BTreeSet<String>,
    /// Findings and devices that it names.
    pub topics: BTreeSet<usize>,
    /// Those that it affirms.
    pub affirms: BTreeSet<usize>,
    /// Whether it begins with yes or no.
    pub opening: Opening,
    /// Whether it denies anything.
    pub denies: bool,
    /// Whether it hedges.
    pub doubts: bool,
    /// Sides.
    pub sides: Sides,
    /// Thirds of the lung.
    pub zones: BTreeSet<&'static str>,
    /// The mean degree, from 0 to 2.
    pub level: Option<f64>,
    /// The mean size in mm.
    pub size: Option<f64>,
    /// A number without a unit.
    pub number: Option<u64>,
    /// Whether it says nothing but sides, places, degrees, sizes and numbers.
    pub only_known: bool,
}

/// Reads a question or a short answer; of a long one, the beginning.
pub fn read_statement(text: &str) -> Statement {
    let reading = Reading::of(super::sentence::opening(text));
    let words = &reading.words;
    let known = &lexicon().answers;
    let mut seen = vec![false; words.len()];
    let mut mark = |terms: &[Term]| {
        let mut any = false;
        for at in 0..words.len() {
            for end in terms.iter().filter_map(|term| matches(words, at, term)) {
                seen[at..end].fill(true);
                any = true;
            }
        }
        any
    };
    let both = mark(&known.both);
    let sides = Sides { left: mark(&known.left) || both, right: mark(&known.right) || both };
    let zone = |(name, terms): (&'static str, &[Term])| mark(terms).then_some(name);
    let zones: BTreeSet<&'static str> =
        [("upper", &*known.upper), ("middle", &*known.middle), ("lower", &*known.lower)]
            .into_iter()
            .filter_map(zone)
            .collect();
    mark(&known.small_words);
    let degrees = reading.degrees(if words.iter().any(|w| w.lower == "displaced") {
        "displacement"
    } else {
        "size"
    });
    for degree in &degrees {
        seen[degree.words.clone()].fill(true);
    }
    let levels: Vec<f64> = degrees.iter().map(|degree| degree.level as f64).collect();
    let number = words.iter().enumerate().find_map(|(at, word)| {
        let spelled = known.numbers.iter().position(|name| *name == word.lower);
        let number = word.lower.parse().ok().or(spelled.map(|n| n as u64))?;
        seen[at] = true;
        Some(number)
    });
    let lengths: Vec<f64> = sizes(words).iter().map(super::size::Size::mm).collect();
    let first: Vec<&str> = words.iter().take(3).map(|word| word.lower.as_str()).collect();
    let opening = match first.first() {
        _ if first.contains(&"yes") && first.contains(&"no") => Opening::Both,
        Some(&"yes") => Opening::Yes,
        Some(&"no") => Opening::No,
        _ => Opening::Neither,
    };
    let content = words.iter().zip(&seen).filter(|(_, seen)| !**seen).map(|(w, _)| w.lower.clone());
    Statement {
        content: content.collect(),
        topics: reading.mentions.iter().filter(|m| !m.covered).map(|m| m.topic).collect(),
        affirms: reading.topics(Says::Present).into_iter().collect(),
        opening,
        denies: !negators(words).is_empty(),
        doubts: [&lexicon().doubts, &lexicon().late_doubts]
            .iter()
            .any(|terms| !places(words, terms).is_empty()),
        sides,
        zones,
        level: mean(&levels),
        size: mean(&lengths),
        number,
        only_known: !words.is_empty() && seen.iter().all(|seen| *seen),
        words: words.iter().map(|word| word.lower.clone()).collect(),
    }
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}
