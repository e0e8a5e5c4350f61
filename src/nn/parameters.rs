//! The named parameters of a model: created from a seed, read by layers through a `VarBuilder`.
//!
//! candle's own initialisers cannot be seeded on the CPU; here each tensor's values depend on the
//! seed and its own name only, so adding a layer never changes another.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle::{DType, Device, Shape, Tensor, Var};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder};

use super::{Precision, builder_type};
use crate::random::Random;
use crate::{Error, Result};

/// Named tensors that can be trained, saved and loaded. Clones share the tensors.
#[derive(Clone, Debug)]
pub struct Parameters {
    /// What values are drawn from; `None` leaves zeros for a checkpoint to overwrite.
    seed: Option<u64>,
    device: Device,
    vars: Arc<Mutex<BTreeMap<String, Var>>>,
}

impl Parameters {
    /// An empty set; layers built on [`Self::builder`] fill it with float32 tensors.
    pub fn new(seed: u64, device: &Device) -> Self {
        Self { seed: Some(seed), device: device.clone(), vars: Arc::default() }
    }

    /// An empty set whose tensors start at zero: a checkpoint is about to fill all of them, and
    /// drawing hundreds of millions of numbers first would take longer than reading it.
    pub fn blank(device: &Device) -> Self {
        Self { seed: None, device: device.clone(), vars: Arc::default() }
    }

    /// What layers take their weights from; a name asked for the first time is initialised.
    pub fn builder(&self) -> VarBuilder<'static> {
        VarBuilder::from_backend(Box::new(self.clone()), DType::F32, self.device.clone())
    }

    /// What layers take their weights from to work without a graph: the same values, which share
    /// memory with the parameters but gather no gradients. All must be there already.
    ///
    /// Such layers may keep what they made of a weight: after the parameters have changed, build
    /// them anew.
    pub fn frozen(&self) -> VarBuilder<'static> {
        self.learning_part(|_| false)
    }

    /// What layers take their weights from to learn in part: gradients reach those parameters
    /// whose name `learns`, the others are as from [`Self::frozen`]. All must be there already.
    pub fn learning_part(
        &self,
        learns: impl Fn(&str) -> bool + Send + Sync + 'static,
    ) -> VarBuilder<'static> {
        let backend = Box::new(Part { all: self.clone(), learns: Box::new(learns) });
        VarBuilder::from_backend(backend, DType::F32, self.device.clone())
    }

    /// Takes in copies of the tensors of `other`, `prefix` before their names.
    pub fn adopt(&self, prefix: &str, other: &Self) -> Result<()> {
        for (name, var) in other.all() {
            let copy = var.as_detached_tensor().to_device(&self.device)?.copy()?;
            self.lock().insert(format!("{prefix}{name}"), Var::from_tensor(&copy)?);
        }
        Ok(())
    }

    /// Takes in the tensors of `other` themselves, of which no copy is made.
    pub fn take_in(&self, other: &Self) {
        let all = other.all();
        self.lock().extend(all);
    }

    /// The device that holds the tensors.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Every tensor by name, in the order of names; running statistics included.
    pub fn all(&self) -> Vec<(String, Var)> {
        self.lock().iter().map(|(name, var)| (name.clone(), var.clone())).collect()
    }

    /// The tensors that gradients reach: all but running statistics.
    pub fn trainable(&self) -> Vec<(String, Var)> {
        self.all().into_iter().filter(|(name, _)| !is_statistic(name)).collect()
    }

    /// One tensor.
    pub fn get(&self, name: &str) -> Option<Var> {
        self.lock().get(name).cloned()
    }

    /// Overwrites the values of `name`.
    pub fn set(&self, name: &str, value: &Tensor) -> Result<()> {
        let var = self
            .get(name)
            .ok_or_else(|| Error::value(name, "found no parameter of this name in the model"))?;
        if var.dims() != value.dims() {
            return Err(Error::shape(name, format!("{:?}", var.dims()), value.dims()));
        }
        Ok(var.set(&value.to_dtype(var.dtype())?.to_device(&self.device)?)?)
    }

    /// Drops the parameters whose name starts with `prefix`; the next layer of that name starts anew.
    pub fn forget(&self, prefix: &str) {
        self.lock().retain(|name, _| !name.starts_with(prefix));
    }

    /// How many numbers the parameters hold.
    pub fn count(&self) -> usize {
        self.lock().values().map(|var| var.elem_count()).sum()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Var>> {
        self.vars.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether `name` is a running statistic: saved with the model, never trained.
pub fn is_statistic(name: &str) -> bool {
    name.ends_with("running_mean") || name.ends_with("running_var")
}

impl SimpleBackend for Parameters {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        init: Init,
        dtype: DType,
        device: &Device,
    ) -> candle::Result<Tensor> {
        let mut vars = self.lock();
        if let Some(var) = vars.get(name) {
            if var.shape() != &shape {
                let (found, asked) = (var.dims(), shape.dims());
                candle::bail!("parameter `{name}` has shape {found:?}, a layer expects {asked:?}");
            }
            return Ok(var.as_tensor().clone());
        }
        let tensor = match self.seed {
            Some(seed) => Tensor::from_vec(draw(seed, name, &shape, init), shape, device)?,
            None => Tensor::zeros(shape, dtype, device)?,
        };
        let var = Var::from_tensor(&tensor.to_dtype(dtype)?)?;
        let tensor = var.as_tensor().clone();
        vars.insert(name.to_owned(), var);
        Ok(tensor)
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> candle::Result<Tensor> {
        let var = self.lock().get(name).cloned();
        var.map(|var| var.as_tensor().clone())
            .ok_or_else(|| candle::Error::Msg(format!("no parameter `{name}`")))
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.lock().contains_key(name)
    }
}

/// Whether the parameter of a name learns.
type Learns = Box<dyn Fn(&str) -> bool + Send + Sync>;

/// Parameters that are there, of which some learn.
struct Part {
    all: Parameters,
    learns: Learns,
}

impl SimpleBackend for Part {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        _: Init,
        dtype: DType,
        device: &Device,
    ) -> candle::Result<Tensor> {
        let tensor = self.get_unchecked(name, dtype, device)?;
        if tensor.shape() != &shape {
            let found = tensor.dims();
            candle::bail!("parameter `{name}` has shape {found:?}, a layer expects {shape:?}");
        }
        Ok(tensor)
    }

    fn get_unchecked(&self, name: &str, dtype: DType, device: &Device) -> candle::Result<Tensor> {
        let found = self.all.get_unchecked(name, dtype, device)?;
        Ok(if (self.learns)(name) { found } else { found.detach() })
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.all.contains_tensor(name)
    }
}

/// Parameters without numbers: which there would be, and layers around them that can only trace.
#[derive(Clone, Debug, Default)]
pub struct Outline(Arc<Mutex<BTreeMap<String, Vec<usize>>>>);

impl Outline {
    /// What layers that compute in `precision` take their weights from; with `learning`, such
    /// that gradients reach them.
    pub fn builder(&self, learning: bool, precision: Precision) -> VarBuilder<'static> {
        self.part(move |_| learning, precision)
    }

    /// As [`Self::builder`], for layers of which those parameters learn whose name `learns`.
    pub fn part(
        &self,
        learns: impl Fn(&str) -> bool + Send + Sync + 'static,
        precision: Precision,
    ) -> VarBuilder<'static> {
        let backend = Box::new(Outlined { outline: self.clone(), learns: Box::new(learns) });
        VarBuilder::from_backend(backend, builder_type(precision), Device::Cpu)
    }

    /// How many numbers those parameters hold whose name `counts`.
    pub fn count(&self, counts: impl Fn(&str) -> bool) -> usize {
        let counted = self.shapes().into_iter().filter(|(name, _)| counts(name));
        counted.map(|(_, shape)| shape.iter().product::<usize>()).sum()
    }

    /// The shapes of the parameters by name.
    pub fn shapes(&self) -> BTreeMap<String, Vec<usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

