//! [`Index`]: open, add, delete, search, compact.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use ndarray::{ArrayView3, Axis};
use serde_json::{Map, Value};

use super::filter::Filter;
use super::layout::{Entry, Layout, MANIFEST, Manifest, Precision};
use super::lock::WriteLock;
use super::search::{self, Hit};
use super::segment::{self, Line, Segment};
use super::vectors::{check_vectors, ready};
use crate::progress::Progress;
use crate::{Error, Result, files};

/// A row to add: its name, unique in the index, and what is known about it.
#[derive(Clone, Debug)]
pub struct Item {
    /// The name.
    pub key: String,
    /// Numbers, words, true/false or null by column name.
    pub metadata: Map<String, Value>,
}

/// An index of vectors in a folder.
#[derive(Debug)]
pub struct Index {
    folder: PathBuf,
    manifest: Manifest,
    segments: Vec<Segment>,
    /// Segment and row of every live key.
    places: HashMap<String, (u32, u32)>,
}

impl Index {
    /// Makes an empty index in `folder`, which must not hold one; `model` names what makes vectors.
    pub fn create(folder: &Path, layout: Layout, model: Option<String>) -> Result<Self> {
        layout.row_len()?;
        if cfg!(target_endian = "big") {
            return Err(Error::value("index", "big-endian machines cannot map its files"));
        }
        files::create_folder(folder)?;
        let _lock = WriteLock::take(folder)?;
        if folder.join(MANIFEST).exists() {
            let why = "an index is already there; open it, or choose another folder";
            return Err(Error::value(folder.display().to_string(), why));
        }
        let manifest = Manifest::new(layout, model);
        manifest.write(folder)?;
        Self::load(folder, manifest, false)
    }

    /// Opens the index in `folder`; `verify` compares all vectors with their checksums.
    pub fn open(folder: &Path, verify: bool) -> Result<Self> {
        let mut manifest = Manifest::read(folder)?;
        loop {
            match Self::load(folder, manifest.clone(), verify) {
                Ok(index) => return Ok(index),
                Err(error) => {
                    // A writer may have replaced files between the two reads: then look again.
                    let now = Manifest::read(folder)?;
                    if now.generation == manifest.generation {
                        return Err(error);
                    }
                    manifest = now;
                }
            }
        }
    }

    fn load(folder: &Path, manifest: Manifest, verify: bool) -> Result<Self> {
        let mut segments = Vec::with_capacity(manifest.segments.len());
        for entry in &manifest.segments {
            segments.push(Segment::open(folder, entry, &manifest.layout, verify)?);
        }
        let mut index =
            Self { folder: folder.to_owned(), manifest, segments, places: HashMap::new() };
        for number in 0..index.segments.len() {
            index.note_places(number);
        }
        Ok(index)
    }

    fn note_places(&mut self, number: usize) {
        let segment = &self.segments[number];
        for row in (0..segment.rows()).filter(|&row| segment.alive[row]) {
            self.places.insert(segment.keys[row].clone(), (number as u32, row as u32));
        }
    }

    /// What every row looks like.
    pub fn layout(&self) -> Layout {
        self.manifest.layout
    }

    /// What made the vectors, when it was said.
    pub fn model(&self) -> Option<&str> {
        self.manifest.model.as_deref()
    }

    /// How many rows count.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// True when no row counts.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// How many segments and how many deleted rows there are; [`Index::compact`] makes it (1, 0).
    pub fn waste(&self) -> (usize, usize) {
        let rows: usize = self.segments.iter().map(Segment::rows).sum();
        (self.segments.len(), rows - self.len())
    }

