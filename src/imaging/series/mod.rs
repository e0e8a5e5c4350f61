//! Series of slices: found in a folder, put in order by where they lie, and read as volumes.
//!
//! File names and instance numbers decide nothing. What is no regular stack of slices is an error
//! that names the [`Repair`] that would make one; a repair always lands in the volume's history.

mod assemble;
mod files;
mod order;
mod repair;
mod tilt;

use std::path::{Path, PathBuf};

use super::dicom::FrameFacts;
use super::{Volume, VolumeOptions};
use crate::progress::Progress;
use crate::{Error, Result};

pub use files::scan;
pub use repair::Repair;

/// The series of a folder, and what else was there.
#[derive(Clone, Debug, Default)]
pub struct Folder {
    /// The series, by their number, then by their first file.
    pub series: Vec<Series>,
    /// Files looked at.
    pub files: usize,
    /// Files that are no DICOM.
    pub foreign: usize,
    /// DICOM files without pixels: reports, directories, structures.
    pub without_pixels: usize,
    /// DICOM images that cannot be slices, with the reason.
    pub unreadable: Vec<(PathBuf, String)>,
    /// Patients that the series belong to.
    pub patients: usize,
}

/// One series: slices of one scan, not yet decoded.
#[derive(Clone, Debug)]
pub struct Series {
    /// Its files, in the order of their names.
    pub files: Vec<PathBuf>,
    /// Scout films that were planned on, rather than a scan.
    pub localizer: bool,
    /// Shape (z, y, x) and spacing in mm of the volume, when the slices are a regular stack.
    pub stack: Option<([usize; 3], [f64; 3])>,
    /// Why they are not, or else why a volume cannot be read.
    pub problem: Option<String>,
    /// What its slices are several of and must be one of.
    mixed: Option<&'static str>,
    whole: Whole,
    slices: Vec<Slice>,
    bytes: u64,
    tilted: bool,
}

/// What all slices of a series share.
#[derive(Clone, Debug)]
struct Whole {
    patient: usize,
    study: String,
    modality: String,
    /// Positions in different frames of reference do not compare.
    frame: String,
}

impl Whole {
    /// What `other` differs in; an attribute that a file lacks says nothing.
    fn differs(&self, other: &Self) -> Option<&'static str> {
        let unlike = |a: &str, b: &str| !a.is_empty() && !b.is_empty() && a != b;
        [
            (self.patient != other.patient, "patients"),
            (unlike(&self.study, &other.study), "studies"),
            (unlike(&self.modality, &other.modality), "modalities"),
            (unlike(&self.frame, &other.frame), "frames of reference"),
        ]
        .into_iter()
        .find_map(|(differs, what)| differs.then_some(what))
    }
}

/// Why slices that are of several patients, say, are no volume.
fn several(what: &str) -> String {
    format!("its slices belong to several {what}")
}

/// One slice: a frame of a file.
#[derive(Clone, Debug)]
struct Slice {
    file: usize,
    frame: usize,
    rows: usize,
    cols: usize,
    sample_bytes: usize,
    facts: FrameFacts,
}

impl Series {
    /// DICOM modality.
    pub fn modality(&self) -> &str {
        &self.whole.modality
    }

    /// Which of the folder's patients, counted from 0.
    pub fn patient(&self) -> usize {
        self.whole.patient
    }

    /// Number of slices.
    pub fn len(&self) -> usize {
        self.slices.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.slices.is_empty()
    }

    /// Reads the slices as a volume.
    pub fn read(&self, options: &VolumeOptions, progress: &Progress) -> Result<Volume> {
        options.validate()?;
        assemble::read(self, options, progress)
    }

    /// What errors call the series: the folder of its first file.
    fn name(&self) -> &Path {
        match &self.files[..] {
            [one] => one,
            [first, ..] => first.parent().unwrap_or(first),
            [] => Path::new("series"),
        }
    }
}

/// Reads the one series of a folder, or the one that the options choose.
pub fn read_series(path: &Path, options: &VolumeOptions, progress: &Progress) -> Result<Volume> {
    options.validate()?;
    let folder = scan(path, progress)?;
    let chosen = match options.series {
        Some(index) => folder.series.get(index).ok_or_else(|| {
            let found = folder.series.len();
            Error::format(path, format!("series {index} was asked for, but there are {found}"))
        })?,
        None => folder.only().map_err(|why| Error::format(path, why))?,
    };
    let mut volume = chosen.read(options, progress)?;
    volume.history.extend(folder.set_apart(chosen));
    Ok(volume)
}

impl Folder {
    /// The only series that is a scan.
    fn only(&self) -> std::result::Result<&Series, String> {
        let scans: Vec<&Series> = self.series.iter().filter(|s| !s.localizer).collect();
        if let [one] = scans[..] {
            return Ok(one);
        }
        if let ([], [one]) = (&scans[..], &self.series[..]) {
            return Ok(one);
        }
        if self.series.is_empty() {
            return Err(format!("expected a series of DICOM slices, found {}", self.contents()));
        }
        let sizes: Vec<String> = scans.iter().map(|s| s.len().to_string()).collect();
        Err(format!(
            "expected one series, found {} of {} slices and of {} patient{}; choose one with \
             series= or read_series",
            scans.len(),
            sizes.join(", "),
            self.patients,
            if self.patients == 1 { "" } else { "s" },
        ))
    }

    /// What the folder holds, in one line.
    pub fn contents(&self) -> String {
        let mut parts = vec![format!("{} files", self.files)];
        let counts = [
            (self.foreign, "not DICOM"),
            (self.without_pixels, "without pixels"),
            (self.unreadable.len(), "that cannot be slices"),
        ];
        let counted = counts.iter().filter(|(count, _)| *count > 0);
        parts.extend(counted.map(|(count, what)| format!("{count} {what}")));
        let reason = self.unreadable.first().map(|(_, why)| format!(" ({why})"));
        parts.join(", ") + &reason.unwrap_or_default()
    }

    /// What was left out beside the series that was read.
    fn set_apart(&self, chosen: &Series) -> Vec<String> {
        let others = self.series.iter().filter(|s| !std::ptr::eq(*s, chosen));
        let localizers: usize = others.filter(|s| s.localizer).map(Series::len).sum();
        let mut left = Vec::new();
        if localizers > 0 {
            left.push(format!("{localizers} localizer images set apart"));
        }
        if self.foreign + self.without_pixels + self.unreadable.len() > 0 {
            left.push(format!("left out of the folder: {}", self.contents()));
        }
        left
    }
}
