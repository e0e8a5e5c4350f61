//! The shape of one patient's chest: skin, cage, lungs and their lobes, mediastinum, diaphragm.
//!
//! Everything is laid out in a standard body whose millimetres are stretched to the patient's;
//! z is 0 a little below the carina. A surface is a signed distance, negative inside.

use super::finding::Lobe;
use super::space::{Point, blend, ellipsoid, oval, ramp, stretch, table};
use crate::data::phantom::noise::smooth3;
use crate::random::Random;

/// Half-width and half-depth of the muscles' outline, by height.
const MUSCLE: [(f32, [f32; 2]); 7] = [
    (-175.0, [136.0, 98.0]),
    (-60.0, [142.0, 101.0]),
    (0.0, [145.0, 101.0]),
    (60.0, [153.0, 99.0]),
    (100.0, [170.0, 88.0]),
    (130.0, [166.0, 74.0]),
    (160.0, [110.0, 64.0]),
];

/// Half-width and half-depth of the pleural space, and how far back its middle lies, by height.
const CAGE: [(f32, [f32; 3]); 10] = [
    (-175.0, [120.0, 80.0, 0.0]),
    (-100.0, [126.0, 82.0, 0.0]),
    (-40.0, [124.0, 80.0, 0.0]),
    (20.0, [112.0, 75.0, 1.0]),
    (60.0, [96.0, 67.0, 4.0]),
    (88.0, [78.0, 56.0, 8.0]),
    (106.0, [62.0, 44.0, 13.0]),
    (118.0, [46.0, 30.0, 17.0]),
    (126.0, [28.0, 14.0, 20.0]),
    (131.0, [4.0, 3.0, 21.0]),
];

/// Where the heart sits.
const HEART: Point = [21.0, -22.0, -58.0];
/// From the base of the heart to its tip.
const HEART_AXIS: Point = [0.72, -0.52, -0.46];
/// Half-lengths of the heart sac along its axis and across.
const HEART_RADII: [f32; 2] = [63.0, 47.0];

/// The lengths and proportions of one patient.
#[derive(Clone, Debug)]
pub(super) struct Body {
    /// Patient's mm for one of the standard body.
    pub(super) scale: Point,
    /// Fat under the skin, in mm.
    pub(super) fat: f32,
    pub(super) female: bool,
    /// Width of the heart against a usual one.
    pub(super) heart: f32,
    /// How much higher the diaphragm stands than after a deep breath, in mm.
    pub(super) breath: f32,
    pub(super) seed: u32,
}

/// What a place belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Region {
    Outside,
    Wall,
    Abdomen,
    Mediastinum,
    Lung(Lobe),
}

/// A height of the body, with what all its places share.
pub(super) struct Level<'a> {
    pub(super) body: &'a Body,
    /// In the standard body.
    pub(super) z: f32,
    muscle: [f32; 2],
    cage: [f32; 3],
    pub(super) spine: f32,
}

impl Body {
    /// A build for someone of this height and weight.
    pub(super) fn draw(
        female: bool,
        height_cm: f32,
        weight_kg: f32,
        heart: f32,
        random: &mut Random,
    ) -> Self {
        let mut about =
            |mean: f32, spread: f32| mean + spread * random.normal().clamp(-2.0, 2.0) as f32;
        let tall = (height_cm / 172.0).powf(0.9);
        let index = weight_kg / (height_cm / 100.0).powi(2);
        let wide = if female { 0.93 } else { 1.0 };
        let stout = 1.0 + 0.004 * (index - 25.0);
        Self {
            scale: [
                wide * stout * about(1.0, 0.035) * tall.sqrt(),
                stout * about(1.0, 0.045) * if female { 0.94 } else { 1.0 },
                tall * about(1.0, 0.04) * if female { 0.95 } else { 1.0 },
            ],
            fat: (about(0.0, 3.0) + 12.0 + 1.3 * (index - 24.0) + if female { 5.0 } else { 0.0 })
                .clamp(5.0, 38.0),
            female,
            heart: heart * about(1.0, 0.03),
            breath: about(6.0, 5.0).clamp(0.0, 24.0),
            seed: random.bits() as u32,
        }
    }

    /// From the standard body to the patient.
    pub(super) fn patient(&self, place: Point) -> Point {
        stretch(place, self.scale)
    }

