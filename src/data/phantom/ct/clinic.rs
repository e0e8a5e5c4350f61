//! What a patient has: findings that depend on age, habits and illnesses, and on each other.

use super::CtOptions;
use super::body::Body;
use super::finding::{Attenuation, Finding, Lesion, Lobe, Margin, Nodule, Spot};
use super::patient::{Patient, Smoking, chance};
use super::scanner::Scanner;
use super::space::{Point, between, norm, sub, times};
use crate::random::Random;

/// One scan of one patient: who, what, and how it was made.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) seed: u64,
    pub(super) patient: Patient,
    pub(super) body: Body,
    pub(super) scanner: Scanner,
    pub(super) nodules: Vec<Nodule>,
    pub(super) lesions: Vec<Lesion>,
}

impl Case {
    /// The case of patient `number`.
    pub(super) fn draw(options: &CtOptions, number: u64) -> Self {
        let seed = options.seed;
        let patient = Patient::draw(seed, number);
        let stream = |purpose: u64| Random::new(seed, &[number, purpose]);
        let enlarged = cardiomegaly(&patient, &mut stream(21));
        let heart = enlarged.map_or(1.0, |degree| [1.16, 1.24, 1.33][degree]);
        let (height, weight) = (patient.height_cm as f32, patient.weight_kg as f32);
        let body = Body::draw(patient.female, height, weight, heart, &mut stream(22));
        let scanner = Scanner::draw(options, &body, &mut stream(23));
        let mut lesions = lesions(&patient, &body, &mut stream(24));
        if let Some(degree) = enlarged {
            lesions.push(lesion(Finding::Cardiomegaly, degree, &mut stream(25)));
        }
        let nodules = nodules(&patient, &body, &lesions, &mut stream(26));
        Self { seed, patient, body, scanner, nodules, lesions }
    }

    pub(super) fn lesion(&self, finding: Finding) -> Option<&Lesion> {
        self.lesions.iter().find(|lesion| lesion.finding == finding)
    }

    /// 0 where a finding is absent, else 1 to 3.
    pub(super) fn grade(&self, finding: Finding) -> f64 {
        self.lesion(finding).map_or(0.0, |lesion| lesion.degree as f64 + 1.0)
    }

    pub(super) fn calcium_score(&self) -> f32 {
        self.lesion(Finding::Calcium).map_or(0.0, Lesion::calcium_score)
    }

    /// The largest nodule.
    pub(super) fn largest(&self) -> Option<&Nodule> {
        self.nodules.iter().max_by(|a, b| a.diameter.total_cmp(&b.diameter))
    }

    pub(super) fn has(&self, finding: Finding) -> bool {
        match finding {
            Finding::Nodule => !self.nodules.is_empty(),
            // What a reader would take for it: a good deal of calcium, a large heart, or a history.
            Finding::Cardiovascular => {
                self.calcium_score() >= 100.0
                    || self.has(Finding::Cardiomegaly)
                    || self.patient.has("heart_disease")
                    || self.patient.has("stroke")
            }
            _ => self.lesion(finding).is_some(),
        }
    }
}

fn lesion(finding: Finding, degree: usize, random: &mut Random) -> Lesion {
    Lesion {
        finding,
        side: None,
        lobe: None,
        degree,
        spots: Vec::new(),
        seed: random.bits() as u32,
    }
}

fn degree(shift: f64, random: &mut Random) -> usize {
    let u = random.uniform();
    usize::from(u < chance(0.5, shift)) + usize::from(u < chance(0.18, shift))
}

fn cardiomegaly(patient: &Patient, random: &mut Random) -> Option<usize> {
    let shift = 0.4 * (patient.age - 62.0) / 10.0
        + 1.3 * f64::from(patient.has("heart_disease"))
        + 0.5 * f64::from(patient.has("hypertension"));
    let there = random.chance(chance(0.07, shift));
    let degree = degree(0.0, random);
    there.then_some(degree)
}

