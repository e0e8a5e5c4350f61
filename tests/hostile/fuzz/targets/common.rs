//! What targets share: a place for files, and panics that only count when they get out.

use std::fs;
use std::panic;
use std::path::{Path, PathBuf};
use std::sync::Once;

/// Codecs may panic: readers catch it. libFuzzer's own hook would end the process at once.
pub fn only_escaping_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| panic::set_hook(Box::new(|panic| eprintln!("{panic}"))));
}

/// A folder of this process, in memory where there is such a place.
#[allow(dead_code)] // not every target needs files
pub fn folder() -> PathBuf {
    let memory = Path::new("/dev/shm");
    let base = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let folder = base.join(format!("carina-fuzz-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder can be made");
    folder
}

/// A file with this content.
#[allow(dead_code)]
pub fn file(name: &str, content: &[u8]) -> PathBuf {
    let path = folder().join(name);
    fs::write(&path, content).expect("a file can be written");
    path
}
