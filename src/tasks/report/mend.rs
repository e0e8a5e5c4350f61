//! A report's error mended, by what is held to be so.

use super::case::Case;
use super::check::answer;
use super::corruption::{CorruptionKind, Donors};
use super::draft::Draft;
use super::lexicon::{Sort, lexicon};
use super::reading::Says;
use super::wording::{capitalised, degrees};
use crate::random::Random;
use crate::{Error, Result};

/// What is held to be so of a finding or device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Belief<'a> {
    /// The finding or device, as the word lists name it.
    pub finding: &'a str,
    /// Its side, if one is to be named: left, or else right.
    pub left: Option<bool>,
    /// Its degree, if one is to be named, 0 to 2.
    pub level: Option<usize>,
}

/// Answers a report with an error of this kind about this finding: the kind, and the sentences as
/// they should be.
///
/// A side is changed for the other (a device's, where one is believed), a degree for the believed
/// one; what the report affirms is left out or denied, what it does not is affirmed. `None` if the
/// report has no sentences that an error of this kind could have made.
pub fn mend(report: &str, kind: CorruptionKind, belief: Belief<'_>) -> Result<Option<String>> {
    let mut topics = lexicon().topics.iter();
    let topic = topics.position(|t| t.sort != Sort::Devices && t.name == belief.finding);
    let topic = topic.ok_or_else(|| {
        let found = belief.finding;
        Error::value("finding", format!("found {found:?}, expected a finding or device of claims"))
    })?;
    if let Some(level) = belief.level.filter(|level| *level > 2) {
        return Err(Error::value("level", format!("found {level}, expected 0, 1 or 2")));
    }
    let sections = [report.to_owned()];
    let (donors, mut random) = (Donors::default(), Random::new(0, &[]));
    let mut case =
        Case { draft: Draft::new(&sections), facts: &[], donors: &donors, random: &mut random };
    if mended(&mut case, kind, topic, belief).is_none() {
        return Ok(None);
    }
    let (_, changes) = case.draft.finish();
    let pairs = changes.iter().map(|change| (&*change.after, &*change.before));
    Ok((!changes.is_empty()).then(|| answer(kind, pairs)))
}

fn mended(
    case: &mut Case<'_>,
    kind: CorruptionKind,
    topic: usize,
    belief: Belief<'_>,
) -> Option<()> {
    let affirmed = case.draft.saying(topic, Says::Present);
    let there = !affirmed.is_empty();
    let alone = affirmed.iter().all(|&at| case.draft.reading(at).affirms_only(topic));
    match kind {
        CorruptionKind::Laterality => {
            let places = case.sided(topic);
            case.swap(places)?;
        }
        CorruptionKind::Severity => {
            let (places, new) = (case.graded(topic), belief.level?);
            let levels = case.levels_at(topic, &places);
            if levels.len() > 1 || levels.first() == Some(&new) {
                return None;
            }
            let larger = levels.first().map_or(new > 0, |&now| new > now);
            case.regrade(topic, places, new, larger);
        }
        CorruptionKind::Device if there && alone && belief.left.is_some() => case.swap(affirmed)?,
        CorruptionKind::Negation if there && alone => case.deny(topic, affirmed),
        CorruptionKind::Inserted if there && alone => case.leave_out(affirmed),
        CorruptionKind::Device if there && alone => case.take_device(topic, affirmed),
        CorruptionKind::Device if !there && !case.draft.places().is_empty() => {
            case.put_in_device(&stated(topic, belief));
        }
        CorruptionKind::Dropped | CorruptionKind::Negation if !there => {
            let denials = case.undenied(topic)?;
            case.affirm(denials, &stated(topic, belief));
        }
        _ => return None,
    }
    Some(())
}

/// A sentence of the word lists that names what is believed, and neither more nor a size.
fn stated(topic: usize, belief: Belief<'_>) -> String {
    let topic = &lexicon().topics[topic];
    let side = belief.left.map(|left| if left { "left" } else { "right" });
    let degree = belief.level.and_then(|level| degrees(topic).get(level).copied());
    let slots = [("{side}", side), ("{degree}", degree)];
    let lacking = |sentence: &&String| {
        slots.iter().filter(|(slot, word)| word.is_some() && !sentence.contains(slot)).count()
    };
    let sentence = topic.sentences.iter().min_by_key(lacking).map_or("", String::as_str);
    let given: Vec<&str> = sentence.split(' ').collect();
    let mut kept: Vec<String> = Vec::new();
    for (at, word) in given.iter().enumerate() {
        let size = *word == "mm" || given.get(at + 1) == Some(&"mm");
        let unknown = slots.iter().any(|(slot, known)| known.is_none() && word.contains(slot));
        if size || unknown {
            continue;
        }
        let filled = slots.iter().fold((*word).to_owned(), |word, (slot, known)| {
            word.replace(slot, known.unwrap_or_default())
        });
        let vowel = filled.starts_with(['a', 'e', 'i', 'o', 'u']);
        if let Some(article) = kept.last_mut().filter(|last| vowel && last.as_str() == "a") {
            "an".clone_into(article);
        }
        kept.push(filled);
    }
    capitalised(&kept.join(" "))
}

