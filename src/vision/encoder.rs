//! What every image encoder gives: tokens on a grid.

use candle::Tensor;

use crate::Result;
use crate::nn::Pass;

/// The tokens of a batch of films, row by row.
#[derive(Clone, Debug)]
pub struct TokenGrid {
    /// One token for each cell of the grid, (B, h·w, D).
    pub tokens: Tensor,
    /// Cells along (rows, columns): h and w.
    pub grid: (usize, usize),
    /// One vector for the whole film, (B, D), when the encoder makes one.
    pub pooled: Option<Tensor>,
}

impl TokenGrid {
    /// The same values, cut off from the graph that made them.
    #[must_use]
    pub fn detach(&self) -> Self {
        let pooled = self.pooled.as_ref().map(Tensor::detach);
        Self { tokens: self.tokens.detach(), grid: self.grid, pooled }
    }
}

/// A model from films to tokens.
pub trait VisionEncoder: Send + Sync {
    /// Encodes `pixels` (B, C, H, W).
    fn forward(&self, pixels: &Tensor, pass: &Pass) -> Result<TokenGrid>;

    /// Features of a token.
    fn dim(&self) -> usize;
}