struct Outlined {
    outline: Outline,
    learns: Learns,
}

impl SimpleBackend for Outlined {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        _: Init,
        _: DType,
        device: &Device,
    ) -> candle::Result<Tensor> {
        let mut shapes = self.outline.0.lock().unwrap_or_else(PoisonError::into_inner);
        shapes.insert(name.to_owned(), shape.dims().to_vec());
        // One number that stands for all.
        let one = if (self.learns)(name) {
            Var::zeros((), DType::F32, device)?.as_tensor().clone()
        } else {
            Tensor::zeros((), DType::F32, device)?
        };
        one.broadcast_as(shape)
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> candle::Result<Tensor> {
        candle::bail!("the outline does not know the shape of `{name}`")
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.outline.0.lock().unwrap_or_else(PoisonError::into_inner).contains_key(name)
    }
}

fn draw(seed: u64, name: &str, shape: &Shape, init: Init) -> Vec<f32> {
    let mut random = Random::new(seed, &[fnv(name)]);
    let n = shape.elem_count();
    let (mean, spread, normal) = match init {
        Init::Const(value) => return vec![value as f32; n],
        Init::Randn { mean, stdev } => (mean, stdev, true),
        Init::Uniform { lo, up } => (f64::midpoint(lo, up), (up - lo) / 2.0, false),
        Init::Kaiming { dist, fan, non_linearity } => {
            let std = non_linearity.gain() / (fan.for_shape(shape) as f64).sqrt();
            match dist {
                candle_nn::init::NormalOrUniform::Normal => (0.0, std, true),
                candle_nn::init::NormalOrUniform::Uniform => (0.0, std * 3f64.sqrt(), false),
            }
        }
    };
    let mut one = || if normal { random.normal() } else { random.range(-1.0, 1.0) };
    (0..n).map(|_| (mean + spread * one()) as f32).collect()
}

/// FNV-1a: a name as a number that no library update can change.
fn fnv(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_depend_on_the_seed_and_the_name_only() {
        let init = Init::Randn { mean: 0.0, stdev: 1.0 };
        let build = |seed, names: &[&str]| {
            let parameters = Parameters::new(seed, &Device::Cpu);
            for name in names {
                parameters.builder().get_with_hints(4, name, init).unwrap();
            }
            parameters.get("b").unwrap().to_vec1::<f32>().unwrap()
        };
        assert_eq!(build(1, &["a", "b"]), build(1, &["b"]));
        assert_ne!(build(1, &["b"]), build(2, &["b"]));
    }

    #[test]
    fn a_misshapen_value_is_refused_by_name() {
        let parameters = Parameters::new(0, &Device::Cpu);
        parameters.builder().get_with_hints((2, 3), "w", Init::Const(0.0)).unwrap();
        let wrong = Tensor::zeros((3, 2), DType::F32, &Device::Cpu).unwrap();
        let error = parameters.set("w", &wrong).unwrap_err().to_string();
        assert_eq!(error, "w: expected shape [2, 3], got [3, 2]");
    }
}
