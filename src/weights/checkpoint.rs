//! A checkpoint on disk: names and shapes at once, values only when asked for.
//!
//! Reads by position rather than through a memory map: every tensor is copied into the model
//! anyway, and a file that shrinks while mapped would kill the process instead of failing.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::UNIX_EPOCH;

use candle::{DType, Device, Tensor};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::header::{self, Entry};
use crate::{Error, Result, files};

/// File endings that mean a pickle.
const PICKLES: [&str; 6] = ["bin", "pt", "pth", "ckpt", "pkl", "pickle"];

/// Bytes of each end of a tensor that tell it from others.
const GLIMPSE: usize = 4096;

/// An open checkpoint: one safetensors file, or the shards of an index.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    shards: Vec<(PathBuf, Mutex<File>)>,
    entries: BTreeMap<String, (usize, Entry)>,
    metadata: BTreeMap<String, String>,
}

/// What a checkpoint says of one tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its axes.
    pub shape: Vec<usize>,
    /// The element type, as the file spells it (`F32`, `BF16`, …).
    pub dtype: &'static str,
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Checkpoint {
    /// Opens a `.safetensors` file, a sharded `.safetensors.index.json`, or a folder with either.
    ///
    /// Only headers are read. Pickles (`.bin`, `.pt`, `.pth`) are refused, with the way to
    /// convert them.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let file = if path.is_dir() { weights_in(path)? } else { path.to_owned() };
        let mut checkpoint = Self {
            path: file.clone(),
            shards: Vec::new(),
            entries: BTreeMap::new(),
            metadata: BTreeMap::new(),
        };
        if file.to_string_lossy().ends_with(".index.json") {
            checkpoint.add_shards(&file)?;
        } else if is_pickle(&file) {
            return Err(pickle(&file));
        } else {
            checkpoint.add(&file)?;
        }
        Ok(checkpoint)
    }

    /// The file that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The names of all tensors, sorted.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// Shape and element type of `key`.
    pub fn info(&self, key: &str) -> Option<TensorInfo> {
        let (_, entry) = self.entries.get(key)?;
        Some(TensorInfo { shape: entry.shape.clone(), dtype: entry.type_name })
    }

    /// The texts stored beside the tensors.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// Reads one tensor; every floating type comes back as float32, integers stay as they are.
    pub fn tensor(&self, key: &str, device: &Device) -> Result<Tensor> {
        let missing = || Error::checkpoint(&self.path, format!("found no tensor `{key}`"));
        let (shard, entry) = self.entries.get(key).ok_or_else(missing)?;
        let dtype = entry.dtype.ok_or_else(|| {
            let found = entry.type_name;
            let why = format!(
                "`{key}`: found element type {found}, expected F32, F16, BF16 or an integer"
            );
            Error::checkpoint(&self.path, why)
        })?;
        let (path, file) = &self.shards[*shard];
        let mut bytes = vec![0; entry.bytes];
        {
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            file.seek(SeekFrom::Start(entry.start))
                .and_then(|_| file.read_exact(&mut bytes))
                .map_err(|source| Error::io(path, source))?;
        }
        let tensor = Tensor::from_raw_buffer(&bytes, dtype, &entry.shape, device)?;
        Ok(if dtype.is_float() { tensor.to_dtype(DType::F32)? } else { tensor })
    }

    /// Tells this checkpoint from others, and from itself after a change, without reading it whole:
    /// by the names, sizes and times of its files, what their headers say of the tensors, and how
    /// each tensor begins and ends.
    pub fn identity(&self) -> Result<String> {
        let mut said = Sha256::new();
        for (path, file) in &self.shards {
            let failed = |source| Error::io(path, source);
            let about = file.lock().unwrap_or_else(PoisonError::into_inner).metadata();
            let about = about.map_err(failed)?;
            let changed = about.modified().map_err(failed)?.duration_since(UNIX_EPOCH);
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            said.update(format!("{name} {} {changed:?}\n", about.len()));
        }
        for (name, (shard, entry)) in &self.entries {
            said.update(format!("{name} {shard} {} {:?}\n", entry.type_name, entry.shape));
            let (path, file) = &self.shards[*shard];
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            let mut ends = vec![0; entry.bytes.min(GLIMPSE)];
            for start in [entry.start, entry.start + (entry.bytes - ends.len()) as u64] {
                let read = file.seek(SeekFrom::Start(start));
                read.and_then(|_| file.read_exact(&mut ends))
                    .map_err(|source| Error::io(path, source))?;
                said.update(&ends);
            }
        }
        Ok(files::sha256_hex(&said.finalize()))
    }

    /// SHA-256 over the content of all shards, in hexadecimal.
    pub fn sha256(&self) -> Result<String> {
        let mut digest = Sha256::new();
        let mut buffer = vec![0; 1 << 20];
        for (path, file) in &self.shards {
            let failed = |source| Error::io(path, source);
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            file.seek(SeekFrom::Start(0)).map_err(failed)?;
            loop {
                let count = file.read(&mut buffer).map_err(failed)?;
                if count == 0 {
                    break;
                }
                digest.update(&buffer[..count]);
            }
        }
        Ok(files::sha256_hex(&digest.finalize()))
    }

    fn add(&mut self, path: &Path) -> Result<()> {
        let mut file = files::open(path)?;
        let header = header::read(path, &mut file)?;
        let shard = self.shards.len();
        self.shards.push((path.to_owned(), Mutex::new(file)));
        self.metadata.extend(header.metadata);
        for (name, entry) in header.entries {
            if self.entries.contains_key(&name) {
                return Err(Error::format(path, format!("`{name}` is in two shards")));
            }
            self.entries.insert(name, (shard, entry));
        }
        Ok(())
    }

    fn add_shards(&mut self, index: &Path) -> Result<()> {
        let parsed: Index = serde_json::from_slice(&files::read(index)?)
            .map_err(|why| Error::format(index, why.to_string()))?;
        let mut shards: Vec<&String> = parsed.weight_map.values().collect();
        shards.sort_unstable();
        shards.dedup();
        for shard in shards {
            let mut parts = Path::new(shard).components();
            let plain = matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None));
            if !plain {
                let why = format!("found shard {shard:?}, expected a file name in the same folder");
                return Err(Error::format(index, why));
            }
            self.add(&index.with_file_name(shard))?;
        }
        for (name, shard) in &parsed.weight_map {
            if !self.entries.contains_key(name) {
                let why = format!("`{name}` should be in {shard}, which does not have it");
                return Err(Error::format(index, why));
            }
        }
        Ok(())
    }
}

