//! A read-only file as memory: pages come in when touched and are shared between processes.

use std::fs::File;
use std::path::Path;

use half::f16;
use memmap2::Mmap;

use crate::{Error, Result};

/// A mapped file. Map only files that are written once and then replaced by rename, never changed.
#[derive(Debug)]
pub struct MappedFile(Mmap);

impl MappedFile {
    /// Maps the whole of `path`.
    #[allow(unsafe_code)]
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|source| Error::io(path, source))?;
        // SAFETY: the bytes are only read, as plain numbers. The contract above (files are
        // replaced, never changed) keeps them constant while they are mapped.
        let map = unsafe { Mmap::map(&file) }.map_err(|source| Error::io(path, source))?;
        Ok(Self(map))
    }

    /// The content.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The content as little-endian float32, on a little-endian machine.
    pub fn floats(&self) -> &[f32] {
        // SAFETY: every bit pattern is a valid f32; a map starts at a page, so nothing is cut
        // from its head.
        #[allow(unsafe_code)]
        unsafe {
            self.0.align_to::<f32>().1
        }
    }

    /// The content as little-endian float16, on a little-endian machine.
    pub fn halves(&self) -> &[f16] {
        // SAFETY: as for `floats`; f16 is a transparent u16.
        #[allow(unsafe_code)]
        unsafe {
            self.0.align_to::<f16>().1
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_as_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("numbers");
        let values = [1.5f32, -2.0, 0.25];
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(MappedFile::open(&path).unwrap().floats(), values);
        assert_eq!(MappedFile::open(&path).unwrap().halves().len(), 6);
    }
}
