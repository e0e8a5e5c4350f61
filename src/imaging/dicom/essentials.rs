//! The part of a header that films and volumes are made from, cut down to what the parser reads
//! as it stands.
//!
//! dicom-rs reads whole numbers: of a value of six bytes that should be four-byte numbers it
//! takes four, and goes on in the middle of the value, where it finds lengths that nobody wrote
//! and reserves memory for them. A value that is not of whole numbers is no value, and is left
//! out; inside a sequence it is an error. Private groups, names and comments stay out as well.
//!
//! Source: DICOM PS3.5, section 6.2 (value representations).

use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry};
use dicom_core::{Tag, VR};
use dicom_dictionary_std::StandardDataDictionary;

use super::walk::{Coding, Element, Walk, Why};

/// Identification, patient, acquisition, relationship, image, presentation, functional groups.
const GROUPS: [u16; 7] = [0x0008, 0x0010, 0x0018, 0x0020, 0x0028, 0x2050, 0x5200];

/// The elements of an accepted header that are of use.
pub(super) fn essentials(header: &[u8], coding: Coding) -> Why<Vec<u8>> {
    let walk = |whole| Walk { bytes: header, coding, whole };
    let (mut kept, mut at) = (Vec::new(), 0);
    while header.len() - at >= 8 {
        let element = walk(None).element(at)?;
        let serves = GROUPS.contains(&element.tag.0) && is_whole(&element, coding);
        let whole: Option<fn(&Element, Coding) -> bool> =
            if serves { Some(is_whole) } else { None };
        let end = walk(whole).skip(&element, header.len(), 0)?;
        if serves {
            kept.extend_from_slice(&header[at..end]);
        }
        at = end;
    }
    Ok(kept)
}

/// Whether the value is of whole numbers, by the value representation the parser takes.
fn is_whole(element: &Element, coding: Coding) -> bool {
    let vr = if coding.explicit {
        std::str::from_utf8(&element.vr).ok().and_then(|vr| vr.parse().ok())
    } else {
        let entry = StandardDataDictionary.by_tag(Tag(element.tag.0, element.tag.1));
        entry.map(|entry| entry.vr().relaxed())
    };
    let unit = match vr {
        Some(VR::OW | VR::SS | VR::US) => 2,
        Some(VR::AT | VR::FL | VR::OF | VR::OL | VR::SL | VR::UL) => 4,
        Some(VR::FD | VR::OD | VR::OV | VR::SV | VR::UV) => 8,
        _ => 1,
    };
    element.length == u32::MAX || element.length.is_multiple_of(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(group: u16, number: u16, vr: [u8; 2], value: &[u8]) -> Vec<u8> {
        let mut bytes = [group.to_le_bytes(), number.to_le_bytes(), vr].concat();
        if vr == *b"SQ" {
            bytes.extend([0, 0]);
            bytes.extend((value.len() as u32).to_le_bytes());
        } else {
            bytes.extend((value.len() as u16).to_le_bytes());
        }
        bytes.extend(value);
        bytes
    }

    fn item(content: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0xFE, 0xFF, 0x00, 0xE0];
        bytes.extend((content.len() as u32).to_le_bytes());
        bytes.extend(content);
        bytes
    }

    #[test]
    fn values_that_are_no_whole_numbers_and_private_groups_stay_out() {
        let rows = element(0x28, 0x10, *b"US", &[1, 0]);
        let torn = element(0x28, 0x11, *b"US", &[1, 0, 2]);
        let private = element(0x45, 0x1008, *b"FL", &[1, 0]);
        let all = [rows.clone(), torn, private].concat();
        assert_eq!(essentials(&all, Coding::EXPLICIT).unwrap(), rows);
    }

    #[test]
    fn inside_a_sequence_they_are_named() {
        let torn = element(0x28, 0x11, *b"US", &[1, 0, 2]);
        let sequence = element(0x28, 0x3000, *b"SQ", &item(&torn));
        let why = essentials(&sequence, Coding::EXPLICIT).unwrap_err();
        assert_eq!(why, "element (0028,0011) has 3 bytes, which are no whole numbers");
        let private = element(0x45, 0x3000, *b"SQ", &item(&torn));
        assert!(essentials(&private, Coding::EXPLICIT).unwrap().is_empty());
    }
}
