//! Films as PNG: 16 bits to keep, 8 bits to look at.

use std::path::Path;

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder};
use ndarray::{ArrayView2, ArrayView3};

use super::{Image, Intensity, Recipe, Step};
use crate::{Error, Result, files};

/// Writes the film as a 16-bit grey PNG, its display range (or its extremes) spread over all levels.
pub fn write_png(image: &Image, path: &Path) -> Result<()> {
    let shown = shown(image)?;
    write_levels(shown.map(|v| (v * 65_535.0).round() as u16).view(), path)
}

/// Writes levels (rows, columns) as a 16-bit grey PNG.
pub(super) fn write_levels(levels: ArrayView2<u16>, path: &Path) -> Result<()> {
    let bytes: Vec<u8> = levels.iter().flat_map(|v| v.to_ne_bytes()).collect();
    let content = encode(&bytes, levels.dim(), ExtendedColorType::L16, CompressionType::Fast)?;
    files::write_atomic(path, &content)
}

/// The bytes of an 8-bit PNG of grey values (rows, columns, 1) or of colours (rows, columns, 3).
pub fn png(pixels: ArrayView3<u8>) -> Result<Vec<u8>> {
    let colour = match pixels.dim() {
        (1.., 1.., 1) => ExtendedColorType::L8,
        (1.., 1.., 3) => ExtendedColorType::Rgb8,
        _ => {
            let expected = "(rows, columns, 1 or 3) of at least 1";
            return Err(Error::shape("picture", expected, pixels.shape()));
        }
    };
    let (rows, columns, _) = pixels.dim();
    let bytes: Vec<u8> = pixels.iter().copied().collect();
    // They are kept in notebooks, where colours packed fast take half as much again.
    encode(&bytes, (rows, columns), colour, CompressionType::Default)
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
    packing: CompressionType,
) -> Result<Vec<u8>> {
    let mut content = Vec::new();
    PngEncoder::new_with_quality(&mut content, packing, FilterType::Adaptive)
        .write_image(bytes, cols as u32, rows as u32, colour)
        .map_err(|error| Error::Internal(format!("PNG: {error}")))?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use ndarray::{Array3, array};

    use super::*;

    #[test]
    fn a_picture_comes_back_from_its_png() {
        let colours = array![[[1u8, 2, 3], [4, 5, 6]]];
        let read = image::load_from_memory(&png(colours.view()).unwrap()).unwrap().to_rgb8();
        assert_eq!((read.dimensions(), read.into_raw()), ((2, 1), vec![1, 2, 3, 4, 5, 6]));
        // A view that is not laid out row by row, as planes of a volume are.
        let grey = array![[[7u8], [9]], [[8], [10]]];
        let turned = png(grey.view().permuted_axes([1, 0, 2])).unwrap();
        let read = image::load_from_memory(&turned).unwrap();
        assert_eq!(read.as_luma8().unwrap().as_raw(), &[7, 8, 9, 10]);
    }

    #[test]
    fn what_is_no_picture_is_refused() {
        for shape in [(0, 3, 1), (3, 3, 2), (3, 3, 4)] {
            let error = png(Array3::zeros(shape).view()).unwrap_err().to_string();
            assert!(error.contains("picture: expected shape (rows, columns, 1 or 3)"), "{error}");
        }
    }
}
