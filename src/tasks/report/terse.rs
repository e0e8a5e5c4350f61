//! Texts with fewer details: "small left effusion" is also an effusion.

use std::ops::Range;

use super::lexicon::{Details, Term, lexicon};
use super::reading::{Reading, Says, Word};
use super::scope::{after, late_negators, negators};
use super::sentence::said_anew;
use super::size::sizes;
use super::wording::capitalised;
use crate::random::Random;

/// The text with its sides, zones, degrees, sizes and what else is seen with a finding left out,
/// each kind with `chance` in each sentence: what is left says less, and nothing else.
pub fn terse(text: &str, chance: f64, random: &mut Random) -> String {
    said_anew(text, |sentence| {
        let left_out = [(); 5].map(|()| random.chance(chance));
        Some(without(sentence, left_out))
    })
}

/// The sentence without its sides, zones, degrees, sizes and company, where they are to be left out.
fn without(sentence: &str, [side, zone, degree, size, company]: [bool; 5]) -> String {
    let reading = Reading::of(sentence);
    let words = &reading.words;
    let mut spans: Vec<Range<usize>> = Vec::new();
    if side {
        spans.extend((0..words.len()).filter_map(|at| side_at(words, at)));
    }
    if zone {
        spans.extend((0..words.len()).filter_map(|at| zone_at(words, at)));
    }
    if degree {
        let degrees = reading.degrees("displacement").into_iter();
        spans.extend(degrees.map(|found| with_measure(words, found.words)));
    }
    if size {
        spans.extend(sizes(words).iter().filter_map(|found| size_at(words, found.digits.start)));
    }
    let company = company.then(|| company_at(&reading)).flatten().unwrap_or(words.len());
    spans.push(company..words.len());
    let mut dropped = vec![false; words.len()];
    for span in spans {
        dropped[span].fill(true);
    }
    // A finding is more than its degree.
    let mut heads = reading.mentions.iter().filter(|mention| mention.words.end <= company);
    let named = heads.any(|mention| mention.words.clone().any(|at| dropped[at]));
    if named || dropped.iter().all(|one| *one == dropped[0]) {
        return sentence.to_owned();
    }
    let mut out = String::new();
    let mut from = 0;
    for at in 0..words.len() {
        if !dropped[at] {
            let article = at + 1 < words.len() && dropped[at + 1];
            let next = words[at + 1..].iter().zip(&dropped[at + 1..]).find(|(_, gone)| !**gone);
            out.push_str(&sentence[from..words[at].span.start]);
            let own = &sentence[words[at].span.clone()];
            out.push_str(&match next {
                Some((next, _)) if article => fitting(own, &next.lower),
                _ => own.to_owned(),
            });
            from = words[at].span.end;
            continue;
        }
        // The gap behind it goes too; where a comma or the end follows, the one before it.
        let runs_on = words.get(at + 1).is_some_and(|next| !next.after_pause);
        from = if runs_on && (out.is_empty() || out.ends_with([' ', '-'])) {
            words[at + 1].span.start
        } else if runs_on {
            out.push_str(&sentence[from..words[at].span.start]);
            words[at + 1].span.start
        } else {
            out.truncate(out.trim_end_matches([' ', ',', ';', ':']).len());
            words[at].span.end
        };
    }
    out.push_str(&sentence[from..]);
    let starts = sentence.starts_with(char::is_uppercase);
    if starts { capitalised(&out) } else { out }
}

const SIDES: [&str; 2] = ["left", "right"];

/// The words that name a side, if they begin at word `at`.
fn side_at(words: &[Word], at: usize) -> Option<Range<usize>> {
    let is = |at, wanted: &[&str]| is_one(words, at, wanted);
    if is(at, &["on"]) && is(at + 1, &["the"]) && is(at + 2, &SIDES) {
        let ends = words.get(at + 3).is_none_or(|next| next.after_pause);
        return ends.then_some(at..at + 3);
    }
    if is(at, &["bilateral", "bilaterally"]) {
        return Some(at..at + 1);
    }
    if !is(at, &SIDES) {
        return None;
    }
    let behind_on = at >= 2 && is(at - 1, &["the"]) && is(at - 2, &["on"]);
    let ends = words.get(at + 1).is_none_or(|next| next.after_pause);
    let end = at + 1 + usize::from(is(at + 1, &["sided"]));
    (!(behind_on && ends)).then_some(at..end)
}

/// The words that name a third of a lung, if they begin at word `at`.
fn zone_at(words: &[Word], at: usize) -> Option<Range<usize>> {
    let is = |at, wanted: &[&str]| is_one(words, at, wanted);
    if !is(at, &["upper", "middle", "mid", "lower"]) {
        return None;
    }
    // "in the mid zone of the right lung": in the right lung.
    let of = is(at + 1, &["zone"]) && is(at + 2, &["of"]) && is(at + 3, &["the"]);
    if of {
        return Some(at..at + 4);
    }
    is(at + 1, &["lung", "lungs", "zone", "zones", "field", "fields"]).then_some(at..at + 1)
}

/// A degree and what it measures: "moderate in amount".
fn with_measure(words: &[Word], degree: Range<usize>) -> Range<usize> {
    let end = after(words, degree.end, &lexicon().details.measures);
    degree.start..end.unwrap_or(degree.end)
}

