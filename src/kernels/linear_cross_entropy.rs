//! Cross-entropy of logits that a linear map makes: a block of them at a time, and again in the
//! backward, so that a large vocabulary costs no memory.
//!
//! Source: Wijmans et al. 2024, "Cut Your Losses in Large-Vocabulary Language Models",
//! arXiv:2411.09009.

use candle::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};

use super::buffer::{block_of_rows, read, read_any, tensor};
use super::crew::{each, parts};
use super::cross_entropy::{Compared, Targets};
use super::gemm::{Into, Matrix, Threads, multiply};
use super::linear::sum_rows;
use super::tape::{apply2, apply3};

/// Logits that are held at once.
const HELD: usize = 1 << 21;
/// A block has at least so many classes, however many rows there are.
const NARROWEST: usize = 256;

/// The sum over the rows of `hidden` (…, D) of the cross-entropy with `targets` of their products
/// with the transposed `weight` (C, D), plus `bias` (C): a scalar.
pub(crate) fn linear_cross_entropy(
    hidden: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    targets: Targets,
) -> Result<Tensor> {
    let (classes, depth) = weight.dims2()?;
    let rows = hidden.elem_count() / depth.max(1);
    let mut compared = Compared::new(rows, classes, targets);
    let (hidden, weight) = (hidden.contiguous()?, weight.contiguous()?);
    read(&hidden, |hidden| {
        read(&weight, |weight| {
            read_any(bias, |bias| {
                let mut map = Map::new(hidden, weight, bias, depth);
                while let Some((first, _, logits)) = map.next() {
                    compared.absorb(first, logits);
                }
            })
        })
    })???;
    match bias {
        Some(bias) => apply3(&hidden, &weight, bias, OfProducts(compared)),
        None => apply2(&hidden, &weight, OfProducts(compared)),
    }
}

/// A linear map whose results are made for some classes at a time, in the same memory.
struct Map<'a> {
    hidden: &'a [f32],
    weight: &'a [f32],
    bias: Option<&'a [f32]>,
    depth: usize,
    /// The next class.
    next: usize,
    held: Vec<f32>,
}

impl<'a> Map<'a> {
    fn new(hidden: &'a [f32], weight: &'a [f32], bias: Option<&'a [f32]>, depth: usize) -> Self {
        let (rows, classes) = (hidden.len() / depth.max(1), weight.len() / depth.max(1));
        let block = (HELD / rows.max(1)).max(NARROWEST).min(classes);
        Self { hidden, weight, bias, depth, next: 0, held: vec![0.0; rows * block] }
    }

    /// The first class of the next block, the classes' weights, and the logits (rows, some).
    fn next(&mut self) -> Option<(usize, &'a [f32], &mut [f32])> {
        let rows = self.hidden.len() / self.depth.max(1);
        let (first, classes) = (self.next, self.weight.len() / self.depth.max(1));
        let count = (self.held.len() / rows.max(1)).min(classes - first);
        if count == 0 {
            return None;
        }
        self.next += count;
        let weight = &self.weight[first * self.depth..][..count * self.depth];
        let logits = &mut self.held[..rows * count];
        let into = match self.bias {
            None => Into::Fresh,
            Some(bias) => {
                let bias = &bias[first..][..count];
                each(parts(logits, count), block_of_rows(count) / count, |_, row| {
                    row.copy_from_slice(bias);
                });
                Into::Sum
            }
        };
        let left = Matrix::new(self.hidden, rows, self.depth);
        let right = Matrix::new(weight, count, self.depth).transposed();
        multiply(left, right, 1.0, logits, count, into, Threads::All);
        Some((first, weight, logits))
    }
}

struct OfProducts(Compared);

/// The gradients of hidden states, weight and bias, each only where something learns from it.
type Gradients = [Option<Tensor>; 3];

impl OfProducts {
    fn backward(
        &self,
        hidden: &Tensor,
        weight: &Tensor,
        bias: Option<&Tensor>,
        grad: &Tensor,
    ) -> Result<Gradients> {
        let scale = grad.to_scalar::<f32>()?;
        let zeros = |x: &Tensor| x.track_op().then(|| vec![0.0; x.elem_count()]);
        let (mut dh, mut dw) = (zeros(hidden), zeros(weight));
        let mut db = bias.and_then(zeros);
        read(hidden, |h| {
            read(weight, |w| {
                read_any(bias, |b| {
                    let out = [dh.as_deref_mut(), dw.as_deref_mut(), db.as_deref_mut()];
                    self.run((h, w, b), scale, out);
                })
            })
        })???;
        let [dh, dw] =
            [(dh, hidden), (dw, weight)].map(|(d, x)| d.map(|d| tensor(d, x)).transpose());
        let db = bias.zip(db).map(|(bias, db)| tensor(db, bias)).transpose()?;
        Ok([dh?, dw?, db])
    }

    fn run(
        &self,
        (hidden, weight, bias): (&[f32], &[f32], Option<&[f32]>),
        scale: f32,
        [mut dh, mut dw, mut db]: [Option<&mut [f32]>; 3],
    ) {
        let rows = self.0.rows.len();
        let depth = hidden.len() / rows.max(1);
        let mut map = Map::new(hidden, weight, bias, depth);
        while let Some((first, weight, slopes)) = map.next() {
            let count = weight.len() / depth;
            each(parts(slopes, count), block_of_rows(count) / count, |row, x| {
                self.0.slope(row, first, scale, x);
            });
            let of_rows = Matrix::new(slopes, rows, count);
            if let Some(dh) = &mut dh {
                let weight = Matrix::new(weight, count, depth);
                multiply(of_rows, weight, 1.0, dh, depth, Into::Sum, Threads::All);
            }
            if let Some(dw) = &mut dw {
                let dw = &mut dw[first * depth..][..count * depth];
                let hidden = Matrix::new(hidden, rows, depth);
                multiply(of_rows.transposed(), hidden, 1.0, dw, depth, Into::Fresh, Threads::All);
            }
            if let Some(db) = &mut db {
                db[first..][..count].copy_from_slice(&sum_rows(slopes, count));
            }
        }
    }
}

impl CustomOp2 for OfProducts {
    fn name(&self) -> &'static str {
        "linear-cross-entropy"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        Ok(self.0.value())
    }

    fn bwd(
        &self,
        hidden: &Tensor,
        weight: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let [dh, dw, _] = self.backward(hidden, weight, None, grad)?;
        Ok((dh, dw))
    }
}

impl CustomOp3 for OfProducts {
    fn name(&self) -> &'static str {
        "linear-cross-entropy-bias"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        Ok(self.0.value())
    }

    fn bwd(
        &self,
        hidden: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [dh, dw, db] = self.backward(hidden, weight, Some(bias), grad)?;
        Ok((dh, dw, db))
    }
}
