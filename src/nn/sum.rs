//! Where branches meet.

use candle::Tensor;

use super::{Shadow, Work};
use crate::{Error, Result, kernels};

/// `x` plus `y`, of one shape.
///
/// While a tape records, use this and not candle's sum for what runs on through a model: candle's
/// would join all layers to one graph.
pub fn sum(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    Ok(kernels::sum(x, y)?)
}

/// `x` (B, N, …) and behind it `y` (B, M, …): (B, N + M, …).
///
/// As for [`sum`], use this and not candle's for what runs on through a model.
pub fn join(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    let (a, b) = (x.dims(), y.dims());
    let alike = a.len() == b.len() && a.len() > 1 && a[0] == b[0] && a[2..] == b[2..];
    if !alike {
        return Err(Error::shape("joined", format!("{a:?} but for the second axis"), b));
    }
    if kernels::serve(&[x, y]) {
        return Ok(kernels::join(x, y)?);
    }
    Ok(Tensor::cat(&[x, y], 1)?)
}

/// The memory of [`join`].
pub(crate) fn trace_join(x: &Shadow, y: &Shadow) -> Shadow {
    let mut dims = x.dims().to_vec();
    dims[1] += y.dims()[1];
    Shadow::made(&dims, &[x, y], Work::default())
}

#[cfg(test)]
mod tests {
    use candle::{DType, Device};

    use super::*;
    use crate::nn::testing::check_gradients;

    #[test]
    fn joined_parts_have_true_gradients_and_must_fit() {
        check_gradients(&[&[2, 3, 4], &[2, 1, 4]], |x, _| join(&x[0], &x[1]));
        check_gradients(&[&[3, 2], &[3, 5]], |x, _| join(&x[0], &x[1]));
        check_gradients(&[&[2, 3, 2, 2], &[2, 1, 2, 2]], |x, _| join(&x[0], &x[1]));
        let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
        for (x, y) in [([0, 3, 4], [0, 2, 4]), ([2, 0, 4], [2, 2, 4]), ([2, 3, 0], [2, 2, 0])] {
            let joined = join(&zeros(&x), &zeros(&y)).unwrap();
            assert_eq!(joined.dims(), [x[0], x[1] + y[1], x[2]]);
        }
        let error = join(&zeros(&[2, 3, 4]), &zeros(&[2, 3, 5])).unwrap_err().to_string();
        assert_eq!(
            error,
            "joined: expected shape [2, 3, 4] but for the second axis, got [2, 3, 5]"
        );
        assert!(join(&zeros(&[2]), &zeros(&[2])).is_err());
    }
}
