//! JPEG 2000 and HTJ2K frames, through `OpenJPEG`.

use jpeg2k::{DecodeParameters, Image};

use super::layout::Layout;
use super::walk::Why;

/// Decodes a frame to little-endian samples, each pixel's side by side.
///
/// The colour transforms of the codestream (RCT, ICT) are undone, so their result is RGB.
pub(super) fn decode(data: &[u8], layout: &Layout) -> Why<Vec<u8>> {
    check_size(data, layout)?;
    // A film cut short must not pass for a whole one.
    let strict = DecodeParameters::new().strict(true);
    let image = Image::from_bytes_with(data, strict)
        .map_err(|error| format!("the JPEG 2000 data cannot be decoded: {error}"))?;
    let components = image.components();
    if components.len() < layout.samples {
        return Err(format!(
            "the JPEG 2000 data has {} components, expected {}",
            components.len(),
            layout.samples
        ));
    }
    let (samples, width) = (layout.samples, layout.sample_bytes());
    let mut bytes = vec![0; layout.frame_bytes()];
    for (index, component) in components.iter().take(samples).enumerate() {
        let size = [component.height() as usize, component.width() as usize];
        if size != [layout.rows, layout.cols] {
            return Err(format!(
                "JPEG 2000 component {index} is {} x {}, expected {} x {}",
                size[0], size[1], layout.rows, layout.cols
            ));
        }
        let (places, values) = (&mut bytes[index * width..], component.data());
        match width {
            1 => place::<1>(values, places, samples),
            2 => place::<2>(values, places, samples),
            _ => place::<4>(values, places, samples),
        }
    }
    Ok(bytes)
}

/// Writes the values of one component, `step` samples apart.
fn place<const WIDTH: usize>(values: &[i32], bytes: &mut [u8], step: usize) {
    for (place, value) in bytes.chunks_mut(step * WIDTH).zip(values) {
        if let (Some(place), Some(value)) =
            (place.first_chunk_mut::<WIDTH>(), value.to_le_bytes().first_chunk::<WIDTH>())
        {
            *place = *value;
        }
    }
}

/// Compares the codestream's own size with the image's before anything is allocated for it.
fn check_size(data: &[u8], layout: &Layout) -> Why<()> {
    let mark = data
        .windows(4)
        .position(|w| w == [0xFF, 0x4F, 0xFF, 0x51])
        .ok_or("the JPEG 2000 data has no codestream")?;
    let word = |at: usize| {
        let bytes = data.get(mark + at..mark + at + 4).and_then(|b| b.try_into().ok());
        bytes.map(u32::from_be_bytes).ok_or("the JPEG 2000 header is cut short")
    };
    let (width, height) = (word(8)?.checked_sub(word(16)?), word(12)?.checked_sub(word(20)?));
    let expected = (Some(layout.cols as u32), Some(layout.rows as u32));
    if (width, height) != expected {
        return Err(format!(
            "the JPEG 2000 image is {} x {}, expected {} x {}",
            height.unwrap_or(0),
            width.unwrap_or(0),
            layout.rows,
            layout.cols
        ));
    }
    // Tiles far smaller than the image would each cost memory of their own.
    let (tile_width, tile_height) = (u64::from(word(24)?.max(1)), u64::from(word(28)?.max(1)));
    let tiles =
        (layout.cols as u64).div_ceil(tile_width) * (layout.rows as u64).div_ceil(tile_height);
    if tiles > 65_535 {
        return Err(format!("the JPEG 2000 image has {tiles} tiles, at most 65535 can be"));
    }
    Ok(())
}
