//! Positions of tokens and sizes of what they stand for: sines and cosines, and the resizing of
//! learned tables.
//!
//! Source: He et al. 2021, "Masked Autoencoders Are Scalable Vision Learners", arXiv:2111.06377
//! (the order of the features); Keys 1981, "Cubic convolution interpolation for digital image
//! processing" (bicubic).

use candle::{Device, Tensor};

use crate::{Error, Result};

/// Positions 0..`n` on one axis, (N, D): sines, then cosines.
pub fn sincos_1d(dim: usize, n: usize, device: &Device) -> Result<Tensor> {
    check_dim(dim, 2)?;
    let rows = (0..n).flat_map(|place| waves(dim, place as f64)).collect();
    table(rows, n, dim, device)
}

/// Positions on an `h` × `w` grid, row by row, (h·w, D): the column's features, then the row's.
pub fn sincos_2d(dim: usize, h: usize, w: usize, device: &Device) -> Result<Tensor> {
    check_dim(dim, 4)?;
    let mut rows = Vec::with_capacity(h * w * dim);
    for row in 0..h {
        for column in 0..w {
            rows.extend(waves(dim / 2, column as f64));
            rows.extend(waves(dim / 2, row as f64));
        }
    }
    table(rows, h * w, dim, device)
}

/// Sizes in mm along (slices, rows, columns) as features (B, D), one row for each triple: a third
/// of them, rounded down to even, for rows and as many for columns; slices come first and have the
/// rest. Each part is laid out as in [`sincos_1d`].
pub fn sincos_sizes(dim: usize, sizes: &[[f64; 3]], device: &Device) -> Result<Tensor> {
    check_dim(dim, 2)?;
    let side = dim / 6 * 2;
    let row = |[slice, row, column]: &[f64; 3]| {
        waves(dim - 2 * side, *slice).chain(waves(side, *row)).chain(waves(side, *column))
    };
    table(sizes.iter().flat_map(row).collect(), sizes.len(), dim, device)
}

/// Whether shrinking averages over all source pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Antialias {
    /// Four taps on each axis, whatever the scale.
    #[default]
    Off,
    /// The kernel widens when the grid shrinks.
    On,
}

/// Resizes a learned `table` (prefix + h·w, D) `from` (h, w) `to` another grid.
///
/// The first `prefix` rows (class and register tokens) stay. Equal to PyTorch's
/// `interpolate(mode="bicubic", align_corners=False)`, gradient included.
pub fn interpolate_bicubic(
    table: &Tensor,
    from: (usize, usize),
    to: (usize, usize),
    prefix: usize,
    antialias: Antialias,
) -> Result<Tensor> {
    let (rows, dim) = table.dims2()?;
    if rows != prefix + from.0 * from.1 || rows == prefix {
        let expected = format!("({prefix} + {} · {}, D)", from.0, from.1);
        return Err(Error::shape("position table", expected, table.dims()));
    }
    if from == to {
        return Ok(table.clone());
    }
    let grid = table.narrow(0, prefix, rows - prefix)?;
    let vertical = cubic_matrix(from.0, to.0, antialias, table)?; // (h', h)
    let horizontal = cubic_matrix(from.1, to.1, antialias, table)?; // (w', w)
    let grid = vertical.matmul(&grid.reshape((from.0, from.1 * dim))?)?; // (h', w·D)
    let grid = grid.reshape((to.0, from.1, dim))?.transpose(0, 1)?; // (w, h', D)
    let grid = horizontal.matmul(&grid.reshape((from.1, to.0 * dim))?)?; // (w', h'·D)
    let grid = grid.reshape((to.1, to.0, dim))?.transpose(0, 1)?;
    let grid = grid.reshape((to.0 * to.1, dim))?;
    if prefix == 0 {
        return Ok(grid);
    }
    Ok(Tensor::cat(&[&table.narrow(0, 0, prefix)?, &grid], 0)?)
}

/// The matrix (`to`, `from`) of cubic resampling on one axis.
fn cubic_matrix(from: usize, to: usize, antialias: Antialias, like: &Tensor) -> Result<Tensor> {
    let mut matrix = vec![0.0; to * from];
    let scale = from as f64 / to as f64;
    for (i, row) in matrix.chunks_exact_mut(from).enumerate() {
        match antialias {
            Antialias::Off => four_taps(row, (i as f64 + 0.5) * scale - 0.5),
            Antialias::On => wide_taps(row, (i as f64 + 0.5) * scale, scale.max(1.0)),
        }
    }
    let matrix = Tensor::from_vec(matrix, (to, from), &Device::Cpu)?;
    Ok(matrix.to_dtype(like.dtype())?.to_device(like.device())?)
}

fn four_taps(row: &mut [f64], centre: f64) {
    let first = centre.floor();
    let last = row.len() as f64 - 1.0;
    for tap in -1..=2 {
        let place = first + f64::from(tap);
        row[place.clamp(0.0, last) as usize] += cubic(centre - place, -0.75);
    }
}

fn wide_taps(row: &mut [f64], centre: f64, scale: f64) {
    let start = (centre - 2.0 * scale + 0.5).max(0.0) as usize;
    let end = ((centre + 2.0 * scale + 0.5) as usize).min(row.len());
    for (j, weight) in row.iter_mut().enumerate().take(end).skip(start) {
        *weight = cubic((j as f64 - centre + 0.5) / scale, -0.5);
    }
    let sum: f64 = row.iter().sum();
    for weight in row {
        *weight /= sum;
    }
}

/// Keys' cubic kernel with parameter `a`.
fn cubic(x: f64, a: f64) -> f64 {
    let x = x.abs();
    if x <= 1.0 {
        ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        a * (((x - 5.0) * x + 8.0) * x - 4.0)
    } else {
        0.0
    }
}

fn waves(dim: usize, place: f64) -> impl Iterator<Item = f32> {
    let half = dim / 2;
    let angle = move |i: usize| place / 10_000f64.powf(i as f64 / half as f64);
    let sines = (0..half).map(move |i| angle(i).sin() as f32);
    sines.chain((0..half).map(move |i| angle(i).cos() as f32))
}

fn table(rows: Vec<f32>, n: usize, dim: usize, device: &Device) -> Result<Tensor> {
    Ok(Tensor::from_vec(rows, (n, dim), device)?)
}

fn check_dim(dim: usize, divisor: usize) -> Result<()> {
    if dim == 0 || !dim.is_multiple_of(divisor) {
        let why = format!("found {dim}, expected a multiple of {divisor}");
        return Err(Error::value("position features", why));
    }
    Ok(())
}
