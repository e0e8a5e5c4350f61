//! Where the voxels of a volume lie in the patient.
//!
//! Arrays are (z, y, x). Coordinates of voxels are continuous: voxel `i` covers [i, i + 1], so its
//! centre is at `i + 0.5`. Patient points are (x, y, z) in mm, growing to the patient's left, back
//! and head (LPS), as DICOM has them.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// More voxels than these are never made: 8 GiB of float32.
pub(super) const MOST_VOXELS: u128 = 1 << 31;

/// Axes may lean this much (as a cosine) towards each other: rounding in files, not a tilt.
const LEAN: f64 = 2e-3;

/// A grid of voxels in the patient's space.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grid {
    /// Number of voxels along (z, y, x).
    pub shape: [usize; 3],
    /// Distance of the voxels along (z, y, x) in mm.
    pub spacing: [f64; 3],
    /// Centre of the first voxel, (x, y, z) in mm.
    pub origin: [f64; 3],
    /// For each of the axes z, y, x: where it points, as a unit vector (x, y, z).
    pub direction: [[f64; 3]; 3],
}

/// How the axes of one grid become those of another: axis `from[a]` becomes axis `a`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// The old axis that each new axis is.
    pub from: [usize; 3],
    /// Whether it runs the other way.
    pub flip: [bool; 3],
}

impl Turn {
    /// Whether it changes nothing.
    pub fn is_identity(&self) -> bool {
        self.from == [0, 1, 2] && self.flip == [false; 3]
    }
}

impl Grid {
    /// A grid whose axes are those of the patient, its first voxel at the origin.
    pub fn new(shape: [usize; 3], spacing: [f64; 3]) -> Self {
        let direction = [[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]];
        Self { shape, spacing, origin: [0.0; 3], direction }
    }

    /// Checks a grid that came from outside.
    pub fn validate(&self) -> Result<()> {
        check_shape("volume", self.shape)?;
        if !self.spacing.iter().all(|s| s.is_finite() && *s > 1e-6 && *s < 1e6) {
            let why = format!("expected three lengths in mm (z, y, x), found {:?}", self.spacing);
            return Err(Error::value("spacing", why));
        }
        if !self.origin.iter().all(|v| v.is_finite() && v.abs() < 1e9) {
            let why = format!("expected a point in mm, found {:?}", self.origin);
            return Err(Error::value("origin", why));
        }
        let [z, y, x] = self.direction;
        let units = [z, y, x].iter().all(|d| (dot(*d, *d) - 1.0).abs() < LEAN);
        let square = [dot(z, y), dot(z, x), dot(y, x)].iter().all(|c| c.abs() < LEAN);
        if !(units && square) {
            let why =
                format!("expected three unit vectors at right angles, found {:?}", self.direction);
            return Err(Error::value("direction", why));
        }
        Ok(())
    }

    /// The patient point (x, y, z) in mm at the voxel coordinates (z, y, x).
    pub fn to_patient(&self, at: [f64; 3]) -> [f64; 3] {
        let mut point = self.origin;
        for ((at, spacing), direction) in at.iter().zip(self.spacing).zip(self.direction) {
            for (value, part) in point.iter_mut().zip(direction) {
                *value += (at - 0.5) * spacing * part;
            }
        }
        point
    }

    /// The voxel coordinates (z, y, x) of a patient point (x, y, z) in mm.
    pub fn to_voxel(&self, point: [f64; 3]) -> [f64; 3] {
        let away: [f64; 3] = std::array::from_fn(|i| point[i] - self.origin[i]);
        let steps = inverse(self.direction);
        // Rows of `direction` are the axes, so the step counts are `away` times its inverse.
        std::array::from_fn(|axis| {
            let along: f64 = (0..3).map(|i| away[i] * steps[i][axis]).sum();
            along / self.spacing[axis] + 0.5
        })
    }

    /// Where x, y and z (in this order) point, a letter each: `LPS` for left, back, head.
    pub fn orientation(&self) -> String {
        let of = self.patient_axes();
        let letter = |axis: usize| end_letter(of[axis], self.direction[axis][of[axis]] >= 0.0);
        [2, 1, 0].into_iter().map(letter).collect()
    }

