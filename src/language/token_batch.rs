//! Texts as numbers, side by side.

use candle::{Device, Tensor};

use crate::Result;

/// Token numbers of some texts, padded on the right to the longest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenBatch {
    /// Token numbers, text by text: rows × columns of them.
    pub ids: Vec<u32>,
    /// 1 on real tokens, 0 on padding.
    pub mask: Vec<u32>,
    /// Texts.
    pub rows: usize,
    /// Tokens of the longest.
    pub columns: usize,
}

impl TokenBatch {
    /// Numbers and mask as integer tensors (B, T).
    pub fn to_tensors(&self, device: &Device) -> Result<(Tensor, Tensor)> {
        let shape = (self.rows, self.columns);
        let ids = Tensor::from_slice(&self.ids, shape, device)?;
        Ok((ids, Tensor::from_slice(&self.mask, shape, device)?))
    }

    /// How many tokens text `row` has.
    pub fn length(&self, row: usize) -> usize {
        let row = row * self.columns..(row + 1) * self.columns;
        self.mask.get(row).map_or(0, |mask| mask.iter().filter(|&&m| m == 1).count())
    }
}
