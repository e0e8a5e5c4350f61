//! Cross-entropy, of logits and of the states that a language-model head maps to them.

use candle::{D, DType, Tensor};
use candle_nn::ops::log_softmax;

use super::composed::wide;
use super::half::widened;
use super::linear;
use crate::kernels::{Classes, Targets};
use crate::{Error, Result, kernels};

/// What a cross-entropy counts, and how much.
#[derive(Clone, Copy, Debug)]
pub struct CrossEntropy<'a> {
    /// Rows of this target do not count; −100 in PyTorch.
    pub ignored: i64,
    /// The part of a target, in [0, 1), that is spread over all classes.
    ///
    /// Source: Szegedy et al. 2015, "Rethinking the Inception Architecture", arXiv:1512.00567.
    pub smoothing: f64,
    /// The factor of each class (C); all 1 when absent.
    pub weights: Option<&'a Tensor>,
}

impl Default for CrossEntropy<'_> {
    fn default() -> Self {
        Self { ignored: -100, smoothing: 0.0, weights: None }
    }
}

impl CrossEntropy<'_> {
    /// The mean, over the rows that count, of the cross-entropy of `logits` (…, C) with the
    /// integers `targets` (…): a scalar. With weights the mean is weighted, as in PyTorch.
    ///
    /// A row that does not count learns nothing, whatever its logits are.
    ///
    /// # Errors
    /// When no row counts, or a target is no class.
    pub fn of_logits(&self, logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
        let of_logits = |[logits]: [&Tensor; 1]| self.of_logits(logits, targets);
        if let Some(loss) = widened("cross-entropy", [("logits", logits)], of_logits)? {
            return Ok(loss);
        }
        let count = last(logits, "logits", "C")?;
        let rows = self.rows(targets, logits, count)?;
        if kernels::serve(&[logits]) {
            let targets = Targets::Classes(self.kernel(rows.classes, count)?);
            return Ok((kernels::cross_entropy(logits, targets)? / rows.divisor)?);
        }
        let logits = logits.reshape(((), count))?;
        let (logits, classes) = rows.counted(&logits)?;
        let log_p = log_softmax(&wide(&logits)?.contiguous()?, D::Minus1)?;
        let weights = self.weights.map(|weights| weights.to_dtype(log_p.dtype())).transpose()?;
        let own = log_p.gather(&classes.unsqueeze(1)?, 1)?.squeeze(1)?;
        let own = match &weights {
            Some(weights) => (own * weights.index_select(&classes, 0)?)?.sum_all()?,
            None => own.sum_all()?,
        };
        let all = match &weights {
            Some(weights) => log_p.broadcast_mul(weights)?.sum_all()?,
            None => log_p.sum_all()?,
        };
        let spread = self.smoothing / count as f64;
        let sum = ((own * (self.smoothing - 1.0))? - (all * spread)?)?;
        Ok((sum / rows.divisor)?.to_dtype(logits.dtype())?)
    }

    /// As [`Self::of_logits`] for the logits that `weight` (C, D) and `bias` (C) make of `hidden`
    /// (…, D). On the CPU they are never held at once, and rows that do not count cost nothing.
    pub fn of_states(
        &self,
        hidden: &Tensor,
        weight: &Tensor,
        bias: Option<&Tensor>,
        targets: &Tensor,
    ) -> Result<Tensor> {
        let (count, dim) = weight.dims2()?;
        if count == 0 || dim == 0 {
            return Err(Error::shape("head weight", "(C, D) without zeros", weight.dims()));
        }
        if last(hidden, "hidden states", &dim.to_string())? != dim {
            return Err(Error::shape("hidden states", format!("(…, {dim})"), hidden.dims()));
        }
        if let Some(bias) = bias.filter(|bias| bias.dims() != [count]) {
            return Err(Error::shape("head bias", format!("({count})"), bias.dims()));
        }
        let loss = if let Some(bias) = bias {
            let parts = [("hidden states", hidden), ("head weight", weight), ("head bias", bias)];
            widened("cross-entropy", parts, |[h, w, b]| self.of_states(h, w, Some(b), targets))?
        } else {
            let parts = [("hidden states", hidden), ("head weight", weight)];
            widened("cross-entropy", parts, |[h, w]| self.of_states(h, w, None, targets))?
        };
        if let Some(loss) = loss {
            return Ok(loss);
        }
        let rows = self.rows(targets, hidden, count)?;
        let (hidden, classes) = rows.counted(&hidden.reshape(((), dim))?)?;
        let served = [Some(&hidden), Some(weight), bias];
        if !served.into_iter().flatten().all(|x| kernels::serve(&[x])) {
            return self.of_logits(&linear(&hidden, weight, bias)?, &classes);
        }
        let classes = rows.classes.into_iter().flatten().map(Some).collect();
        let targets = Targets::Classes(self.kernel(classes, count)?);
        Ok((kernels::linear_cross_entropy(&hidden, weight, bias, targets)? / rows.divisor)?)
    }

    fn kernel(&self, classes: Vec<Option<u32>>, count: usize) -> Result<Classes> {
        Ok(Classes::new(classes, count, self.smoothing, self.factors()?))
    }

    fn factors(&self) -> Result<Option<Vec<f32>>> {
        let one = |weights: &Tensor| weights.to_dtype(DType::F32)?.to_vec1::<f32>();
        Ok(self.weights.map(one).transpose()?)
    }

    fn rows(&self, targets: &Tensor, x: &Tensor, count: usize) -> Result<Rows> {
        let expected = &x.dims()[..x.rank() - 1];
        if targets.dims() != expected {
            return Err(Error::shape("targets", format!("{expected:?}"), targets.dims()));
        }
        if !targets.dtype().is_int() {
            let why = format!("found {}, expected integers", targets.dtype().as_str());
            return Err(Error::value("targets", why));
        }
        if let Some(weights) = self.weights.filter(|weights| weights.dims() != [count]) {
            return Err(Error::shape("class weights", format!("({count})"), weights.dims()));
        }
        if !(0.0..1.0).contains(&self.smoothing) {
            let why = format!("found {}, expected at least 0 and below 1", self.smoothing);
            return Err(Error::value("label smoothing", why));
        }
        let targets = targets.to_dtype(DType::I64)?.flatten_all()?.to_vec1::<i64>()?;
        let class = |(row, target): (usize, i64)| match u32::try_from(target) {
            _ if target == self.ignored => Ok(None),
            Ok(class) if (class as usize) < count => Ok(Some(class)),
            _ => {
                let (most, ignored) = (count - 1, self.ignored);
                let why = format!("found {target} in row {row}, expected 0 to {most} or {ignored}");
                Err(Error::value("targets", why))
            }
        };
        let classes = targets.into_iter().enumerate().map(class).collect::<Result<Vec<_>>>()?;
        let factors = self.factors()?;
        let factor =
            |class: u32| factors.as_ref().map_or(1.0, |all| f64::from(all[class as usize]));
        let divisor = classes.iter().flatten().map(|class| factor(*class)).sum::<f64>();
        if divisor == 0.0 {
            return Err(Error::Training("no target of a batch counts; use larger batches".into()));
        }
        Ok(Rows { classes, divisor })
    }
}

