//! The film grid: from the body's centimetres to pixels and back, and how shapes are painted.
//!
//! The body frame is in cm: x grows to the patient's left (the right of the image), y grows
//! towards the feet, and the lung apices lie at y = 0.

/// Where the film lies over the body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    /// Pixels along each edge of the square film.
    pub(super) size: usize,
    /// Edge of a pixel in cm.
    pub(super) pixel: f32,
    /// Body point (x, y) in the middle of the film.
    pub(super) centre: [f32; 2],
    /// Sine and cosine of the roll of the patient against the film.
    pub(super) roll: [f32; 2],
}

impl Frame {
    /// The body point under the middle of a pixel.
    pub(super) fn to_body(self, column: usize, row: usize) -> (f32, f32) {
        let half = self.size as f32 / 2.0;
        let u = (column as f32 + 0.5 - half) * self.pixel;
        let v = (row as f32 + 0.5 - half) * self.pixel;
        let [sin, cos] = self.roll;
        (self.centre[0] + cos * u + sin * v, self.centre[1] - sin * u + cos * v)
    }

    /// The position (column, row) of a body point, in pixels; the middle of pixel 0 is 0.
    pub(super) fn to_pixel(self, x: f32, y: f32) -> (f32, f32) {
        let (x, y) = (x - self.centre[0], y - self.centre[1]);
        let [sin, cos] = self.roll;
        let half = self.size as f32 / 2.0 - 0.5;
        ((cos * x - sin * y) / self.pixel + half, (sin * x + cos * y) / self.pixel + half)
    }

    /// The pixels that can see the body box (x0, y0)–(x1, y1): first and last-plus-one columns, rows.
    pub(super) fn window(self, [x0, y0, x1, y1]: [f32; 4]) -> [usize; 4] {
        let corners = [(x0, y0), (x0, y1), (x1, y0), (x1, y1)].map(|(x, y)| self.to_pixel(x, y));
        let limit = |value: f32| value.clamp(0.0, self.size as f32) as usize;
        let low = |pick: fn(&(f32, f32)) -> f32| {
            limit(corners.iter().map(pick).fold(f32::INFINITY, f32::min).floor())
        };
        let high = |pick: fn(&(f32, f32)) -> f32| {
            limit(corners.iter().map(pick).fold(f32::NEG_INFINITY, f32::max).ceil() + 1.0)
        };
        [low(|c| c.0), low(|c| c.1), high(|c| c.0), high(|c| c.1)]
    }
}

/// One quantity over the film, row by row.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    pub(super) frame: Frame,
    pub(super) data: Vec<f32>,
    scratch: Vec<[f32; 2]>,
}

/// How thick a tube of radius r is, in cm along the beam, at distance d from its axis.
#[derive(Clone, Copy, Debug)]
pub(super) enum Tube {
    /// Filled.
    Solid,
    /// A shell of the given thickness (cm) around a filling of the given relative density.
    Shell(f32, f32),
}

impl Layer {
    /// A layer of zeros.
    pub(super) fn new(frame: Frame) -> Self {
        Self { frame, data: vec![0.0; frame.size * frame.size], scratch: Vec::new() }
    }

    /// Adds `value(x, y)` to every pixel that sees the body box.
    pub(super) fn paint(&mut self, bounds: [f32; 4], mut value: impl FnMut(f32, f32) -> f32) {
        let [left, top, right, bottom] = self.frame.window(bounds);
        for row in top..bottom {
            for column in left..right {
                let (x, y) = self.frame.to_body(column, row);
                self.data[row * self.frame.size + column] += value(x, y);
            }
        }
    }

    /// Adds `gain` times the thickness of a tube along the points (x, y, radius), in cm.
    ///
    /// A tube thinner than a pixel is widened to it and thinned alike, so that its mass stays.
    pub(super) fn tube(&mut self, points: &[[f32; 3]], kind: Tube, gain: f32) {
        let size = self.frame.size;
        if self.scratch.is_empty() {
            self.scratch = vec![[f32::INFINITY, 1.0]; size * size];
        }
        let soften = 0.55 * self.frame.pixel;
        let mut touched = [size, size, 0, 0];
        for pair in points.windows(2) {
            let [a, b] = [pair[0], pair[1]];
            let reach = a[2].max(b[2]) + 1.5 * soften;
            let window = self.frame.window([
                a[0].min(b[0]) - reach,
                a[1].min(b[1]) - reach,
                a[0].max(b[0]) + reach,
                a[1].max(b[1]) + reach,
            ]);
            touched = [
                touched[0].min(window[0]),
                touched[1].min(window[1]),
                touched[2].max(window[2]),
                touched[3].max(window[3]),
            ];
            for row in window[1]..window[3] {
                for column in window[0]..window[2] {
                    let (x, y) = self.frame.to_body(column, row);
                    let (distance, t) = to_segment(x, y, a, b);
                    let cell = &mut self.scratch[row * size + column];
                    if distance < cell[0] {
                        *cell = [distance, a[2] + t * (b[2] - a[2])];
                    }
                }
            }
        }
        for row in touched[1]..touched[3] {
            for column in touched[0]..touched[2] {
                let index = row * size + column;
                let [distance, radius] =
                    std::mem::replace(&mut self.scratch[index], [f32::INFINITY, 1.0]);
                if distance.is_finite() {
                    self.data[index] += gain * thickness(kind, distance, radius, soften);
                }
            }
        }
    }
}