    /// The names of all metadata columns.
    pub fn columns(&self) -> Vec<String> {
        let mut names: Vec<String> = self
            .segments
            .iter()
            .flat_map(|segment| segment.columns.iter().map(|(name, _)| name.to_owned()))
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// True when `key` is in the index.
    pub fn contains(&self, key: &str) -> bool {
        self.places.contains_key(key)
    }

    /// Fails when `model` is known not to be what made the vectors.
    pub fn check_model(&self, model: Option<&str>) -> Result<()> {
        match (self.model(), model) {
            (Some(own), Some(other)) if own != other => {
                let why = format!(
                    "its fingerprint is {other:?}, but the index was made with {own:?}; vectors \
                     of different models or recipes cannot be compared"
                );
                Err(Error::value("model", why))
            }
            _ => Ok(()),
        }
    }

    /// Appends rows: `vectors` (N, V, D) and their items, all of them or, on an error, none.
    pub fn add(&mut self, vectors: ArrayView3<'_, f32>, items: &[Item]) -> Result<()> {
        let layout = self.layout();
        check_vectors("vectors", vectors, &layout, Some(layout.vectors))?;
        if items.len() != vectors.dim().0 {
            let why = format!("{} for {} vectors, expected one each", items.len(), vectors.dim().0);
            return Err(Error::value("keys", why));
        }
        if items.is_empty() {
            return Ok(());
        }
        if items.len() > u32::MAX as usize {
            return Err(Error::value("vectors", "over 4294967295 rows at once; add them in parts"));
        }
        let _lock = self.lock()?;
        self.check_items(items)?;
        let vectors = ready("vectors", vectors, &layout)?;
        let mut manifest = self.manifest.clone();
        manifest.generation += 1;
        let name = format!("{:08}", manifest.generation);
        let entry = segment::write(&self.folder, &name, items.len(), |row, bytes| {
            let numbers = vectors.index_axis(Axis(0), row);
            // `ready` lays rows out densely, so the slice is there.
            segment::encode(numbers.as_slice().unwrap_or_default(), layout.precision, bytes);
            Line { key: items[row].key.clone(), metadata: items[row].metadata.clone() }
        })?;
        manifest.segments.push(entry);
        self.commit(manifest)
    }

    fn check_items(&self, items: &[Item]) -> Result<()> {
        let mut seen = HashSet::with_capacity(items.len());
        for (row, item) in items.iter().enumerate() {
            if item.key.is_empty() {
                return Err(Error::value("keys", format!("row {row} is empty, expected a name")));
            }
            if !seen.insert(&item.key) || self.contains(&item.key) {
                let known = self.contains(&item.key);
                let place = if known { "already in the index" } else { "given twice" };
                // A key may be a study's identifier.
                let why = format!("row {row} is {place}, expected unique keys");
                return Err(Error::value("keys", why));
            }
            for (name, value) in &item.metadata {
                let reserved = ["key", "score", "rank", "query"].contains(&name.as_str());
                if reserved || name.is_empty() || name.contains('`') {
                    let why = format!("column {name:?} cannot be used; rename it");
                    return Err(Error::value("metadata", why));
                }
                if value.is_array() || value.is_object() {
                    let why = format!(
                        "column `{name}`, row {row}: expected a number, text, true/false or null"
                    );
                    return Err(Error::value("metadata", why));
                }
            }
        }
        Ok(())
    }

    /// Deletes rows by name and says how many; a name that is not there is an error, then none go.
    pub fn delete_keys(&mut self, keys: &[String]) -> Result<usize> {
        let _lock = self.lock()?;
        let unknown = keys.iter().filter(|key| !self.contains(key)).count();
        if unknown > 0 {
            let why = format!("{unknown} of {} are not in the index", keys.len());
            return Err(Error::value("keys", why));
        }
        let places: HashSet<(u32, u32)> = keys.iter().map(|key| self.places[key]).collect();
        self.delete(&places)
    }

    /// Deletes the rows that `filter` keeps and says how many.
    pub fn delete_where(&mut self, filter: &Filter) -> Result<usize> {
        let _lock = self.lock()?;
        let allowed = self.allowed(Some(filter))?;
        let places = allowed.iter().enumerate().flat_map(|(segment, rows)| {
            let rows = rows.iter().enumerate().filter(|(_, allowed)| **allowed);
            rows.map(move |(row, _)| (segment as u32, row as u32))
        });
        let places = places.collect();
        self.delete(&places)
    }

    fn delete(&mut self, places: &HashSet<(u32, u32)>) -> Result<usize> {
        if places.is_empty() {
            return Ok(0);
        }
        let mut manifest = self.manifest.clone();
        manifest.generation += 1;
        let mut by_segment: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for &(segment, row) in places {
            by_segment.entry(segment as usize).or_default().push(row as usize);
        }
        for (number, rows) in by_segment {
            let mut alive = self.segments[number].alive.clone();
            for row in rows {
                alive[row] = false;
            }
            let file = format!("{:08}-{number}.deleted", manifest.generation);
            let deleted = segment::write_deleted(&self.folder, file, &alive)?;
            manifest.segments[number].deleted = Some(deleted);
        }
        self.commit(manifest)?;
        Ok(places.len())
    }

    /// Rewrites all live rows as one segment, which frees the space of deleted ones.
    pub fn compact(&mut self) -> Result<()> {
        let _lock = self.lock()?;
        let rows: Vec<(usize, usize)> = self
            .segments
            .iter()
            .enumerate()
            .flat_map(|(number, segment)| {
                (0..segment.rows()).filter(|&row| segment.alive[row]).map(move |row| (number, row))
            })
            .collect();
        let mut manifest = self.manifest.clone();
        manifest.generation += 1;
        manifest.segments.clear();
        if !rows.is_empty() {
            let name = format!("{:08}", manifest.generation);
            let entry = segment::write(&self.folder, &name, rows.len(), |number, bytes| {
                let (segment, row) = rows[number];
                bytes.extend_from_slice(self.segments[segment].bytes(row));
                self.segments[segment].line(row)
            })?;
            manifest.segments.push(entry);
        }
        self.commit(manifest)
    }

    /// The best `k` rows for each of `queries` (M, Q, D), best first, equal scores by key.
    pub fn search(
        &self,
        queries: ArrayView3<'_, f32>,
        k: usize,
        filter: Option<&Filter>,
        progress: &Progress,
    ) -> Result<Vec<Vec<Hit>>> {
        let layout = self.layout();
        check_vectors("query", queries, &layout, None)?;
        if k == 0 {
            return Err(Error::value("k", "got 0, expected at least 1"));
        }
        let queries = ready("query", queries, &Layout { precision: Precision::Float32, ..layout })?;
        let allowed = self.allowed(filter)?;
        search::search(&layout, &self.segments, &allowed, queries.view(), k, progress)
    }

    /// Marks the live rows that `filter` keeps.
    fn allowed(&self, filter: Option<&Filter>) -> Result<Vec<Vec<bool>>> {
        let Some(filter) = filter else {
            return Ok(self.segments.iter().map(|segment| segment.alive.clone()).collect());
        };
        filter.check(self.segments.iter().map(|segment| &segment.columns))?;
        let keep = |segment: &Segment| filter.keep(&segment.keys, &segment.columns, &segment.alive);
        Ok(self.segments.iter().map(keep).collect())
    }

    /// Takes the write lock and catches up with other writers.
    fn lock(&mut self) -> Result<WriteLock> {
        let lock = WriteLock::take(&self.folder)?;
        self.refresh()?;
        Ok(lock)
    }

    /// Catches up with what other processes wrote; says whether there was anything.
    pub fn refresh(&mut self) -> Result<bool> {
        let stale = Manifest::read(&self.folder)? != self.manifest;
        if stale {
            *self = Self::open(&self.folder, false)?;
        }
        Ok(stale)
    }

    /// Makes `manifest` the state: the files it names are all written and synced by now.
    fn commit(&mut self, manifest: Manifest) -> Result<()> {
        // All that can fail comes first, so that an error leaves this handle as it was.
        let known = |entry: &Entry| {
            self.manifest.segments.iter().position(|own| own.vectors == entry.vectors)
        };
        let mut fresh = Vec::new();
        for entry in &manifest.segments {
            fresh.push(match known(entry) {
                Some(own) => Err((own, segment::read_alive(&self.folder, entry)?)),
                None => Ok(Segment::open(&self.folder, entry, &manifest.layout, false)?),
            });
        }
        manifest.write(&self.folder)?;
        let mut old: Vec<Option<Segment>> = self.segments.drain(..).map(Some).collect();
        for segment in fresh {
            self.segments.extend(match segment {
                Ok(segment) => Some(segment),
                Err((own, alive)) => old[own].take().map(|mut segment| {
                    segment.alive = alive;
                    segment
                }),
            });
        }
        self.manifest = manifest;
        self.places.clear();
        for number in 0..self.segments.len() {
            self.note_places(number);
        }
        self.sweep();
        Ok(())
    }

    /// Removes files that no longer count: of older states, or of writers that crashed.
    fn sweep(&self) {
        let keep: HashSet<&str> = self.manifest.files().collect();
        let Ok(entries) = fs::read_dir(&self.folder) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let ends = [".vectors", ".items.jsonl", ".deleted", ".tmp"];
            let stem = name.trim_start_matches('.');
            let ours = ends.iter().any(|end| name.ends_with(end))
                && (stem.starts_with(|c: char| c.is_ascii_digit()) || stem.starts_with(MANIFEST));
            if ours && !keep.contains(name.as_str()) {
                // Best effort: what is left is removed at the next change.
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}
