//! Where the sentences of a report begin and end.

use std::ops::Range;

use super::lexicon::{Term, lexicon};
use super::reading::{places, words};

/// A sentence of a section, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sentence {
    /// A number ("2. "), bullet or heading before it; empty where there is none.
    pub(super) marker: Range<usize>,
    /// Its words and its stop.
    pub(super) body: Range<usize>,
}

/// The most bytes before a sentence ends at the next white space: what is longer is none, and
/// reading takes time that grows with the square.
const LONGEST: usize = 2000;

/// The start of a text that may be read as one sentence.
pub(super) fn opening(text: &str) -> &str {
    &text[..next_boundary(text, text.len().min(LONGEST))]
}

/// The text with each sentence as `say` says it, and all between them as it is.
pub(super) fn said_anew(text: &str, mut say: impl FnMut(&str) -> Option<String>) -> String {
    let mut out = String::new();
    let mut from = 0;
    for sentence in sentences(text) {
        out.push_str(&text[from..sentence.body.start]);
        from = sentence.body.end;
        let own = &text[sentence.body];
        out.push_str(say(own).as_deref().unwrap_or(own));
    }
    out + &text[from..]
}

/// The sentences of `text`, in order; what lies between them is white space.
///
/// A stop ends a sentence when white space and no small letter follow, or any letter in a text
/// without capitals. Stops in numbers
/// ("5.2 cm"), of list numbers ("1. ") and of abbreviations end none; a blank line does, and so
/// does a line that begins with a list number or a bullet. Other line ends are only wrapping.
pub(super) fn sentences(text: &str) -> Vec<Sentence> {
    let mut found = Vec::new();
    let small = !text.contains(char::is_uppercase);
    let mut from = skip_space(text, 0);
    while from < text.len() {
        let marker = from..from + marker_length(&text[from..]);
        let start = marker.end;
        let end = end_of_sentence(text, start, small);
        let body = start..start + text[start..end].trim_end().len();
        if !body.is_empty() || !marker.is_empty() {
            found.push(Sentence { marker, body });
        }
        from = skip_space(text, end.max(from + 1));
    }
    found
}

fn skip_space(text: &str, from: usize) -> usize {
    let Some(rest) = text.get(from..) else { return next_boundary(text, from) };
    from + (rest.len() - rest.trim_start().len())
}

fn next_boundary(text: &str, from: usize) -> usize {
    (from..=text.len()).find(|&i| text.is_char_boundary(i)).unwrap_or(text.len())
}

/// The length of a list number, bullet or heading with the space after it; 0 without one.
fn marker_length(text: &str) -> usize {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let bullet = text.starts_with(['-', '*', '•']);
    let sign = if (1..=2).contains(&digits) && text[digits..].starts_with(['.', ')']) {
        digits + 1
    } else if bullet {
        text.chars().next().map_or(0, char::len_utf8)
    } else {
        heading_length(text)
    };
    let rest = &text[sign..];
    let space = rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\r']).len();
    // "1.5 cm" and "-5 HU" are no markers.
    if sign == 0 || (space == 0 && !rest.is_empty()) { 0 } else { sign + space }
}

/// The length of capitals and a colon at the start: "FINDINGS:". "HEART:" tells what its sentence
/// is about, and stays with it.
fn heading_length(text: &str) -> usize {
    let Some(colon) = text.bytes().take(31).position(|byte| byte == b':') else { return 0 };
    let capitals = text[..colon].chars().all(|c| c.is_ascii_uppercase() || c == ' ' || c == '/');
    if colon > 1 && capitals && !tells(&text[..colon]) { colon + 1 } else { 0 }
}

/// Whether a heading names an organ, a finding or a device.
fn tells(heading: &str) -> bool {
    let words = words(heading);
    let named = |terms: &[Term]| !places(&words, terms).is_empty();
    words.iter().any(|word| lexicon().organs.contains(&word.lower))
        || lexicon().topics.iter().any(|topic| named(&topic.terms))
}

