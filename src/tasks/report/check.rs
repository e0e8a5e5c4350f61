//! How the check of a report is answered in words, and how such answers are read.

use super::agreement::Facts;
use super::claims::all_claims;
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

/// Whether a correction of a report with an error, `wrong`, makes of it what `report` said before.
///
/// The words of `answer` do. So do others by which the findings and devices that are affirmed, and
/// those in doubt, are the same as before, with their sides and degrees, unless the error lies in
/// none of these (a size, the place of a device).
pub fn corrects(wrong: &str, correction: &str, answer: &str, report: &str) -> bool {
    if same_words(correction, answer) {
        return true;
    }
    let before = Facts::of(report).told();
    before != Facts::of(wrong).told() && with_correction(wrong, correction).told() == before
}

/// What a report says once its sentences about the same findings are those of `correction`.
fn with_correction(report: &str, correction: &str) -> Facts {
    let lower = correction.to_ascii_lowercase();
    let starts = lower.match_indices(REMOVE.trim_end()).map(|(at, mark)| (at, at + mark.len()));
    let (mut kept, mut removed, mut from) = (String::new(), String::new(), 0);
    for (at, start) in starts.collect::<Vec<_>>() {
        kept = kept + correction.get(from..at).unwrap_or_default() + "\n\n";
        let first = sentences(&correction[start..]).into_iter().next();
        from = start + first.map_or(0, |sentence| sentence.body.end);
        removed = removed + &correction[start..from] + "\n\n";
    }
    kept.push_str(correction.get(from..).unwrap_or_default());
    let (kept, removed) = (all_claims(&kept), all_claims(&removed));
    let said = |topic: usize| kept.iter().chain(&removed).any(|(other, _)| *other == topic);
    // Who denies all devices denies a pacemaker.
    let denied = |topic: usize| {
        let broader = lexicon().topics[topic].broader;
        kept.iter().any(|(other, claim)| Some(*other) == broader && claim.present == Some(false))
    };
    let mut all = all_claims(report);
    all.retain(|(topic, _)| !said(*topic) && !denied(*topic));
    Facts::gather(all.into_iter().chain(kept))
}

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
        let (right, wrong) = ("Large left effusion. Clear.", "Large right effusion. Clear.");
        for (correction, corrected) in [
            ("large LEFT effusion", true),
            ("A large left pleural effusion is seen.", true),
            ("Large effusion.", false),
            ("Left effusion.", false),
            ("There may be a large left effusion.", false),
            ("Large left effusion. Left pneumothorax.", false),
            ("", false),
        ] {
            let found = corrects(wrong, correction, "Large left effusion.", right);
            assert_eq!(found, corrected, "{correction}");
        }
        for (report, wrong, correction, corrected) in [
            ("No effusion or edema.", "No edema. Effusion.", "remove: Effusion.", true),
            ("No effusion or edema.", "No edema. Effusion.", "Remove:Effusion. No edema.", true),
            ("No effusion or edema.", "No edema. Effusion.", "No effusion.", true),
            ("No effusion or edema.", "No edema. Effusion.", "remove: No edema.", false),
            ("No effusion or edema.", "No edema. Effusion.", "There may be effusion.", false),
            ("No lines or tubes.", "Left pacemaker.", "There is no pacemaker.", true),
            ("No lines or tubes.", "Left pacemaker.", "No support devices.", true),
            ("No lines or tubes.", "Left pacemaker.", "No chest tube.", false),
            ("Left opacity, likely pneumonia.", "Clear.", "Left opacity.", false),
            ("Left opacity. Left pneumonia.", "Clear.", "Left pneumonia.", true),
            ("Left opacity. Left pneumonia.", "Clear.", "Left pneumonia. Right opacity.", false),
            ("Right opacity. Left pneumonia.", "Left pneumonia.", "Right opacity.", true),
            ("Left effusion. Effusion again.", "Right effusion.", "Left effusion.", true),
            ("Bilateral effusions.", "Clear.", "Left effusion. Right effusion.", true),
            (
                "Left effusion, edema. Severe edema.",
                "Right effusion, edema. Severe edema.",
                "Left effusion.",
                true,
            ),
            // Nothing that is read tells a size from another.
            ("A 8 mm nodule.", "A 4 mm nodule.", "There is an 8 mm nodule.", false),
        ] {
            let found = corrects(wrong, correction, "exactly so", report);
            assert_eq!(found, corrected, "{report} {wrong} {correction}");
        }
        assert!(corrects("A 4 mm nodule.", "a 8 mm nodule", "A 8 mm nodule.", "A 8 mm nodule."));
    }

    #[test]
    fn what_is_no_answer_names_no_kind() {
        for text in ["", "It looks fine", "none or laterality", "nonesuch"] {
            assert_eq!(judgement(text).kind, None, "{text}");
        }
    }
}
