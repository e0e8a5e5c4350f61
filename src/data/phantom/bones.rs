//! The bony thorax: ribs with cortex and breaks, clavicles, scapulae, humeri, spine.

use std::f32::consts::PI;

use super::body::{Body, sign};
use super::canvas::{Layer, Tube, smoothstep, spline};
use crate::random::Random;

/// Extra attenuation of compact bone over soft tissue, per cm.
const COMPACT: f32 = 0.50;
/// Spongy bone relative to compact bone.
const SPONGY: f32 = 0.16;
/// Ribs that are drawn.
const RIBS: usize = 10;

/// A broken rib.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Break {
    /// 0 right, 1 left.
    pub(super) side: usize,
    /// 0 is the first rib.
    pub(super) rib: usize,
    /// Where on its way round, 0 at the spine, π at the sternum.
    pub(super) angle: f32,
    /// Step between the ends, cm.
    pub(super) step: f32,
    /// Half of the gap between the ends, in the unit of `angle`.
    pub(super) gap: f32,
}

/// A point (x, y) on rib `rib` at `angle`, in cm.
pub(super) fn rib_point(body: &Body, side: usize, rib: usize, angle: f32) -> (f32, f32) {
    let k = rib as f32;
    let pace = (body.build.height + 2.6) / 10.0 * (0.35 + 0.65 * body.posture.breath);
    let start = -1.1 + 1.3 * smoothstep(2.0, 0.0, k) + k * pace + 0.25 * (k - 4.0).max(0.0) * 0.2;
    let fall = 4.4 + 4.3 * smoothstep(0.0, 4.0, k);
    let turn = (angle / PI).clamp(0.0, 1.0);
    // A short rise over the transverse process, then ever steeper down and forwards.
    let y = start + fall * turn.powf(1.25) - 0.5 * (-(turn - 0.12).powi(2) / 0.006).exp();
    // The first two rings are narrower than the lung beside them.
    let wall = (body.outer(y.max(1.1)) + 0.35) * [0.74, 0.92].get(rib).copied().unwrap_or(1.0);
    let x = sign(side) * wall * angle.sin().max(0.0).powf(0.82);
    (x + body.posture.rotation * body.half_depth(y) * -angle.cos() * 0.6, y)
}

/// Draws all bones into `layer`, in units of attenuation.
pub(super) fn draw(layer: &mut Layer, body: &Body, breaks: &[Break], random: &mut Random) {
    let strength = random.range(0.85, 1.15) as f32 * if body.build.female { 0.93 } else { 1.0 };
    for side in 0..2 {
        for rib in 0..RIBS {
            draw_rib(layer, body, side, rib, breaks, strength);
        }
        draw_clavicle(layer, body, side, strength, random);
        draw_scapula(layer, body, side, strength);
    }
    draw_spine(layer, body, strength);
}

fn draw_rib(
    layer: &mut Layer,
    body: &Body,
    side: usize,
    rib: usize,
    breaks: &[Break],
    strength: f32,
) {
    let here = breaks.iter().find(|b| b.side == side && b.rib == rib);
    let front = if rib == 0 { 0.86 * PI } else { 0.80 * PI - 0.016 * PI * rib as f32 };
    // Back and front cross where the rib turns: two tubes, so that their shadows add.
    for (from, to, radius) in [(0.13, PI / 2.0, 0.60), (PI / 2.0, front, 0.68)] {
        let piece = |from: f32, to: f32, step: f32| -> Vec<[f32; 3]> {
            (0..=14)
                .map(|i| {
                    let angle = from + (to - from) * i as f32 / 14.0;
                    let (x, y) = rib_point(body, side, rib, angle);
                    [
                        x,
                        y + step,
                        radius
                            * (1.0 - 0.25 * smoothstep(1.3, 1.8, angle) * f32::from(radius < 0.65)),
                    ]
                })
                .collect()
        };
        let kind = Tube::Shell(0.13, SPONGY);
        let gain = COMPACT * strength * if radius > 0.65 { 0.78 } else { 1.0 };
        match here {
            Some(b) if b.angle > from && b.angle <= to => {
                layer.tube(&piece(from, b.angle - b.gap, 0.0), kind, gain);
                layer.tube(&piece(b.angle + b.gap, to, b.step), kind, gain);
            }
            // Past a break behind it, the whole front goes with the loose end.
            Some(b) if b.angle <= from => layer.tube(&piece(from, to, b.step), kind, gain),
            _ => layer.tube(&piece(from, to, 0.0), kind, gain),
        }
    }
}

fn draw_clavicle(layer: &mut Layer, body: &Body, side: usize, strength: f32, random: &mut Random) {
    let s = sign(side);
    let raise = if body.posture.portable { 1.6 } else { 0.0 } + random.range(-0.5, 0.5) as f32;
    let shift = 6.0 * body.posture.rotation;
    let reach = body.build.shoulder - 1.8;
    let path = [
        [1.7, 4.8, 1.05],
        [3.4, 4.3, 0.78],
        [0.42 * reach, 3.3, 0.62],
        [0.68 * reach, 1.7, 0.62],
        [0.88 * reach, 0.8, 0.7],
        [reach, 0.9, 0.78],
    ]
    .map(|[x, y, r]| [s * x + shift * (1.0 - x / reach), y - raise * (0.5 + 0.5 * x / reach), r]);
    layer.tube(&spline(&path, 6), Tube::Shell(0.2, 0.22), COMPACT * 0.8 * strength);
}

