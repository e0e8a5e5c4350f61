//! Where the pixels of a DICOM data set begin, found without believing any length it states.
//!
//! The walk mirrors the header rules of dicom-rs, allocates nothing but its result, and refuses
//! lengths that leave the file and sequences nested deeper than [`MAX_DEPTH`]. What it accepts
//! and [`essentials`](super::essentials::essentials) keeps, the parser can read safely.
//!
//! Source: DICOM PS3.5, sections 7.1 (data elements), 7.5 (nesting) and A.4 (encapsulation).

/// Why a file cannot be read; the caller adds its name.
pub(super) type Why<T> = std::result::Result<T, String>;

/// Deeper sequences than these do not occur; 10,000 levels would overflow the parser's stack.
const MAX_DEPTH: usize = 64;

const UNDEFINED: u32 = u32::MAX;
const PIXEL_GROUP: u16 = 0x7FE0;
const ITEM: Tag = Tag(0xFFFE, 0xE000);
const ITEM_END: Tag = Tag(0xFFFE, 0xE00D);
const SEQUENCE_END: Tag = Tag(0xFFFE, 0xE0DD);

/// How the data elements are written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Coding {
    /// The value representation stands in the file.
    pub(super) explicit: bool,
    /// The most significant byte comes first.
    pub(super) big_endian: bool,
}

impl Coding {
    pub(super) const IMPLICIT: Self = Self { explicit: false, big_endian: false };
    pub(super) const EXPLICIT: Self = Self { explicit: true, big_endian: false };
    pub(super) const BIG_ENDIAN: Self = Self { explicit: true, big_endian: true };

    fn u16(self, bytes: [u8; 2]) -> u16 {
        if self.big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) }
    }

    fn u32(self, bytes: [u8; 4]) -> u32 {
        if self.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    }
}

/// What kind of numbers the pixel element holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PixelKind {
    /// Pixel Data (7FE0,0010).
    Integer,
    /// Float Pixel Data (7FE0,0008).
    Float,
    /// Double Float Pixel Data (7FE0,0009).
    Double,
}

/// The bytes of the pixel element.
#[derive(Clone, Debug)]
pub(super) enum PixelBytes<'a> {
    /// As they are; in words of two bytes where the value representation is OW.
    Native { bytes: &'a [u8], words: bool },
    /// In fragments, with the basic offset table, which may be empty.
    Fragments { offsets: Vec<u32>, parts: Vec<&'a [u8]> },
}

/// A data set, cut at its pixels.
#[derive(Clone, Debug)]
pub(super) struct Found<'a> {
    /// The elements before the pixels: safe to parse.
    pub(super) header: &'a [u8],
    /// The pixels, when there are any.
    pub(super) pixels: Option<(PixelKind, PixelBytes<'a>)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Tag(pub(super) u16, pub(super) u16);

/// The head of an element.
pub(super) struct Element {
    pub(super) tag: Tag,
    pub(super) vr: [u8; 2],
    pub(super) length: u32,
    /// Where the value starts.
    value: usize,
}

/// A data set on the way.
pub(super) struct Walk<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) coding: Coding,
    /// What elements inside sequences must be.
    pub(super) whole: Option<fn(&Element, Coding) -> bool>,
}

/// Walks the top level of a data set up to its pixels or its end.
pub(super) fn walk(bytes: &[u8], coding: Coding) -> Why<Found<'_>> {
    walk_to(bytes, coding, true)
}

/// As [`walk`] for the beginning of a file, which may end within the pixels: they come without
/// their bytes.
pub(super) fn walk_header(bytes: &[u8], coding: Coding) -> Why<Found<'_>> {
    walk_to(bytes, coding, false)
}