    /// The turn that makes x, y, z point where three letters say; nothing is resampled.
    pub fn turn_to(&self, letters: &str) -> Result<Turn> {
        let wanted = parse_orientation(letters)?;
        let of = self.patient_axes();
        let mut turn = Turn { from: [0; 3], flip: [false; 3] };
        for (axis, (along, towards)) in wanted.into_iter().enumerate() {
            // Both lists name each of the patient's axes once.
            let from = of.iter().position(|&a| a == along).unwrap_or(axis);
            turn.from[axis] = from;
            turn.flip[axis] = (self.direction[from][along] >= 0.0) != towards;
        }
        Ok(turn)
    }

    /// The grid after a turn.
    #[must_use]
    pub fn turned(&self, turn: Turn) -> Self {
        // The new first voxel is the old one at the far end of each axis that runs the other way.
        let mut corner = [0.5; 3];
        for (from, flip) in turn.from.into_iter().zip(turn.flip) {
            if flip {
                corner[from] = self.shape[from] as f64 - 0.5;
            }
        }
        let sign = |axis: usize| if turn.flip[axis] { -1.0 } else { 1.0 };
        Self {
            shape: turn.from.map(|from| self.shape[from]),
            spacing: turn.from.map(|from| self.spacing[from]),
            origin: self.to_patient(corner),
            direction: std::array::from_fn(|axis| {
                self.direction[turn.from[axis]].map(|part| part * sign(axis))
            }),
        }
    }

    /// The grid of a box that begins at voxel `start`, which may lie outside.
    #[must_use]
    pub fn cropped(&self, start: [i64; 3], shape: [usize; 3]) -> Self {
        let origin = self.to_patient(start.map(|s| s as f64 + 0.5));
        Self { shape, origin, ..self.clone() }
    }

    /// The same box cut into other numbers of voxels; the spacing follows.
    #[must_use]
    pub fn resized(&self, shape: [usize; 3]) -> Self {
        let factor: [f64; 3] = std::array::from_fn(|a| self.shape[a] as f64 / shape[a] as f64);
        Self {
            shape,
            spacing: std::array::from_fn(|a| self.spacing[a] * factor[a]),
            origin: self.to_patient(factor.map(|f| f / 2.0)),
            direction: self.direction,
        }
    }

    /// Row by row, the matrix that takes a voxel's index (z, y, x, 1) to (x, y, z, 1) in mm.
    pub fn affine(&self) -> [[f64; 4]; 4] {
        let mut affine = [[0.0, 0.0, 0.0, 1.0]; 4];
        for (row, line) in affine.iter_mut().take(3).enumerate() {
            for (axis, value) in line.iter_mut().take(3).enumerate() {
                *value = self.direction[axis][row] * self.spacing[axis];
            }
            line[3] = self.origin[row];
        }
        affine
    }

    /// For each of the axes z, y, x: the patient's axis (0 left, 1 back, 2 head) closest to it.
    fn patient_axes(&self) -> [usize; 3] {
        const ORDERS: [[usize; 3]; 6] =
            [[2, 1, 0], [2, 0, 1], [1, 2, 0], [1, 0, 2], [0, 2, 1], [0, 1, 2]];
        let fit = |order: &[usize; 3]| -> f64 {
            (0..3).map(|axis| self.direction[axis][order[axis]].abs()).sum()
        };
        let mut best = ORDERS[0];
        for order in ORDERS {
            if fit(&order) > fit(&best) + 1e-9 {
                best = order;
            }
        }
        best
    }
}

impl std::fmt::Display for Grid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ([d, h, w], [z, y, x]) = (self.shape, self.spacing);
        write!(f, "{d} x {h} x {w}, {z:.4} x {y:.4} x {x:.4} mm, {}", self.orientation())
    }
}

/// Refuses shapes that are empty or beyond all memory.
pub(super) fn check_shape(what: &str, shape: [usize; 3]) -> Result<()> {
    let voxels: u128 = shape.iter().map(|&side| side as u128).product();
    if voxels == 0 || voxels > MOST_VOXELS {
        let expected = format!("three sides of at least 1, at most {MOST_VOXELS} voxels");
        return Err(Error::shape(what, expected, &shape));
    }
    Ok(())
}

/// The letter of an end of one of the patient's axes (left, back, head): of its positive one, or not.
pub(super) fn end_letter(axis: usize, positive: bool) -> char {
    [['R', 'L'], ['A', 'P'], ['I', 'S']][axis][usize::from(positive)]
}

