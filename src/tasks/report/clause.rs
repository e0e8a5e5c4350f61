//! Which words of a sentence belong to which of the findings that it names.

use std::ops::Range;

use super::lexicon::lexicon;
use super::reading::{Reading, matches};
use super::scope::after;
use super::statement::Sides;

/// A part of a sentence about one finding, or about several that are told as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Clause {
    /// Its bytes.
    pub(super) bytes: Range<usize>,
    /// The numbers of its mentions.
    pub(super) mentions: Range<usize>,
}

/// The parts of a sentence that name something, in order: "small left effusion" and "large right
/// pneumothorax". What is taken for something ("an opacity, consistent with pneumonia") is one.
pub(super) fn clauses(reading: &Reading) -> Vec<Clause> {
    let words = &reading.words;
    let parts = |at: usize| {
        let word = &words[at];
        let joins = ["and", "or", "nor"].contains(&&*word.lower);
        word.after_pause || word.after_break || joins
    };
    let begins = |at: usize, terms| after(words, at, terms).is_some();
    let mut starts: Vec<(usize, usize)> = Vec::new(); // first word, first mention
    let mut end = 0;
    for (number, mention) in reading.mentions.iter().enumerate() {
        let (from, to) = (end, mention.words.start);
        end = end.max(mention.words.end);
        let Some(&(_, first)) = starts.last() else {
            starts.push((0, number));
            continue;
        };
        let taken = (from..to).any(|at| begins(at, &lexicon().details.taken_for));
        // "Atelectasis with volume loss": one finding by two names.
        let again = reading.mentions[first..number].iter().any(|m| m.topic == mention.topic)
            && !(from..=to).any(parts);
        if to >= from && !taken && !again {
            let ends = |at: &usize| parts(*at) || begins(*at, &lexicon().scope_ends);
            starts.push(((from..to).find(ends).unwrap_or(to), number));
        }
    }
    let ends = starts.iter().skip(1).copied().chain([(words.len(), reading.mentions.len())]);
    let clause = |((from, first), (to, last)): (&(usize, usize), (usize, usize))| Clause {
        bytes: words[*from].span.start..words[to - 1].span.end,
        mentions: *first..last,
    };
    starts.iter().zip(ends).map(clause).collect()
}

/// The sides that a clause names; an organ's own ("right atrium") is none.
pub(super) fn sides_of(reading: &Reading) -> Sides {
    let words = &reading.words;
    let answers = &lexicon().answers;
    let named = |terms| {
        (0..words.len()).any(|at| {
            let end = after(words, at, terms);
            let organ = |end| words.get::<usize>(end).map(|word| &word.lower);
            end.is_some_and(|end| !organ(end).is_some_and(|o| lexicon().sided_organs.contains(o)))
        })
    };
    let both = answers
        .both
        .iter()
        .any(|term| (0..words.len()).any(|at| matches(words, at, term).is_some()));
    Sides { left: both || named(&answers.left), right: both || named(&answers.right) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> Vec<&str> {
        clauses(&Reading::of(text)).into_iter().map(|clause| &text[clause.bytes]).collect()
    }

    #[test]
    fn each_finding_has_its_own_words() {
        for (text, expected) in [
            ("Nothing is named.", vec![]),
            (
                "A small effusion on the left, moderate.",
                vec!["A small effusion on the left, moderate"],
            ),
            (
                "Small left effusion and large right pneumothorax.",
                vec!["Small left effusion", "and large right pneumothorax"],
            ),
            (
                "Edema with effusion on the left, ET tube.",
                vec!["Edema", "with effusion on the left", "ET tube"],
            ),
            (
                "Opacity in the left lung, mild, consistent with pneumonia.",
                vec!["Opacity in the left lung, mild, consistent with pneumonia"],
            ),
            ("The lungs are clear.", vec!["The lungs are clear"]),
        ] {
            assert_eq!(parts(text), expected);
        }
    }

    #[test]
    fn an_organ_has_no_side_to_give() {
        let of = |text: &str| sides_of(&Reading::of(text));
        let pacemaker = of("Left pacemaker with leads in the right atrium and right ventricle.");
        assert!(pacemaker.left && !pacemaker.right);
        assert!(of("Both lungs").left && of("bilateral").right && of("on the right").right);
    }
}