fn walk_to(bytes: &[u8], coding: Coding, with_pixels: bool) -> Why<Found<'_>> {
    let walk = Walk { bytes, coding, whole: None };
    let mut at = 0;
    loop {
        // A few bytes of padding after the last element are harmless.
        if bytes.len() - at < 8 {
            return Ok(Found { header: &bytes[..at], pixels: None });
        }
        let element = walk.element(at)?;
        let tag = element.tag;
        if tag.0 == PIXEL_GROUP && matches!(tag.1, 0x0008..=0x0010) {
            let kind = match tag.1 {
                0x0008 => PixelKind::Float,
                0x0009 => PixelKind::Double,
                _ => PixelKind::Integer,
            };
            let pixels = if with_pixels {
                walk.pixels(&element)?
            } else {
                PixelBytes::Native { bytes: &[], words: false }
            };
            return Ok(Found { header: &bytes[..at], pixels: Some((kind, pixels)) });
        }
        // Trailing padding, digital signatures and the like do not concern the pixels.
        if tag > Tag(PIXEL_GROUP, 0x0010) {
            return Ok(Found { header: &bytes[..at], pixels: None });
        }
        if tag.0 < 0x0004 {
            return Err(format!("element {tag} at byte {at} does not belong in a data set"));
        }
        at = walk.skip(&element, bytes.len(), 0)?;
    }
}

impl<'a> Walk<'a> {
    /// Reads an element's header by the rules of the parser, with its bounds checked.
    pub(super) fn element(&self, at: usize) -> Why<Element> {
        let cut = || format!("the element at byte {at} is cut short by the end of the file");
        let head: [u8; 8] =
            self.bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).ok_or_else(cut)?;
        let tag = Tag(self.coding.u16([head[0], head[1]]), self.coding.u16([head[2], head[3]]));
        let vr = [head[4], head[5]];
        let length = self.coding.u32([head[4], head[5], head[6], head[7]]);
        if !self.coding.explicit || tag.0 == 0xFFFE {
            return Ok(Element { tag, vr: *b"UN", length, value: at + 8 });
        }
        if !vr.iter().all(u8::is_ascii_uppercase) {
            return Err(format!(
                "element {tag} at byte {at}: expected a value representation of two letters, found the bytes {:02x} {:02x}",
                vr[0], vr[1]
            ));
        }
        if is_short(vr) {
            let length = u32::from(self.coding.u16([head[6], head[7]]));
            return Ok(Element { tag, vr, length, value: at + 8 });
        }
        let long: [u8; 4] =
            self.bytes.get(at + 8..at + 12).and_then(|b| b.try_into().ok()).ok_or_else(cut)?;
        Ok(Element { tag, vr, length: self.coding.u32(long), value: at + 12 })
    }

    /// Where the element ends; sequences are walked, everything else is stepped over.
    pub(super) fn skip(&self, element: &Element, limit: usize, depth: usize) -> Why<usize> {
        let tag = element.tag;
        if tag.0 == 0xFFFE {
            return Err(format!("a delimiter {tag} stands outside a sequence"));
        }
        if element.length == UNDEFINED {
            return self.sequence(element.value, limit, None, depth + 1);
        }
        let end = Self::end(element, limit)?;
        // Implicit files name sequences only in the dictionary, so a value that opens with an
        // item is walked too: the parser may take it for a sequence.
        let opens =
            self.bytes[element.value..end].first_chunk::<4>().is_some_and(|&[a, b, c, d]| {
                Tag(self.coding.u16([a, b]), self.coding.u16([c, d])) == ITEM
            });
        if element.vr == *b"SQ" || (!self.coding.explicit && opens) {
            self.sequence(element.value, end, Some(end), depth + 1)?;
        }
        Ok(end)
    }

    fn end(element: &Element, limit: usize) -> Why<usize> {
        let end = element.value.saturating_add(element.length as usize);
        if end > limit {
            return Err(format!(
                "element {} states {} bytes, but only {} follow",
                element.tag,
                element.length,
                limit - element.value.min(limit)
            ));
        }
        Ok(end)
    }

    /// Walks the items of a sequence; `end` is where it stops, `None` where a delimiter says so.
    fn sequence(&self, start: usize, limit: usize, end: Option<usize>, depth: usize) -> Why<usize> {
        if depth > MAX_DEPTH {
            return Err(format!("sequences are nested deeper than {MAX_DEPTH} levels"));
        }
        let mut at = start;
        loop {
            if end == Some(at) {
                return Ok(at);
            }
            let item = self.element(at)?;
            match item.tag {
                SEQUENCE_END if end.is_none() => return Ok(item.value),
                ITEM if item.length == UNDEFINED => {
                    at = self.item(item.value, limit, None, depth)?;
                }
                ITEM => {
                    let stop = Self::end(&item, limit)?;
                    at = self.item(item.value, stop, Some(stop), depth)?;
                }
                tag => return Err(format!("expected a sequence item at byte {at}, found {tag}")),
            }
        }
    }

    fn item(&self, start: usize, limit: usize, end: Option<usize>, depth: usize) -> Why<usize> {
        let mut at = start;
        loop {
            if end == Some(at) {
                return Ok(at);
            }
            let element = self.element(at)?;
            if element.tag == ITEM_END && end.is_none() {
                return Ok(element.value);
            }
            if self.whole.is_some_and(|whole| !whole(&element, self.coding)) {
                return Err(format!(
                    "element {} has {} bytes, which are no whole numbers",
                    element.tag, element.length
                ));
            }
            at = self.skip(&element, limit, depth)?;
        }
    }

    fn pixels(&self, element: &Element) -> Why<PixelBytes<'a>> {
        let rest = &self.bytes[element.value..];
        if element.length != UNDEFINED {
            // A value cut short is judged against the image's size, with a clearer message.
            let bytes = &rest[..rest.len().min(element.length as usize)];
            return Ok(PixelBytes::Native { bytes, words: element.vr == *b"OW" });
        }
        let mut at = element.value;
        let mut parts: Vec<&'a [u8]> = Vec::new();
        // The closing delimiter is often missing; the end of the file serves as well.
        while self.bytes.len() - at >= 8 {
            let item = self.element(at)?;
            match item.tag {
                ITEM if item.length == UNDEFINED => {
                    return Err("a pixel data fragment has no length".to_owned());
                }
                ITEM => {
                    let end = Self::end(&item, self.bytes.len())?;
                    parts.push(&self.bytes[item.value..end]);
                    at = end;
                }
                SEQUENCE_END => break,
                tag => {
                    return Err(format!(
                        "expected a pixel data fragment at byte {at}, found {tag}"
                    ));
                }
            }
        }
        if parts.is_empty() {
            return Err("the pixel data has no fragments".to_owned());
        }
        let table = parts.remove(0);
        let offsets = table.chunks_exact(4).map(|b| self.coding.u32([b[0], b[1], b[2], b[3]]));
        Ok(PixelBytes::Fragments { offsets: offsets.collect(), parts })
    }
}

