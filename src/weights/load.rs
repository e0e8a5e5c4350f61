//! Filling a model from a checkpoint: all of it, or none.

use candle::{Device, Tensor};
use candle_nn::VarBuilder;
use serde::{Deserialize, Serialize};

use super::name_map::Source;
use super::{Checkpoint, LoadReport, Misshapen, NameMap};
use crate::nn::Parameters;
use crate::progress::Progress;
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
    load_watched(parameters, checkpoint, map, strictness, &Progress::silent())
}

/// As [`load`], until `progress` is told to stop: then some parameters are filled.
fn load_watched(
    parameters: &Parameters,
    checkpoint: &Checkpoint,
    map: &NameMap,
    strictness: Strictness,
    progress: &Progress,
) -> Result<LoadReport> {
    let shapes = parameters.all().into_iter().map(|(name, var)| (name, var.dims().to_vec()));
    let (report, plan) = compare(shapes, checkpoint, map)?;
    if !strictness.accepts(&report) {
        return Err(Error::checkpoint(checkpoint.path(), report.complaint()));
    }
    for (name, source, shape) in &plan {
        progress.check()?;
        let values = read(checkpoint, source, parameters.device())?.reshape(shape.as_slice())?;
        parameters.set(name, &values)?;
    }
    Ok(report)
}

