//! Embeddings from `TFRecord` files of `tf.Example`, without `TensorFlow`.
//!
//! Source: the format notes of `TensorFlow` (`TFRecord`: length, masked CRC-32C of the length, data,
//! masked CRC-32C of the data; little endian) and its `example.proto`; Protocol Buffers, encoding.
//! CXR Foundation publishes its embeddings so, as the floats of the feature `embedding`.

use std::path::Path;

use crate::{Error, Result, files};

/// Features that name a record, the first that is there.
const NAMES: [&str; 4] = ["image/id", "image_id", "id", "key"];

/// What the records of a file hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Records {
    /// What each record calls itself, if it does.
    pub ids: Vec<Option<String>>,
    /// Numbers of a record.
    pub width: usize,
    /// The numbers, record by record.
    pub values: Vec<f32>,
}

/// Reads the floats of `feature` from every record; all must have as many, and be finite.
pub fn read_records(path: &Path, feature: &str) -> Result<Records> {
    parse(&files::read(path)?, feature).map_err(|why| Error::format(path, why))
}

type Why<T> = std::result::Result<T, String>;

fn parse(bytes: &[u8], feature: &str) -> Why<Records> {
    let mut records = Records { ids: Vec::new(), width: 0, values: Vec::new() };
    let mut rest = bytes;
    while !rest.is_empty() {
        let number = records.ids.len();
        let named = |why: String| format!("record {number}: {why}");
        let (data, after) = record(rest).map_err(named)?;
        rest = after;
        let before = records.values.len();
        let id = example(data, feature, &mut records.values).map_err(named)?;
        let width = records.values.len() - before;
        if number == 0 {
            records.width = width;
        }
        if width == 0 || width != records.width {
            let expected =
                if width == 0 { "some".to_owned() } else { format!("{} as before", records.width) };
            return Err(named(format!("{feature:?} has {width} numbers, expected {expected}")));
        }
        if let Some(value) = records.values[before..].iter().find(|v| !v.is_finite()) {
            return Err(named(format!("{feature:?} has {value}, expected finite numbers")));
        }
        records.ids.push(id);
    }
    if records.ids.is_empty() {
        return Err("expected a TFRecord file, found an empty one".to_owned());
    }
    Ok(records)
}

/// The data of the first record, and what follows it.
fn record(bytes: &[u8]) -> Why<(&[u8], &[u8])> {
    let cut = || format!("it is cut short, {} bytes before the end of the file", bytes.len());
    let (length, rest) = bytes.split_first_chunk::<8>().ok_or_else(cut)?;
    let (sum, rest) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
    if masked_crc(length) != u32::from_le_bytes(*sum) {
        return Err("the checksum of its length is wrong; is this a TFRecord file?".to_owned());
    }
    let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| cut())?;
    let (data, rest) = rest.split_at_checked(length).ok_or_else(cut)?;
    let (sum, rest) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
    if masked_crc(data) != u32::from_le_bytes(*sum) {
        return Err("the checksum of its data is wrong".to_owned());
    }
    Ok((data, rest))
}

/// CRC-32C, rotated and shifted as `TensorFlow` stores it.
fn masked_crc(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let (mut table, mut byte) = ([0; 256], 0);
        while byte < 256 {
            let (mut crc, mut bit) = (byte as u32, 0);
            while bit < 8 {
                crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82F6_3B78 } else { crc >> 1 };
                bit += 1;
            }
            table[byte] = crc;
            byte += 1;
        }
        table
    };
    let crc = !bytes
        .iter()
        .fold(u32::MAX, |crc, &byte| (crc >> 8) ^ TABLE[usize::from(crc as u8 ^ byte)]);
    crc.rotate_right(15).wrapping_add(0xA282_EAD8)
}

