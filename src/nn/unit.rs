//! Vectors at length one.

use candle::{D, Tensor};

use super::composed::wide;
use super::{Shadow, Work};
use crate::Result;

/// `x` (…, D) in float32 at length one along its last axis; zeros stay zeros.
pub fn unit(x: &Tensor) -> Result<Tensor> {
    let x = wide(x)?;
    let norm = (x.sqr()?.sum_keepdim(D::Minus1)? + 1e-12)?.sqrt()?;
    Ok(x.broadcast_div(&norm)?)
}

/// The memory of [`unit`].
pub(crate) fn trace_unit(x: &Shadow) -> Shadow {
    let squares = Shadow::made(x.dims(), &[x], Work::default());
    Shadow::made(x.dims(), &[x, &squares], Work::default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::testing::check_gradients;

    #[test]
    fn unit_vectors_have_true_gradients_and_zeros_stay() {
        check_gradients(&[&[3, 2, 4]], |x, _| unit(&x[0]));
        let zeros = Tensor::zeros((1, 3), candle::DType::F32, &candle::Device::Cpu).unwrap();
        assert_eq!(unit(&zeros).unwrap().to_vec2::<f32>().unwrap(), [[0.0; 3]]);
    }
}
