//! How the pixels of an image are laid out: size, bits, sign, samples, frames.

use dicom_core::Tag;
use dicom_dictionary_std::tags;

use super::attributes::Attributes;
use super::terms::PHOTOMETRIC;
use super::walk::{PixelKind, Why};

/// No film and no slice stack that fits in memory has more samples than this.
const MOST_SAMPLES: u128 = 1 << 32;

/// The Image Pixel module (PS3.3, C.7.6.3), checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Height of a frame.
    pub rows: usize,
    /// Width of a frame.
    pub cols: usize,
    /// Samples of a pixel: 1 or 3.
    pub samples: usize,
    /// Number of frames.
    pub frames: usize,
    /// Bits that a sample takes in the file: 1, 8, 16, 32 or 64.
    pub allocated: usize,
    /// Bits of a sample that mean something.
    pub stored: usize,
    /// How far the meaning bits are shifted up: 0 in every file of today.
    pub shift: usize,
    /// Samples are in two's complement.
    pub signed: bool,
    /// Samples are floating-point numbers.
    pub float: bool,
    /// Colours are stored plane after plane.
    pub planar: bool,
    /// Photometric interpretation, as `MONOCHROME2`.
    pub photometric: String,
}

impl Layout {
    pub(super) fn read(attributes: &Attributes<'_>, kind: PixelKind) -> Why<Self> {
        let whole = |tag: Tag, name: &str, fallback: Option<i64>, low: i64, high: i64| {
            let value = attributes.whole(tag)?.or(fallback);
            let value = value.ok_or_else(|| format!("{name} is missing"))?;
            if !(low..=high).contains(&value) {
                return Err(format!("{name} is {value}, expected {low} to {high}"));
            }
            Ok(value as usize)
        };
        let float = kind != PixelKind::Integer;
        let allocated = match kind {
            PixelKind::Integer => whole(tags::BITS_ALLOCATED, "BitsAllocated", None, 1, 64)?,
            PixelKind::Float => 32,
            PixelKind::Double => 64,
        };
        if !float && ![1, 8, 16, 32].contains(&allocated) {
            return Err(format!("BitsAllocated is {allocated}, expected 1, 8, 16 or 32"));
        }
        let bits = allocated as i64;
        let stored = if float {
            allocated
        } else {
            whole(tags::BITS_STORED, "BitsStored", Some(bits), 1, bits)?
        };
        let top = stored as i64 - 1;
        let high = if float {
            top as usize
        } else {
            whole(tags::HIGH_BIT, "HighBit", Some(top), 0, bits - 1)?
        };
        let layout = Self {
            rows: whole(tags::ROWS, "Rows", None, 1, 65535)?,
            cols: whole(tags::COLUMNS, "Columns", None, 1, 65535)?,
            samples: whole(tags::SAMPLES_PER_PIXEL, "SamplesPerPixel", Some(1), 1, 3)?,
            frames: whole(
                tags::NUMBER_OF_FRAMES,
                "NumberOfFrames",
                Some(1),
                0,
                i64::from(i32::MAX),
            )?
            .max(1),
            allocated,
            stored,
            shift: (high + 1).saturating_sub(stored),
            signed: !float
                && whole(tags::PIXEL_REPRESENTATION, "PixelRepresentation", Some(0), 0, 1)? == 1,
            float,
            planar: whole(tags::PLANAR_CONFIGURATION, "PlanarConfiguration", Some(0), 0, 1)? == 1,
            photometric: attributes.term(tags::PHOTOMETRIC_INTERPRETATION, PHOTOMETRIC),
        };
        if layout.samples == 2 {
            return Err("SamplesPerPixel is 2, expected 1 or 3".to_owned());
        }
        let all = layout.frames as u128 * (layout.rows * layout.cols * layout.samples) as u128;
        if all > MOST_SAMPLES {
            return Err(format!("{all} samples are more than the {MOST_SAMPLES} that can be read"));
        }
        Ok(layout)
    }

    /// Samples of one frame.
    pub fn frame_samples(&self) -> usize {
        self.rows * self.cols * self.samples
    }

    /// Bytes that a decoded sample takes; single bits take one each.
    pub fn sample_bytes(&self) -> usize {
        self.allocated.div_ceil(8)
    }

    /// Bytes of one decoded frame.
    pub fn frame_bytes(&self) -> usize {
        self.frame_samples() * self.sample_bytes()
    }

    /// Whether the colours share their chroma between two pixels of a row.
    pub(super) fn halved_chroma(&self) -> bool {
        self.samples == 3 && self.photometric.ends_with("_422")
    }

    /// The lowest and highest number that the stored bits can hold.
    pub fn stored_range(&self) -> [f64; 2] {
        let span = 2f64.powi(self.stored as i32);
        if self.signed { [-span / 2.0, span / 2.0 - 1.0] } else { [0.0, span - 1.0] }
    }

    /// Rows, columns and so on as numpy would squeeze them: (frames, rows, columns, samples).
    pub fn shape(&self) -> Vec<usize> {
        let mut shape = vec![self.rows, self.cols];
        if self.frames > 1 {
            shape.insert(0, self.frames);
        }
        if self.samples > 1 {
            shape.push(self.samples);
        }
        shape
    }
}
