//! Claims said again in the plainest words: "A trace effusion blunts the left costophrenic angle."
//! is also "Small left pleural effusion."

use super::agreement::Facts;
use super::clause::{clauses, sides_of};
use super::lexicon::{Sort, Topic, lexicon};
use super::reading::{Mention, Reading, Says};
use super::scope::negators;
use super::sentence::said_anew;
use super::size::sizes;
use super::terse::{company_at, size_at};
use super::wording::{capitalised, degrees};
use crate::random::Random;

/// Chance that a finding is called by its broader name: consolidation, an opacity.
const BROADER: f64 = 0.25;
/// The most words between a size and what has it ("12 mm rounded lung nodule").
const BETWEEN: usize = 2;

/// A part of a report, of whose sentences each with `chance` says one of its claims again: the
/// finding's or device's name, affirmed with size or degree and side, or denied, in one of a few
/// wordings. All that is put in holds by `told`, the whole report. Sentences that doubt, or claim
/// nothing that plain words can say, stay.
pub fn restated(text: &str, chance: f64, told: &Facts, random: &mut Random) -> String {
    said_anew(
        text,
        |sentence| {
            if random.chance(chance) { again(sentence, told, random) } else { None }
        },
    )
}

/// The wordings that state and that deny something; `{}` stands for its name.
pub fn plain_wordings() -> [&'static [String]; 2] {
    [&lexicon().plain.stated, &lexicon().plain.denied]
}

/// One claim of a sentence in plain words.
fn again(sentence: &str, told: &Facts, random: &mut Random) -> Option<String> {
    let reading = Reading::of(sentence);
    if reading.mentions.iter().any(|mention| mention.says == Says::Doubtful) {
        return None;
    }
    let clauses = clauses(&reading);
    let mentions = &reading.mentions;
    let claims: Vec<_> = clauses
        .iter()
        .flat_map(|clause| mentions[clause.mentions.clone()].iter().map(move |one| (clause, one)))
        .collect();
    if claims.is_empty() {
        return None;
    }
    let (clause, mention) = random.choose(&claims);
    let topic = &lexicon().topics[mention.topic];
    let own = Reading::of(&sentence[clause.bytes.clone()]);
    let plain = &lexicon().plain;
    let (wordings, name) = if mention.says == Says::Present {
        (&plain.stated, named(topic, &own, random))
    } else if mention.covered || denied_as_such(&reading, mention, &own) {
        (&plain.denied, topic.name.clone())
    } else {
        return None;
    };
    let text = capitalised(&random.choose(wordings).replace("{}", &name));
    let read = Facts::of(&text);
    (!read.is_empty() && told.bear_out(&read)).then_some(text)
}

/// Whether a finding is denied by its name alone: not a large one, an acute one or one on the left.
fn denied_as_such(reading: &Reading, mention: &Mention, clause: &Reading) -> bool {
    let sides = sides_of(clause);
    if sides.left || sides.right || !sizes(&clause.words).is_empty() {
        return false;
    }
    let before = negators(&reading.words).into_iter().filter(|no| no.end <= mention.words.start);
    let Some(negator) = before.max_by_key(|no| no.end) else { return false };
    (negator.end..mention.words.start).all(|at| {
        let word = &reading.words[at].lower;
        let joins = ["and", "or", "nor"].contains(&word.as_str());
        let named = reading.mentions.iter().any(|other| other.words.contains(&at));
        joins || named || lexicon().fillers.contains(word)
    })
}

/// What a clause affirms, with its size or else degree, and its side: those that the clause gives
/// to nothing else.
fn named(topic: &Topic, clause: &Reading, random: &mut Random) -> String {
    let broader = topic.broader.filter(|_| random.chance(BROADER));
    let name = &broader.map_or(topic, |broader| &lexicon().topics[broader]).name;
    if topic.sort != Sort::Finding {
        return name.clone(); // the side and the lengths of a tube are those of its tip
    }
    // "A large pneumothorax with a shift to the right."
    let end = company_at(clause).unwrap_or(clause.words.len());
    let head = Reading { words: clause.words[..end].to_vec(), mentions: clause.mentions.clone() };
    let sides = sides_of(&head);
    let has_side = topic.sentences.iter().any(|sentence| sentence.contains("{side}"));
    let side = match (sides.left, sides.right) {
        _ if !has_side => None,
        (true, true) => Some("bilateral"),
        (true, false) => Some("left"),
        (false, true) => Some("right"),
        (false, false) => None,
    };
    let size = size_of(&head, topic);
    let degree = if broader.is_some() || size.is_some() { None } else { degree_of(&head, topic) };
    let parts = [size.as_deref(), degree, side, Some(name)];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// The one degree that a clause names, on the finding's own scale.
fn degree_of(clause: &Reading, topic: &Topic) -> Option<&'static str> {
    let [found] = &clause.degrees(&topic.scale)[..] else { return None };
    // "Mildly enlarged" is mild cardiomegaly.
    let own = found.scale.name == topic.scale
        || (topic.scale == "degree" && found.scale.name == "manner");
    degrees(topic).get(found.level).copied().filter(|_| own)
}

