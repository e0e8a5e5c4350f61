//! Files that are either whole or absent: temporary file, fsync, rename.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::{Error, Result};

/// What has not changed for so long, nobody is writing: another host may not see our locks.
const STALE: Duration = Duration::from_secs(600);

static COUNTER: AtomicU64 = AtomicU64::new(0);

/// Writes `path` so that a reader, or a restart after a kill, sees the old content or the new.
pub fn write_atomic(path: &Path, content: &[u8]) -> Result<()> {
    write_atomic_with(path, |file| file.write_all(content))
}

/// As [`write_atomic`], for content produced piece by piece.
pub fn write_atomic_with(
    path: &Path,
    write: impl FnOnce(&mut File) -> std::io::Result<()>,
) -> Result<()> {
    let temporary = temporary_beside(path);
    let attempt = (|| {
        let mut file = File::create(&temporary)?;
        write(&mut file)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        sync_folder(path)
    })();
    attempt.map_err(|source| {
        let _ = fs::remove_file(&temporary); // best effort: the error below is what matters
        Error::io(path, source)
    })
}

/// A name in the folder of `path` that nobody else uses.
pub fn temporary_beside(path: &Path) -> PathBuf {
    let unique = COUNTER.fetch_add(1, Ordering::Relaxed);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}.{unique}.tmp", std::process::id()))
}

/// Removes what writers of `path` that were killed some time ago have left beside it.
pub fn sweep_beside(path: &Path) {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let left = |found: &str| {
        let own = found.strip_prefix('.').and_then(|rest| rest.strip_prefix(&*name));
        let unique = own.and_then(|rest| rest.strip_prefix('.')?.strip_suffix(".tmp"));
        unique
            .and_then(|unique| unique.split_once('.'))
            .is_some_and(|(process, count)| number(process) && number(count))
    };
    let entries = fs::read_dir(folder_of(path)).into_iter().flatten().flatten();
    let old = |entry: &fs::DirEntry| {
        let changed = entry.metadata().and_then(|found| found.modified()).ok();
        changed.and_then(|time| time.elapsed().ok()).is_some_and(|age| age > STALE)
    };
    let ours = |entry: &fs::DirEntry| left(&entry.file_name().to_string_lossy()) && old(entry);
    for entry in entries.filter(ours) {
        let _ = fs::remove_file(entry.path()); // rubbish costs room, nothing else
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes a rename in the folder of `path` durable.
pub fn sync_folder(path: &Path) -> std::io::Result<()> {
    File::open(folder_of(path))?.sync_all()
}

/// Opens a file for reading. A pipe could wait for ever and a device never end: they are refused.
pub fn open(path: &Path) -> Result<File> {
    let io = |source| Error::io(path, source);
    let kind = fs::metadata(path).map_err(io)?.file_type();
    if !kind.is_file() && !kind.is_dir() {
        return Err(Error::format(path, "found a pipe, socket or device, expected a file"));
    }
    File::open(path).map_err(io)
}

/// Reads a whole file.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    let mut content = Vec::new();
    open(path)?.read_to_end(&mut content).map_err(|source| Error::io(path, source))?;
    Ok(content)
}

/// Removes a file, if it is there, for good.
pub fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(why) => Err(Error::io(path, why)),
        Ok(()) => sync_folder(path).map_err(|why| Error::io(path, why)),
    }
}

/// Makes a folder and its parents.
pub fn create_folder(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(|source| Error::io(path, source))
}

/// SHA-256 of `content`, in lower-case hexadecimal.
pub fn sha256_hex(content: &[u8]) -> String {
    Sha256::digest(content).iter().fold(String::with_capacity(64), |text, byte| {
        let digit = |n: u8| char::from_digit(u32::from(n), 16).unwrap_or('0');
        text + &String::from_iter([digit(byte >> 4), digit(byte & 15)])
    })
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_content_and_no_rubbish() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        write_atomic(&path, b"old").unwrap();
        let failed = write_atomic_with(&path, |file| {
            file.write_all(b"ne")?;
            Err(std::io::Error::other("disk full"))
        });
        assert!(failed.unwrap_err().to_string().contains("a.json: disk full"));
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_killed_writers_left_is_swept_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.b");
        let kept = [".a.b.12.x.tmp", ".a.b.1.tmp", ".a.b.1.2.tmp.gz", "a.b", ".a.1.2.tmp", "x"];
        let long_ago = SystemTime::now() - 2 * STALE;
        let write = |at: &Path| {
            fs::write(at, b"").unwrap();
            File::options().write(true).open(at).unwrap().set_modified(long_ago).unwrap();
        };
        kept.iter().chain(&[".a.b.12.0.tmp"]).for_each(|name| write(&folder.path().join(name)));
        write(&temporary_beside(&path));
        let fresh = temporary_beside(&path);
        fs::write(&fresh, b"").unwrap();
        sweep_beside(&path);
        fs::remove_file(&fresh).unwrap();
        let names = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        let mut kept = kept.map(str::to_owned);
        kept.sort();
        assert_eq!(names, kept);
    }

    #[cfg(unix)]
    #[test]
    fn what_never_ends_is_not_read() {
        let error = read(Path::new("/dev/zero")).unwrap_err().to_string();
        assert_eq!(error, "/dev/zero: found a pipe, socket or device, expected a file");
    }
}
