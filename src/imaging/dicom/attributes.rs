//! The attributes of a data set, asked for by tag and kind.

use dicom_core::header::HasLength;
use dicom_core::value::{PrimitiveValue, Value};
use dicom_core::{DataDictionary, Tag};
use dicom_object::InMemDicomObject;
use dicom_object::mem::InMemElement;
use dicom_transfer_syntax_registry::entries;

use super::essentials::essentials;
use super::walk::{Coding, Why};

/// Shared Functional Groups Sequence.
const SHARED: Tag = Tag(0x5200, 0x9229);
/// Per-Frame Functional Groups Sequence.
const PER_FRAME: Tag = Tag(0x5200, 0x9230);

/// A parsed data set or sequence item.
#[derive(Clone, Copy)]
pub(super) struct Attributes<'a> {
    object: &'a InMemDicomObject,
    big_endian: bool,
}

/// Parses a header that [`super::walk::walk`] has accepted.
pub(super) fn parse(header: &[u8], coding: Coding) -> Why<InMemDicomObject> {
    let syntax = match coding {
        Coding::IMPLICIT => entries::IMPLICIT_VR_LITTLE_ENDIAN.erased(),
        Coding::BIG_ENDIAN => entries::EXPLICIT_VR_BIG_ENDIAN.erased(),
        _ => entries::EXPLICIT_VR_LITTLE_ENDIAN.erased(),
    };
    let header = essentials(header, coding)?;
    InMemDicomObject::read_dataset_with_ts(&*header, &syntax).map_err(|error| {
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        format!("the data set cannot be parsed: {text}")
    })
}

impl<'a> Attributes<'a> {
    pub(super) fn new(object: &'a InMemDicomObject, coding: Coding) -> Self {
        Self { object, big_endian: coding.big_endian }
    }

    fn element(&self, tag: Tag) -> Option<&'a InMemElement> {
        self.object.get(tag).filter(|element| !element.value().is_empty())
    }

    fn primitive(&self, tag: Tag) -> Option<&'a PrimitiveValue> {
        match self.element(tag)?.value() {
            Value::Primitive(value) => Some(value),
            _ => None,
        }
    }

    /// The text of an attribute, without padding; empty when it is absent.
    pub(super) fn text(&self, tag: Tag) -> String {
        let text = self.primitive(tag).map(|value| match value {
            // Written with an unknown value representation: the bytes are the letters.
            PrimitiveValue::U8(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            value => value.to_str().into_owned(),
        });
        text.unwrap_or_default().trim_matches(['\0', ' ']).to_owned()
    }

    /// The text of an attribute that has one of the `defined` terms, else nothing: what people
    /// write into a file may name somebody, and this is shown.
    pub(super) fn term(&self, tag: Tag, defined: &[&str]) -> String {
        let text = self.text(tag);
        if defined.contains(&text.as_str()) { text } else { String::new() }
    }

    /// The texts of an attribute with several values.
    pub(super) fn texts(&self, tag: Tag) -> Vec<String> {
        let text = self.text(tag);
        if text.is_empty() {
            return Vec::new();
        }
        text.split('\\').map(|part| part.trim_matches(['\0', ' ']).to_owned()).collect()
    }

    /// The first value of an attribute as a whole number; an unreadable one is an error.
    pub(super) fn whole(&self, tag: Tag) -> Why<Option<i64>> {
        let Some(value) = self.primitive(tag) else { return Ok(None) };
        if let PrimitiveValue::U8(bytes) = value {
            // Written with an unknown value representation: two bytes are one short.
            return Ok(bytes.first_chunk().map(|&b| i64::from(self.short(b))));
        }
        value
            .to_int::<i64>()
            .map(Some)
            .map_err(|_| format!("{} is {:?}, expected a whole number", name(tag), value.to_str()))
    }

    /// The values of an attribute as numbers; unreadable and non-finite ones are an error.
    pub(super) fn numbers(&self, tag: Tag) -> Why<Vec<f64>> {
        let Some(value) = self.primitive(tag) else { return Ok(Vec::new()) };
        let numbers = match value {
            PrimitiveValue::U8(_) => self.texts(tag).iter().map(|text| text.parse().ok()).collect(),
            value => value.to_multi_float64().ok(),
        };
        let numbers = numbers.filter(|n: &Vec<f64>| n.iter().all(|v| v.is_finite()));
        numbers.ok_or_else(|| format!("{} is {:?}, expected numbers", name(tag), self.text(tag)))
    }

    /// The values of a look-up table or its descriptor: 16-bit words whatever their representation.
    pub(super) fn words(&self, tag: Tag) -> Vec<u16> {
        match self.primitive(tag) {
            Some(PrimitiveValue::U16(words)) => words.to_vec(),
            Some(PrimitiveValue::I16(words)) => words.iter().map(|&w| w as u16).collect(),
            Some(PrimitiveValue::U8(bytes)) => {
                bytes.chunks_exact(2).map(|b| self.short([b[0], b[1]])).collect()
            }
            _ => Vec::new(),
        }
    }

    fn short(&self, bytes: [u8; 2]) -> u16 {
        if self.big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) }
    }

    /// The items of a sequence; none when it is absent.
    pub(super) fn items(&self, tag: Tag) -> Vec<Self> {
        let items = self.element(tag).and_then(|element| element.value().items());
        let big_endian = self.big_endian;
        items.unwrap_or_default().iter().map(|object| Self { object, big_endian }).collect()
    }

    pub(super) fn has(&self, tag: Tag) -> bool {
        self.element(tag).is_some()
    }

    /// The attributes that hold for a frame: the functional group `group` of the frame or of all
    /// frames, where the file has one, else the data set itself.
    pub(super) fn of_frame(&self, group: Tag, frame: usize) -> Self {
        let of = |sequence, index| self.item(sequence, index).and_then(|own| own.item(group, 0));
        of(PER_FRAME, frame).or_else(|| of(SHARED, 0)).unwrap_or(*self)
    }

    /// One item of a sequence, without going through the others.
    fn item(&self, tag: Tag, index: usize) -> Option<Self> {
        let object = self.element(tag)?.value().items()?.get(index)?;
        Some(Self { object, big_endian: self.big_endian })
    }
}

/// The name of an attribute as the standard spells it.
fn name(tag: Tag) -> String {
    let entry = dicom_dictionary_std::StandardDataDictionary.by_tag(tag);
    entry.map_or_else(|| tag.to_string(), |entry| entry.alias.to_owned())
}