    /// The level at height `z` of the standard body.
    pub(super) fn level(&self, z: f32) -> Level<'_> {
        Level {
            body: self,
            z,
            muscle: table(&MUSCLE, z),
            cage: table(&CAGE, z),
            // The chest's own curve.
            spine: 59.0 + 7.0 * (1.0 - ((z - 10.0) / 110.0).powi(2)).clamp(-1.2, 1.0),
        }
    }

    /// What a place of the standard body belongs to.
    pub(super) fn region(&self, place: Point) -> Region {
        self.level(place[2]).region(place[0], place[1])
    }

    /// Whether a place and those `margin` mm around it lie in a lobe.
    pub(super) fn well_inside(&self, place: Point, lobe: Lobe, margin: f32) -> bool {
        let offsets = [
            [0.0, 0.0, 0.0],
            [margin, 0.0, 0.0],
            [-margin, 0.0, 0.0],
            [0.0, margin, 0.0],
            [0.0, -margin, 0.0],
            [0.0, 0.0, margin],
            [0.0, 0.0, -margin],
        ];
        offsets
            .iter()
            .all(|offset| self.region(super::space::add(place, *offset)) == Region::Lung(lobe))
    }

    /// A place in a lobe, `margin` mm from its border where the lobe is wide enough.
    pub(super) fn place(&self, lobe: Lobe, margin: f32, random: &mut Random) -> Point {
        let [low, high] = lobe.bounds();
        let mut margin = margin;
        let mut place = lobe.middle();
        for attempt in 1..4000 {
            place =
                std::array::from_fn(|i| random.range(f64::from(low[i]), f64::from(high[i])) as f32);
            if self.well_inside(place, lobe, margin) {
                return place;
            }
            if attempt % 150 == 0 {
                margin *= 0.8;
            }
        }
        place
    }

    /// The middle of the heart, which sinks to the left as it grows.
    pub(super) fn heart_centre(&self) -> Point {
        let grown = (self.heart - 1.0).max(0.0);
        [HEART[0] + 14.0 * grown, HEART[1], HEART[2] - 6.0 * grown]
    }

    /// How far outside the heart sac a place is (below 0 inside), and how far along its axis.
    pub(super) fn heart(&self, place: Point) -> (f32, f32) {
        use super::space::{dot, norm, sub, times, unit};
        let from = sub(place, self.heart_centre());
        let axis = unit(HEART_AXIS);
        let along = dot(from, axis);
        let across = norm(sub(from, times(axis, along)));
        let radii = HEART_RADII.map(|r| r * self.heart);
        let reach = (along / radii[0]).hypot(across / radii[1]);
        (norm(from) * (1.0 - 1.0 / reach.max(0.02)), along / radii[0])
    }
}

