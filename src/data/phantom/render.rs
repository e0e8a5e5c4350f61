//! A case becomes a film with its truth: masks, boxes, and the structures that hold still.

use std::sync::Arc;

use ndarray::Array2;

use super::body::{Body, Build, Posture};
use super::bones::{self, Break, rib_point};
use super::canvas::{Frame, Layer, smoothstep};
use super::clinic::Case;
use super::finding::{Finding, Lesion, Zone};
use super::scene::{Extent, Scene};
use super::{devices, film, lesions, pleura, vessels};
use crate::data::{FindingBox, FindingMask, MaskPixels};
use crate::imaging::{Image, View};
use crate::random::Random;

/// A film and where things are on it.
pub(super) struct Rendered {
    pub(super) image: Image,
    pub(super) boxes: Vec<FindingBox>,
    pub(super) masks: Vec<FindingMask>,
}

/// Renders a case at `size` pixels; `random` decides on posture and exposure of this visit.
pub(super) fn render(
    case: &Case,
    size: usize,
    build: Build,
    structures: bool,
    random: &mut Random,
) -> Rendered {
    let posture = posture(case, &build, random);
    let body = Body::new(build, posture);
    let frame = frame(&body, size, random);
    let mut scene = Scene::new(frame, body);
    let congestion = case.lesion(Finding::Edema).map_or(0.0, |l| 0.4 + 0.3 * l.degree as f32);
    vessels::draw_tree(
        &mut scene.vessels,
        &scene.body,
        vessels::Congestion { upper: congestion },
        &mut Random::new(case.patient.number, &[3]),
    );
    vessels::draw_airways(&mut scene.air, &scene.body);
    stomach(&mut scene, random);
    let breaks = breaks(case);
    bones::draw(&mut scene.dense, &scene.body, &breaks, random);
    paint_lesions(&mut scene, case, &breaks);
    paint_devices(&mut scene, case, random);
    let attenuation = scene.attenuation(random.bits() as u32);
    let exposure = film::Exposure::draw(case.portable, size, random);
    let pixels = film::expose(&attenuation, frame, exposure, random);
    let (boxes, masks) = truth(&scene, structures);
    let spacing = f64::from(frame.pixel) * 10.0;
    let image = Image {
        pixels: Array2::from_shape_fn((size, size), |(row, column)| pixels[row * size + column]),
        spacing: Some([spacing, spacing]),
        modality: if case.portable { "CR" } else { "DX" }.to_owned(),
        view: if case.portable { View::Ap } else { View::Pa },
        orientation: "LI".to_owned(),
        range: Some([0.0, 1.0]),
        history: vec!["synthetic".to_owned()],
    };
    Rendered { image, boxes, masks }
}

fn posture(case: &Case, build: &Build, random: &mut Random) -> Posture {
    let portable = case.portable;
    let mut lift = [0.0, random.range(-0.3, 0.5) as f32];
    let mut shift = 0.0;
    for lesion in &case.lesions {
        for &side in lesion.side.indices() {
            let away = if side == 0 { 1.0 } else { -1.0 };
            match (lesion.finding, lesion.degree) {
                (Finding::Atelectasis, degree) => {
                    let loss = [0.5, 1.3, 2.4][degree];
                    lift[side] += if lesion.zone == Zone::Upper { 0.5 * loss } else { loss };
                    shift -= away * [0.0, 0.3, 1.3][degree];
                }
                (Finding::Pneumothorax, 2) => shift += 1.3 * away,
                (Finding::Effusion, 2) => shift += 1.0 * away,
                _ => {}
            }
        }
    }
    // The bedside film enlarges the heart, for it lies far from the detector.
    let enlarged: f32 = if portable { 1.05 } else { 1.0 };
    let ratio = match case.lesion(Finding::Cardiomegaly) {
        Some(lesion) => {
            let (low, high) = [(0.545, 0.575), (0.585, 0.63), (0.64, 0.70)][lesion.degree];
            enlarged.min(1.03) * random.range(low, high) as f32
        }
        None => (enlarged * build.ratio + random.range(-0.01, 0.01) as f32).min(0.495),
    };
    let breath = if portable { random.range(0.78, 0.93) } else { random.range(0.90, 1.02) };
    let turn = if portable { 0.09 } else { 0.035 };
    Posture {
        portable,
        breath: breath as f32,
        rotation: (turn * random.normal()).clamp(-0.2, 0.2) as f32,
        lift,
        shift,
        ratio,
    }
}

