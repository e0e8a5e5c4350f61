//! A DICOM film in the very levels that CXR Foundation's published code writes, flaws included.
//!
//! Source: the data processing of the public repository Google-Health/cxr-foundation, known here
//! by what it makes of its own test files and of synthetic ones (`tests/golden/elixr`). Every
//! scaling is in double precision and cuts fractions off. VOI look-up tables, the shape of a
//! window and padding count for nothing.

use dicom_dictionary_std::tags;

use super::attributes::Attributes;
use super::layout::Layout;
use super::stored::Values;
use super::walk::Why;
use super::{File, Frames};

/// The highest level of a 16-bit picture.
const TOP: f64 = 65_535.0;

/// Levels of a film, and whether they are those of 8 bits, which are never stretched.
#[derive(Debug, PartialEq)]
pub(super) struct Levels {
    pub(super) values: Vec<u16>,
    pub(super) eight_bits: bool,
}

/// Makes the levels of a file's first frame.
pub(super) fn levels(file: &File<'_>) -> Why<Levels> {
    let attributes = Attributes::new(file.object, file.coding);
    let Frames { layout, .. } = &file.frames;
    let mut pixels = stored(file, layout)?;
    if attributes.has(tags::MODALITY_LUT_SEQUENCE) {
        return Err("a modality look-up table has no released rendering".to_owned());
    }
    let slope = attributes.numbers(tags::RESCALE_SLOPE)?;
    let intercept = attributes.numbers(tags::RESCALE_INTERCEPT)?;
    if let (Some(slope), Some(intercept)) = (slope.first(), intercept.first()) {
        pixels = pixels.rescaled(*slope, *intercept);
    }
    let centers = attributes.numbers(tags::WINDOW_CENTER)?;
    let widths = attributes.numbers(tags::WINDOW_WIDTH)?;
    match (&centers[..], &widths[..]) {
        ([], _) | (_, []) => {}
        (&[center], &[width]) => pixels = pixels.windowed(center, width)?,
        _ => {
            let count = centers.len().max(widths.len());
            return Err(format!("the released code fails on a film with {count} windows"));
        }
    }
    if layout.photometric == "MONOCHROME1" {
        pixels = pixels.inverted();
    }
    Ok(pixels.unsigned().stretched())
}

fn stored(file: &File<'_>, layout: &Layout) -> Why<Pixels> {
    if layout.samples != 1 || layout.photometric == "PALETTE COLOR" {
        return Err(format!("expected a grey film, found {}", layout.photometric));
    }
    let mut values = Values::empty(layout);
    values.append(&file.frames.decode(0)?, layout);
    let kind = match values {
        Values::U8(_) => Kind::U8,
        Values::I8(_) => Kind::I8,
        Values::U16(_) => Kind::U16,
        Values::I16(_) => Kind::I16,
        _ => {
            let bits = layout.allocated;
            return Err(format!("expected whole numbers of 8 or 16 bits, found {bits} bits"));
        }
    };
    Ok(Pixels { values: values.to_f64(), kind })
}

/// The types of number that the released code meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    U8,
    I8,
    U16,
    I16,
    Float,
}

impl Kind {
    /// The highest number; none for floating point.
    fn top(self) -> Option<f64> {
        Some(f64::from(match self {
            Self::U8 => i32::from(u8::MAX),
            Self::I8 => i32::from(i8::MAX),
            Self::U16 => i32::from(u16::MAX),
            Self::I16 => i32::from(i16::MAX),
            Self::Float => return None,
        }))
    }

    /// A whole number as the type holds it: what does not fit wraps around.
    fn wrap(self, value: f64) -> f64 {
        let whole = value as i64;
        match self {
            Self::U8 => f64::from(whole as u8),
            Self::I8 => f64::from(whole as i8),
            Self::U16 => f64::from(whole as u16),
            Self::I16 => f64::from(whole as i16),
            Self::Float => value,
        }
    }
}

/// Numbers of a type; all whole ones of these types are exact in double precision.
struct Pixels {
    values: Vec<f64>,
    kind: Kind,
}

impl Pixels {
    fn ends(&self) -> [f64; 2] {
        self.values.iter().fold([f64::INFINITY, f64::NEG_INFINITY], |[low, high], &value| {
            [low.min(value), high.max(value)]
        })
    }

