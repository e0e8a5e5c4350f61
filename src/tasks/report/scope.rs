//! How far a denial and a doubt reach: what the words around a finding say of it.

use std::ops::Range;

use super::lexicon::{Term, lexicon};
use super::reading::{Says, Word, matches, places};

/// What is named in a sentence, and what may deny or doubt it.
pub(super) struct Scope<'a> {
    words: &'a [Word],
    /// All that is named, in order, and whether it is a device.
    named: &'a [(Range<usize>, bool)],
    /// Whether the reach of a denial or doubt ends at a word.
    ends: Vec<bool>,
    negators: Vec<Range<usize>>,
    late: Vec<Range<usize>>,
    doubts: Vec<Range<usize>>,
    late_doubts: Vec<Range<usize>>,
}

impl<'a> Scope<'a> {
    pub(super) fn new(words: &'a [Word], named: &'a [(Range<usize>, bool)]) -> Self {
        let [doubts, late_doubts] =
            [&lexicon().doubts, &lexicon().late_doubts].map(|terms| places(words, terms));
        let [negators, late] = [negators(words), late_negators(words)];
        let ends = |at| after(words, at, &lexicon().scope_ends).is_some();
        let ends = (0..words.len()).map(ends).collect();
        Self { words, named, ends, negators, late, doubts, late_doubts }
    }

    /// What is said of the finding or device at `place`; a sentence of normality that denies it
    /// without its name is `covered`.
    pub(super) fn says(&self, (place, device): &(Range<usize>, bool), covered: bool) -> Says {
        let inside = self.negators.iter().any(|n| n.start > place.start && n.end < place.end);
        if self.doubted(place) || (covered && inside) {
            return Says::Doubtful;
        }
        let denied = covered
            || inside
            || self.denied_before(place, *device)
            || self.denied_after(place)
            || self.answered_no(place);
        if denied { Says::Absent } else { Says::Present }
    }

    /// Whether a doubt reaches it, from before or from behind.
    fn doubted(&self, place: &Range<usize>) -> bool {
        let apart = |at: &usize| {
            let word = &self.words[*at];
            word.after_pause || word.after_break || word.lower == "and" || self.ends(*at)
        };
        // As a denial reaches over a list, or back to the last pause.
        let doubt = |doubt: &Range<usize>| {
            if doubt.end <= place.start {
                let inner = |at: usize| self.ends(at) || self.begins(at) || self.starts_anew(at);
                let own = self.begins(place.start) || self.starts_anew(place.start);
                !own && !(doubt.end..place.start).any(inner)
            } else if doubt.start >= place.end {
                // "An opacity may represent pneumonia": the opacity is there.
                let leads = after(self.words, doubt.start, &lexicon().links).is_some()
                    && self.named.iter().any(|(next, _)| next.start >= doubt.end);
                !leads && !(place.end..=doubt.start).any(|at| apart(&at))
            } else {
                true
            }
        };
        // "Effusion, small, cannot be excluded": back to what else is named behind a pause.
        let late = |doubt: &Range<usize>| {
            let mut ends = (place.end..doubt.start).filter(apart);
            let last = ends.next_back().unwrap_or(place.end);
            let other = |(next, _): &(Range<usize>, bool)| {
                (place.end..doubt.start).contains(&next.start) && next.start >= last
            };
            let split = (place.end..=doubt.start).any(|at| self.ends(at) || self.starts_anew(at));
            doubt.start >= place.end
                && !split
                && (last == place.end || !self.named.iter().any(other))
        };
        self.doubts.iter().any(doubt) || self.late_doubts.iter().any(late)
    }

