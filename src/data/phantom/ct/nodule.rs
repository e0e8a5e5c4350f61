//! Nodules voxel by voxel: density, margin and exact extent.

use super::finding::{Attenuation, Margin, Nodule};
use super::space::{Point, add, norm, ramp, sub, times, unit};
use super::tube::{Tube, Where};
use crate::data::phantom::noise::smooth3;
use crate::random::Random;

impl Nodule {
    /// Half of the widest extent, mm.
    pub(super) fn reach(&self) -> f32 {
        0.5 * self.diameter * if self.margin == Margin::PoorlyDefined { 1.5 } else { 1.3 }
    }

    /// How deep a place of the patient lies under the surface, mm.
    fn depth(&self, place: Point) -> f32 {
        let from = sub(place, self.centre);
        let radius = 0.5 * self.diameter;
        let towards = unit(from);
        let bumps = match self.margin {
            Margin::Smooth | Margin::PoorlyDefined => 0.03,
            Margin::Lobulated => 0.16,
            Margin::Spiculated => 0.10,
        };
        let shape = 1.0 + bumps * smooth3(self.seed, times(towards, 1.7));
        radius * shape - norm(from)
    }

    /// What share of a voxel is nodule, and its CT number there.
    pub(super) fn cover(&self, place: Point, grain: f32) -> Option<(f32, f32)> {
        let depth = self.depth(place);
        let soft = match self.margin {
            Margin::PoorlyDefined => 0.22 * self.diameter,
            _ => 0.0,
        };
        let cover = ramp(-0.5, 0.5, depth / (grain + soft));
        if cover <= 0.0 {
            return None;
        }
        let grey = smooth3(self.seed ^ 8, times(place, 0.25));
        let glass = -590.0 + 45.0 * grey;
        let density = match self.attenuation {
            Attenuation::Solid => 38.0 + 10.0 * grey,
            Attenuation::GroundGlass => glass,
            Attenuation::PartSolid => {
                let core = ramp(-0.5, 0.5, (depth - 0.24 * self.diameter) / grain);
                glass + core * (35.0 - glass)
            }
        };
        Some((cover, density))
    }

    /// The spikes of a spiculated nodule; they are no part of its extent.
    pub(super) fn spikes(&self) -> Vec<Tube> {
        if self.margin != Margin::Spiculated {
            return Vec::new();
        }
        let mut random = Random::new(u64::from(self.seed), &[11]);
        let count = 10 + random.below(8);
        (0..count)
            .map(|_| {
                let towards = unit(std::array::from_fn(|_| random.normal() as f32));
                let from = add(self.centre, times(towards, 0.42 * self.diameter));
                let length = self.diameter * random.range(0.25, 0.6) as f32;
                let to = add(from, times(towards, length));
                Tube::full([from, to], 0.55, -150.0, Where::Chest)
            })
            .collect()
    }
}
