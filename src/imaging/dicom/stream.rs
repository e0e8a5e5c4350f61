//! A DICOM file taken apart: preamble, meta group, transfer syntax, data set.
//!
//! Source: DICOM PS3.10, section 7.1 (preamble and meta information); PS3.5, annex A.

use std::borrow::Cow;
use std::io::Read;

use super::walk::{Coding, Found, Why, is_short, walk, walk_header};

/// How the pixels are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Codec {
    None,
    Rle,
    Jpeg,
    JpegLs,
    Jpeg2000,
    /// Each frame is deflated by itself.
    Deflate,
}

/// A data set with what is needed to read it.
pub(super) struct Stream<'a> {
    pub(super) codec: Codec,
    pub(super) coding: Coding,
    /// The data set, inflated where the syntax deflates it.
    pub(super) data_set: Cow<'a, [u8]>,
    /// What had to be guessed.
    pub(super) notes: Vec<String>,
}

/// Whether the bytes open like a DICOM file, with or without its preamble.
pub(crate) fn is_dicom(bytes: &[u8]) -> bool {
    has_preamble(bytes) || bytes.starts_with(&[2, 0, 0, 0]) || guess(bytes, walk).is_ok()
}

/// As [`is_dicom`] for the beginning of a file, which may end anywhere within its pixels.
pub(crate) fn may_be_dicom(bytes: &[u8]) -> bool {
    has_preamble(bytes) || bytes.starts_with(&[2, 0, 0, 0]) || guess(bytes, walk_header).is_ok()
}

fn has_preamble(bytes: &[u8]) -> bool {
    bytes.get(128..132) == Some(b"DICM")
}

/// A walk over a data set: the whole of it, or its header.
type Walker = fn(&[u8], Coding) -> Why<Found<'_>>;

/// Finds the data set of a file and the way it is written; what can be walked decides.
pub(super) fn open(bytes: &[u8], walk: Walker) -> Why<Stream<'_>> {
    let mut notes = Vec::new();
    let start = if has_preamble(bytes) { 132 } else { 0 };
    if start == 0 {
        notes.push("read without a DICOM preamble".to_owned());
    }
    let (syntax, after_meta) = meta(bytes, start)?;
    let rest = &bytes[after_meta..];
    let Some(syntax) = syntax else {
        let coding = guess(rest, walk)?;
        notes.push("transfer syntax guessed from the data set".to_owned());
        return Ok(Stream { codec: Codec::None, coding, data_set: Cow::Borrowed(rest), notes });
    };
    let (mut coding, codec, deflated) = understand(&syntax)?;
    let data_set = if deflated {
        Cow::Owned(inflate(rest, inflated_limit(rest.len()))?)
    } else {
        Cow::Borrowed(rest)
    };
    // Some writers label implicit data as explicit.
    if let Err(why) = walk(&data_set, coding) {
        coding = guess(&data_set, walk).map_err(|_| why)?;
        notes.push("data set not written in the stated transfer syntax".to_owned());
    }
    Ok(Stream { codec, coding, data_set, notes })
}

/// Reads the meta group, always explicit and little-endian; gives the transfer syntax and the end.
fn meta(bytes: &[u8], start: usize) -> Why<(Option<String>, usize)> {
    let mut at = start;
    let mut syntax = None;
    while let Some(&[2, 0, e0, e1, v0, v1, l0, l1]) = bytes.get(at..).and_then(|b| b.first_chunk())
    {
        let (length, value) = if is_short([v0, v1]) {
            (u32::from(u16::from_le_bytes([l0, l1])), at + 8)
        } else {
            let long = bytes.get(at + 8..).and_then(|b| b.first_chunk::<4>());
            (u32::from_le_bytes(*long.ok_or("the meta group is cut short")?), at + 12)
        };
        let content = value
            .checked_add(length as usize)
            .and_then(|end| bytes.get(value..end))
            .ok_or_else(|| {
                format!(
                    "the meta group states {length} bytes at byte {at}, beyond the end of the file"
                )
            })?;
        if [e0, e1] == [0x10, 0x00] {
            let text = String::from_utf8_lossy(content);
            syntax = Some(text.trim_matches(['\0', ' ']).to_owned()).filter(|s| !s.is_empty());
        }
        at = value + content.len();
    }
    Ok((syntax, at))
}

fn understand(syntax: &str) -> Why<(Coding, Codec, bool)> {
    let explicit = |codec| Ok((Coding::EXPLICIT, codec, false));
    let Some(tail) = syntax.strip_prefix("1.2.840.10008.1.2") else {
        return Err(format!("private transfer syntax {syntax}; export the file uncompressed"));
    };
    match tail {
        "" => Ok((Coding::IMPLICIT, Codec::None, false)),
        ".1" | ".1.98" => explicit(Codec::None),
        ".1.99" => Ok((Coding::EXPLICIT, Codec::None, true)),
        ".2" => Ok((Coding::BIG_ENDIAN, Codec::None, false)),
        ".4.50" | ".4.51" | ".4.57" | ".4.70" => explicit(Codec::Jpeg),
        ".4.80" | ".4.81" => explicit(Codec::JpegLs),
        ".4.90" | ".4.91" | ".4.201" | ".4.202" | ".4.203" => explicit(Codec::Jpeg2000),
        ".5" => explicit(Codec::Rle),
        ".8.1" => explicit(Codec::Deflate),
        _ => Err(format!(
            "transfer syntax {syntax} is not supported; export the file uncompressed or as JPEG, JPEG-LS, JPEG 2000 or RLE"
        )),
    }
}

/// Finds the one way of writing that explains the whole data set.
fn guess(bytes: &[u8], walk: Walker) -> Why<Coding> {
    let likely = |coding: Coding| {
        let group = match (bytes.first_chunk::<2>(), coding.big_endian) {
            (Some(&b), true) => u16::from_be_bytes(b),
            (Some(&b), false) => u16::from_le_bytes(b),
            (None, _) => return false,
        };
        (0x0004..=0x0028).contains(&group)
            && walk(bytes, coding).is_ok_and(|found| found.header.len() >= 16)
    };
    let all = [Coding::EXPLICIT, Coding::IMPLICIT, Coding::BIG_ENDIAN];
    let mut fitting = all.into_iter().filter(|&coding| likely(coding));
    match (fitting.next(), fitting.next()) {
        (Some(coding), None) => Ok(coding),
        (None, _) => Err("no DICOM data set can be read from it".to_owned()),
        (Some(_), Some(_)) => Err("its DICOM transfer syntax is ambiguous".to_owned()),
    }
}

/// How much a deflated stream of `length` bytes may grow: films rarely shrink below a hundredth.
fn inflated_limit(length: usize) -> usize {
    (64 << 20) + length.saturating_mul(64)
}

/// Inflates a raw deflate stream, up to a limit.
pub(super) fn inflate(bytes: &[u8], limit: usize) -> Why<Vec<u8>> {
    let mut content = Vec::new();
    let read = flate2::read::DeflateDecoder::new(bytes)
        .take(limit as u64 + 1)
        .read_to_end(&mut content)
        .map_err(|error| format!("the deflated data cannot be inflated: {error}"))?;
    if read > limit {
        return Err(format!("the deflated data grows beyond {limit} bytes"));
    }
    Ok(content)
}
