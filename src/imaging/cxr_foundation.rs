//! Films as CXR Foundation (ELIXR) takes them: frontal, white high, in levels of 16 bits.
//!
//! Source: the data processing of the public repository Google-Health/cxr-foundation. A film goes
//! through its modality and window, is turned so that white is high, and its lowest and highest
//! value become 0 and 65535; one of 8 bits keeps its levels. Differs by default in that nothing is
//! cut off on the way: levels are rounded once, at the end; rescale and window may meet; of several
//! windows the first counts, and look-up tables and padding count too; a film of one value stays
//! grey. [`Rendering::Released`] gives the published levels to the last bit.

use std::path::Path;

use ndarray::Array2;

use super::image::View;
use super::png::write_levels;
use super::{Image, ReadOptions, decode_bytes, dicom, raster};
use crate::{Error, Result};

/// Whose arithmetic makes the levels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rendering {
    /// Ours: rounded once.
    #[default]
    Sound,
    /// That of the published code, with its flaws; what it fails on is an error.
    Released,
}

/// The highest levels of 8 and of 16 bits.
const TOPS: [f32; 2] = [255.0, 65_535.0];

/// Reads a file as a film whose pixels are levels; its range says whether of 8 or of 16 bits.
///
/// A film known to be lateral is an error, unless `any_view`.
pub fn cxr_foundation_film(
    bytes: &[u8],
    name: &Path,
    rendering: Rendering,
    any_view: bool,
) -> Result<Image> {
    let mut image = decode_bytes(bytes, name, &ReadOptions::default())?;
    if !any_view {
        image.expect_frontal()?;
    }
    match rendering {
        Rendering::Sound => stretch(&mut image)?,
        Rendering::Released => released(&mut image, bytes, name)?,
    }
    Ok(image)
}

/// Spreads the film over 16 bits, or gives one of 8 bits whole levels.
fn stretch(image: &mut Image) -> Result<()> {
    image.validate()?;
    let least = image
        .pixels
        .iter()
        .fold([f32::INFINITY, f32::NEG_INFINITY], |ends, &v| [ends[0].min(v), ends[1].max(v)]);
    let [low, high] = stretch_ends(image.range, least);
    let eight_bits = is_eight_bits(image.range);
    let top = TOPS[usize::from(!eight_bits)];
    let factor = f64::from(top) / (f64::from(high) - f64::from(low));
    image.pixels.mapv_inplace(|v| {
        let level = (f64::from(v) - f64::from(low)) * factor;
        level.round().clamp(0.0, f64::from(top)) as f32
    });
    image.range = Some([0.0, top]);
    image.history.push(format!("{low} to {high} made levels 0 to {top}"));
    Ok(())
}

fn released(image: &mut Image, bytes: &[u8], name: &Path) -> Result<()> {
    // The preamble of a DICOM file may hold the start of a TIFF file.
    let picture = bytes.get(128..132) != Some(b"DICM") && raster::format(bytes).is_some();
    let eight_bits = if picture {
        // Its image library makes every picture one of 8 bits and clips what is above.
        image.pixels.mapv_inplace(|v| v.min(TOPS[0]));
        true
    } else {
        let (levels, eight_bits) = dicom::released_levels(bytes, name)?;
        let levels = levels.into_iter().map(f32::from).collect();
        image.pixels = Array2::from_shape_vec(image.pixels.dim(), levels)
            .map_err(|error| Error::format(name, error.to_string()))?;
        eight_bits
    };
    image.range = Some([0.0, TOPS[usize::from(!eight_bits)]]);
    image.history = vec!["levels as the published code of CXR Foundation makes them".to_owned()];
    Ok(())
}

/// Writes levels as the 16-bit grey PNG that CXR Foundation's clients send, pixel for pixel: the
/// levels of a film of 8 bits stay 0 to 255 in it.
pub fn write_cxr_foundation_png(levels: &Image, path: &Path) -> Result<()> {
    levels.validate()?;
    let is_level = |v: &f32| (0.0..=TOPS[1]).contains(v) && v.fract() == 0.0;
    if let Some(value) = levels.pixels.iter().find(|v| !is_level(v)) {
        let why = format!("expected whole levels 0 to 65535, found {value}");
        return Err(Error::value("image", why));
    }
    write_levels(levels.pixels.map(|&v| v as u16).view(), path)
}

impl Image {
    /// Refuses a film that is known to be lateral.
    pub(super) fn expect_frontal(&self) -> Result<()> {
        if self.view == View::Lateral {
            let why = "expected a frontal film (PA or AP), found LATERAL";
            return Err(Error::value("view", why));
        }
        Ok(())
    }
}

/// The ends of a film that are stretched over all levels: `least`, its lowest and highest value,
/// but its display range where that is of 8 bits or where all its values are one.
pub(super) fn stretch_ends(range: Option<[f32; 2]>, least: [f32; 2]) -> [f32; 2] {
    match (range, least) {
        (Some(range), [low, high]) if is_eight_bits(Some(range)) || low >= high => range,
        (None, [low, high]) if low >= high => [low, low + low.abs().max(1.0)],
        _ => least,
    }
}

fn is_eight_bits(range: Option<[f32; 2]>) -> bool {
    range.is_some_and(|[low, high]| (high - low - TOPS[0]).abs() < 1e-3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_films_of_more_than_eight_bits_and_two_values_are_stretched() {
        let ends = |range, least| stretch_ends(range, least).map(|v| v as i64);
        assert_eq!(ends(Some([0.0, 4095.0]), [7.0, 3000.0]), [7, 3000]);
        assert_eq!(ends(Some([0.0, 255.0]), [7.0, 200.0]), [0, 255]);
        assert_eq!(ends(Some([-128.0, 127.0]), [7.0, 100.0]), [-128, 127]);
        assert_eq!(ends(Some([0.0, 4095.0]), [9.0, 9.0]), [0, 4095]);
        assert_eq!(ends(None, [9.0, 9.0]), [9, 18]);
        assert_eq!(ends(None, [-0.5, -0.5]), [0, 0]); // to 0.5
    }

    #[test]
    fn what_is_no_level_is_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("film.png");
        for (value, found) in [(0.5, "0.5"), (-1.0, "-1"), (65_536.0, "65536")] {
            let film = Image::from_pixels(ndarray::array![[1.0, value]]);
            let error = write_cxr_foundation_png(&film, &path).unwrap_err().to_string();
            assert_eq!(error, format!("image: expected whole levels 0 to 65535, found {found}"));
        }
        assert!(!path.exists());
    }
}
