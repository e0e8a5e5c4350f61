//! Arteries, veins and airways: trees that grow into a lobe until they reach all of it.
//!
//! Source: the volume-filling branching of Tawhai et al. 2000, Ann Biomed Eng 28(7):793: a branch
//! goes part of the way to the middle of the places it serves, which are then divided between two
//! daughters. Radii follow the number of places served, with Murray's exponent near 3.

use super::body::Body;
use super::finding::Lobe;
use super::space::{Point, add, between, sub, times};
use super::tube::{Tube, Where};
use crate::random::Random;

/// CT number of blood without contrast medium.
pub(super) const BLOOD: f32 = 42.0;
const AIR: f32 = -985.0;

/// A branch of a tree, in the standard body.
struct Branch {
    ends: [Point; 2],
    /// Places that the branch and its parent serve.
    serves: [usize; 2],
}

/// Where the trees of a lobe begin, in the standard body: airway, artery, vein.
const fn roots(lobe: Lobe) -> [Point; 3] {
    match lobe {
        Lobe::RightUpper => [[-27.0, 13.0, 14.0], [-33.0, 6.0, 12.0], [-30.0, 6.0, -12.0]],
        Lobe::RightMiddle => [[-31.0, 10.0, -14.0], [-36.0, 10.0, -8.0], [-30.0, 4.0, -16.0]],
        Lobe::RightLower => [[-33.0, 18.0, -16.0], [-39.0, 16.0, -10.0], [-27.0, 20.0, -26.0]],
        Lobe::LeftUpper => [[38.0, 14.0, 4.0], [36.0, 8.0, 18.0], [36.0, 4.0, 0.0]],
        Lobe::LeftLower => [[38.0, 19.0, -8.0], [44.0, 20.0, 2.0], [34.0, 22.0, -22.0]],
    }
}

/// The trees of both lungs: vessels and airways, in the patient.
pub(super) fn trees(
    body: &Body,
    places: usize,
    blood: [f32; 2],
    truth: u32,
    random: &mut Random,
) -> Vec<Tube> {
    let mut tubes = Vec::new();
    for lobe in Lobe::ALL {
        let [airway, artery, vein] = roots(lobe);
        let share = if lobe == Lobe::RightMiddle { places / 2 } else { places };
        let reached = |random: &mut Random| -> Vec<Point> {
            (0..share).map(|_| body.place(lobe, 2.0, random)).collect()
        };
        let arteries = grow(artery, reached(random));
        let veins = grow(vein, reached(random));
        let vessel = |branch: &Branch, density: f32, fine: f32| {
            let ends = branch.ends.map(|p| body.patient(p));
            Tube::full(ends, width(branch.serves[0], fine), density, Where::Chest)
        };
        tubes.extend(veins.iter().map(|branch| vessel(branch, blood[1], 0.62)));
        tubes.extend(arteries.iter().map(|branch| vessel(branch, blood[0], 0.62)));
        tubes.extend(airways(body, &arteries, sub(airway, artery), truth));
    }
    tubes
}

/// Airways run beside the arteries down to those that are two millimetres wide.
fn airways(body: &Body, arteries: &[Branch], aside: Point, truth: u32) -> Vec<Tube> {
    let seen = arteries.iter().filter(|branch| branch.serves[0] >= 5);
    seen.map(|branch| {
        let [own, parent] = branch.serves.map(|serves| width(serves, 0.62));
        let beside = |width: f32| times(aside, 2.0 * width / super::space::norm(aside).max(1.0));
        // The first branch starts at the airway's own root.
        let first = branch.serves[0] == branch.serves[1];
        let start = add(branch.ends[0], if first { aside } else { beside(parent) });
        let ends = [start, add(branch.ends[1], beside(own))].map(|p| body.patient(p));
        let wall = 0.5 + 0.12 * own;
        let tube = Tube::full(ends, 0.95 * own + 0.3, 10.0, Where::Chest);
        Tube { wall, core: AIR, ..tube }.marked(truth)
    })
    .collect()
}

/// Radius of a branch that serves so many places, mm.
fn width(serves: usize, fine: f32) -> f32 {
    fine * (serves as f32).powf(0.37)
}

/// A tree from `root` to all places.
fn grow(root: Point, places: Vec<Point>) -> Vec<Branch> {
    let mut branches = Vec::with_capacity(2 * places.len());
    let all = places.len();
    let mut open = vec![(root, places, all)];
    while let Some((from, mut places, before)) = open.pop() {
        let serves = [places.len(), before];
        if let [last] = places[..] {
            branches.push(Branch { ends: [from, last], serves });
            continue;
        }
        let middle = times(
            places.iter().fold([0.0; 3], |sum, p| add(sum, *p)),
            1.0 / places.len().max(1) as f32,
        );
        let node = between(from, middle, 0.42);
        branches.push(Branch { ends: [from, node], serves });
        let axis = widest(&places, middle);
        places.sort_unstable_by(|a, b| a[axis].total_cmp(&b[axis]));
        let rest = places.split_off(places.len() / 2);
        for half in [places, rest] {
            if !half.is_empty() {
                open.push((node, half, serves[0]));
            }
        }
    }
    branches
}