/// Where begins what is seen with a finding or device that the sentence affirms before: "with two
/// leads", ", in keeping with pneumonia". None where it may be what denies or doubts it.
pub(super) fn company_at(reading: &Reading) -> Option<usize> {
    let words = &reading.words;
    let starts = |at: &usize| {
        let Details { companies, taken_for, .. } = &lexicon().details;
        let begins = |terms| after(words, *at, terms).is_some();
        words[*at].after_pause || begins(companies) || begins(taken_for)
    };
    let named = |at: &usize| {
        let mut heads = reading.mentions.iter().filter(|mention| mention.words.start < *at);
        let whole = heads.clone().all(|m| m.words.end <= *at && m.says == Says::Present);
        whole && heads.next().is_some()
    };
    let at = (1..words.len()).filter(starts).find(named)?;
    let denies = |place: &Range<usize>| place.end > at;
    (!negators(words).iter().chain(&late_negators(words)).any(denies)).then_some(at)
}

/// The words of the size whose number begins at byte `start`, with what goes before it ("of 12
/// mm"), if it can be left out.
pub(super) fn size_at(words: &[Word], start: usize) -> Option<Range<usize>> {
    let at = words.iter().position(|word| word.span.start == start)?;
    let behind = |set: &[Term]| at > 0 && after(words, at - 1, set) == Some(at);
    let start = at - usize::from(behind(&lexicon().details.with_size));
    let unit = words.get(at + 1).is_some_and(|word| matches!(word.lower.as_str(), "mm" | "cm"));
    let own = words[at].lower.ends_with('m');
    let end = at + 1 + usize::from(unit && !own);
    (!behind(&lexicon().details.before_size) && (unit || own)).then_some(start..end)
}

fn is_one(words: &[Word], at: usize, wanted: &[&str]) -> bool {
    words.get(at).is_some_and(|word| wanted.contains(&word.lower.as_str()))
}

/// An article as it stands before `next`.
fn fitting(word: &str, next: &str) -> String {
    let vowel = next.starts_with(['a', 'e', 'i', 'o', 'u']);
    match (word, vowel) {
        ("a", true) => "an".to_owned(),
        ("an", false) => "a".to_owned(),
        ("A", true) => "An".to_owned(),
        ("An", false) => "A".to_owned(),
        _ => word.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Facts;
    use super::*;

    #[test]
    fn details_are_left_out_and_the_rest_stays_a_sentence() {
        let all = [true; 5];
        for (text, expected) in [
            ("There is a moderate left pleural effusion.", "There is a pleural effusion."),
            ("There is a moderate apical effusion.", "There is an apical effusion."),
            ("Small right-sided pneumothorax.", "Pneumothorax."),
            ("A pneumothorax is seen on the right, moderate in amount.", "A pneumothorax is seen."),
            ("There is a 14 mm nodule in the right lung.", "There is a nodule in the lung."),
            ("A nodule, measuring 14 mm.", "A nodule."),
            ("A nodule of 14 mm is seen.", "A nodule is seen."),
            ("It measures 14 mm.", "It measures 14 mm."),
            ("Bilateral pleural effusions.", "Pleural effusions."),
            ("Mild edema in the mid zone of the left lung.", "Edema in the lung."),
            ("There is a mass in both upper lung zones.", "There is a mass in both lung zones."),
            ("No pneumothorax.", "No pneumothorax."),
            ("Left-sided pacemaker with atrial and ventricular leads.", "Pacemaker."),
            (
                "Endotracheal tube in place, its tip above the carina.",
                "Endotracheal tube in place.",
            ),
            (
                "Patchy opacity in the left lung, consistent with pneumonia.",
                "Patchy opacity in the lung.",
            ),
            ("Free air on the left: large pneumothorax.", "Free air: pneumothorax."),
            ("Effusion, ruled out by ultrasound.", "Effusion, ruled out by ultrasound."),
            ("Small effusion, no edema.", "Effusion, no edema."),
            ("Possible effusion, with edema.", "Possible effusion, with edema."),
            ("Moderate.", "Moderate."),
            ("", ""),
        ] {
            assert_eq!(without(text, all), expected, "{text}");
        }
        assert_eq!(
            without("There is a large left effusion.", [true, false, false, false, false]),
            "There is a large effusion."
        );
    }

    proptest! {
        #[test]
        fn a_terse_text_says_nothing_that_the_whole_does_not(seed in 0u64..500, chance in 0.0..=1.0) {
            let whole = "Large left pleural effusion. There is a 20 mm nodule in the right upper \
                         lung. No pneumothorax. Mild bilateral edema, left more than right. \
                         Displaced rib fracture on the left, with a small chest wall mass. Patchy \
                         opacity, moderate, in keeping with pneumonia. Left pacemaker, two leads.";
            let less = terse(whole, chance, &mut Random::new(seed, &[]));
            prop_assert!(Facts::of(whole).bear_out(&Facts::of(&less)), "{less}");
            prop_assert!(less.len() <= whole.len() + 5);
        }

        #[test]
        fn any_text_can_be_terse(text in "(?s)[ -,]{0,9}(left|on the left|mild|14 mm|with|edema|no|a|é|,|[.]| ){0,12}.{0,9}") {
            terse(&text, 0.7, &mut Random::new(1, &[]));
        }
    }
}
