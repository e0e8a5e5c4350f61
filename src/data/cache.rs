//! Prepared films kept from one epoch, or one kernel, to the next.
//!
//! A film is known by the SHA-256 of its file's content and the hash of the recipe, so neither a
//! moved folder nor a changed recipe can bring back wrong pixels. What is damaged is made anew.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::UNIX_EPOCH;

use half::f16;
use ndarray::Array3;
use serde::{Deserialize, Serialize};

use super::Pixels;
use crate::{Error, Result, files};

/// First bytes of an entry: the format and its version.
const MAGIC: &[u8; 8] = b"CRNFILM1";
const HEADER: usize = 8 + 4 + 12 + 4;

/// How exactly a cached film is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// As it was prepared.
    #[default]
    F32,
    /// Rounded to 11 bits, in half the space; films are rounded on the first pass too, so that
    /// results do not depend on what is cached.
    F16,
}

/// Where prepared films are kept.
#[derive(Debug, Default)]
pub struct Cache {
    place: Place,
    precision: Precision,
    /// Content hashes by path, size and time of change.
    names: Mutex<HashMap<String, String>>,
}

#[derive(Debug, Default)]
enum Place {
    #[default]
    Nowhere,
    Memory {
        limit: usize,
        held: Mutex<Held>,
    },
    Disk(PathBuf),
}

#[derive(Debug, Default)]
struct Held {
    films: HashMap<String, Arc<Array3<f32>>>,
    bytes: usize,
}

impl Cache {
    /// No cache: every film is prepared every time.
    pub fn none() -> Self {
        Self::default()
    }

    /// Keeps films in memory until they fill `limit` bytes; later ones are prepared every time.
    pub fn memory(limit: usize) -> Self {
        let place = Place::Memory { limit, held: Mutex::default() };
        Self { place, ..Self::default() }
    }

    /// The most bytes of films that are kept in memory.
    pub fn limit(&self) -> usize {
        match &self.place {
            Place::Memory { limit, .. } => *limit,
            Place::Nowhere | Place::Disk(_) => 0,
        }
    }

    /// Keeps films as files in `folder`, which several processes may share.
    pub fn disk(folder: &Path, precision: Precision) -> Result<Self> {
        files::create_folder(&folder.join("films"))?;
        files::create_folder(&folder.join("names"))?;
        Ok(Self { place: Place::Disk(folder.to_owned()), precision, ..Self::default() })
    }

    /// The film of `pixels` under the recipe `recipe`: kept, or made by `make` and kept.
    pub fn film(
        &self,
        pixels: &Pixels,
        recipe: &str,
        make: impl FnOnce() -> Result<Array3<f32>>,
    ) -> Result<Array3<f32>> {
        if matches!(self.place, Place::Nowhere) {
            return make();
        }
        let key = files::sha256_hex(format!("{}\n{recipe}", self.content(pixels)?).as_bytes());
        if let Some(film) = self.get(&key) {
            return Ok(film);
        }
        Ok(self.put(&key, make()?))
    }

    /// How many bytes the cache holds.
    pub fn size(&self) -> Result<u64> {
        match &self.place {
            Place::Nowhere => Ok(0),
            Place::Memory { held, .. } => Ok(lock(held).bytes as u64),
            Place::Disk(folder) => {
                let films = entries(folder)?;
                Ok(films.iter().filter_map(|path| Some(path.metadata().ok()?.len())).sum())
            }
        }
    }

    /// Forgets every film.
    pub fn clear(&self) -> Result<()> {
        lock(&self.names).clear();
        match &self.place {
            Place::Nowhere => Ok(()),
            Place::Memory { held, .. } => {
                *lock(held) = Held::default();
                Ok(())
            }
            Place::Disk(folder) => entries(folder)?.iter().try_for_each(|path| {
                fs::remove_file(path).map_err(|source| Error::io(path, source))
            }),
        }
    }

    fn get(&self, key: &str) -> Option<Array3<f32>> {
        match &self.place {
            Place::Nowhere => None,
            Place::Memory { held, .. } => {
                let film = lock(held).films.get(key).cloned();
                film.map(|film| Array3::clone(&film))
            }
            Place::Disk(folder) => decode(&fs::read(film_path(folder, key)).ok()?),
        }
    }

