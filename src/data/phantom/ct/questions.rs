//! Questions about a scan whose answers follow from its truth: M3FM's tasks in words.

use super::clinic::Case;
use super::finding::{Attenuation, Finding, Nodule};
use crate::data::Question;
use crate::random::Random;

/// One question of a finding that is there and one of one that is not, all that is asked of the
/// largest nodule, the Lung-RADS category, the calcium, and one of the record.
pub(super) fn questions(case: &Case, random: &mut Random) -> Vec<Question> {
    let mut asked = Vec::new();
    let mut ask = |question: String, answer: String, form: &str, topic: &str| {
        asked.push(Question { question, answer, form: form.to_owned(), topic: topic.to_owned() });
    };
    for (answer, there) in [("yes", true), ("no", false)] {
        let findings: Vec<Finding> =
            Finding::ALL.into_iter().filter(|finding| case.has(*finding) == there).collect();
        if !findings.is_empty() {
            let name = random.choose(&findings).name();
            let text = match random.below(2) {
                0 => format!("Is there evidence of {name}?"),
                _ => format!("Does the scan show {name}?"),
            };
            ask(text, answer.to_owned(), "closed", "presence");
        }
    }
    if let Some(nodule) = case.largest() {
        let which = if case.nodules.len() > 1 { "largest nodule" } else { "nodule" };
        ask(format!("Where is the {which}?"), nodule.lobe.name(), "closed", "location");
        let attenuation = nodule.attenuation.name().to_owned();
        ask(
            format!("What is the attenuation of the {which}?"),
            attenuation,
            "closed",
            "attenuation",
        );
        let margin = nodule.margin.name().to_owned();
        ask(format!("What is the margin of the {which}?"), margin, "closed", "margin");
        let size = size_group(nodule.diameter).to_owned();
        ask(format!("How large is the {which}?"), size, "closed", "size");
    }
    ask(
        "What is the Lung-RADS category?".to_owned(),
        lung_rads(case).to_string(),
        "closed",
        "category",
    );
    if case.has(Finding::Calcium) {
        let score = format!("{:.0}", case.calcium_score());
        ask("What is the coronary calcium score?".to_owned(), score, "open", "score");
    }
    let (name, words) = *random.choose(&[
        ("diabetes", "diabetes"),
        ("copd", "COPD"),
        ("hypertension", "hypertension"),
    ]);
    let answer = if case.patient.has(name) { "yes" } else { "no" };
    ask(
        format!("Has the patient been diagnosed with {words}?"),
        answer.to_owned(),
        "closed",
        "record",
    );
    asked
}

/// The six groups of nodule sizes that M3FM tells apart.
pub(super) fn size_group(diameter: f32) -> &'static str {
    match diameter {
        ..=4.0 => "4 mm or less",
        ..=6.0 => "4 to 6 mm",
        ..=8.0 => "6 to 8 mm",
        ..=15.0 => "8 to 15 mm",
        ..=30.0 => "15 to 30 mm",
        _ => "over 30 mm",
    }
}

/// Lung-RADS v1.1 of a first scan, 1 to 4, from the worst nodule.
pub(super) fn lung_rads(case: &Case) -> u8 {
    let category = |nodule: &Nodule| match (nodule.attenuation, nodule.diameter) {
        (Attenuation::Solid | Attenuation::PartSolid, d) if d < 6.0 => 2,
        (Attenuation::Solid, d) if d < 8.0 => 3,
        // The solid core is half as wide as the whole.
        (Attenuation::PartSolid, d) if 0.52 * d < 6.0 => 3,
        (Attenuation::Solid | Attenuation::PartSolid, _) => 4,
        (Attenuation::GroundGlass, d) if d < 30.0 => 2,
        (Attenuation::GroundGlass, _) => 3,
    };
    case.nodules.iter().map(category).max().unwrap_or(1)
}
