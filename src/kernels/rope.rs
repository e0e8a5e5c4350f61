//! Rotary positions: pairs of features, turned by the angle of their place.

use candle::{CpuStorage, CustomOp1, D, Layout, Result, Shape, Tensor};

use super::buffer::{Blank, block_of_rows, read, written};
use super::simd::{fma, kernel};
use super::tape::apply1;

/// Which two features turn together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RopeLayout {
    /// Feature i with i + D / 2, as in the checkpoints of the transformers library.
    #[default]
    Halves,
    /// Feature 2 i with 2 i + 1, as in the original paper.
    Interleaved,
}

kernel! {
    /// Turns the rows of `x`, which start `stride` apart, by the rows of `cos` and `sin`; features
    /// beyond the turning ones stay. Writes every number of `out`.
    fn turn_halves(
        x: &[f32], stride: usize, cos: &[f32], sin: &[f32], half: usize, width: usize,
        out: &mut [Blank],
    ) {
        let angles = cos.chunks_exact(half).zip(sin.chunks_exact(half));
        for ((x, (cos, sin)), out) in x.chunks(stride).zip(angles).zip(out.chunks_exact_mut(width)) {
            let (a, rest) = x[..width].split_at(half);
            let (b, rest) = rest.split_at(half);
            let (first, stay) = out.split_at_mut(half);
            let (second, stay) = stay.split_at_mut(half);
            let pairs = a.iter().zip(b).zip(cos.iter().zip(sin));
            for (((a, b), (cos, sin)), (first, second)) in
                pairs.zip(first.iter_mut().zip(second.iter_mut()))
            {
                first.write(fma::<FMA>(-*b, *sin, a * cos));
                second.write(fma::<FMA>(*a, *sin, b * cos));
            }
            for (out, x) in stay.iter_mut().zip(rest) {
                out.write(*x);
            }
        }
    }
}

kernel! {
    /// As [`turn_halves`], for features whose partner is next to them.
    fn turn_interleaved(
        x: &[f32], stride: usize, cos: &[f32], sin: &[f32], half: usize, width: usize,
        out: &mut [Blank],
    ) {
        let angles = cos.chunks_exact(half).zip(sin.chunks_exact(half));
        for ((x, (cos, sin)), out) in x.chunks(stride).zip(angles).zip(out.chunks_exact_mut(width)) {
            let (x, rest) = x[..width].split_at(2 * half);
            let (out, stay) = out.split_at_mut(2 * half);
            let (x, out) = (x.as_chunks::<2>().0, out.as_chunks_mut::<2>().0);
            for (([a, b], out), (cos, sin)) in x.iter().zip(out).zip(cos.iter().zip(sin)) {
                *out = [fma::<FMA>(-*b, *sin, a * cos), fma::<FMA>(*a, *sin, b * cos)].map(Blank::new);
            }
            for (out, x) in stay.iter_mut().zip(rest) {
                out.write(*x);
            }
        }
    }
}

/// Turns the first features of `x` (B, H, N, D) by the angles whose `cos` and `sin` are
/// (N, at most D / 2) and do not learn.
pub(crate) fn rope(x: &Tensor, cos: &Tensor, sin: &Tensor, layout: RopeLayout) -> Result<Tensor> {
    let op = Rope { cos: cos.clone(), sin: sin.clone(), layout };
    apply1(&rows_apart(x)?, op)
}

/// The tensor, copied only if its tokens are not whole rows in memory.
fn rows_apart(x: &Tensor) -> Result<Tensor> {
    let [.., row, 1] = x.stride() else { return x.contiguous() };
    let apart = *row >= x.dim(D::Minus1)? || x.dim(D::Minus2)? == 1;
    if apart { Ok(x.clone()) } else { x.contiguous() }
}

struct Rope {
    cos: Tensor,
    sin: Tensor,
    layout: RopeLayout,
}

impl Rope {
    #[allow(unsafe_code)]
    fn turn(&self, x: &[f32], layout: &Layout, cos: &[f32], sin: &[f32]) -> Result<Vec<f32>> {
        let (&[batch, head, row, 1], &[_, heads, tokens, width]) = (layout.stride(), layout.dims())
        else {
            candle::bail!("a rotation was given features out of order")
        };
        let row = row.max(width); // which means nothing where there is one token
        let half = cos.len() / tokens.max(1);
        let turn = match self.layout {
            RopeLayout::Halves => turn_halves,
            RopeLayout::Interleaved => turn_interleaved,
        };
        let block = block_of_rows(width);
        let rows = |i: usize, mut out: &mut [Blank]| {
            let mut first = i * block / width; // of the tokens of all heads
            while !out.is_empty() {
                let (which, token) = (first / tokens, first % tokens);
                let count = (tokens - token).min(out.len() / width);
                let (part, rest) = out.split_at_mut(count * width);
                let at = which / heads * batch + which % heads * head + token * row;
                let x = &x[layout.start_offset() + at..][..(count - 1) * row + width];
                let angles = token * half..(token + count) * half;
                turn(x, row, &cos[angles.clone()], &sin[angles], half, width, part);
                (out, first) = (rest, first + count);
            }
        };
        // SAFETY: the kernels write whole rows, one for each of `angles`, and blocks are made of them.
        Ok(unsafe { written(layout.shape().elem_count(), block, rows) })
    }
}

impl CustomOp1 for Rope {
    fn name(&self) -> &'static str {
        "rope"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = storage.as_slice::<f32>()?;
        let turn = |cos: &[f32]| read(&self.sin, |sin| self.turn(x, layout, cos, sin));
        Ok((CpuStorage::F32(read(&self.cos, turn)???), layout.shape().clone()))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        // A rotation's transpose is the rotation back.
        let back = Self { cos: self.cos.clone(), sin: self.sin.neg()?, layout: self.layout };
        Ok(Some(rows_apart(grad)?.apply_op1_no_bwd(&back)?))
    }
}
