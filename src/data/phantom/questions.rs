//! Questions about a study whose answers follow from its truth.

use super::super::Question;
use super::clinic::Case;
use super::finding::{Finding, Side};
use crate::random::Random;

/// Four questions or fewer: one of a finding that is there, one of one that is not, then where and
/// how much.
#[allow(clippy::float_cmp)] // labels are 0, 1, -1 or NaN, exactly
pub(super) fn questions(case: &Case, labels: &[f32], random: &mut Random) -> Vec<Question> {
    let with = |label: f32| -> Vec<Finding> {
        Finding::ALL.into_iter().filter(|finding| labels[*finding as usize] == label).collect()
    };
    let mut asked = Vec::new();
    for (answer, findings) in [("yes", with(1.0)), ("no", with(0.0))] {
        if !findings.is_empty() {
            let finding = *random.choose(&findings);
            asked.push(question(&presence(finding, random), answer, "closed", "presence"));
        }
    }
    let seen: Vec<_> =
        case.lesions.iter().filter(|lesion| labels[lesion.finding as usize] == 1.0).collect();
    if seen.is_empty() {
        return asked;
    }
    let lesion = *random.choose(&seen);
    let name = lesion.finding.name();
    match lesion.side {
        Side::None => {}
        Side::Both => {
            asked.push(question(
                &format!("On which side is the {name}?"),
                "both",
                "open",
                "location",
            ));
        }
        side => {
            let text = format!("On which side is the {name}?");
            asked.push(question(&text, side.name(), "open", "location"));
        }
    }
    let severity = lesion.attributes().severity;
    let text = match lesion.finding {
        Finding::Nodule => "What is the diameter of the lung nodule?".to_owned(),
        Finding::Effusion | Finding::Pneumothorax => format!("How large is the {name}?"),
        _ => format!("How severe is the {name}?"),
    };
    if !severity.is_empty() {
        asked.push(question(&text, &severity, "open", "severity"));
    }
    asked
}

fn presence(finding: Finding, random: &mut Random) -> String {
    let name = finding.name();
    match (finding, random.below(2)) {
        (Finding::Devices, _) => "Are there support devices?".to_owned(),
        (_, 0) => format!("Is there evidence of {name}?"),
        _ => format!("Does the film show {name}?"),
    }
}

fn question(text: &str, answer: &str, form: &str, topic: &str) -> Question {
    Question {
        question: text.to_owned(),
        answer: answer.to_owned(),
        form: form.to_owned(),
        topic: topic.to_owned(),
    }
}