/// Appends the floats of `feature` and gives the name of a `tf.Example`.
fn example(bytes: &[u8], feature: &str, values: &mut Vec<f32>) -> Why<Option<String>> {
    let mut names: [Option<String>; NAMES.len()] = Default::default();
    let (mut found, mut others) = (false, Vec::new());
    for features in messages(bytes, 1) {
        for entry in messages(features?, 1) {
            let entry = entry?;
            let key = messages(entry, 1).last().transpose()?.unwrap_or_default();
            let key = std::str::from_utf8(key).map_err(|_| "a feature's name is no text")?;
            let content = messages(entry, 2).last().transpose()?.unwrap_or_default();
            if key == feature {
                if found {
                    return Err(format!("{feature:?} is there twice"));
                }
                found = true;
                floats(content, values)?;
            } else if let Some(place) = NAMES.iter().position(|name| *name == key) {
                names[place] = text(content)?;
            } else if others.len() < 8 {
                others.push(key.to_owned());
            }
        }
    }
    if !found {
        return Err(format!("expected the feature {feature:?}, found {others:?}"));
    }
    Ok(names.into_iter().flatten().next())
}

/// Appends the numbers of a `Feature` that is a `FloatList`, packed or not.
fn floats(feature: &[u8], values: &mut Vec<f32>) -> Why<()> {
    for field in fields(feature) {
        let (number, Content::Bytes(list)) = field? else { continue };
        if number != 2 {
            return Err("expected floats, found another kind of feature".to_owned());
        }
        for field in fields(list) {
            match field? {
                (1, Content::Four(bytes)) => values.push(f32::from_le_bytes(bytes)),
                (1, Content::Bytes(packed)) => {
                    let (numbers, []) = packed.as_chunks::<4>() else {
                        return Err(format!("{} bytes are no floats", packed.len()));
                    };
                    values.extend(numbers.iter().map(|b| f32::from_le_bytes(*b)));
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// The first text of a `Feature` that is a `BytesList`.
fn text(feature: &[u8]) -> Why<Option<String>> {
    let Some(list) = messages(feature, 1).next().transpose()? else { return Ok(None) };
    let Some(bytes) = messages(list, 1).next().transpose()? else { return Ok(None) };
    let text = std::str::from_utf8(bytes).map_err(|_| "its name is no text")?;
    Ok(Some(text.to_owned()))
}

/// What a field of a message holds.
enum Content<'a> {
    Bytes(&'a [u8]),
    Four([u8; 4]),
    Other,
}

/// The parts of a message that are messages or bytes in field `number`.
fn messages(bytes: &[u8], number: u64) -> impl Iterator<Item = Why<&[u8]>> {
    fields(bytes).filter_map(move |field| match field {
        Ok((found, Content::Bytes(bytes))) if found == number => Some(Ok(bytes)),
        Ok(_) => None,
        Err(why) => Some(Err(why)),
    })
}

/// The fields of a message with their numbers; nothing follows an error.
fn fields(bytes: &[u8]) -> impl Iterator<Item = Why<(u64, Content<'_>)>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let next = field(rest);
        rest = next.as_ref().map_or(&[], |(_, after)| after);
        Some(next.map(|(field, _)| field))
    })
}

type Split<'a, T> = (T, &'a [u8]);

fn field(bytes: &[u8]) -> Why<Split<'_, (u64, Content<'_>)>> {
    let cut = || "a field ends beyond its message".to_owned();
    let (tag, rest) = varint(bytes)?;
    let (content, rest) = match tag & 7 {
        0 => (Content::Other, varint(rest)?.1),
        1 => (Content::Other, rest.split_at_checked(8).ok_or_else(cut)?.1),
        2 => {
            let (length, rest) = varint(rest)?;
            let length = usize::try_from(length).map_err(|_| cut())?;
            let (held, rest) = rest.split_at_checked(length).ok_or_else(cut)?;
            (Content::Bytes(held), rest)
        }
        5 => {
            let (held, rest) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
            (Content::Four(*held), rest)
        }
        kind => return Err(format!("a field has the unknown kind {kind}")),
    };
    Ok(((tag >> 3, content), rest))
}

fn varint(bytes: &[u8]) -> Why<Split<'_, u64>> {
    let mut value = 0;
    for (place, byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7F) << (7 * place as u32).min(63);
        if byte & 0x80 == 0 {
            return Ok((value, &bytes[place + 1..]));
        }
    }
    Err("a number has no end".to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(number: u8, content: &[u8]) -> Vec<u8> {
        let mut length = content.len();
        let mut bytes = vec![number << 3 | 2];
        while length >= 0x80 {
            bytes.push(length as u8 | 0x80);
            length >>= 7;
        }
        bytes.push(length as u8);
        [&bytes, content].concat()
    }

    fn entry(key: &str, feature: &[u8]) -> Vec<u8> {
        message(1, &[message(1, key.as_bytes()), message(2, feature)].concat())
    }

    fn float_list(values: &[f32]) -> Vec<u8> {
        let packed: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        message(2, &message(1, &packed))
    }

    fn framed(data: &[u8]) -> Vec<u8> {
        let length = (data.len() as u64).to_le_bytes();
        let [first, second] = [&length[..], data].map(|part| masked_crc(part).to_le_bytes());
        [&length[..], &first, data, &second].concat()
    }

    fn file() -> Vec<u8> {
        let one = [
            entry("image/id", &message(1, &message(1, b"00000001_000.png"))),
            entry("embedding", &float_list(&[1.5, -2.0, 0.25])),
        ];
        // Not packed, and with fields of later versions.
        let loose: Vec<u8> = [3f32, 4.0, 5.0]
            .iter()
            .flat_map(|v| [&[0x0D][..], &v.to_le_bytes()].concat())
            .collect();
        let two = [
            entry("embedding", &message(2, &[&loose[..], &[0x78, 0x96, 0x01]].concat())),
            entry("label", &message(3, &message(1, &[7]))),
        ];
        [framed(&message(1, &one.concat())), framed(&message(1, &two.concat()))].concat()
    }

    fn error(bytes: &[u8]) -> String {
        parse(bytes, "embedding").unwrap_err()
    }

    #[test]
    fn the_checksum_is_castagnolis_masked() {
        // The value that TensorFlow's own tests have for 32 zeros, masked.
        let plain = 0x8A91_36AA_u32;
        assert_eq!(masked_crc(&[0; 32]), plain.rotate_right(15).wrapping_add(0xA282_EAD8));
    }

    #[test]
    fn packed_and_loose_floats_are_read_with_their_names() {
        let records = parse(&file(), "embedding").unwrap();
        assert_eq!(records.ids, [Some("00000001_000.png".to_owned()), None]);
        assert_eq!((records.width, records.values), (3, vec![1.5, -2.0, 0.25, 3.0, 4.0, 5.0]));
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert!(error(b"").contains("an empty one"));
        assert!(error(b"no records at all").contains("record 0: the checksum of its length"));
        let whole = file();
        assert!(error(&whole[..whole.len() - 1]).contains("record 1: it is cut short"));
        let mut wrong = whole.clone();
        let last = wrong.len() - 5;
        wrong[last] ^= 1;
        assert_eq!(error(&wrong), "record 1: the checksum of its data is wrong");
        let forged = u64::MAX.to_le_bytes();
        let forged = [&forged[..], &masked_crc(&forged).to_le_bytes(), &[0; 9]].concat();
        assert!(error(&forged).contains("record 0: it is cut short"));
        let one = |feature: &[u8]| framed(&message(1, &entry("embedding", feature)));
        assert!(error(&one(&message(1, b"x"))).contains("expected floats"));
        assert!(error(&one(&message(2, &message(1, b"xyz")))).contains("3 bytes are no floats"));
        assert!(error(&one(&[])).contains("has 0 numbers, expected some"));
        assert!(error(&one(&float_list(&[f32::NAN]))).contains("has NaN"));
        let uneven = [one(&float_list(&[1.0])), one(&float_list(&[1.0, 2.0]))].concat();
        assert!(error(&uneven).contains("record 1: \"embedding\" has 2 numbers, expected 1"));
        let twice = entry("embedding", &float_list(&[1.0])).repeat(2);
        assert!(error(&framed(&message(1, &twice))).contains("is there twice"));
        let other = framed(&message(1, &entry("other", &float_list(&[1.0]))));
        assert!(error(&other).contains("expected the feature \"embedding\", found [\"other\"]"));
        assert!(error(&framed(&[0x0A, 0xFF, 0xFF, 0xFF, 0x7F])).contains("beyond its message"));
        assert!(error(&framed(&[0x0A; 1])).contains("has no end"));
        assert!(error(&framed(&[0x0B])).contains("unknown kind 3"));
    }

    proptest! {
        #[test]
        fn no_bytes_in_a_sound_frame_bring_it_down(data in prop::collection::vec(any::<u8>(), 0..90)) {
            let _ = parse(&framed(&data), "embedding");
            let _ = parse(&framed(&message(1, &message(1, &data))), "embedding");
        }
    }
}