fn lesions(patient: &Patient, body: &Body, random: &mut Random) -> Vec<Lesion> {
    let decades = (patient.age - 62.0) / 10.0;
    let packs = (patient.pack_years - 30.0) / 10.0;
    let known = |disease: &str| f64::from(patient.has(disease));
    let lung = known("copd") + known("emphysema");
    let share = |finding: Finding| match finding {
        Finding::Emphysema => chance(0.22, 0.3 * decades + 0.32 * packs + 1.3 * lung),
        Finding::Fibrosis => {
            chance(0.06, 0.5 * decades + 2.6 * known("lung_fibrosis") + 1.2 * known("asbestosis"))
        }
        Finding::Calcium => chance(
            0.48,
            1.0 * decades
                + 0.18 * packs
                + if patient.female { -0.8 } else { 0.3 }
                + 0.5 * known("diabetes")
                + 0.4 * known("hypertension")
                + 1.5 * known("heart_disease"),
        ),
        Finding::Consolidation => chance(0.06, 0.5 * known("pneumonia") + 0.15 * decades),
        Finding::Effusion => chance(0.05, 0.4 * decades + 1.0 * known("heart_disease")),
        Finding::Atelectasis => chance(0.14, 0.3 * decades),
        Finding::Thickening => {
            chance(0.07, 0.3 * decades + 2.2 * known("asbestosis") + known("tuberculosis"))
        }
        Finding::Adenopathy => chance(0.06, 2.5 * known("sarcoidosis") + 0.05 * packs),
        Finding::ChestWall => 0.03,
        Finding::Covid => 0.06,
        Finding::Nodule | Finding::Cardiomegaly | Finding::Cardiovascular => 0.0,
    };
    let severity = |finding: Finding| match finding {
        Finding::Emphysema => 0.12 * packs + 0.7 * lung - 0.3,
        Finding::Fibrosis => 1.2 * known("lung_fibrosis") - 0.2,
        _ => 0.0,
    };
    let mut found = Vec::new();
    for finding in Finding::ALL {
        // Drawn for every finding, so that one does not move the next.
        let mut own = Random::new(random.bits(), &[finding as u64]);
        if own.chance(share(finding)) {
            let degree = degree(severity(finding), &mut own);
            let mut lesion = lesion(finding, degree, &mut own);
            place(&mut lesion, body, patient, &mut own);
            found.push(lesion);
        }
    }
    found
}

