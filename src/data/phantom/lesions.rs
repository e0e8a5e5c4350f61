//! Findings inside the lung: consolidation, pneumonia, nodules, edema, atelectasis.

use super::body::sign;
use super::bones::polygon_depth;
use super::canvas::{Tube, smoothstep, spline};
use super::finding::{Finding, Lesion, Zone};
use super::noise::cloud;
use super::scene::Scene;
use super::vessels::hilum;
use crate::random::Random;

/// A point of aerated lung in a zone, away from its borders by `margin` cm.
fn place(scene: &Scene, side: usize, zone: Zone, margin: f32, random: &mut Random) -> (f32, f32) {
    let body = &scene.body;
    let share = match zone {
        Zone::Upper => [0.17, 0.32],
        Zone::Middle => [0.40, 0.60],
        Zone::Lower | Zone::None => [0.70, 0.88],
    };
    let mut best = (sign(side) * 7.0, 0.5 * body.height);
    let mut depth = f32::NEG_INFINITY;
    for _ in 0..24 {
        let y = random.range(share[0], share[1]) as f32 * body.height;
        let x = sign(side) * random.range(0.4, 0.84) as f32 * body.outer(y);
        // Deep enough in the lung on all sides that a reader can see it.
        let room = [(0.0, 0.0), (margin, 0.0), (-margin, 0.0), (0.0, margin)]
            .iter()
            .map(|(dx, dy)| {
                let (x, y) = (x + dx, y + dy);
                let hidden = body.heart(x, y).max(body.mediastinum(x, y));
                body.cavity(x, y) * (1.0 - body.abdomen(x, y)) - 1.6 * hidden
            })
            .fold(f32::INFINITY, f32::min);
        if room > depth {
            depth = room;
            best = (x, y);
        }
        if room > 4.0 {
            break;
        }
    }
    best
}

/// Dense, fairly even airspace filling with open bronchi, sometimes cut off by a fissure.
pub(super) fn consolidation(scene: &mut Scene, lesion: &Lesion) {
    for &side in lesion.side.indices() {
        let random = &mut Random::new(lesion.seed, &[side as u64]);
        let degree = lesion.degree as f32;
        let (x0, y0) = place(scene, side, lesion.zone, 1.5, random);
        let wide = (2.7 + 0.75 * degree) * random.range(0.9, 1.2) as f32;
        let tall = wide * random.range(0.75, 1.1) as f32;
        let strength = [0.50, 0.66, 0.82][lesion.degree] * random.range(0.93, 1.05) as f32;
        let seed = random.bits() as u32;
        let lobar = random.chance(0.3).then(|| y0 + tall * random.range(0.15, 0.5) as f32);
        let lobar = lobar.filter(|_| lesion.zone != Zone::Lower);
        let shape = move |x: f32, y: f32| {
            let (u, v) = ((x - x0) / wide, (y - y0) / tall);
            let edge = 1.0 - u.hypot(v) + 0.30 * cloud(seed, x * 0.36, y * 0.36, 3);
            let cut =
                lobar.map_or(1.0, |fissure| smoothstep(0.3, -0.3, y - fissure - 0.06 * (x - x0)));
            smoothstep(-0.22, 0.36, edge) * cut
        };
        scene.fill_lung(
            lesion.finding,
            side,
            |_, x, y| strength * shape(x, y) * (1.0 + 0.10 * cloud(seed ^ 5, x, y, 2)),
            |body, x, y, share| share > 0.42 * strength && y < body.dome(x) + 0.5,
        );
        let (hx, hy) = hilum(&scene.body, side);
        for turn in [-0.5f32, 0.0, 0.5] {
            let along = |t: f32, swing: f32| {
                let (dx, dy) = (x0 - hx, y0 - hy);
                let swing = swing * turn;
                [hx + t * (dx - swing * dy), hy + t * (dy + swing * dx), 0.26 - 0.14 * t]
            };
            let path = spline(&[along(0.45, 0.1), along(0.75, 0.6), along(1.25, 1.1)], 5);
            let before = scene.air.data.clone();
            scene.air.tube(&path, Tube::Solid, 1.6);
            // Air shows only where it lies within filled lung.
            for (i, value) in scene.air.data.iter_mut().enumerate() {
                let (x, y) = scene.frame.to_body(i % scene.frame.size, i / scene.frame.size);
                *value = before[i] + (*value - before[i]) * shape(x, y);
            }
        }
    }
}