    /// The nearest denial before it reaches it unless something new begins between them.
    fn denied_before(&self, place: &Range<usize>, device: bool) -> bool {
        let before = self.negators.iter().filter(|n| n.end <= place.start);
        let Some(nearest) = before.max_by_key(|n| n.end) else { return false };
        let mut between = self
            .named
            .iter()
            .filter(|(other, _)| other.start >= nearest.end && other.end <= place.start);
        // "No fracture, ET tube in place": a list of findings goes on with findings.
        let device_begins =
            device && self.words[place.start].after_pause && between.any(|(_, device)| !device);
        let joins = |at: usize| {
            let word = &self.words[at].lower;
            let named =
                |(other, _): &(Range<usize>, bool)| other.start >= nearest.end && other.end < at;
            self.words[at - 1].lower == "and"
                && (word == "the" || lexicon().clause_starts.contains(word))
                && self.named.iter().any(named)
        };
        let inner = |at: usize| self.ends(at) || self.begins(at) || self.starts_anew(at);
        let cut = (nearest.end..place.start).any(inner)
            || self.begins(place.start)
            || self.starts_anew(place.start)
            || (nearest.end + 1..=place.start).any(joins)
            || device_begins;
        !cut
    }

    /// A denial behind it counts unless another finding, or the end of the sentence, lies between.
    fn denied_after(&self, place: &Range<usize>) -> bool {
        let Some(late) = self.late.iter().find(|n| n.start >= place.end) else { return false };
        let other =
            |(next, _): &(Range<usize>, bool)| next.start >= place.end && next.start < late.start;
        !self.named.iter().any(other) && !(place.end..=late.start).any(|at| self.starts_anew(at))
    }

    /// "Pneumothorax: none."
    fn answered_no(&self, place: &Range<usize>) -> bool {
        let last = self.words.get(place.end).filter(|_| place.end + 1 == self.words.len());
        last.is_some_and(|word| ["no", "none", "absent", "negative"].contains(&&*word.lower))
    }

    fn ends(&self, at: usize) -> bool {
        self.ends[at]
    }

    fn begins(&self, at: usize) -> bool {
        let word = &self.words[at];
        word.after_pause && lexicon().clause_starts.contains(&word.lower)
    }

    fn starts_anew(&self, at: usize) -> bool {
        self.words[at].after_break
    }
}

/// Where one of the terms ends, if it begins at word `at`.
pub(super) fn after(words: &[Word], at: usize, terms: &[Term]) -> Option<usize> {
    terms.iter().find_map(|term| matches(words, at, term))
}

/// The places that deny what follows.
pub(super) fn negators(words: &[Word]) -> Vec<Range<usize>> {
    without_harmless(words, &lexicon().negators)
}

/// The places that deny what stands before.
pub(super) fn late_negators(words: &[Word]) -> Vec<Range<usize>> {
    without_harmless(words, &lexicon().late_negators)
}

fn without_harmless(words: &[Word], terms: &[Term]) -> Vec<Range<usize>> {
    let mut found = places(words, terms);
    let harmless = places(words, &lexicon().not_negators);
    found.retain(|n| !harmless.iter().any(|h| h.start <= n.start && n.end <= h.end));
    found
}

#[cfg(test)]
mod tests {
    use super::super::claims;

