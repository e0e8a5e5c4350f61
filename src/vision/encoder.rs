//! What every image encoder gives: tokens on a grid.

use candle::Tensor;

use crate::nn::{Pass, Shadow};
use crate::{Error, Result};

/// The tokens of a batch of films or volumes, slice by slice and row by row.
#[derive(Clone, Debug)]
pub struct TokenGrid {
    /// One token for each cell of the grid, (B, d·h·w, D).
    pub tokens: Tensor,
    /// Cells along (slices, rows, columns): d, h and w. A film is one slice.
    pub grid: [usize; 3],
    /// Millimetres of a cell along (slices, rows, columns), for each film or volume whose voxels'
    /// sizes were given; those of a film's slice mean nothing.
    pub spacing: Option<Vec<[f64; 3]>>,
    /// One vector for the whole film or volume, (B, D), when the encoder makes one.
    pub pooled: Option<Tensor>,
}

impl TokenGrid {
    /// The places of a feature map (B, D, h, w) as tokens.
    pub fn of_map(map: &Tensor) -> Result<Self> {
        let (_, _, h, w) = map.dims4()?;
        let tokens = map.flatten_from(2)?.transpose(1, 2)?; // (B, h·w, D)
        Ok(Self::of_film(tokens, (h, w)))
    }

    /// Tokens (B, h·w, D) of films on a grid of (rows, columns).
    pub(super) fn of_film(tokens: Tensor, (h, w): (usize, usize)) -> Self {
        Self { tokens, grid: [1, h, w], spacing: None, pooled: None }
    }

    /// The same tokens of `pixels` (B, C, …, H, W) whose voxels have these sizes in mm.
    pub(super) fn spaced(self, pixels: &Tensor, voxels: &[[f64; 3]]) -> Self {
        let sides = &pixels.dims()[2..];
        let cell = |voxel: &[f64; 3]| {
            let mut cell = *voxel;
            for (axis, side) in (0..3).rev().zip(sides.iter().rev()) {
                cell[axis] *= *side as f64 / self.grid[axis] as f64;
            }
            cell
        };
        Self { spacing: Some(voxels.iter().map(cell).collect()), ..self }
    }

    /// The same values, cut off from the graph that made them.
    #[must_use]
    pub fn detach(&self) -> Self {
        let pooled = self.pooled.as_ref().map(Tensor::detach);
        Self { tokens: self.tokens.detach(), pooled, ..self.clone() }
    }
}

/// A model from films or volumes to tokens.
pub trait VisionEncoder: Send + Sync {
    /// Encodes films (B, C, H, W) or volumes (B, C, S, H, W).
    fn forward(&self, pixels: &Tensor, pass: &Pass) -> Result<TokenGrid>;

    /// As [`Self::forward`] where the size of a voxel is known: `voxels` are its mm along (slices,
    /// rows, columns), one triple for each film or volume. Most encoders do not look at them.
    fn forward_sized(
        &self,
        pixels: &Tensor,
        voxels: &[[f64; 3]],
        pass: &Pass,
    ) -> Result<TokenGrid> {
        check_voxels(pixels, voxels)?;
        Ok(self.forward(pixels, pass)?.spaced(pixels, voxels))
    }

    /// The memory of [`Self::forward`], up to the tokens (B, d·h·w, D).
    fn trace(&self, pixels: &Shadow, pass: &Pass) -> Result<Shadow>;

    /// Features of a token.
    fn dim(&self) -> usize;
}

/// The memory of [`TokenGrid::of_map`].
pub(super) fn trace_of_map(map: &Shadow) -> Result<Shadow> {
    let &[batch, channels, height, width] = map.dims() else {
        return Err(Error::shape("feature map", "(B, C, H, W)", map.dims()));
    };
    Ok(map.turned(&[batch, height * width, channels]))
}

/// Refuses what is not (B, `channels`, H, W).
pub(super) fn check_channels(pixels: &Tensor, channels: usize) -> Result<()> {
    match pixels.dims() {
        [_, found, _, _] if *found == channels => Ok(()),
        got => Err(Error::shape("pixels", format!("(B, {channels}, H, W)"), got)),
    }
}

/// Refuses voxel sizes that the volumes cannot have.
pub(super) fn check_voxels(pixels: &Tensor, voxels: &[[f64; 3]]) -> Result<()> {
    let count = pixels.dims().first().copied().unwrap_or(0);
    if voxels.len() != count {
        let why = format!("found {} triples, expected one for each of {count}", voxels.len());
        return Err(Error::value("voxel sizes", why));
    }
    let possible = |mm: &f64| mm.is_finite() && *mm > 0.0;
    match voxels.iter().find(|voxel| !voxel.iter().all(possible)) {
        Some(found) => {
            let why = format!("found {found:?}, expected mm along (slices, rows, columns)");
            Err(Error::value("voxel sizes", why))
        }
        None => Ok(()),
    }
}
