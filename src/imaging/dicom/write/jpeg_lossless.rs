//! Lossless JPEG of one grey frame: each sample less its left neighbour, Huffman-coded.
//!
//! Source: ITU-T T.81, annex H, process 14 with selection value 1.

/// Codes of each length 1 to 16 for the categories below: short ones for what smooth images have.
const LENGTHS: [u8; 16] = [0, 1, 5, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0];
/// Categories (bits of a difference), most frequent first.
const CATEGORIES: [u8; 17] = [4, 3, 5, 2, 6, 1, 0, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];

/// Bits to be written, most significant first; 0xFF is followed by 0 as JPEG asks.
struct Bits {
    bytes: Vec<u8>,
    held: u64,
    count: u32,
}

impl Bits {
    fn put(&mut self, value: u32, count: u32) {
        self.held = (self.held << count) | u64::from(value);
        self.count += count;
        while self.count >= 8 {
            self.count -= 8;
            let byte = (self.held >> self.count) as u8;
            self.bytes.push(byte);
            if byte == 0xFF {
                self.bytes.push(0);
            }
        }
        self.held &= (1 << self.count) - 1;
    }
}

/// The codestream of a frame of `precision` bits; rows and columns are below 65536.
pub(super) fn encode(pixels: &[u16], rows: u16, columns: u16, precision: u8) -> Vec<u8> {
    let codes = codes();
    let mut bits = Bits { bytes: header(rows, columns, precision), held: 0, count: 0 };
    let width = usize::from(columns);
    for (i, &pixel) in pixels.iter().enumerate() {
        let before = match (i / width, i % width) {
            (0, 0) => 1 << (precision - 1),
            (_, 0) => pixels[i - width],
            _ => pixels[i - 1],
        };
        // Modulo 2^16, as a number from -32767 to 32768.
        let difference = i32::from(pixel.wrapping_sub(before) as i16);
        let difference = if difference == -32768 { 32768 } else { difference };
        let category = 32 - difference.unsigned_abs().leading_zeros();
        let (code, length) = codes[category as usize];
        bits.put(code, length);
        // The sixteenth category has one member and needs no further bits.
        if (1..16).contains(&category) {
            let low = if difference < 0 { difference - 1 } else { difference };
            bits.put(low as u32 & ((1 << category) - 1), category);
        }
    }
    if bits.count > 0 {
        let fill = 8 - bits.count;
        bits.put((1 << fill) - 1, fill);
    }
    bits.bytes.extend([0xFF, 0xD9]);
    bits.bytes
}

/// Code and length for each category.
fn codes() -> [(u32, u32); 17] {
    let mut codes = [(0, 0); 17];
    let (mut code, mut next) = (0, 0);
    for (length, count) in (1..).zip(LENGTHS) {
        for _ in 0..count {
            codes[usize::from(CATEGORIES[next])] = (code, length);
            (code, next) = (code + 1, next + 1);
        }
        code <<= 1;
    }
    codes
}

fn header(rows: u16, columns: u16, precision: u8) -> Vec<u8> {
    let [r, s] = rows.to_be_bytes();
    let [c, d] = columns.to_be_bytes();
    let mut bytes = vec![0xFF, 0xD8];
    bytes.extend([0xFF, 0xC3, 0, 11, precision, r, s, c, d, 1, 1, 0x11, 0]);
    bytes.extend([0xFF, 0xC4, 0, 2 + 17 + 17, 0]);
    bytes.extend(LENGTHS);
    bytes.extend(CATEGORIES);
    bytes.extend([0xFF, 0xDA, 0, 8, 1, 1, 0, 1, 0, 0]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(bytes: &[u8]) -> Vec<u16> {
        let pixels = jpeg_decoder::Decoder::new(bytes).decode().unwrap();
        pixels.chunks_exact(2).map(|b| u16::from_ne_bytes([b[0], b[1]])).collect()
    }

    #[test]
    fn the_codes_are_a_full_prefix_code_without_all_ones() {
        let codes = codes();
        assert_eq!(LENGTHS.iter().map(|n| usize::from(*n)).sum::<usize>(), CATEGORIES.len());
        for (i, a) in codes.iter().enumerate() {
            assert!(a.1 > 0 && a.0 < (1 << a.1) - 1);
            for b in &codes[i + 1..] {
                let short = a.1.min(b.1);
                assert_ne!(a.0 >> (a.1 - short), b.0 >> (b.1 - short));
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn every_frame_comes_back(
            columns in 1usize..40, seed: Vec<u16>, precision in 9u8..=16
        ) {
            let most = if precision == 16 { u16::MAX } else { (1 << precision) - 1 };
            let rows = seed.len() / columns + 1;
            let pixels: Vec<u16> =
                (0..rows * columns).map(|i| seed.get(i).copied().unwrap_or(7) & most).collect();
            let bytes = encode(&pixels, rows as u16, columns as u16, precision);
            proptest::prop_assert_eq!(decoded(&bytes), pixels);
        }
    }
}
