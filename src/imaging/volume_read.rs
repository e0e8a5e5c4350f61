//! Any supported volume: a folder of slices, a file of many frames, or NIfTI.

use std::fs;
use std::io::Read;
use std::path::Path;

use super::{Volume, VolumeOptions, dicom, nifti, series};
use crate::progress::Progress;
use crate::{Error, Result, files};

/// Whether a path is a volume by its kind: a folder, NIfTI, or an enhanced CT, MR or PET.
pub fn is_volume(path: &Path) -> Result<bool> {
    let io = |source| Error::io(path, source);
    if fs::metadata(path).map_err(io)?.is_dir() {
        return Ok(true);
    }
    let mut beginning = Vec::new();
    files::open(path)?.take(1024).read_to_end(&mut beginning).map_err(io)?;
    Ok(nifti::is_nifti(&beginning) || dicom::is_enhanced(&beginning))
}

/// Reads a volume.
pub fn read_volume(path: &Path, options: &VolumeOptions, progress: &Progress) -> Result<Volume> {
    options.validate()?;
    let io = |source| Error::io(path, source);
    if !fs::metadata(path).map_err(io)?.is_dir() {
        let mut first = Vec::new();
        files::open(path)?.take(4).read_to_end(&mut first).map_err(io)?;
        if nifti::is_nifti(&first) {
            return nifti::read(path, options);
        }
    }
    series::read_series(path, options, progress)
}