/// The axis along which the places spread most.
fn widest(places: &[Point], middle: Point) -> usize {
    let spread = |axis: usize| places.iter().map(|p| (p[axis] - middle[axis]).powi(2)).sum::<f32>();
    let spreads = [spread(0), spread(1), spread(2)];
    (0..3).max_by(|a, b| spreads[*a].total_cmp(&spreads[*b])).unwrap_or(0)
}

/// Trachea, main bronchi, aorta and its branches, the great veins and the pulmonary trunk.
pub(super) fn great(body: &Body, blood: [f32; 3], airway: u32, aorta: u32) -> Vec<Tube> {
    let mut tubes = Vec::new();
    let mut run = |points: &[Point], radii: [f32; 2], density: f32, truth: u32| {
        let points: Vec<Point> = points.iter().map(|p| body.patient(*p)).collect();
        let last = points.len().saturating_sub(2).max(1) as f32;
        tubes.extend(super::tube::path(&points, |i, ends| {
            let radius = radii[0] + (radii[1] - radii[0]) * i as f32 / last;
            Tube::full(ends, radius, density, Where::Middle).marked(truth)
        }));
    };
    let [right, left, veins] = blood;
    // Veins first, so that arteries and airways cut into them and not the other way round.
    run(&[[-24.0, -10.0, 96.0], [-24.0, -8.0, 50.0], [-26.0, -8.0, -10.0]], [8.5, 10.0], veins, 0);
    run(&[[-24.0, -10.0, 82.0], [4.0, -26.0, 86.0], [34.0, -22.0, 104.0]], [7.0, 6.0], veins, 0);
    run(
        &[[-24.0, -10.0, 84.0], [-34.0, -14.0, 112.0], [-36.0, -10.0, 140.0]],
        [7.0, 6.0],
        veins,
        0,
    );
    run(&[[-22.0, -2.0, -85.0], [-20.0, 6.0, -175.0]], [11.0, 11.0], veins, 0);
    run(&[[13.0, -34.0, -14.0], [18.0, -22.0, 8.0], [17.0, -8.0, 16.0]], [13.5, 12.5], right, 0);
    run(&[[14.0, -6.0, 14.0], [-10.0, 0.0, 12.0], [-36.0, 8.0, 6.0]], [11.5, 9.5], right, 0);
    run(&[[18.0, -8.0, 16.0], [30.0, 4.0, 18.0], [41.0, 14.0, 12.0]], [11.5, 9.5], right, 0);
    for root in Lobe::ALL.map(|lobe| roots(lobe)[2]) {
        run(&[root, [4.0, 8.0, -36.0]], [6.0, 7.0], left, 0);
    }
    run(
        &[
            [6.0, -18.0, -34.0],
            [-6.0, -22.0, -5.0],
            [-9.0, -20.0, 24.0],
            [-4.0, -14.0, 44.0],
            [8.0, 2.0, 56.0],
            [19.0, 24.0, 51.0],
            [23.0, 38.0, 34.0],
            [23.0, 42.0, -10.0],
            [19.0, 43.0, -90.0],
            [8.0, 42.0, -175.0],
        ],
        [15.5, 12.0],
        left,
        aorta,
    );
    run(&[[-4.0, -10.0, 56.0], [-16.0, -4.0, 88.0], [-24.0, 2.0, 140.0]], [6.5, 5.5], left, 0);
    run(&[[6.0, 2.0, 60.0], [12.0, 2.0, 100.0], [14.0, 4.0, 140.0]], [4.2, 3.8], left, 0);
    run(&[[14.0, 16.0, 58.0], [24.0, 14.0, 96.0], [36.0, 10.0, 130.0]], [5.0, 4.6], left, 0);
    run(&[[-9.0, 46.0, 20.0], [-8.0, 46.0, -100.0]], [3.6, 3.2], veins, 0);
    tubes.extend(windpipe(body, airway));
    tubes
}

fn windpipe(body: &Body, truth: u32) -> Vec<Tube> {
    let mut tubes = Vec::new();
    let narrow = if body.female { 0.86 } else { 1.0 };
    let mut run = |points: &[Point], radius: f32, core: f32, truth: u32| {
        let points: Vec<Point> = points.iter().map(|p| body.patient(*p)).collect();
        tubes.extend(super::tube::path(&points, |_, ends| {
            let tube = Tube::full(ends, radius * narrow, 40.0, Where::Chest).marked(truth);
            Tube { wall: if core < 0.0 { 1.5 } else { radius }, core, ..tube }
        }));
    };
    // The gullet, with no air in it.
    run(&[[5.0, 26.0, 140.0], [8.0, 33.0, 30.0], [15.0, 27.0, -100.0]], 7.5, 35.0, 0);
    run(&[[0.0, 4.0, 160.0], [0.0, 8.0, 90.0], [2.0, 15.0, 32.0]], 9.8, AIR, truth);
    run(&[[2.0, 15.0, 32.0], [-27.0, 13.0, 14.0]], 8.0, AIR, truth);
    run(&[[-27.0, 13.0, 14.0], [-31.0, 11.0, -12.0], [-33.0, 18.0, -16.0]], 6.4, AIR, truth);
    run(&[[2.0, 15.0, 32.0], [38.0, 16.0, 3.0], [38.0, 19.0, -8.0]], 7.0, AIR, truth);
    tubes
}