    /// Keeps `film`, or gives it back unkept: a full disk slows the work but does not end it.
    fn put(&self, key: &str, mut film: Array3<f32>) -> Array3<f32> {
        match &self.place {
            Place::Nowhere => {}
            Place::Memory { limit, held } => {
                let bytes = film.len() * size_of::<f32>();
                let mut held = lock(held);
                if held.bytes + bytes <= *limit && !held.films.contains_key(key) {
                    held.bytes += bytes;
                    held.films.insert(key.to_owned(), Arc::new(film.clone()));
                }
            }
            Place::Disk(folder) => {
                if self.precision == Precision::F16 {
                    film.mapv_inplace(|value| f16::from_f32(value).to_f32());
                }
                put_whole(&film_path(folder, key), &encode(&film, self.precision));
            }
        }
        film
    }

    /// The hash of what `pixels` holds.
    fn content(&self, pixels: &Pixels) -> Result<String> {
        let path = match pixels {
            Pixels::Memory(image) => {
                let mut bytes: Vec<u8> =
                    image.pixels.iter().flat_map(|value| value.to_le_bytes()).collect();
                let about = (image.pixels.dim(), image.spacing, image.range, image.view);
                bytes.extend(format!("{about:?}{}", image.modality).bytes());
                return Ok(files::sha256_hex(&bytes));
            }
            Pixels::File(path) => path,
        };
        let about = path.metadata().map_err(|source| Error::io(path, source))?;
        let changed = about.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let name = std::path::absolute(path).map_err(|source| Error::io(path, source))?;
        let name = format!("{}\n{}\n{changed:?}", name.display(), about.len());
        if let Some(hash) = lock(&self.names).get(&name) {
            return Ok(hash.clone());
        }
        let note = match &self.place {
            Place::Disk(folder) => Some(note_path(folder, &name)),
            _ => None,
        };
        let noted = note.as_ref().and_then(|note| fs::read_to_string(note).ok());
        let noted =
            noted.filter(|hash| hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit()));
        let hash = match noted {
            Some(hash) => hash,
            // A folder of frames is not one file; its parts are read where it is opened.
            None if about.is_dir() => {
                return Err(Error::format(path, "found a folder, expected a file"));
            }
            None => {
                let hash = files::sha256_hex(&files::read(path)?);
                if let Some(note) = note {
                    put_whole(&note, hash.as_bytes());
                }
                hash
            }
        };
        lock(&self.names).insert(name, hash.clone());
        Ok(hash)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn film_path(folder: &Path, key: &str) -> PathBuf {
    folder.join("films").join(&key[..2]).join(format!("{key}.film"))
}

fn note_path(folder: &Path, name: &str) -> PathBuf {
    folder.join("names").join(files::sha256_hex(name.as_bytes()))
}

/// Writes a file whole or not at all. Unlike [`files::write_atomic`] it does not wait for the disk:
/// what a power cut damages is noticed by its checksum and made anew.
fn put_whole(path: &Path, content: &[u8]) {
    let temporary = files::temporary_beside(path);
    let folder = path.parent().map_or(Ok(()), fs::create_dir_all);
    let written = folder.and_then(|()| fs::write(&temporary, content));
    if written.and_then(|()| fs::rename(&temporary, path)).is_err() {
        let _ = fs::remove_file(&temporary); // what is not kept is made anew
    }
}

/// Every film file below `folder`.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let list = |folder: &Path| -> Result<Vec<PathBuf>> {
        let entries = fs::read_dir(folder).map_err(|source| Error::io(folder, source))?;
        Ok(entries.filter_map(|entry| Some(entry.ok()?.path())).collect())
    };
    let mut found = Vec::new();
    for part in list(&folder.join("films"))? {
        found.extend(list(&part)?);
    }
    Ok(found)
}

fn encode(film: &Array3<f32>, precision: Precision) -> Vec<u8> {
    let payload: Vec<u8> = match precision {
        Precision::F32 => film.iter().flat_map(|value| value.to_le_bytes()).collect(),
        Precision::F16 => {
            film.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect()
        }
    };
    let mut entry = Vec::with_capacity(HEADER + payload.len());
    entry.extend(MAGIC);
    entry.extend(u32::from(precision == Precision::F16).to_le_bytes());
    for &side in film.shape() {
        entry.extend((side as u32).to_le_bytes());
    }
    let checksum = checksum(&entry, &payload);
    entry.extend(checksum.to_le_bytes());
    entry.extend(payload);
    entry
}

