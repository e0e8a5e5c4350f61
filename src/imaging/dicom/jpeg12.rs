//! Grey JPEG frames of 12 bits (extended sequential, Huffman), which the JPEG library lacks.
//!
//! Source: ITU-T T.81, annexes A (transform), C and F.2 (Huffman decoding), F.2.2 (sequential).

use super::layout::Layout;
use super::walk::Why;

/// From the order of the stream to rows of a block.
const ZIGZAG: [usize; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20,
    13, 6, 7, 14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59,
    52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
];

/// What the marker segments before the scan define.
#[derive(Default)]
struct Tables {
    quantisation: [Option<[f32; 64]>; 4],
    dc: [Option<Huffman>; 4],
    ac: [Option<Huffman>; 4],
    /// Which quantisation table the component uses.
    used: usize,
    restart: usize,
}

/// A canonical Huffman code: for each length, the first code, how many, and where their symbols are.
struct Huffman {
    lengths: [(u32, u32, usize); 16],
    symbols: Vec<u8>,
}

/// Decodes a frame to little-endian samples of two bytes.
pub(super) fn decode(data: &[u8], layout: &Layout) -> Why<Vec<u8>> {
    if layout.samples != 1 || layout.sample_bytes() != 2 {
        return Err("12-bit JPEG is read for grey images of 16 bits only".to_owned());
    }
    let mut tables = Tables::default();
    let scan = tables.read(data)?;
    let mut pixels = vec![0u16; layout.rows * layout.cols];
    tables.decode_scan(&data[scan..], layout, &mut pixels)?;
    Ok(pixels.into_iter().flat_map(u16::to_le_bytes).collect())
}

impl Tables {
    /// Reads the segments up to the scan; gives where its coded bytes begin.
    fn read(&mut self, data: &[u8]) -> Why<usize> {
        let mut at = 2;
        while let Some(&[0xFF, marker, high, low]) = data.get(at..).and_then(|d| d.first_chunk()) {
            let length = usize::from(u16::from_be_bytes([high, low])).max(2);
            let body = data.get(at + 4..at + 2 + length).ok_or("a JPEG segment is cut short")?;
            match marker {
                0xC1 => self.used = usize::from(body.get(8).copied().unwrap_or(0) & 3),
                0xC4 => self.read_huffman(body)?,
                0xDB => self.read_quantisation(body)?,
                0xDD => {
                    let interval = body.first_chunk().ok_or("a JPEG segment is cut short")?;
                    self.restart = usize::from(u16::from_be_bytes(*interval));
                }
                0xDA => {
                    let choice = usize::from(*body.get(2).ok_or("a JPEG segment is cut short")?);
                    // The scan's tables move to place 0.
                    self.dc.swap(0, choice >> 4 & 3);
                    self.ac.swap(0, choice & 3);
                    return Ok(at + 2 + length);
                }
                0xC0 | 0xC2..=0xC3 | 0xC5..=0xCF => {
                    return Err("12-bit JPEG is read in its sequential form only".to_owned());
                }
                _ => {}
            }
            at += 2 + length;
        }
        Err("the JPEG data has no scan".to_owned())
    }

    fn read_quantisation(&mut self, mut body: &[u8]) -> Why<()> {
        while let Some((&head, rest)) = body.split_first() {
            let wide = head >> 4 != 0;
            let size = if wide { 128 } else { 64 };
            let values = rest.get(..size).ok_or("a JPEG quantisation table is cut short")?;
            let mut table = [0.0; 64];
            for (index, place) in table.iter_mut().enumerate() {
                *place = if wide {
                    f32::from(u16::from_be_bytes([values[2 * index], values[2 * index + 1]]))
                } else {
                    f32::from(values[index])
                };
            }
            self.quantisation[usize::from(head & 3)] = Some(table);
            body = &rest[size..];
        }
        Ok(())
    }

