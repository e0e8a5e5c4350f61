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
