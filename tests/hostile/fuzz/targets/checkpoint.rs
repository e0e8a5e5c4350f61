//! Any bytes as a safetensors file: its header, then every tensor.

#![no_main]

#[path = "common.rs"]
mod common;

use carina::weights::Checkpoint;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    common::only_escaping_panics();
    let path = common::file("w.safetensors", bytes);
    let Ok(checkpoint) = Checkpoint::open(&path) else { return };
    let keys: Vec<String> = checkpoint.keys().map(str::to_owned).collect();
    for key in keys {
        let _ = checkpoint.tensor(&key, &candle::Device::Cpu);
    }
});
