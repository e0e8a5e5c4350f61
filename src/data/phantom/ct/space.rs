//! Points and directions in the patient: x to the left, y to the back, z to the head, in mm.

/// A point or direction (x, y, z).
pub(super) type Point = [f32; 3];

pub(super) fn add(a: Point, b: Point) -> Point {
    [a[0] + b[0], a[1] + b[1], a[2] + b[2]]
}

pub(super) fn sub(a: Point, b: Point) -> Point {
    [a[0] - b[0], a[1] - b[1], a[2] - b[2]]
}

pub(super) fn times(a: Point, s: f32) -> Point {
    a.map(|v| v * s)
}

/// Axis by axis.
pub(super) fn stretch(a: Point, b: Point) -> Point {
    [a[0] * b[0], a[1] * b[1], a[2] * b[2]]
}

pub(super) fn dot(a: Point, b: Point) -> f32 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

pub(super) fn norm(a: Point) -> f32 {
    dot(a, a).sqrt()
}

pub(super) fn unit(a: Point) -> Point {
    times(a, 1.0 / norm(a).max(1e-6))
}

pub(super) fn between(a: Point, b: Point, t: f32) -> Point {
    add(a, times(sub(b, a), t))
}

/// A value that runs straight between the rows (place, value) of a table.
pub(super) fn table<const N: usize>(rows: &[(f32, [f32; N])], at: f32) -> [f32; N] {
    let after = rows.partition_point(|row| row.0 < at);
    if after == 0 {
        return rows[0].1;
    }
    let Some(high) = rows.get(after) else { return rows[rows.len() - 1].1 };
    let low = &rows[after - 1];
    let t = (at - low.0) / (high.0 - low.0);
    std::array::from_fn(|i| low.1[i] + t * (high.1[i] - low.1[i]))
}

/// 0 below `low`, 1 above `high`, smooth between.
pub(super) fn ramp(low: f32, high: f32, value: f32) -> f32 {
    let t = ((value - low) / (high - low)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

/// About how far `(x, y)` lies outside the rounded box with half-axes `a`, `b`; inside below 0.
pub(super) fn oval(x: f32, y: f32, a: f32, b: f32) -> f32 {
    let power = |t: f32| t * t * t.sqrt();
    let reach = (power((x / a).abs()) + power((y / b).abs())).powf(0.4);
    if reach < 1e-3 {
        return -a.min(b);
    }
    (x * x + y * y).sqrt() * (1.0 - 1.0 / reach)
}

/// About how far a point lies outside an ellipsoid around the origin; inside below 0.
pub(super) fn ellipsoid(p: Point, radii: Point) -> f32 {
    let reach = norm([p[0] / radii[0], p[1] / radii[1], p[2] / radii[2]]);
    if reach < 1e-3 {
        return -radii[0].min(radii[1]).min(radii[2]);
    }
    norm(p) * (1.0 - 1.0 / reach)
}

/// The smaller of two distances, rounded over `k` mm where they meet.
pub(super) fn blend(a: f32, b: f32, k: f32) -> f32 {
    let h = (k - (a - b).abs()).max(0.0) / k;
    a.min(b) - h * h * k * 0.25
}
