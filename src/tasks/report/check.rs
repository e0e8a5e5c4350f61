//! How the check of a report is answered in words, and how such answers are read.

use super::corruption::{Corruption, CorruptionKind};
use super::reading::words;

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
        if self.kind == CorruptionKind::None {
            return self.kind.name().to_owned();
        }
        let mut parts: Vec<String> = Vec::new();
        for change in &self.changes {
            let part = match change.before.as_str() {
                "" => format!("remove: {}", change.after),
                before => before.to_owned(),
            };
            if !parts.contains(&part) {
                parts.push(part);
            }
        }
        format!("{}: {}", self.kind.name(), parts.join(" "))
    }
}

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

/// Whether two texts have the same words in the same order.
pub fn same_words(a: &str, b: &str) -> bool {
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
    fn what_is_no_answer_names_no_kind() {
        for text in ["", "It looks fine", "none or laterality", "nonesuch"] {
            assert_eq!(judgement(text).kind, None, "{text}");
        }
    }
}