fn frame(body: &Body, size: usize, random: &mut Random) -> Frame {
    let loose: f64 = if body.posture.portable { 2.0 } else { 1.0 };
    let margin = random.range(5.5, 5.5 + 4.0 * loose) as f32;
    let span = (2.0 * body.build.half_width + margin).max(body.height + margin + 3.5);
    let slack = 0.5 * (span - body.height);
    let roll = (0.02 * loose * random.normal()).clamp(-0.12, 0.12) as f32;
    let x = (0.6 * loose * random.normal()) as f32;
    let y = body.height / 2.0 + slack * random.range(-0.1, 0.45) as f32;
    let (sin, cos) = roll.sin_cos();
    Frame { size, pixel: span / size as f32, centre: [x.clamp(-2.5, 2.5), y], roll: [sin, cos] }
}

fn stomach(scene: &mut Scene, random: &mut Random) {
    let dome = scene.body.domes[1];
    let mut bubble = |x0: f32, y0: f32, rx: f32, ry: f32, depth: f32| {
        scene.air.paint([x0 - rx, y0 - ry, x0 + rx, y0 + ry], |x, y| {
            let level = smoothstep(y0 + 0.75 * ry, y0 + 0.6 * ry, y);
            let inside = 1.0 - ((x - x0) / rx).powi(2) - ((y - y0) / ry).powi(2);
            depth * inside.max(0.0).sqrt() * level
        });
    };
    if random.chance(0.75) {
        let (rx, ry) = (random.range(1.6, 3.2) as f32, random.range(1.0, 2.0) as f32);
        bubble(random.range(5.0, 7.5) as f32, dome + 1.1 + ry, rx, ry, 4.5);
    }
    for _ in 0..random.below(5) {
        let (x, y) = (random.range(-9.0, 10.0) as f32, dome + random.range(6.0, 12.0) as f32);
        bubble(x, y, random.range(0.8, 2.0) as f32, random.range(0.7, 1.4) as f32, 2.5);
    }
}

/// The broken ribs of a case.
fn breaks(case: &Case) -> Vec<Break> {
    let Some(lesion) = case.lesion(Finding::Fracture) else { return Vec::new() };
    let random = &mut Random::new(lesion.seed, &[]);
    let first = match lesion.zone {
        Zone::Upper => 2 + random.below(2),
        Zone::Middle => 4,
        Zone::Lower | Zone::None => 5 + random.below(2),
    };
    let angle = random.range(0.72, 1.12) as f32;
    (0..lesion.degree + 2)
        .map(|number| Break {
            side: lesion.side.indices().first().copied().unwrap_or(0),
            rib: first + number,
            angle: angle + random.range(-0.08, 0.08) as f32,
            step: [0.7, 1.1, 1.4][lesion.degree] * random.range(0.85, 1.15) as f32,
            gap: [0.075, 0.1, 0.115][lesion.degree],
        })
        .collect()
}

fn paint_lesions(scene: &mut Scene, case: &Case, breaks: &[Break]) {
    let air = case.lesion(Finding::Pneumothorax);
    let paint = |scene: &mut Scene, lesion: &Lesion| match lesion.finding {
        Finding::Effusion => {
            pleura::effusion(scene, lesion, |side| air.is_some_and(|a| a.side.covers(side)));
        }
        Finding::Pneumothorax => pleura::pneumothorax(scene, lesion),
        Finding::Cardiomegaly => {
            let heart = scene.heart_field();
            scene.mark(Finding::Cardiomegaly, heart);
        }
        Finding::Consolidation => lesions::consolidation(scene, lesion),
        Finding::Pneumonia => lesions::pneumonia(scene, lesion),
        Finding::Nodule => lesions::nodule(scene, lesion),
        Finding::Edema => lesions::edema(scene, lesion),
        Finding::Atelectasis => lesions::atelectasis(scene, lesion),
        Finding::Fracture => fracture(scene, lesion, breaks),
        Finding::Devices => {}
    };
    for lesion in &case.lesions {
        paint(scene, lesion);
    }
}

