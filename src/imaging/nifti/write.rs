//! A volume as a NIfTI-1 file.

use std::io::{BufWriter, Write};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::imaging::{Grid, Volume};
use crate::{Error, Result, files};

impl Volume {
    /// Writes a `.nii` or `.nii.gz` file: whole, or absent. Whole numbers of up to 16 bits become
    /// int16, which loses nothing; others float32.
    pub fn save(&self, path: &Path) -> Result<()> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        let gzipped = name.ends_with(".nii.gz");
        let plain = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("nii"));
        if !gzipped && !plain {
            let why = format!("expected a name that ends in .nii or .nii.gz, found {name:?}");
            return Err(Error::value("path", why));
        }
        if self.grid.shape.iter().any(|&side| side > i16::MAX as usize) {
            let expected = format!("sides of at most {}", i16::MAX);
            return Err(Error::shape("volume", expected, &self.grid.shape));
        }
        let short = |v: f32| v.fract() == 0.0 && (-32768.0..=32767.0).contains(&v);
        let whole = self.voxels.iter().all(|&v| short(v));
        files::write_atomic_with(path, |file| {
            let file = BufWriter::with_capacity(1 << 18, file);
            if gzipped {
                let mut packed = GzEncoder::new(file, Compression::fast());
                self.write(&mut packed, whole)?;
                packed.finish()?.flush()
            } else {
                let mut file = file;
                self.write(&mut file, whole)?;
                file.flush()
            }
        })
    }

    fn write(&self, to: &mut impl Write, whole: bool) -> std::io::Result<()> {
        to.write_all(&header(&self.grid, whole))?;
        let mut bytes = Vec::new();
        for plane in self.voxels.outer_iter() {
            bytes.clear();
            if whole {
                bytes.extend(plane.iter().flat_map(|&v| (v as i16).to_le_bytes()));
            } else {
                bytes.extend(plane.iter().flat_map(|v| v.to_le_bytes()));
            }
            to.write_all(&bytes)?;
        }
        Ok(())
    }
}

/// The header and the four bytes that say that nothing follows it.
fn header(grid: &Grid, whole: bool) -> [u8; 352] {
    let mut header = [0u8; 352];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &348i32.to_le_bytes());
    let [depth, rows, cols] = grid.shape.map(|side| side as i16);
    for (i, side) in [3, cols, rows, depth, 1, 1, 1, 1].into_iter().enumerate() {
        put(40 + 2 * i, &side.to_le_bytes());
    }
    let (datatype, bits): (i16, i16) = if whole { (4, 16) } else { (16, 32) };
    put(70, &datatype.to_le_bytes());
    put(72, &bits.to_le_bytes());
    // Columns i, j, k of the affine point right, front, head.
    let sign = [-1.0, -1.0, 1.0];
    let column = |axis: usize| [0, 1, 2].map(|row| grid.direction[2 - axis][row] * sign[row]);
    let columns = [column(0), column(1), column(2)];
    let (quaternion, sense) = rotation(columns);
    let [z, y, x] = grid.spacing;
    for (i, value) in [sense, x, y, z, 1.0, 1.0, 1.0, 1.0].into_iter().enumerate() {
        put(76 + 4 * i, &(value as f32).to_le_bytes());
    }
    put(108, &352f32.to_le_bytes());
    put(112, &1f32.to_le_bytes());
    put(123, &[2]); // mm
    for at in [252, 254] {
        put(at, &1i16.to_le_bytes()); // the scanner's space, by qform and by sform
    }
    for row in 0..3 {
        let shift = grid.origin[row] * sign[row];
        put(256 + 4 * row, &(quaternion[row] as f32).to_le_bytes());
        put(268 + 4 * row, &(shift as f32).to_le_bytes());
        let steps = [columns[0][row] * x, columns[1][row] * y, columns[2][row] * z, shift];
        for (i, value) in steps.into_iter().enumerate() {
            put(280 + 16 * row + 4 * i, &(value as f32).to_le_bytes());
        }
    }
    put(344, b"n+1\0");
    header
}

/// The vector part of the unit quaternion of a rotation given by its columns, and -1 where the
/// third one has to be turned over to make it a rotation.
fn rotation([i, j, k]: [[f64; 3]; 3]) -> ([f64; 3], f64) {
    let volume = crate::imaging::grid::dot(crate::imaging::grid::cross(i, j), k);
    let sense = if volume < 0.0 { -1.0 } else { 1.0 };
    let k = k.map(|v| v * sense);
    let trace = i[0] + j[1] + k[2];
    let squares = [trace, i[0] - j[1] - k[2], j[1] - i[0] - k[2], k[2] - i[0] - j[1]];
    let parts = squares.map(|s| (1.0 + s).max(0.0).sqrt() / 2.0);
    // The largest part is the one to divide by; the others get their signs from it.
    let largest = (0..4).fold(0, |best, p| if parts[p] > parts[best] { p } else { best });
    let d = 4.0 * parts[largest];
    let (off, sum) =
        ([j[2] - k[1], k[0] - i[2], i[1] - j[0]], [i[1] + j[0], k[0] + i[2], j[2] + k[1]]);
    let [a, b, c, e] = match largest {
        0 => [parts[0], off[0] / d, off[1] / d, off[2] / d],
        1 => [off[0] / d, parts[1], sum[0] / d, sum[1] / d],
        2 => [off[1] / d, sum[0] / d, parts[2], sum[2] / d],
        _ => [off[2] / d, sum[1] / d, sum[2] / d, parts[3]],
    };
    // The format leaves out `a` and takes it to be positive.
    let turn = if a < 0.0 { -1.0 } else { 1.0 };
    ([b * turn, c * turn, e * turn], sense)
}