fn weights_in(folder: &Path) -> Result<PathBuf> {
    for name in ["model.safetensors", "model.safetensors.index.json"] {
        let file = folder.join(name);
        if file.is_file() {
            return Ok(file);
        }
    }
    let listing = std::fs::read_dir(folder).map_err(|source| Error::io(folder, source))?;
    let mut found: Vec<PathBuf> = listing.filter_map(|entry| Some(entry.ok()?.path())).collect();
    found.sort();
    let ends = |file: &PathBuf, ending: &str| file.extension().is_some_and(|e| e == ending);
    let safe: Vec<&PathBuf> = found.iter().filter(|file| ends(file, "safetensors")).collect();
    match (safe.as_slice(), found.iter().find(|file| is_pickle(file))) {
        ([one], _) => Ok((*one).clone()),
        ([], Some(file)) => Err(pickle(file)),
        ([], None) => Err(Error::checkpoint(
            folder,
            "found no weights, expected model.safetensors or model.safetensors.index.json",
        )),
        (many, _) => {
            let names: Vec<_> = many.iter().filter_map(|file| file.file_name()).collect();
            Err(Error::checkpoint(folder, format!("found {names:?}; name the one to open")))
        }
    }
}

fn is_pickle(file: &Path) -> bool {
    file.extension().is_some_and(|ending| PICKLES.iter().any(|pickle| ending == *pickle))
}