    #[test]
    fn denials_and_doubts_reach_as_far_as_they_are_meant() {
        let (yes, no, doubt) = (Some(true), Some(false), None);
        for (text, finding, expected) in [
            ("There is no pulmonary edema, and the heart is enlarged.", "cardiomegaly", yes),
            ("No focal consolidation; heart is mildly enlarged.", "cardiomegaly", yes),
            ("No pneumothorax; pleural effusion persists.", "pleural effusion", yes),
            ("No pleural effusion and mild cardiomegaly.", "cardiomegaly", yes),
            ("There is no effusion and the ET tube is in place.", "endotracheal tube", yes),
            ("No rib fracture, ET tube in place.", "endotracheal tube", yes),
            ("No ET tube, NG tube or chest tube.", "nasogastric tube", no),
            ("No left and right effusion.", "pleural effusion", no),
            ("No edema, consolidation and effusion.", "pleural effusion", no),
            ("no pneumothorax. heart is enlarged.", "cardiomegaly", yes),
            ("no pneumothorax. ET tube. small left effusion.", "pleural effusion", yes),
            ("No pneumothorax.Large right effusion.", "pleural effusion", yes),
            ("No 3 mm. nodule.", "lung nodule", no),
            ("The heart is enlarged with normal pulmonary vascularity.", "cardiomegaly", yes),
            ("Heart is enlarged, mediastinum normal.", "cardiomegaly", yes),
            ("The heart is normal.", "cardiomegaly", no),
            ("Lungs: bibasilar atelectasis, otherwise clear.", "atelectasis", yes),
            ("Pneumonia cannot be ruled out.", "pneumonia", doubt),
            ("Pneumothorax is not ruled out.", "pneumothorax", doubt),
            ("Superimposed pneumonia cannot be entirely excluded.", "pneumonia", doubt),
            ("A small effusion is not entirely excluded.", "pleural effusion", doubt),
            ("Cannot rule out pneumonia.", "pneumonia", doubt),
            ("Pneumonia is difficult to exclude.", "pneumonia", doubt),
            ("Rib fracture, minimally displaced, cannot be excluded.", "fracture", doubt),
            ("No pneumothorax, but a small effusion cannot be excluded.", "pneumothorax", no),
            (
                "No pneumothorax, but a small effusion cannot be excluded.",
                "pleural effusion",
                doubt,
            ),
            ("Moderate left effusion with possible consolidation.", "pleural effusion", yes),
            ("Moderate left effusion with possible consolidation.", "consolidation", doubt),
            ("Left basilar opacity, likely atelectasis.", "lung opacity", yes),
            ("Left basilar opacity, likely atelectasis.", "atelectasis", doubt),
            ("An opacity may represent pneumonia.", "lung opacity", yes),
            ("Stable cardiomegaly and likely small effusions.", "cardiomegaly", yes),
            ("Large right pneumothorax, possibly under tension.", "pneumothorax", yes),
            ("Possible effusion, atelectasis or pneumonia.", "pneumonia", doubt),
            ("Effusion is possible.", "pleural effusion", doubt),
            ("Pneumothorax: None.", "pneumothorax", no),
            ("Pleural effusion: no.", "pleural effusion", no),
            ("Resolved pneumothorax.", "pneumothorax", no),
            ("No relevant change in the left effusion.", "pleural effusion", yes),
            ("No worsening of the effusion.", "pleural effusion", yes),
            ("The tip of the ET tube is not seen.", "endotracheal tube", yes),
            ("Nodule in the right lung, not seen on prior.", "lung nodule", yes),
            ("The chest tube has been removed.", "chest tube", no),
            ("Interval removal of NG tube.", "nasogastric tube", no),
            ("HEART: Normal.", "cardiomegaly", no),
            ("EFFUSION: Small left.", "pleural effusion", yes),
        ] {
            let found = claims(text);
            let claim = found.iter().find(|claim| claim.finding == finding);
            let claim = claim.unwrap_or_else(|| panic!("{text}: {finding} is not named"));
            assert_eq!(claim.present, expected, "{text}");
        }
        assert!(claims("HEART: Normal.").iter().all(|claim| claim.finding == "cardiomegaly"));
        let other = claims("No acute cardiopulmonary abnormality other than small left effusion.");
        let fluid = |claim: &&super::super::Claim| claim.finding == "pleural effusion";
        assert!(other.iter().filter(fluid).any(|claim| claim.present == Some(true)));
    }

    #[test]
    fn sides_and_degrees_belong_to_their_finding() {
        let found = claims("Small left effusion and large right pneumothorax.");
        let of = |name: &str| found.iter().find(|claim| claim.finding == name).unwrap();
        let (fluid, air) = (of("pleural effusion"), of("pneumothorax"));
        assert!(fluid.sides.left && !fluid.sides.right && fluid.level == Some(0));
        assert!(air.sides.right && !air.sides.left && air.level == Some(2));
        let found = claims("Patchy opacity in the left lung, severe, typical of pneumonia.");
        assert!(found.iter().all(|claim| claim.sides.left && claim.level == Some(2)), "{found:?}");
    }
}
