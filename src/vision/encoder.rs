//! What every image encoder gives: tokens on a grid.

use candle::Tensor;

use crate::nn::{Pass, Shadow};
use crate::{Error, Result};

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
    /// The places of a feature map (B, D, h, w) as tokens.
    pub fn of_map(map: &Tensor) -> Result<Self> {
        let (_, _, h, w) = map.dims4()?;
        let tokens = map.flatten_from(2)?.transpose(1, 2)?; // (B, h·w, D)
        Ok(Self { tokens, grid: (h, w), pooled: None })
    }

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

    /// The memory of [`Self::forward`], up to the tokens (B, h·w, D).
    fn trace(&self, _: &Shadow, _: &Pass) -> Result<Shadow> {
        Err(Error::value("plan", "the image encoder does not say what it holds in memory"))
    }

    /// Features of a token.
    fn dim(&self) -> usize;
}

/// Refuses what is not (B, `channels`, H, W).
pub(super) fn check_channels(pixels: &Tensor, channels: usize) -> Result<()> {
    match pixels.dims() {
        [_, found, _, _] if *found == channels => Ok(()),
        got => Err(Error::shape("pixels", format!("(B, {channels}, H, W)"), got)),
    }
}
