//! How the check of a report is answered in words, and how such answers are read.

use std::collections::BTreeSet;

use super::claims::{Claim, all_claims};
use super::corruption::{Corruption, CorruptionKind};
use super::lexicon::lexicon;
use super::reading::words;
use super::sentence::sentences;

/// What an answer says of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// What it calls wrong; `None` where it cannot be read.
    pub kind: Option<CorruptionKind>,
    /// What it says after the kind: the sentences as they should be.
    pub correction: String,
}

impl Corruption {
    /// The answer to learn: `none`, or the kind and the sentences as they were, as
    /// `laterality: There is a small left effusion.`
    ///
    /// A sentence that was put in has none to restore; it is named: `remove: …`.
    pub fn answer(&self) -> String {
        answer(self.kind, self.changes.iter().map(|change| (&*change.before, &*change.after)))
    }
}

/// The answer to a report with an error, of pairs of sentences: as it should be, and as it is.
pub(super) fn answer<'a>(
    kind: CorruptionKind,
    pairs: impl Iterator<Item = (&'a str, &'a str)>,
) -> String {
    if kind == CorruptionKind::None {
        return kind.name().to_owned();
    }
    let mut parts: Vec<String> = Vec::new();
    for pair in pairs {
        let part = match pair {
            ("", wrong) => format!("{REMOVE}{wrong}"),
            (right, _) => right.to_owned(),
        };
        if !parts.contains(&part) {
            parts.push(part);
        }
    }
    format!("{}: {}", kind.name(), parts.join(" "))
}

/// What stands before a sentence to leave out.
const REMOVE: &str = "remove: ";

/// Reads an answer: a kind, then a colon and the correction.
pub fn judgement(answer: &str) -> Judgement {
    let (head, tail) = answer.split_once(':').unwrap_or((answer, ""));
    let said: Vec<String> = words(head).into_iter().map(|word| word.lower).collect();
    let named = |kind: &&CorruptionKind| said.iter().any(|word| word == kind.name());
    let mut kinds = CorruptionKind::ALL.iter().filter(named);
    // Two kinds at once are no answer.
    let kind = match (kinds.next(), kinds.next()) {
        (Some(kind), None) => Some(*kind),
        _ => None,
    };
    Judgement { kind, correction: tail.trim().to_owned() }
}

/// Whether a correction makes of a report with an error what the right one makes.
///
/// What the report then affirms must be the same: findings and devices, their sides and degrees.
/// Where the error lies in none of these (a size, the place of a device), only the same words are
/// right.
pub fn corrects(report: &str, correction: &str, right: &str) -> bool {
    let meant = with_correction(report, right);
    if meant == with_correction(report, "") {
        return same_words(correction, right);
    }
    !correction.trim().is_empty() && with_correction(report, correction) == meant
}

/// What a report affirms once its sentences about the same findings are those of `correction`.
fn with_correction(report: &str, correction: &str) -> BTreeSet<Affirmed> {
    let (mut kept, mut removed) = (String::new(), String::new());
    for (number, part) in correction.split(REMOVE).enumerate() {
        let end = match number {
            0 => 0,
            _ => sentences(part).first().map_or(part.len(), |sentence| sentence.body.end),
        };
        removed = removed + &part[..end] + "\n\n";
        kept = kept + &part[end..] + "\n\n";
    }
    let (kept, removed) = (all_claims(&kept), all_claims(&removed));
    let spoken: BTreeSet<usize> = kept.iter().chain(&removed).map(|(topic, _)| *topic).collect();
    let others = all_claims(report).into_iter().filter(|(topic, _)| !spoken.contains(topic));
    let affirms = |(topic, claim): (usize, Claim)| {
        let sides = (claim.sides.left, claim.sides.right);
        (claim.present == Some(true)).then_some((topic, sides, claim.level))
    };
    let mut found: BTreeSet<Affirmed> = others.chain(kept).filter_map(affirms).collect();
    // Whoever affirms pneumonia need not say that there is an opacity.
    let broader = |affirmed: &Affirmed| lexicon().topics[affirmed.0].broader;
    let implied: BTreeSet<usize> = found.iter().filter_map(broader).collect();
    found.retain(|(topic, ..)| !implied.contains(topic));
    found
}

/// A topic that is affirmed, left and right, and its degree.
type Affirmed = (usize, (bool, bool), Option<usize>);

/// Whether two texts have the same words in the same order.
fn same_words(a: &str, b: &str) -> bool {
    let of = |text: &str| words(text).into_iter().map(|word| word.lower).collect::<Vec<_>>();
    of(a) == of(b)
}

#[cfg(test)]
mod tests {
    use super::super::{Donors, corrupt};
    use super::*;
    use crate::random::Random;

    #[test]
    fn an_answer_that_was_learnt_is_read_as_it_was_meant() {
        let report = ["Small left effusion. No pneumothorax.".to_owned()];
        for kind in CorruptionKind::ALL {
            let made = corrupt(&report, &[], kind, &Donors::default(), &mut Random::new(1, &[]));
            let answer = made.unwrap().answer();
            assert_eq!(judgement(&answer).kind, Some(kind), "{answer}");
        }
        let swapped = judgement("Laterality: small LEFT effusion");
        assert!(same_words(&swapped.correction, "Small left effusion."));
    }

    #[test]
    fn a_correction_is_right_if_the_facts_are() {
        let wrong = "Large right effusion. No pneumothorax.";
        for (correction, right, corrected) in [
            ("Large left effusion.", "A large left pleural effusion is seen.", true),
            ("Large effusion.", "A large left pleural effusion is seen.", false),
            ("", "A large left pleural effusion is seen.", false),
            ("remove: Large right effusion.", "No pleural effusion or pneumothorax.", true),
            ("No effusion.", "remove: Large right effusion.", true),
            ("remove: No pneumothorax.", "remove: Large right effusion.", false),
            ("There is a left pneumothorax.", "Left pneumothorax.", true),
            ("Left pneumonia.", "Left opacity, suggestive of pneumonia.", true),
            // Nothing that is read tells a size from another.
            ("There is a 4 mm stone.", "There is a 8 mm stone.", false),
            ("there is a 8 mm stone", "There is a 8 mm stone.", true),
        ] {
            assert_eq!(corrects(wrong, correction, right), corrected, "{correction}");
        }
    }

    #[test]
    fn what_is_no_answer_names_no_kind() {
        for text in ["", "It looks fine", "none or laterality", "nonesuch"] {
            assert_eq!(judgement(text).kind, None, "{text}");
        }
    }
}
