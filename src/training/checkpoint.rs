//! The state of a run in one file, so that it is either whole or absent.

use std::collections::BTreeMap;
use std::path::Path;

use candle::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::history::History;
use super::stage::Stage;
use crate::data::Dataset;
use crate::systems::Model;
use crate::{Error, Result, files, weights};

/// Where a run stands; with the tensors, all it needs to go on bit by bit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct State {
    /// Version of this layout.
    pub(super) format: u32,
    /// Steps taken.
    pub(super) step: u64,
    /// The epoch to go on with.
    pub(super) epoch: usize,
    /// The batch of that epoch to go on with.
    pub(super) batch: usize,
    /// What the run was started with; another stage, model or data set must not take it up.
    pub(super) identity: Identity,
    /// The table so far.
    pub(super) history: History,
}

/// What makes two runs the same run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Identity {
    /// The stage, as JSON.
    pub(super) stage: String,
    /// Hash of the model's configuration and of its weights at the start.
    pub(super) model: String,
    /// Hash of the data set's studies and findings.
    pub(super) data: String,
}

impl Identity {
    /// What a run of `stage` over `dataset` that starts from `model` is known by.
    pub(super) fn of(model: &Model, dataset: &Dataset, stage: &Stage) -> Result<Self> {
        let text = |error: serde_json::Error| Error::Internal(format!("stage: {error}"));
        Ok(Self {
            stage: serde_json::to_string(stage).map_err(text)?,
            model: model.fingerprint()?,
            data: fingerprint(dataset),
        })
    }
}

/// A hash of what the data set is: its findings and the names and labels of its studies.
fn fingerprint(dataset: &Dataset) -> String {
    let mut text = dataset.findings.join("\n");
    for study in &dataset.studies {
        text.push('\n');
        text.push_str(&study.id);
        text.extend(study.labels.iter().map(|label| format!(" {label}")));
        text.push_str(&study.report.text());
        for question in &study.questions {
            text.extend(["\n ", &question.question, " ", &question.answer]);
        }
    }
    files::sha256_hex(text.as_bytes())
}

/// The layout that this version reads and writes.
pub(super) const FORMAT: u32 = 1;

/// Tensors by role and name.
#[derive(Debug, Default)]
pub(super) struct Tensors {
    /// All parameters, statistics included.
    pub(super) weights: BTreeMap<String, Tensor>,
    /// The optimiser's moments.
    pub(super) moments: BTreeMap<String, Tensor>,
    /// The running mean of the weights.
    pub(super) average: BTreeMap<String, Tensor>,
}

impl Tensors {
    fn parts(&self) -> [(&'static str, &BTreeMap<String, Tensor>); 3] {
        [("weights", &self.weights), ("moments", &self.moments), ("average", &self.average)]
    }
}

/// Writes a checkpoint in place of the one before.
pub(super) fn write(path: &Path, state: &State, tensors: &Tensors) -> Result<()> {
    let text = serde_json::to_string(state)
        .map_err(|error| Error::Internal(format!("checkpoint state: {error}")))?;
    let metadata = BTreeMap::from([("state".to_owned(), text)]);
    let named = |(part, map): (&str, &BTreeMap<String, Tensor>)| {
        let one = |(name, tensor): (&String, &Tensor)| (format!("{part}/{name}"), tensor.clone());
        map.iter().map(one).collect::<Vec<_>>()
    };
    let all: Vec<_> = tensors.parts().into_iter().flat_map(named).collect();
    // Written tensor by tensor: all of it at once would be as large as the model and its moments.
    weights::save(&all, path, &metadata)
}

/// Reads a checkpoint; its identity must be `expected`.
pub(super) fn read(path: &Path, expected: &Identity) -> Result<(State, Tensors)> {
    let bytes = files::read(path)?;
    let broken = |why: String| Error::checkpoint(path, why);
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes)
        .map_err(|error| broken(format!("not a checkpoint: {error}")))?;
    let text = header.metadata().as_ref().and_then(|map| map.get("state"));
    let text = text.ok_or_else(|| broken("not a checkpoint: it holds no `state`".to_owned()))?;
    let state: State =
        serde_json::from_str(text).map_err(|error| broken(format!("its state: {error}")))?;
    if state.format != FORMAT {
        return Err(broken(format!("format {}, expected {FORMAT}", state.format)));
    }
    let differs = [
        ("stage", &state.identity.stage, &expected.stage),
        ("model", &state.identity.model, &expected.model),
        ("data set", &state.identity.data, &expected.data),
    ];
    if let Some((what, ..)) = differs.iter().find(|(_, found, wanted)| found != wanted) {
        return Err(broken(format!(
            "it belongs to a run with another {what}; pass resume=False or another folder"
        )));
    }
    let mut tensors = Tensors::default();
    let loaded = candle::safetensors::load_buffer(&bytes, &Device::Cpu)
        .map_err(|error| broken(error.to_string()))?;
    for (name, tensor) in loaded {
        let (part, name) = name.split_once('/').unwrap_or(("", &name));
        let map = match part {
            "weights" => &mut tensors.weights,
            "moments" => &mut tensors.moments,
            "average" => &mut tensors.average,
            _ => return Err(broken(format!("it holds an unknown tensor `{name}`"))),
        };
        map.insert(name.to_owned(), tensor);
    }
    Ok((state, tensors))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> (State, Tensors) {
        let identity = Identity { stage: "s".into(), model: "m".into(), data: "d".into() };
        let state = State {
            format: FORMAT,
            step: 7,
            epoch: 1,
            batch: 3,
            identity,
            history: History::default(),
        };
        let tensor = Tensor::new(&[1f32, f32::MIN_POSITIVE], &Device::Cpu).unwrap();
        let weights = BTreeMap::from([("a.b".to_owned(), tensor)]);
        (state, Tensors { weights, ..Tensors::default() })
    }

    #[test]
    fn what_is_written_is_read_back_bit_by_bit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.safetensors");
        let (state, tensors) = example();
        write(&path, &state, &tensors).unwrap();
        let (read_state, read_tensors) = read(&path, &state.identity).unwrap();
        assert_eq!(read_state, state);
        let bits = |t: &Tensor| {
            t.to_vec1::<f32>().unwrap().iter().map(|x| x.to_bits()).collect::<Vec<_>>()
        };
        assert_eq!(bits(&read_tensors.weights["a.b"]), bits(&tensors.weights["a.b"]));
    }

    #[test]
    fn a_checkpoint_of_another_run_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.safetensors");
        let (state, tensors) = example();
        write(&path, &state, &tensors).unwrap();
        let other = Identity { data: "other".into(), ..state.identity };
        let error = read(&path, &other).unwrap_err().to_string();
        assert!(error.contains("a run with another data set"), "{error}");
    }

    #[test]
    fn a_truncated_checkpoint_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.safetensors");
        let (state, tensors) = example();
        write(&path, &state, &tensors).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        for keep in [0, 7, 40, bytes.len() - 1] {
            std::fs::write(&path, &bytes[..keep]).unwrap();
            let error = read(&path, &state.identity).unwrap_err().to_string();
            assert!(error.contains("c.safetensors"), "{error}");
        }
    }
}
