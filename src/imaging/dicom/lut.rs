//! Look-up tables of the modality and VOI modules.
//!
//! Source: DICOM PS3.3, C.11.1.1.1 and C.11.2.1.1 (descriptor: entries, first value, bits).

use dicom_core::Tag;
use dicom_dictionary_std::tags;

use super::attributes::Attributes;
use super::walk::Why;

/// A table from whole numbers to whole numbers, flat beyond both ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lut {
    first: i64,
    bits: u32,
    entries: Vec<u16>,
}

impl Lut {
    /// Reads the table of a LUT sequence item; `signed` says whether its input can be negative.
    pub(super) fn read(item: &Attributes<'_>, signed: bool) -> Why<Self> {
        Self::read_from(item, tags::LUT_DESCRIPTOR, tags::LUT_DATA, signed)
    }

    /// Reads a table from any pair of descriptor and data, as palettes have three of.
    pub(super) fn read_from(
        item: &Attributes<'_>,
        descriptor: Tag,
        data: Tag,
        signed: bool,
    ) -> Why<Self> {
        let stated = item.words(descriptor);
        let &[count, first, bits] = stated.first_chunk().ok_or_else(|| {
            format!("a look-up table descriptor has {} values, expected 3", stated.len())
        })?;
        let count = if count == 0 { 65_536 } else { usize::from(count) };
        let first = if signed { i64::from(first as i16) } else { i64::from(first) };
        if !(1..=16).contains(&bits) {
            return Err(format!("a look-up table has entries of {bits} bits, expected 1 to 16"));
        }
        let mut entries = item.words(data);
        if bits <= 8 && entries.len() < count && entries.len() * 2 >= count {
            // Two entries of 8 bits share a word.
            entries = entries.iter().flat_map(|w| w.to_le_bytes()).map(u16::from).collect();
        }
        if entries.len() < count {
            return Err(format!("a look-up table has {} entries, expected {count}", entries.len()));
        }
        entries.truncate(count);
        Ok(Self { first, bits: u32::from(bits), entries })
    }

    /// The entry for an input.
    pub(super) fn at(&self, value: f64) -> f64 {
        let last = self.entries.len() as i64 - 1;
        let index = (value.round() as i64).saturating_sub(self.first).clamp(0, last);
        f64::from(self.entries[index as usize])
    }

    /// The lowest and highest number that an entry can hold.
    pub(super) fn range(&self) -> [f64; 2] {
        [0.0, 2f64.powi(self.bits as i32) - 1.0]
    }

    pub(super) fn describe(&self) -> String {
        format!("{} entries of {} bits from {}", self.entries.len(), self.bits, self.first)
    }
}
