//! What a decoder remembers of the tokens so far, so that each is read once.

use candle::{DType, Tensor};

use crate::nn::KeyValues;
use crate::{Error, Result};

/// Keys and values of every layer for a batch of texts that grow together; empty at first.
#[derive(Debug, Default)]
pub struct Cache {
    layers: Vec<KeyValues>,
    len: usize,
    rows: usize,
    /// Which of the tokens so far are real, (B, M); `None` when all are.
    mask: Option<Tensor>,
}

impl Cache {
    /// Tokens so far, padding included.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing was read yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Forgets all tokens after the first `len`.
    pub fn truncate(&mut self, len: usize) -> Result<()> {
        self.len = self.len.min(len);
        self.layers.iter_mut().for_each(|layer| layer.truncate(self.len));
        if let Some(mask) = &mut self.mask {
            *mask = mask.narrow(1, 0, self.len)?;
        }
        Ok(())
    }

    /// Keeps the texts at these places of the batch, in this order; one may come several times.
    pub fn choose(&mut self, rows: &[u32]) -> Result<()> {
        if let Some(row) = rows.iter().find(|row| **row as usize >= self.rows) {
            let why = format!("found {row}, expected less than the {} of the batch", self.rows);
            return Err(Error::value("row", why));
        }
        self.rows = rows.len();
        for layer in &mut self.layers {
            layer.choose(rows)?;
        }
        if let Some(mask) = &mut self.mask {
            *mask = mask.index_select(&Tensor::new(rows, mask.device())?, 0)?;
        }
        Ok(())
    }

    /// Makes place for the tokens `x` (B, N, D), and gives the mask of all (B, M), if there is one.
    pub(super) fn extend(
        &mut self,
        depth: usize,
        x: &Tensor,
        mask: Option<&Tensor>,
    ) -> Result<Option<Tensor>> {
        let (rows, tokens, _) = x.dims3()?;
        if self.is_empty() {
            let layer = |_| KeyValues::default();
            (self.layers, self.rows) = ((0..depth).map(layer).collect(), rows);
        }
        if rows != self.rows {
            return Err(Error::shape("token vectors", format!("({}, N, D)", self.rows), x.dims()));
        }
        if let Some(mask) = mask.filter(|mask| mask.dims() != [rows, tokens]) {
            return Err(Error::shape("mask", format!("({rows}, {tokens})"), mask.dims()));
        }
        if self.mask.is_some() || mask.is_some() {
            let all = |tokens| Tensor::ones((rows, tokens), DType::U8, x.device());
            let old = self.mask.take().map_or_else(|| all(self.len), Ok)?;
            let new = mask.map_or_else(|| all(tokens), |mask| mask.ne(&mask.zeros_like()?))?;
            self.mask = Some(Tensor::cat(&[old, new], 1)?);
        }
        self.len += tokens;
        Ok(self.mask.clone())
    }

    pub(super) fn layers_mut(&mut self) -> &mut [KeyValues] {
        &mut self.layers
    }
}
