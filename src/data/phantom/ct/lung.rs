//! The lung point by point: air, and what disease makes of it.

use super::body::Level;
use super::finding::{Finding, Lesion, Lobe};
use super::space::{Point, norm, ramp, sub};
use crate::data::phantom::noise::{lattice, smooth3};

/// What a place in the pleural space is like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Air {
    /// CT number.
    pub(super) density: f32,
    /// Bits of the lesions that are here.
    pub(super) truth: u32,
    /// Fluid or thick pleura has taken the lung's place.
    pub(super) displaced: bool,
}

/// The lesions that may reach a level, each with the bit of its truth.
pub(super) fn near(lesions: &[Lesion], first: u32, z: f32) -> Vec<(&Lesion, u32)> {
    let reaches = |lesion: &Lesion| {
        let local = matches!(
            lesion.finding,
            Finding::Consolidation | Finding::Covid | Finding::Atelectasis | Finding::Thickening
        );
        !local
            || lesion.spots.iter().any(|spot| (spot.centre[2] - z).abs() < 1.5 * spot.radius + 4.0)
    };
    let bits = lesions.iter().enumerate().map(|(i, lesion)| (lesion, 1 << (first + i as u32)));
    bits.filter(|(lesion, _)| reaches(lesion)).collect()
}

/// The lung at a place of a level.
pub(super) fn lung(
    level: &Level<'_>,
    lobe: Lobe,
    x: f32,
    y: f32,
    inflation: f32,
    lesions: &[(&Lesion, u32)],
) -> Air {
    let seed = level.body.seed;
    let place = [x, y, level.z];
    let texture = smooth3(seed ^ 0x29, place.map(|v| v * 0.11));
    // Blood sinks to the back of someone who lies.
    let gravity = 0.35 * y + 0.8 * level.body.breath * ramp(-60.0, 80.0, y);
    let fissure = 150.0 * (-(level.fissure(x, y) / 0.8).powi(2)).exp();
    let mut air =
        Air { density: inflation + gravity + 14.0 * texture + fissure, truth: 0, displaced: false };
    for (lesion, bit) in lesions {
        change(&mut air, level, lobe, place, lesion, *bit);
    }
    air
}

fn change(air: &mut Air, level: &Level<'_>, lobe: Lobe, place: Point, lesion: &Lesion, bit: u32) {
    let sided = lesion.side.is_none_or(|side| side == 2 || (side == 0) == lobe.right());
    let lobed = lesion.lobe.is_none_or(|own| own == lobe);
    if !sided || !lobed {
        return;
    }
    let [x, y, z] = place;
    let degree = lesion.degree as f32;
    let mix = |air: &mut Air, share: f32, density: f32| {
        air.density += share * (density - air.density);
        if share >= 0.5 {
            air.truth |= bit;
        }
    };
    match lesion.finding {
        Finding::Emphysema => {
            let high = 0.35 + 0.65 * ramp(-70.0, 80.0, z);
            if hole(lesion.seed, place, high * (0.30 + 0.28 * degree)) {
                mix(air, 1.0, -972.0);
            }
        }
        Finding::Fibrosis => {
            let depth = (-level.cage(x, y)).min(level.above_diaphragm(x, y) * 1.2);
            let wave = 5.0 * smooth3(lesion.seed, place.map(|v| v * 0.05));
            let low = 1.0 - ramp(-45.0 + 40.0 * degree, -5.0 + 45.0 * degree, z);
            let share = ramp(4.0, 0.0, depth - low * (11.0 + 8.0 * degree) - wave * low)
                * ramp(0.05, 0.2, low);
            let net = smooth3(lesion.seed ^ 1, place.map(|v| v * 0.2)).abs();
            let density = if net < 0.16 { -260.0 } else { -790.0 };
            mix(air, share, density);
        }
        Finding::Covid | Finding::Consolidation => {
            let edge = 0.32 * smooth3(lesion.seed, place.map(|v| v * 0.055))
                + 0.12 * smooth3(lesion.seed ^ 2, place.map(|v| v * 0.16));
            let inside = lesion
                .spots
                .iter()
                .map(|spot| spot.radius * (1.0 + edge) - norm(sub(place, spot.centre)));
            let depth = inside.fold(f32::MIN, f32::max);
            let share = ramp(-2.5, 2.5, depth);
            if share > 0.0 {
                let fine = smooth3(lesion.seed ^ 4, place.map(|v| v * 0.3));
                let density = if lesion.finding == Finding::Covid {
                    -560.0 + 60.0 * fine
                } else {
                    34.0 + 14.0 * fine
                };
                mix(air, share, density);
            }
        }
        Finding::Atelectasis => {
            for spot in &lesion.spots {
                let from = sub(place, spot.centre);
                let sheet = from[2] - 0.22 * from[0] - 0.14 * from[1]
                    + 3.0 * smooth3(lesion.seed, place.map(|v| v * 0.03));
                let share = ramp(0.9, -0.9, sheet.abs() - 2.2 - 0.8 * degree)
                    * ramp(2.0, -2.0, from[0].hypot(from[1]) - spot.radius);
                mix(air, share, 15.0);
            }
        }
        Finding::Thickening => {
            let near = lesion.spots.iter().any(|spot| norm(sub(place, spot.centre)) < spot.radius);
            let depth = 3.2 + 2.0 * degree + smooth3(lesion.seed, place.map(|v| v * 0.08));
            if near && -level.cage(x, y) < depth {
                mix(air, 1.0, lesion.spots[0].density);
                air.displaced = true;
            }
        }
        Finding::Effusion => {
            let depth = [20.0, 38.0, 62.0][lesion.degree.min(2)] - 0.12 * (z + 150.0);
            let surface = 76.0 - depth - 0.0022 * (x.abs() - 62.0).powi(2);
            if depth > 0.0 && y > surface {
                let wave = smooth3(lesion.seed, place.map(|v| v * 0.05));
                air.truth = 0;
                mix(air, 1.0, 7.0 + 4.0 * wave);
                air.displaced = true;
            }
        }
        _ => {}
    }
}

/// Whether a place is in a hole of destroyed lung: one of two grids of cells, each with its ball.
fn hole(seed: u32, place: Point, share: f32) -> bool {
    [(9.0, 0.0), (6.2, 3.1)].iter().enumerate().any(|(layer, (size, shift))| {
        let at = place.map(|v| (v + shift) / size);
        let cell = at.map(f32::floor);
        let drawn = |purpose: u32| {
            let seed = seed
                ^ (cell[2] as i32 as u32).wrapping_mul(0x9e37_79b1)
                ^ (purpose * 7919 + layer as u32);
            0.5 + 0.5 * lattice(seed, cell[0] as i32, cell[1] as i32)
        };
        if drawn(0) > share {
            return false;
        }
        let radius = 0.28 + 0.2 * drawn(1);
        let free = 0.5 - radius;
        let offset = |purpose: u32| 0.5 + free * (2.0 * drawn(purpose) - 1.0);
        let from =
            [at[0] - cell[0] - offset(2), at[1] - cell[1] - offset(3), at[2] - cell[2] - offset(4)];
        norm(from) < radius
    })
}
