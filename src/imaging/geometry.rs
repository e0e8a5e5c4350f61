//! The map between the pixels of a film and those a model sees, both ways.
//!
//! Coordinates are continuous: pixel (row r, column c) covers [c, c + 1] x [r, r + 1], so its
//! centre is the point (c + 0.5, r + 0.5) and a box around it is [c, r, c + 1, r + 1].
//! Points are (x, y); boxes are [x0, y0, x1, y1], their pixel edges.

use ndarray::Array2;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// How a recipe placed a film on its canvas: a scale and a shift for each axis.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Geometry {
    /// Height and width of the film.
    pub original: [usize; 2],
    /// Height and width of what the model sees.
    pub model: [usize; 2],
    /// Model pixels for one original pixel, down and across.
    pub scale: [f64; 2],
    /// Where the film's top left corner lies on the model's canvas, down and across.
    pub offset: [f64; 2],
    /// Size of an original pixel (row spacing, column spacing) in mm, when known.
    pub spacing: Option<[f64; 2]>,
}

impl Geometry {
    /// The map that changes nothing.
    pub fn identity(size: [usize; 2], spacing: Option<[f64; 2]>) -> Self {
        Self { original: size, model: size, scale: [1.0; 2], offset: [0.0; 2], spacing }
    }

    /// Checks a map that came from outside.
    pub fn validate(&self) -> Result<()> {
        let sound = self.original.iter().chain(&self.model).all(|&side| side > 0)
            && self.scale.iter().all(|s| s.is_finite() && *s > 0.0)
            && self.offset.iter().all(|o| o.is_finite())
            && self.spacing.is_none_or(|s| s.iter().all(|v| v.is_finite() && *v > 0.0));
        if sound {
            return Ok(());
        }
        Err(Error::value("geometry", format!("expected positive sizes and scales, found {self:?}")))
    }

    /// Follows a resize of the canvas.
    #[must_use]
    pub fn resized(mut self, height: usize, width: usize) -> Self {
        for (axis, new) in [height, width].into_iter().enumerate() {
            let factor = new as f64 / self.model[axis] as f64;
            self.scale[axis] *= factor;
            self.offset[axis] *= factor;
            self.model[axis] = new;
        }
        self
    }

    /// Follows a crop or a pad: the canvas becomes `size`, and what was at its top left corner
    /// moves by `shift` (negative for a crop).
    #[must_use]
    pub fn shifted(mut self, shift: [isize; 2], size: [usize; 2]) -> Self {
        self.offset = [self.offset[0] + shift[0] as f64, self.offset[1] + shift[1] as f64];
        self.model = size;
        self
    }

    /// A point (x, y) of the film, as a point of the canvas.
    pub fn to_model(&self, [x, y]: [f64; 2]) -> [f64; 2] {
        [x * self.scale[1] + self.offset[1], y * self.scale[0] + self.offset[0]]
    }

    /// A point (x, y) of the canvas, as a point of the film.
    pub fn to_original(&self, [x, y]: [f64; 2]) -> [f64; 2] {
        [(x - self.offset[1]) / self.scale[1], (y - self.offset[0]) / self.scale[0]]
    }

    /// A box of the film on the canvas, clipped to it; a box outside becomes empty.
    pub fn box_to_model(&self, [x0, y0, x1, y1]: [f64; 4]) -> [f64; 4] {
        clipped(self.to_model([x0, y0]), self.to_model([x1, y1]), self.model)
    }

    /// A box of the canvas on the film, clipped to it; a box outside becomes empty.
    pub fn box_to_original(&self, [x0, y0, x1, y1]: [f64; 4]) -> [f64; 4] {
        clipped(self.to_original([x0, y0]), self.to_original([x1, y1]), self.original)
    }

    /// A mask of the film (H, W) on the canvas, by the nearest pixel; padding is false.
    pub fn mask_to_model(&self, mask: &Array2<bool>) -> Result<Array2<bool>> {
        if [mask.nrows(), mask.ncols()] != self.original {
            let expected = format!("({}, {})", self.original[0], self.original[1]);
            return Err(Error::shape("mask", expected, &[mask.nrows(), mask.ncols()]));
        }
        Ok(Array2::from_shape_fn(self.model, |(r, c)| {
            let [x, y] = self.to_original([c as f64 + 0.5, r as f64 + 0.5]);
            pixel(y, self.original[0]).zip(pixel(x, self.original[1])).is_some_and(|at| mask[at])
        }))
    }

    /// A mask of the canvas, of any resolution, on the film (H, W), by the nearest pixel; what the
    /// model did not see is false.
    pub fn mask_to_original(&self, mask: &Array2<bool>) -> Result<Array2<bool>> {
        let grid = self.grid("mask", mask.dim())?;
        Ok(Array2::from_shape_fn(self.original, |(r, c)| {
            let [x, y] = self.to_original_grid(grid, r, c);
            pixel(y, mask.nrows()).zip(pixel(x, mask.ncols())).is_some_and(|at| mask[at])
        }))
    }

    /// A heat map over the canvas, of any resolution (a grid of tokens, say), on the film (H, W),
    /// bilinearly; what the model did not see is 0.
    pub fn heatmap_to_original(&self, heatmap: &Array2<f32>) -> Result<Array2<f32>> {
        let (rows, cols) = heatmap.dim();
        let grid = self.grid("heat map", (rows, cols))?;
        Ok(Array2::from_shape_fn(self.original, |(r, c)| {
            let [x, y] = self.to_original_grid(grid, r, c);
            if pixel(y, rows).is_none() || pixel(x, cols).is_none() {
                return 0.0;
            }
            let (top, bottom, down) = neighbours(y, rows);
            let (left, right, across) = neighbours(x, cols);
            let row = |r: usize| heatmap[[r, left]] * (1.0 - across) + heatmap[[r, right]] * across;
            row(top) * (1.0 - down) + row(bottom) * down
        }))
    }

