//! The header of a safetensors file, believed only after every number in it was checked.
//!
//! Source: the format page of the safetensors project: eight bytes of length, JSON, then data
//! without holes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use candle::DType;
use serde::Deserialize;

use crate::{Error, Result};

/// The format's own limit.
const LARGEST_HEADER: u64 = 100_000_000;

/// Longer names only come from broken files; name maps try every split of one.
const LONGEST_NAME: usize = 1024;

/// Names of element types: bytes of one element, and candle's type where there is one.
const TYPES: &[(&str, u64, Option<DType>)] = &[
    ("BOOL", 1, Some(DType::U8)),
    ("U8", 1, Some(DType::U8)),
    ("I8", 1, None),
    ("F8_E5M2", 1, None),
    ("F8_E4M3", 1, None),
    ("I16", 2, Some(DType::I16)),
    ("U16", 2, None),
    ("F16", 2, Some(DType::F16)),
    ("BF16", 2, Some(DType::BF16)),
    ("I32", 4, Some(DType::I32)),
    ("U32", 4, Some(DType::U32)),
    ("F32", 4, Some(DType::F32)),
    ("F64", 8, Some(DType::F64)),
    ("I64", 8, Some(DType::I64)),
    ("U64", 8, None),
];

/// Where one tensor lies in its file.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) shape: Vec<usize>,
    pub(super) type_name: &'static str,
    pub(super) dtype: Option<DType>,
    /// First byte, counted from the start of the file.
    pub(super) start: u64,
    pub(super) bytes: usize,
}

/// All tensors of one file, and the text stored beside them.
pub(super) struct Header {
    pub(super) entries: BTreeMap<String, Entry>,
    pub(super) metadata: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Raw {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: (u64, u64),
}

/// Reads and checks the header of the open file at `path`.
pub(super) fn read(path: &Path, file: &mut File) -> Result<Header> {
    let wrong = |why: String| Error::format(path, why);
    let size = file.metadata().map_err(|source| Error::io(path, source))?.len();
    let mut length = [0; 8];
    if size < 8 {
        return Err(wrong(format!("found {size} bytes, expected a safetensors header")));
    }
    file.read_exact(&mut length).map_err(|source| Error::io(path, source))?;
    let length = u64::from_le_bytes(length);
    if length > LARGEST_HEADER || length > size - 8 {
        return Err(wrong(format!(
            "found a header of {length} bytes in a file of {size}; not a safetensors file, or cut off"
        )));
    }
    let mut text = vec![0; length as usize];
    file.read_exact(&mut text).map_err(|source| Error::io(path, source))?;
    let mut json: BTreeMap<String, serde_json::Value> = serde_json::from_slice(&text)
        .map_err(|why| wrong(format!("the safetensors header is not valid JSON: {why}")))?;
    let metadata = json.remove("__metadata__").map_or_else(
        || Ok(BTreeMap::new()),
        |value| {
            serde_json::from_value(value)
                .map_err(|why| wrong(format!("__metadata__: {why}; expected texts by name")))
        },
    )?;
    let entries = entries(json, 8 + length, size).map_err(wrong)?;
    Ok(Header { entries, metadata })
}

fn entries(
    json: BTreeMap<String, serde_json::Value>,
    start: u64,
    size: u64,
) -> std::result::Result<BTreeMap<String, Entry>, String> {
    let mut entries = BTreeMap::new();
    let mut spans = Vec::with_capacity(json.len());
    for (name, value) in json {
        if name.len() > LONGEST_NAME {
            return Err(format!("found a name of {} bytes, at most {LONGEST_NAME}", name.len()));
        }
        let raw: Raw = serde_json::from_value(value).map_err(|why| format!("`{name}`: {why}"))?;
        let (begin, end) = raw.data_offsets;
        let &(type_name, width, dtype) =
            TYPES.iter().find(|(known, ..)| *known == raw.dtype).ok_or_else(|| {
                format!("`{name}`: found element type {:?}, expected F32, F16, BF16, …", raw.dtype)
            })?;
        let expected =
            raw.shape.iter().try_fold(width, |product, &axis| product.checked_mul(axis as u64));
        if expected.is_none() || end.checked_sub(begin) != expected {
            return Err(format!(
                "`{name}`: found bytes {begin}..{end} for shape {:?} of {type_name}",
                raw.shape
            ));
        }
        spans.push((begin, end));
        let start = start.checked_add(begin).ok_or("an offset overflows")?;
        let bytes = (end - begin) as usize;
        entries.insert(name, Entry { shape: raw.shape, type_name, dtype, start, bytes });
    }
    spans.sort_unstable();
    let mut reached = 0;
    for (begin, end) in spans {
        if begin != reached {
            return Err(format!("tensors overlap or leave a hole at byte {reached}"));
        }
        reached = end;
    }
    if start + reached != size {
        let found = size - start;
        return Err(format!(
            "found {found} bytes of data, expected {reached}; the file is cut off or padded"
        ));
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(header: &str, data: usize) -> std::result::Result<Header, String> {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.bytes());
        bytes.resize(bytes.len() + data, 0);
        parse_bytes(&bytes)
    }

    fn parse_bytes(bytes: &[u8]) -> std::result::Result<Header, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        std::fs::write(&path, bytes).unwrap();
        read(&path, &mut File::open(&path).unwrap()).map_err(|error| error.to_string())
    }

