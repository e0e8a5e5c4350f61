//! One value of a manifest, read as what it should be, or refused with its place.

use std::fmt;

use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use crate::{Error, Result};

/// Where a row stands: `films.csv, line 7` or `rows, row 5`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) source: &'a str,
    pub(super) unit: &'a str,
    pub(super) number: usize,
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {} {}", self.source, self.unit, self.number)
    }
}

impl Place<'_> {
    /// An error about the whole row.
    pub(super) fn error(&self, why: impl Into<String>) -> Error {
        Error::Manifest { place: self.to_string(), why: why.into() }
    }
}

/// One value with its place and the name of its column.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cell<'a> {
    pub(super) place: Place<'a>,
    pub(super) column: &'a str,
    pub(super) value: &'a Json,
}

impl Cell<'_> {
    /// An error about this value.
    pub(super) fn error(&self, why: impl Into<String>) -> Error {
        let place = format!("{}, column `{}`", self.place, self.column);
        Error::Manifest { place, why: why.into() }
    }

    /// The error of a value that is not what was `expected`.
    pub(super) fn unexpected(&self, expected: &str) -> Error {
        self.error(format!("found {}, expected {expected}", shortened(self.value)))
    }

    /// Whether the value is missing.
    pub(super) fn is_blank(&self) -> bool {
        match self.value {
            Json::Null => true,
            Json::String(text) => text.trim().is_empty(),
            _ => false,
        }
    }

    /// A text; empty when missing.
    pub(super) fn text(&self) -> Result<String> {
        match self.value {
            Json::Null => Ok(String::new()),
            Json::String(text) => Ok(text.clone()),
            _ => Err(self.unexpected("text")),
        }
    }

    /// An id: text or a whole number, never blank. The value is not repeated in the error.
    pub(super) fn id(&self) -> Result<String> {
        let id = match self.value {
            Json::String(text) => text.trim().to_owned(),
            Json::Number(number) => {
                let whole = number.as_f64().filter(|v| v.fract() == 0.0 && v.abs() < 1e15);
                whole.map_or_else(|| number.to_string(), |v| format!("{v:.0}"))
            }
            _ => String::new(),
        };
        if id.is_empty() {
            return Err(self.error("found no id, expected text or a whole number"));
        }
        Ok(id)
    }

    /// A label: 1, 0, −1, or NaN when missing.
    pub(super) fn label(&self) -> Result<f32> {
        let number = match self.value {
            _ if self.is_blank() => return Ok(f32::NAN),
            Json::Bool(present) => Some(f64::from(u8::from(*present))),
            Json::Number(number) => number.as_f64(),
            Json::String(text) if text.trim().eq_ignore_ascii_case("nan") => return Ok(f32::NAN),
            Json::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        number
            .filter(|number| [1.0, 0.0, -1.0].contains(number))
            .map(|number| number as f32)
            .ok_or_else(|| self.unexpected("1, 0, -1 or blank"))
    }

    /// A list or mapping; a text that holds JSON, as in CSV, is read first. `None` when missing.
    pub(super) fn structure(&self) -> Result<Option<Json>> {
        match self.value {
            _ if self.is_blank() => Ok(None),
            Json::String(text) if text.trim_start().starts_with(['[', '{']) => {
                let parsed = serde_json::from_str(text);
                parsed.map(Some).map_err(|why| self.error(format!("found broken JSON: {why}")))
            }
            other => Ok(Some(other.clone())),
        }
    }

    /// A list of `T`; empty when missing.
    pub(super) fn list<T: DeserializeOwned>(&self, expected: &str) -> Result<Vec<T>> {
        match self.structure()? {
            None => Ok(Vec::new()),
            Some(json @ Json::Array(_)) => serde_json::from_value(json)
                .map_err(|why| self.error(format!("{why}; expected {expected}"))),
            Some(_) => Err(self.unexpected(expected)),
        }
    }
}

/// A value as an error shows it: at most 40 characters.
fn shortened(value: &Json) -> String {
    let text = value.to_string();
    if text.chars().count() <= 40 {
        return text;
    }
    text.chars().take(37).chain("...".chars()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn label(value: Json) -> Result<f32> {
        let place = Place { source: "films.csv", unit: "line", number: 7 };
        Cell { place, column: "Edema", value: &value }.label()
    }

    #[test]
    fn labels_are_read_from_numbers_and_texts() {
        for (value, expected) in
            [(json!(1), 1.0), (json!("-1.0"), -1.0), (json!("0"), 0.0), (json!(true), 1.0)]
        {
            assert!((label(value).unwrap() - expected).abs() < 1e-9);
        }
        for blank in [json!(null), json!(""), json!(" "), json!("NaN")] {
            assert!(label(blank).unwrap().is_nan());
        }
    }

    #[test]
    fn a_word_for_a_label_names_line_and_column() {
        let error = label(json!("positive")).unwrap_err().to_string();
        let expected =
            "films.csv, line 7, column `Edema`: found \"positive\", expected 1, 0, -1 or blank";
        assert_eq!(error, expected);
        assert!(label(json!(0.5)).unwrap_err().to_string().contains("found 0.5, expected"));
        assert!(label(json!([1])).is_err());
    }
}