/// Patchy, ill-defined acinar clouds around a centre.
pub(super) fn pneumonia(scene: &mut Scene, lesion: &Lesion) {
    for &side in lesion.side.indices() {
        let random = &mut Random::new(lesion.seed, &[side as u64]);
        let (x0, y0) = place(scene, side, lesion.zone, 1.0, random);
        let spread = 1.9 + 0.55 * lesion.degree as f64;
        let patches: Vec<[f32; 3]> = (0..5 + 3 * lesion.degree)
            .map(|_| {
                [
                    x0 + (0.85 * spread * random.normal()) as f32,
                    y0 + (spread * random.normal()) as f32,
                    random.range(1.1, 2.3) as f32,
                ]
            })
            .collect();
        let seed = random.bits() as u32;
        let strength = [0.36, 0.50, 0.64][lesion.degree] * random.range(0.9, 1.1) as f32;
        scene.fill_lung(
            Finding::Pneumonia,
            side,
            |_, x, y| {
                let clear: f32 = patches
                    .iter()
                    .map(|[px, py, r]| {
                        let d = ((x - px).powi(2) + (y - py).powi(2)) / (r * r);
                        if d > 6.0 { 1.0 } else { 1.0 - 0.8 * (-0.7 * d).exp() }
                    })
                    .product();
                if clear > 0.999 {
                    return 0.0;
                }
                let grain = 0.88 + 0.42 * cloud(seed, x * 1.2, y * 1.2, 3);
                strength * (1.0 - clear) * grain.clamp(0.15, 1.5)
            },
            |body, x, y, share| share > 0.4 * strength && y < body.dome(x) + 0.5,
        );
    }
}

/// One round lesion, sometimes with small companions.
pub(super) fn nodule(scene: &mut Scene, lesion: &Lesion) {
    for &side in lesion.side.indices() {
        let random = &mut Random::new(lesion.seed, &[side as u64]);
        let radius = lesion.size / 20.0;
        let (x0, y0) = place(scene, side, lesion.zone, radius, random);
        let seed = random.bits() as u32;
        let rough = random.range(0.04, 0.15) as f32;
        let mut balls = vec![[x0, y0, radius]];
        if random.chance(0.2) {
            for _ in 0..=random.below(3) {
                let (x, y) = place(scene, side, lesion.zone, 1.0, random);
                if (x - x0).hypot(y - y0) > 2.0 * radius + 1.0 {
                    balls.push([x, y, (radius * random.range(0.45, 0.8) as f32).max(0.6)]);
                }
            }
        }
        for [x0, y0, r] in balls {
            let inside = move |x: f32, y: f32| {
                let wobble = 1.0 + rough * cloud(seed, 1.6 * (x - x0) / r, 1.6 * (y - y0) / r, 3);
                1.0 - ((x - x0).powi(2) + (y - y0).powi(2)) / (r * wobble).powi(2)
            };
            let reach = 1.6 * r;
            scene.solid.paint([x0 - reach, y0 - reach, x0 + reach, y0 + reach], |x, y| {
                // Denser than life, so that a nodule of six pixels can be learnt on a small film.
                (6.5 + 2.2 * r) * inside(x, y).max(0.0).sqrt()
            });
            let mask = scene.mask_of(|x, y, _| inside(x, y) > 0.0);
            scene.mark(Finding::Nodule, mask);
        }
    }
}

/// Water around the hila and in the septa of both lungs.
pub(super) fn edema(scene: &mut Scene, lesion: &Lesion) {
    let strength = [0.20, 0.34, 0.50][lesion.degree];
    for &side in lesion.side.indices() {
        let random = &mut Random::new(lesion.seed, &[side as u64]);
        let (hx, hy) = hilum(&scene.body, side);
        let (x0, y0) = (hx + 1.8 * sign(side), hy + 2.0);
        let reach = 5.0 + 1.2 * lesion.degree as f32;
        let seed = random.bits() as u32;
        scene.fill_lung(
            Finding::Edema,
            side,
            |_, x, y| {
                let d = ((x - x0) / reach).powi(2) + ((y - y0) / (1.25 * reach)).powi(2);
                let wing = (-d * (0.8 + 0.3 * d)).exp();
                let grain = 0.97 + 0.28 * cloud(seed, x * 1.3, y * 1.3, 4);
                strength * (0.9 * wing + 0.12) * grain.max(0.1)
            },
            |body, x, y, share| share > 0.45 * strength && y < body.dome(x),
        );
        // Septal lines: short, level, at the lateral base.
        for line in 0..5 + 2 * lesion.degree {
            let y =
                scene.body.height * (0.62 + 0.035 * line as f32 + random.range(0.0, 0.02) as f32);
            let wall = scene.body.outer(y) - 0.5;
            let length = random.range(1.2, 2.2) as f32;
            let s = sign(side);
            let path = [[s * wall, y, 0.07], [s * (wall - length), y + 0.15, 0.05]];
            scene.solid.tube(&path, Tube::Solid, 7.0);
        }
    }
}

