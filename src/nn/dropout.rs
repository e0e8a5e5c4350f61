//! Random omission while training: of single values, and of whole residual branches.
//!
//! Source: Srivastava et al. 2014, "Dropout"; Huang et al. 2016, "Deep Networks with Stochastic
//! Depth", arXiv:1603.09382.

use candle::Tensor;

use super::{Kind, Pass, Shadow, Work};
use crate::random::Random;
use crate::{Error, Result};

/// Zeroes values with probability p while training, and scales the others by 1 / (1 − p).
#[derive(Clone, Copy, Debug)]
pub struct Dropout(f64);

/// Zeroes whole samples of a branch with probability p while training, scales the others.
#[derive(Clone, Copy, Debug)]
pub struct DropPath(f64);

impl Dropout {
    /// A layer that omits with probability `p` in [0, 1).
    pub fn new(p: f64) -> Result<Self> {
        check(p, "dropout").map(Self)
    }

    /// Whether anything is omitted in this pass.
    pub fn omits(&self, pass: &Pass) -> bool {
        self.0 > 0.0 && pass.trains()
    }

    /// The memory of [`Self::forward`].
    #[must_use]
    pub fn trace(&self, x: &Shadow, pass: &Pass) -> Shadow {
        trace_omit(x, self.omits(pass), x.dims())
    }

    /// Maps `x` (any shape) to the same shape.
    pub fn forward(&self, x: &Tensor, pass: &Pass) -> Result<Tensor> {
        omit(x, self.0, x.dims().to_vec(), pass)
    }
}

impl DropPath {
    /// A layer that omits with probability `p` in [0, 1).
    pub fn new(p: f64) -> Result<Self> {
        check(p, "drop path").map(Self)
    }

    /// Whether anything is omitted in this pass.
    pub fn omits(&self, pass: &Pass) -> bool {
        self.0 > 0.0 && pass.trains()
    }

    /// The memory of [`Self::forward`].
    #[must_use]
    pub fn trace(&self, x: &Shadow, pass: &Pass) -> Shadow {
        trace_omit(x, self.omits(pass), &x.dims()[..1])
    }

    /// Maps `x` (B, …) to the same shape.
    pub fn forward(&self, x: &Tensor, pass: &Pass) -> Result<Tensor> {
        let mut shape = vec![1; x.rank()];
        if let (Some(first), Some(batch)) = (shape.first_mut(), x.dims().first()) {
            *first = *batch;
        }
        omit(x, self.0, shape, pass)
    }
}

fn check(p: f64, what: &str) -> Result<f64> {
    if (0.0..1.0).contains(&p) {
        return Ok(p);
    }
    Err(Error::config(what, format!("found {p}, expected a probability in [0, 1)")))
}

fn omit(x: &Tensor, p: f64, shape: Vec<usize>, pass: &Pass) -> Result<Tensor> {
    if p == 0.0 {
        return Ok(x.clone());
    }
    let Some(mut random) = pass.random() else { return Ok(x.clone()) };
    let mask = keep_mask(shape.iter().product(), p, &mut random);
    let mask = Tensor::from_vec(mask, shape, x.device())?.to_dtype(x.dtype())?;
    Ok(x.broadcast_mul(&mask)?)
}

/// The memory of [`omit`].
fn trace_omit(x: &Shadow, omits: bool, mask: &[usize]) -> Shadow {
    if !omits {
        return x.clone();
    }
    let mask = x.account().input(Kind::Activations, mask);
    // candle's product makes a gradient for the mask too, each with zeros and a sum.
    let backward = 5 * size_of::<f32>() * x.dims().iter().product::<usize>();
    Shadow::made(x.dims(), &[x, &mask], Work { backward, ..Work::default() })
}

/// `n` values, 0 with probability `p` and 1 / (1 − p) otherwise; two for each draw.
fn keep_mask(n: usize, p: f64, random: &mut Random) -> Vec<f32> {
    let threshold = (p * f64::from(u32::MAX)) as u32;
    let scale = (1.0 / (1.0 - p)) as f32;
    let one = |bits: u32| if bits < threshold { 0.0 } else { scale };
    let mut mask = Vec::with_capacity(n + 1);
    while mask.len() < n {
        let bits = random.bits();
        mask.extend([one(bits as u32), one((bits >> 32) as u32)]);
    }
    mask.truncate(n);
    mask
}
