//! Cross-entropy of logits with its backward, a block of classes after another.
//!
//! Source: Milakov and Gimelshein 2018, "Online Normalizer Calculation for Softmax",
//! arXiv:1805.02867.

use candle::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

use super::buffer::{block_of_rows, filled, read, tensor};
use super::crew::{each, parts};
use super::simd::{exp, fma, kernel, max, sum, sum_pairs};
use super::tape::apply1;

/// What the rows of the logits are compared with. None of it learns.
#[derive(Clone, Debug)]
pub(crate) enum Targets {
    /// One class a row.
    Classes(Classes),
    /// A weight for every number of the logits.
    Shares(Vec<f32>),
}

/// One class a row: it has all the weight but what `smoothing` spreads over all.
#[derive(Clone, Debug)]
pub(crate) struct Classes {
    /// The class of each row; none where it does not count.
    rows: Vec<Option<u32>>,
    /// The part of the weight that goes to all classes alike.
    smoothing: f32,
    /// What every class gets of a row, before its own factor.
    share: f32,
    /// The sum of the factors.
    total: f32,
    /// The factor of each class; 1 when absent.
    weights: Option<Vec<f32>>,
}

impl Classes {
    /// Rows of these classes out of `count`; those without one do not count.
    pub(crate) fn new(
        rows: Vec<Option<u32>>,
        count: usize,
        smoothing: f64,
        weights: Option<Vec<f32>>,
    ) -> Self {
        let total = weights.as_ref().map_or(count as f32, |weights| plain_sum(weights));
        let share = (smoothing / count as f64) as f32;
        Self { rows, smoothing: smoothing as f32, share, total, weights }
    }

    /// What the row's own class adds to its number, and what every class does.
    fn parts(&self, row: usize) -> Option<(usize, f32, f32)> {
        let class = self.rows[row]? as usize;
        let weight = self.weights.as_ref().map_or(1.0, |weights| weights[class]);
        Some((class, (1.0 - self.smoothing) * weight, self.share))
    }
}

kernel! {
    fn largest(x: &[f32]) -> f32 {
        max(x)
    }
}

kernel! {
    fn exponentials(x: &[f32], top: f32) -> f32 {
        sum(x, |x| exp::<FMA>(x - top))
    }
}

kernel! {
    fn plain_sum(x: &[f32]) -> f32 {
        sum(x, |x| x)
    }
}

kernel! {
    fn product_sum(x: &[f32], y: &[f32]) -> f32 {
        sum_pairs(x, y, |x, y| x * y)
    }
}

kernel! {
    /// Turns logits into `scale · exp(x − top)`.
    fn to_probabilities(x: &mut [f32], top: f32, scale: f32) {
        for x in x.iter_mut() {
            *x = scale * exp::<FMA>(*x - top);
        }
    }
}

kernel! {
    fn add_scaled(x: &[f32], scale: f32, out: &mut [f32]) {
        for (out, x) in out.iter_mut().zip(x) {
            *out = fma::<FMA>(*x, scale, *out);
        }
    }
}

impl Targets {
    /// The sum of a row's weights; none where the row does not count.
    fn weight(&self, row: usize, width: usize) -> Option<f32> {
        match self {
            Self::Classes(classes) => {
                let (_, own, all) = classes.parts(row)?;
                Some(own + all * classes.total)
            }
            Self::Shares(shares) => Some(plain_sum(&shares[row * width..][..width])),
        }
    }

    /// The sum of weight times logit over some classes of a row, from `first` on.
    fn score(&self, row: usize, width: usize, first: usize, x: &[f32]) -> f64 {
        match self {
            Self::Classes(classes) => {
                let Some((class, own, all)) = classes.parts(row) else { return 0.0 };
                let logit = class.checked_sub(first).and_then(|place| x.get(place));
                let mut score = logit.map_or(0.0, |x| f64::from(own) * f64::from(*x));
                if all > 0.0 {
                    let sum = match &classes.weights {
                        None => plain_sum(x),
                        Some(weights) => product_sum(&weights[first..][..x.len()], x),
                    };
                    score += f64::from(all) * f64::from(sum);
                }
                score
            }
            Self::Shares(shares) => {
                f64::from(product_sum(&shares[row * width + first..][..x.len()], x))
            }
        }
    }

