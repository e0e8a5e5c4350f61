//! The manifest: what the vectors are and which files count.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{Error, Result, files};

const FORMAT: &str = "carina-index";
const VERSION: u32 = 1;
/// The name of the manifest in the folder.
pub(super) const MANIFEST: &str = "index.json";

/// How two vectors are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Cosine of the angle; vectors are stored with length one.
    #[default]
    Cosine,
    /// Inner product.
    Dot,
}

/// How a number is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// Four bytes.
    #[default]
    Float32,
    /// Two bytes; about three decimal digits.
    Float16,
}

impl Precision {
    /// Bytes of one number.
    pub fn size(self) -> usize {
        match self {
            Self::Float32 => 4,
            Self::Float16 => 2,
        }
    }
}

/// What every row of an index looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layout {
    /// Length of one vector, D.
    pub dimension: usize,
    /// Vectors of one row, V; a row scores by its best.
    pub vectors: usize,
    /// How vectors are compared.
    pub metric: Metric,
    /// How numbers are stored.
    pub precision: Precision,
}

impl Layout {
    /// Numbers of one row; fails when the layout makes no sense.
    pub fn row_len(&self) -> Result<usize> {
        let sane = |n: usize| (1..=1 << 20).contains(&n);
        if sane(self.dimension) && sane(self.vectors) {
            return Ok(self.dimension * self.vectors);
        }
        let why = format!(
            "{} vectors of {} numbers a row, expected 1 to 1048576 of each",
            self.vectors, self.dimension
        );
        Err(Error::value("layout", why))
    }
}

/// Rows that no longer count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Deleted {
    pub(super) file: String,
    pub(super) rows: usize,
    pub(super) sha256: String,
}

/// One segment and the files that hold it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    pub(super) rows: usize,
    pub(super) vectors: String,
    pub(super) vectors_sha256: String,
    pub(super) items: String,
    pub(super) items_sha256: String,
    pub(super) deleted: Option<Deleted>,
}

/// The state of an index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    format: String,
    version: u32,
    /// Counts the changes.
    pub(super) generation: u64,
    pub(super) layout: Layout,
    /// Which model and recipe made the vectors.
    pub(super) model: Option<String>,
    pub(super) segments: Vec<Entry>,
}

impl Manifest {
    pub(super) fn new(layout: Layout, model: Option<String>) -> Self {
        let format = FORMAT.to_owned();
        Self { format, version: VERSION, generation: 0, layout, model, segments: Vec::new() }
    }

    pub(super) fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(MANIFEST);
        if !path.is_file() {
            let why = format!("no {MANIFEST} there, expected the folder of an index");
            return Err(Error::format(folder, why));
        }
        let wrong = |why: String| Error::format(&path, why);
        let manifest: Self = serde_json::from_slice(&files::read(&path)?)
            .map_err(|error| wrong(format!("not the manifest of an index: {error}")))?;
        if manifest.format != FORMAT || manifest.version != VERSION {
            let found = format!("{} version {}", manifest.format, manifest.version);
            return Err(wrong(format!("found {found}, expected {FORMAT} version {VERSION}")));
        }
        manifest.layout.row_len().map_err(|error| wrong(error.to_string()))?;
        for name in manifest.files() {
            // A name with a path in it could reach outside the folder.
            if name.is_empty() || name.contains(['/', '\\']) || name.starts_with('.') {
                return Err(wrong(format!("file {name:?}, expected a plain name")));
            }
        }
        Ok(manifest)
    }

    pub(super) fn write(&self, folder: &Path) -> Result<()> {
        let text = serde_json::to_vec_pretty(self)
            .map_err(|error| Error::Internal(format!("index manifest: {error}")))?;
        files::write_atomic(&folder.join(MANIFEST), &text)
    }

    /// All files that count.
    pub(super) fn files(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().flat_map(|entry| {
            [entry.vectors.as_str(), &entry.items]
                .into_iter()
                .chain(entry.deleted.as_ref().map(|deleted| deleted.file.as_str()))
        })
    }
}
