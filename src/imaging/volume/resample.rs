//! Volumes turned, and on finer or coarser grids.

use ndarray::parallel::prelude::*;
use ndarray::{Array3, ArrayView2, ArrayView3, Axis};

use super::{Volume, room};
use crate::imaging::Kernel;
use crate::imaging::grid::{Turn, check_shape};
use crate::{Error, Result};

impl Volume {
    /// The volume with x, y, z pointing where three letters say (`LPS`: left, back, head);
    /// values move, none is made up.
    pub fn reorient(&self, letters: &str) -> Result<Self> {
        let turn = self.grid.turn_to(letters)?;
        let grid = self.grid.turned(turn);
        let step = format!("turned from {} to {}", self.grid.orientation(), grid.orientation());
        Ok(self.became(turned(self.voxels.view(), turn)?, grid, step))
    }

    /// The same box as (depth, height, width) voxels, trilinearly or by the nearest voxel.
    ///
    /// Places are those of `torch.nn.functional.interpolate` with `align_corners=False`, which for
    /// the nearest voxel is its `nearest-exact`; nothing is smoothed before it shrinks.
    pub fn resize(&self, shape: [usize; 3], kernel: Kernel) -> Result<Self> {
        let grid = self.grid.resized(check(shape)?);
        let step = format!(
            "resized from {} x {} x {} to {} x {} x {}, {}",
            self.grid.shape[0],
            self.grid.shape[1],
            self.grid.shape[2],
            shape[0],
            shape[1],
            shape[2],
            name(kernel)
        );
        Ok(self.became(resized(&self.voxels, shape, kernel)?, grid, step))
    }

    /// The same box with a spacing (z, y, x) as near to the one asked for as whole voxels allow;
    /// the grid states the true one.
    pub fn resample(&self, spacing: [f64; 3], kernel: Kernel) -> Result<Self> {
        if !spacing.iter().all(|s| s.is_finite() && *s > 0.0) {
            let why = format!("expected three lengths in mm (z, y, x), found {spacing:?}");
            return Err(Error::value("spacing", why));
        }
        let shape = std::array::from_fn(|axis| {
            let length = self.grid.shape[axis] as f64 * self.grid.spacing[axis];
            ((length / spacing[axis]).round() as usize).max(1)
        });
        self.resize(shape, kernel)
    }
}

fn check(shape: [usize; 3]) -> Result<[usize; 3]> {
    check_shape("new size", shape).map(|()| shape)
}

fn name(kernel: Kernel) -> &'static str {
    if kernel == Kernel::Nearest { "nearest" } else { "trilinear" }
}

/// The values seen after a turn, where they are.
pub(in crate::imaging) fn turned_view<T>(
    values: ArrayView3<'_, T>,
    turn: Turn,
) -> ArrayView3<'_, T> {
    let mut view = values.permuted_axes(turn.from);
    for (axis, flip) in turn.flip.into_iter().enumerate() {
        if flip {
            view.invert_axis(Axis(axis));
        }
    }
    view
}

/// The values after a turn, in the order of their new axes.
pub(in crate::imaging) fn turned<T: Copy + Send + Sync>(
    values: ArrayView3<'_, T>,
    turn: Turn,
) -> Result<Array3<T>> {
    let view = turned_view(values, turn);
    let shape = <[usize; 3]>::from(view.dim());
    let Some(&blank) = view.first() else {
        return Err(Error::shape("volume", "three sides of at least 1", &shape));
    };
    let mut turned = room(shape, blank)?;
    ndarray::Zip::from(&mut turned).and(&view).par_for_each(|place, &value| *place = value);
    Ok(turned)
}

/// Where each new voxel looks: two old ones and the weight of the second.
type Taps = Vec<(usize, usize, f32)>;

fn taps(old: usize, new: usize) -> Taps {
    let scale = old as f32 / new as f32;
    (0..new)
        .map(|i| {
            if old == new {
                return (i, i, 0.0);
            }
            // In float32, as torch computes it.
            let at = (scale * (i as f32 + 0.5) - 0.5).max(0.0);
            let low = (at as usize).min(old - 1);
            (low, (low + 1).min(old - 1), (at - low as f32).clamp(0.0, 1.0))
        })
        .collect()
}

fn nearest_taps(old: usize, new: usize) -> Vec<usize> {
    let at = |i: usize| ((i as f64 + 0.5) * old as f64 / new as f64) as usize;
    (0..new).map(|i| at(i).min(old - 1)).collect()
}