    fn read_huffman(&mut self, mut body: &[u8]) -> Why<()> {
        while let Some((&head, rest)) = body.split_first() {
            let counts: &[u8; 16] = rest.first_chunk().ok_or("a JPEG code table is cut short")?;
            let total: usize = counts.iter().map(|&c| usize::from(c)).sum();
            let symbols = rest.get(16..16 + total).ok_or("a JPEG code table is cut short")?;
            let mut lengths = [(0, 0, 0); 16];
            let (mut code, mut first) = (0u32, 0);
            for (length, &count) in lengths.iter_mut().zip(counts) {
                *length = (code, u32::from(count), first);
                code = (code + u32::from(count)) << 1;
                first += usize::from(count);
            }
            let table = Some(Huffman { lengths, symbols: symbols.to_vec() });
            let place = usize::from(head & 3);
            if head >> 4 == 0 {
                self.dc[place] = table;
            } else {
                self.ac[place] = table;
            }
            body = &rest[16 + total..];
        }
        Ok(())
    }

    fn decode_scan(&self, data: &[u8], layout: &Layout, pixels: &mut [u16]) -> Why<()> {
        let missing = "the JPEG scan names a table that is not there";
        let quantisation = self.quantisation[self.used].as_ref().ok_or(missing)?;
        let (dc, ac) = (self.dc[0].as_ref().ok_or(missing)?, self.ac[0].as_ref().ok_or(missing)?);
        let cosines = cosines();
        let mut bits = Bits { data, at: 0, held: 0, count: 0 };
        let mut last = 0i32;
        let across = layout.cols.div_ceil(8);
        for block in 0..across * layout.rows.div_ceil(8) {
            if self.restart > 0 && block > 0 && block % self.restart == 0 {
                bits.restart()?;
                last = 0;
            }
            let mut coefficients = [0f32; 64];
            let category = dc.next(&mut bits)?;
            if category > 15 {
                return Err("a JPEG difference is too long".to_owned());
            }
            last = last.wrapping_add(bits.number(u32::from(category))?);
            coefficients[0] = last as f32 * quantisation[0];
            let mut index = 1;
            while index < 64 {
                let symbol = ac.next(&mut bits)?;
                let (run, size) = (usize::from(symbol >> 4), symbol & 15);
                if size == 0 {
                    if run < 15 {
                        break;
                    }
                    index += 16;
                    continue;
                }
                index += run;
                let place = *ZIGZAG.get(index).ok_or("a JPEG block overflows")?;
                coefficients[place] = bits.number(u32::from(size))? as f32 * quantisation[index];
                index += 1;
            }
            let (top, left) = (block / across * 8, block % across * 8);
            let samples = transform(&coefficients, &cosines);
            for (row, line) in samples.chunks_exact(8).enumerate().take(layout.rows - top) {
                let start = (top + row) * layout.cols + left;
                let width = 8.min(layout.cols - left);
                for (place, &value) in pixels[start..start + width].iter_mut().zip(line) {
                    *place = (value + 2048.0).round().clamp(0.0, 4095.0) as u16;
                }
            }
        }
        Ok(())
    }
}

/// The basis of the inverse transform, [frequency][place].
fn cosines() -> [[f32; 8]; 8] {
    std::array::from_fn(|u| {
        let scale = if u == 0 { (1f64 / 8.0).sqrt() } else { 0.5 };
        std::array::from_fn(|x| {
            let angle = (2 * x + 1) as f64 * u as f64 * std::f64::consts::PI / 16.0;
            (scale * angle.cos()) as f32
        })
    })
}

/// The inverse cosine transform, columns first.
fn transform(coefficients: &[f32; 64], cosines: &[[f32; 8]; 8]) -> [f32; 64] {
    let mut columns = [0f32; 64];
    let mut samples = [0f32; 64];
    for v in 0..8 {
        for u in (0..8).filter(|u| coefficients[v * 8 + u] != 0.0) {
            for y in 0..8 {
                columns[y * 8 + u] += coefficients[v * 8 + u] * cosines[v][y];
            }
        }
    }
    for y in 0..8 {
        for u in 0..8 {
            for x in 0..8 {
                samples[y * 8 + x] += columns[y * 8 + u] * cosines[u][x];
            }
        }
    }
    samples
}

