//! Weights read one by one as layers ask for them: for models that keep them in another form, so
//! that the whole of them is never in memory.

use std::collections::BTreeMap;

use candle::{DType, Device, Shape, Tensor};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder};

use super::load::{compare, read};
use super::name_map::Source;
use super::{Checkpoint, LoadReport, NameMap};
use crate::nn::Outline;
use crate::{Error, Result};

/// What layers take the weights of `checkpoint` from, in float32. Strict: it must hold what
/// `outline` has, in the same shapes, and nothing else that `map` does not know of.
pub fn stream(
    checkpoint: Checkpoint,
    map: &NameMap,
    outline: &Outline,
    device: &Device,
) -> Result<(VarBuilder<'static>, LoadReport)> {
    let (report, plan) = compare(outline.shapes(), &checkpoint, map)?;
    if !report.complete() {
        return Err(Error::checkpoint(checkpoint.path(), report.complaint()));
    }
    let sources = plan.into_iter().map(|(name, source, shape)| (name, (source, shape))).collect();
    let backend = Box::new(Stream { checkpoint, sources });
    Ok((VarBuilder::from_backend(backend, DType::F32, device.clone()), report))
}

struct Stream {
    checkpoint: Checkpoint,
    sources: BTreeMap<String, (Source, Vec<usize>)>,
}

impl SimpleBackend for Stream {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        _: Init,
        _: DType,
        device: &Device,
    ) -> candle::Result<Tensor> {
        let tensor = self.get_unchecked(name, DType::F32, device)?;
        if tensor.shape() != &shape {
            let found = tensor.dims();
            candle::bail!("parameter `{name}` has shape {found:?}, a layer expects {shape:?}");
        }
        Ok(tensor)
    }

    fn get_unchecked(&self, name: &str, _: DType, device: &Device) -> candle::Result<Tensor> {
        let Some((source, shape)) = self.sources.get(name) else {
            candle::bail!("no parameter `{name}`")
        };
        let values = read(&self.checkpoint, source, device);
        values.map_err(|error| candle::Error::Msg(error.to_string()))?.reshape(shape.as_slice())
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.sources.contains_key(name)
    }
}
