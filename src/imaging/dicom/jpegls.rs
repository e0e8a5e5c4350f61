//! JPEG-LS frames, through `CharLS`.

use charls::CharLS;

use super::layout::Layout;
use super::walk::Why;

/// Decodes a frame to little-endian samples; says whether the colours lie plane after plane.
pub(super) fn decode(data: &[u8], layout: &Layout) -> Why<(Vec<u8>, bool)> {
    let explain = |error: charls::Error| format!("the JPEG-LS data cannot be decoded: {error}");
    let info = CharLS::default().get_frame_info(data).map_err(explain)?;
    let found = (info.height as usize, info.width as usize, info.component_count as usize);
    if found != (layout.rows, layout.cols, layout.samples) {
        return Err(format!(
            "the JPEG-LS image is {} x {} x {}, expected {} x {} x {}",
            found.0, found.1, found.2, layout.rows, layout.cols, layout.samples
        ));
    }
    let width = if info.bits_per_sample <= 8 { 1 } else { 2 };
    if width > layout.sample_bytes() {
        return Err(format!(
            "the JPEG-LS samples have {} bits, more than the {} allocated",
            info.bits_per_sample, layout.allocated
        ));
    }
    let decoded = CharLS::default().decode(data).map_err(explain)?;
    Ok((super::jpeg::widen(decoded, width, layout.sample_bytes()), by_plane(data)))
}

/// Whether the first scan holds one component of several (interleave mode 0).
fn by_plane(data: &[u8]) -> bool {
    let mut at = 2;
    while let Some(&[0xFF, marker, high, low]) = data.get(at..).and_then(|d| d.first_chunk()) {
        let length = usize::from(u16::from_be_bytes([high, low]));
        if marker == 0xDA {
            return data.get(at + 4) == Some(&1);
        }
        at += 2 + length;
    }
    false
}
