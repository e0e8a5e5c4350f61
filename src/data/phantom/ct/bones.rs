//! Ribs, sternum, collarbones, shoulder blades and the arches of the spine.

use super::body::Body;
use super::space::{Point, ramp};
use super::tube::{Tube, Where, path};

const CORTEX: f32 = 640.0;
const MARROW: f32 = 190.0;
const CARTILAGE: f32 = 105.0;

/// All bones but the bodies of the vertebrae.
pub(super) fn bones(body: &Body) -> Vec<Tube> {
    let mut tubes = Vec::new();
    for side in [-1.0, 1.0] {
        (1..=12).for_each(|number| tubes.extend(rib(body, number, side)));
        tubes.extend(shoulder(body, side));
    }
    tubes.extend(sternum(body));
    tubes.extend(arches(body));
    tubes
}

fn bone(ends: [Point; 2], radius: f32) -> Tube {
    Tube { wall: 1.3, core: MARROW, ..Tube::full(ends, radius, CORTEX, Where::Body) }
}

/// One rib: from its joint with the spine around the wall and down, then gristle.
fn rib(body: &Body, number: usize, side: f32) -> Vec<Tube> {
    let n = number as f32;
    let top = 124.0 - 21.5 * (n - 1.0);
    let fall = 26.0 + 48.0 * ramp(1.0, 7.0, n);
    let (end, bony) = match number {
        1 => (2.75, 2.5),
        2..=7 => (2.88, 2.35),
        8..=10 => (2.6, 2.2),
        _ => (if number == 11 { 1.9 } else { 1.4 }, 3.0),
    };
    let angle = |t: f32| 0.36 + (end - 0.36) * t;
    let points: Vec<Point> = (0..=30)
        .map(|step| {
            let t = step as f32 / 30.0;
            // Gristle climbs back to the sternum.
            let climb = 26.0 * ramp(bony, end, angle(t)) * ramp(2.0, 8.0, n);
            let z = top - fall * t.powf(0.9) + climb;
            let place = body.level(z.min(121.0)).on_cage(angle(t), 5.5);
            body.patient([side * place[0], place[1], z])
        })
        .collect();
    let mut tubes = path(&points, |step, ends| {
        let width = if number == 1 { 4.6 } else { 5.3 } - 0.8 * ramp(0.0, 8.0, step as f32);
        if angle(step as f32 / 30.0) < bony {
            bone(ends, width)
        } else {
            Tube::full(ends, width, CARTILAGE, Where::Body)
        }
    });
    // Neck and head at the vertebra.
    let spine = body.level(top).spine;
    let head = body.patient([side * 17.0, spine + 8.0, top + 2.0]);
    let tip = body.patient([side * 30.0, spine + 27.0, top]);
    tubes.push(bone([head, tip], 4.2));
    tubes.push(bone([tip, points[0]], 4.6));
    tubes
}

fn sternum(body: &Body) -> Vec<Tube> {
    let mut tubes = Vec::new();
    for x in [-13.0, -6.5, 0.0, 6.5, 13.0] {
        let width = |z: f32| if z > 50.0 { 1.35 } else { 0.85 };
        let points: Vec<Point> = [88.0, 66.0, 50.0, 48.0, 20.0, -10.0, -40.0]
            .iter()
            .map(|z| {
                let front = body.level(*z).on_cage(std::f32::consts::PI, 6.0);
                body.patient([x * width(*z), front[1].min(-56.0 - 0.3 * (60.0 - z).max(0.0)), *z])
            })
            .collect();
        tubes.extend(path(&points, |_, ends| Tube { core: 120.0, ..bone(ends, 5.6) }));
    }
    merged(tubes)
}

/// One bone of many tubes: all shells, and then what is inside.
fn merged(tubes: Vec<Tube>) -> Vec<Tube> {
    let shells = tubes.iter().map(|t| Tube { wall: t.radius, core: t.shell, ..*t });
    let cores = tubes.iter().map(|t| Tube::full(t.ends, t.radius - t.wall, t.core, t.place));
    shells.chain(cores).collect()
}

fn shoulder(body: &Body, side: f32) -> Vec<Tube> {
    let at = |x: f32, y: f32, z: f32| body.patient([side * x, y, z]);
    let mut tubes = path(
        &[
            at(16.0, -58.0, 96.0),
            at(60.0, -58.0, 112.0),
            at(105.0, -26.0, 128.0),
            at(146.0, -4.0, 138.0),
        ],
        |_, ends| bone(ends, 6.0),
    );
    // The blade fans out from its lower tip.
    let blade = (0..=14).map(|step| {
        let t = step as f32 / 14.0;
        let top = at(64.0 + 66.0 * t, 92.0 - 46.0 * t * t, 116.0 - 8.0 * t);
        let tip = at(100.0 + 8.0 * t, 88.0 - 4.0 * t, -8.0);
        Tube { wall: 1.2, ..bone([top, tip], 3.4) }
    });
    tubes.extend(merged(blade.collect()));
    tubes.push(bone([at(66.0, 96.0, 92.0), at(150.0, 44.0, 126.0)], 6.0));
    tubes.push(bone([at(104.0, 60.0, 40.0), at(132.0, 40.0, 112.0)], 5.0));
    let ball = at(154.0, 24.0, 126.0);
    tubes.push(Tube { wall: 2.0, ..bone([ball, ball], 23.0) });
    tubes.push(Tube { wall: 3.5, ..bone([ball, at(176.0, 12.0, 220.0)], 13.0) });
    tubes
}

/// Arches, transverse and spinous processes of the vertebrae.
fn arches(body: &Body) -> Vec<Tube> {
    let mut tubes = Vec::new();
    for number in -7..=6 {
        let z = 26.0 * number as f32;
        let spine = body.level(z).spine;
        let at = |x: f32, y: f32, z: f32| body.patient([x, spine + y, z]);
        for side in [-1.0, 1.0] {
            tubes.push(bone([at(side * 12.0, 10.0, z + 5.0), at(side * 12.5, 25.0, z + 4.0)], 4.2));
            tubes.push(bone([at(side * 12.5, 25.0, z + 2.0), at(0.0, 36.0, z - 6.0)], 3.8));
            tubes.push(bone([at(side * 13.0, 26.0, z + 2.0), at(side * 33.0, 33.0, z + 3.0)], 4.4));
        }
        tubes.push(bone([at(0.0, 36.0, z - 5.0), at(0.0, 49.0, z - 24.0)], 3.6));
    }
    tubes
}
