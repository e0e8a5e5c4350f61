//! The header of a NIfTI file: sizes, numbers and the way into the patient.

use crate::imaging::Grid;
use crate::imaging::grid::{MOST_VOXELS, dot};

/// Why a file cannot be read; the caller adds its name.
pub(super) type Why<T> = std::result::Result<T, String>;

/// Bytes of the two headers.
pub(super) const SIZES: [usize; 2] = [348, 540];

/// The numbers that a file may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Number {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F32,
    F64,
}

impl Number {
    fn of(code: i64) -> Why<Self> {
        let other = match code {
            2 => return Ok(Self::U8),
            4 => return Ok(Self::I16),
            8 => return Ok(Self::I32),
            16 => return Ok(Self::F32),
            64 => return Ok(Self::F64),
            256 => return Ok(Self::I8),
            512 => return Ok(Self::U16),
            768 => return Ok(Self::U32),
            1024 => return Ok(Self::I64),
            1280 => return Ok(Self::U64),
            1 => "single bits",
            32 | 1792 | 2048 => "complex numbers",
            128 | 2304 => "colours",
            1536 => "128-bit numbers",
            _ => return Err(format!("data type {code} is none of NIfTI")),
        };
        Err(format!("expected integers or real numbers, found {other} (data type {code})"))
    }

    pub(super) fn bytes(self) -> usize {
        match self {
            Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
        }
    }
}

/// What a header says, checked.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Header {
    pub(super) big_endian: bool,
    pub(super) number: Number,
    /// Voxels along (k, j, i): the last runs fastest in the file.
    pub(super) shape: [usize; 3],
    /// Where the voxels begin.
    pub(super) offset: u64,
    /// Slope and intercept, where the file scales its numbers.
    pub(super) scale: Option<[f64; 2]>,
    /// Where the voxels lie; without one the file does not say.
    pub(super) grid: Option<Grid>,
    /// Spacing of the voxels along (k, j, i) in mm.
    pub(super) spacing: [f64; 3],
    /// What had to be decided.
    pub(super) notes: Vec<String>,
}

/// Which header four bytes begin: its size, and whether it is big-endian.
pub(super) fn kind(first: [u8; 4]) -> Option<(usize, bool)> {
    let fits = |size: u32| SIZES.into_iter().find(|&s| s == size as usize);
    fits(u32::from_le_bytes(first))
        .map(|size| (size, false))
        .or_else(|| fits(u32::from_be_bytes(first)).map(|size| (size, true)))
}

/// Numbers out of a header whose bytes are all there.
struct Fields<'a> {
    bytes: &'a [u8],
    big_endian: bool,
    second: bool,
}

impl Fields<'_> {
    fn take<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut taken = [0; N];
        taken.copy_from_slice(&self.bytes[at..at + N]);
        if self.big_endian {
            taken.reverse();
        }
        taken
    }

    fn short(&self, at: usize) -> i64 {
        i16::from_le_bytes(self.take(at)).into()
    }

    fn long(&self, at: usize) -> i64 {
        i64::from_le_bytes(self.take(at))
    }

    /// A real number: of 32 bits in the first header, of 64 in the second.
    fn real(&self, first: usize, second: usize, index: usize) -> f64 {
        if self.second {
            f64::from_le_bytes(self.take(second + 8 * index))
        } else {
            f32::from_le_bytes(self.take(first + 4 * index)).into()
        }
    }

    fn code(&self, first: usize, second: usize) -> i64 {
        if self.second { i32::from_le_bytes(self.take(second)).into() } else { self.short(first) }
    }
}

/// Reads a whole header of one of [`SIZES`].
pub(super) fn parse(bytes: &[u8], big_endian: bool) -> Why<Header> {
    let second = bytes.len() == SIZES[1];
    let fields = Fields { bytes, big_endian, second };
    let magic = if second { &bytes[4..8] } else { &bytes[344..348] };
    match magic {
        b"n+1\0" if !second => {}
        b"n+2\0" if second => {}
        b"ni1\0" | b"ni2\0" => {
            return Err("the header of a pair of files (.hdr, .img); convert it to .nii".to_owned());
        }
        _ => return Err("an ANALYZE header, which does not say left from right".to_owned()),
    }
    let mut notes = Vec::new();
    let shape = shape(&fields)?;
    let number = Number::of(if second { fields.short(12) } else { fields.short(70) })?;
    let slope = [fields.real(112, 176, 0), fields.real(112, 176, 1)];
    // As nibabel has it: a slope of 0 or none that is a number means "not scaled".
    let scaled = slope[0].is_finite() && slope[0].abs() > 0.0;
    let scale = scaled.then_some(slope).filter(|s| (s[0] - 1.0).abs() + s[1].abs() > 0.0);
    if let Some([slope, intercept]) = scale {
        if !intercept.is_finite() {
            return Err(format!("scl_inter is {intercept}, expected a number"));
        }
        notes.push(format!("rescaled: stored value x {slope} + {intercept}"));
    }
    let offset = if second { fields.long(168) as f64 } else { fields.real(108, 0, 0) };
    let least = bytes.len() as f64 + 4.0;
    if !(offset == 0.0 || (bytes.len() as f64..1e9).contains(&offset)) {
        return Err(format!("vox_offset is {offset}, expected {least} or a little more"));
    }
    let unit = unit(&fields, &mut notes)?;
    let pixdim = |axis: usize| fields.real(76, 104, 1 + axis).abs() * unit;
    let spacing = [pixdim(2), pixdim(1), pixdim(0)];
    Ok(Header {
        big_endian,
        number,
        shape,
        offset: if offset == 0.0 { least as u64 } else { offset as u64 },
        scale,
        grid: grid(&fields, shape, unit, &mut notes)?,
        spacing,
        notes,
    })
}

