//! What a whole report claims, finding by finding.

use super::lexicon::{Sort, lexicon};
use super::reading::{Reading, Says};
use super::sentence::sentences;
use super::statement::{Sides, read_statement};
use super::wording::level;

/// What one sentence says of one finding.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    /// The finding, as the word lists name it.
    pub finding: &'static str,
    /// Present, absent, or `None` for in doubt.
    pub present: Option<bool>,
    /// Sides that the sentence names.
    pub sides: Sides,
    /// Its degree, 0 to 2.
    pub level: Option<usize>,
}

/// The claims of a report about findings, in order; devices are left out.
pub fn claims(report: &str) -> Vec<Claim> {
    let mut found = Vec::new();
    for sentence in sentences(report) {
        let body = &report[sentence.body];
        let reading = Reading::of(body);
        let sides = read_statement(body).sides;
        for mention in &reading.mentions {
            let topic = &lexicon().topics[mention.topic];
            if topic.sort == Sort::Finding {
                let present = match mention.says {
                    Says::Present => Some(true),
                    Says::Absent => Some(false),
                    Says::Doubtful => None,
                };
                let level = if present == Some(true) { level(&reading, topic) } else { None };
                found.push(Claim { finding: &topic.name, present, sides, level });
            }
        }
    }
    found
}

/// The name that the word lists give to a label, if they know it.
pub fn finding_called(label: &str) -> Option<&'static str> {
    let findings = lexicon().topics.iter().filter(|topic| topic.sort == Sort::Finding);
    findings.into_iter().find(|topic| topic.is_called(label)).map(|topic| topic.name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_read_sentence_by_sentence() {
        let found = claims("Small left effusion, no edema. The heart is enlarged. ET tube.");
        let of = |finding: &str| found.iter().find(|claim| claim.finding == finding).unwrap();
        let fluid = of("pleural effusion");
        assert_eq!((fluid.present, fluid.level), (Some(true), Some(0)));
        assert!(fluid.sides.left && !fluid.sides.right);
        assert_eq!(of("edema").present, Some(false));
        assert_eq!(of("cardiomegaly").level, None);
        assert_eq!(found.len(), 3);
        assert_eq!(finding_called("Pulmonary Edema"), Some("edema"));
        assert_eq!(finding_called("support devices"), None);
    }
}
