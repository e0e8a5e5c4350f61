//! Free answers graded by rule: 1 right, ½ partly, 0 wrong; what no rule can grade is left open.
//!
//! Source: the three grades of the protocol of Xu et al. 2023, "ELIXR", arXiv:2308.01317, as Lee
//! et al. 2023, "LLM-CXR", arXiv:2305.11490, restate it. The rules are this package's own.

use std::collections::BTreeSet;

use super::report::{Opening, Sides, Statement, read_statement};
use crate::{Error, Result};

/// How near a size must come: within the first share of the truth it is right, within the second
/// partly.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// Right up to this share of the true size away.
    pub right: f64,
    /// Partly right up to this share away.
    pub partly: f64,
}

impl Default for Tolerance {
    fn default() -> Self {
        Self { right: 0.2, partly: 0.4 }
    }
}

impl Tolerance {
    fn check(self) -> Result<()> {
        if self.right >= 0.0 && self.right <= self.partly && self.partly.is_finite() {
            return Ok(());
        }
        let why = format!(
            "found {} and {}, expected two shares of a size, the first no larger than the second",
            self.right, self.partly
        );
        Err(Error::value("tolerance", why))
    }
}

/// The grade of `answer`, or `None` where `truth` is open: not yes or no, a side, place, degree,
/// size or number, and not given word for word.
///
/// * yes or no: a sentence counts as "no" when it denies, as "yes" when it affirms what is asked;
///   a hedged "possibly" is half of a yes.
/// * sides: one of two, and both for one, are half; so is the side without the place asked.
/// * degrees: the same level is right, the next one half ("mild to moderate" lies between).
/// * sizes: see [`Tolerance`]. Numbers: exactly.
pub fn grade_answer(
    question: &str,
    truth: &str,
    answer: &str,
    tolerance: Tolerance,
) -> Result<Option<f64>> {
    tolerance.check()?;
    if truth.trim().is_empty() {
        return Err(Error::value("truth", "found nothing, expected an answer to compare with"));
    }
    let (asked, right, given) =
        (read_statement(question), read_statement(truth), read_statement(answer));
    if right.words == given.words && !right.words.is_empty() {
        return Ok(Some(1.0));
    }
    if matches!(right.opening, Opening::Yes | Opening::No) {
        return Ok(Some(polar(right.opening == Opening::Yes, &asked, &given)));
    }
    if let Some(size) = right.size {
        return Ok(Some(
            given
                .size
                .or(given.number.map(|n| n as f64))
                .map_or(0.0, |found| near(size, found, tolerance)),
        ));
    }
    if !right.only_known {
        return Ok(None);
    }
    if let Some(number) = right.number {
        return Ok(Some(f64::from(u8::from(given.number == Some(number)))));
    }
    Ok(Some(slots(&right, &given)))
}

fn polar(yes: bool, asked: &Statement, given: &Statement) -> f64 {
    let about = asked.topics.iter().any(|topic| given.topics.contains(topic))
        || (given.topics.is_empty() && asked.content.iter().any(|w| given.content.contains(w)));
    let said = match given.opening {
        Opening::Both => None,
        Opening::Yes => Some(true),
        Opening::No => Some(false),
        Opening::Neither if asked.topics.intersection(&given.affirms).next().is_some() => {
            Some(true)
        }
        Opening::Neither if given.denies => Some(false),
        Opening::Neither => about.then_some(true),
    };
    match said {
        // "Possibly" is half of a yes, of whatever is asked.
        None | Some(true) if given.doubts => f64::from(u8::from(yes)) / 2.0,
        Some(said) => f64::from(u8::from(said == yes)),
        None => 0.0,
    }
}

fn near(truth: f64, found: f64, tolerance: Tolerance) -> f64 {
    let away = (found - truth).abs() / truth;
    // A share of a size is no exact number: the bounds themselves are within.
    let within = |share: f64| away <= share + 1e-9;
    if within(tolerance.right) {
        1.0
    } else if within(tolerance.partly) {
        0.5
    } else {
        0.0
    }
}

/// The mean over what the truth names, of which nothing may be wrong outright.
fn slots(truth: &Statement, given: &Statement) -> f64 {
    if given.denies {
        return 0.0;
    }
    let mut grades = Vec::new();
    if truth.sides != Sides::default() {
        grades.push(side_grade(truth.sides, given.sides));
    }
    if !truth.zones.is_empty() {
        grades.push(zone_grade(&truth.zones, &given.zones));
    }
    if let (Some(level), found) = (truth.level, given.level) {
        grades.push(found.map_or(0.0, |found| level_grade(level, found)));
    }
    let mean = grades.iter().sum::<f64>() / grades.len().max(1) as f64;
    if mean >= 1.0 {
        1.0
    } else if mean >= 0.5 {
        0.5
    } else {
        0.0
    }
}

fn side_grade(truth: Sides, given: Sides) -> f64 {
    if truth == given {
        1.0
    } else if (truth.left && given.left) || (truth.right && given.right) {
        0.5
    } else {
        0.0
    }
}