/// The values on another number of voxels.
pub(in crate::imaging) fn resized(
    values: &Array3<f32>,
    shape: [usize; 3],
    kernel: Kernel,
) -> Result<Array3<f32>> {
    let old = <[usize; 3]>::from(values.dim());
    match kernel {
        Kernel::Nearest => nearest(values.view(), shape),
        Kernel::Bilinear => {
            let [z, y, x] = [0, 1, 2].map(|axis| taps(old[axis], shape[axis]));
            let mut new = room(shape, 0.0f32)?;
            new.axis_iter_mut(Axis(0)).into_par_iter().zip(z).for_each(|(mut plane, (a, b, w))| {
                let (first, second) =
                    (values.index_axis(Axis(0), a), values.index_axis(Axis(0), b));
                let mut line = vec![0.0f32; old[2]];
                for (mut row, tap) in plane.rows_mut().into_iter().zip(&y) {
                    blend(&mut line, [first, second], w, *tap);
                    for (value, &(left, right, part)) in row.iter_mut().zip(&x) {
                        *value = line[left] * (1.0 - part) + line[right] * part;
                    }
                }
            });
            Ok(new)
        }
        _ => {
            let why = format!("expected bilinear or nearest for a volume, found {kernel}");
            Err(Error::value("kernel", why))
        }
    }
}

/// A row of the old width between four rows of two planes.
fn blend(
    line: &mut [f32],
    [first, second]: [ArrayView2<'_, f32>; 2],
    down: f32,
    (top, bottom, across): (usize, usize, f32),
) {
    let weights = [
        (first, top, (1.0 - down) * (1.0 - across)),
        (first, bottom, (1.0 - down) * across),
        (second, top, down * (1.0 - across)),
        (second, bottom, down * across),
    ];
    line.fill(0.0);
    for (plane, row, weight) in weights.into_iter().filter(|(.., weight)| *weight > 0.0) {
        for (value, old) in line.iter_mut().zip(plane.row(row)) {
            *value += old * weight;
        }
    }
}

/// Masks and labels on another number of voxels: the one whose cell holds the new centre.
pub(in crate::imaging) fn nearest<T: Copy + Send + Sync>(
    values: ArrayView3<'_, T>,
    shape: [usize; 3],
) -> Result<Array3<T>> {
    let old = <[usize; 3]>::from(values.dim());
    let Some(&blank) = values.first() else {
        return Err(Error::shape("volume", "three sides of at least 1", &old));
    };
    let [z, y, x] = [0, 1, 2].map(|axis| nearest_taps(old[axis], shape[axis]));
    let mut new = room(shape, blank)?;
    new.axis_iter_mut(Axis(0)).into_par_iter().zip(z).for_each(|(mut plane, from)| {
        let old = values.index_axis(Axis(0), from);
        for (mut row, &from) in plane.rows_mut().into_iter().zip(&y) {
            for (value, &from_x) in row.iter_mut().zip(&x) {
                *value = old[[from, from_x]];
            }
        }
    });
    Ok(new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imaging::Grid;

    fn volume() -> Volume {
        let voxels =
            Array3::from_shape_fn((4, 5, 6), |(z, y, x)| (z * 100 + y * 10 + x) as f32 - 40.0);
        Volume::new(voxels, Grid::new([4, 5, 6], [2.0, 1.0, 0.5])).unwrap()
    }

    #[test]
    fn a_plane_of_values_stays_a_plane() {
        let resized = volume().resize([8, 15, 6], Kernel::Bilinear).unwrap();
        // Between the outermost centres the values are linear in the place.
        for ((z, y, x), value) in resized.voxels.indexed_iter() {
            let at = |i: usize, old: f32, new: f32| {
                ((i as f32 + 0.5) * old / new - 0.5).clamp(0.0, old - 1.0)
            };
            let wanted = at(z, 4.0, 8.0) * 100.0 + at(y, 5.0, 15.0) * 10.0 + x as f32 - 40.0;
            assert!((value - wanted).abs() < 1e-3, "({z}, {y}, {x}): {value} {wanted}");
        }
        assert!(
            resized
                .grid
                .spacing
                .iter()
                .zip([1.0, 1.0 / 3.0, 0.5])
                .all(|(a, b)| (a - b).abs() < 1e-12)
        );
    }

    #[test]
    fn the_spacing_stated_is_the_true_one() {
        let resampled = volume().resample([3.0, 1.0, 1.0], Kernel::Bilinear).unwrap();
        assert_eq!(resampled.grid.shape, [3, 5, 3]);
        assert!((resampled.grid.spacing[0] - 8.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn a_turn_there_and_back_changes_nothing() {
        let there = volume().reorient("SRA").unwrap();
        assert_eq!(there.voxels.dim(), (5, 6, 4));
        let back = there.reorient("LPS").unwrap();
        assert_eq!(back.voxels, volume().voxels);
        assert_eq!(back.grid, volume().grid);
        assert_eq!(back.history, ["turned from LPS to SRA", "turned from SRA to LPS"]);
    }

    #[test]
    fn a_size_beyond_all_memory_is_refused() {
        let error = volume().resize([100_000; 3], Kernel::Nearest).unwrap_err().to_string();
        assert!(error.starts_with("new size: expected shape three sides of at least 1"), "{error}");
        let error = volume().resize([2; 3], Kernel::Lanczos).unwrap_err().to_string();
        assert_eq!(error, "kernel: expected bilinear or nearest for a volume, found lanczos");
    }
}
