//! One frame of pixels as little-endian samples, whatever it was compressed with.

use std::borrow::Cow;

use super::layout::Layout;
use super::stream::{Codec, inflate};
use super::walk::{PixelBytes, Why};
use super::{jpeg, jpeg2000, jpegls, rle};

/// Compressed bytes may claim this many times their number, and [`ALWAYS`] in any case: a blank
/// film shrinks to almost nothing, but a small file must not ask for all memory.
const RATIO: usize = 2000;
const ALWAYS: usize = 64 << 20;

/// The pixels of a file, before they are decoded.
pub(super) struct Frames<'a> {
    pub(super) layout: Layout,
    pub(super) codec: Codec,
    pub(super) big_endian: bool,
    pub(super) bytes: PixelBytes<'a>,
}

/// A decoded frame: the samples of each pixel side by side, unless they are planar.
pub(super) struct Frame<'a> {
    pub(super) bytes: Cow<'a, [u8]>,
    pub(super) big_endian: bool,
    pub(super) planar: bool,
    /// The stream itself says that its colours are YCbCr, whatever the data set says.
    pub(super) says_ycbcr: bool,
}

impl<'a> Frame<'a> {
    fn plain(bytes: impl Into<Cow<'a, [u8]>>) -> Self {
        Self { bytes: bytes.into(), big_endian: false, planar: false, says_ycbcr: false }
    }

    fn into_owned(self) -> Frame<'static> {
        Frame { bytes: Cow::Owned(self.bytes.into_owned()), ..self }
    }
}

impl Frames<'_> {
    /// Decodes one frame, counted from 0.
    pub(super) fn decode(&self, frame: usize) -> Why<Frame<'_>> {
        let layout = &self.layout;
        if frame >= layout.frames {
            return Err(format!("frame {frame} was asked for, but there are {}", layout.frames));
        }
        let decoded = match (&self.bytes, self.codec) {
            (PixelBytes::Native { bytes, words }, _) => {
                // Bytes within big-endian words come in pairs, the second one first.
                if self.big_endian && *words && layout.allocated <= 8 {
                    let pairs = bytes.chunks_exact(2).flat_map(|p| [p[1], p[0]]);
                    self.native(&pairs.collect::<Vec<u8>>(), frame)?.into_owned()
                } else {
                    self.native(bytes, frame)?
                }
            }
            (PixelBytes::Fragments { .. }, Codec::None) => {
                let one = Layout { frames: 1, ..layout.clone() };
                let bytes = native_bytes(&one, &self.compressed(frame)?, 0)?.into_owned();
                Frame { planar: layout.planar, ..Frame::plain(bytes) }
            }
            (PixelBytes::Fragments { .. }, codec) => {
                let data = self.compressed(frame)?;
                self.plausible(data.len())?;
                self.expand(codec, &data)?
            }
        };
        let (got, expected) = (decoded.bytes.len(), layout.frame_bytes());
        if got < expected {
            return Err(format!("frame {frame} has {got} bytes of pixels, expected {expected}"));
        }
        Ok(decoded)
    }

    fn expand(&self, codec: Codec, data: &[u8]) -> Why<Frame<'static>> {
        let layout = &self.layout;
        let pixels = layout.rows * layout.cols;
        match codec {
            Codec::Rle if layout.allocated == 1 => {
                let packed = rle::decode(data, pixels.div_ceil(8), layout.samples, 1)?;
                Ok(Frame::plain(unpack_bits(&packed, 0, layout.frame_samples())))
            }
            Codec::Rle => {
                rle::decode(data, pixels, layout.samples, layout.sample_bytes()).map(Frame::plain)
            }
            Codec::Jpeg => {
                let (bytes, says_ycbcr) = jpeg::decode(data, layout)?;
                Ok(Frame { says_ycbcr, ..Frame::plain(bytes) })
            }
            Codec::JpegLs => {
                let (bytes, planar) = jpegls::decode(data, layout)?;
                Ok(Frame { planar, ..Frame::plain(bytes) })
            }
            Codec::Jpeg2000 => jpeg2000::decode(data, layout).map(Frame::plain),
            Codec::Deflate | Codec::None => {
                let inflated = inflate(data, layout.frame_bytes() + 2)?;
                let one = Layout { frames: 1, ..layout.clone() };
                let bytes = native_bytes(&one, &inflated, 0)?.into_owned();
                Ok(Frame { planar: layout.planar, ..Frame::plain(bytes) })
            }
        }
    }

    fn native<'b>(&self, bytes: &'b [u8], frame: usize) -> Why<Frame<'b>> {
        let bytes = native_bytes(&self.layout, bytes, frame)?;
        let planar = self.layout.planar && !self.layout.halved_chroma();
        Ok(Frame { bytes, big_endian: self.big_endian, planar, says_ycbcr: false })
    }

    /// The compressed bytes of a frame, put together from its fragments.
    fn compressed(&self, frame: usize) -> Why<Cow<'_, [u8]>> {
        let PixelBytes::Fragments { offsets, parts } = &self.bytes else {
            return Err("the pixel data is not in fragments".to_owned());
        };
        let frames = self.layout.frames;
        let starts: Vec<usize> = if frames == 1 {
            vec![0]
        } else if parts.len() == frames {
            (0..frames).collect()
        } else {
            frame_starts(offsets, parts, frames).ok_or_else(|| {
                format!("{} fragments cannot be shared out to {frames} frames", parts.len())
            })?
        };
        let end = starts.get(frame + 1).copied().unwrap_or(parts.len());
        match parts.get(starts[frame]..end) {
            Some([]) | None => Err(format!("frame {frame} has no pixel data")),
            Some([one]) => Ok(Cow::Borrowed(one)),
            Some(several) => Ok(Cow::Owned(several.concat())),
        }
    }

    fn plausible(&self, compressed: usize) -> Why<()> {
        let asked = self.layout.frame_bytes();
        if asked > compressed.saturating_mul(RATIO).max(ALWAYS) {
            return Err(format!(
                "{compressed} compressed bytes cannot hold a frame of {asked} bytes"
            ));
        }
        Ok(())
    }
}