fn thickness(kind: Tube, distance: f32, radius: f32, soften: f32) -> f32 {
    let chord = |radius: f32| {
        let wide = radius.hypot(soften);
        let inside = 1.0 - (distance / wide).powi(2);
        if inside <= 0.0 { 0.0 } else { 2.0 * wide * inside.sqrt() * (radius / wide).powi(2) }
    };
    match kind {
        Tube::Solid => chord(radius),
        Tube::Shell(shell, filling) => {
            let inner = (radius - shell).max(0.0);
            chord(radius) - (1.0 - filling) * chord(inner)
        }
    }
}

/// Distance from a point to a segment, and where along it (0 to 1) the nearest point lies.
pub(super) fn to_segment(x: f32, y: f32, a: [f32; 3], b: [f32; 3]) -> (f32, f32) {
    let (dx, dy) = (b[0] - a[0], b[1] - a[1]);
    let length = dx * dx + dy * dy;
    let t = if length > 0.0 {
        (((x - a[0]) * dx + (y - a[1]) * dy) / length).clamp(0.0, 1.0)
    } else {
        0.0
    };
    ((x - a[0] - t * dx).hypot(y - a[1] - t * dy), t)
}

/// A smooth curve through control points (x, y, radius): Catmull–Rom, `steps` to a span.
pub(super) fn spline(points: &[[f32; 3]], steps: usize) -> Vec<[f32; 3]> {
    let at = |i: isize| points[i.clamp(0, points.len() as isize - 1) as usize];
    let mut curve = Vec::with_capacity(points.len() * steps);
    for i in 0..points.len().saturating_sub(1) as isize {
        let [p, q, r, s] = [at(i - 1), at(i), at(i + 1), at(i + 2)];
        for step in 0..steps {
            let t = step as f32 / steps as f32;
            curve.push(std::array::from_fn(|k| {
                0.5 * (2.0 * q[k]
                    + (r[k] - p[k]) * t
                    + (2.0 * p[k] - 5.0 * q[k] + 4.0 * r[k] - s[k]) * t * t
                    + (3.0 * q[k] - p[k] - 3.0 * r[k] + s[k]) * t * t * t)
            }));
        }
    }
    curve.extend(points.last());
    curve
}

/// 0 below `low`, 1 above `high`, smooth between; `low` may exceed `high`.
pub(super) fn smoothstep(low: f32, high: f32, value: f32) -> f32 {
    let t = ((value - low) / (high - low)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame() -> Frame {
        let (sin, cos) = 0.1f32.sin_cos();
        Frame { size: 64, pixel: 0.5, centre: [1.0, 12.0], roll: [sin, cos] }
    }

    #[test]
    fn pixels_and_body_points_are_inverse() {
        let (x, y) = frame().to_body(10, 50);
        let (column, row) = frame().to_pixel(x, y);
        assert!((column - 10.0).abs() < 1e-3 && (row - 50.0).abs() < 1e-3, "{column} {row}");
    }

    #[test]
    fn a_thin_tube_keeps_its_mass() {
        let mass = |radius: f32| {
            let mut layer = Layer::new(frame());
            layer.tube(&[[-5.0, 12.0, radius], [7.0, 12.0, radius]], Tube::Solid, 1.0);
            layer.data.iter().sum::<f32>() * 0.25 / (radius * radius)
        };
        let (thin, thick) = (mass(0.1), mass(1.5));
        assert!((thin / thick - 1.0).abs() < 0.2, "{thin} {thick}");
    }

    #[test]
    fn a_spline_goes_through_its_points() {
        let curve = spline(&[[0.0, 0.0, 1.0], [1.0, 2.0, 1.0], [3.0, 1.0, 2.0]], 4);
        assert_eq!((curve[4], curve[8]), ([1.0, 2.0, 1.0], [3.0, 1.0, 2.0]));
    }
}
