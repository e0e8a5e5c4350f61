//! Slices of a tilted gantry, shifted within their planes so that they stand above each other.

use ndarray::parallel::prelude::*;
use ndarray::{Array3, ArrayView2, Axis};

use crate::Result;
use crate::imaging::Grid;
use crate::imaging::volume::room;

/// Shifts each plane by its pixels (down, across), bilinearly, onto a canvas that holds them all;
/// what no slice covers is NaN. The grid grows with the canvas.
pub(super) fn straightened(
    planes: &Array3<f32>,
    shifts: &[[f64; 2]],
    grid: &Grid,
) -> Result<(Array3<f32>, Grid)> {
    let ends = |axis: usize| {
        let of = shifts.iter().map(|shift| shift[axis]);
        let (low, high) = of.fold((0.0f64, 0.0f64), |(l, h), s| (l.min(s), h.max(s)));
        (low.floor() as i64, high.ceil() as i64)
    };
    let (down, across) = (ends(0), ends(1));
    let [depth, rows, cols] = grid.shape;
    let shape = [depth, rows + (down.1 - down.0) as usize, cols + (across.1 - across.0) as usize];
    let mut canvas = room(shape, f32::NAN)?;
    canvas.axis_iter_mut(Axis(0)).into_par_iter().enumerate().for_each(|(index, mut plane)| {
        let old = planes.index_axis(Axis(0), index);
        let [y, x] = shifts[index];
        for ((row, col), value) in plane.indexed_iter_mut() {
            let at = |place: usize, start: i64, shift: f64| (place as i64 + start) as f64 - shift;
            *value = between(old, at(row, down.0, y), at(col, across.0, x));
        }
    });
    Ok((canvas, grid.cropped([0, down.0, across.0], shape)))
}

/// The value between four pixels; NaN beyond them.
fn between(plane: ArrayView2<'_, f32>, row: f64, col: f64) -> f32 {
    let taps = |at: f64, side: usize| {
        // A pixel reaches half its size beyond its centre.
        if !(-0.5..=side as f64 - 0.5).contains(&at) {
            return None;
        }
        let at = at.clamp(0.0, side as f64 - 1.0);
        let low = at as usize;
        Some((low, (low + 1).min(side - 1), (at - low as f64) as f32))
    };
    let (Some(y), Some(x)) = (taps(row, plane.nrows()), taps(col, plane.ncols())) else {
        return f32::NAN;
    };
    let line = |row: usize| plane[[row, x.0]] * (1.0 - x.2) + plane[[row, x.1]] * x.2;
    line(y.0) * (1.0 - y.2) + line(y.1) * y.2
}