/// The patient's axis and sense for the voxel axes z, y, x, from three letters for x, y, z.
fn parse_orientation(letters: &str) -> Result<[(usize, bool); 3]> {
    let parsed: Option<Vec<(usize, bool)>> = letters
        .chars()
        .map(|letter| match letter.to_ascii_uppercase() {
            'L' => Some((0, true)),
            'R' => Some((0, false)),
            'P' => Some((1, true)),
            'A' => Some((1, false)),
            'S' => Some((2, true)),
            'I' => Some((2, false)),
            _ => None,
        })
        .collect();
    if let Some([x, y, z]) = parsed.as_deref()
        && x.0 != y.0
        && y.0 != z.0
        && x.0 != z.0
    {
        return Ok([*z, *y, *x]);
    }
    let why = format!(
        "expected one letter each of L or R, P or A, S or I, as \"LPS\", found {letters:?}"
    );
    Err(Error::value("orientation", why))
}

pub(super) fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

pub(super) fn cross([a, b, c]: [f64; 3], [x, y, z]: [f64; 3]) -> [f64; 3] {
    [b * z - c * y, c * x - a * z, a * y - b * x]
}

/// The inverse of a matrix that is known not to be singular.
fn inverse(m: [[f64; 3]; 3]) -> [[f64; 3]; 3] {
    let columns = [cross(m[1], m[2]), cross(m[2], m[0]), cross(m[0], m[1])];
    let determinant = dot(m[0], columns[0]);
    std::array::from_fn(|row| std::array::from_fn(|col| columns[col][row] / determinant))
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    prop_compose! {
        /// A grid anywhere in the patient, turned about two axes and with its axes in any order.
        pub(in crate::imaging) fn grids()(
            shape in [1usize..12, 1usize..14, 1usize..16],
            spacing in [0.3..6.0f64, 0.3..2.0, 0.3..2.0],
            origin in [-300.0..300.0f64, -300.0..300.0, -900.0..900.0],
            angles in [-3.1..3.1f64, -1.5..1.5],
        ) -> Grid {
            let [(s, c), (t, d)] = angles.map(f64::sin_cos);
            let direction = [[-s * t, c * t, d], [-s * d, c * d, -t], [c, s, 0.0]];
            Grid { shape, spacing, origin, direction }
        }
    }

    proptest! {
        #[test]
        fn points_come_back(grid in grids(), at in [-9.0..30.0f64, -9.0..30.0, -9.0..30.0]) {
            grid.validate().unwrap();
            let back = grid.to_voxel(grid.to_patient(at));
            prop_assert!(back.iter().zip(at).all(|(b, a)| (b - a).abs() < 1e-8), "{back:?} {at:?}");
        }

        #[test]
        fn a_turn_moves_no_voxel_in_the_patient(grid in grids(), wanted in "[LR][AP][IS]", order in 0usize..6) {
            let l: Vec<char> = wanted.chars().collect();
            let letters: String = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]]
                [order].iter().map(|&i| l[i]).collect();
            let turn = grid.turn_to(&letters).unwrap();
            let turned = grid.turned(turn);
            prop_assert_eq!(turned.orientation(), letters);
            let first = turned.to_patient([0.5; 3]);
            let back = grid.to_voxel(first);
            for axis in 0..3 {
                let from = turn.from[axis];
                let wanted = if turn.flip[axis] { grid.shape[from] as f64 - 0.5 } else { 0.5 };
                prop_assert!((back[from] - wanted).abs() < 1e-8);
            }
        }

        #[test]
        fn a_resize_keeps_the_corners(grid in grids(), shape in [1usize..20, 1usize..20, 1usize..20]) {
            let resized = grid.resized(shape);
            for corner in [[0.0; 3], [1.0; 3], [0.0, 1.0, 0.0]] {
                let at = |shape: [usize; 3]| std::array::from_fn(|a| corner[a] * shape[a] as f64);
                let (old, new) = (grid.to_patient(at(grid.shape)), resized.to_patient(at(shape)));
                prop_assert!(old.iter().zip(new).all(|(a, b)| (a - b).abs() < 1e-8));
            }
        }
    }

    #[test]
    fn an_orientation_that_is_none_is_named() {
        let error = Grid::new([1; 3], [1.0; 3]).turn_to("LLS").unwrap_err().to_string();
        assert_eq!(
            error,
            "orientation: expected one letter each of L or R, P or A, S or I, as \"LPS\", found \"LLS\""
        );
    }
}