/// Gives a lesion its side, lobe and parts.
fn place(lesion: &mut Lesion, body: &Body, patient: &Patient, random: &mut Random) {
    let one = usize::from(random.chance(0.46));
    let side = |side: usize| if side == 0 { -1.0 } else { 1.0 };
    let wall = |z: f32, angle: f32, out: f32, side: f32| {
        let place = body.level(z).on_cage(angle, out);
        [side * place[0], place[1], z]
    };
    let size = lesion.degree;
    let mut number = |low: f64, high: f64| random.range(low, high) as f32;
    match lesion.finding {
        Finding::Consolidation | Finding::Atelectasis => {
            let consolidation = lesion.finding == Finding::Consolidation;
            let lobes = if consolidation { &Lobe::ALL[..] } else { &Lobe::ALL[1..] };
            let lobe = *random.choose(lobes);
            lesion.side = Some(usize::from(!lobe.right()));
            lesion.lobe = Some(lobe);
            let radius = [22.0, 31.0, 43.0][size];
            let count = if consolidation { 1 } else { 1 + size };
            for _ in 0..count {
                let centre = body.place(lobe, if consolidation { 12.0 } else { 8.0 }, random);
                let radius = if consolidation { radius } else { random.range(20.0, 32.0) as f32 };
                lesion.spots.push(Spot { centre, radius, density: 0.0 });
            }
        }
        Finding::Effusion => lesion.side = Some(if random.chance(0.25) { 2 } else { one }),
        Finding::Fibrosis | Finding::Emphysema => lesion.side = Some(2),
        Finding::Covid => {
            lesion.side = Some(2);
            for n in 0..[5, 9, 15][size] {
                let lobe = [
                    Lobe::RightLower,
                    Lobe::LeftLower,
                    Lobe::RightUpper,
                    Lobe::LeftUpper,
                    Lobe::RightMiddle,
                ][n % 5];
                let centre = outermost(body, lobe, random);
                lesion.spots.push(Spot {
                    centre,
                    radius: random.range(10.0, 21.0) as f32,
                    density: 0.0,
                });
            }
        }
        Finding::Thickening => {
            lesion.side = Some(one);
            let chalk = patient.has("asbestosis") || number(0.0, 1.0) < 0.15;
            let density = if chalk { 380.0 } else { 50.0 };
            for _ in 0..=size {
                let centre = wall(number(-90.0, 50.0), number(0.7, 2.4), -2.0, side(one));
                lesion.spots.push(Spot { centre, radius: number(24.0, 44.0), density });
            }
        }
        Finding::ChestWall => {
            lesion.side = Some(one);
            let centre = wall(number(-60.0, 50.0), number(0.9, 2.3), 9.0, side(one));
            let radius = [11.0, 15.0, 20.0][size] + number(-1.5, 1.5);
            lesion.spots.push(Spot { centre, radius, density: 46.0 });
        }
        Finding::Adenopathy => adenopathy(lesion, size, random),
        Finding::Calcium => calcium(lesion, body, size, random),
        Finding::Nodule | Finding::Cardiomegaly | Finding::Cardiovascular => {}
    }
}

/// A place of a lobe close to the chest wall and rather to the back.
fn outermost(body: &Body, lobe: Lobe, random: &mut Random) -> Point {
    let places: Vec<Point> = (0..12).map(|_| body.place(lobe, 5.0, random)).collect();
    let out = |p: &Point| -body.level(p[2]).cage(p[0], p[1]) - 0.25 * p[1];
    places.iter().copied().min_by(|a, b| out(a).total_cmp(&out(b))).unwrap_or(lobe.middle())
}

/// Nodes beside the windpipe, under its fork, or at one hilum.
fn adenopathy(lesion: &mut Lesion, size: usize, random: &mut Random) {
    const MIDDLE: [Point; 4] =
        [[-13.0, 2.0, 50.0], [3.0, 27.0, 12.0], [24.0, 6.0, 34.0], [-2.0, -38.0, 40.0]];
    const HILA: [[Point; 2]; 2] =
        [[[-46.0, 14.0, 4.0], [-44.0, 4.0, 18.0]], [[50.0, 18.0, -2.0], [46.0, 6.0, 12.0]]];
    let places: Vec<Point> = if random.chance(0.4) {
        let side = random.below(2);
        lesion.side = Some(side);
        HILA[side].to_vec()
    } else {
        MIDDLE.to_vec()
    };
    let count = (1 + size).min(places.len());
    let start = random.below(places.len());
    for n in 0..count {
        let radius = [5.8, 7.8, 10.5][size] + random.range(-0.6, 1.2) as f32;
        let centre = places[(start + n) % places.len()];
        lesion.spots.push(Spot { centre, radius, density: 44.0 });
    }
}