/// The classes of all rows, and what their sum is divided by.
struct Rows {
    classes: Vec<Option<u32>>,
    divisor: f64,
}

impl Rows {
    /// The rows of `x` (R, …) that count, and their classes.
    fn counted(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let classes: Vec<u32> = self.classes.iter().flatten().copied().collect();
        let count = classes.len();
        let classes = Tensor::from_vec(classes, count, x.device())?;
        if count == self.classes.len() {
            return Ok((x.clone(), classes));
        }
        let rows = (0u32..).zip(&self.classes).filter_map(|(row, class)| class.map(|_| row));
        let rows = Tensor::from_vec(rows.collect::<Vec<u32>>(), count, x.device())?;
        Ok((x.index_select(&rows, 0)?, classes))
    }
}

/// The sum over the rows of `logits` (R, C) of their cross-entropy with `shares` (R, C), weights
/// that learn nothing: a scalar.
pub fn shared_cross_entropy(logits: &Tensor, shares: &Tensor) -> Result<Tensor> {
    if logits.dims() != shares.dims() || logits.rank() == 0 {
        let expected = format!("{:?}", logits.dims());
        return Err(Error::shape("target shares", expected, shares.dims()));
    }
    let parts = [("logits", logits), ("target shares", shares)];
    if let Some(sum) = widened("cross-entropy", parts, |[x, t]| shared_cross_entropy(x, t))? {
        return Ok(sum);
    }
    if kernels::serve(&[logits, shares]) && !shares.track_op() {
        let shares = kernels::read(shares, <[f32]>::to_vec)?;
        return Ok(kernels::cross_entropy(logits, Targets::Shares(shares))?);
    }
    let log_p = log_softmax(&wide(logits)?.contiguous()?, D::Minus1)?;
    Ok((wide(shares)? * log_p)?.sum_all()?.neg()?.to_dtype(logits.dtype())?)
}

fn last(x: &Tensor, what: &str, name: &str) -> Result<usize> {
    match x.dims().last() {
        Some(&count) if count > 0 => Ok(count),
        _ => Err(Error::shape(what, format!("(…, {name})"), x.dims())),
    }
}
