//! Tubes, lines and implants, drawn where they belong; leads and side letters, which are no findings.

use super::body::{Body, sign};
use super::canvas::{Layer, Tube, smoothstep, spline};
use super::finding::{Device, Kind};
use crate::random::Random;

/// Draws a device into `layer`, in units of attenuation.
pub(super) fn draw(layer: &mut Layer, body: &Body, device: &Device) {
    let random = &mut Random::new(device.seed, &[]);
    match device.kind {
        Kind::TrachealTube => tracheal_tube(layer, body, random),
        Kind::CentralLine => central_line(layer, body, device.side.covers(0), random),
        Kind::Pacemaker => pacemaker(layer, body, device.side.covers(1), random),
        Kind::GastricTube => gastric_tube(layer, body, random),
        Kind::ChestTube => chest_tube(layer, body, device.side.covers(1), random),
    }
}

fn tracheal_tube(layer: &mut Layer, body: &Body, random: &mut Random) {
    let tip = body.carina - random.range(2.6, 5.0) as f32;
    let tilt = 3.0 * body.posture.rotation + 0.3 * body.posture.shift;
    let path = spline(&[[tilt + 0.4, -14.0, 0.5], [tilt, -4.0, 0.5], [tilt - 0.15, tip, 0.5]], 8);
    layer.tube(&path, Tube::Shell(0.12, 0.0), 0.8);
    let stripe: Vec<_> = path.iter().map(|p| [p[0] + 0.3, p[1], 0.11]).collect();
    layer.tube(&stripe, Tube::Solid, 5.0);
}

fn central_line(layer: &mut Layer, body: &Body, right: bool, random: &mut Random) {
    let tip = body.carina + random.range(0.5, 4.5) as f32;
    let cava = -2.3 + body.posture.shift + 2.0 * body.posture.rotation;
    let end = [cava + 0.2, tip, 0.15];
    let jugular = random.chance(0.55);
    let path = match (right, jugular) {
        (true, true) => vec![[-5.0, -13.0], [-4.0, -5.0], [-2.9, 0.5], [cava, 4.5]],
        (true, false) => vec![[-14.5, 7.0], [-11.0, 2.6], [-6.5, 1.6], [-3.3, 2.6], [cava, 5.0]],
        (false, true) => vec![[5.2, -13.0], [4.2, -5.0], [3.0, 1.4], [0.6, 3.8], [cava, 6.0]],
        (false, false) => {
            vec![[14.5, 7.5], [11.0, 2.8], [6.0, 1.8], [2.6, 2.8], [-0.4, 4.3], [cava, 6.4]]
        }
    };
    let mut points: Vec<[f32; 3]> = path.into_iter().map(|[x, y]| [x, y, 0.15]).collect();
    points.push(end);
    layer.tube(&spline(&points, 8), Tube::Solid, 5.0);
}

fn pacemaker(layer: &mut Layer, body: &Body, left: bool, random: &mut Random) {
    let s = sign(usize::from(left));
    let x0 = s * random.range(8.6, 10.4) as f32;
    let y0 = random.range(4.0, 5.6) as f32;
    let (half, tall) = (2.3, 1.95);
    layer.paint([x0 - 3.0, y0 - 3.0, x0 + 3.0, y0 + 3.0], |x, y| {
        let (u, v) = (((x - x0) / half).abs(), ((y - y0) / tall).abs());
        let edge = 1.0 - (u.powi(4) + v.powi(4)).sqrt().sqrt();
        let header = if v < 1.0 && y < y0 - 0.45 * tall { 0.55 } else { 1.0 };
        2.4 * header * smoothstep(-0.04, 0.06, edge)
    });
    let bounds = body.heart_bounds();
    let cava = -2.2 + body.posture.shift;
    let floor = bounds[3];
    let start = [[x0 - s * 0.6, y0 - 1.9], [x0 - s * 2.0, y0 - 2.9], [s * 5.0, 2.0]];
    let over = if left { vec![[1.6, 3.2], [-1.0, 4.8]] } else { vec![[-3.4, 3.0]] };
    let atrium = [bounds[0] + 1.6, floor - 6.4];
    let apex = [bounds[0] + 0.70 * (bounds[2] - bounds[0]), floor - 1.9];
    for ends in [
        vec![[cava, 7.0], [cava + 0.3, floor - 4.6], atrium],
        vec![[cava + 0.3, 7.0], [cava + 0.5, floor - 5.2], [0.8, floor - 2.4], apex],
    ] {
        let way = start.iter().chain(&over).chain(&ends);
        let points: Vec<[f32; 3]> = way.map(|[x, y]| [*x, *y, 0.11]).collect();
        layer.tube(&spline(&points, 7), Tube::Solid, 3.6);
        if let [.., a, b] = points[..] {
            let near = [0.8 * b[0] + 0.2 * a[0], 0.8 * b[1] + 0.2 * a[1], 0.19];
            layer.tube(&[near, [b[0], b[1], 0.19]], Tube::Solid, 4.0);
        }
    }
}