/// One lens of blood along the chest wall, and a mark around each break; the breaks themselves are
/// drawn with the bones.
fn fracture(scene: &mut Scene, lesion: &Lesion, breaks: &[Break]) {
    let spots: Vec<(f32, f32)> = breaks
        .iter()
        .map(|b| {
            let (x, y) = rib_point(&scene.body, b.side, b.rib, b.angle);
            (x, y + 0.5 * b.step)
        })
        .collect();
    let count = spots.len().max(1) as f32;
    let (x0, y0) = spots.iter().fold((0.0, 0.0), |(a, b), (x, y)| (a + x / count, b + y / count));
    let degree = lesion.degree as f32;
    let (rx, ry) = (1.4 + 0.2 * degree, 1.7 + 1.1 * degree);
    scene.solid.paint([x0 - 3.0 * rx, y0 - 2.5 * ry, x0 + 3.0 * rx, y0 + 2.5 * ry], |x, y| {
        (5.5 + 1.0 * degree) * (-((x - x0) / rx).powi(2) - ((y - y0) / ry).powi(2)).exp()
    });
    for (x0, y0) in spots {
        let mask = scene.mask_of(|x, y, _| (x - x0).hypot(y - y0) < 1.3);
        scene.mark(Finding::Fracture, mask);
    }
}

fn paint_devices(scene: &mut Scene, case: &Case, random: &mut Random) {
    for device in &case.devices {
        let mut trace = Layer::new(scene.frame);
        devices::draw(&mut trace, &scene.body, device);
        for (dense, value) in scene.dense.data.iter_mut().zip(&trace.data) {
            *dense += value;
        }
        let mask = scene.mask_of(|_, _, index| trace.data[index] > 0.08);
        scene.mark(Finding::Devices, mask);
    }
    if case.portable && random.chance(0.35) {
        devices::leads(&mut scene.dense, &scene.body, random);
    }
    if random.chance(0.9) {
        devices::letter(&mut scene.dense, random.chance(0.6), random);
    }
}

/// One box for each extent, one mask for each finding, and the standing structures.
fn truth(scene: &Scene, structures: bool) -> (Vec<FindingBox>, Vec<FindingMask>) {
    let mut boxes = Vec::new();
    let mut masks = Vec::new();
    for finding in Finding::ALL {
        let mut union: Option<Array2<bool>> = None;
        for Extent { mask, .. } in scene.extents.iter().filter(|e| e.finding == finding) {
            if let Some(corners) = bounds(mask) {
                boxes.push(FindingBox { finding: finding.name().to_owned(), corners });
            }
            match &mut union {
                Some(all) => all.zip_mut_with(mask, |a, b| *a |= *b),
                None => union = Some(mask.clone()),
            }
        }
        masks.extend(union.map(|mask| named_mask(finding.name(), mask)));
    }
    if structures {
        masks.push(named_mask("right lung", scene.lung_field(0)));
        masks.push(named_mask("left lung", scene.lung_field(1)));
        masks.push(named_mask("heart", scene.heart_field()));
    }
    (boxes, masks)
}

fn named_mask(finding: &str, mask: Array2<bool>) -> FindingMask {
    FindingMask { finding: finding.to_owned(), mask: MaskPixels::Memory(Arc::new(mask)) }
}

/// The tight box (x0, y0, x1, y1) around the true pixels; their outer edges count.
fn bounds(mask: &Array2<bool>) -> Option<[f32; 4]> {
    let mut found: Option<[usize; 4]> = None;
    for ((row, column), _) in mask.indexed_iter().filter(|(_, inside)| **inside) {
        let [x0, y0, x1, y1] = found.unwrap_or([column, row, column, row]);
        found = Some([x0.min(column), y0.min(row), x1.max(column), y1.max(row)]);
    }
    found.map(|[x0, y0, x1, y1]| [x0 as f32, y0 as f32, (x1 + 1) as f32, (y1 + 1) as f32])
}