/// The one size that a clause names, if it is the finding's and no distance from it.
fn size_of(clause: &Reading, topic: &Topic) -> Option<String> {
    let words = &clause.words;
    let [size] = &sizes(words)[..] else { return None };
    let own = size_at(words, size.digits.start)?;
    let is_topic = |m: &&Mention| lexicon().topics[m.topic].name == topic.name && !m.covered;
    let place = clause.mentions.iter().find(is_topic)?.words.clone();
    let before = own.end <= place.start
        && place.start - own.end <= BETWEEN
        && words[own.end..place.start].iter().all(|word| !PREPOSITIONS.contains(&&*word.lower));
    // "Of 12 mm" belongs to what stands right before it.
    let behind = own.start >= place.end
        && match &*words[own.start].lower {
            "of" => own.start == place.end,
            first => !first.starts_with(|c: char| c.is_ascii_digit()),
        };
    let mm = (size.mm() * 10.0).round() / 10.0;
    (before || behind).then(|| format!("{mm} mm"))
}

/// Words that make a length a distance.
const PREPOSITIONS: [&str; 9] =
    ["of", "from", "to", "above", "below", "within", "in", "into", "over"];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// All that is said for `part` of a report.
    fn all(part: &str, report: &str) -> BTreeSet<String> {
        let told = Facts::of(report);
        let said = |seed| restated(part, 1.0, &told, &mut Random::new(seed, &[]));
        (0..300).map(said).collect()
    }

    /// The names of what is said of a sentence.
    fn names(sentence: &str) -> Vec<String> {
        let plain = &lexicon().plain;
        let mut found = BTreeSet::new();
        for text in all(sentence, sentence) {
            let wordings = plain.stated.iter().map(|w| ("", w));
            let wordings = wordings.chain(plain.denied.iter().map(|w| ("no ", w)));
            let mut names = wordings.filter_map(|(no, wording)| {
                let (start, end) = wording.split_once("{}")?;
                let name = text.strip_prefix(start)?.strip_suffix(end)?;
                let lower = format!("{no}{}", name.to_lowercase());
                Some(lower)
            });
            // The bare wording fits all texts, so that the longest fit counts.
            let shortest = names.by_ref().min_by_key(String::len);
            found.insert(shortest.unwrap_or(text));
        }
        found.into_iter().collect()
    }

    #[test]
    fn a_claim_is_said_again_in_plain_words_with_what_belongs_to_it() {
        for (sentence, expected) in [
            (
                "A trace effusion blunts the left costophrenic angle.",
                vec!["small left pleural effusion"],
            ),
            ("Neither edema nor pneumothorax.", vec!["no edema", "no pneumothorax"]),
            (
                "A 12 mm rounded nodule in the right mid lung.",
                vec!["12 mm right lung nodule", "12 mm right lung opacity"],
            ),
            (
                "Nodule in the left lung measuring 1.25 cm.",
                vec!["12.5 mm left lung nodule", "12.5 mm left lung opacity"],
            ),
            ("Nodule 2 cm from the left hilum.", vec!["left lung nodule", "left lung opacity"]),
            (
                "Nodules of 5 mm and 30 mm in the right lung.",
                vec!["right lung nodule", "right lung opacity"],
            ),
            ("Large right and small left effusions.", vec!["bilateral pleural effusion"]),
            ("Small to moderate left effusion.", vec!["left pleural effusion"]),
            ("The heart is mildly enlarged.", vec!["mild cardiomegaly"]),
            ("Moderate compression fracture of T8.", vec!["fracture"]),
            ("Large pneumothorax with mediastinal shift to the right.", vec!["large pneumothorax"]),
            ("ET tube 4 cm above the carina.", vec!["endotracheal tube", "support devices"]),
            ("No pneumothorax or evidence of edema.", vec!["no edema", "no pneumothorax"]),
        ] {
            assert_eq!(names(sentence), expected, "{sentence}");
        }
    }

    #[test]
    fn what_plain_words_cannot_say_stays() {
        for kept in [
            "Possible edema.",
            "Median sternotomy wires.",
            "",
            "No loculated effusion.",
            "No large effusion.",
            "No left effusion.",
            "No nodule above 5 mm.",
        ] {
            assert_eq!(all(kept, kept), BTreeSet::from([kept.to_owned()]));
        }
    }

    #[test]
    fn nothing_is_said_that_the_whole_report_does_not_bear_out() {
        for (part, rest) in [
            ("No acute cardiopulmonary abnormality.", "Stable cardiomegaly."),
            ("No effusion.", "Small right effusion."),
            ("No acute fracture.", "Old healed right rib fractures."),
            ("The lungs are clear.", "Perhaps a nodule."),
        ] {
            let told = format!("{part} {rest}");
            let facts = Facts::of(&told);
            for said in all(part, &told) {
                assert!(said == part || facts.bear_out(&Facts::of(&said)), "{said}");
            }
        }
        let report = "FINDINGS: Large right and small left effusions. 2. Consolidation in the left \
                      lower lung, no edema. ET tube 4 cm above the carina.\n\nNormal bones.";
        let told = Facts::of(report);
        let said = restated(report, 1.0, &told, &mut Random::new(1, &[]));
        assert!(
            said.starts_with("FINDINGS: ") && said.contains(" 2. ") && said != report,
            "{said}"
        );
        assert_eq!(restated(report, 0.0, &told, &mut Random::new(0, &[])), report);
    }
}
