//! Soft tissue point by point: wall, heart, spine and the organs under the diaphragm.

use super::body::{Body, Level, Region};
use super::space::{Point, ellipsoid, ramp, sub};
use crate::data::phantom::noise::smooth3;

const FAT: f32 = -102.0;
const MUSCLE: f32 = 54.0;

/// CT numbers of blood in the right heart, in the left heart and in the veins.
pub(super) type Blood = [f32; 3];

/// CT number of a place in the body that is not lung.
pub(super) fn tissue(level: &Level<'_>, region: Region, x: f32, y: f32, blood: Blood) -> f32 {
    let body = level.body;
    let place = [x, y, level.z];
    if let Some(bone) = vertebra(level, x, y) {
        return bone;
    }
    let coarse = smooth3(body.seed, place.map(|v| v * 0.06));
    match region {
        Region::Wall => wall(level, x, y, coarse),
        Region::Mediastinum => {
            let (outside, along) = body.heart(place);
            if outside < 0.0 {
                return heart(body, place, outside, along, blood, coarse);
            }
            let from_spine = x.hypot(y - level.spine);
            if from_spine < 27.0 { 45.0 } else { FAT + 10.0 + 14.0 * coarse }
        }
        Region::Abdomen => abdomen(level, x, y, coarse, blood),
        Region::Outside | Region::Lung(_) => FAT,
    }
}

fn wall(level: &Level<'_>, x: f32, y: f32, coarse: f32) -> f32 {
    let skin = level.skin(x, y);
    if skin > -2.0 {
        return 15.0;
    }
    if level.muscle(x, y) > 0.0 {
        // Breasts hold glands, and fat has strands.
        let gland = level.body.female
            && ellipsoid([x.abs() - 76.0, y + 98.0, level.z + 26.0], [36.0, 22.0, 36.0])
                < 6.0 * coarse;
        let strand = smooth3(level.body.seed ^ 9, [x * 0.12, y * 0.12, level.z * 0.05]);
        return if gland {
            25.0 + 20.0 * coarse
        } else {
            FAT + 8.0 * coarse + 50.0 * ramp(0.72, 0.95, strand)
        };
    }
    let cage = level.cage(x, y);
    if cage < 1.6 {
        return -40.0;
    }
    // Fat lies between the layers of muscle.
    let layer = smooth3(level.body.seed ^ 3, [x * 0.035, y * 0.035, level.z * 0.018]);
    let between = ramp(0.10, 0.02, (layer - 0.15).abs()) * ramp(10.0, 16.0, cage);
    MUSCLE + 6.0 * coarse - 140.0 * between
}

/// Chambers within muscle within fat.
fn heart(body: &Body, place: Point, outside: f32, along: f32, blood: Blood, coarse: f32) -> f32 {
    let size = body.heart;
    let [x, y, z] = place;
    let centre = body.heart_centre();
    let from = sub([x, y, z], centre).map(|v| v / size);
    let in_ball = |middle: Point, radii: Point| ellipsoid(sub(from, middle), radii);
    let left = in_ball([22.0, -4.0, -16.0], [31.0, 22.0, 22.0]);
    let right = in_ball([-4.0, -24.0, -12.0], [31.0, 15.0, 27.0]);
    let atria = [
        in_ball([-36.0, 0.0, 4.0], [19.0, 21.0, 27.0]),
        in_ball([-4.0, 28.0, 16.0], [28.0, 16.0, 20.0]),
    ];
    // Grooves between atria and ventricles, and between the ventricles, are filled with fat.
    let groove =
        ramp(0.11, 0.03, (along + 0.22).abs()).max(ramp(5.0, 2.0, (left - right - 6.0).abs()));
    let rind = 2.5 + 2.5 * coarse.max(-0.5) + 9.0 * groove;
    if outside > -rind {
        return FAT + 12.0;
    }
    if left < 0.0 || atria[1] < 0.0 {
        return blood[1];
    }
    if right < 0.0 || atria[0] < 0.0 {
        return blood[0];
    }
    if left < 11.0 || right < 4.0 || atria[0] < 3.0 || atria[1] < 3.0 {
        let enhanced = (blood[1] - 42.0).max(0.0) * 0.25;
        return 52.0 + enhanced;
    }
    if outside > -14.0 { FAT + 25.0 + 60.0 * ramp(0.0, 0.6, coarse) } else { 48.0 }
}

fn abdomen(level: &Level<'_>, x: f32, y: f32, coarse: f32, blood: Blood) -> f32 {
    let z = level.z;
    let deep = -level.above_diaphragm(x, y);
    if deep < 2.2 {
        return 42.0;
    }
    if x.hypot(y - level.spine) < 30.0 {
        return 46.0;
    }
    let enhanced = (blood[1] - 42.0).max(0.0);
    let right_lobe = -ellipsoid([x + 48.0, y - 2.0, z + 150.0], [78.0, 76.0, 86.0]);
    let left_lobe = -ellipsoid([x - 6.0, y + 42.0, z + 140.0], [58.0, 34.0, 46.0]);
    if right_lobe > 0.0 || left_lobe > 0.0 {
        let vein =
            ramp(0.55, 0.7, smooth3(level.body.seed ^ 0x15, [x * 0.045, y * 0.045, z * 0.045]));
        return 58.0 + 5.0 * coarse + 0.2 * enhanced - 14.0 * vein;
    }
    if ellipsoid([x - 88.0, y - 36.0, z + 142.0], [32.0, 42.0, 44.0]) < 0.0 {
        return 50.0 + 0.35 * enhanced + 3.0 * coarse;
    }
    let stomach = ellipsoid([x - 58.0, y + 22.0, z + 142.0], [40.0, 46.0, 42.0]);
    if stomach < 0.0 {
        // Air rises in someone who lies on the back.
        return if stomach > -4.0 {
            40.0
        } else if y < -26.0 {
            -960.0
        } else {
            12.0 + 25.0 * coarse
        };
    }
    FAT + 10.0 * coarse
}

/// CT number where the body of a vertebra, a disc or the spinal canal is.
fn vertebra(level: &Level<'_>, x: f32, y: f32) -> Option<f32> {
    let back = y - level.spine;
    if x.hypot(back - 25.0) < 8.5 && back > 16.0 {
        return Some(if x.hypot(back - 25.0) < 5.0 { 38.0 } else { 12.0 });
    }
    let phase = (level.z / 26.0 + 0.5).rem_euclid(1.0) * 26.0;
    let edge = phase.min(26.0 - phase);
    // Bodies are waisted between their end plates.
    let waist = 2.0 * (1.0 - ((13.0 - edge) / 10.0).clamp(0.0, 1.0));
    let rim = super::space::oval(x, back, 18.5 - 2.0 + waist, 15.5 - 1.5 + waist);
    if rim > 0.0 {
        return None;
    }
    if edge < 2.6 {
        return Some(82.0);
    }
    let plate = (edge - 2.6).min(-rim);
    let grain = smooth3(level.body.seed ^ 31, [x * 0.4, y * 0.4, level.z * 0.3]);
    Some(if plate < 1.2 { 460.0 } else { 175.0 + 45.0 * grain })
}
