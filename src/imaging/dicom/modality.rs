//! From stored values to the values of the modality: Hounsfield units and the like.
//!
//! Source: DICOM PS3.3, C.11.1 (Modality LUT module); it is applied wherever the file has it.

use dicom_dictionary_std::tags;

use super::attributes::Attributes;
use super::layout::Layout;
use super::lut::Lut;
use super::terms::UNITS;
use super::walk::Why;

/// The modality transform of a frame.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Modality {
    Identity,
    Rescale { slope: f64, intercept: f64 },
    Table(Lut),
}

impl Modality {
    pub(super) fn read(
        attributes: &Attributes<'_>,
        layout: &Layout,
        frame: usize,
        history: &mut Vec<String>,
    ) -> Why<Self> {
        if let Some(item) = attributes.items(tags::MODALITY_LUT_SEQUENCE).first() {
            let table = Lut::read(item, layout.signed)?;
            history.push(format!("modality look-up table of {}", table.describe()));
            return Ok(Self::Table(table));
        }
        let own = attributes.of_frame(tags::PIXEL_VALUE_TRANSFORMATION_SEQUENCE, frame);
        let first = |tag| own.numbers(tag).map(|numbers| numbers.first().copied());
        let (slope, intercept) = (first(tags::RESCALE_SLOPE)?, first(tags::RESCALE_INTERCEPT)?);
        let (slope, intercept) = match (slope, intercept) {
            (None, None) => return Ok(Self::Identity),
            (Some(0.0), _) => {
                history.push("rescale ignored: its slope is 0".to_owned());
                return Ok(Self::Identity);
            }
            (slope, intercept) => (slope.unwrap_or(1.0), intercept.unwrap_or(0.0)),
        };
        let unit = own.term(tags::RESCALE_TYPE, UNITS);
        let unit = if unit.is_empty() { String::new() } else { format!(" ({unit})") };
        history.push(format!("rescaled: stored value x {slope} + {intercept}{unit}"));
        Ok(Self::Rescale { slope, intercept })
    }

    pub(super) fn value(&self, stored: f64) -> f64 {
        match self {
            Self::Identity => stored,
            Self::Rescale { slope, intercept } => stored * slope + intercept,
            Self::Table(table) => table.at(stored),
        }
    }

    /// The lowest and highest value that can come out.
    pub(super) fn range(&self, layout: &Layout) -> [f64; 2] {
        if let Self::Table(table) = self {
            return table.range();
        }
        let [low, high] = layout.stored_range().map(|stored| self.value(stored));
        [low.min(high), low.max(high)]
    }
}