/// Plaques along the coronary arteries; the degree follows from their score.
fn calcium(lesion: &mut Lesion, body: &Body, size: usize, random: &mut Random) {
    const ARTERIES: [[Point; 4]; 3] = [
        [[8.0, -20.0, 24.0], [20.0, -36.0, 8.0], [36.0, -42.0, -14.0], [48.0, -40.0, -32.0]],
        [[8.0, -8.0, 26.0], [28.0, 6.0, 16.0], [42.0, 16.0, -4.0], [46.0, 14.0, -24.0]],
        [[-14.0, -26.0, 18.0], [-30.0, -34.0, 0.0], [-34.0, -26.0, -22.0], [-24.0, -10.0, -38.0]],
    ];
    let count = match size {
        0 => 1 + random.below(3),
        1 => 4 + random.below(5),
        _ => 10 + random.below(9),
    };
    for _ in 0..count {
        // The anterior descending artery has most.
        let artery = ARTERIES[*random.choose(&[0, 0, 0, 1, 2, 2])];
        let at = 3.0 * random.uniform().powf(1.3) as f32;
        let leg = (at as usize).min(2);
        let towards = between(artery[leg], artery[leg + 1], at - leg as f32);
        let centre = super::space::add(body.heart_centre(), towards);
        // Onto the surface of the muscle, in the fat.
        let (outside, _) = body.heart(centre);
        let length = norm(towards);
        let reach = length / (length - outside);
        let centre = super::space::add(body.heart_centre(), times(towards, 0.9 / reach));
        let radius = random.range(0.7, [1.3, 1.7, 2.3][size]) as f32;
        lesion.spots.push(Spot { centre, radius, density: random.range(180.0, 900.0) as f32 });
    }
    let score = lesion.calcium_score();
    lesion.degree = usize::from(score >= 100.0) + usize::from(score >= 400.0);
}

fn nodules(patient: &Patient, body: &Body, lesions: &[Lesion], random: &mut Random) -> Vec<Nodule> {
    let packs = (patient.pack_years - 30.0) / 10.0;
    let there = chance(0.42, 0.15 * packs + 0.2 * (patient.age - 62.0) / 10.0);
    let count = if random.chance(there) { 1 + random.below(2) + random.below(3) / 2 } else { 0 };
    let mut nodules: Vec<Nodule> = Vec::new();
    for _ in 0..count {
        let worse = 0.16 * packs
            + 0.35 * f64::from(patient.smoking == Smoking::Current)
            + 0.4 * f64::from(lesions.iter().any(|l| l.finding == Finding::Emphysema));
        let nodule = nodule(body, worse, random);
        let apart = nodules.iter().all(|other| {
            norm(sub(other.centre, nodule.centre)) > 0.9 * (other.diameter + nodule.diameter)
        });
        if apart {
            nodules.push(nodule);
        }
    }
    nodules
}

fn nodule(body: &Body, worse: f64, random: &mut Random) -> Nodule {
    let lobe = match random.uniform() {
        u if u < 0.32 => Lobe::RightUpper,
        u if u < 0.42 => Lobe::RightMiddle,
        u if u < 0.63 => Lobe::RightLower,
        u if u < 0.85 => Lobe::LeftUpper,
        _ => Lobe::LeftLower,
    };
    // Most are small; what weighs on the patient makes more of them large.
    let size = 1.95 + 0.16 * worse + 0.62 * random.normal();
    let diameter = (size.exp().clamp(3.0, 44.0) * 10.0).round() as f32 / 10.0;
    let attenuation = match random.uniform() {
        u if u < 0.70 => Attenuation::Solid,
        u if u < 0.88 => Attenuation::GroundGlass,
        _ if diameter >= 8.0 => Attenuation::PartSolid,
        _ => Attenuation::Solid,
    };
    let large = f64::from(diameter >= 8.0);
    let margin = match random.uniform() {
        u if u < 0.06 + 0.26 * large => Margin::Spiculated,
        u if u < 0.20 + 0.30 * large => Margin::Lobulated,
        u if u < 0.36 + 0.26 * large => Margin::PoorlyDefined,
        _ => Margin::Smooth,
    };
    let narrow = body.scale.iter().copied().fold(f32::MAX, f32::min);
    let centre = body.patient(body.place(lobe, (0.62 * diameter + 2.5) / narrow, random));
    Nodule { lobe, centre, diameter, attenuation, margin, seed: random.bits() as u32 }
}