/// The fragment that each frame starts with: by the offset table, else by the codecs' start marks.
fn frame_starts(offsets: &[u32], parts: &[&[u8]], frames: usize) -> Option<Vec<usize>> {
    let mut place = 0u64;
    let places: Vec<u64> = parts
        .iter()
        .map(|part| {
            let here = place;
            place += part.len() as u64 + 8;
            here
        })
        .collect();
    let by_table: Option<Vec<usize>> =
        offsets.iter().map(|&o| places.binary_search(&u64::from(o)).ok()).collect();
    if let Some(starts) = by_table.filter(|s| s.len() == frames && s.is_sorted()) {
        return Some(starts);
    }
    let opens = |part: &[u8]| part.starts_with(&[0xFF, 0xD8]) || part.starts_with(&[0xFF, 0x4F]);
    let starts: Vec<usize> = (0..parts.len()).filter(|&i| opens(parts[i])).collect();
    (starts.len() == frames && starts[0] == 0).then_some(starts)
}

/// Cuts a frame out of uncompressed bytes, with single bits and shared chroma spread out.
fn native_bytes<'b>(layout: &Layout, bytes: &'b [u8], frame: usize) -> Why<Cow<'b, [u8]>> {
    let samples = layout.frame_samples();
    if layout.allocated == 1 {
        let have = bytes.len() * 8;
        let needed = samples * layout.frames;
        if have < needed {
            return Err(format!("the pixel data has {have} bits, expected {needed}"));
        }
        return Ok(Cow::Owned(unpack_bits(bytes, frame * samples, samples)));
    }
    let size =
        if layout.halved_chroma() { layout.frame_bytes() / 3 * 2 } else { layout.frame_bytes() };
    let needed = size.saturating_mul(layout.frames);
    if bytes.len() < needed {
        return Err(format!("the pixel data has {} bytes, expected {needed}", bytes.len()));
    }
    let own = &bytes[frame * size..(frame + 1) * size];
    Ok(if layout.halved_chroma() {
        Cow::Owned(spread_chroma(own, layout))
    } else {
        Cow::Borrowed(own)
    })
}

fn unpack_bits(bytes: &[u8], first: usize, count: usize) -> Vec<u8> {
    (first..first + count).map(|bit| bytes[bit / 8] >> (bit % 8) & 1).collect()
}

/// Turns Y1 Y2 Cb Cr into Y1 Cb Cr, Y2 Cb Cr (PS3.3, C.7.6.3.1.2).
fn spread_chroma(bytes: &[u8], layout: &Layout) -> Vec<u8> {
    let width = layout.sample_bytes();
    let mut spread = Vec::with_capacity(layout.frame_bytes());
    for pair in bytes.chunks_exact(4 * width) {
        let (luma, chroma) = pair.split_at(2 * width);
        for y in luma.chunks_exact(width) {
            spread.extend_from_slice(y);
            spread.extend_from_slice(chroma);
        }
    }
    spread
}
