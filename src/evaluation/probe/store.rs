//! A probe in a folder: `probe.json`, a card to read, and the safetensors file it names.
//!
//! The card is replaced last and names its weights by their content, so that a crash leaves
//! the old probe or the new one, never a mixture.

use std::collections::BTreeMap;
use std::path::Path;

use ndarray::{Array, Array1, Array2, Dimension};
use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensors, serialize};
use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};

use super::network::{Dense, Network};
use super::{Body, Probe, Scaler};
use crate::{Error, Result, files};

const CARD: &str = "probe.json";
const FORMAT: &str = "carina-probe";
const VERSION: u64 = 1;

type Stored = (Dtype, Vec<usize>, Vec<u8>);

impl Probe {
    /// The weights as a safetensors file.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut arrays: BTreeMap<String, Stored> = BTreeMap::new();
        arrays.insert("scaler.mean".to_owned(), doubles(&self.scaler.mean));
        arrays.insert("scaler.scale".to_owned(), doubles(&self.scaler.scale));
        match &self.body {
            Body::Linear { weight, bias } => {
                arrays.insert("linear.weight".to_owned(), doubles(weight));
                arrays.insert("linear.bias".to_owned(), doubles(bias));
            }
            Body::Network(network) => {
                for (number, layer) in network.layers.iter().enumerate() {
                    arrays.insert(format!("layers.{number}.weight"), singles(&layer.weight));
                    arrays.insert(format!("layers.{number}.bias"), singles(&layer.bias));
                }
            }
        }
        let failed = |error: safetensors::SafeTensorError| Error::Internal(error.to_string());
        let mut views = Vec::with_capacity(arrays.len());
        for (name, (dtype, shape, bytes)) in &arrays {
            let view = TensorView::new(*dtype, shape.clone(), bytes).map_err(failed)?;
            views.push((name.as_str(), view));
        }
        serialize(views, None).map_err(failed)
    }

    /// Reads what [`Probe::to_bytes`] wrote; `path` is for messages.
    pub fn from_bytes(bytes: &[u8], path: &Path) -> Result<Self> {
        let wrong = |why: String| Error::format(path, why);
        let file = SafeTensors::deserialize(bytes)
            .map_err(|error| wrong(format!("not a safetensors file: {error}")))?;
        let reader = Reader { file: &file, path };
        let (mean, scale) = (reader.vector("scaler.mean")?, reader.vector("scaler.scale")?);
        let d = mean.len();
        let body = if file.tensor("linear.bias").is_ok() {
            let bias = reader.vector("linear.bias")?;
            let weight = reader.matrix("linear.weight", (bias.len(), d))?;
            Body::Linear { weight, bias }
        } else {
            let mut layers: Vec<Dense> = Vec::new();
            while file.tensor(&format!("layers.{}.bias", layers.len())).is_ok() {
                let number = layers.len();
                let width = layers.last().map_or(d, |layer| layer.bias.len());
                let bias = reader.vector(&format!("layers.{number}.bias"))?;
                let shape = (width, bias.len());
                let weight = reader.matrix(&format!("layers.{number}.weight"), shape)?;
                let (weight, bias) = (weight.mapv(|x| x as f32), bias.mapv(|x| x as f32));
                layers.push(Dense { weight, bias });
            }
            Body::Network(Network { layers })
        };
        let probe = Self { scaler: Scaler { mean, scale }, body };
        let positive = probe.scaler.scale.iter().all(|&s| s > 0.0);
        if probe.scaler.scale.len() != d || !positive || probe.labels() == 0 {
            return Err(wrong(format!("no probe of {d} features can be made from it")));
        }
        Ok(probe)
    }

    /// Writes the probe to `folder`; `details` (JSON) is what else must come back, to the letter.
    pub fn save(&self, folder: &Path, details: &str) -> Result<()> {
        serde_json::from_str::<IgnoredAny>(details)
            .map_err(|error| Error::value("details", format!("not JSON: {error}")))?;
        let bytes = self.to_bytes()?;
        let sha256 = files::sha256_hex(&bytes);
        let name = format!("probe-{sha256:.16}.safetensors");
        let weights = json!({"file": name, "sha256": sha256});
        // The details go in as they are: reading and writing numbers again could round them.
        let text = format!(
            "{{\n\"format\": \"{FORMAT}\",\n\"version\": {VERSION},\n\"weights\": {weights},\n\
             \"details\": {details}\n}}\n"
        );
        files::create_folder(folder)?;
        let old = read_card(&folder.join(CARD)).ok();
        files::write_atomic(&folder.join(&name), &bytes)?;
        files::write_atomic(&folder.join(CARD), text.as_bytes())?;
        if let Some(old) = old.and_then(|(card, _)| weights_of(&card).map(|(file, _)| file))
            && old != name
        {
            // Best effort: the file no longer counts.
            let _ = std::fs::remove_file(folder.join(old));
        }
        Ok(())
    }

    /// Reads the probe of `folder` and the text of its card, whose `details` were given.
    pub fn load(folder: &Path) -> Result<(Self, String)> {
        let path = folder.join(CARD);
        let (card, text) = read_card(&path)?;
        let version = card.get("version").and_then(Value::as_u64);
        if card.get("format").and_then(Value::as_str) != Some(FORMAT) || version != Some(VERSION) {
            let why = format!("not the card of a probe, expected {FORMAT} version {VERSION}");
            return Err(Error::format(path, why));
        }
        let (file, sha256) = weights_of(&card).ok_or_else(|| {
            Error::format(&path, "`weights` must name a file of the folder and its checksum")
        })?;
        let weights = folder.join(file);
        let bytes = files::read(&weights)?;
        if files::sha256_hex(&bytes) != sha256 {
            return Err(Error::format(weights, "damaged: its checksum is not that of probe.json"));
        }
        Ok((Self::from_bytes(&bytes, &weights)?, text))
    }
}

