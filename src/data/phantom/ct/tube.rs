//! Tubes and balls: what vessels, airways, ribs and nodes are painted with.

use super::space::{Point, dot, norm, sub, times};

/// Where a shape may be painted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Where {
    /// Anywhere in the body.
    Body,
    /// In the lungs and between them, where no fluid is.
    Chest,
    /// Between the lungs.
    Middle,
}

/// A straight piece of tube with round ends; a ball when both ends are one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tube {
    /// Ends in the patient, mm.
    pub(super) ends: [Point; 2],
    /// Outer radius, mm.
    pub(super) radius: f32,
    /// Thickness of the wall, mm.
    pub(super) wall: f32,
    /// CT number of the wall.
    pub(super) shell: f32,
    /// CT number of what is inside.
    pub(super) core: f32,
    pub(super) place: Where,
    /// Bits that the truth gets where the tube is.
    pub(super) truth: u32,
}

impl Tube {
    /// A tube of one density.
    pub(super) fn full(ends: [Point; 2], radius: f32, density: f32, place: Where) -> Self {
        Self { ends, radius, wall: radius, shell: density, core: density, place, truth: 0 }
    }

    pub(super) fn marked(self, truth: u32) -> Self {
        Self { truth, ..self }
    }

    /// Lowest and highest coordinate along an axis, `grow` mm added.
    pub(super) fn span(&self, axis: usize, grow: f32) -> [f32; 2] {
        let (a, b) = (self.ends[0][axis], self.ends[1][axis]);
        [a.min(b) - self.radius - grow, a.max(b) + self.radius + grow]
    }

    /// Distance of a place from the tube's axis, mm.
    pub(super) fn distance(&self, place: Point) -> f32 {
        let axis = sub(self.ends[1], self.ends[0]);
        let from = sub(place, self.ends[0]);
        let t = (dot(from, axis) / dot(axis, axis).max(1e-6)).clamp(0.0, 1.0);
        norm(sub(from, times(axis, t)))
    }

    /// How much of a voxel `grain` mm wide lies in the tube, and its CT number there.
    pub(super) fn cover(&self, place: Point, grain: f32) -> Option<(f32, f32)> {
        let distance = self.distance(place);
        let wide = self.radius.max(0.5 * grain);
        // A tube thinner than the voxel fills it in part only.
        let share = (self.radius / wide).powi(2);
        let cover = share * ((wide - distance) / grain + 0.5).clamp(0.0, 1.0);
        if cover <= 0.0 {
            return None;
        }
        let inner = self.radius - self.wall;
        let core =
            if inner > 0.0 { ((inner - distance) / grain + 0.5).clamp(0.0, 1.0) } else { 0.0 };
        let core = if inner < 0.5 * grain {
            core * (inner.max(0.0) / (0.5 * grain)).powi(2)
        } else {
            core
        };
        Some((cover, self.shell + core * (self.core - self.shell)))
    }
}

/// Tubes along a path of the patient.
pub(super) fn path(points: &[Point], mut tube: impl FnMut(usize, [Point; 2]) -> Tube) -> Vec<Tube> {
    points.windows(2).enumerate().map(|(i, pair)| tube(i, [pair[0], pair[1]])).collect()
}
