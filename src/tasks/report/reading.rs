//! What a sentence says: which findings and devices it names, and whether it affirms them.

use std::ops::Range;

use super::lexicon::{GAP, Scale, Sort, Term, lexicon};
use super::scope::Scope;

/// A word of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) lower: String,
    /// Its bytes.
    pub(super) span: Range<usize>,
    /// Whether a comma, semicolon or colon stands between it and the word before.
    pub(super) after_pause: bool,
    /// Whether a semicolon, or a stop that ends no number and no abbreviation, does.
    pub(super) after_break: bool,
}

/// Whether a sentence affirms what it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Says {
    Present,
    Absent,
    /// Possibly there: neither of the others.
    Doubtful,
}

/// A finding or device that a sentence names.
#[derive(Clone, Debug)]
pub(super) struct Mention {
    /// Its number in the lexicon.
    pub(super) topic: usize,
    pub(super) words: Range<usize>,
    pub(super) says: Says,
    /// Whether a sentence of normality denies it ("the heart size is normal"), without naming it.
    pub(super) covered: bool,
}

/// A degree that a sentence names.
#[derive(Clone, Debug)]
pub(super) struct DegreeAt {
    pub(super) words: Range<usize>,
    pub(super) scale: &'static Scale,
    pub(super) level: usize,
}

/// A sentence, understood as far as its words go.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    pub(super) words: Vec<Word>,
    pub(super) mentions: Vec<Mention>,
}

/// The words of a text: runs of letters and digits, and decimal numbers.
pub(super) fn words(text: &str) -> Vec<Word> {
    let mut found: Vec<Word> = Vec::new();
    let mut start: Option<usize> = None;
    let (mut pause, mut stop) = (false, false);
    let bytes = text.as_bytes();
    for (at, c) in text.char_indices().chain([(text.len(), ' ')]) {
        let digit = |place: Option<&u8>| place.is_some_and(u8::is_ascii_digit);
        let decimal = c == '.' && at > 0 && digit(bytes.get(at - 1)) && digit(bytes.get(at + 1));
        if c.is_alphanumeric() || (decimal && start.is_some()) {
            start.get_or_insert(at);
            continue;
        }
        if let Some(from) = start.take() {
            let lower = text[from..at].to_lowercase();
            let [after_pause, after_break] = [&mut pause, &mut stop].map(std::mem::take);
            found.push(Word { lower, span: from..at, after_pause, after_break });
        }
        pause |= matches!(c, ',' | ';' | ':');
        stop |= c == ';' || (matches!(c, '.' | '!' | '?') && !found.last().is_some_and(is_short));
    }
    found
}

/// Whether a stop behind a word belongs to it.
fn is_short(word: &Word) -> bool {
    let units = ["mm", "cm"];
    units.contains(&&*word.lower) || lexicon().abbreviations.contains(&word.lower)
}

/// Where `term` ends if it begins at word `at`.
pub(super) fn matches(words: &[Word], at: usize, term: &Term) -> Option<usize> {
    matches_from(words, at, &term.0)
}

fn matches_from(words: &[Word], at: usize, parts: &[String]) -> Option<usize> {
    let Some((part, rest)) = parts.split_first() else { return Some(at) };
    if part == "*" {
        let open = |gap: &usize| words.get(at + gap).is_some_and(|word| !word.after_break);
        return (0..=GAP).take_while(open).find_map(|gap| matches_from(words, at + gap, rest));
    }
    let fits = words.get(at).is_some_and(|word| word.lower == *part);
    if fits { matches_from(words, at + 1, rest) } else { None }
}

