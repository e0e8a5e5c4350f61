//! DICOM: from bytes that may be hostile to a film with values that mean something.
//!
//! Start at [`stored_values`] for the numbers of the file, and at `film::read` for what a
//! radiologist would see. dicom-rs parses the data set after `walk` has found it harmless,
//! and the codecs run under a panic guard; the meaning of the pixels is decided here.

mod attributes;
mod colour;
mod essentials;
mod film;
mod frames;
mod jpeg;
mod jpeg12;
mod jpeg2000;
mod jpegls;
mod layout;
mod lut;
mod modality;
mod released;
mod rle;
mod slice;
mod stored;
mod stream;
mod terms;
mod tone;
mod voi;
mod walk;
pub mod write;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

pub use layout::Layout;
pub(super) use slice::{FileFacts, FrameFacts, decode_slices, facts, is_enhanced};
pub use stored::Values;
pub(crate) use stream::{is_dicom, may_be_dicom};

use crate::{Error, Result};
use dicom_object::InMemDicomObject;
use frames::Frames;
use stream::Codec;
use walk::{Coding, Why, walk};

use super::{Image, ReadOptions};

/// Decodes all frames of a DICOM file to the numbers it stores, before any look-up table.
///
/// Bits beyond `BitsStored` are cleared or filled with the sign; colours stay as they are stored.
/// The values are in the order (frames, rows, columns, samples).
pub fn stored_values(bytes: &[u8], name: &Path) -> Result<(Values, Layout)> {
    guarded(name, || {
        with_file(bytes, |file| {
            let layout = &file.frames.layout;
            let mut values = Values::empty(layout);
            for frame in 0..layout.frames {
                values.append(&file.frames.decode(frame)?, layout);
            }
            Ok((values, layout.clone()))
        })
    })
}

/// Reads a frame of a DICOM file as a film.
pub(crate) fn read(bytes: &[u8], name: &Path, options: &ReadOptions) -> Result<Image> {
    guarded(name, || with_file(bytes, |file| film::read(file, options)))
}

/// The levels (rows, columns) that CXR Foundation's published code makes of a file's first frame,
/// and whether they are of 8 bits.
pub(super) fn released_levels(bytes: &[u8], name: &Path) -> Result<(Vec<u16>, bool)> {
    let levels = guarded(name, || with_file(bytes, released::levels))?;
    Ok((levels.values, levels.eight_bits))
}

/// An opened file: its attributes and its undecoded pixels.
struct File<'a> {
    object: &'a InMemDicomObject,
    coding: Coding,
    frames: Frames<'a>,
    notes: Vec<String>,
}

fn with_file<T>(bytes: &[u8], work: impl FnOnce(&File<'_>) -> Why<T>) -> Why<T> {
    let stream = stream::open(bytes, walk)?;
    let found = walk(&stream.data_set, stream.coding)?;
    let object = attributes::parse(found.header, stream.coding)?;
    let (kind, bytes) = found.pixels.ok_or("the DICOM file has no pixel data")?;
    let codec = match &bytes {
        walk::PixelBytes::Native { .. } => Codec::None,
        walk::PixelBytes::Fragments { .. } => stream.codec,
    };
    let attributes = attributes::Attributes::new(&object, stream.coding);
    let layout = layout::Layout::read(&attributes, kind)?;
    let frames = Frames { layout, codec, big_endian: stream.coding.big_endian, bytes };
    work(&File { object: &object, coding: stream.coding, frames, notes: stream.notes })
}

/// Runs work on a stranger's bytes; a panic in a codec becomes an error that names the file.
fn guarded<T>(name: &Path, work: impl FnOnce() -> Why<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err("the decoder failed on damaged data".to_owned()))
        .map_err(|why| Error::format(name, why))
}