/// The film of an entry; `None` when anything about it is not right.
fn decode(entry: &[u8]) -> Option<Array3<f32>> {
    let word = |at: usize| Some(u32::from_le_bytes(entry.get(at..at + 4)?.try_into().ok()?));
    let half = word(8)? == 1;
    let shape = (word(12)? as usize, word(16)? as usize, word(20)? as usize);
    let payload = entry.get(HEADER..)?;
    if !entry.starts_with(MAGIC) || word(24)? != checksum(&entry[..24], payload) {
        return None;
    }
    let values = if half {
        payload.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()).collect()
    } else {
        payload.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
    };
    Array3::from_shape_vec(shape, values).ok()
}

/// CRC-32 of an entry's head and payload: damage is an accident, not an attack.
fn checksum(head: &[u8], payload: &[u8]) -> u32 {
    let mut sum = flate2::Crc::new();
    sum.update(head);
    sum.update(payload);
    sum.sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imaging::Image;

    fn film(value: f32) -> Array3<f32> {
        Array3::from_shape_fn((1, 3, 4), |(_, row, column)| value + (row * 4 + column) as f32 / 7.0)
    }

    fn file(folder: &Path, content: &[u8]) -> Pixels {
        let path = folder.join("film.png");
        fs::write(&path, content).unwrap();
        Pixels::File(path)
    }

    fn never() -> Result<Array3<f32>> {
        panic!("the film should have been kept")
    }

    #[test]
    fn the_second_process_finds_the_film_of_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let pixels = file(folder.path(), b"one");
        let cache = || Cache::disk(&folder.path().join("cache"), Precision::F32).unwrap();
        let made = cache().film(&pixels, "r", || Ok(film(0.5))).unwrap();
        assert_eq!(cache().film(&pixels, "r", never).unwrap(), made);
        // Another recipe, and another content under the same name, are other films.
        assert_eq!(cache().film(&pixels, "s", || Ok(film(1.0))).unwrap(), film(1.0));
        let pixels = file(folder.path(), b"three");
        assert_eq!(cache().film(&pixels, "r", || Ok(film(2.0))).unwrap(), film(2.0));
        assert!(cache().size().unwrap() > 0);
        cache().clear().unwrap();
        assert_eq!(cache().size().unwrap(), 0);
    }

    #[test]
    fn a_damaged_entry_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let pixels = file(folder.path(), b"one");
        let cache = Cache::disk(folder.path(), Precision::F32).unwrap();
        cache.film(&pixels, "r", || Ok(film(0.5))).unwrap();
        let entry = entries(folder.path()).unwrap().remove(0);
        let whole = fs::read(&entry).unwrap();
        let mut flipped = whole.clone();
        flipped[HEADER + 5] ^= 1;
        let mut reshaped = whole.clone();
        (reshaped[16], reshaped[20]) = (4, 3);
        for damaged in [&whole[..HEADER + 3], &whole[..3], b"", &flipped, &reshaped] {
            fs::write(&entry, damaged).unwrap();
            assert_eq!(cache.film(&pixels, "r", || Ok(film(0.5))).unwrap(), film(0.5));
            assert_eq!(fs::read(&entry).unwrap(), whole, "repaired");
        }
    }

    #[test]
    fn a_rounded_film_is_the_same_on_the_first_pass() {
        let folder = tempfile::tempdir().unwrap();
        let pixels = file(folder.path(), b"one");
        let cache = Cache::disk(folder.path(), Precision::F16).unwrap();
        let first = cache.film(&pixels, "r", || Ok(film(0.1))).unwrap();
        assert_eq!(cache.film(&pixels, "r", never).unwrap(), first);
        assert_ne!(first, film(0.1));
    }

    #[test]
    fn memory_is_bounded_and_knows_films_by_content() {
        let pixels = Pixels::Memory(Arc::new(Image::from_pixels(
            film(0.0).index_axis_move(ndarray::Axis(0), 0),
        )));
        let cache = Cache::memory(60);
        cache.film(&pixels, "r", || Ok(film(0.0))).unwrap();
        assert_eq!(cache.film(&pixels, "r", never).unwrap(), film(0.0));
        assert_eq!(cache.film(&pixels, "s", || Ok(film(1.0))).unwrap(), film(1.0));
        assert_eq!(cache.film(&pixels, "s", || Ok(film(2.0))).unwrap(), film(2.0), "full");
        assert_eq!(cache.size().unwrap(), 48);
    }

    #[test]
    fn a_missing_file_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::disk(folder.path(), Precision::F32).unwrap();
        let gone = Pixels::File(folder.path().join("gone.png"));
        assert!(cache.film(&gone, "r", never).unwrap_err().to_string().contains("gone.png"));
    }
}
