//! Pieces of a series of slices, each with its length before it; read with every repair allowed.

#![no_main]

#[path = "common.rs"]
mod common;

use std::fs;

use carina::imaging::{Repair, VolumeOptions, scan};
use carina::progress::Progress;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    common::only_escaping_panics();
    let folder = common::folder().join("series");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder can be made");
    let mut rest = bytes;
    for number in 0..16 {
        let Some((length, tail)) = rest.split_first_chunk::<4>() else { break };
        let length = (u32::from_le_bytes(*length) as usize).min(tail.len());
        fs::write(folder.join(format!("{number}.dcm")), &tail[..length]).expect("a file");
        rest = &tail[length..];
    }
    let progress = Progress::silent();
    let repair = Repair::NAMED.iter().map(|(_, repair)| *repair).collect();
    let repaired = VolumeOptions { repair, ..VolumeOptions::default() };
    let Ok(found) = scan(&folder, &progress) else { return };
    for series in &found.series {
        for options in [&VolumeOptions::default(), &repaired] {
            if let Ok(volume) = series.read(options, &progress) {
                assert!(volume.voxels.iter().all(|v| v.is_finite()));
            }
        }
    }
});
