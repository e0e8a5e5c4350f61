//! Weights laid out for products in a file. Processes map it, so they hold its pages together.
//!
//! The file: what was laid out, piece by piece, each from a line of the cache on; then a table as
//! JSON, the length of the table as eight bytes, and [`END`]. It is for one kind of processor, and
//! for one source, which its maker names.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io::{BufWriter, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::held::LINE;
use super::{MappedFile, Packed, Precision, instruction_set};
use crate::progress::Progress;
use crate::{Error, Result, files};

const FORMAT: &str = "carina-layouts";
const VERSION: u32 = 1;
/// How often who waits looks again.
const GLANCE: Duration = Duration::from_millis(100);
/// The last bytes of the file.
const END: &[u8; 8] = b"carinala";

#[derive(Serialize, Deserialize)]
struct Table {
    format: String,
    version: u32,
    /// What the weights were read from.
    source: String,
    /// The instruction set that they were laid out for.
    processor: String,
    weights: BTreeMap<String, Entry>,
}

/// One weight (O, I).
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Entry {
    shape: [usize; 2],
    precision: Precision,
    /// Whether no number is infinite or NaN.
    finite: bool,
    pieces: Vec<Range<usize>>,
}

/// Weights in a mapped file, by name.
#[derive(Debug)]
pub struct Layouts {
    path: PathBuf,
    file: Arc<MappedFile>,
    weights: BTreeMap<String, Entry>,
}

impl Layouts {
    /// Opens `path`: `None` where it is not there, or was made of another source or for another
    /// processor.
    ///
    /// # Errors
    /// When it is something else, or not whole.
    fn open(path: &Path, source: &str) -> Result<Option<Self>> {
        if !path.try_exists().map_err(|why| Error::io(path, why))? {
            return Ok(None);
        }
        drop(files::open(path)?); // refuses what could wait for ever
        if path.is_dir() {
            return Err(Error::format(path, "found a folder, expected a file or nothing"));
        }
        let file = MappedFile::open(path)?;
        let Some(table) = table(file.bytes()) else {
            let why = "found no file of laid-out weights, or a part of one, expected a whole one \
                       or none: name another place, or delete it";
            return Err(Error::format(path, why));
        };
        let ours = table.version == VERSION
            && table.source == source
            && table.processor == instruction_set();
        let path = path.to_owned();
        Ok(ours.then(|| Self { path, file: Arc::new(file), weights: table.weights }))
    }

    /// Opens `path`, after it was written if need be. Who comes while another process writes it
    /// waits.
    pub fn open_or_write(
        path: &Path,
        source: &str,
        progress: &Progress,
        fill: impl FnOnce(&mut LayoutsWriter) -> Result<()>,
    ) -> Result<Self> {
        if let Some(layouts) = Self::open(path, source)? {
            return Ok(layouts);
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let beside = path.with_file_name(format!(".{name}.lock"));
        let failed = |why| Error::io(&beside, why);
        // The system unlocks it when its holder ends, however that may be. What it says, if it is
        // somebody else's, stays.
        let lock = File::options().write(true).create(true).truncate(false).open(&beside);
        let lock = lock.map_err(failed)?;
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) => std::thread::sleep(GLANCE),
                Err(TryLockError::Error(why)) => return Err(failed(why)),
            }
            progress.check()?;
        }
        let layouts = if let Some(layouts) = Self::open(path, source)? {
            Some(layouts)
        } else {
            files::sweep_beside(path);
            Self::write(path, source, fill)?;
            Self::open(path, source)?
        };
        layouts.ok_or_else(|| Error::format(path, "found it changed while it was opened"))
    }

    /// Writes `path`, whole or not at all: all that `fill` puts in.
    fn write(
        path: &Path,
        source: &str,
        fill: impl FnOnce(&mut LayoutsWriter) -> Result<()>,
    ) -> Result<()> {
        let mut failed = None; // our own error, carried past the writer's io::Result
        let written = files::write_atomic_with(path, |file| {
            let weights = BTreeMap::new();
            let mut writer = LayoutsWriter { path, file: BufWriter::new(file), at: 0, weights };
            if let Err(error) = fill(&mut writer) {
                let text = error.to_string();
                failed = Some(error);
                return Err(std::io::Error::other(text));
            }
            writer.finish(source)
        });
        written.map_err(|error| failed.unwrap_or(error))
    }

    /// Whether it holds a weight of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.weights.contains_key(name)
    }

    /// The layout of the weight `name` (O, I).
    pub(crate) fn get(
        &self,
        name: &str,
        shape: [usize; 2],
        precision: Precision,
    ) -> Result<Packed> {
        let wrong = |why: String| Error::format(&self.path, format!("weight `{name}`: {why}"));
        let entry = self.weights.get(name).ok_or_else(|| wrong("found none".to_owned()))?;
        if (entry.shape, entry.precision) != (shape, precision) {
            let found = (entry.shape, entry.precision);
            return Err(wrong(format!("found {found:?}, expected {:?}", (shape, precision))));
        }
        let packed = Packed::held(&self.file, &entry.pieces, shape, precision, entry.finite);
        packed.ok_or_else(|| {
            wrong("found pieces of another size or place than its shape takes".to_owned())
        })
    }
}

/// The table at the end, if these are the bytes of a whole file.
fn table(bytes: &[u8]) -> Option<Table> {
    let bytes = bytes.strip_suffix(END)?;
    let (rest, len) = bytes.split_last_chunk::<8>()?;
    let start = rest.len().checked_sub(usize::try_from(u64::from_le_bytes(*len)).ok()?)?;
    let table: Table = serde_json::from_slice(&rest[start..]).ok()?;
    // The last piece ends where the table begins, unless something is missing before it.
    let pieces = table.weights.values().flat_map(|entry| &entry.pieces);
    let end = pieces.map(|piece| piece.end).max().unwrap_or(0);
    (table.format == FORMAT && end == start).then_some(table)
}

/// A file of laid-out weights that is being written.
pub struct LayoutsWriter<'a> {
    path: &'a Path,
    file: BufWriter<&'a mut File>,
    at: usize,
    weights: BTreeMap<String, Entry>,
}

impl LayoutsWriter<'_> {
    /// Adds the weight `name`, laid out.
    pub(crate) fn put(&mut self, name: &str, packed: &Packed, precision: Precision) -> Result<()> {
        let mut pieces = Vec::new();
        for bytes in packed.pieces() {
            let start = self.at.next_multiple_of(LINE);
            let gap = [0; LINE];
            let write = |file: &mut BufWriter<&mut File>| {
                file.write_all(&gap[..start - self.at])?;
                file.write_all(bytes)
            };
            write(&mut self.file).map_err(|why| Error::io(self.path, why))?;
            self.at = start + bytes.len();
            pieces.push(start..self.at);
        }
        let entry = Entry { shape: packed.shape(), precision, finite: packed.finite(), pieces };
        if self.weights.insert(name.to_owned(), entry).is_some() {
            return Err(Error::Internal(format!("weight `{name}` was laid out twice")));
        }
        Ok(())
    }

    fn finish(mut self, source: &str) -> std::io::Result<()> {
        let table = Table {
            format: FORMAT.to_owned(),
            version: VERSION,
            source: source.to_owned(),
            processor: instruction_set().to_owned(),
            weights: self.weights,
        };
        let table = serde_json::to_vec(&table)?;
        self.file.write_all(&table)?;
        self.file.write_all(&(table.len() as u64).to_le_bytes())?;
        self.file.write_all(END)?;
        self.file.flush()
    }
}
