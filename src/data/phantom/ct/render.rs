//! From one patient's body and lesions to CT numbers and truth, slice by slice.

use ndarray::Array3;
use rayon::prelude::*;

use super::body::{Level, Region};
use super::clinic::Case;
use super::finding::{Finding, Lobe};
use super::lung::{self, Air};
use super::scanner::{Scanner, expose};
use super::space::Point;
use super::tube::{Tube, Where};
use super::{bones, middle, tree};
use crate::Result;
use crate::progress::Progress;
use crate::random::Random;

/// Bits of the truth: lobes first, then heart, aorta and airways, then nodules and lesions.
pub(super) const HEART: u32 = 1 << 5;
pub(super) const AORTA: u32 = 1 << 6;
pub(super) const AIRWAYS: u32 = 1 << 7;
pub(super) const FIRST_LESION: u32 = 8;

/// CT numbers and truth of a scan.
#[derive(Clone, Debug)]
pub(super) struct Rendered {
    /// CT numbers (slices, rows, columns), HU.
    pub(super) voxels: Array3<f32>,
    /// Bits of what is where (slices, rows, columns).
    pub(super) truth: Array3<u32>,
}

/// What all slices of a scan are made of.
struct Scene<'a> {
    case: &'a Case,
    scanner: Scanner,
    tubes: Vec<Tube>,
    blood: middle::Blood,
}

/// A slice in the making.
struct Canvas {
    density: Vec<f32>,
    truth: Vec<u32>,
    region: Vec<Kind>,
}

/// What may be painted over.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Outside,
    Solid,
    Middle,
    Lung,
    Fluid,
}

/// Renders a case; slices are made in parallel and depend on nothing but the case.
pub(super) fn render(case: &Case, progress: &Progress) -> Result<Rendered> {
    let scanner = case.scanner;
    let [slices, rows, columns] = scanner.shape;
    let scene = Scene::new(case);
    let mut voxels = Array3::<f32>::zeros((slices, rows, columns));
    let mut truth = Array3::<u32>::zeros((slices, rows, columns));
    let area = rows * columns;
    let (all, bits) = (voxels.as_slice_mut(), truth.as_slice_mut());
    if let (Some(all), Some(bits)) = (all, bits) {
        all.par_chunks_mut(area).zip(bits.par_chunks_mut(area)).enumerate().try_for_each(
            |(slice, (voxels, truth))| {
                progress.check()?;
                scene.slice(slice, voxels, truth);
                Ok::<_, crate::Error>(())
            },
        )?;
    }
    mark_smallest(case, &mut truth);
    Ok(Rendered { voxels, truth })
}

/// A nodule smaller than a voxel still has the voxel it lies in.
fn mark_smallest(case: &Case, truth: &mut Array3<u32>) {
    let scanner = case.scanner;
    for (i, nodule) in case.nodules.iter().enumerate() {
        let place: [f64; 3] = std::array::from_fn(|axis| {
            (f64::from(nodule.centre[axis]) - scanner.origin[axis]) / scanner.spacing[2 - axis]
        });
        let [x, y, z] = place.map(|v| v.round().max(0.0) as usize);
        if let Some(bits) = truth.get_mut((z, y, x)) {
            *bits |= 1 << (FIRST_LESION + i as u32);
        }
    }
}

