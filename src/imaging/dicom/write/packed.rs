//! RLE Lossless of a frame of 16-bit samples: two segments, the high bytes first.
//!
//! Source: DICOM PS3.5, annex G.

/// The frame with its header.
pub(super) fn encode(pixels: &[u16], columns: usize) -> Vec<u8> {
    let plane = |shift: u32| -> Vec<u8> {
        let rows = pixels.chunks(columns.max(1)).flat_map(|row| {
            let bytes: Vec<u8> = row.iter().map(|p| (p >> shift) as u8).collect();
            pack(&bytes)
        });
        let mut packed: Vec<u8> = rows.collect();
        if packed.len() % 2 == 1 {
            packed.push(0);
        }
        packed
    };
    let (high, low) = (plane(8), plane(0));
    let mut frame = Vec::with_capacity(64 + high.len() + low.len());
    for word in [2, 64, 64 + high.len() as u32] {
        frame.extend(word.to_le_bytes());
    }
    frame.resize(64, 0);
    frame.extend(high);
    frame.extend(low);
    frame
}

/// One row: runs of three and more, else bytes as they are.
fn pack(bytes: &[u8]) -> Vec<u8> {
    let mut packed = Vec::with_capacity(bytes.len() / 2);
    let mut plain = 0;
    let mut at = 0;
    let copy = |packed: &mut Vec<u8>, from: usize, to: usize| {
        for chunk in bytes[from..to].chunks(128) {
            packed.push(chunk.len() as u8 - 1);
            packed.extend_from_slice(chunk);
        }
    };
    while at < bytes.len() {
        let run = bytes[at..].iter().take(128).take_while(|b| **b == bytes[at]).count();
        if run >= 3 {
            copy(&mut packed, plain, at);
            packed.extend([(257 - run) as u8, bytes[at]]);
            plain = at + run;
        }
        at += run;
    }
    copy(&mut packed, plain, bytes.len());
    packed
}

#[cfg(test)]
mod tests {
    use super::super::super::rle::decode;
    use super::*;

    proptest::proptest! {
        #[test]
        fn every_frame_comes_back(columns in 1usize..300, runs: Vec<(u16, u8)>) {
            let mut pixels: Vec<u16> =
                runs.iter().flat_map(|(v, n)| vec![*v; usize::from(*n) * 2]).collect();
            pixels.resize(pixels.len().next_multiple_of(columns).max(columns), 9);
            let bytes = decode(&encode(&pixels, columns), pixels.len(), 1, 2).unwrap();
            let back: Vec<u16> =
                bytes.chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]])).collect();
            proptest::prop_assert_eq!(back, pixels);
        }
    }
}
