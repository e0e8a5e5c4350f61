//! Any bytes as a file of embeddings (`TFRecord`), and as what a record holds behind right checksums.

#![no_main]

#[path = "common.rs"]
mod common;

use carina::data::read_records;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    common::only_escaping_panics();
    for content in [bytes.to_vec(), [framed(bytes), framed(bytes)].concat()] {
        let path = common::file("embeddings.tfrecord", &content);
        let Ok(read) = read_records(&path, "embedding") else { continue };
        assert!(read.values.iter().all(|value| value.is_finite()));
        assert_eq!(read.values.len(), read.width * read.ids.len());
    }
});

/// A record of these bytes.
fn framed(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    [&length[..], &checksum(&length), data, &checksum(data)].concat()
}

/// CRC-32C, rotated and shifted as the format has it.
fn checksum(bytes: &[u8]) -> [u8; 4] {
    let crc = bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |c, _| (c >> 1) ^ (0x82f6_3b78 & (c & 1).wrapping_neg()))
    });
    (!crc).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}