fn gastric_tube(layer: &mut Layer, body: &Body, random: &mut Random) {
    let shift = 0.4 * body.posture.shift;
    let dome = body.domes[1];
    let tip = [random.range(4.5, 7.5) as f32, dome + random.range(3.6, 6.0) as f32];
    let points = [
        [0.5, -14.0, 0.17],
        [0.4, -3.0, 0.17],
        [0.7 + shift, body.carina, 0.17],
        [0.5 + shift, 0.8 * dome, 0.17],
        [1.6, dome + 1.6, 0.17],
        [tip[0], tip[1], 0.19],
    ];
    layer.tube(&spline(&points, 8), Tube::Shell(0.1, 0.2), 4.5);
}

fn chest_tube(layer: &mut Layer, body: &Body, left: bool, random: &mut Random) {
    let s = sign(usize::from(left));
    let entry = random.range(0.52, 0.72) as f32 * body.height;
    let wall = body.outer(entry);
    let points = [
        [s * (wall + 4.5), entry + 2.4, 0.36],
        [s * (wall + 1.0), entry + 0.6, 0.36],
        [s * (wall - 1.6), entry - 2.6, 0.36],
        [s * 8.2, 0.30 * body.height, 0.36],
        [s * random.range(5.6, 7.0) as f32, 0.13 * body.height, 0.36],
    ];
    let path = spline(&points, 8);
    layer.tube(&path, Tube::Shell(0.1, 0.0), 0.7);
    let stripe: Vec<_> = path.iter().map(|p| [p[0] + s * 0.14, p[1] + 0.1, 0.12]).collect();
    layer.tube(&stripe, Tube::Solid, 5.0);
}

/// Electrodes and their wires on the skin of a bedside patient.
pub(super) fn leads(layer: &mut Layer, body: &Body, random: &mut Random) {
    let height = body.height;
    let spots = [(-0.95, -0.02), (0.95, 0.0), (-1.0, 0.95), (1.05, 0.9), (0.2, 0.98)];
    for (x, y) in spots.iter().take(3 + random.below(3)) {
        let x = x * body.build.half_width + random.range(-1.5, 1.5) as f32;
        let y = y * height + random.range(-1.5, 1.5) as f32;
        layer.tube(&[[x, y, 0.62], [x + 0.05, y, 0.62]], Tube::Shell(0.2, 0.0), 0.8);
        let away = if x > 0.0 { 1.0 } else { -1.0 };
        let bend = |random: &mut Random| random.range(-2.5, 2.5) as f32;
        let path = [
            [x, y, 0.07],
            [x + away * 3.0 + bend(random), y + 4.0 + bend(random), 0.07],
            [x + away * 6.0 + bend(random), y + 9.0 + bend(random), 0.07],
            [x + away * 12.0, y + 16.0 + bend(random), 0.07],
        ];
        layer.tube(&spline(&path, 6), Tube::Solid, 2.0);
    }
}

/// The lead letter beside the shoulder: `L` on the patient's left, `R` on the right.
pub(super) fn letter(layer: &mut Layer, left: bool, random: &mut Random) {
    let frame = layer.frame;
    let span = frame.size as f32 * frame.pixel;
    let column = if left { 0.92 } else { 0.08 } + random.range(-0.03, 0.03);
    let row = random.range(0.06, 0.14);
    let (x0, y0) = (
        frame.centre[0] + (column as f32 - 0.5) * span,
        frame.centre[1] + (row as f32 - 0.5) * span,
    );
    let unit = 0.95;
    let strokes: Vec<Vec<[f32; 2]>> = if left {
        vec![vec![[-0.6, -1.0], [-0.6, 1.0], [0.65, 1.0]]]
    } else {
        let bow = vec![[-0.6, -1.0], [0.3, -1.0], [0.65, -0.5], [0.3, 0.0], [-0.6, 0.0]];
        vec![vec![[-0.6, 1.0], [-0.6, -1.0]], bow, vec![[0.0, 0.0], [0.7, 1.0]]]
    };
    for stroke in strokes {
        let points: Vec<[f32; 3]> =
            stroke.iter().map(|[x, y]| [x0 + unit * x, y0 + unit * y, 0.2]).collect();
        layer.tube(&points, Tube::Solid, 14.0);
    }
}