/// Plates of airless lung, or, when severe, a collapsed lobe; the rise of the dome is the body's.
pub(super) fn atelectasis(scene: &mut Scene, lesion: &Lesion) {
    for &side in lesion.side.indices() {
        let random = &mut Random::new(lesion.seed, &[side as u64]);
        if lesion.degree == 2 {
            collapse(scene, side, lesion.zone, random);
        } else {
            plates(scene, side, lesion, random);
        }
    }
}

fn collapse(scene: &mut Scene, side: usize, zone: Zone, random: &mut Random) {
    let body = &scene.body;
    let s = sign(side);
    let (hx, hy) = hilum(body, side);
    let (hx, base) = (s * hx, body.domes[side]);
    let reach = random.range(0.9, 1.15) as f32;
    let wedge = match zone {
        Zone::Upper => {
            [[hx - 1.5, hy + 0.6], [hx + 4.8 * reach, hy - 3.0], [hx + 3.6, 0.6], [1.5, 0.6]]
        }
        Zone::Middle => {
            let y = hy + 1.6;
            [[hx - 2.0, y], [hx + 6.4 * reach, y + 0.6], [hx + 4.0, y + 3.4], [hx - 2.0, y + 5.6]]
        }
        Zone::Lower | Zone::None => [
            [hx - 1.6, hy + 1.0],
            [hx + 5.2 * reach, base + 2.2],
            [hx + 2.0, base + 4.0],
            [0.8, base + 4.0],
        ],
    };
    let seed = random.bits() as u32;
    let strength = random.range(0.72, 0.86) as f32;
    scene.fill_lung(
        Finding::Atelectasis,
        side,
        |_, x, y| {
            let bow = 0.7 * cloud(seed, x * 0.25, y * 0.25, 2);
            strength * smoothstep(-0.15, 0.25, polygon_depth(&wedge, s * x, y) + bow)
        },
        |body, x, y, share| share > 0.5 * strength && y < body.dome(x) + 0.5,
    );
}

fn plates(scene: &mut Scene, side: usize, lesion: &Lesion, random: &mut Random) {
    let s = sign(side);
    let count = 1 + lesion.degree + random.below(2);
    let mut mask = scene.blank();
    for number in 0..count {
        let body = &scene.body;
        let (x, y) = match lesion.zone {
            Zone::Lower | Zone::None => {
                let x = random.range(6.0, 9.5) as f32;
                let above = 1.3 + 1.5 * number as f32 + random.range(0.0, 0.7) as f32;
                (x, body.dome(s * x) - above)
            }
            zone => {
                let (x, y) = place(scene, side, zone, 1.0, random);
                (s * x, y)
            }
        };
        let body = &scene.body;
        let half = random.range(2.2, 3.4) as f32 + 0.5 * lesion.degree as f32;
        let slope = random.range(-0.35, 0.35) as f32;
        let sag = random.range(-0.3, 0.3) as f32;
        let thick = 0.28 + 0.12 * lesion.degree as f32 + random.range(0.0, 0.08) as f32;
        let (low, high) = ((x - half).max(2.2), (x + half).min(body.outer(y) - 0.4));
        let points: Vec<[f32; 3]> = (0..=8)
            .map(|i| {
                let t = i as f32 / 8.0;
                let px = low + (high - low) * t;
                let taper = 0.55 + 0.45 * (4.0 * t * (1.0 - t)).sqrt();
                [s * px, y + slope * (px - x) + sag * (2.0 * t - 1.0).powi(2), thick * taper]
            })
            .collect();
        // A plate reaches several cm along the beam.
        scene.solid.tube(&points, Tube::Solid, 8.5);
        let mut trace = super::canvas::Layer::new(scene.frame);
        trace.tube(&points, Tube::Solid, 1.0);
        for (inside, value) in mask.iter_mut().zip(&trace.data) {
            *inside |= *value > 0.25 * thick;
        }
    }
    scene.mark(Finding::Atelectasis, mask);
}
