//! Rows written together: a matrix to map, a JSON line for each row, a list of deleted rows.

use std::io::{BufWriter, Write};
use std::path::Path;

use half::f16;
use half::slice::HalfFloatSliceExt;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::cell::Columns;
use super::layout::{Deleted, Entry, Layout, Precision};
use crate::kernels::MappedFile;
use crate::{Error, Result, files};

/// A line of the items file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Line {
    pub(super) key: String,
    pub(super) metadata: Map<String, Value>,
}

/// An open segment.
#[derive(Debug)]
pub(super) struct Segment {
    vectors: MappedFile,
    row_len: usize,
    precision: Precision,
    pub(super) keys: Vec<String>,
    pub(super) columns: Columns,
    /// True for rows that still count.
    pub(super) alive: Vec<bool>,
}

impl Segment {
    /// Opens the segment of `entry`; `verify` compares the vectors with their checksum, too.
    pub(super) fn open(
        folder: &Path,
        entry: &Entry,
        layout: &Layout,
        verify: bool,
    ) -> Result<Self> {
        let path = folder.join(&entry.vectors);
        let vectors = MappedFile::open(&path)?;
        let row_len = layout.row_len()?;
        let expected = entry.rows.checked_mul(row_len * layout.precision.size());
        if expected != Some(vectors.bytes().len()) {
            let why = format!(
                "{} bytes, expected {} rows of {row_len} numbers",
                vectors.bytes().len(),
                entry.rows
            );
            return Err(Error::format(path, why));
        }
        if verify {
            check(&path, vectors.bytes(), &entry.vectors_sha256)?;
        }
        let (keys, columns) = read_items(folder, entry)?;
        let alive = read_alive(folder, entry)?;
        Ok(Self { vectors, row_len, precision: layout.precision, keys, columns, alive })
    }

    pub(super) fn rows(&self) -> usize {
        self.keys.len()
    }

    /// The numbers of rows `start`..`end`, converted into `scratch` where they are halves.
    pub(super) fn numbers<'a>(
        &'a self,
        start: usize,
        end: usize,
        scratch: &'a mut Vec<f32>,
    ) -> &'a [f32] {
        let range = start * self.row_len..end * self.row_len;
        match self.precision {
            Precision::Float32 => &self.vectors.floats()[range],
            Precision::Float16 => {
                scratch.resize(range.len(), 0.0);
                self.vectors.halves()[range].convert_to_f32_slice(scratch);
                scratch
            }
        }
    }

    /// The stored bytes of a row.
    pub(super) fn bytes(&self, row: usize) -> &[u8] {
        let size = self.row_len * self.precision.size();
        &self.vectors.bytes()[row * size..(row + 1) * size]
    }

    pub(super) fn line(&self, row: usize) -> Line {
        Line { key: self.keys[row].clone(), metadata: self.columns.row(row) }
    }
}

/// Writes numbers as stored bytes.
pub(super) fn encode(numbers: &[f32], precision: Precision, out: &mut Vec<u8>) {
    for &number in numbers {
        match precision {
            Precision::Float32 => out.extend(number.to_le_bytes()),
            Precision::Float16 => out.extend(f16::from_f32(number).to_le_bytes()),
        }
    }
}

/// Writes the two files of a segment, rows given one by one as bytes and line.
pub(super) fn write(
    folder: &Path,
    name: &str,
    rows: usize,
    mut row: impl FnMut(usize, &mut Vec<u8>) -> Line,
) -> Result<Entry> {
    let (vectors, items) = (format!("{name}.vectors"), format!("{name}.items.jsonl"));
    let mut lines = Vec::new();
    files::write_atomic_with(&folder.join(&vectors), |file| {
        let mut file = BufWriter::with_capacity(1 << 20, file);
        let mut bytes = Vec::new();
        for number in 0..rows {
            bytes.clear();
            serde_json::to_writer(&mut lines, &row(number, &mut bytes))?;
            lines.push(b'\n');
            file.write_all(&bytes)?;
        }
        file.flush()
    })?;
    files::write_atomic(&folder.join(&items), &lines)?;
    let mapped = MappedFile::open(&folder.join(&vectors))?;
    Ok(Entry {
        rows,
        vectors_sha256: files::sha256_hex(mapped.bytes()),
        vectors,
        items_sha256: files::sha256_hex(&lines),
        items,
        deleted: None,
    })
}

/// Writes the list of rows of `alive` that are false.
pub(super) fn write_deleted(folder: &Path, file: String, alive: &[bool]) -> Result<Deleted> {
    let rows: Vec<usize> = (0..alive.len()).filter(|&row| !alive[row]).collect();
    let bytes: Vec<u8> = rows.iter().flat_map(|&row| (row as u32).to_le_bytes()).collect();
    files::write_atomic(&folder.join(&file), &bytes)?;
    Ok(Deleted { file, rows: rows.len(), sha256: files::sha256_hex(&bytes) })
}

fn read_items(folder: &Path, entry: &Entry) -> Result<(Vec<String>, Columns)> {
    let path = folder.join(&entry.items);
    let bytes = files::read(&path)?;
    check(&path, &bytes, &entry.items_sha256)?;
    let (mut keys, mut columns) = (Vec::new(), Columns::default());
    for (row, line) in bytes.split(|&byte| byte == b'\n').filter(|l| !l.is_empty()).enumerate() {
        let wrong = |why: String| Error::format(&path, format!("line {}: {why}", row + 1));
        let line: Line = serde_json::from_slice(line).map_err(|error| wrong(error.to_string()))?;
        columns
            .push(row, &line.metadata)
            .map_err(|name| wrong(format!("`{name}` is no number, text, true/false or null")))?;
        keys.push(line.key);
    }
    if keys.len() != entry.rows {
        let why = format!("{} lines, expected {}", keys.len(), entry.rows);
        return Err(Error::format(path, why));
    }
    columns.finish(keys.len());
    Ok((keys, columns))
}

/// Marks the rows of `entry` that still count.
pub(super) fn read_alive(folder: &Path, entry: &Entry) -> Result<Vec<bool>> {
    let mut alive = vec![true; entry.rows];
    if let Some(deleted) = &entry.deleted {
        let path = folder.join(&deleted.file);
        let bytes = files::read(&path)?;
        check(&path, &bytes, &deleted.sha256)?;
        for number in bytes.chunks_exact(4) {
            let row = u32::from_le_bytes([number[0], number[1], number[2], number[3]]) as usize;
            let row = alive.get_mut(row).ok_or_else(|| {
                Error::format(&path, format!("row {row}, expected below {}", entry.rows))
            })?;
            *row = false;
        }
    }
    Ok(alive)
}

fn check(path: &Path, bytes: &[u8], expected: &str) -> Result<()> {
    let found = files::sha256_hex(bytes);
    if found == expected {
        return Ok(());
    }
    let why = format!(
        "damaged: checksum {found:.12}…, expected {expected:.12}…; restore the folder from a backup"
    );
    Err(Error::format(path, why))
}