    fn error(header: &str, data: usize) -> String {
        parse(header, data).err().unwrap_or_else(|| panic!("{header} was accepted"))
    }

    const GOOD: &str = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F16","shape":[],"data_offsets":[8,10]}}"#;

    #[test]
    fn sound_headers_are_read_and_lies_are_named() {
        assert_eq!(parse(GOOD, 10).unwrap().entries.len(), 2);
        assert!(error(GOOD, 9).contains("found 9 bytes of data, expected 10"));
        assert!(error(GOOD, 11).contains("cut off or padded"));
        assert!(error(&GOOD.replace("[2]", "[3]"), 10).contains("found bytes 0..8 for shape [3]"));
        assert!(error(&GOOD.replace("[2]", "[18446744073709551615,4]"), 10).contains("`a`"));
        assert!(error(&GOOD.replace("[8,10]", "[6,8]"), 8).contains("overlap or leave a hole"));
        assert!(error(&GOOD.replace("[8,10]", "[10,8]"), 10).contains("`b`: found bytes 10..8"));
        assert!(error(&GOOD.replace("F16", "F12"), 10).contains("found element type \"F12\""));
        assert!(
            error(&GOOD.replace("\"b\"", &format!("\"{}\"", "b".repeat(2000))), 10)
                .contains("a name of 2000 bytes")
        );
        assert!(error("{\"a\": 1}", 0).contains("`a`: invalid type"));
        assert!(error("{", 0).contains("not valid JSON"));
    }

    #[test]
    fn a_length_beyond_the_file_allocates_nothing() {
        let mut bytes = u64::MAX.to_le_bytes().to_vec();
        bytes.extend(b"{}");
        let error = parse_bytes(&bytes).err().unwrap();
        assert!(error.contains("found a header of 18446744073709551615 bytes in a file of 10"));
        assert!(parse_bytes(b"PK").err().unwrap().contains("found 2 bytes"));
    }

    proptest! {
        #[test]
        fn no_change_of_a_byte_makes_it_panic(place in 0usize..GOOD.len() + 8, byte: u8) {
            let mut bytes = (GOOD.len() as u64).to_le_bytes().to_vec();
            bytes.extend(GOOD.bytes());
            bytes.resize(bytes.len() + 10, 0);
            bytes[place] = byte;
            if let Ok(header) = parse_bytes(&bytes) {
                let end = header.entries.values().map(|e| e.start + e.bytes as u64).max();
                prop_assert!(end.unwrap_or(0) <= bytes.len() as u64);
            }
        }
    }
}
