//! One writer at a time, across processes; readers never wait.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use crate::{Error, Result};

const FILE: &str = "write.lock";
const PATIENCE: u32 = 100;

/// Held while an index is changed; released when dropped, or when the process ends.
pub(super) struct WriteLock {
    _file: File,
}

impl WriteLock {
    /// Waits up to ten seconds for the other writer.
    pub(super) fn take(folder: &Path) -> Result<Self> {
        let path = folder.join(FILE);
        let failed = |source| Error::io(&path, source);
        let mut options = File::options();
        let file = options.create(true).truncate(false).write(true).open(&path).map_err(failed)?;
        for _ in 0..PATIENCE {
            match file.try_lock() {
                Ok(()) => return Ok(Self { _file: file }),
                Err(TryLockError::WouldBlock) => sleep(Duration::from_millis(100)),
                Err(TryLockError::Error(source)) => return Err(failed(source)),
            }
        }
        let why = "another process has been writing for ten seconds; try again when it is done";
        Err(Error::value(folder.display().to_string(), why))
    }
}