fn shape(fields: &Fields<'_>) -> Why<[usize; 3]> {
    let dim = |i: usize| {
        if fields.second { fields.long(16 + 8 * i) } else { fields.short(40 + 2 * i) }
    };
    let count = dim(0);
    if !(1..=7).contains(&count) {
        return Err(format!("dim[0] is {count}, expected 1 to 7 dimensions"));
    }
    let dims: Vec<i64> = (1..=count as usize).map(dim).collect();
    if let Some(wrong) = dims.iter().find(|&&side| side < 1) {
        return Err(format!("dim is {dims:?}, expected sides of at least 1, found {wrong}"));
    }
    if let Some(volumes) = dims.get(3..).filter(|more| more.iter().any(|&side| side > 1)) {
        let several = volumes.iter().map(|&v| v as u128).fold(1u128, u128::saturating_mul);
        return Err(format!(
            "expected one volume, found {several} (dim is {dims:?}); split the file by its fourth dimension"
        ));
    }
    let side = |axis: usize| dims.get(axis).copied().unwrap_or(1) as usize;
    let shape = [side(2), side(1), side(0)];
    let voxels = shape.iter().map(|&s| s as u128).fold(1u128, u128::saturating_mul);
    if voxels > MOST_VOXELS {
        return Err(format!("{voxels} voxels are more than the {MOST_VOXELS} that can be read"));
    }
    Ok(shape)
}

/// Millimetres in the file's unit of length.
fn unit(fields: &Fields<'_>, notes: &mut Vec<String>) -> Why<f64> {
    let code = if fields.second { fields.code(0, 500) } else { fields.bytes[123].into() };
    let (factor, name) = match code & 7 {
        0 | 2 => return Ok(1.0),
        1 => (1000.0, "metres"),
        3 => (0.001, "micrometres"),
        other => return Err(format!("xyzt_units is {other}, expected metres, mm or micrometres")),
    };
    notes.push(format!("lengths changed from {name} to mm"));
    Ok(factor)
}

/// The grid of the sform, else of the qform, else none.
fn grid(
    fields: &Fields<'_>,
    shape: [usize; 3],
    unit: f64,
    notes: &mut Vec<String>,
) -> Why<Option<Grid>> {
    // Rows: x to the right, y to the front, z to the head, in mm; columns: i, j, k, shift.
    let (affine, name) = if fields.code(254, 348) > 0 {
        let row =
            |r: usize| [0, 1, 2, 3].map(|c| fields.real(280 + 16 * r, 400 + 32 * r, c) * unit);
        ([row(0), row(1), row(2)], "sform")
    } else if fields.code(252, 344) > 0 {
        (quaternion(fields, unit)?, "qform")
    } else {
        return Ok(None);
    };
    if affine.iter().flatten().any(|v| !v.is_finite()) {
        return Err(format!("its {name} holds values that are not numbers"));
    }
    notes.push(format!("placed in the patient by the {name}"));
    // LPS looks the other way than NIfTI's RAS on the first two axes.
    let sign = [-1.0, -1.0, 1.0];
    let column = |axis: usize| [0, 1, 2].map(|row| affine[row][axis] * sign[row]);
    let steps = [column(2), column(1), column(0)];
    let spacing = steps.map(|step| dot(step, step).sqrt());
    if let Some(wrong) = spacing.iter().find(|s| !(**s > 1e-6 && **s < 1e6)) {
        return Err(format!("its {name} gives a spacing of {wrong} mm"));
    }
    let direction = [0, 1, 2].map(|axis| steps[axis].map(|part| part / spacing[axis]));
    let grid = Grid { shape, spacing, origin: column(3), direction };
    grid.validate().map_err(|_| {
        format!("the axes of its {name} are not at right angles; resample the file first")
    })?;
    Ok(Some(grid))
}

/// The affine of the qform: a rotation as a quaternion, spacing, and the sense of k.
fn quaternion(fields: &Fields<'_>, unit: f64) -> Why<[[f64; 4]; 3]> {
    let [b, c, d] = [0, 1, 2].map(|i| fields.real(256, 352, i));
    let rest = 1.0 - (b * b + c * c + d * d);
    // Of three numbers that are none, the sum is none either.
    if rest.is_nan() || rest < -1e-4 {
        return Err(format!("its qform is no rotation: the quaternion is ({b}, {c}, {d})"));
    }
    let a = rest.max(0.0).sqrt();
    let rotation = [
        [a * a + b * b - c * c - d * d, 2.0 * (b * c - a * d), 2.0 * (b * d + a * c)],
        [2.0 * (b * c + a * d), a * a + c * c - b * b - d * d, 2.0 * (c * d - a * b)],
        [2.0 * (b * d - a * c), 2.0 * (c * d + a * b), a * a + d * d - b * b - c * c],
    ];
    let sense = if fields.real(76, 104, 0) < 0.0 { -1.0 } else { 1.0 };
    let [i, j, k] = [1, 2, 3].map(|axis| fields.real(76, 104, axis).abs() * unit);
    Ok([0, 1, 2].map(|row| {
        let [p, q, r] = rotation[row];
        [p * i, q * j, r * k * sense, fields.real(268, 376, row) * unit]
    }))
}