/// All places of any of the terms, in order.
pub(super) fn places<'a>(words: &[Word], terms: &'a [Term]) -> Vec<Range<usize>> {
    let at = |start: usize| {
        terms.iter().filter_map(move |term: &'a Term| Some(start..matches(words, start, term)?))
    };
    (0..words.len()).flat_map(at).collect()
}

impl Reading {
    /// Reads one sentence.
    pub(super) fn of(sentence: &str) -> Self {
        let words = words(sentence);
        let mut found: Vec<(Range<usize>, usize, bool)> = Vec::new();
        for (topic, entry) in lexicon().topics.iter().enumerate() {
            for (terms, covered) in [(&entry.terms, false), (&entry.denials, true)] {
                found
                    .extend(places(&words, terms).into_iter().map(|place| (place, topic, covered)));
            }
        }
        let normality = &lexicon().normality.words;
        if !words.is_empty() && words.iter().all(|word| normality.contains(&word.lower)) {
            let findings = lexicon().topics.iter().enumerate();
            let findings = findings.filter(|(_, entry)| entry.sort == Sort::Finding);
            found.extend(findings.map(|(topic, _)| (0..words.len(), topic, true)));
        }
        // "The heart is enlarged with normal vessels" has no normal heart.
        let named: Vec<Range<usize>> = found
            .iter()
            .filter(|(.., covered)| !covered)
            .map(|(place, ..)| place.clone())
            .collect();
        found.retain(|(place, _, covered)| {
            let within = |n: &Range<usize>| n.start >= place.start && n.end < place.end;
            !covered || !named.iter().any(within)
        });
        // The longest at a place wins; several findings may share one denial.
        found.sort_by_key(|(place, ..)| (std::cmp::Reverse(place.len()), place.start));
        let mut kept: Vec<(Range<usize>, usize, bool)> = Vec::new();
        for next in found {
            let clashes = |(place, topic, _): &(Range<usize>, usize, bool)| {
                let apart = place.end <= next.0.start || next.0.end <= place.start;
                !apart && (*place != next.0 || *topic == next.1)
            };
            if !kept.iter().any(clashes) {
                kept.push(next);
            }
        }
        kept.sort_by_key(|(place, topic, _)| (place.start, *topic));
        let named: Vec<(Range<usize>, bool)> = kept
            .iter()
            .map(|(place, topic, _)| {
                (place.clone(), lexicon().topics[*topic].sort != Sort::Finding)
            })
            .collect();
        let scope = Scope::new(&words, &named);
        let mentions = kept
            .iter()
            .zip(&named)
            .map(|((place, topic, covered), of)| Mention {
                topic: *topic,
                words: place.clone(),
                says: scope.says(of, *covered),
                covered: *covered,
            })
            .collect();
        Self { words, mentions }
    }

    /// Whether it says `says` of the topic.
    pub(super) fn holds(&self, topic: usize, says: Says) -> bool {
        self.mentions.iter().any(|m| m.topic == topic && m.says == says)
    }

    /// The topics that it says `says` of, each once.
    pub(super) fn topics(&self, says: Says) -> Vec<usize> {
        let mut found: Vec<usize> =
            self.mentions.iter().filter(|m| m.says == says).map(|m| m.topic).collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Whether it affirms this topic and no other, "support devices" aside for a device.
    pub(super) fn affirms_only(&self, topic: usize) -> bool {
        let sort = lexicon().topics[topic].sort;
        let same = |other: usize| {
            let general = lexicon().topics[other].sort == Sort::Devices;
            other == topic || (sort == Sort::Device && general)
        };
        self.holds(topic, Says::Present) && self.topics(Says::Present).into_iter().all(same)
    }

    /// The degrees that it names; words of several scales count in `preferred`.
    pub(super) fn degrees(&self, preferred: &str) -> Vec<DegreeAt> {
        let mut found: Vec<DegreeAt> = Vec::new();
        for scale in &lexicon().scale {
            if scale.name == "displacement" && preferred != scale.name {
                continue;
            }
            for (level, degrees) in scale.levels.iter().enumerate() {
                let at = |word: usize| {
                    degrees.iter().filter_map(move |d| matches(&self.words, word, &d.term))
                };
                for word in 0..self.words.len() {
                    found.extend(at(word).map(|end| DegreeAt { words: word..end, scale, level }));
                }
            }
        }
        found.sort_by_key(|d| (std::cmp::Reverse(d.words.len()), d.scale.name != preferred));
        let mut kept: Vec<DegreeAt> = Vec::new();
        for next in found {
            let apart =
                |d: &DegreeAt| d.words.end <= next.words.start || next.words.end <= d.words.start;
            if kept.iter().all(apart) {
                kept.push(next);
            }
        }
        kept.sort_by_key(|degree| degree.words.start);
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(sentence: &str) -> Vec<(&'static str, Says)> {
        let reading = Reading::of(sentence);
        reading.mentions.iter().map(|m| (lexicon().topics[m.topic].name.as_str(), m.says)).collect()
    }

    #[test]
    fn denials_reach_over_lists_and_end_with_their_clause() {
        use Says::{Absent, Present};
        let (fluid, air) = ("pleural effusion", "pneumothorax");
        let expected = [
            (
                "No pleural effusion, pneumothorax or edema.",
                vec![(fluid, Absent), (air, Absent), ("edema", Absent)],
            ),
            ("No pneumothorax, small left effusion.", vec![(air, Absent), (fluid, Present)]),
            ("Small effusion without pneumothorax.", vec![(fluid, Present), (air, Absent)]),
            (
                "There is no pneumothorax but a large effusion.",
                vec![(air, Absent), (fluid, Present)],
            ),
            ("Pneumothorax is not seen.", vec![(air, Absent)]),
            ("No change in the left effusion.", vec![(fluid, Present)]),
            ("The heart is not enlarged.", vec![("cardiomegaly", Absent)]),
            ("The heart is mildly enlarged.", vec![("cardiomegaly", Present)]),
            ("The heart size is normal.", vec![("cardiomegaly", Absent)]),
            ("ET tube above the carina.", vec![("endotracheal tube", Present)]),
        ];
        for (sentence, found) in expected {
            assert_eq!(read(sentence), found, "{sentence}");
        }
    }

    #[test]
    fn doubt_is_neither() {
        for text in [
            "Possible small effusion.",
            "Effusion cannot be excluded.",
            "The heart size is not normal.",
        ] {
            assert!(read(text).iter().all(|m| m.1 == Says::Doubtful), "{text}");
        }
    }

    #[test]
    fn one_sentence_may_deny_many_findings() {
        let found = read("The lungs are clear.");
        assert!(found.len() == 7 && found.iter().all(|m| m.1 == Says::Absent), "{found:?}");
        for text in ["No acute cardiopulmonary process.", "Normal", "normal."] {
            let all = read(text);
            assert!(all.len() >= 12 && all.iter().all(|m| m.1 == Says::Absent), "{all:?}");
        }
        assert!(read("The heart is top-normal; normal stomach.").len() <= 1);
    }

    #[test]
    fn degrees_belong_to_the_scale_that_is_preferred() {
        let of = |text: &str, scale: &str| {
            let found = Reading::of(text).degrees(scale);
            found.iter().map(|d| (d.scale.name.as_str(), d.level)).collect::<Vec<_>>()
        };
        assert_eq!(of("A moderate effusion", "size"), [("size", 1)]);
        assert_eq!(of("Moderate edema", "degree"), [("degree", 1)]);
        assert_eq!(of("Minimally displaced fracture", "displacement"), [("displacement", 0)]);
        assert_eq!(of("The heart is markedly enlarged", "degree"), [("manner", 2)]);
    }

    #[test]
    fn words_keep_decimal_numbers_and_split_hyphens() {
        let found: Vec<String> =
            words("Left-sided, 5.2 cm.").into_iter().map(|w| w.lower).collect();
        assert_eq!(found, ["left", "sided", "5.2", "cm"]);
    }
}
