//! The files below a folder, and which series each belongs to.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::order::plan;
use super::{Folder, Series, Slice, Whole, several};
use crate::imaging::dicom::{self, FileFacts};
use crate::progress::Progress;
use crate::{Error, Result, files};

const MOST_FILES: usize = 1 << 18;
const MOST_LEVELS: usize = 32;

/// A header is looked for in so many bytes first, then in more, then in the whole file.
const BEGINNINGS: [u64; 2] = [1 << 15, 1 << 20];

/// Finds the series of a folder and of the folders in it, or of a file with several frames.
/// No pixel is decoded.
pub fn scan(path: &Path, progress: &Progress) -> Result<Folder> {
    let paths = below(path)?;
    progress.set_total(paths.len());
    let found: Vec<(u64, Seen)> = paths
        .par_iter()
        .map(|path| {
            progress.tick(1)?;
            look(path)
        })
        .collect::<Result<_>>()?;
    let mut folder = Folder { files: paths.len(), ..Folder::default() };
    let mut groups: BTreeMap<(i64, usize), Series> = BTreeMap::new();
    let mut firsts: BTreeMap<(String, bool), (i64, usize)> = BTreeMap::new();
    let mut patients: Vec<String> = Vec::new();
    for (index, (path, (bytes, seen))) in paths.into_iter().zip(found).enumerate() {
        let facts = match seen {
            Seen::Foreign => {
                folder.foreign += 1;
                continue;
            }
            Seen::NoPixels => {
                folder.without_pixels += 1;
                continue;
            }
            Seen::Unreadable(why) => {
                folder.unreadable.push((path, why));
                continue;
            }
            Seen::Slices(facts) => facts,
        };
        // Scouts often share the UID of the scan that was planned on them.
        let key =
            firsts.entry((facts.series.clone(), facts.localizer)).or_insert((facts.number, index));
        let patient = patients.iter().position(|p| *p == facts.patient).unwrap_or_else(|| {
            patients.push(facts.patient.clone());
            patients.len() - 1
        });
        let whole = Whole {
            patient,
            study: facts.study.clone(),
            modality: facts.modality.clone(),
            frame: facts.frame_of_reference.clone(),
        };
        let series = groups.entry(*key).or_insert_with(|| Series {
            files: Vec::new(),
            localizer: facts.localizer,
            stack: None,
            problem: None,
            mixed: None,
            slices: Vec::new(),
            bytes: 0,
            tilted: facts.tilted,
            whole: whole.clone(),
        });
        series.mixed = series.mixed.or(series.whole.differs(&whole));
        add(series, path, bytes, *facts);
    }
    folder.patients = patients.len();
    folder.series = groups.into_values().collect();
    for series in &mut folder.series {
        describe(series);
    }
    Ok(folder)
}

fn add(series: &mut Series, path: PathBuf, bytes: u64, facts: FileFacts) {
    let file = series.files.len();
    series.files.push(path);
    series.bytes += bytes;
    let (rows, cols, sample_bytes) = (facts.rows, facts.cols, facts.sample_bytes);
    let frames = facts.frames.into_iter().enumerate();
    series.slices.extend(frames.map(|(frame, facts)| Slice {
        file,
        frame,
        rows,
        cols,
        sample_bytes,
        facts,
    }));
}

fn describe(series: &mut Series) {
    if let Some(what) = series.mixed {
        series.problem = Some(several(what));
        return;
    }
    match plan(&series.slices, &[]) {
        Ok(plan) => series.stack = Some((plan.grid.shape, plan.grid.spacing)),
        Err(why) => series.problem = Some(why),
    }
}

/// The regular files below a folder, sorted; or the path itself when it is a file.
fn below(path: &Path) -> Result<Vec<PathBuf>> {
    let io = |source| Error::io(path, source);
    if fs::metadata(path).map_err(io)?.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    let mut folders = vec![(path.to_owned(), 0)];
    // Links may lead round in a circle: each folder is entered once, under its true name.
    let mut entered = HashSet::from([path.canonicalize().map_err(io)?]);
    while let Some((folder, level)) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(|source| Error::io(&folder, source))? {
            let path = entry.map_err(|source| Error::io(&folder, source))?.path();
            // A link to nowhere, or a file that vanished, is no file.
            let Ok(kind) = fs::metadata(&path) else { continue };
            if kind.is_dir() {
                let new = path.canonicalize().is_ok_and(|true_name| entered.insert(true_name));
                if new && level < MOST_LEVELS {
                    folders.push((path, level + 1));
                }
            } else if kind.is_file() {
                found.push(path);
            }
        }
        if found.len() > MOST_FILES {
            let why = format!("more than {MOST_FILES} files; name the folder of one study");
            return Err(Error::format(path, why));
        }
    }
    found.sort();
    Ok(found)
}

/// What a file is.
enum Seen {
    Foreign,
    NoPixels,
    Unreadable(String),
    Slices(Box<FileFacts>),
}

fn look(path: &Path) -> Result<(u64, Seen)> {
    let io = |source| Error::io(path, source);
    let mut file = files::open(path)?;
    let length = file.metadata().map_err(io)?.len();
    let mut bytes = Vec::new();
    for most in BEGINNINGS.into_iter().chain([u64::MAX]) {
        let missing = most.saturating_sub(bytes.len() as u64);
        file.by_ref().take(missing).read_to_end(&mut bytes).map_err(io)?;
        let whole = bytes.len() as u64 >= length;
        if bytes.len() < 132 || !dicom::may_be_dicom(&bytes) {
            return Ok((length, Seen::Foreign));
        }
        match dicom::facts(&bytes, path) {
            Ok(Some(facts)) => return Ok((length, Seen::Slices(Box::new(facts)))),
            Ok(None) if whole => return Ok((length, Seen::NoPixels)),
            Err(Error::Format { why, .. }) if whole => return Ok((length, Seen::Unreadable(why))),
            Err(error) if !matches!(error, Error::Format { .. }) => return Err(error),
            _ => {} // the header may go on
        }
    }
    Ok((length, Seen::NoPixels))
}