impl<'a> Scene<'a> {
    fn new(case: &'a Case) -> Self {
        let body = &case.body;
        let blood = if case.scanner.contrast { [300.0, 230.0, 170.0] } else { [tree::BLOOD; 3] };
        let stream = |purpose: u64| Random::new(case.seed, &[case.patient.number, purpose]);
        let places = (case.scanner.shape[1] * 3 / 2).clamp(60, 420);
        let mut tubes = tree::great(body, blood, AIRWAYS, AORTA);
        tubes.extend(tree::trees(body, places, [blood[0], blood[1]], AIRWAYS, &mut stream(11)));
        tubes.extend(bones::bones(body));
        tubes.extend(case.nodules.iter().flat_map(super::finding::Nodule::spikes));
        let first = FIRST_LESION + case.nodules.len() as u32;
        for (i, lesion) in case.lesions.iter().enumerate() {
            let place = match lesion.finding {
                Finding::Adenopathy => Where::Chest,
                Finding::Calcium | Finding::ChestWall => Where::Body,
                _ => continue,
            };
            let bit = 1 << (first + i as u32);
            tubes.extend(lesion.spots.iter().map(|spot| {
                let centre = body.patient(spot.centre);
                Tube::full([centre; 2], spot.radius, spot.density, place).marked(bit)
            }));
        }
        Self { case, scanner: case.scanner, tubes, blood }
    }

    fn slice(&self, slice: usize, voxels: &mut [f32], truth: &mut [u32]) {
        let [thick, _, _] = self.scanner.spacing;
        let middle = self.scanner.origin[2] + slice as f64 * thick;
        // A slice shows the mean of its thickness.
        let steps: &[f64] = if thick > 1.3 { &[-1.0 / 3.0, 0.0, 1.0 / 3.0] } else { &[0.0] };
        let sheets: Vec<Canvas> =
            steps.iter().map(|step| self.sheet((middle + step * thick) as f32)).collect();
        for (i, (voxel, bits)) in voxels.iter_mut().zip(truth.iter_mut()).enumerate() {
            *voxel = sheets.iter().map(|s| s.density[i]).sum::<f32>() / sheets.len() as f32;
            *bits = match &sheets[..] {
                [a, b, c] => {
                    let (a, b, c) = (a.truth[i], b.truth[i], c.truth[i]);
                    (a & b) | (b & c) | (a & c)
                }
                one => one[0].truth[i],
            };
        }
        let path = [self.case.patient.number, 12, slice as u64];
        let mut random = Random::new(self.case.seed, &path);
        expose(voxels, self.scanner.shape[2], &self.scanner, &mut random);
    }

    /// One plane of the body, without blur and noise.
    fn sheet(&self, z: f32) -> Canvas {
        let body = &self.case.body;
        let level = body.level(z / body.scale[2]);
        let first = FIRST_LESION + self.case.nodules.len() as u32;
        let lesions = lung::near(&self.case.lesions, first, level.z);
        let [_, rows, columns] = self.scanner.shape;
        let mut canvas = Canvas {
            density: Vec::with_capacity(rows * columns),
            truth: Vec::with_capacity(rows * columns),
            region: Vec::with_capacity(rows * columns),
        };
        for row in 0..rows {
            for column in 0..columns {
                let place = self.place(row, column);
                let at = [place[0] / body.scale[0], place[1] / body.scale[1]];
                let (density, truth, kind) = self.point(&level, at, place, &lesions);
                canvas.density.push(density);
                canvas.truth.push(truth);
                canvas.region.push(kind);
            }
        }
        self.paint(&mut canvas, z);
        canvas
    }

    /// x and y of a pixel in the patient, mm.
    fn place(&self, row: usize, column: usize) -> [f32; 2] {
        let at = |axis: usize, n: usize| {
            (self.scanner.origin[axis] + n as f64 * self.scanner.spacing[2 - axis]) as f32
        };
        [at(0, column), at(1, row)]
    }