impl Level<'_> {
    /// Distance outside the muscles' outline, mm.
    pub(super) fn muscle(&self, x: f32, y: f32) -> f32 {
        oval(x, y - 10.0, self.muscle[0], self.muscle[1])
    }

    /// Distance outside the skin, mm: fat is thickest in front and at the flanks, and breasts.
    pub(super) fn skin(&self, x: f32, y: f32) -> f32 {
        let front = ramp(60.0, -60.0, y);
        let low = ramp(40.0, -120.0, self.z);
        let fat = self.body.fat * (0.55 + 0.3 * front + 0.35 * low);
        let mut skin = self.muscle(x, y) - fat;
        if self.body.female {
            let size = 30.0 + self.body.fat;
            let breast = ellipsoid(
                [x.abs() - 76.0, y + 78.0 + 0.35 * size, self.z + 28.0],
                [56.0, size, 62.0],
            );
            skin = blend(skin, breast, 14.0);
        }
        skin
    }

    /// Distance outside the pleural space, mm.
    pub(super) fn cage(&self, x: f32, y: f32) -> f32 {
        oval(x, y - self.cage[2], self.cage[0], self.cage[1])
    }

    /// A place on the wall: `angle` from the back (0) by the left (π/2) to the front (π), `out` mm
    /// outside the pleura.
    pub(super) fn on_cage(&self, angle: f32, out: f32) -> Point {
        let round = |v: f32| v.signum() * v.abs().powf(0.8);
        let [a, b, back] = self.cage;
        [(a + out) * round(angle.sin()), back + (b + out) * round(angle.cos()), self.z]
    }

    /// Distance outside what lies between the lungs, mm.
    pub(super) fn mediastinum(&self, x: f32, y: f32) -> f32 {
        let z = self.z;
        let (heart, _) = self.body.heart([x, y, z]);
        // Veins, arteries and trachea above the heart.
        let [half, depth] = table(
            &[
                (-60.0, [16.0, 34.0]),
                (-5.0, [30.0, 44.0]),
                (40.0, [33.0, 46.0]),
                (75.0, [33.0, 42.0]),
                (105.0, [32.0, 34.0]),
                (140.0, [40.0, 40.0]),
            ],
            z,
        );
        let stem = oval(x - 3.0, y - self.cage[2] + 2.0, half, depth);
        // The septum behind the sternum widens at both ends.
        let leaf = 4.0 + 12.0 * ramp(-52.0, -92.0, y) + 6.0 * ramp(60.0, 110.0, z);
        let front = (x.abs() - leaf).max(y + 10.0);
        let back = oval(x - 5.0, y - 36.0, 21.0, 23.0);
        let spine = x.hypot(y - self.spine) - 24.5;
        let aorta = (x - 22.0).hypot(y - 41.0) - 15.0 + 40.0 * ramp(48.0, 80.0, z);
        let mut all = blend(heart - 3.0, stem, 12.0);
        all = blend(all, front, 8.0);
        all = blend(all, back, 8.0);
        blend(blend(all, spine, 10.0), aorta, 8.0)
    }

    /// Height above the diaphragm, mm.
    pub(super) fn above_diaphragm(&self, x: f32, y: f32) -> f32 {
        let breath = self.body.breath;
        let dome = |centre: f32, top: f32| {
            let r = ((x - centre) / 76.0).powi(2) + ((y + 10.0) / 82.0).powi(2);
            top + breath - 58.0 * r
        };
        let wave = 3.0 * smooth3(self.body.seed ^ 0x4d, [x * 0.02, y * 0.02, 0.0]);
        let middle = -103.0 + breath - 0.02 * ((x - 20.0).powi(2) + (y + 20.0).powi(2));
        let top = -blend(-blend_max(dome(-63.0, -80.0), dome(64.0, -90.0)), -middle, 12.0);
        self.z - top - wave
    }

    /// What a place of this level belongs to.
    pub(super) fn region(&self, x: f32, y: f32) -> Region {
        if self.skin(x, y) > 0.0 {
            return Region::Outside;
        }
        if self.cage(x, y) > 0.0 {
            return Region::Wall;
        }
        if self.above_diaphragm(x, y) < 0.0 {
            return Region::Abdomen;
        }
        if self.mediastinum(x, y) < 0.0 {
            return Region::Mediastinum;
        }
        Region::Lung(self.lobe(x, y))
    }

    /// The lobe that a place in a lung belongs to.
    pub(super) fn lobe(&self, x: f32, y: f32) -> Lobe {
        let upper = self.oblique(x, y) > 0.0;
        match (x < 3.0, upper) {
            (true, true) if self.horizontal(x, y) > 0.0 => Lobe::RightUpper,
            (true, true) => Lobe::RightMiddle,
            (true, false) => Lobe::RightLower,
            (false, true) => Lobe::LeftUpper,
            (false, false) => Lobe::LeftLower,
        }
    }

    /// Distance in front of and above the oblique fissure, mm.
    fn oblique(&self, x: f32, y: f32) -> f32 {
        let bow = 4.0 * smooth3(self.body.seed ^ 5, [x * 0.02, y * 0.02, self.z * 0.02]);
        (self.z - y + if x < 0.0 { 34.0 } else { 42.0 }) * 0.707 + bow
    }

    /// Distance above the horizontal fissure of the right lung, mm.
    fn horizontal(&self, x: f32, y: f32) -> f32 {
        self.z + 8.0 - 0.0012 * (x + 60.0).powi(2) + 0.06 * y
    }

    /// Distance from the nearest fissure, mm.
    pub(super) fn fissure(&self, x: f32, y: f32) -> f32 {
        let oblique = self.oblique(x, y);
        if x < 0.0 && oblique > 0.0 {
            return oblique.min(self.horizontal(x, y).abs());
        }
        oblique.abs()
    }
}

fn blend_max(a: f32, b: f32) -> f32 {
    -blend(-a, -b, 10.0)
}
