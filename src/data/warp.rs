//! The two resampling steps of augmentation: an affine move and a Gaussian blur.

use ndarray::{Array2, ArrayView2, ArrayViewMut2, Axis};

/// Where each pixel of the moved film comes from, in (row, column) of the old one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Affine {
    rows: [f64; 3],
    columns: [f64; 3],
}

impl Affine {
    /// A move about the centre of a film of `size` (rows, columns): first flip and shear, then
    /// magnification by `scale` and rotation by `angle` (radians), then a shift in pixels.
    pub(super) fn about_centre(
        size: [usize; 2],
        angle: f64,
        scale: f64,
        shift: [f64; 2],
        shear: f64,
        flip: bool,
    ) -> Self {
        let (sin, cos) = angle.sin_cos();
        let mirror = if flip { -1.0 } else { 1.0 };
        // The inverse, part by part: mirror · unshear · rotation back / scale.
        let back = [[cos / scale, sin / scale], [-sin / scale, cos / scale]]; // on (row, column)
        let row = back[0];
        let column = [0, 1].map(|i| mirror * (back[1][i] - shear * back[0][i]));
        let centre = size.map(|side| (side as f64 - 1.0) / 2.0);
        let from = [centre[0] + shift[0], centre[1] + shift[1]];
        let offset = |line: [f64; 2], centre: f64| {
            [line[0], line[1], centre - line[0] * from[0] - line[1] * from[1]]
        };
        Self { rows: offset(row, centre[0]), columns: offset(column, centre[1]) }
    }

    /// The moved film (rows, columns), bilinear; 0 comes in from outside.
    pub(super) fn sample(&self, film: &ArrayView2<'_, f32>) -> Array2<f32> {
        let (height, width) = film.dim();
        let film = film.as_standard_layout();
        let mut moved = Array2::zeros((height, width));
        // A border of nothing: reads up to one pixel outside give 0 and need no further tests.
        let at = |row: i64, column: i64| {
            let inside = (0..height as i64).contains(&row) && (0..width as i64).contains(&column);
            if inside { film[[row as usize, column as usize]] } else { 0.0 }
        };
        let Some(flat) = film.as_slice() else { return moved };
        for (y, mut line) in moved.axis_iter_mut(Axis(0)).enumerate() {
            let mut row = self.rows[0] * y as f64 + self.rows[2];
            let mut column = self.columns[0] * y as f64 + self.columns[2];
            for value in &mut line {
                let (top, left) = (floor(row), floor(column));
                let (dy, dx) = ((row - top as f64) as f32, (column - left as f64) as f32);
                let whole =
                    top >= 0 && left >= 0 && top + 1 < height as i64 && left + 1 < width as i64;
                let [a, b, c, d] = if whole {
                    let start = top as usize * width + left as usize;
                    [flat[start], flat[start + 1], flat[start + width], flat[start + width + 1]]
                } else {
                    [at(top, left), at(top, left + 1), at(top + 1, left), at(top + 1, left + 1)]
                };
                let upper = (b - a) * dx + a;
                let lower = (d - c) * dx + c;
                *value = (lower - upper) * dy + upper;
                row += self.rows[1];
                column += self.columns[1];
            }
        }
        moved
    }
}

/// The whole number below; the standard one is a function call where SSE4.1 is not taken for granted.
fn floor(value: f64) -> i64 {
    value as i64 - i64::from(value < 0.0)
}

/// Blurs a film (rows, columns) by a Gaussian of `sigma` pixels; the edge pixels go on outside.
pub(super) fn blur(film: &mut ArrayViewMut2<'_, f32>, sigma: f32) {
    let radius = (3.0 * sigma).ceil() as usize;
    let mut kernel: Vec<f32> = (0..=2 * radius)
        .map(|i| (-0.5 * ((i as f32 - radius as f32) / sigma).powi(2)).exp())
        .collect();
    let sum: f32 = kernel.iter().sum();
    for weight in &mut kernel {
        *weight /= sum;
    }
    let (height, width) = film.dim();
    let mut line = vec![0.0; width + 2 * radius];
    for mut row in film.rows_mut() {
        for (place, value) in line.iter_mut().enumerate() {
            *value = row[place.saturating_sub(radius).min(width - 1)];
        }
        for (value, window) in row.iter_mut().zip(line.windows(kernel.len())) {
            *value = window.iter().zip(&kernel).map(|(x, weight)| x * weight).sum();
        }
    }
    // Down the columns a whole row at a time, which the processor does many values at once.
    let old = film.to_owned();
    for (y, mut row) in film.rows_mut().into_iter().enumerate() {
        row.fill(0.0);
        for (place, &weight) in kernel.iter().enumerate() {
            row.scaled_add(weight, &old.row((y + place).saturating_sub(radius).min(height - 1)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spot(row: usize, column: usize) -> Array2<f32> {
        let mut film = Array2::zeros((41, 61));
        film[[row, column]] = 1.0;
        film
    }

    fn centre_of(film: &Array2<f32>) -> [f64; 2] {
        let mut sum = [0.0; 3];
        for ((row, column), &value) in film.indexed_iter() {
            let value = f64::from(value);
            sum[0] += value * row as f64;
            sum[1] += value * column as f64;
            sum[2] += value;
        }
        [sum[0] / sum[2], sum[1] / sum[2]]
    }

    #[test]
    fn a_spot_goes_where_the_move_says() {
        let size = [41, 61];
        let quarter = std::f64::consts::FRAC_PI_2;
        let cases = [
            (Affine::about_centre(size, 0.0, 1.0, [3.0, -5.0], 0.0, false), [23.0, 29.0]),
            (Affine::about_centre(size, 0.0, 2.0, [0.0, 0.0], 0.0, false), [20.0, 38.0]),
            (Affine::about_centre(size, quarter, 1.0, [0.0, 0.0], 0.0, false), [16.0, 30.0]),
            (Affine::about_centre(size, 0.0, 1.0, [0.0, 0.0], 0.0, true), [20.0, 26.0]),
        ];
        for (affine, expected) in cases {
            let found = centre_of(&affine.sample(&spot(20, 34).view()));
            for (found, expected) in found.iter().zip(expected) {
                assert!((found - expected).abs() < 1e-3, "{affine:?}: {found} {expected}");
            }
        }
        let sheared = Affine::about_centre(size, 0.0, 1.0, [0.0, 0.0], 0.5, false);
        let found = centre_of(&sheared.sample(&spot(30, 30).view()));
        assert!((found[1] - 35.0).abs() < 1e-3, "{found:?}");
    }

    #[test]
    fn blur_keeps_the_sum_and_has_its_width() {
        let mut film = spot(20, 30);
        blur(&mut film.view_mut(), 1.5);
        assert!((film.sum() - 1.0).abs() < 1e-4);
        let variance: f32 =
            film.indexed_iter().map(|((row, _), value)| value * (row as f32 - 20.0).powi(2)).sum();
        assert!((variance.sqrt() - 1.5).abs() < 0.05, "{variance}");
    }
}
