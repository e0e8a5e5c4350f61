//! Rotary position embedding.
//!
//! Source: Su et al. 2021, "Rotary Position Embedding", arXiv:2104.09864; frequencies for longer
//! texts: Chen et al. 2023, "Position Interpolation", arXiv:2306.15595, and `LLaMA` 3.1.

use std::f64::consts::TAU;
use std::sync::{Arc, Mutex, PoisonError};

use candle::{D, DType, Device, Tensor};
use serde::{Deserialize, Serialize};

use super::half::widened;
use crate::{Error, Result, kernels};

pub use crate::kernels::RopeLayout;

/// Places whose angles are made at once.
const BLOCK: usize = 1024;

/// How frequencies are changed so that a model reads longer texts than it first learned from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum RopeScaling {
    /// Not at all.
    #[default]
    Plain,
    /// All are divided by a factor.
    Linear {
        /// The factor.
        factor: f64,
    },
    /// Low ones are divided by a factor, high ones stay, those between are blended.
    Llama3 {
        /// The factor.
        factor: f64,
        /// Waves longer than the old length over this are divided.
        low: f64,
        /// Waves shorter than the old length over this stay.
        high: f64,
        /// The old length, in tokens.
        original: usize,
    },
}

impl RopeScaling {
    /// Whether frequencies stay as they are.
    pub fn is_plain(&self) -> bool {
        *self == Self::Plain
    }

    fn apply(self, frequency: f64) -> f64 {
        match self {
            Self::Plain => frequency,
            Self::Linear { factor } => frequency / factor,
            Self::Llama3 { factor, low, high, original } => {
                let waves = original as f64 * frequency / TAU; // in the old length
                let kept = ((waves - low) / (high - low)).clamp(0.0, 1.0);
                frequency * (kept + (1.0 - kept) / factor)
            }
        }
    }
}

/// The cosines and sines of every place up to a greatest length. Clones share them.
#[derive(Clone, Debug)]
pub struct Rope {
    frequencies: Arc<[f64]>,
    /// Cosines and sines (places so far, D / 2); longer when asked for.
    table: Arc<Mutex<(Tensor, Tensor)>>,
    max_len: usize,
    layout: RopeLayout,
}

impl Rope {
    /// Angles for `dim` rotating features (even) of base `theta`, for `max_len` places.
    pub fn new(
        dim: usize,
        theta: f64,
        max_len: usize,
        layout: RopeLayout,
        device: &Device,
    ) -> Result<Self> {
        Self::scaled(dim, (theta, RopeScaling::Plain), max_len, layout, device)
    }

    /// As [`Self::new`], with changed frequencies.
    pub fn scaled(
        dim: usize,
        (theta, scaling): (f64, RopeScaling),
        max_len: usize,
        layout: RopeLayout,
        device: &Device,
    ) -> Result<Self> {
        if dim == 0 || !dim.is_multiple_of(2) {
            return Err(Error::config("rope.dim", format!("found {dim}, expected an even number")));
        }
        let frequency = |i| scaling.apply(theta.powf(-2.0 * f64::from(i) / dim as f64));
        let frequencies = (0..dim as u32 / 2).map(frequency).collect();
        let none = || Tensor::zeros((0, dim / 2), DType::F32, device);
        let table = Arc::new(Mutex::new((none()?, none()?)));
        Ok(Self { frequencies, table, max_len, layout })
    }

    /// Turns queries and keys (B, H, N, D) whose first token is at `offset`; features beyond the
    /// rotating ones stay.
    pub fn apply(&self, q: &Tensor, k: &Tensor, offset: usize) -> Result<(Tensor, Tensor)> {
        Ok((self.turn(q, offset)?, self.turn(k, offset)?))
    }

