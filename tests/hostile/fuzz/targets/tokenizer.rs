//! Any bytes as a tokenizer, by `tokenizer.json` or by a list of words, and a text through it.

#![no_main]

#[path = "common.rs"]
mod common;

use carina::language::Tokenizer;
use libfuzzer_sys::fuzz_target;

const TEXT: &str = "No pleural effusion; a 7 mm nodule (left).\u{301}\n\tÖdem 中 [MASK]";

fuzz_target!(|bytes: &[u8]| {
    common::only_escaping_panics();
    let json = bytes.first() == Some(&b'{');
    let made = if json {
        Tokenizer::from_json(bytes, 32)
    } else {
        let Ok(words) = std::str::from_utf8(bytes) else { return };
        Tokenizer::from_vocab(words, true, 32)
    };
    let Ok(tokenizer) = made else { return };
    if let Ok(batch) = tokenizer.encode(&[TEXT, ""]) {
        let _ = batch.length(0);
    }
    if let Ok(ids) = tokenizer.tokens(TEXT, true) {
        let _ = tokenizer.decode(&ids);
    }
    let _ = tokenizer.to_json();
});
