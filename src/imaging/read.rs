//! Any supported file as a film: the format is found from the content, never from the name.

use std::path::Path;

use super::{Image, dicom, raster};
use crate::{Error, Result, files};

/// Which of a file's windows to use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WindowChoice {
    /// The window at this place, counted from 0.
    Index(usize),
    /// The window or look-up table that the file explains by this name.
    Name(String),
}

/// How to read a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadOptions {
    /// The window to use; the file's first one by default.
    pub window: Option<WindowChoice>,
    /// Whether to apply the window; by default films are windowed, and CT, MR and PET keep their units.
    pub apply_window: Option<bool>,
    /// The frame of a file with several, counted from 0; the first one by default.
    pub frame: Option<usize>,
}

/// Reads a DICOM, PNG, JPEG or TIFF file as a film.
pub fn read(path: &Path) -> Result<Image> {
    decode_bytes(&files::read(path)?, path, &ReadOptions::default())
}

/// As [`read`], with options, from the bytes of a file; `name` is what errors call it.
pub fn decode_bytes(bytes: &[u8], name: &Path, options: &ReadOptions) -> Result<Image> {
    // A DICOM preamble may hold the start of a TIFF file, so DICOM is asked first.
    if bytes.get(128..132) == Some(b"DICM") {
        return dicom::read(bytes, name, options);
    }
    if let Some(format) = raster::format(bytes) {
        return raster::read(bytes, format, name, options);
    }
    if dicom::is_dicom(bytes) {
        return dicom::read(bytes, name, options);
    }
    let found = match bytes.first_chunk::<4>() {
        None if bytes.is_empty() => "an empty file".to_owned(),
        Some(_)
            if bytes.iter().take(512).all(|b| (9..=13).contains(b) || (32..127).contains(b)) =>
        {
            "plain text".to_owned()
        }
        Some([a, b, c, d]) => {
            format!("{} bytes that begin with {a:02x} {b:02x} {c:02x} {d:02x}", bytes.len())
        }
        None => format!("{} bytes", bytes.len()),
    };
    Err(Error::format(name, format!("expected a DICOM, PNG, JPEG or TIFF image, found {found}")))
}