impl Huffman {
    fn next(&self, bits: &mut Bits<'_>) -> Why<u8> {
        let mut code = 0;
        for &(first, count, place) in &self.lengths {
            code = code << 1 | bits.take(1)?;
            if code >= first && code - first < count {
                return Ok(self.symbols[place + (code - first) as usize]);
            }
        }
        Err("a JPEG code is in no table".to_owned())
    }
}

/// The coded bits of a scan, with stuffed bytes taken out.
struct Bits<'a> {
    data: &'a [u8],
    at: usize,
    held: u32,
    count: u32,
}

impl Bits<'_> {
    fn take(&mut self, wanted: u32) -> Why<u32> {
        while self.count < wanted {
            let byte = *self.data.get(self.at).ok_or("the JPEG scan is cut short")?;
            self.at += 1;
            if byte == 0xFF {
                match self.data.get(self.at) {
                    Some(0) => self.at += 1,
                    _ => return Err("the JPEG scan ends early".to_owned()),
                }
            }
            self.held = self.held << 8 | u32::from(byte);
            self.count += 8;
        }
        self.count -= wanted;
        Ok(self.held >> self.count & ((1 << wanted) - 1))
    }

    /// A signed number of so many bits (T.81, F.2.2.1: EXTEND).
    fn number(&mut self, size: u32) -> Why<i32> {
        if size == 0 {
            return Ok(0);
        }
        let value = self.take(size)? as i32;
        Ok(if value < 1 << (size - 1) { value - (1 << size) + 1 } else { value })
    }

    fn restart(&mut self) -> Why<()> {
        (self.held, self.count) = (0, 0);
        match self.data.get(self.at..self.at + 2) {
            Some(&[0xFF, 0xD0..=0xD7]) => {
                self.at += 2;
                Ok(())
            }
            _ => Err("a JPEG restart mark is missing".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_constant_block_transforms_to_its_mean() {
        let mut coefficients = [0.0; 64];
        coefficients[0] = 80.0;
        assert!(transform(&coefficients, &cosines()).iter().all(|v| (v - 10.0).abs() < 1e-4));
    }

    fn layout() -> Layout {
        Layout {
            rows: 17,
            cols: 9,
            samples: 1,
            frames: 1,
            allocated: 16,
            stored: 12,
            shift: 0,
            signed: false,
            float: false,
            planar: false,
            photometric: "MONOCHROME2".to_owned(),
        }
    }

    /// Tables, then a scan of random bytes.
    fn stream(scan: &[u8]) -> Vec<u8> {
        let mut data = vec![0xFF, 0xD8, 0xFF, 0xDB, 0, 67, 0];
        data.extend([1; 64]);
        for class in [0x00, 0x10] {
            data.extend([0xFF, 0xC4, 0, 23, class, 1, 1, 1, 1]);
            data.extend([0; 12]);
            data.extend([0, 3, 0x11, 0xF0]);
        }
        data.extend([0xFF, 0xDA, 0, 8, 1, 1, 0, 0, 63, 0]);
        data.extend(scan);
        data
    }

    proptest! {
        #[test]
        fn no_scan_makes_it_panic(scan: Vec<u8>) {
            let _ = decode(&stream(&scan), &layout());
        }
    }

    #[test]
    fn a_scan_without_differences_is_mid_grey() {
        // Code 0 is symbol 0 in both tables: every block has mean 0 and nothing else.
        let decoded = decode(&stream(&[0; 3]), &layout()).unwrap();
        assert_eq!(decoded, [0x00, 0x08].repeat(17 * 9));
        let why = decode(&stream(&[]), &layout()).unwrap_err();
        assert_eq!(why, "the JPEG scan is cut short");
    }
}
