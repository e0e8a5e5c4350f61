//! A report under change: sentences kept, replaced, dropped or put in, all else byte for byte.

use super::lexicon::lexicon;
use super::reading::{Reading, Says};
use super::sentence::{Sentence, sentences};

/// A sentence that changed; one side is empty where it was put in or dropped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// What the report said.
    pub before: String,
    /// What it says now.
    pub after: String,
}

/// What becomes of a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fate {
    Keep,
    Replace(String),
    Drop,
}

/// A section and what becomes of its sentences.
struct Section<'a> {
    text: &'a str,
    sentences: Vec<Sentence>,
    readings: Vec<Reading>,
    fates: Vec<Fate>,
    /// Sentences to put in before the one of this number.
    added: Vec<(usize, String)>,
}

/// A place in a report: section and sentence.
pub(super) type Place = (usize, usize);

/// A report under change.
pub(super) struct Draft<'a>(Vec<Section<'a>>);

impl<'a> Draft<'a> {
    pub(super) fn new(sections: &'a [String]) -> Self {
        let section = |text: &'a String| {
            let sentences = sentences(text);
            let readings: Vec<Reading> =
                sentences.iter().map(|s| Reading::of(&text[s.body.clone()])).collect();
            let fates = vec![Fate::Keep; sentences.len()];
            Section { text, sentences, readings, fates, added: Vec::new() }
        };
        Self(sections.iter().map(section).collect())
    }

    /// All sentences' places, in order.
    pub(super) fn places(&self) -> Vec<Place> {
        let of =
            |(s, section): (usize, &Section<'_>)| (0..section.sentences.len()).map(move |i| (s, i));
        self.0.iter().enumerate().flat_map(of).collect()
    }

    /// Where the report says `says` of a topic.
    pub(super) fn saying(&self, topic: usize, says: Says) -> Vec<Place> {
        self.places().into_iter().filter(|&at| self.reading(at).holds(topic, says)).collect()
    }

    /// Whether the report names a topic at all, sentences that cover many aside.
    pub(super) fn names(&self, topic: usize) -> bool {
        let named =
            |at: Place| self.reading(at).mentions.iter().any(|m| m.topic == topic && !m.covered);
        self.places().into_iter().any(named)
    }

    pub(super) fn reading(&self, (section, sentence): Place) -> &Reading {
        &self.0[section].readings[sentence]
    }

    pub(super) fn sentence(&self, (section, sentence): Place) -> &'a str {
        let section = &self.0[section];
        &section.text[section.sentences[sentence].body.clone()]
    }

    pub(super) fn replace(&mut self, (section, sentence): Place, text: String) {
        self.0[section].fates[sentence] = Fate::Replace(text);
    }

    pub(super) fn drop(&mut self, (section, sentence): Place) {
        self.0[section].fates[sentence] = Fate::Drop;
    }

    /// Puts a sentence into a section, before sentence `at`.
    pub(super) fn add(&mut self, section: usize, at: usize, text: String) {
        self.0[section].added.push((at, text));
    }

    pub(super) fn section_count(&self) -> usize {
        self.0.len()
    }

    /// How many sentences a section has.
    pub(super) fn len(&self, section: usize) -> usize {
        self.0[section].sentences.len()
    }

    /// Says that nothing is wrong in sections that lost every sentence, unless something still is.
    pub(super) fn fill_empty(&mut self) {
        let wrong = self.places().into_iter().any(|(s, i)| {
            self.0[s].fates[i] == Fate::Keep
                && self.0[s].readings[i].mentions.iter().any(|m| m.says != Says::Absent)
        });
        for section in &mut self.0 {
            let emptied = section.fates.iter().all(|fate| *fate == Fate::Drop);
            if emptied && !wrong && !section.fates.is_empty() && section.added.is_empty() {
                section.fates[0] = Fate::Replace(lexicon().all_clear.clone());
            }
        }
    }

    /// The sections after all changes, and the changes.
    pub(super) fn finish(&self) -> (Vec<String>, Vec<Change>) {
        let changes = self.places().into_iter().filter_map(|(s, i)| {
            let before = self.sentence((s, i)).to_owned();
            match &self.0[s].fates[i] {
                Fate::Keep => None,
                Fate::Replace(after) => Some(Change { before, after: after.clone() }),
                Fate::Drop => Some(Change { before, after: String::new() }),
            }
        });
        let added = self.0.iter().flat_map(|section| &section.added);
        let added = added.map(|(_, after)| Change { before: String::new(), after: after.clone() });
        (self.0.iter().map(Section::written).collect(), changes.chain(added).collect())
    }
}