    /// Takes `scale` times the weights of some classes of a row away from `out`.
    fn subtract(&self, row: usize, width: usize, first: usize, scale: f32, out: &mut [f32]) {
        match self {
            Self::Classes(classes) => {
                let Some((class, own, all)) = classes.parts(row) else { return };
                if all > 0.0 {
                    match &classes.weights {
                        None => out.iter_mut().for_each(|x| *x -= scale * all),
                        Some(weights) => {
                            add_scaled(&weights[first..][..out.len()], -scale * all, out);
                        }
                    }
                }
                if let Some(x) = class.checked_sub(first).and_then(|place| out.get_mut(place)) {
                    *x -= scale * own;
                }
            }
            Self::Shares(shares) => {
                add_scaled(&shares[row * width + first..][..out.len()], -scale, out);
            }
        }
    }
}

/// What is known of a row after some of its logits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Running {
    /// The largest.
    top: f32,
    /// The sum of exp(x − top).
    sum: f32,
    /// The sum of weight times logit.
    score: f64,
}

impl Running {
    const START: Self = Self { top: f32::NEG_INFINITY, sum: 0.0, score: 0.0 };

    fn absorb(&mut self, x: &[f32], score: f64) {
        let top = self.top.max(largest(x));
        // Where all are −∞ nothing may be subtracted; a NaN is seen by the sum.
        let from = if top == f32::NEG_INFINITY { 0.0 } else { top };
        self.sum = self.sum * (self.top - from).exp() + exponentials(x, from);
        self.top = top;
        self.score += score;
    }

    fn loss(&self, weight: f32) -> f64 {
        let level = f64::from(self.top) + f64::from(self.sum).ln();
        f64::from(weight) * level - self.score
    }
}

/// The rows and columns of the logits, what they are compared with, and what is known of each row.
#[derive(Debug)]
pub(super) struct Compared {
    width: usize,
    targets: Targets,
    pub(super) rows: Vec<Running>,
}

impl Compared {
    pub(super) fn new(rows: usize, width: usize, targets: Targets) -> Self {
        Self { width, targets, rows: vec![Running::START; rows] }
    }

    /// Takes in the logits of the classes from `first` on: (rows, some).
    pub(super) fn absorb(&mut self, first: usize, logits: &[f32]) {
        let (width, targets) = (self.width, &self.targets);
        let count = (logits.len() / self.rows.len().max(1)).max(1);
        each(parts(&mut self.rows, 1), block_of_rows(count) / count, |row, running| {
            if let Some(x) = logits.get(row * count..(row + 1) * count) {
                running[0].absorb(x, targets.score(row, width, first, x));
            }
        });
    }

    /// The sum of the losses of all rows that count.
    fn loss(&self) -> f32 {
        let one = |(row, running): (usize, &Running)| {
            Some(running.loss(self.targets.weight(row, self.width)?))
        };
        self.rows.iter().enumerate().filter_map(one).sum::<f64>() as f32
    }

    /// Turns logits of a row, from class `first` on, into their gradients.
    pub(super) fn slope(&self, row: usize, first: usize, scale: f32, x: &mut [f32]) {
        let Some(weight) = self.targets.weight(row, self.width) else { return x.fill(0.0) };
        let Running { top, sum, .. } = self.rows[row];
        to_probabilities(x, top, scale * weight / sum);
        self.targets.subtract(row, self.width, first, scale, x);
    }

    /// The value of an operation that was computed before it entered the graph.
    pub(super) fn value(&self) -> (CpuStorage, Shape) {
        (CpuStorage::F32(vec![self.loss()]), Shape::from(()))
    }
}

/// The sum over the rows of `logits` (…, C) of their cross-entropy with `targets`: a scalar.
pub(crate) fn cross_entropy(logits: &Tensor, targets: Targets) -> Result<Tensor> {
    let width = logits.dims().last().copied().unwrap_or(1).max(1);
    let mut compared = Compared::new(logits.elem_count() / width, width, targets);
    read(logits, |logits| compared.absorb(0, logits))?;
    apply1(logits, OfLogits(compared))
}

struct OfLogits(Compared);

impl CustomOp1 for OfLogits {
    fn name(&self) -> &'static str {
        "cross-entropy"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok(self.0.value())
    }

    fn bwd(&self, logits: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let (scale, width) = (grad.to_scalar::<f32>()?, self.0.width);
        let block = block_of_rows(width);
        let out = read(logits, |x| {
            filled(x.len(), block, |i, out| {
                out.copy_from_slice(&x[i * block..][..out.len()]);
                for (row, out) in (i * block / width..).zip(out.chunks_exact_mut(width)) {
                    self.0.slope(row, 0, scale, out);
                }
            })
        })?;
        Ok(Some(tensor(out, logits)?))
    }
}