    /// Turns `x` (B, H, N, D) whose first token is at `offset`.
    pub fn turn(&self, x: &Tensor, offset: usize) -> Result<Tensor> {
        let (_, _, tokens, features) = x.dims4()?;
        let half = self.frequencies.len();
        if features < 2 * half {
            return Err(Error::shape("rope", format!("(B, H, N, {})", 2 * half), x.dims()));
        }
        if tokens > self.max_len.saturating_sub(offset) {
            let found = offset.saturating_add(tokens);
            let why = format!("found {found}, expected at most {}", self.max_len);
            return Err(Error::value("rope length", why));
        }
        if let Some(y) = widened("rope", [("input", x)], |[x]| self.turn(x, offset))? {
            return Ok(y);
        }
        let (cos, sin) = self.angles(offset, tokens)?; // (N, half)
        let (cos, sin) = (cos.to_dtype(x.dtype())?, sin.to_dtype(x.dtype())?);
        if kernels::serve(&[x, &cos, &sin]) {
            return Ok(kernels::rope(x, &cos, &sin, self.layout)?);
        }
        let turned = match self.layout {
            RopeLayout::Halves => {
                let (a, b) = (x.narrow(3, 0, half)?, x.narrow(3, half, half)?);
                let (a, b) = rotate(&a, &b, &cos, &sin)?;
                Tensor::cat(&[a, b], 3)?
            }
            RopeLayout::Interleaved => {
                let shape = [&x.dims()[..3], &[half, 2]].concat();
                let pairs = x.narrow(3, 0, 2 * half)?.reshape(shape)?; // (B, H, N, half, 2)
                let (a, b) = (pairs.narrow(4, 0, 1)?, pairs.narrow(4, 1, 1)?);
                let (a, b) = rotate(&a.squeeze(4)?, &b.squeeze(4)?, &cos, &sin)?;
                Tensor::stack(&[a, b], 4)?.flatten_from(3)?
            }
        };
        if features == 2 * half {
            return Ok(turned);
        }
        let rest = x.narrow(D::Minus1, 2 * half, features - 2 * half)?;
        Ok(Tensor::cat(&[turned, rest], D::Minus1)?)
    }

    /// Cosines and sines of the places from `offset` on, (N, D / 2). A model may know a hundred
    /// thousand places and read a hundred of them, so the table grows with what is asked for.
    fn angles(&self, offset: usize, tokens: usize) -> Result<(Tensor, Tensor)> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let (made, half) = table.0.dims2()?;
        if made < offset + tokens {
            let more = (offset + tokens).max(2 * made).next_multiple_of(BLOCK).min(self.max_len);
            let row = |place| self.frequencies.iter().map(move |f| place as f64 * f);
            // float64 is for the angles: the places are too many for float32.
            let angles: Vec<f64> = (made..more).flat_map(row).collect();
            let device = table.0.device().clone();
            let grown = |old: &Tensor, of: fn(f64) -> f64| {
                let new: Vec<f32> = angles.iter().map(|angle| of(*angle) as f32).collect();
                Tensor::cat(&[old, &Tensor::from_vec(new, (more - made, half), &device)?], 0)
            };
            *table = (grown(&table.0, f64::cos)?, grown(&table.1, f64::sin)?);
        }
        let part = |all: &Tensor| all.narrow(0, offset, tokens);
        Ok((part(&table.0)?, part(&table.1)?))
    }
}

fn rotate(a: &Tensor, b: &Tensor, cos: &Tensor, sin: &Tensor) -> Result<(Tensor, Tensor)> {
    let first = (a.broadcast_mul(cos)? - b.broadcast_mul(sin)?)?;
    let second = (b.broadcast_mul(cos)? + a.broadcast_mul(sin)?)?;
    Ok((first, second))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn low_frequencies_are_divided_and_high_ones_stay() {
        let scaling = RopeScaling::Llama3 { factor: 8.0, low: 1.0, high: 4.0, original: 8192 };
        let wave = |tokens: f64| TAU / tokens;
        let near = |found: f64, expected: f64| assert!((found / expected - 1.0).abs() < 1e-12);
        near(scaling.apply(wave(2000.0)), wave(2000.0));
        near(scaling.apply(wave(8200.0)), wave(8200.0) / 8.0);
        // Half way between the ends: the mean of both.
        near(scaling.apply(2.5 * wave(8192.0)), 2.5 * wave(8192.0) * (0.5 + 0.5 / 8.0));
        near(RopeScaling::Linear { factor: 4.0 }.apply(wave(8.0)), wave(32.0));
    }

    #[test]
    fn tables_grow_with_the_places_asked_for_and_no_further_than_the_limit() {
        let rope = Rope::new(4, 1e4, 3000, RopeLayout::Halves, &Device::Cpu).unwrap();
        let x = Tensor::ones((1, 1, 2, 4), DType::F32, &Device::Cpu).unwrap();
        let values = |offset| {
            let y = rope.turn(&x, offset).unwrap().flatten_all().unwrap();
            y.to_vec1::<f32>().unwrap()
        };
        let early = values(5);
        assert_eq!(rope.table.lock().unwrap().0.dims(), [1024, 2]);
        let late = values(2998);
        assert_eq!(rope.table.lock().unwrap().0.dims(), [3000, 2]);
        assert!((late[0] - (2998f64.cos() - 2998f64.sin()) as f32).abs() < 1e-6);
        assert_eq!(values(5), early);
        for offset in [2999, usize::MAX] {
            let error = rope.turn(&x, offset).unwrap_err().to_string();
            assert!(error.ends_with("expected at most 3000"), "{error}");
        }
    }
}