    fn point(
        &self,
        level: &Level<'_>,
        [x, y]: [f32; 2],
        place: [f32; 2],
        lesions: &[(&super::finding::Lesion, u32)],
    ) -> (f32, u32, Kind) {
        let region = level.region(x, y);
        match region {
            Region::Outside => (self.table(place), 0, Kind::Outside),
            Region::Lung(lobe) => {
                let Air { density, truth, displaced } =
                    lung::lung(level, lobe, x, y, self.scanner.inflation, lesions);
                if displaced {
                    (density, truth, Kind::Fluid)
                } else {
                    (density, truth | bit(lobe), Kind::Lung)
                }
            }
            Region::Mediastinum => {
                let inside = level.body.heart([x, y, level.z]).0 < 0.0;
                let truth = if inside { HEART } else { 0 };
                (middle::tissue(level, region, x, y, self.blood), truth, Kind::Middle)
            }
            Region::Wall | Region::Abdomen => {
                (middle::tissue(level, region, x, y, self.blood), 0, Kind::Solid)
            }
        }
    }

    /// The couch, or air.
    fn table(&self, [x, y]: [f32; 2]) -> f32 {
        let body = &self.case.body;
        let top = (112.0 + 0.8 * body.fat) * body.scale[1] + 5.0 - 0.0007 * x * x;
        let depth = y - top;
        match depth {
            _ if x.abs() > 205.0 => -1000.0,
            0.0..2.5 => -180.0,
            2.5..26.0 => -940.0,
            26.0..28.0 => -320.0,
            _ => -1000.0,
        }
    }

    fn paint(&self, canvas: &mut Canvas, z: f32) {
        let thick = (self.scanner.spacing[0] / 3.0) as f32;
        let grain = (self.scanner.spacing[2] as f32).max(0.5 * thick);
        for tube in &self.tubes {
            let [low, high] = tube.span(2, 0.5 * grain);
            if z < low || z > high {
                continue;
            }
            let spans = [tube.span(0, grain), tube.span(1, grain)];
            let allowed = |kind: Kind| match tube.place {
                Where::Body => kind != Kind::Outside,
                Where::Chest => matches!(kind, Kind::Lung | Kind::Middle),
                Where::Middle => kind == Kind::Middle,
            };
            self.each(spans, |i, [x, y]| {
                if !allowed(canvas.region[i]) {
                    return;
                }
                if let Some((cover, density)) = tube.cover([x, y, z], grain) {
                    canvas.density[i] += cover * (density - canvas.density[i]);
                    if cover >= 0.5 {
                        canvas.truth[i] |= tube.truth;
                    }
                }
            });
        }
        for (n, nodule) in self.case.nodules.iter().enumerate() {
            let reach = nodule.reach() + grain;
            if (nodule.centre[2] - z).abs() > reach {
                continue;
            }
            let span = |axis: usize| [nodule.centre[axis] - reach, nodule.centre[axis] + reach];
            self.each([span(0), span(1)], |i, [x, y]| {
                let place: Point = [x, y, z];
                let inside = matches!(canvas.region[i], Kind::Lung | Kind::Middle);
                if let Some((cover, density)) = nodule.cover(place, grain).filter(|_| inside) {
                    // Vessels run on through ground glass.
                    let density = density.max(canvas.density[i]);
                    canvas.density[i] += cover * (density - canvas.density[i]);
                    if cover >= 0.5 {
                        canvas.truth[i] |= 1 << (FIRST_LESION + n as u32);
                    }
                }
            });
        }
    }

    /// Visits the pixels between the bounds of x and of y.
    fn each(&self, spans: [[f32; 2]; 2], mut visit: impl FnMut(usize, [f32; 2])) {
        let [_, rows, columns] = self.scanner.shape;
        let bounds = |axis: usize, count: usize| {
            let index = |v: f32| {
                (f64::from(v) - self.scanner.origin[axis]) / self.scanner.spacing[2 - axis]
            };
            let low = index(spans[axis][0]).floor().max(0.0) as usize;
            let high = index(spans[axis][1]).ceil().max(-1.0) + 1.0;
            low..(high as usize).min(count)
        };
        for row in bounds(1, rows) {
            for column in bounds(0, columns) {
                visit(row * columns + column, self.place(row, column));
            }
        }
    }
}

pub(super) fn bit(lobe: Lobe) -> u32 {
    1 << (lobe as u32)
}
