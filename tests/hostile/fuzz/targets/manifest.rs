//! Any bytes as a manifest: JSON Lines where they begin so, else CSV; written and read again.

#![no_main]

#[path = "common.rs"]
mod common;

use std::path::Path;

use carina::data::manifest::{Options, open, write};
use carina::progress::Progress;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    common::only_escaping_panics();
    let json = bytes.first() == Some(&b'{');
    let path = common::file(if json { "m.jsonl" } else { "m.csv" }, bytes);
    let progress = Progress::silent();
    let Ok(read) = open(&path, Options::new(Path::new("/nowhere")), &progress) else { return };
    let again = common::folder().join("again.jsonl");
    if write(&read, &again, &progress).is_ok() {
        let options = Options {
            findings: Some(read.findings.clone()),
            ..Options::new(&common::folder())
        };
        let back = open(&again, options, &progress).expect("what was written can be read");
        assert_eq!(back.len(), read.len());
    }
});
