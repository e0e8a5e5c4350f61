//! Any bytes as a film: DICOM in every syntax, PNG, JPEG, TIFF.

#![no_main]

#[path = "common.rs"]
mod common;

use std::path::Path;

use carina::imaging::{ReadOptions, decode_bytes, dicom};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    common::only_escaping_panics();
    let name = Path::new("film");
    if let Ok(film) = decode_bytes(bytes, name, &ReadOptions::default()) {
        assert!(!film.pixels.is_empty() && film.pixels.iter().all(|v| v.is_finite()));
    }
    let last = ReadOptions { apply_window: Some(true), frame: Some(1), ..ReadOptions::default() };
    let _ = decode_bytes(bytes, name, &last);
    let _ = dicom::stored_values(bytes, name);
});
