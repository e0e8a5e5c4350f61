//! One vector for a text from the vectors of its tokens.
//!
//! Source: Reimers and Gurevych 2019, "Sentence-BERT", arXiv:1908.10084.

use candle::{D, Tensor};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// How the tokens of a text become one vector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TextPooling {
    /// The mean of the real tokens.
    #[default]
    Mean,
    /// The first token.
    Class,
    /// The last real token.
    Last,
}

impl TextPooling {
    /// Maps `tokens` (B, T, D) to (B, D); `mask` (B, T) is 1 on real tokens, which come first.
    pub fn apply(self, tokens: &Tensor, mask: &Tensor) -> Result<Tensor> {
        let (batch, count, _) = tokens.dims3()?;
        if mask.dims() != [batch, count] {
            let expected = format!("({batch}, {count})");
            return Err(Error::shape("text mask", expected, mask.dims()));
        }
        let mask = mask.to_dtype(tokens.dtype())?;
        let weights = match self {
            Self::Class => return Ok(tokens.narrow(1, 0, 1)?.squeeze(1)?),
            Self::Mean => {
                let real = mask.sum_keepdim(1)?.maximum(1.0)?; // an empty text divides by one
                mask.broadcast_div(&real)?
            }
            Self::Last => {
                let zero = mask.narrow(1, 0, 1)?.zeros_like()?;
                let next = Tensor::cat(&[&mask.narrow(1, 1, count - 1)?, &zero], 1)?;
                (&mask - (&mask * next)?)?
            }
        };
        let weights = weights.unsqueeze(1)?; // (B, 1, T)
        Ok(weights.matmul(&tokens.contiguous()?)?.squeeze(1)?)
    }
}

/// Scales each row of `x` (B, D) to length one; a row of zeros stays.
pub(super) fn normalise(x: &Tensor) -> Result<Tensor> {
    let length = x.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?.maximum(1e-12)?;
    Ok(x.broadcast_div(&length)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle::Device;

    #[test]
    fn padding_counts_in_no_way_of_pooling() {
        let tokens = [[[1f32, 2.0], [3.0, 6.0], [9.0, 9.0]], [[5.0, 5.0], [0.0, 0.0], [8.0, 8.0]]];
        let tokens = Tensor::new(&tokens, &Device::Cpu).unwrap();
        let mask = Tensor::new(&[[1u32, 1, 0], [1, 0, 0]], &Device::Cpu).unwrap();
        let pool = |how: TextPooling| {
            how.apply(&tokens, &mask).unwrap().to_vec2::<f32>().unwrap().concat()
        };
        assert_eq!(pool(TextPooling::Mean), [2.0, 4.0, 5.0, 5.0]);
        assert_eq!(pool(TextPooling::Class), [1.0, 2.0, 5.0, 5.0]);
        assert_eq!(pool(TextPooling::Last), [3.0, 6.0, 5.0, 5.0]);
    }

    #[test]
    fn a_text_without_a_real_token_gives_zeros_not_nan() {
        let tokens = Tensor::ones((1, 2, 2), candle::DType::F32, &Device::Cpu).unwrap();
        let mask = Tensor::zeros((1, 2), candle::DType::U32, &Device::Cpu).unwrap();
        let pooled = TextPooling::Mean.apply(&tokens, &mask).unwrap();
        let unit = normalise(&pooled).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(unit, [[0.0, 0.0]]);
    }
}
