//! The words of a filter, each with its place.

use super::{Comparison, Position};
use crate::{Error, Result};

/// The longest filter read; beyond it, a list of keys belongs in `delete` or in a column.
const LONGEST: usize = 65_536;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Name(String),
    Text(String),
    Number(f64),
    Compare(Comparison),
    Word(Word),
    Open,
    Close,
    Comma,
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    And,
    Or,
    Not,
    In,
    Is,
    Null,
    True,
    False,
}

const WORDS: [(&str, Word); 8] = [
    ("and", Word::And),
    ("or", Word::Or),
    ("not", Word::Not),
    ("in", Word::In),
    ("is", Word::Is),
    ("null", Word::Null),
    ("true", Word::True),
    ("false", Word::False),
];

pub(super) fn wrong(position: Position, why: impl std::fmt::Display) -> Error {
    Error::value("where", format!("at character {position}: {why}"))
}

/// Splits `text`; the last token is always [`Token::End`].
pub(super) fn split(text: &str) -> Result<Vec<(Token, Position)>> {
    let chars: Vec<char> = text.chars().collect();
    if chars.len() > LONGEST {
        return Err(wrong(LONGEST, format!("longer than {LONGEST} characters")));
    }
    let (mut tokens, mut at) = (Vec::new(), 0);
    while at < chars.len() {
        if chars[at].is_whitespace() {
            at += 1;
            continue;
        }
        let (token, length) = token(&chars[at..], at + 1)?;
        tokens.push((token, at + 1));
        at += length;
    }
    tokens.push((Token::End, chars.len() + 1));
    Ok(tokens)
}

fn token(chars: &[char], position: Position) -> Result<(Token, usize)> {
    let second = chars.get(1).copied();
    let compare = |comparison, length| Ok((Token::Compare(comparison), length));
    match chars[0] {
        '(' => Ok((Token::Open, 1)),
        ')' => Ok((Token::Close, 1)),
        ',' => Ok((Token::Comma, 1)),
        '=' => compare(Comparison::Equal, if second == Some('=') { 2 } else { 1 }),
        '!' if second == Some('=') => compare(Comparison::Unequal, 2),
        '<' if second == Some('>') => compare(Comparison::Unequal, 2),
        '<' if second == Some('=') => compare(Comparison::AtMost, 2),
        '<' => compare(Comparison::Less, 1),
        '>' if second == Some('=') => compare(Comparison::AtLeast, 2),
        '>' => compare(Comparison::Greater, 1),
        quote @ ('\'' | '"') => {
            let (text, length) = quoted(chars, quote, position)?;
            Ok((Token::Text(text), length))
        }
        '`' => {
            let (name, length) = quoted(chars, '`', position)?;
            Ok((Token::Name(name), length))
        }
        c if c.is_alphabetic() || c == '_' => {
            let name = run(chars, |c| c.is_alphanumeric() || c == '_');
            let length = name.chars().count();
            let word = WORDS.iter().find(|(word, _)| name.eq_ignore_ascii_case(word));
            Ok((word.map_or_else(|| Token::Name(name), |&(_, word)| Token::Word(word)), length))
        }
        c if c.is_ascii_digit() || matches!(c, '-' | '+' | '.') => number(chars, position),
        c => {
            Err(wrong(position, format!("found {c:?}, expected a column, a value or an operator")))
        }
    }
}

fn run(chars: &[char], part: impl Fn(char) -> bool) -> String {
    chars.iter().take_while(|&&c| part(c)).collect()
}

/// Text up to the closing quote; a doubled quote stands for itself.
fn quoted(chars: &[char], quote: char, position: Position) -> Result<(String, usize)> {
    let (mut text, mut at) = (String::new(), 1);
    while let Some(&c) = chars.get(at) {
        if c != quote {
            text.push(c);
            at += 1;
        } else if chars.get(at + 1) == Some(&quote) {
            text.push(quote);
            at += 2;
        } else {
            return Ok((text, at + 1));
        }
    }
    Err(wrong(position, format!("the quote {quote} is never closed")))
}

fn number(chars: &[char], position: Position) -> Result<(Token, usize)> {
    let mut length = 1;
    while let Some(&c) = chars.get(length) {
        let sign = matches!(c, '-' | '+') && matches!(chars[length - 1], 'e' | 'E');
        if !(c.is_ascii_alphanumeric() || c == '.' || sign) {
            break;
        }
        length += 1;
    }
    let text: String = chars[..length].iter().collect();
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok((Token::Number(number), length)),
        _ => Err(wrong(position, format!("{text:?} is no number; text needs quotes"))),
    }
}