#[cfg(test)]
mod tests {
    use super::super::check::{corrects, judgement};
    use super::super::corruption::corrupt;
    use super::*;

    const REPORT: &str =
        "There is a small left pleural effusion. No pneumothorax or edema. The heart is enlarged.";

    fn answer_to(report: &str, kind: CorruptionKind, finding: &str) -> Option<String> {
        mend(report, kind, Belief { finding, left: Some(false), level: Some(2) }).unwrap()
    }

    #[test]
    fn each_kind_is_mended_in_its_way() {
        use CorruptionKind as Kind;
        for (kind, finding, answer) in [
            (
                Kind::Laterality,
                "pleural effusion",
                "laterality: There is a small right pleural effusion.",
            ),
            (
                Kind::Severity,
                "pleural effusion",
                "severity: There is a large left pleural effusion.",
            ),
            (Kind::Negation, "pleural effusion", "negation: There is no pleural effusion."),
            (Kind::Inserted, "cardiomegaly", "inserted: remove: The heart is enlarged."),
        ] {
            assert_eq!(answer_to(REPORT, kind, finding).as_deref(), Some(answer));
        }
        let dropped = answer_to(REPORT, Kind::Dropped, "edema").unwrap();
        assert!(dropped.contains("No pneumothorax.") && dropped.contains("severe"), "{dropped}");
        let device = answer_to(REPORT, Kind::Device, "pacemaker").unwrap();
        assert!(judgement(&device).correction.contains("acemaker"), "{device}");
        assert_eq!(answer_to(REPORT, Kind::Dropped, "pleural effusion"), None);
        assert_eq!(answer_to(REPORT, Kind::Inserted, "edema"), None);
        assert_eq!(answer_to(REPORT, Kind::Laterality, "edema"), None);
        assert_eq!(answer_to(REPORT, Kind::None, "edema"), None);
        for (report, kind, finding) in [
            ("The heart is enlarged with a left effusion.", Kind::Inserted, "pleural effusion"),
            ("The heart is enlarged with a left effusion.", Kind::Negation, "pleural effusion"),
            ("Moderate to large left effusion.", Kind::Severity, "pleural effusion"),
            ("Large left effusion.", Kind::Severity, "pleural effusion"),
            ("", Kind::Device, "pacemaker"),
        ] {
            assert_eq!(answer_to(report, kind, finding), None, "{report}");
        }
        let both = mend(
            "An ET tube and NG tube are in place.",
            Kind::Device,
            Belief { finding: "endotracheal tube", left: None, level: None },
        );
        assert_eq!(both.unwrap(), None);
        assert_eq!(answer_to("Left ET tube and NG tube.", Kind::Device, "endotracheal tube"), None);
        let moved = answer_to("Left chest tube in place.", Kind::Device, "chest tube").unwrap();
        assert_eq!(moved, "device: Right chest tube in place.");
        let nodule = Belief { finding: "lung nodule", left: None, level: Some(0) };
        let nodule = mend("There is a 6 mm nodule.", Kind::Severity, nodule).unwrap();
        assert_eq!(nodule.unwrap(), "severity: There is a 3 mm nodule.");
        assert!(
            mend(REPORT, Kind::Dropped, Belief { finding: "gout", left: None, level: None })
                .is_err()
        );
    }

    #[test]
    fn a_sentence_that_is_put_in_says_no_more_than_is_believed() {
        for (finding, left, level, said) in [
            ("cardiomegaly", None, None, "There is cardiomegaly."),
            ("lung opacity", None, None, "There is an opacity in the lower lung."),
            ("lung nodule", Some(true), None, "There is a nodule in the left lung."),
            ("edema", None, Some(2), "There is severe pulmonary edema."),
            ("pacemaker", None, None, "A chest wall pacemaker with two leads."),
        ] {
            let topic = lexicon().topics.iter().position(|topic| topic.name == finding).unwrap();
            assert_eq!(stated(topic, Belief { finding, left, level }), said);
        }
    }

    #[test]
    fn what_was_made_wrong_is_put_right_by_who_knows() {
        let sections = [REPORT.to_owned()];
        for (kind, seed) in
            CorruptionKind::ALL.into_iter().flat_map(|k| (0..20).map(move |s| (k, s)))
        {
            let facts = [("pneumothorax".to_owned(), 0.0), ("edema".to_owned(), 0.0)];
            let mut random = Random::new(seed, &[]);
            let made = corrupt(&sections, &facts, kind, &Donors::default(), &mut random).unwrap();
            if kind == CorruptionKind::None || made.finding.is_empty() || made.detail == "moved" {
                continue;
            }
            let (left, level) = match made.finding.as_str() {
                "pleural effusion" => (Some(true), Some(0)),
                _ => (None, None),
            };
            let belief = Belief { finding: &made.finding, left, level };
            let said = mend(&made.sections[0], kind, belief).unwrap().unwrap_or_default();
            let (said, right) = (judgement(&said), judgement(&made.answer()));
            let wrong = &made.sections[0];
            let corrected = corrects(wrong, &said.correction, &right.correction, REPORT);
            assert!(corrected, "{made:?} {said:?}");
        }
    }
}
