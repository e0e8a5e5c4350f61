//! Whether what one text says holds by what another says.

use std::collections::{BTreeMap, BTreeSet};

use super::claims::{Claim, all_claims};
use super::lexicon::{Sort, lexicon};
use super::statement::Sides;

/// Sizes within this factor of one another are the same.
const ALIKE: f64 = 1.4;

/// All that a report says of each finding and device, to hold other texts against.
///
/// Source: Wang et al. 2022, "`MedCLIP`: Contrastive Learning from Unpaired Medical Images and
/// Text", arXiv:2210.10163, matches films and texts by the findings that they share. Differs in
/// that a text also denies, names sides, zones, degrees, sizes and devices, and that who affirms a
/// kind (consolidation, a pacemaker) affirms the broader (an opacity, a device).
#[derive(Clone, Debug, Default)]
pub struct Facts(BTreeMap<usize, Fact>);

/// What a report says of one finding or device.
#[derive(Clone, Debug, Default)]
struct Fact {
    /// Whether any sentence affirms it, and any denies or doubts it.
    affirmed: bool,
    denied: bool,
    doubted: bool,
    sides: Sides,
    zones: Vec<&'static str>,
    levels: Vec<usize>,
    sizes: Vec<f64>,
}

impl Facts {
    /// What `report` says.
    pub fn of(report: &str) -> Self {
        Self::gather(all_claims(report))
    }

    /// What claims say, each with its topic's number.
    pub(super) fn gather(claims: impl IntoIterator<Item = (usize, Claim)>) -> Self {
        let mut all: BTreeMap<usize, Fact> = BTreeMap::new();
        for (topic, claim) in claims {
            let broader = lexicon().topics[topic].broader.filter(|_| claim.present == Some(true));
            if let Some(broader) = broader {
                all.entry(broader).or_default().affirm(&claim);
            }
            let fact = all.entry(topic).or_default();
            match claim.present {
                Some(true) => fact.affirm(&claim),
                Some(false) => fact.denied = true,
                None => fact.doubted = true,
            }
        }
        Self(all)
    }

    /// What is affirmed, by topic, with sides and degrees; nothing of what is in doubt.
    pub(super) fn told(&self) -> BTreeMap<usize, Option<(Sides, BTreeSet<usize>)>> {
        let told = self.0.iter().filter(|(_, fact)| fact.affirmed || fact.doubted);
        let one = |fact: &Fact| {
            fact.affirmed.then(|| (fact.sides, fact.levels.iter().copied().collect()))
        };
        told.map(|(topic, fact)| (*topic, one(fact))).collect()
    }

    /// What it affirms or doubts, as labels of what is present: nothing of it may be put in as an
    /// error. Where devices are affirmed and none is named, any may be there.
    pub fn labels(&self) -> Vec<(String, f32)> {
        let topics = &lexicon().topics;
        let there = |topic: &usize| self.0.get(topic).is_some_and(|f| f.affirmed || f.doubted);
        let of = |sort| (0..topics.len()).filter(move |topic| topics[*topic].sort == sort);
        let unnamed = of(Sort::Devices).any(|topic| there(&topic))
            && !of(Sort::Device).any(|topic| there(&topic));
        let present = (0..topics.len())
            .filter(|topic| there(topic) || unnamed && topics[*topic].sort == Sort::Device);
        present.map(|topic| (topics[topic].name.clone(), 1.0)).collect()
    }

    /// Whether it says nothing of findings and devices.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether all that `text` says holds by this report; a report that is silent on a finding
    /// has not got it.
    pub fn bear_out(&self, text: &Self) -> bool {
        let unspoken = Fact::default();
        text.0.iter().all(|(topic, said)| self.0.get(topic).unwrap_or(&unspoken).bears_out(said))
    }
}

