//! Airways and the vascular tree of the lungs.

use std::f32::consts::PI;

use super::body::{Body, sign};
use super::canvas::{Layer, Tube, spline};
use crate::random::Random;

/// How the vessels look: normal, or those of a failing left heart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Congestion {
    /// 0 normal … 1 severe: upper-lobe vessels widen.
    pub(super) upper: f32,
}

/// Where the hilum of a side lies, cm; the left one stands higher.
pub(super) fn hilum(body: &Body, side: usize) -> (f32, f32) {
    let x = if side == 0 { -3.3 } else { 3.4 } + body.posture.shift;
    (x, body.carina + if side == 0 { 2.4 } else { 1.4 })
}

/// Draws arteries and veins of both lungs, as thickness of blood in cm.
pub(super) fn draw_tree(
    layer: &mut Layer,
    body: &Body,
    congestion: Congestion,
    random: &mut Random,
) {
    for side in 0..2 {
        let (x, y) = hilum(body, side);
        let s = sign(side);
        let lower = if side == 0 { -4.7 } else { 4.4 } + body.posture.shift;
        layer.tube(
            &spline(
                &[
                    [x - s * 1.6, y - 1.6, 1.0],
                    [x, y - 0.6, 1.05],
                    [0.5 * (x + lower) + 0.3 * s, y + 1.2, 0.85],
                    [lower, y + 3.8, 0.5],
                ],
                6,
            ),
            Tube::Solid,
            0.9,
        );
        let room = (body.height - y).max(6.0);
        for twig in 0..10 {
            // From straight up (−π/2) over sideways (0) to straight down, with gaps.
            let share = (f64::from(twig) + random.range(0.15, 0.85)) / 10.0;
            let angle = (-0.46 + 0.93 * share as f32) * PI;
            let down = share as f32;
            let widen = 0.78 + 0.5 * down + 0.75 * congestion.upper * (1.0 - down);
            let reach =
                (0.30 + 0.10 * random.uniform() as f32) * if angle < 0.0 { y } else { room };
            let start = [x + 0.6 * s, y + 2.6 * (down - 0.35)];
            branch(layer, start, angle, s, 0.42 * widen, reach.min(5.6), 0, random);
        }
    }
}

#[allow(clippy::too_many_arguments)] // a recursion carries its state
fn branch(
    layer: &mut Layer,
    from: [f32; 2],
    angle: f32,
    s: f32,
    radius: f32,
    length: f32,
    depth: u32,
    random: &mut Random,
) {
    if depth > 4 || radius < 0.05 {
        return;
    }
    let bend = random.range(-0.22, 0.22) as f32;
    let point = |at: [f32; 2], angle: f32, step: f32| {
        [at[0] + s * angle.cos() * step, at[1] + angle.sin() * step]
    };
    let middle = point(from, angle, 0.5 * length);
    let end = point(middle, angle + bend, 0.5 * length);
    let thin = 0.86 * radius;
    layer.tube(
        &[
            [from[0], from[1], radius],
            [middle[0], middle[1], 0.93 * radius],
            [end[0], end[1], thin],
        ],
        Tube::Solid,
        1.6 - 0.15 * depth as f32,
    );
    for turn in [-1.0, 1.0] {
        let swing = turn * random.range(0.18, 0.6) as f32;
        let shrink = random.range(0.6, 0.8) as f32;
        let stretch = random.range(0.62, 0.88) as f32;
        branch(
            layer,
            end,
            angle + bend + swing,
            s,
            thin * shrink,
            length * stretch,
            depth + 1,
            random,
        );
    }
}

/// Draws the air of trachea and main bronchi, in cm.
pub(super) fn draw_airways(layer: &mut Layer, body: &Body) {
    let (c, shift) = (body.carina, body.posture.shift);
    let tilt = 3.0 * body.posture.rotation;
    let arch = 0.35 + 0.5 * body.build.aorta;
    let trachea = [
        [tilt, -14.0, 0.85],
        [tilt, -4.0, 0.85],
        [-arch + 0.5 * tilt + 0.7 * shift, c - 3.0, 0.88],
        [-0.3 + 0.3 * tilt + shift, c, 0.95],
    ];
    layer.tube(&spline(&trachea, 8), Tube::Solid, 1.0);
    let x = -0.3 + shift;
    layer.tube(
        &spline(&[[x, c, 0.7], [x - 1.9, c + 1.9, 0.66], [x - 3.0, c + 4.2, 0.5]], 6),
        Tube::Solid,
        0.9,
    );
    layer.tube(
        &spline(&[[x, c, 0.65], [x + 2.6, c + 1.6, 0.6], [x + 4.4, c + 2.5, 0.42]], 6),
        Tube::Solid,
        0.9,
    );
}