impl Section<'_> {
    fn written(&self) -> String {
        let mut out = Writer::default();
        let mut end = 0;
        for (number, sentence) in self.sentences.iter().enumerate() {
            let gap = &self.text[end..sentence.marker.start];
            end = sentence.body.end;
            let marker = &self.text[sentence.marker.clone()];
            for (_, text) in self.added.iter().filter(|(at, _)| *at == number) {
                // What is put in takes the place, and the kind of marker, of what it precedes.
                out.end_sentence();
                out.put(gap, if is_number(marker) { marker } else { "" }, text);
            }
            match &self.fates[number] {
                Fate::Keep => out.put(gap, marker, &self.text[sentence.body.clone()]),
                Fate::Replace(text) => out.put(gap, marker, text),
                Fate::Drop if is_heading(marker) => out.put(gap, marker, ""),
                Fate::Drop => out.leave_out(),
            }
        }
        let numbered =
            self.sentences.last().is_some_and(|s| is_number(&self.text[s.marker.clone()]));
        for (_, text) in self.added.iter().filter(|(at, _)| *at >= self.sentences.len()) {
            out.end_sentence();
            out.put(if end == 0 { "" } else { " " }, if numbered { "1. " } else { "" }, text);
        }
        out.text.push_str(&self.text[end..]);
        let renumber = !self.added.is_empty() || self.fates.contains(&Fate::Drop);
        if renumber { renumbered(&out.text, &out.numbers) } else { out.text }
    }
}

fn is_number(marker: &str) -> bool {
    marker.starts_with(|c: char| c.is_ascii_digit())
}

fn is_heading(marker: &str) -> bool {
    marker.contains(':')
}

/// Text as it grows, and where its list numbers begin.
#[derive(Default)]
struct Writer {
    text: String,
    numbers: Vec<usize>,
    left_out: bool,
}

impl Writer {
    fn put(&mut self, gap: &str, marker: &str, body: &str) {
        // The gap before the first sentence belongs to the section, the others to a neighbour.
        let first = self.text.is_empty() && self.left_out;
        let gap = if gap.is_empty() && !self.text.is_empty() { " " } else { gap };
        // A heading whose sentence was dropped brings its own space.
        let spaced = gap == " " && self.text.ends_with(char::is_whitespace);
        if !first && !spaced {
            self.text.push_str(gap);
        }
        if is_number(marker) {
            self.numbers.push(self.text.len());
        }
        self.text.push_str(marker);
        self.text.push_str(body);
    }

    /// Gives the last sentence a stop, if it has none, before another one is put in.
    fn end_sentence(&mut self) {
        if self.text.ends_with(|c: char| c.is_alphanumeric() || c == ')') {
            self.text.push('.');
        }
    }

    fn leave_out(&mut self) {
        self.left_out = true;
    }
}

/// The list numbers in order again, after one was put in or dropped.
fn renumbered(text: &str, numbers: &[usize]) -> String {
    let mut out = String::new();
    let mut from = 0;
    for (number, &at) in numbers.iter().enumerate() {
        out.push_str(&text[from..at]);
        out.push_str(&(number + 1).to_string());
        from = at + text[at..].bytes().take_while(u8::is_ascii_digit).count();
    }
    out.push_str(&text[from..]);
    out
}
