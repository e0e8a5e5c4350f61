//! Name patterns without regular expressions: `{i}` is a number, `{text}` any text, `*` anything.

/// One piece of a pattern.
#[derive(Clone, Debug, PartialEq)]
enum Piece {
    Literal(String),
    /// Digits, remembered under a name of one letter.
    Number(String),
    /// At least one character of any kind, remembered under a name.
    Text(String),
    /// Any text or none, forgotten.
    Anything,
}

/// A pattern over whole names.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pattern(Vec<Piece>);

/// What the placeholders of a pattern stood for.
pub(super) type Captures<'a> = Vec<(&'a str, &'a str)>;

impl Pattern {
    /// Parses `text`; a one-letter placeholder is a number, a longer one any text.
    pub(super) fn new(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let special = rest.find(['{', '*']).unwrap_or(rest.len());
            if special > 0 {
                pieces.push(Piece::Literal(rest[..special].to_owned()));
                rest = &rest[special..];
            } else if let Some(after) = rest.strip_prefix('*') {
                pieces.push(Piece::Anything);
                rest = after;
            } else {
                let end = rest.find('}').ok_or_else(|| format!("pattern {text:?} lacks a }}"))?;
                let name = rest[1..end].to_owned();
                pieces.push(match name.len() {
                    0 => return Err(format!("pattern {text:?} has an empty placeholder")),
                    1 => Piece::Number(name),
                    _ => Piece::Text(name),
                });
                rest = &rest[end + 1..];
            }
        }
        Ok(Self(pieces))
    }

    /// What the placeholders stand for when all of `name` fits.
    pub(super) fn matches<'a>(&'a self, name: &'a str) -> Option<Captures<'a>> {
        let mut captures = Vec::new();
        fits(&self.0, name, &mut captures).then_some(captures)
    }

    /// The name with its placeholders filled in; `None` if `captures` lacks one.
    pub(super) fn fill(&self, captures: &Captures<'_>) -> Option<String> {
        self.0.iter().try_fold(String::new(), |name, piece| match piece {
            Piece::Literal(text) => Some(name + text),
            Piece::Number(key) | Piece::Text(key) => {
                Some(name + captures.iter().find(|(known, _)| known == key)?.1)
            }
            Piece::Anything => None,
        })
    }

    /// The names of the placeholders.
    pub(super) fn placeholders(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Number(name) | Piece::Text(name) => Some(name.as_str()),
            Piece::Anything => Some("*"),
            Piece::Literal(_) => None,
        })
    }
}

/// Names are short and patterns have few placeholders, so trying lengths in turn is fast.
fn fits<'a>(pieces: &'a [Piece], name: &'a str, captures: &mut Captures<'a>) -> bool {
    let Some((first, others)) = pieces.split_first() else {
        return name.is_empty();
    };
    let (key, shortest, longest) = match first {
        Piece::Literal(text) => {
            return name.strip_prefix(text.as_str()).is_some_and(|n| fits(others, n, captures));
        }
        Piece::Number(key) => {
            let digits = name.bytes().take_while(u8::is_ascii_digit).count();
            (Some(key), digits.max(1), digits) // all digits or none: 1 must not match 12
        }
        Piece::Text(key) => (Some(key), 1, name.len()),
        Piece::Anything => (None, 0, name.len()),
    };
    for length in (shortest..=longest).filter(|&length| name.is_char_boundary(length)) {
        let before = captures.len();
        captures.extend(key.map(|key| (key.as_str(), &name[..length])));
        if fits(others, &name[length..], captures) {
            return true;
        }
        captures.truncate(before);
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rename(from: &str, to: &str, name: &str) -> Option<String> {
        let (from, to) = (Pattern::new(from).unwrap(), Pattern::new(to).unwrap());
        from.matches(name).and_then(|captures| to.fill(&captures))
    }

    #[test]
    fn placeholders_carry_numbers_and_text_over() {
        let (from, to) = ("layer.{i}.q.{part}", "blocks.{i}.attn.{part}");
        assert_eq!(rename(from, to, "layer.12.q.weight").unwrap(), "blocks.12.attn.weight");
        assert_eq!(rename(from, to, "layer.x.q.weight"), None);
        assert_eq!(rename(from, to, "layer.1.q."), None);
        let gamma = rename("{rest}.gamma", "{rest}.weight", "a.gamma.norm.gamma");
        assert_eq!(gamma.unwrap(), "a.gamma.norm.weight");
    }

    #[test]
    fn a_star_matches_anything_and_nothing() {
        let pattern = Pattern::new("*position_ids").unwrap();
        assert!(pattern.matches("position_ids").is_some());
        assert!(pattern.matches("a.b.position_ids").is_some());
        assert!(pattern.matches("position_ids.a").is_none());
    }

    #[test]
    fn a_broken_pattern_is_named() {
        assert_eq!(Pattern::new("a.{i").unwrap_err(), "pattern \"a.{i\" lacks a }");
        assert_eq!(Pattern::new("a.{}").unwrap_err(), "pattern \"a.{}\" has an empty placeholder");
    }
}
