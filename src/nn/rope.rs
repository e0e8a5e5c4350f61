//! Rotary position embedding.
//!
//! Source: Su et al. 2021, "Rotary Position Embedding", arXiv:2104.09864.

use candle::{D, DType, Device, Tensor};

use super::half::widened;
use crate::{Error, Result, kernels};

pub use crate::kernels::RopeLayout;

/// The cosines and sines of every place up to a greatest length.
#[derive(Clone, Debug)]
pub struct Rope {
    cos: Tensor,
    sin: Tensor,
    layout: RopeLayout,
}

impl Rope {
    /// Tables for `dim` rotating features (even) of base `theta`, for `max_len` places.
    pub fn new(
        dim: usize,
        theta: f64,
        max_len: usize,
        layout: RopeLayout,
        device: &Device,
    ) -> Result<Self> {
        if dim == 0 || !dim.is_multiple_of(2) {
            return Err(Error::config("rope.dim", format!("found {dim}, expected an even number")));
        }
        let half = dim / 2;
        let angle =
            |place: usize, i: usize| place as f64 * theta.powf(-2.0 * i as f64 / dim as f64);
        let angles = (0..max_len).flat_map(|place| (0..half).map(move |i| angle(place, i)));
        let angles = Tensor::from_vec(angles.collect::<Vec<f64>>(), (max_len, half), &Device::Cpu)?;
        // float64 is for the angles: the places are too many for float32.
        let table = |x: Tensor| x.to_dtype(DType::F32)?.to_device(device);
        Ok(Self { cos: table(angles.cos()?)?, sin: table(angles.sin()?)?, layout })
    }

    /// Turns queries and keys (B, H, N, D) whose first token is at `offset`; features beyond the
    /// rotating ones stay.
    pub fn apply(&self, q: &Tensor, k: &Tensor, offset: usize) -> Result<(Tensor, Tensor)> {
        Ok((self.turn(q, offset)?, self.turn(k, offset)?))
    }

    /// Turns `x` (B, H, N, D) whose first token is at `offset`.
    pub fn turn(&self, x: &Tensor, offset: usize) -> Result<Tensor> {
        let (_, _, tokens, features) = x.dims4()?;
        let (places, half) = self.cos.dims2()?;
        if features < 2 * half {
            return Err(Error::shape("rope", format!("(B, H, N, {})", 2 * half), x.dims()));
        }
        if offset + tokens > places {
            let why = format!("found {}, expected at most {places}", offset + tokens);
            return Err(Error::value("rope length", why));
        }
        if let Some(y) = widened("rope", [("input", x)], |[x]| self.turn(x, offset))? {
            return Ok(y);
        }
        let row = |table: &Tensor| table.narrow(0, offset, tokens)?.to_dtype(x.dtype());
        let (cos, sin) = (row(&self.cos)?, row(&self.sin)?); // (N, half)
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
}

fn rotate(a: &Tensor, b: &Tensor, cos: &Tensor, sin: &Tensor) -> Result<(Tensor, Tensor)> {
    let first = (a.broadcast_mul(cos)? - b.broadcast_mul(sin)?)?;
    let second = (b.broadcast_mul(cos)? + a.broadcast_mul(sin)?)?;
    Ok((first, second))
}