fn pickle(file: &Path) -> Error {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    Error::checkpoint(
        file,
        format!(
            "a pickle can run any program when it is opened, so it is not opened here. Convert it \
             once, where PyTorch is installed: python -c \"import torch; from safetensors.torch \
             import save_file; state = torch.load('{name}', map_location='cpu', weights_only=True); \
             save_file({{k: v.clone().contiguous() for k, v in state.items()}}, \
             'model.safetensors')\""
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::save;
    use std::fs;

    fn write(path: &Path, name: &str) {
        let tensor = Tensor::new(&[1f32, 2.0], &Device::Cpu).unwrap();
        save(&[(name.to_owned(), tensor)], path, &BTreeMap::new()).unwrap();
    }

    fn error(path: &Path) -> String {
        Checkpoint::open(path).unwrap_err().to_string()
    }

    #[test]
    fn shards_are_read_as_one_and_their_index_is_checked() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        write(&at("m-1.safetensors"), "a");
        write(&at("m-2.safetensors"), "b");
        let index = |text: &str| fs::write(at("model.safetensors.index.json"), text).unwrap();
        index(r#"{"weight_map": {"a": "m-1.safetensors", "b": "m-2.safetensors"}}"#);
        let open = Checkpoint::open(folder.path()).unwrap();
        assert_eq!(open.keys().collect::<Vec<_>>(), ["a", "b"]);
        let b = open.tensor("b", &Device::Cpu).unwrap();
        assert_eq!(b.to_vec1::<f32>().unwrap(), [1.0, 2.0]);
        let missing = open.tensor("c", &Device::Cpu).unwrap_err().to_string();
        assert!(missing.ends_with("found no tensor `c`"), "{missing}");
        index(r#"{"weight_map": {"a": "../m-1.safetensors"}}"#);
        assert!(error(folder.path()).contains("expected a file name in the same folder"));
        index(r#"{"weight_map": {"c": "m-1.safetensors"}}"#);
        assert!(error(folder.path()).contains("`c` should be in m-1.safetensors"));
        index(r#"{"weight_map": {"a": "m-9.safetensors"}}"#);
        assert!(error(folder.path()).contains("m-9.safetensors"));
    }

    #[test]
    fn pickles_are_refused_with_the_way_to_convert_them() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("pytorch_model.bin"), b"PK").unwrap();
        for path in [folder.path().to_owned(), folder.path().join("pytorch_model.bin")] {
            let text = error(&path);
            assert!(text.contains("a pickle can run any program"), "{text}");
            assert!(text.contains("torch.load('pytorch_model.bin'"), "{text}");
        }
    }

    #[test]
    fn a_folder_without_weights_or_with_too_many_says_so() {
        let folder = tempfile::tempdir().unwrap();
        assert!(error(folder.path()).contains("found no weights, expected model.safetensors"));
        write(&folder.path().join("x.safetensors"), "a");
        Checkpoint::open(folder.path()).unwrap();
        write(&folder.path().join("y.safetensors"), "a");
        let text = error(folder.path());
        assert!(
            text.ends_with("found [\"x.safetensors\", \"y.safetensors\"]; name the one to open")
        );
        assert!(error(&folder.path().join("z.safetensors")).contains("No such file"));
    }

    #[test]
    fn the_hash_follows_the_values() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        write(&path, "a");
        let first = Checkpoint::open(&path).unwrap().sha256().unwrap();
        assert_eq!(first, Checkpoint::open(&path).unwrap().sha256().unwrap());
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&path, bytes).unwrap();
        assert_ne!(first, Checkpoint::open(&path).unwrap().sha256().unwrap());
    }
}
