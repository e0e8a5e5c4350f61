//! Claims said again in the plainest words: "Blunting of the left costophrenic angle, compatible
//! with a small effusion." is also "Small left pleural effusion."

use super::agreement::Facts;
use super::claims::{Claim, all_claims};
use super::lexicon::{Sort, lexicon};
use super::sentence::sentences;
use super::wording::{capitalised, degrees};
use crate::random::Random;

/// Chance that a finding is called by its broader name: consolidation, an opacity.
const BROADER: f64 = 0.25;

/// The text, of whose sentences each with `chance` says one of its claims again: the finding's or
/// device's name with size, degree and side, affirmed or denied in one of a few wordings. What is
/// left says no more than before. Sentences that doubt, or claim nothing, stay.
pub fn restated(text: &str, chance: f64, random: &mut Random) -> String {
    let mut out = String::new();
    let mut from = 0;
    for sentence in sentences(text) {
        out.push_str(&text[from..sentence.body.start]);
        from = sentence.body.end;
        let own = &text[sentence.body];
        let again = if random.chance(chance) { again(own, random) } else { None };
        out.push_str(again.as_deref().unwrap_or(own));
    }
    out + &text[from..]
}

/// The wordings that state and that deny something; `{}` stands for its name.
pub fn plain_wordings() -> [&'static [String]; 2] {
    [&lexicon().plain.stated, &lexicon().plain.denied]
}

/// One claim of a sentence in plain words.
fn again(sentence: &str, random: &mut Random) -> Option<String> {
    let claims = all_claims(sentence);
    if claims.is_empty() || claims.iter().any(|(_, claim)| claim.present.is_none()) {
        return None;
    }
    let (topic, claim) = random.choose(&claims).clone();
    let plain = &lexicon().plain;
    let (wordings, name) = if claim.present == Some(true) {
        (&plain.stated, named(topic, &claim, random))
    } else {
        (&plain.denied, lexicon().topics[topic].name.clone())
    };
    let text = capitalised(&random.choose(wordings).replace("{}", &name));
    // Word lists may know no name of something, or read two in one.
    let read = Facts::of(&text);
    (!read.is_empty() && Facts::gather(claims).bear_out(&read)).then_some(text)
}

/// What is affirmed, with its size or else degree, and its side.
fn named(topic: usize, claim: &Claim, random: &mut Random) -> String {
    let entry = &lexicon().topics[topic];
    let broader = entry.broader.filter(|_| random.chance(BROADER));
    let name = &lexicon().topics[broader.unwrap_or(topic)].name;
    let side = match (claim.sides.left, claim.sides.right) {
        _ if entry.sort != Sort::Finding => None, // a tube's side is its tip's, or the wall's
        (true, true) => Some("bilateral"),
        (true, false) => Some("left"),
        (false, true) => Some("right"),
        (false, false) => None,
    };
    let degree = claim.level.filter(|_| broader.is_none());
    let degree = degree.and_then(|level| degrees(entry).get(level).copied());
    let amount = match claim.size {
        Some(mm) => Some(format!("{mm} mm")),
        None => degree.map(str::to_owned),
    };
    let parts = [amount.as_deref(), side, Some(name)];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn all(text: &str) -> BTreeSet<String> {
        (0..400).map(|seed| restated(text, 1.0, &mut Random::new(seed, &[]))).collect()
    }

    #[test]
    fn a_claim_is_said_again_in_plain_words() {
        let said = all("Blunting of the left costophrenic angle by a trace effusion.");
        let plain = ["Small left pleural effusion.", "There is small left pleural effusion."];
        assert!(plain.iter().all(|text| said.contains(*text)), "{said:?}");
        assert_eq!(said.len(), lexicon().plain.stated.len());
        let said = all("Neither edema nor pneumothorax.");
        assert!(said.contains("No edema.") && said.contains("Negative for pneumothorax."));
        let said = all("A 12 mm nodule in the right mid lung.");
        assert!(said.contains("12 mm right lung nodule."), "{said:?}");
        assert!(said.contains("12 mm right lung opacity."), "{said:?}");
        assert!(all("Dual-chamber pacer.").contains("Pacemaker."));
        for kept in ["Possible edema.", "Median sternotomy wires.", ""] {
            assert_eq!(all(kept), BTreeSet::from([kept.to_owned()]));
        }
    }

    #[test]
    fn a_report_bears_out_what_is_said_again_of_it() {
        let report = "FINDINGS: Large right and small left effusions. The heart is mildly enlarged. \
                      2. Consolidation in the left lower lung, no edema. The lungs are clear \
                      otherwise. ET tube 4 cm above the carina. No acute fracture.\n\nNormal bones.";
        let told = Facts::of(report);
        for seed in 0..500 {
            let said = restated(report, 0.5, &mut Random::new(seed, &[]));
            assert!(told.bear_out(&Facts::of(&said)), "{said}");
            assert!(said.starts_with("FINDINGS: ") && said.contains(" 2. "), "{said}");
        }
        assert_eq!(restated(report, 0.0, &mut Random::new(0, &[])), report);
    }
}