    fn map(self, kind: Kind, to: impl Fn(f64) -> f64) -> Self {
        Self { values: self.values.into_iter().map(to).collect(), kind }
    }

    fn rescaled(self, slope: f64, intercept: f64) -> Self {
        self.map(Kind::Float, |value| value * slope + intercept)
    }

    fn windowed(self, center: f64, width: f64) -> Why<Self> {
        let kind = self.kind;
        let top = kind.top().ok_or("the released code fails on a film with rescale and window")?;
        let (low, high) = (center - width / 2.0, center - 1.0 + width / 2.0);
        if low > high {
            return Err(format!("a window {width} wide has no released rendering"));
        }
        Ok(self.map(kind, |value| line(value.clamp(low, high), [low, high], top).trunc()))
    }

    fn inverted(self) -> Self {
        let ([_, high], kind) = (self.ends(), self.kind);
        self.map(kind, |value| kind.wrap(high - value))
    }

    fn unsigned(self) -> Self {
        let ([low, high], kind) = (self.ends(), self.kind);
        match kind {
            Kind::U8 | Kind::U16 => self,
            Kind::I8 => self.map(Kind::U8, |value| value - low),
            Kind::I16 => self.map(Kind::U16, |value| value - low),
            Kind::Float => {
                let span = high - low;
                let factor = if span > TOP { TOP / span } else { 1.0 };
                self.map(Kind::U16, |value| ((value - low) * factor).trunc())
            }
        }
    }

    fn stretched(self) -> Levels {
        let (ends, eight_bits) = (self.ends(), self.kind == Kind::U8);
        let level = |value: f64| if eight_bits { value } else { line(value, ends, TOP) };
        // Both lie within 0 and 65535, and the cast cuts the fraction off.
        let values = self.values.into_iter().map(|value| level(value) as u16).collect();
        Levels { values, eight_bits }
    }
}

/// The straight line from `low` (0) to `high` (`top`); above and, in a film of one value, at
/// `high` it is `top`.
fn line(value: f64, [low, high]: [f64; 2], top: f64) -> f64 {
    if value >= high { top } else { top / (high - low) * (value - low) }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn numbers(json: &Value) -> Vec<f64> {
        json[0].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
    }

    #[test]
    fn every_function_gives_the_published_numbers_for_every_type() {
        let text = include_str!("../../../tests/golden/elixr/functions.json");
        let json: Value = serde_json::from_str(text).unwrap();
        let rows = json["rows"].as_array().unwrap();
        assert_eq!(rows.len(), 6);
        for row in rows {
            let kind = match row["dtype"].as_str().unwrap() {
                "uint8" => Kind::U8,
                "uint16" => Kind::U16,
                "int8" => Kind::I8,
                "int16" => Kind::I16,
                _ => Kind::Float,
            };
            let pixels = || Pixels { values: numbers(&row["input"]), kind };
            assert_eq!(pixels().unsigned().values, numbers(&row["unsigned"]), "{kind:?}");
            // The row stretches within the type; a film of 8 bits never is.
            let unsigned = pixels().unsigned();
            let top = unsigned.kind.top().unwrap();
            let ends = unsigned.ends();
            let stretched = unsigned.map(kind, |value| line(value, ends, top).trunc());
            assert_eq!(stretched.values, numbers(&row["rescaled"]), "{kind:?}");
            for window in row["window"].as_array().into_iter().flatten() {
                let of = |name: &str| window[name].as_f64().unwrap();
                let made = pixels().windowed(of("center"), of("width")).unwrap();
                assert_eq!(made.values, numbers(&window["out"]), "{kind:?} {window}");
            }
        }
    }

    #[test]
    fn what_the_released_code_cannot_do_is_said() {
        let film = Pixels { values: vec![1.0, 2.0], kind: Kind::U16 };
        let error = film.rescaled(1.0, 0.0).windowed(1.0, 2.0).err().unwrap();
        assert_eq!(error, "the released code fails on a film with rescale and window");
        let film = Pixels { values: vec![1.0, 2.0], kind: Kind::U16 };
        assert!(film.windowed(1.0, -5.0).err().unwrap().contains("-5 wide"));
        let wide = Pixels { values: vec![-30_000.0, 30_000.0], kind: Kind::I16 };
        assert_eq!(wide.inverted().values, [-5536.0, 0.0], "it wraps around");
    }
}