fn zone_grade(truth: &BTreeSet<&str>, given: &BTreeSet<&str>) -> f64 {
    if truth == given {
        1.0
    } else if truth.intersection(given).next().is_some() {
        0.5
    } else {
        0.0
    }
}

fn level_grade(truth: f64, given: f64) -> f64 {
    let away = (truth - given).abs();
    if away < 0.25 {
        1.0
    } else if away <= 1.0 {
        0.5
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn grade(question: &str, truth: &str, answer: &str) -> Option<f64> {
        grade_answer(question, truth, answer, Tolerance::default()).unwrap()
    }

    #[test]
    fn closed_questions_are_graded_by_what_the_answer_affirms() {
        let question = "Is there evidence of pleural effusion?";
        for (truth, answer, expected) in [
            ("yes", "Yes.", 1.0),
            ("yes", "yes, a small left effusion", 1.0),
            ("yes", "There is a left pleural effusion.", 1.0),
            ("yes", "No evidence of effusion.", 0.0),
            ("yes", "No", 0.0),
            ("yes", "Possibly a small effusion", 0.5),
            ("yes", "possibly", 0.5),
            ("yes", "", 0.0),
            ("yes", "The heart is enlarged.", 0.0),
            ("no", "no", 1.0),
            ("no", "There is no pleural effusion", 1.0),
            ("no", "Possibly", 0.0),
            ("no", "Yes", 0.0),
            ("No", "The costophrenic angles are sharp, without effusion", 1.0),
            ("no", "yes and no", 0.0),
            ("yes", "Large left pleural effusion without pneumothorax.", 1.0),
            ("no", "Large left pleural effusion without pneumothorax.", 0.0),
            ("yes", "Pleural effusion is present; the heart is not enlarged.", 1.0),
            ("yes", "No pneumothorax.", 0.0),
        ] {
            assert_eq!(grade(question, truth, answer), Some(expected), "{truth}: {answer}");
        }
    }

    #[test]
    fn places_and_degrees_have_halves() {
        for (truth, answer, expected) in [
            ("left", "on the left side", 1.0),
            ("left", "right", 0.0),
            ("left", "both sides", 0.5),
            ("both", "bilateral", 1.0),
            ("both", "left and right", 1.0),
            ("both", "right", 0.5),
            ("left", "not on the left", 0.0),
            ("right lower", "right lung base", 1.0),
            ("right lower", "right upper lobe", 0.5),
            ("right lower", "left apex", 0.0),
            ("small", "It is a small effusion.", 1.0),
            ("small", "moderate", 0.5),
            ("small", "large", 0.0),
            ("mild", "slight", 1.0),
            ("severe", "mild to moderate", 0.0),
            ("moderate", "mild to moderate", 0.5),
            ("minimally displaced", "displaced", 0.5),
            ("moderate", "I do not know", 0.0),
        ] {
            assert_eq!(grade("?", truth, answer), Some(expected), "{truth}: {answer}");
        }
    }

    #[test]
    fn sizes_and_numbers() {
        for (truth, answer, expected) in [
            ("14 mm", "1.4 cm", 1.0),
            ("20 mm", "about 24 mm", 1.0),
            ("20 mm", "28 mm", 0.5),
            ("20 mm", "29 mm", 0.0),
            ("20 mm", "large", 0.0),
            ("20 mm", "20", 1.0),
            ("two", "2", 1.0),
            ("2", "three", 0.0),
        ] {
            assert_eq!(grade("How large?", truth, answer), Some(expected), "{truth}: {answer}");
        }
    }

    #[test]
    fn open_answers_are_left_to_a_judge_unless_they_are_the_same() {
        assert_eq!(grade("What is it?", "Pneumoperitoneum", "free air"), None);
        assert_eq!(grade("What is it?", "Free air.", "free air"), Some(1.0));
        let endless = "no effusion ".repeat(100_000);
        assert_eq!(grade(&endless, "yes", &endless), Some(0.0));
        assert_eq!(grade("Where?", "in the left lung near the carina", "left"), None);
        let error = grade_answer("", " ", "yes", Tolerance::default()).unwrap_err().to_string();
        assert_eq!(error, "truth: found nothing, expected an answer to compare with");
        let odd = Tolerance { right: 0.5, partly: 0.1 };
        assert!(grade_answer("", "yes", "yes", odd).is_err());
    }

    proptest! {
        #[test]
        fn every_grade_is_one_of_three_and_the_truth_is_right(
            truth in "(yes|no|left|both|right upper|mild|14 mm|2|[a-z ]{1,20})",
            answer in "[ -~]{0,40}",
        ) {
            prop_assume!(!truth.trim().is_empty());
            prop_assert_eq!(grade("", &truth, &truth), Some(1.0));
            let grade = grade("Is there an effusion?", &truth, &answer);
            prop_assert!(grade.is_none_or(|g| [0.0, 0.5, 1.0].contains(&g)));
        }
    }
}
