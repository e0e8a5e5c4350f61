//! Sizes in millimetres or centimetres, as reports write them.

use std::ops::Range;

use super::reading::{Word, words};

/// A number with a unit of length.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Size {
    /// The bytes of the number.
    pub(super) digits: Range<usize>,
    /// The number as it stands.
    pub(super) value: f64,
    /// Millimetres to one of its unit.
    unit: f64,
}

impl Size {
    pub(super) fn mm(&self) -> f64 {
        self.value * self.unit
    }
}

/// All sizes of a text: `14 mm`, `1.4cm`, and both numbers of `2 x 3 cm`.
pub(super) fn sizes(words: &[Word]) -> Vec<Size> {
    (0..words.len()).filter_map(|at| size_at(words, at)).collect()
}

/// The first size of a text, in mm.
pub fn size_mm(text: &str) -> Option<f64> {
    sizes(&words(text)).first().map(Size::mm)
}

fn size_at(words: &[Word], at: usize) -> Option<Size> {
    let word = words.get(at)?;
    let digits = word.lower.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
    let (number, own) = word.lower.split_at(digits);
    let value: f64 = number.parse().ok().filter(|v: &f64| v.is_finite() && *v > 0.0 && *v < 1e6)?;
    let next = words.get(at + 1).map_or("", |word| word.lower.as_str());
    let unit = match own {
        "" => unit(next).or_else(|| {
            let joined = matches!(next, "x" | "by" | "to" | "×");
            joined.then(|| size_at(words, at + 2)).flatten().map(|size| size.unit)
        })?,
        own => unit(own)?,
    };
    Some(Size { digits: word.span.start..word.span.start + digits, value, unit })
}

fn unit(word: &str) -> Option<f64> {
    match word {
        "mm" | "millimeter" | "millimeters" | "millimetre" | "millimetres" => Some(1.0),
        "cm" | "centimeter" | "centimeters" | "centimetre" | "centimetres" => Some(10.0),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_in_either_unit_are_read() {
        let of = |text: &str| sizes(&words(text)).iter().map(Size::mm).collect::<Vec<_>>();
        assert_eq!(of("A 14 mm nodule, 1.5cm apart."), [14.0, 15.0]);
        assert_eq!(of("2 x 3 cm mass at level 4"), [20.0, 30.0]);
        assert!(of("2 x x x, 5 masses, 12.3.4 mm, 0 mm").is_empty());
    }
}
