//! A NIfTI file as a volume, a slice at a time.

use std::io::{self, BufReader, ErrorKind, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;
use ndarray::parallel::prelude::*;
use ndarray::{ArrayViewMut2, Axis};

use super::header::{self, Header, Number, Why};
use crate::imaging::grid::Turn;
use crate::imaging::volume::room;
use crate::imaging::{Grid, Volume, VolumeOptions};
use crate::{Error, Result, files};

const GZIP: [u8; 2] = [0x1F, 0x8B];

/// No deflate stream grows by more than this.
const DEFLATE: u64 = 1032;

/// Whether a file begins like NIfTI or gzip; only NIfTI of all that is read here is gzipped.
pub(crate) fn is_nifti(first: &[u8]) -> bool {
    first.starts_with(&GZIP)
        || first.first_chunk().is_some_and(|four| header::kind(*four).is_some())
}

/// Reads a NIfTI file.
pub(crate) fn read(path: &Path, options: &VolumeOptions) -> Result<Volume> {
    let io = |source| Error::io(path, source);
    let mut file = files::open(path)?;
    let length = file.metadata().map_err(io)?.len();
    let mut first = [0; 2];
    let gzipped = file.read_exact(&mut first).is_ok() && first == GZIP;
    let file = files::open(path)?;
    let buffered = BufReader::with_capacity(1 << 18, file);
    let (source, most): (Box<dyn Read>, u64) = if gzipped {
        (Box::new(MultiGzDecoder::new(buffered)), length.saturating_mul(DEFLATE))
    } else {
        (Box::new(buffered), length)
    };
    let stated = open(source, most).map_err(|why| Error::format(path, why))?;
    voxels(stated, gzipped, options).map_err(|failed| match failed {
        Failed::Why(why) => Error::format(path, why),
        Failed::Error(error) => error,
    })
}

enum Failed {
    Why(String),
    Error(Error),
}

impl From<String> for Failed {
    fn from(why: String) -> Self {
        Self::Why(why)
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// A file whose header is read, and the rest of its bytes from the first voxel on.
struct Stated {
    header: Header,
    source: Box<dyn Read>,
}

fn open(mut source: Box<dyn Read>, most: u64) -> Why<Stated> {
    let mut bytes = vec![0; 4];
    source.read_exact(&mut bytes).map_err(|error| cut(&error, "header"))?;
    let first = [bytes[0], bytes[1], bytes[2], bytes[3]];
    let (size, big_endian) =
        header::kind(first).ok_or("expected a NIfTI header, found another kind of file")?;
    bytes.resize(size, 0);
    source.read_exact(&mut bytes[4..]).map_err(|error| cut(&error, "header"))?;
    let header = header::parse(&bytes, big_endian)?;
    let voxels: u64 = header.shape.iter().map(|&side| side as u64).product();
    let needed = header.offset + voxels * header.number.bytes() as u64;
    if needed > most {
        let [k, j, i] = header.shape;
        return Err(format!(
            "{i} x {j} x {k} voxels need {needed} bytes, but the file cannot hold more than {most}"
        ));
    }
    let before = header.offset - (size.min(header.offset as usize)) as u64;
    let skipped = io::copy(&mut source.by_ref().take(before), &mut io::sink());
    let skipped = skipped.map_err(|error| cut(&error, "header"))?;
    if skipped < before {
        return Err("the file ends before its voxels begin".to_owned());
    }
    Ok(Stated { header, source })
}

fn cut(error: &io::Error, what: &str) -> String {
    if error.kind() == ErrorKind::UnexpectedEof {
        format!("the file ends within its {what}")
    } else {
        format!("its {what} cannot be read: {error}")
    }
}

fn voxels(
    Stated { header, mut source }: Stated,
    gzipped: bool,
    options: &VolumeOptions,
) -> std::result::Result<Volume, Failed> {
    let [depth, rows, cols] = header.shape;
    let mut history = vec![format!(
        "NIfTI{}, {cols} x {rows} x {depth}, {:?}",
        if gzipped { ", gzipped" } else { "" },
        header.number
    )];
    history.extend(header.notes.iter().cloned());
    let stored = stored_grid(&header, options, &mut history)?;
    let turn = options.turn(&stored)?;
    let grid = stored.turned(turn);
    if !turn.is_identity() {
        history.push(format!("turned from {} to {}", stored.orientation(), grid.orientation()));
    }
    let mut voxels = room(grid.shape, 0.0f32)?;
    let mut view = untangled(voxels.view_mut(), turn);
    let mut slice = vec![0; rows * cols * header.number.bytes()];
    for plane in view.axis_iter_mut(Axis(0)) {
        source.read_exact(&mut slice).map_err(|error| cut(&error, "voxels"))?;
        numbers(&slice, &header, plane);
    }
    let real = matches!(header.number, Number::F32 | Number::F64) || header.scale.is_some();
    let wrong = if real { voxels.par_iter().filter(|v| !v.is_finite()).count() } else { 0 };
    if wrong > 0 {
        let Some(fill) = options.fill else {
            let why = format!("{wrong} voxels are NaN or infinite; pass fill= to replace them");
            return Err(why.into());
        };
        voxels.mapv_inplace(|v| if v.is_finite() { v } else { fill });
        history.push(format!("{wrong} voxels that were NaN or infinite set to {fill}"));
    }
    Ok(Volume { voxels, original: grid.clone(), grid, modality: String::new(), history })
}

fn stored_grid(
    header: &Header,
    options: &VolumeOptions,
    history: &mut Vec<String>,
) -> std::result::Result<Grid, Failed> {
    if let Some(grid) = &header.grid {
        return Ok(grid.clone());
    }
    let Some(assumed) = &options.assume else {
        let why = "the file does not say how it lies in the patient (no sform, no qform); \
                   pass assume_orientation=, \"RAS\" for example";
        return Err(why.to_owned().into());
    };
    // A grid along the patient's axes, then turned so that its axes point as assumed.
    let plain = Grid::new([1; 3], [1.0; 3]);
    let direction = plain.turned(plain.turn_to(assumed)?).direction;
    let grid = Grid { direction, ..Grid::new(header.shape, header.spacing) };
    grid.validate()?;
    history.push(format!(
        "orientation assumed to be {}, the file states none",
        assumed.to_ascii_uppercase()
    ));
    Ok(grid)
}

/// The array seen in the order of the file.
fn untangled(
    mut view: ndarray::ArrayViewMut3<'_, f32>,
    turn: Turn,
) -> ndarray::ArrayViewMut3<'_, f32> {
    let mut back = [0; 3];
    for axis in 0..3 {
        back[turn.from[axis]] = axis;
        if turn.flip[axis] {
            view.invert_axis(Axis(axis));
        }
    }
    view.permuted_axes(back)
}

fn numbers(bytes: &[u8], header: &Header, mut plane: ArrayViewMut2<'_, f32>) {
    macro_rules! each {
        ($type:ty) => {{
            let read = |b: &[u8; size_of::<$type>()]| {
                if header.big_endian {
                    <$type>::from_be_bytes(*b)
                } else {
                    <$type>::from_le_bytes(*b)
                }
            };
            let rows = bytes.as_chunks().0.chunks_exact(plane.ncols().max(1));
            for (mut row, bytes) in plane.rows_mut().into_iter().zip(rows) {
                match header.scale {
                    None => {
                        row.iter_mut().zip(bytes).for_each(|(place, b)| *place = read(b) as f32);
                    }
                    Some([slope, intercept]) => {
                        row.iter_mut().zip(bytes).for_each(|(place, b)| {
                            *place = (read(b) as f64 * slope + intercept) as f32;
                        });
                    }
                }
            }
        }};
    }
    match header.number {
        Number::U8 => each!(u8),
        Number::I8 => each!(i8),
        Number::U16 => each!(u16),
        Number::I16 => each!(i16),
        Number::U32 => each!(u32),
        Number::I32 => each!(i32),
        Number::U64 => each!(u64),
        Number::I64 => each!(i64),
        Number::F32 => each!(f32),
        Number::F64 => each!(f64),
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array3;

    use super::*;

    /// A file with all its fields in place, from our own writer.
    fn file() -> Vec<u8> {
        let voxels = Array3::from_shape_fn((2, 3, 4), |(z, y, x)| (z * 12 + y * 4 + x) as f32);
        let volume = Volume::new(voxels, Grid::new([2, 3, 4], [2.0, 1.5, 0.5])).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.nii");
        volume.save(&path).unwrap();
        std::fs::read(path).unwrap()
    }

    fn read_bytes(bytes: &[u8]) -> Result<Volume> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.nii");
        std::fs::write(&path, bytes).unwrap();
        read(&path, &VolumeOptions::default())
    }

    #[test]
    fn every_truncation_is_an_error_and_no_byte_makes_it_panic() {
        let whole = file();
        assert!((read_bytes(&whole).unwrap().voxels[[1, 2, 3]] - 23.0).abs() < 1e-6);
        for length in 0..whole.len() {
            assert!(read_bytes(&whole[..length]).is_err(), "{length}");
        }
        for at in 0..352 {
            for value in [0, 1, 0x7F, 0x80, 0xFF] {
                let mut spoilt = whole.clone();
                spoilt[at] = value;
                let _ = read_bytes(&spoilt);
            }
        }
    }

    #[test]
    fn forged_sizes_are_refused_before_any_memory_is_asked_for() {
        let mut forged = file();
        for at in [42, 44, 46] {
            forged[at..at + 2].copy_from_slice(&1000i16.to_le_bytes());
        }
        let error = read_bytes(&forged).unwrap_err().to_string();
        assert!(error.contains("1000 x 1000 x 1000 voxels need 2000000352 bytes, but"), "{error}");
    }
}
