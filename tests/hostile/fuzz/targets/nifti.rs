//! Any bytes as a NIfTI file, plain and compressed.

#![no_main]

#[path = "common.rs"]
mod common;

use carina::imaging::{VolumeOptions, read_volume};
use carina::progress::Progress;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    common::only_escaping_panics();
    let packed = bytes.starts_with(&[0x1f, 0x8b]);
    let path = common::file(if packed { "v.nii.gz" } else { "v.nii" }, bytes);
    let options =
        VolumeOptions { fill: Some(0.0), assume: Some("RAS".to_owned()), ..VolumeOptions::default() };
    if let Ok(volume) = read_volume(&path, &options, &Progress::silent()) {
        assert!(volume.voxels.iter().all(|v| v.is_finite()));
    }
});