fn read_card(path: &Path) -> Result<(Map<String, Value>, String)> {
    let wrong = |why: String| Error::format(path, format!("not the card of a probe: {why}"));
    let text = String::from_utf8(files::read(path)?).map_err(|error| wrong(error.to_string()))?;
    let card = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    Ok((card, text))
}

/// File name and checksum; `None` unless the name stays in the folder.
fn weights_of(card: &Map<String, Value>) -> Option<(String, String)> {
    let weights = card.get("weights")?;
    let file = weights.get("file")?.as_str()?;
    let plain = file.starts_with("probe-") && !file.contains(['/', '\\']);
    plain.then(|| Some((file.to_owned(), weights.get("sha256")?.as_str()?.to_owned())))?
}

fn doubles<D: Dimension>(array: &Array<f64, D>) -> Stored {
    let bytes = array.iter().flat_map(|x| x.to_le_bytes()).collect();
    (Dtype::F64, array.shape().to_vec(), bytes)
}

fn singles<D: Dimension>(array: &Array<f32, D>) -> Stored {
    let bytes = array.iter().flat_map(|x| x.to_le_bytes()).collect();
    (Dtype::F32, array.shape().to_vec(), bytes)
}

struct Reader<'a> {
    file: &'a SafeTensors<'a>,
    path: &'a Path,
}

impl Reader<'_> {
    fn wrong(&self, name: &str, why: &str) -> Error {
        Error::format(self.path, format!("`{name}` {why}"))
    }

    fn values(&self, name: &str) -> Result<(Vec<usize>, Vec<f64>)> {
        let view = self.file.tensor(name).map_err(|_| self.wrong(name, "is missing"))?;
        let values: Vec<f64> = match view.dtype() {
            Dtype::F64 => {
                let number = |b: &[u8]| b.try_into().map_or(f64::NAN, f64::from_le_bytes);
                view.data().chunks_exact(8).map(number).collect()
            }
            Dtype::F32 => {
                let number =
                    |b: &[u8]| b.try_into().map_or(f64::NAN, |b| f32::from_le_bytes(b).into());
                view.data().chunks_exact(4).map(number).collect()
            }
            _ => return Err(self.wrong(name, "is neither float32 nor float64")),
        };
        if values.iter().any(|x| !x.is_finite()) {
            return Err(self.wrong(name, "holds NaN or infinity"));
        }
        Ok((view.shape().to_vec(), values))
    }

    fn vector(&self, name: &str) -> Result<Array1<f64>> {
        let (shape, values) = self.values(name)?;
        if shape.len() != 1 || values.is_empty() {
            return Err(self.wrong(name, &format!("has shape {shape:?}, expected (n,)")));
        }
        Ok(Array1::from_vec(values))
    }

    fn matrix(&self, name: &str, expected: (usize, usize)) -> Result<Array2<f64>> {
        let (shape, values) = self.values(name)?;
        if shape != [expected.0, expected.1] {
            return Err(self.wrong(name, &format!("has shape {shape:?}, expected {expected:?}")));
        }
        Array2::from_shape_vec(expected, values).map_err(|error| Error::Internal(error.to_string()))
    }
}