/// Whether a value representation has a length of 16 bits (PS3.5, table 7.1-2).
pub(super) fn is_short(vr: [u8; 2]) -> bool {
    const SHORT: [&[u8; 2]; 21] = [
        b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FL", b"FD", b"IS", b"LO", b"LT", b"PN",
        b"SH", b"SL", b"SS", b"ST", b"TM", b"UI", b"UL", b"US",
    ];
    SHORT.contains(&&vr)
}

impl std::fmt::Display for Tag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "({:04X},{:04X})", self.0, self.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(levels: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        for _ in 0..levels {
            bytes.extend([0x08, 0, 0x40, 0x11, 0xFF, 0xFF, 0xFF, 0xFF]); // (0008,1140), no length
            bytes.extend([0xFE, 0xFF, 0x00, 0xE0, 0xFF, 0xFF, 0xFF, 0xFF]); // an item, no length
        }
        bytes
    }

    #[test]
    fn deep_nesting_is_refused_before_the_stack_is() {
        let why = walk(&nested(100_000), Coding::IMPLICIT).unwrap_err();
        assert_eq!(why, "sequences are nested deeper than 64 levels");
    }

    #[test]
    fn a_length_beyond_the_file_is_refused() {
        let bytes = [0x10, 0, 0x10, 0, b'U', b'T', 0, 0, 0xF0, 0xFF, 0xFF, 0x7F];
        let why = walk(&bytes, Coding::EXPLICIT).unwrap_err();
        assert_eq!(why, "element (0010,0010) states 2147483632 bytes, but only 0 follow");
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_walk_panic(bytes: Vec<u8>) {
            for coding in [Coding::IMPLICIT, Coding::EXPLICIT, Coding::BIG_ENDIAN] {
                let _ = walk(&bytes, coding);
            }
        }
    }
}
