//! Filling a model from a checkpoint: all of it, or none.

use candle::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::name_map::{Resolved, Source};
use super::{Checkpoint, LoadReport, Misshapen, NameMap};
use crate::nn::Parameters;
use crate::{Error, Result};

/// Which differences between checkpoint and model are accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strictness {
    /// None: every key matches a parameter of the same shape, and the other way round.
    #[default]
    Strict,
    /// The checkpoint may hold more than the model.
    AllowUnexpected,
    /// The model may hold more than the checkpoint (a new head, adapters).
    AllowMissing,
    /// What fits is taken; the report says what did not.
    Partial,
}

impl Strictness {
    fn accepts(self, report: &LoadReport) -> bool {
        match self {
            Self::Strict => report.complete(),
            Self::AllowUnexpected => report.missing.is_empty() && report.misshapen.is_empty(),
            Self::AllowMissing => report.unexpected.is_empty() && report.misshapen.is_empty(),
            Self::Partial => !report.matched.is_empty(),
        }
    }
}

/// Fills `parameters` from `checkpoint`, whose names `map` translates.
///
/// Floating types are widened to float32. When `strictness` does not accept the differences,
/// the error lists the first of them with their counts, and no parameter was touched.
pub fn load(
    parameters: &Parameters,
    checkpoint: &Checkpoint,
    map: &NameMap,
    strictness: Strictness,
) -> Result<LoadReport> {
    let path = checkpoint.path();
    let fits_no_map = |error: Error| Error::checkpoint(path, error.to_string());
    let resolved = map.resolve(checkpoint.keys()).map_err(fits_no_map)?;
    let (report, plan) = compare(parameters, checkpoint, map, resolved)?;
    if !strictness.accepts(&report) {
        return Err(Error::checkpoint(path, report.complaint()));
    }
    for (name, source, shape) in &plan {
        let values = read(checkpoint, source, parameters.device())?.reshape(shape.as_slice())?;
        parameters.set(name, &values)?;
    }
    Ok(report)
}

type Plan = Vec<(String, Source, Vec<usize>)>;

fn compare(
    parameters: &Parameters,
    checkpoint: &Checkpoint,
    map: &NameMap,
    mut resolved: Resolved,
) -> Result<(LoadReport, Plan)> {
    let mut report = LoadReport {
        source: checkpoint.path().display().to_string(),
        dropped: resolved.dropped,
        unexpected: resolved.orphans,
        ..LoadReport::default()
    };
    let mut plan = Vec::new();
    for (name, var) in parameters.all() {
        if !name.starts_with(map.target()) {
            continue;
        }
        let Some(source) = resolved.sources.remove(&name) else {
            report.missing.push(name);
            continue;
        };
        let expected = var.dims().to_vec();
        let found = shape(checkpoint, &source)?;
        let same =
            found == expected || (source.ones && without_ones(&found) == without_ones(&expected));
        if !same {
            report.misshapen.push(Misshapen { name, found, expected });
            continue;
        }
        let short = name.strip_prefix(map.target()).unwrap_or(&name);
        report.renamed += usize::from(source.keys.len() != 1 || source.keys[0] != short);
        report.numbers += var.elem_count();
        report.matched.push(name.clone());
        plan.push((name, source, expected));
    }
    report.unexpected.extend(resolved.sources.into_values().flat_map(|source| source.keys));
    report.unexpected.sort_unstable();
    report.unexpected.dedup(); // a key cut in parts is one key
    Ok((report, plan))
}

/// The shape that `source` will have, and whether it can be read at all.
fn shape(checkpoint: &Checkpoint, source: &Source) -> Result<Vec<usize>> {
    let wrong = |why: String| Error::checkpoint(checkpoint.path(), why);
    let mut shape: Vec<usize> = Vec::new();
    for key in &source.keys {
        let info = checkpoint.info(key).ok_or_else(|| wrong(format!("found no tensor `{key}`")))?;
        if !["F64", "F32", "F16", "BF16"].contains(&info.dtype) {
            let found = info.dtype;
            return Err(wrong(format!("`{key}`: found element type {found}, expected a float")));
        }
        if shape.is_empty() {
            shape = info.shape;
        } else if info.shape.is_empty() || shape[1..] != info.shape[1..] {
            let keys = source.keys.join("`, `");
            return Err(wrong(format!("`{keys}` differ in shape and cannot be joined")));
        } else {
            shape[0] += info.shape[0];
        }
    }
    if let Some((_, count, all)) = source.part {
        let key = &source.keys[0];
        let rows = shape.first().copied().unwrap_or(0);
        if rows == 0 || rows % all != 0 {
            return Err(wrong(format!(
                "`{key}`: {shape:?} cannot be cut in {all} along its first axis"
            )));
        }
        shape[0] = rows / all * count;
    }
    Ok(shape)
}

fn read(checkpoint: &Checkpoint, source: &Source, device: &Device) -> Result<Tensor> {
    let parts: Vec<Tensor> =
        source.keys.iter().map(|key| checkpoint.tensor(key, device)).collect::<Result<_>>()?;
    let whole = if let [one] = parts.as_slice() { one.clone() } else { Tensor::cat(&parts, 0)? };
    Ok(match source.part {
        Some((first, count, all)) => {
            let unit = whole.dim(0)? / all;
            whole.narrow(0, first * unit, count * unit)?
        }
        None => whole,
    })
}

fn without_ones(shape: &[usize]) -> Vec<usize> {
    shape.iter().copied().filter(|&axis| axis != 1).collect()
}
