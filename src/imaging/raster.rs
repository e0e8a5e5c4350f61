//! PNG, JPEG and TIFF files of 8 and 16 bits as films.

use std::io::Cursor;
use std::path::Path;

use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, metadata::Orientation};
use ndarray::Array2;

use super::{Image, ReadOptions};
use crate::{Error, Result};

/// Larger images than this are no films.
const MAX_SIDE: u32 = 32_768;
/// The most memory that decoding may take.
const MAX_BYTES: u64 = 2 << 30;

/// The format that the bytes open with, when it is one we read.
pub(super) fn format(bytes: &[u8]) -> Option<ImageFormat> {
    const STARTS: [(&[u8], ImageFormat); 4] = [
        (b"\x89PNG\r\n\x1a\n", ImageFormat::Png),
        (b"\xff\xd8\xff", ImageFormat::Jpeg),
        (b"II*\0", ImageFormat::Tiff),
        (b"MM\0*", ImageFormat::Tiff),
    ];
    STARTS.iter().find(|(start, _)| bytes.starts_with(start)).map(|(_, format)| *format)
}

/// Reads an image of the given format; colours become luma, transparency goes.
pub(super) fn read(
    bytes: &[u8],
    format: ImageFormat,
    name: &Path,
    options: &ReadOptions,
) -> Result<Image> {
    if let Some(frame) = options.frame.filter(|&frame| frame > 0) {
        return Err(Error::value(
            "frame",
            format!("expected 0 for {format:?} files, found {frame}"),
        ));
    }
    let kind = format!("{format:?}").to_uppercase();
    let explain = |error: image::ImageError| {
        Error::format(name, format!("expected a whole {kind} image, found a damaged one: {error}"))
    };
    if format == ImageFormat::Jpeg && !has_end(bytes) {
        // The decoder would fill what is missing with grey.
        return Err(Error::format(name, "expected a whole JPEG image, found one cut short"));
    }
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_BYTES);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(explain)?;
    let turned = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let decoded = DynamicImage::from_decoder(decoder).map_err(explain)?;

    let mut history =
        vec![format!("{kind}, {} x {}, {:?}", decoded.height(), decoded.width(), decoded.color())];
    if turned != Orientation::NoTransforms {
        history.push(format!("EXIF orientation {} not applied", turned.to_exif()));
    }
    if decoded.color().has_alpha() {
        history.push("transparency dropped".to_owned());
    }
    if decoded.color().has_color() {
        history.push("colours reduced to luma (ITU-R BT.601)".to_owned());
    }
    let size = (decoded.height() as usize, decoded.width() as usize);
    let (values, top) = grey(decoded, name)?;
    let pixels = Array2::from_shape_vec(size, values).map_err(|error| {
        Error::format(name, format!("the pixels do not fill the image: {error}"))
    })?;
    Ok(Image { pixels, range: Some([0.0, top]), history, ..Image::default() })
}

/// Whether a JPEG stream has its end mark after the start of its scan; inside a scan the mark
/// cannot occur.
fn has_end(bytes: &[u8]) -> bool {
    let mut at = 2;
    while let Some(&[0xFF, marker, high, low]) = bytes.get(at..).and_then(|b| b.first_chunk()) {
        if marker == 0xFF {
            at += 1;
            continue;
        }
        if marker == 0xDA {
            return bytes[at..].windows(2).any(|pair| pair == [0xFF, 0xD9]);
        }
        at += 2 + usize::from(u16::from_be_bytes([high, low]));
    }
    false
}

fn grey(image: DynamicImage, name: &Path) -> Result<(Vec<f32>, f32)> {
    Ok(match image {
        DynamicImage::ImageLuma8(image) => {
            (image.into_raw().into_iter().map(f32::from).collect(), 255.0)
        }
        DynamicImage::ImageLumaA8(image) => {
            (image.pixels().map(|p| f32::from(p[0])).collect(), 255.0)
        }
        DynamicImage::ImageRgb8(image) => {
            (image.pixels().map(|p| luma8([p[0], p[1], p[2]])).collect(), 255.0)
        }
        DynamicImage::ImageRgba8(image) => {
            (image.pixels().map(|p| luma8([p[0], p[1], p[2]])).collect(), 255.0)
        }
        DynamicImage::ImageLuma16(image) => {
            (image.into_raw().into_iter().map(f32::from).collect(), 65535.0)
        }
        DynamicImage::ImageLumaA16(image) => {
            (image.pixels().map(|p| f32::from(p[0])).collect(), 65535.0)
        }
        DynamicImage::ImageRgb16(image) => {
            (image.pixels().map(|p| luma16([p[0], p[1], p[2]])).collect(), 65535.0)
        }
        DynamicImage::ImageRgba16(image) => {
            (image.pixels().map(|p| luma16([p[0], p[1], p[2]])).collect(), 65535.0)
        }
        other => {
            let why = format!("expected 8 or 16 bits a sample, found {:?}", other.color());
            return Err(Error::format(name, why));
        }
    })
}

/// Luma with the rounding that other imaging software uses for 8 bits.
fn luma8([r, g, b]: [u8; 3]) -> f32 {
    let sum = u32::from(r) * 19_595 + u32::from(g) * 38_470 + u32::from(b) * 7_471 + 0x8000;
    (sum >> 16) as f32
}

fn luma16([r, g, b]: [u16; 3]) -> f32 {
    (0.299 * f64::from(r) + 0.587 * f64::from(g) + 0.114 * f64::from(b)) as f32
}
