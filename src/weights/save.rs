//! Writing safetensors: whole or not at all, and the same bytes for the same tensors.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use candle::{DType, Device, Tensor};
use serde_json::{Map, Value, json};

use crate::{Error, Result, files};

/// Writes `tensors` to `path`, with `metadata` as texts by name.
///
/// Tensors are ordered by width of their elements, then by name, as the format asks; nothing in
/// the file depends on time, order of insertion or the machine.
pub fn save(
    tensors: &[(String, Tensor)],
    path: &Path,
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    let mut sorted: Vec<(&String, &Tensor, &str)> = tensors
        .iter()
        .map(|(name, tensor)| Ok((name, tensor, type_name(name, tensor.dtype())?)))
        .collect::<Result<_>>()?;
    let width = |tensor: &Tensor| tensor.dtype().size_in_bytes();
    sorted.sort_by(|(a, x, _), (b, y, _)| width(y).cmp(&width(x)).then_with(|| a.cmp(b)));
    if let Some(twice) = sorted.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(Error::value(twice[0].0, "found twice among the tensors to save"));
    }
    let header = header(&sorted, metadata);
    let mut failed = None; // candle's error, carried past the writer's io::Result
    files::write_atomic_with(path, |file| {
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(&header)?;
        for (_, tensor, _) in &sorted {
            let bytes = little_endian(tensor).map_err(|error| {
                let text = error.to_string();
                failed = Some(error);
                std::io::Error::other(text)
            })?;
            file.write_all(&bytes)?;
        }
        Ok(())
    })
    .map_err(|error| failed.map_or(error, Error::Tensor))
}

fn header(sorted: &[(&String, &Tensor, &str)], metadata: &BTreeMap<String, String>) -> Vec<u8> {
    let mut fields = Map::new();
    if !metadata.is_empty() {
        fields.insert("__metadata__".to_owned(), json!(metadata));
    }
    let mut begin = 0;
    for (name, tensor, type_name) in sorted {
        let end = begin + tensor.elem_count() * tensor.dtype().size_in_bytes();
        let entry =
            json!({"dtype": type_name, "shape": tensor.dims(), "data_offsets": [begin, end]});
        fields.insert((*name).clone(), entry);
        begin = end;
    }
    let mut text = Value::Object(fields).to_string().into_bytes();
    text.resize(text.len().next_multiple_of(8), b' ');
    text
}

fn type_name(name: &str, dtype: DType) -> Result<&'static str> {
    Ok(match dtype {
        DType::U8 => "U8",
        DType::U32 => "U32",
        DType::I16 => "I16",
        DType::I32 => "I32",
        DType::I64 => "I64",
        DType::BF16 => "BF16",
        DType::F16 => "F16",
        DType::F32 => "F32",
        DType::F64 => "F64",
        other => {
            return Err(Error::value(name, format!("element type {other:?} cannot be saved")));
        }
    })
}

fn little_endian(tensor: &Tensor) -> candle::Result<Vec<u8>> {
    let flat = tensor.flatten_all()?.to_device(&Device::Cpu)?;
    macro_rules! bytes {
        ($kind:ty) => {
            flat.to_vec1::<$kind>()?.iter().flat_map(|x| x.to_le_bytes()).collect()
        };
    }
    Ok(match flat.dtype() {
        DType::U8 => flat.to_vec1::<u8>()?,
        DType::U32 => bytes!(u32),
        DType::I16 => bytes!(i16),
        DType::I32 => bytes!(i32),
        DType::I64 => bytes!(i64),
        DType::BF16 => bytes!(half::bf16),
        DType::F16 => bytes!(half::f16),
        DType::F64 => bytes!(f64),
        _ => bytes!(f32),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::Checkpoint;

    fn some(values: &[f32]) -> Tensor {
        Tensor::new(values, &Device::Cpu).unwrap()
    }

    #[test]
    fn what_is_saved_is_read_back_and_the_bytes_do_not_depend_on_order() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a.safetensors"), folder.path().join("b.safetensors"));
        let ids = Tensor::new(&[1i64, -2], &Device::Cpu).unwrap();
        let x = ("x".to_owned(), some(&[1.0, 2.0]).reshape((2, 1)).unwrap());
        let y = ("a.y".to_owned(), some(&[3.0]).to_dtype(DType::BF16).unwrap());
        let i = ("ids".to_owned(), ids);
        let note = BTreeMap::from([("z".to_owned(), "1".to_owned()), ("k".into(), "2".into())]);
        save(&[x.clone(), y.clone(), i.clone()], &a, &note).unwrap();
        save(&[i, y, x], &b, &note).unwrap();
        assert_eq!(std::fs::read(&a).unwrap(), std::fs::read(&b).unwrap());
        let open = Checkpoint::open(&a).unwrap();
        assert_eq!(open.keys().collect::<Vec<_>>(), ["a.y", "ids", "x"]);
        assert_eq!(open.metadata(), &note);
        assert_eq!(open.info("a.y").unwrap().dtype, "BF16");
        let read = |key: &str| open.tensor(key, &Device::Cpu).unwrap();
        assert_eq!(read("x").to_vec2::<f32>().unwrap(), [[1.0], [2.0]]);
        assert_eq!(read("a.y").to_vec1::<f32>().unwrap(), [3.0]);
        assert_eq!(read("ids").to_vec1::<i64>().unwrap(), [1, -2]);
        // The reference implementation reads it too.
        let bytes = std::fs::read(&a).unwrap();
        assert_eq!(safetensors::SafeTensors::deserialize(&bytes).unwrap().len(), 3);
    }

    #[test]
    fn a_name_given_twice_is_refused_and_nothing_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let x = ("x".to_owned(), some(&[1.0]));
        let error = save(&[x.clone(), x], &path, &BTreeMap::new()).unwrap_err();
        assert_eq!(error.to_string(), "x: found twice among the tensors to save");
        assert!(!path.exists());
    }
}
