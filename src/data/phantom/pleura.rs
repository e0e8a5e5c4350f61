//! Findings around the lung: fluid and air in the pleural space.

use super::canvas::smoothstep;
use super::finding::{Finding, Lesion};
use super::scene::Scene;
use crate::random::Random;

/// How far free air pushes the lung off the apex, cm, by degree.
fn gap(lesion: &Lesion, random: &mut Random) -> f32 {
    let (low, high) = [(1.5, 2.2), (2.7, 4.0), (5.0, 7.0)][lesion.degree];
    random.range(low, high) as f32
}

/// Free pleural air: a dark rim without vessels, a thin white line, a denser lung behind it.
pub(super) fn pneumothorax(scene: &mut Scene, lesion: &Lesion) {
    for &side in lesion.side.indices() {
        let random = &mut Random::new(lesion.seed, &[side as u64]);
        let top = gap(lesion, random);
        let droop = random.range(0.55, 0.8) as f32;
        let height = scene.body.height;
        let mut mask = scene.blank();
        for index in 0..scene.lung.len() {
            let (x, y) = scene.at(index);
            if (x > 0.0) != (side == 1) || scene.lung[index] <= 0.0 {
                continue;
            }
            let wide = top * (1.12 - droop * (y / height).min(1.15)).max(0.04);
            // Positive in the free air, in cm from the visceral pleura.
            let beyond = wide - scene.body.wall_distance(x, y);
            let soft = 0.5 * scene.frame.pixel;
            let bare = smoothstep(-soft, soft, beyond);
            scene.bare[index] = scene.bare[index].max(bare);
            let line = 0.17 * (-(beyond / soft.max(0.1)).powi(2)).exp();
            scene.dense.data[index] += line * smoothstep(0.0, 4.0, scene.lung[index]);
            // The lung keeps its blood in less room.
            let packed = 0.05 + 0.16 * lesion.degree as f32 / 2.0;
            scene.fill[index] = scene.fill[index].max((1.0 - bare) * packed);
            mask[(index / scene.frame.size, index % scene.frame.size)] =
                beyond > 0.0 && y < scene.body.dome(x);
        }
        scene.mark(Finding::Pneumothorax, mask);
    }
}

/// Free fluid: a meniscus that rises along the wall, level when there is air above it.
pub(super) fn effusion(scene: &mut Scene, lesion: &Lesion, level: impl Fn(usize) -> bool) {
    for &side in lesion.side.indices() {
        let random = &mut Random::new(lesion.seed, &[side as u64]);
        let body = &scene.body;
        let (top, height) = (body.domes[side], body.height);
        let surface = match lesion.degree {
            0 => top + random.range(1.4, 2.6) as f32,
            1 => top - random.range(1.0, 3.2) as f32,
            _ => height * random.range(0.38, 0.58) as f32,
        };
        let flat = level(side);
        let layered = scene.body.posture.portable && random.chance(0.45);
        let haze = if layered && !flat { 0.14 + 0.1 * lesion.degree as f32 } else { 0.0 };
        scene.fill_lung(
            Finding::Effusion,
            side,
            |body, x, y| {
                let v = 2.0 * x.abs() / body.outer(y) - 1.0;
                let climb = if flat { 0.0 } else { v * v };
                let rise = climb * if v > 0.0 { 3.4 } else { 0.9 };
                let fade = if flat { 0.15 } else { 0.9 };
                let pool = smoothstep(surface - rise - fade, surface - rise + fade, y);
                (0.96 * pool).max(haze * smoothstep(0.15 * height, 0.9 * height, y))
            },
            |body, x, y, share| share > 0.42 && y < body.dome(x) + 0.4,
        );
    }
}