fn end_of_sentence(text: &str, start: usize, small: bool) -> usize {
    for (offset, character) in text[start..].char_indices() {
        let at = start + offset;
        let after = at + character.len_utf8();
        match character {
            '.' | '!' | '?' if ends_here(text, start..at, after, small) => return after,
            c if offset >= LONGEST && c.is_whitespace() => return at,
            '\n' if new_line_begins_sentence(&text[after..]) => return at,
            _ => {}
        }
    }
    text.len()
}

fn new_line_begins_sentence(rest: &str) -> bool {
    let line = rest.trim_start_matches([' ', '\t', '\r']);
    line.starts_with('\n') || marker_length(line) > 0
}

/// Whether a stop before byte `after` ends the sentence `before` it; in a text of small letters
/// alone they begin sentences too.
fn ends_here(text: &str, before: Range<usize>, after: usize, small: bool) -> bool {
    let rest = &text[after..];
    let next = rest.trim_start();
    if next.len() == rest.len() {
        return rest.is_empty();
    }
    if next.starts_with(char::is_lowercase) && !small {
        return false;
    }
    let word = text[before].rsplit(char::is_whitespace).next().unwrap_or_default();
    let word = word.trim_start_matches(['(', '"']).to_lowercase();
    !lexicon().abbreviations.contains(&word)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(text: &str) -> Vec<(&str, &str)> {
        let found = sentences(text);
        found.into_iter().map(|s| (&text[s.marker], &text[s.body])).collect()
    }

    #[test]
    fn numbers_sizes_and_abbreviations_end_no_sentence() {
        let text =
            "1. There is a 5.2 cm mass, approx. 3 mm larger. 2. No effusion vs. 2014.\n3) Normal";
        let expected = [
            ("1. ", "There is a 5.2 cm mass, approx. 3 mm larger."),
            ("2. ", "No effusion vs. 2014."),
            ("3) ", "Normal"),
        ];
        assert_eq!(split(text), expected);
    }

    #[test]
    fn wrapped_lines_are_one_sentence_and_blank_lines_end_one() {
        let text = "FINDINGS: The heart\nis enlarged\n\nNo effusion.  Lungs\nclear.\n- Tube";
        let expected = [
            ("FINDINGS: ", "The heart\nis enlarged"),
            ("", "No effusion."),
            ("", "Lungs\nclear."),
            ("- ", "Tube"),
        ];
        assert_eq!(split(text), expected);
    }

    #[test]
    fn headings_that_name_an_organ_belong_to_their_sentence() {
        assert_eq!(split("IMPRESSION: Normal."), [("IMPRESSION: ", "Normal.")]);
        assert_eq!(split("HEART: Normal."), [("", "HEART: Normal.")]);
        assert_eq!(split("PLEURAL EFFUSION: Small."), [("", "PLEURAL EFFUSION: Small.")]);
    }

    #[test]
    fn units_and_small_letters_after_a_stop() {
        assert_eq!(split("It is 3 cm. The rest is clear.").len(), 2);
        assert_eq!(split("A 3 mm. nodule").len(), 1);
        assert_eq!(split("no effusion . the heart is enlarged .").len(), 2);
        assert!(split("  \n ").is_empty() && split("").is_empty());
    }

    #[test]
    fn a_text_without_stops_is_cut() {
        let endless = "no effusion or ".repeat(100_000);
        let found = sentences(&endless);
        assert!(found.iter().all(|s| s.body.len() <= LONGEST + 20) && found.len() > 700);
        assert_eq!(sentences(&"no effusion. ".repeat(100_000)).len(), 100_000);
        assert_eq!(opening(&"é".repeat(5000)).len(), LONGEST);
    }

    proptest! {
        #[test]
        fn sentences_are_in_order_and_only_space_lies_between(
            text in "[a-zA-Z0-9 .:?!é\\n•\u{2003}()-]{0,120}"
        ) {
            let mut end = 0;
            for sentence in sentences(&text) {
                prop_assert!(text[end..sentence.marker.start].trim().is_empty());
                prop_assert_eq!(sentence.marker.end, sentence.body.start);
                end = sentence.body.end;
            }
            prop_assert!(text[end..].trim().is_empty());
        }
    }
}
