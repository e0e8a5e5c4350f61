//! The module layers of `src/lib.rs`, checked against every `crate::…` path in the code.
#![allow(clippy::unwrap_used)] // a test that cannot read the sources must fail loudly

use std::fs;
use std::path::{Path, PathBuf};

/// Lowest first; modules of one line may use each other.
const LAYERS: &[&[&str]] = &[
    &["cuda", "device", "error", "files", "progress", "random"],
    &["imaging", "kernels", "metrics"],
    &["nn"],
    &["fusion", "language", "tasks", "vision", "weights"],
    &["data"],
    &["systems"],
    &["evaluation", "training"],
    &["py"],
];

/// Words that a module must not contain, whatever its layer.
const FOREIGN: &[(&str, &[&str])] = &[("imaging", &["candle"]), ("metrics", &["candle"])];

fn sources(path: &Path, found: &mut Vec<PathBuf>) {
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            sources(&entry.unwrap().path(), found);
        }
    } else if path.extension().is_some_and(|e| e == "rs") {
        found.push(path.to_owned());
    }
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_alphanumeric() && c != '_')
}

#[test]
fn no_module_uses_a_higher_one() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    for (level, modules) in LAYERS.iter().enumerate() {
        let higher: Vec<&str> = LAYERS[level + 1..].concat();
        for module in *modules {
            let mut files = Vec::new();
            sources(&src.join(module), &mut files);
            sources(&src.join(format!("{module}.rs")), &mut files);
            files.retain(|file| file.exists());
            let foreign = FOREIGN.iter().filter(|(name, _)| name == module).flat_map(|(_, w)| *w);
            let foreign: Vec<&str> = foreign.copied().collect();
            for file in files {
                let text = fs::read_to_string(&file).unwrap();
                for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
                    let upward = line.contains("crate::")
                        && line.split("crate::").skip(1).any(|rest| {
                            words(rest.trim_start_matches('{'))
                                .next()
                                .is_some_and(|w| higher.contains(&w))
                        });
                    let pyo3 = *module != "py" && words(line).any(|word| word == "pyo3");
                    if upward || pyo3 || words(line).any(|word| foreign.contains(&word)) {
                        wrong.push(format!("{}: {}", file.display(), line.trim()));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
