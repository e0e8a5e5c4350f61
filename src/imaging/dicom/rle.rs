//! RLE Lossless: one packed segment for each byte of each sample.
//!
//! Source: DICOM PS3.5, annex G. The decoder of dicom-rs panics on bad headers and stops at
//! 16 bits; this one does neither.

use super::walk::Why;

/// Decodes a frame of `pixels` pixels to little-endian samples, each pixel's side by side.
pub(super) fn decode(data: &[u8], pixels: usize, samples: usize, width: usize) -> Why<Vec<u8>> {
    let word = |i: usize| {
        let bytes = data.get(4 * i..4 * i + 4).and_then(|b| b.try_into().ok());
        bytes.map(u32::from_le_bytes).ok_or("the RLE header is cut short")
    };
    let segments = samples * width;
    let stated = word(0)? as usize;
    if stated != segments {
        return Err(format!("the RLE header states {stated} segments, expected {segments}"));
    }
    // A packet of two bytes makes at most 128, so a short stream cannot ask for much memory.
    if pixels.saturating_mul(segments) > data.len().saturating_mul(64) {
        return Err(format!("{} RLE bytes cannot hold {} pixels", data.len(), pixels));
    }
    let mut decoded = vec![0; pixels * segments];
    for segment in 0..segments {
        let start = word(segment + 1)? as usize;
        let next = if segment + 1 < segments { word(segment + 2)? as usize } else { data.len() };
        let packed = data.get(start..next).ok_or_else(|| {
            format!(
                "RLE segment {segment} lies at bytes {start} to {next}, but there are {}",
                data.len()
            )
        })?;
        // Segments run from the most significant byte to the least.
        let (sample, byte) = (segment / width, width - 1 - segment % width);
        let place = decoded[sample * width + byte..].iter_mut().step_by(segments);
        let missing = unpack(packed, place);
        if missing > 0 {
            return Err(format!("RLE segment {segment} ends {missing} bytes early"));
        }
    }
    Ok(decoded)
}

/// Fills the places from the packed bytes; gives how many stay unfilled.
fn unpack<'a>(packed: &[u8], mut places: impl ExactSizeIterator<Item = &'a mut u8>) -> usize {
    let mut at = 0;
    while places.len() > 0 && at < packed.len() {
        let control = packed[at];
        at += 1;
        match control {
            0..=127 => {
                let count = usize::from(control) + 1;
                let literal = &packed[at..packed.len().min(at + count)];
                for (place, &byte) in places.by_ref().take(literal.len()).zip(literal) {
                    *place = byte;
                }
                at += count;
            }
            129..=255 => {
                let Some(&byte) = packed.get(at) else { break };
                places.by_ref().take(257 - usize::from(control)).for_each(|place| *place = byte);
                at += 1;
            }
            128 => {}
        }
    }
    places.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_literal_and_a_run_come_back() {
        let mut data = vec![0; 64];
        data[0] = 1;
        data[4] = 64;
        data.extend([1, 7, 8, 0xFE, 9]); // two literals, then 9 three times
        assert_eq!(decode(&data, 5, 1, 1).unwrap(), [7, 8, 9, 9, 9]);
        assert_eq!(decode(&data, 6, 1, 1).unwrap_err(), "RLE segment 0 ends 1 bytes early");
    }

    #[test]
    fn a_header_of_two_thousand_million_segments_is_refused() {
        let why = decode(&[0, 0, 0, 0x80], 4, 1, 1).unwrap_err();
        assert_eq!(why, "the RLE header states 2147483648 segments, expected 1");
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(data: Vec<u8>, pixels in 0usize..5000) {
            let _ = decode(&data, pixels, 3, 2);
        }
    }
}