/// The model that `build` makes, filled with all of `checkpoint` by the map of this name, and its
/// parameters. Strict: every key must be used or be known to be of no use.
pub fn filled<M>(
    checkpoint: &Checkpoint,
    map: &str,
    device: &Device,
    progress: &Progress,
    build: impl FnOnce(VarBuilder<'static>) -> Result<M>,
) -> Result<(M, Parameters, LoadReport)> {
    let parameters = Parameters::blank(device);
    let model = build(parameters.builder())?;
    let (map, strictness) = (NameMap::named(map)?, Strictness::Strict);
    let report = load_watched(&parameters, checkpoint, &map, strictness, progress)?;
    Ok((model, parameters, report))
}

/// Parameters that are filled: name, where from, shape.
pub(super) type Plan = Vec<(String, Source, Vec<usize>)>;

/// What the parameters of these names and shapes would take from `checkpoint`.
pub(super) fn compare(
    parameters: impl IntoIterator<Item = (String, Vec<usize>)>,
    checkpoint: &Checkpoint,
    map: &NameMap,
) -> Result<(LoadReport, Plan)> {
    let fits_no_map = |error: Error| Error::checkpoint(checkpoint.path(), error.to_string());
    let mut resolved = map.resolve(checkpoint.keys()).map_err(fits_no_map)?;
    let mut report = LoadReport {
        source: checkpoint.path().display().to_string(),
        dropped: resolved.dropped,
        unexpected: resolved.orphans,
        ..LoadReport::default()
    };
    let mut plan = Vec::new();
    for (name, expected) in parameters {
        if !name.starts_with(map.target()) {
            continue;
        }
        let Some(source) = resolved.sources.remove(&name) else {
            report.missing.push(name);
            continue;
        };
        let found = shape(checkpoint, &source)?;
        let same =
            found == expected || (source.ones && without_ones(&found) == without_ones(&expected));
        if !same {
            report.misshapen.push(Misshapen { name, found, expected });
            continue;
        }
        let short = name.strip_prefix(map.target()).unwrap_or(&name);
        report.renamed += usize::from(source.keys.len() != 1 || source.keys[0] != short);
        report.numbers += expected.iter().product::<usize>();
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

pub(super) fn read(checkpoint: &Checkpoint, source: &Source, device: &Device) -> Result<Tensor> {
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::weights::save;
    use candle::DType;
    use candle_nn::Init;

    fn model() -> Parameters {
        let parameters = Parameters::new(0, &Device::Cpu);
        let vb = parameters.builder();
        for (shape, name) in [((2, 3), "a.weight"), ((4, 1), "b.weight"), ((1, 3), "c")] {
            vb.get_with_hints(shape, name, Init::Const(7.0)).unwrap();
        }
        parameters
    }

    fn checkpoint(tensors: &[(&str, &[usize])]) -> (tempfile::TempDir, Checkpoint) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let tensors: Vec<(String, Tensor)> = tensors
            .iter()
            .map(|(name, shape)| {
                let n = shape.iter().product::<usize>() as u32;
                let values = Tensor::arange(0, n, &Device::Cpu).unwrap().to_dtype(DType::BF16);
                ((*name).to_owned(), values.unwrap().reshape(*shape).unwrap())
            })
            .collect();
        save(&tensors, &path, &BTreeMap::new()).unwrap();
        let checkpoint = Checkpoint::open(folder.path()).unwrap();
        (folder, checkpoint)
    }

    fn values(parameters: &Parameters, name: &str) -> Vec<f32> {
        parameters.get(name).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    fn map(text: &str) -> NameMap {
        NameMap::from_toml(text).unwrap()
    }

    #[test]
    fn half_precision_is_widened_and_names_are_translated() {
        let (_folder, file) = checkpoint(&[("q", &[1, 3]), ("k", &[1, 3]), ("bc", &[7, 1])]);
        let (_other, wrong) = checkpoint(&[("q", &[1, 3]), ("k", &[1, 2])]);
        let rules = "[[merge]]\nfrom = [\"q\", \"k\"]\nto = \"a.weight\"\n\
                     [[split]]\nfrom = \"bc\"\nto = [\"b.weight\", \"c\"]\nparts = [4, 3]";
        let parameters = model();
        let error = load(&parameters, &file, &map(rules), Strictness::Strict).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("1 misshapen: c (found [3, 1], expected [1, 3])"), "{text}");
        let report = load(&parameters, &file, &map(rules), Strictness::Partial).unwrap();
        assert_eq!(report.matched, ["a.weight", "b.weight"]);
        assert_eq!((report.renamed, report.numbers), (2, 10));
        assert_eq!(values(&parameters, "a.weight"), [0.0, 1.0, 2.0, 0.0, 1.0, 2.0]);
        assert_eq!(values(&parameters, "b.weight"), [0.0, 1.0, 2.0, 3.0]);
        assert_eq!(values(&parameters, "c"), [7.0; 3]);
        let error = load(&parameters, &wrong, &map(rules), Strictness::Partial).unwrap_err();
        assert!(error.to_string().contains("`q`, `k` differ in shape"), "{error}");
    }

    #[test]
    fn strict_names_every_difference_and_touches_nothing() {
        let (_folder, file) =
            checkpoint(&[("a.weight", &[2, 3]), ("b.weight", &[1, 4]), ("d", &[1])]);
        let parameters = model();
        let plain = NameMap::named("plain").unwrap();
        let error = load(&parameters, &file, &plain, Strictness::Strict).unwrap_err().to_string();
        let expected = "1 keys matched; 1 missing: c; 1 unexpected: d; 1 misshapen: b.weight \
                        (found [1, 4], expected [4, 1]); nothing was loaded";
        assert!(error.ends_with(expected), "{error}");
        assert_eq!(values(&parameters, "a.weight"), [7.0; 6]);
        for strictness in [Strictness::AllowMissing, Strictness::AllowUnexpected] {
            load(&parameters, &file, &plain, strictness).unwrap_err();
        }
        let report = load(&parameters, &file, &plain, Strictness::Partial).unwrap();
        let table = report.to_string();
        assert!(table.contains("\n  misshapen       1\n"), "{table}");
        assert!(report.to_html().contains("<td>1</td><td style=\"text-align:left\">c</td>"));
        assert_eq!(values(&parameters, "b.weight"), [7.0; 4]);
    }

    #[test]
    fn missing_and_unexpected_keys_are_accepted_when_asked() {
        let (_folder, more) = checkpoint(&[
            ("a.weight", &[2, 3]),
            ("b.weight", &[4, 1]),
            ("c", &[1, 3]),
            ("d", &[1]),
        ]);
        let plain = NameMap::named("plain").unwrap();
        let report = load(&model(), &more, &plain, Strictness::AllowUnexpected).unwrap();
        assert_eq!(report.unexpected, ["d"]);
        let (_folder, fewer) = checkpoint(&[("a.weight", &[2, 3])]);
        let report = load(&model(), &fewer, &plain, Strictness::AllowMissing).unwrap();
        assert_eq!(report.missing, ["b.weight", "c"]);
        let (_folder, other) = checkpoint(&[("z", &[1])]);
        load(&model(), &other, &plain, Strictness::Partial).unwrap_err();
    }

    #[test]
    fn a_part_of_a_larger_model_is_loaded_alone() {
        let parameters = Parameters::new(0, &Device::Cpu);
        let vb = parameters.builder();
        vb.get_with_hints(3, "vision.w", Init::Const(7.0)).unwrap();
        vb.get_with_hints(3, "text.w", Init::Const(7.0)).unwrap();
        let (_folder, file) = checkpoint(&[("module.w", &[3])]);
        let part = NameMap::named("plain").unwrap().under("vision.");
        assert!(load(&parameters, &file, &part, Strictness::Strict).unwrap().complete());
        assert_eq!(values(&parameters, "vision.w"), [0.0, 1.0, 2.0]);
        assert_eq!(values(&parameters, "text.w"), [7.0; 3]);
    }

    #[test]
    fn an_integer_tensor_is_no_weight() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let ids = Tensor::new(&[[1i64, 2, 3], [4, 5, 6]], &Device::Cpu).unwrap();
        save(&[("a.weight".to_owned(), ids)], &path, &BTreeMap::new()).unwrap();
        let plain = NameMap::named("plain").unwrap();
        let file = Checkpoint::open(&path).unwrap();
        let error = load(&model(), &file, &plain, Strictness::Partial).unwrap_err().to_string();
        assert!(error.ends_with("`a.weight`: found element type I64, expected a float"), "{error}");
    }
}
