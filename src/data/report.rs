//! The sections of a free-text report, found by its headings.

use super::Report;

/// Heading words, and which section they begin; `None` is text that no section keeps.
const HEADINGS: &[(&str, Option<Section>)] = &[
    ("findings", Some(Section::Findings)),
    ("finding", Some(Section::Findings)),
    ("impression", Some(Section::Impression)),
    ("conclusion", Some(Section::Impression)),
    ("indication", Some(Section::Indication)),
    ("clinical indication", Some(Section::Indication)),
    ("history", Some(Section::Indication)),
    ("clinical history", Some(Section::Indication)),
    ("reason for exam", Some(Section::Indication)),
    ("reason for examination", Some(Section::Indication)),
    ("examination", None),
    ("exam", None),
    ("technique", None),
    ("comparison", None),
    ("comparisons", None),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Section {
    Indication,
    Findings,
    Impression,
}

impl Report {
    /// The sections of `text`; a text without headings is all findings.
    ///
    /// A heading is a known word and a colon at the start of a line, or in capitals anywhere.
    /// Technique and comparison are left out.
    pub fn parse(text: &str) -> Self {
        let mut report = Self::default();
        let mut section = Some(Section::Findings);
        let mut from = 0;
        for (colon, _) in text.match_indices(':') {
            if let Some((start, next)) = heading_before(text, colon) {
                report.add(section, &text[from..start.max(from)]);
                (section, from) = (next, colon + 1);
            }
        }
        report.add(section, &text[from..]);
        report
    }

    fn add(&mut self, section: Option<Section>, text: &str) {
        let target = match section {
            Some(Section::Indication) => &mut self.indication,
            Some(Section::Findings) => &mut self.findings,
            Some(Section::Impression) => &mut self.impression,
            None => return,
        };
        let text = text.trim();
        if !target.is_empty() && !text.is_empty() {
            target.push(' ');
        }
        target.push_str(text);
    }
}

/// Where the heading that ends at `colon` starts, and what it begins.
fn heading_before(text: &str, colon: usize) -> Option<(usize, Option<Section>)> {
    let head = &text[..colon];
    let longest_first = HEADINGS.iter().filter_map(|(word, section)| {
        let start = colon.checked_sub(word.len())?;
        let found = head.get(start..)?;
        let before = head[..start].chars().next_back();
        let begins_line = head[..start].trim_end_matches([' ', '\t']).chars().next_back();
        let begins_line = begins_line.is_none_or(|c| c == '\n' || c == '\r');
        let capitals =
            found.chars().all(|c| !c.is_lowercase()) && before.is_none_or(|c| !c.is_alphanumeric());
        let fits = found.eq_ignore_ascii_case(word) && (begins_line || capitals);
        fits.then_some((start, *section))
    });
    longest_first.min_by_key(|(start, _)| *start)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sections_are_found_by_their_headings() {
        let text = "EXAMINATION: Chest PA.\nINDICATION: Cough.\nTechnique: two views\n\
                    FINDINGS: Clear lungs. Line: none.\nIMPRESSION: Normal.";
        let report = Report::parse(text);
        assert_eq!(report.indication, "Cough.");
        assert_eq!(report.findings, "Clear lungs. Line: none.");
        assert_eq!(report.impression, "Normal.");
    }

    #[test]
    fn headings_in_one_line_count_when_in_capitals() {
        let report = Report::parse("FINDINGS: No edema. IMPRESSION: Normal. other findings: none");
        assert_eq!(report.findings, "No edema.");
        assert_eq!(report.impression, "Normal. other findings: none");
    }

    #[test]
    fn a_text_without_headings_is_findings() {
        let report = Report::parse("Small effusion on the left.");
        assert_eq!(report.findings, "Small effusion on the left.");
        assert_eq!(report.text(), "Small effusion on the left.");
    }

    proptest! {
        #[test]
        fn any_text_is_parsed(text in "(?s).{0,60}(FINDINGS:)?.{0,60}(é|:){0,3}") {
            Report::parse(&text);
        }
    }
}
