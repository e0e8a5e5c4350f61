//! JPEG frames: baseline, extended, progressive, lossless.

use std::io::Cursor;

use jpeg_decoder::{ColorTransform, Decoder, PixelFormat};

use super::jpeg12;
use super::layout::Layout;
use super::walk::Why;

/// Decodes a frame to little-endian samples without touching the colours; says whether the
/// stream itself declares YCbCr.
pub(super) fn decode(data: &[u8], layout: &Layout) -> Why<(Vec<u8>, bool)> {
    let explain = |error: jpeg_decoder::Error| format!("the JPEG data cannot be decoded: {error}");
    let header = Header::read(data)?;
    if (header.rows, header.cols, header.components) != (layout.rows, layout.cols, layout.samples) {
        return Err(format!(
            "the JPEG image is {} x {} x {}, expected {} x {} x {}",
            header.rows, header.cols, header.components, layout.rows, layout.cols, layout.samples
        ));
    }
    if header.precision == 12 && !header.lossless {
        return Ok((jpeg12::decode(data, layout)?, false));
    }
    let mut decoder = Decoder::new(Cursor::new(data));
    decoder.set_max_decoding_buffer_size(layout.frame_samples() * 4);
    if layout.samples == 3 {
        // Said of colours as they are: the decoder's own "no transform" mixes up its planes.
        decoder.set_color_transform(ColorTransform::RGB);
    }
    let decoded = decoder.decode().map_err(explain)?;
    let info = decoder.info().ok_or("the JPEG data has no frame")?;
    let width = if info.pixel_format == PixelFormat::L16 { 2 } else { 1 };
    if width > layout.sample_bytes() {
        return Err(format!("the JPEG samples have 16 bits, expected {}", layout.allocated));
    }
    Ok((widen(decoded, width, layout.sample_bytes()), header.adobe_ycbcr))
}

/// Gives samples of `width` bytes the width `wanted`.
pub(super) fn widen(bytes: Vec<u8>, width: usize, wanted: usize) -> Vec<u8> {
    if width >= wanted {
        return bytes;
    }
    let mut wide = vec![0; bytes.len() / width * wanted];
    for (place, sample) in wide.chunks_exact_mut(wanted).zip(bytes.chunks_exact(width)) {
        place[..width].copy_from_slice(sample);
    }
    wide
}

/// What the marker segments of a JPEG stream say.
pub(super) struct Header {
    pub(super) lossless: bool,
    pub(super) precision: u8,
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) components: usize,
    /// The Adobe segment names the transform YCbCr.
    pub(super) adobe_ycbcr: bool,
}

impl Header {
    fn read(data: &[u8]) -> Why<Self> {
        let mut adobe_ycbcr = false;
        let mut at = 2;
        if !data.starts_with(&[0xFF, 0xD8]) {
            return Err("the JPEG data does not begin with a JPEG start mark".to_owned());
        }
        while let Some(&[0xFF, marker, high, low]) = data.get(at..).and_then(|d| d.first_chunk()) {
            if marker == 0xFF {
                at += 1;
                continue;
            }
            let length = usize::from(u16::from_be_bytes([high, low]));
            let body = data.get(at + 4..at + 2 + length.max(2)).unwrap_or_default();
            match marker {
                0xEE if body.starts_with(b"Adobe") => adobe_ycbcr = body.get(11) == Some(&1),
                0xC0..=0xC3 | 0xC5..=0xC7 | 0xC9..=0xCB | 0xCD..=0xCF => {
                    let &[precision, r0, r1, c0, c1, components] =
                        body.first_chunk().ok_or("the JPEG header is cut short")?;
                    return Ok(Self {
                        lossless: marker & 3 == 3,
                        precision,
                        rows: usize::from(u16::from_be_bytes([r0, r1])),
                        cols: usize::from(u16::from_be_bytes([c0, c1])),
                        components: usize::from(components),
                        adobe_ycbcr,
                    });
                }
                _ => {}
            }
            at += 2 + length;
        }
        Err("the JPEG data has no frame header".to_owned())
    }
}