    /// A point (x, y) of the film in mm from its top left corner, when the spacing is known.
    pub fn millimetres(&self, [x, y]: [f64; 2]) -> Option<[f64; 2]> {
        self.spacing.map(|[down, across]| [x * across, y * down])
    }

    /// Size of a model pixel (row spacing, column spacing) in mm, when known.
    pub fn model_spacing(&self) -> Option<[f64; 2]> {
        self.spacing.map(|[down, across]| [down / self.scale[0], across / self.scale[1]])
    }

    /// Grid cells for one pixel of the canvas.
    fn grid(&self, what: &str, (rows, cols): (usize, usize)) -> Result<[f64; 2]> {
        if rows == 0 || cols == 0 {
            return Err(Error::shape(what, "two sides of at least 1", &[rows, cols]));
        }
        Ok([rows as f64 / self.model[0] as f64, cols as f64 / self.model[1] as f64])
    }

    /// The centre of an original pixel in a grid that covers the canvas.
    fn to_original_grid(&self, grid: [f64; 2], row: usize, col: usize) -> [f64; 2] {
        let [x, y] = self.to_model([col as f64 + 0.5, row as f64 + 0.5]);
        [x * grid[1], y * grid[0]]
    }
}

impl std::fmt::Display for Geometry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ([h, w], [mh, mw]) = (self.original, self.model);
        let ([sy, sx], [oy, ox]) = (self.scale, self.offset);
        write!(f, "{h} x {w} -> {mh} x {mw}, scale {sy:.4} x {sx:.4}, offset {oy:.2}, {ox:.2}")
    }
}

fn clipped([x0, y0]: [f64; 2], [x1, y1]: [f64; 2], [height, width]: [usize; 2]) -> [f64; 4] {
    let (x, y) = (|v: f64| v.clamp(0.0, width as f64), |v: f64| v.clamp(0.0, height as f64));
    [x(x0.min(x1)), y(y0.min(y1)), x(x0.max(x1)), y(y0.max(y1))]
}

/// The pixel that a coordinate lies in, when it lies in one.
fn pixel(at: f64, side: usize) -> Option<usize> {
    (at >= 0.0 && at < side as f64).then_some(at as usize)
}

/// The two pixels around a coordinate and the weight of the second; edges repeat.
fn neighbours(at: f64, side: usize) -> (usize, usize, f32) {
    let at = (at - 0.5).clamp(0.0, side as f64 - 1.0);
    let low = at as usize;
    (low, (low + 1).min(side - 1), (at - low as f64) as f32)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    prop_compose! {
        /// A film padded to a square, resized and cropped, as recipes do.
        fn placed()(h in 1usize..90, w in 1usize..90, size in 8usize..120)
            (crop in 0..size / 4 + 1, h in Just(h), w in Just(w), size in Just(size)) -> Geometry {
            let side = h.max(w);
            let shift = [((side - h) / 2) as isize, ((side - w) / 2) as isize];
            let cropped = size - 2 * crop;
            Geometry::identity([h, w], Some([0.2, 0.1]))
                .shifted(shift, [side; 2])
                .resized(size, size)
                .shifted([-(crop as isize); 2], [cropped; 2])
        }
    }

    proptest! {
        #[test]
        fn points_come_back(map in placed(), x in -50.0..150.0f64, y in -50.0..150.0f64) {
            let [bx, by] = map.to_original(map.to_model([x, y]));
            prop_assert!((bx - x).abs() < 1e-9 && (by - y).abs() < 1e-9);
        }

        #[test]
        fn boxes_in_view_come_back(map in placed(), a in 0.0..1.0f64, b in 0.0..1.0f64) {
            let [x0, y0] = map.to_original([0.0, 0.0]);
            let [x1, y1] = map.to_original([map.model[1] as f64, map.model[0] as f64]);
            let [h, w] = map.original.map(|side| side as f64);
            let (x0, y0, x1, y1) = (x0.max(0.0), y0.max(0.0), x1.min(w), y1.min(h));
            prop_assume!(x0 < x1 && y0 < y1);
            let inside = [x0 + a * (x1 - x0) / 2.0, y0 + b * (y1 - y0) / 2.0, x1, y1];
            let back = map.box_to_original(map.box_to_model(inside));
            for (found, wanted) in back.iter().zip(inside) {
                prop_assert!((found - wanted).abs() < 1e-9, "{:?} {:?}", back, inside);
            }
        }

        #[test]
        fn masks_come_back_from_a_finer_canvas(h in 1usize..40, w in 1usize..40, times in 1usize..5, seed: u64) {
            let map = Geometry::identity([h, w], None).resized(h * times, w * times);
            let mask = Array2::from_shape_fn((h, w), |(r, c)| (seed >> ((r * 7 + c) % 64)) & 1 == 1);
            let back = map.mask_to_original(&map.mask_to_model(&mask).unwrap()).unwrap();
            prop_assert_eq!(back, mask);
        }

        #[test]
        fn a_flat_heat_map_stays_flat_where_the_model_looked(map in placed(), level in 0.1..9.0f32) {
            let heat = map.heatmap_to_original(&Array2::from_elem((7, 5), level)).unwrap();
            prop_assert_eq!([heat.nrows(), heat.ncols()], map.original);
            prop_assert!(heat.iter().all(|&v| v == 0.0 || (v - level).abs() < 1e-5));
        }
    }
}