impl Fact {
    fn affirm(&mut self, claim: &Claim) {
        self.affirmed = true;
        self.sides.left |= claim.sides.left;
        self.sides.right |= claim.sides.right;
        self.zones.extend(&claim.zones);
        self.levels.extend(claim.level);
        self.sizes.extend(claim.size);
    }

    fn bears_out(&self, said: &Self) -> bool {
        if !said.affirmed {
            return !self.affirmed && self.doubted == said.doubted;
        }
        let near = |a: f64, b: f64| a.max(b) <= a.min(b) * ALIKE;
        self.affirmed
            && (self.sides.left || !said.sides.left)
            && (self.sides.right || !said.sides.right)
            && said.zones.iter().all(|zone| self.zones.contains(zone))
            && said.levels.iter().all(|level| self.levels.contains(level))
            && said.sizes.iter().all(|&size| self.sizes.iter().any(|&own| near(own, size)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn holds(report: &str, text: &str) -> bool {
        Facts::of(report).bear_out(&Facts::of(text))
    }

    #[test]
    fn a_text_holds_by_a_report_that_says_as_much_or_more() {
        let report = "Large left pleural effusion in the lower lung. A 20 mm nodule in the right \
                      upper lung. No pneumothorax. Possible pneumonia. Pacemaker in place.";
        for (text, expected) in [
            ("There is a pleural effusion.", true),
            ("There is a large pleural effusion on the left.", true),
            ("There is a right pleural effusion.", false),
            ("Bilateral pleural effusions.", false),
            ("Small pleural effusion.", false),
            ("Left lower pleural effusion.", true),
            ("Left upper pleural effusion.", false),
            ("No pleural effusion.", false),
            ("No pneumothorax.", true),
            ("No pneumothorax or edema.", true), // silent on edema
            ("There is edema.", false),
            ("There is a 24 mm nodule.", true),
            ("There is an 8 mm nodule.", false),
            ("Pneumonia.", false),
            ("No pneumonia.", false),
            ("Possible pneumonia.", true),
            ("A pacemaker is present. No pneumothorax.", true),
            ("A pacemaker is present. There is a pneumothorax.", false),
            ("Endotracheal tube.", false),
            ("Support devices are in place.", true),
            ("No support devices.", false),
            ("Opacity in the right lung.", true), // a nodule is one
            ("Opacity in the left lung.", false),
            ("No focal opacity.", false),
            ("Nothing that is known.", true),
        ] {
            assert_eq!(holds(report, text), expected, "{text}");
        }
        assert!(!holds("Opacity in the left lung.", "Consolidation in the left lung."));
        assert!(!holds("Support devices are in place.", "A pacemaker is present."));
        assert!(holds("Clear lungs.", "No support devices."));
        assert!(Facts::of("Nothing that is known.").is_empty());
    }

    #[test]
    fn what_is_there_or_may_be_is_present() {
        let labels = |report: &str| {
            let labels = Facts::of(report).labels();
            assert!(labels.iter().all(|(_, value)| *value > 0.5));
            labels.into_iter().map(|(name, _)| name).collect::<Vec<_>>()
        };
        let report = "Left effusion, no edema. Possible pneumonia. Pacemaker.";
        let expected = ["pleural effusion", "pneumonia", "pacemaker", "support devices"];
        assert_eq!(labels(report), expected);
        assert_eq!(labels("Support devices are in place.").len(), 6);
        assert!(labels("Clear lungs. No support devices.").is_empty());
    }

    proptest! {
        #[test]
        fn a_report_bears_itself_out(
            parts in prop::collection::vec(prop::sample::select(vec![
                "Large left effusion.", "No edema.", "Possible pneumonia.", "Pacemaker.",
                "Small right effusion.", "A 9 mm nodule.", "Normal heart size.", "Clear lungs.",
                "Patchy opacity, consistent with pneumonia.", "Support devices in place.",
            ]), 0..6),
        ) {
            let report = parts.join(" ");
            prop_assert!(holds(&report, &report));
        }
    }
}
