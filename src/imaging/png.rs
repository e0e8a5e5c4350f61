//! Films as PNG: 16 bits to keep, 8 bits to look at.

use std::path::Path;

use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};

use super::{Image, Intensity, Kernel, Recipe, Step, resize};
use crate::{Error, Result, files};

/// Writes the film as a 16-bit grey PNG, its display range (or its extremes) spread over all levels.
pub fn write_png(image: &Image, path: &Path) -> Result<()> {
    let shown = shown(image)?;
    let bytes: Vec<u8> =
        shown.iter().flat_map(|v| ((v * 65_535.0).round() as u16).to_ne_bytes()).collect();
    let content = encode(&bytes, shown.dim(), ExtendedColorType::L16)?;
    files::write_atomic(path, &content)
}

/// The film as the bytes of an 8-bit grey PNG whose longer side has at most `side` pixels; pixels
/// that are not square in mm are made so.
pub fn preview_png(image: &Image, side: usize) -> Result<Vec<u8>> {
    let shown = shown(image)?;
    let (rows, cols) = shown.dim();
    let [down, across] = image.spacing.unwrap_or([1.0, 1.0]);
    let (tall, wide) = (rows as f64 * down, cols as f64 * across);
    let factor = (side.min(rows.max(cols)) as f64) / tall.max(wide);
    let small = |length: f64| ((length * factor).round() as usize).max(1);
    let small = resize(shown.view(), small(tall), small(wide), Kernel::Bilinear, true)?;
    let bytes: Vec<u8> = small.iter().map(|v| (v * 255.0).round() as u8).collect();
    encode(&bytes, small.dim(), ExtendedColorType::L8)
}

/// The film in [0, 1].
fn shown(image: &Image) -> Result<ndarray::Array2<f32>> {
    let scale = Recipe { steps: vec![Step::Rescale { from: Intensity::Range }] };
    let (pixels, _) = scale.apply(image)?;
    Ok(pixels.index_axis_move(ndarray::Axis(0), 0))
}

fn encode(
    bytes: &[u8],
    (rows, cols): (usize, usize),
    colour: ExtendedColorType,
) -> Result<Vec<u8>> {
    let mut content = Vec::new();
    PngEncoder::new(&mut content)
        .write_image(bytes, cols as u32, rows as u32, colour)
        .map_err(|error| Error::Internal(format!("PNG: {error}")))?;
    Ok(content)
}