fn draw_scapula(layer: &mut Layer, body: &Body, side: usize, strength: f32) {
    let s = sign(side);
    let shoulder = body.build.shoulder;
    let medial = if body.posture.portable { body.outer(7.0) - 2.3 } else { body.outer(8.0) + 0.4 };
    let tip = 12.8;
    let blade = [
        [medial - 0.6, 2.4],
        [shoulder - 3.4, 1.2],
        [shoulder - 1.6, 4.4],
        [medial + 2.0, tip],
        [medial + 0.5, tip - 0.5],
    ];
    layer.paint([s * medial - 8.0, 0.0, s * medial + 8.0, 14.0], |x, y| {
        0.16 * strength * smoothstep(-0.35, 0.35, polygon_depth(&blade, s * x, y))
    });
    let kind = Tube::Shell(0.16, 0.2);
    let at = |points: &[[f32; 3]]| -> Vec<[f32; 3]> {
        spline(&points.iter().map(|p| [s * p[0], p[1], p[2]]).collect::<Vec<_>>(), 5)
    };
    let gain = COMPACT * strength;
    let border =
        at(&[[shoulder - 1.8, 4.4, 0.42], [medial + 3.2, 8.6, 0.34], [medial + 1.4, tip, 0.36]]);
    layer.tube(&border, kind, 0.8 * gain);
    let crest = at(&[[medial, 3.6, 0.2], [shoulder - 4.0, 1.6, 0.4], [shoulder + 0.4, -0.2, 0.7]]);
    layer.tube(&crest, kind, 0.7 * gain);
    let coracoid = at(&[[shoulder - 3.0, 2.6, 0.6], [shoulder - 2.2, 2.0, 0.55]]);
    layer.tube(&coracoid, kind, gain);
    let spread = if body.posture.portable { 0.10 } else { 0.34 };
    let head = [shoulder + 0.3, 3.2, 2.35];
    layer.tube(
        &[[s * head[0], head[1], head[2]], [s * head[0], head[1] + 0.1, head[2]]],
        Tube::Shell(0.2, 0.2),
        0.75 * gain,
    );
    let shaft = at(&[
        [head[0], 4.6, 1.7],
        [head[0] + spread * 4.0, 8.0, 1.2],
        [head[0] + spread * 22.0, 27.0, 1.15],
    ]);
    layer.tube(&shaft, Tube::Shell(0.4, 0.1), 0.8 * gain);
}

fn draw_spine(layer: &mut Layer, body: &Body, strength: f32) {
    let pace = (body.build.height + 2.6) / 10.4;
    layer.paint([-3.5, -14.0, 3.5, 60.0], |x, y| {
        let phase = (y / pace).rem_euclid(1.0) - 0.5;
        let half = 1.55 + 0.025 * y.max(0.0) + 0.25 * (2.0 * phase).powi(2);
        let u = (x / half).abs();
        let vertebra = if u < 1.0 { (1.0 - u * u).sqrt() } else { 0.0 };
        let disc = 1.0 - 0.42 * smoothstep(0.40, 0.47, phase.abs());
        let plate = 0.22 * (-((phase.abs() - 0.38) / 0.045).powi(2)).exp();
        let pedicle =
            (((x.abs() - 1.05) / 0.42).powi(2) + ((phase + 0.12) * pace / 0.6).powi(2)).sqrt();
        let ring = 0.14 * (-((pedicle - 1.0) / 0.35).powi(2)).exp();
        let spinous = ((x / 0.35).powi(2) + ((phase - 0.2) * pace / 0.75).powi(2)).sqrt();
        let drop = 0.16 * smoothstep(1.3, 0.7, spinous);
        let transverse = 0.10
            * smoothstep(0.5, 0.25, ((phase + 0.1) * pace).abs())
            * smoothstep(3.2, 2.6, x.abs())
            * f32::from(u >= 1.0);
        strength * (vertebra * (0.17 * disc + plate + ring) + drop + transverse)
    });
    // Manubrium and sternum, seen through the mediastinum.
    let shift = 7.0 * body.posture.rotation;
    layer.paint([-5.0, 2.0, 5.0, 22.0], |x, y| {
        let half = if y < 6.5 { 2.6 - 0.22 * (y - 2.5) } else { 1.5 };
        0.10 * strength
            * smoothstep(half + 0.2, half - 0.2, (x - shift).abs())
            * smoothstep(2.4, 2.9, y)
            * smoothstep(19.0, 16.0, y)
    });
}

/// Signed distance to a polygon's border in cm, positive inside.
pub(super) fn polygon_depth(corners: &[[f32; 2]], x: f32, y: f32) -> f32 {
    let mut nearest = f32::INFINITY;
    let mut inside = false;
    for (i, a) in corners.iter().enumerate() {
        let b = corners[(i + 1) % corners.len()];
        let a3 = [a[0], a[1], 0.0];
        nearest = nearest.min(super::canvas::to_segment(x, y, a3, [b[0], b[1], 0.0]).0);
        if (a[1] > y) != (b[1] > y) && x < (b[0] - a[0]) * (y - a[1]) / (b[1] - a[1]) + a[0] {
            inside = !inside;
        }
    }
    if inside { nearest } else { -nearest }
}
