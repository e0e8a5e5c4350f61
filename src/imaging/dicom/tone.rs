//! The grey scale of a film: modality, window, inversion and padding as one function.
//!
//! Source: DICOM PS3.4, annex N.2 (order of the transforms); PS3.3, C.7.5.1.1.2 (padding).

use dicom_dictionary_std::tags;

use super::attributes::Attributes;
use super::layout::Layout;
use super::modality::Modality;
use super::stored::Values;
use super::voi::Voi;
use super::walk::Why;

/// From a stored value to the value of the film.
pub(super) struct Tone {
    pub(super) modality: Modality,
    pub(super) voi: Option<Voi>,
    /// The output is turned over within this range.
    pub(super) inverted_within: Option<[f64; 2]>,
    /// Stored values that stand for "no pixel here", first and last.
    pub(super) padding: Option<[f64; 2]>,
}

impl Tone {
    /// The value of the film; NaN for padding.
    fn value(&self, stored: f64) -> f32 {
        if self.padding.is_some_and(|[low, high]| (low..=high).contains(&stored)) {
            return f32::NAN;
        }
        let value = self.modality.value(stored);
        let value = self.voi.as_ref().map_or(value, |voi| voi.value(value));
        self.inverted_within.map_or(value, |[low, high]| low + high - value) as f32
    }

    /// Maps all values; up to 16 bits through a table, which is exact and quick.
    pub(super) fn apply(&self, values: &Values, layout: &Layout) -> Vec<f32> {
        // One entry for each pattern of bits, so that no place in the table is ever checked.
        let mut table = vec![0.0; 1 << 16];
        if layout.stored <= 16 && !layout.float {
            let [low, high] = layout.stored_range().map(|end| end as i64);
            for stored in low..=high {
                table[usize::from(stored as u16)] = self.value(stored as f64);
            }
        }
        let table: &[f32; 1 << 16] = table.first_chunk().expect("it was made that long");
        let at = |pattern: u16| table[usize::from(pattern)];
        let small = layout.stored <= 16;
        match values {
            Values::U8(v) => v.iter().map(|&v| at(v.into())).collect(),
            Values::I8(v) => v.iter().map(|&v| at(i16::from(v) as u16)).collect(),
            Values::U16(v) if small => v.iter().map(|&v| at(v)).collect(),
            Values::I16(v) if small => v.iter().map(|&v| at(v as u16)).collect(),
            wide => wide.to_f64().into_iter().map(|v| self.value(v)).collect(),
        }
    }
}

/// The stored values that mean padding, as `PixelPaddingValue` and its range limit state them.
pub(super) fn padding(attributes: &Attributes<'_>, layout: &Layout) -> Why<Option<[f64; 2]>> {
    // The value may be written with or without a sign, whatever the pixels have.
    let wrap = |value: i64| match (layout.allocated, layout.signed) {
        (0..=8, true) => f64::from(value as i8),
        (0..=8, false) => f64::from(value as u8),
        (16, true) => f64::from(value as i16),
        (16, false) => f64::from(value as u16),
        _ => value as f64,
    };
    if layout.float {
        return Ok(None);
    }
    let Some(value) = attributes.whole(tags::PIXEL_PADDING_VALUE)?.map(wrap) else {
        return Ok(None);
    };
    let limit = attributes.whole(tags::PIXEL_PADDING_RANGE_LIMIT)?.map_or(value, wrap);
    Ok(Some([value.min(limit), value.max(limit)]))
}

/// Gives padding (NaN) the background: the lowest possible value when it is known, else the lowest
/// of the other pixels. Tells how many pixels were padding.
pub(super) fn fill_padding(pixels: &mut [f32], lowest: Option<f64>) -> usize {
    let others = || pixels.iter().copied().filter(|v| !v.is_nan()).reduce(f32::min).unwrap_or(0.0);
    let background = lowest.map_or_else(others, |v| v as f32);
    let mut count = 0;
    for pixel in pixels.iter_mut().filter(|v| v.is_nan()) {
        *pixel = background;
        count += 1;
    }
    count
}
