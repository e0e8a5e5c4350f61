//! Who comes to the X-ray room: patients, why they come, and how their findings go together.
//!
//! A patient has one story (heart failure, infection, trauma, …), which decides what occurs
//! together; visits of one patient follow each other, so findings persist, grow or clear.

use super::finding::{Device, Finding, Kind, Lesion, Side, Zone};
use crate::random::Random;

/// What brings a patient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Story {
    Healthy,
    HeartFailure,
    Infection,
    Critical,
    Trauma,
    Collapse,
    Tumour,
    Surgery,
    Aspiration,
}

/// How a story plays out: share among the ill, mean age, share of bedside films, and the chance of
/// each finding in the order of [`super::FINDINGS`].
struct Script {
    story: Story,
    share: f64,
    age: [f64; 2],
    bedside: f64,
    chances: [f64; 10],
}

#[rustfmt::skip]
const SCRIPTS: [Script; 8] = [
    //                                                                    effus  ptx   heart consol nodule edema atel  pneum devic fract
    Script { story: Story::HeartFailure, share: 0.23, age: [72.0, 10.0], bedside: 0.40, chances: [0.62, 0.00, 0.92, 0.02, 0.02, 0.74, 0.14, 0.05, 0.28, 0.03] },
    Script { story: Story::Infection,    share: 0.23, age: [55.0, 19.0], bedside: 0.25, chances: [0.24, 0.00, 0.06, 0.42, 0.02, 0.02, 0.10, 1.00, 0.10, 0.02] },
    Script { story: Story::Critical,     share: 0.13, age: [62.0, 15.0], bedside: 0.97, chances: [0.36, 0.24, 0.26, 0.26, 0.02, 0.34, 0.38, 0.24, 1.00, 0.05] },
    Script { story: Story::Trauma,       share: 0.17, age: [48.0, 20.0], bedside: 0.50, chances: [0.20, 0.38, 0.05, 0.06, 0.02, 0.00, 0.14, 0.02, 0.20, 0.97] },
    Script { story: Story::Collapse,     share: 0.08, age: [33.0, 13.0], bedside: 0.15, chances: [0.08, 1.00, 0.01, 0.01, 0.02, 0.00, 0.08, 0.01, 0.25, 0.02] },
    Script { story: Story::Tumour,       share: 0.20, age: [66.0, 10.0], bedside: 0.12, chances: [0.22, 0.01, 0.08, 0.08, 1.00, 0.01, 0.18, 0.06, 0.15, 0.06] },
    Script { story: Story::Surgery,      share: 0.09, age: [61.0, 14.0], bedside: 0.70, chances: [0.30, 0.06, 0.16, 0.04, 0.02, 0.06, 0.96, 0.03, 0.50, 0.02] },
    Script { story: Story::Aspiration,   share: 0.09, age: [60.0, 18.0], bedside: 0.45, chances: [0.12, 0.00, 0.08, 1.00, 0.03, 0.03, 0.16, 0.10, 0.22, 0.03] },
];

/// A patient.
#[derive(Clone, Debug)]
pub(super) struct Patient {
    pub(super) number: u64,
    pub(super) story: Story,
    pub(super) female: bool,
    pub(super) age: f32,
    pub(super) visits: usize,
}

/// One visit: what is wrong on the day, and how the film was taken.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) patient: Patient,
    pub(super) lesions: Vec<Lesion>,
    pub(super) devices: Vec<Device>,
    pub(super) portable: bool,
}

impl Case {
    /// The lesion of a kind, if there is one.
    pub(super) fn lesion(&self, finding: Finding) -> Option<&Lesion> {
        self.lesions.iter().find(|lesion| lesion.finding == finding)
    }

    pub(super) fn has(&self, finding: Finding) -> bool {
        match finding {
            Finding::Devices => !self.devices.is_empty(),
            _ => self.lesion(finding).is_some(),
        }
    }
}

impl Patient {
    /// Patient `number` of the world named by `seed`.
    pub(super) fn draw(seed: u64, number: u64, normal_share: f64) -> Self {
        let random = &mut Random::new(seed, &[number, 0]);
        let script = if random.chance(normal_share) { None } else { Some(script(random)) };
        let [mean, spread] = script.map_or([44.0, 17.0], |s| s.age);
        let age = (mean + spread * random.normal()).clamp(18.0, 95.0).floor() as f32;
        let (first, second) = (random.uniform(), random.chance(0.35));
        let visits = if first < 0.72 { 1 } else { 2 + usize::from(second) };
        let female = random.chance(0.48);
        Self { number, story: script.map_or(Story::Healthy, |s| s.story), female, age, visits }
    }
}

fn script(random: &mut Random) -> &'static Script {
    let total: f64 = SCRIPTS.iter().map(|script| script.share).sum();
    let mut left = random.uniform() * total;
    for script in &SCRIPTS {
        left -= script.share;
        if left < 0.0 {
            return script;
        }
    }
    &SCRIPTS[0]
}

/// The case of a patient at visit `visit` (from 0): all earlier visits are lived through again.
pub(super) fn visit(seed: u64, patient: &Patient, visit: usize) -> Case {
    let mut case = arrive(seed, patient);
    for later in 1..=visit {
        case = follow_up(case, &mut Random::new(seed, &[patient.number, 1, later as u64]));
    }
    case
}

fn arrive(seed: u64, patient: &Patient) -> Case {
    let random = &mut Random::new(seed, &[patient.number, 1, 0]);
    let mut case = Case {
        patient: patient.clone(),
        lesions: Vec::new(),
        devices: Vec::new(),
        portable: false,
    };
    if let Some(script) = SCRIPTS.iter().find(|s| s.story == patient.story) {
        for finding in Finding::ALL {
            // Late in the row come those that look at what is there already.
            if finding != Finding::Devices && random.chance(script.chances[finding as usize]) {
                add(&mut case, finding, random);
            }
        }
        if random.chance(script.chances[Finding::Devices as usize]) {
            case.devices = devices(&case, random);
        }
        case.portable = random.chance(script.bedside) || bedside_only(&case);
    } else {
        case.portable = random.chance(0.12);
    }
    case
}

fn bedside_only(case: &Case) -> bool {
    case.devices.iter().any(|d| d.kind == Kind::TrachealTube)
}

fn add(case: &mut Case, finding: Finding, random: &mut Random) {
    let one = if random.chance(0.54) { Side::Right } else { Side::Left };
    let both = |random: &mut Random, p: f64| if random.chance(p) { Side::Both } else { one };
    let zone = |random: &mut Random, shares: [f64; 2]| {
        let u = random.uniform();
        if u < shares[0] {
            Zone::Upper
        } else if u < shares[0] + shares[1] {
            Zone::Middle
        } else {
            Zone::Lower
        }
    };
    let failing = case.patient.story == Story::HeartFailure;
    let beside = |finding: Finding| case.lesion(finding).map(|l| (l.side, l.zone));
    let (side, zone) = match finding {
        Finding::Effusion => (both(random, if failing { 0.55 } else { 0.12 }), Zone::Lower),
        Finding::Pneumothorax => (one, Zone::Upper),
        Finding::Cardiomegaly | Finding::Devices => (Side::None, Zone::None),
        Finding::Edema => (Side::Both, Zone::None),
        Finding::Consolidation => (both(random, 0.1), zone(random, [0.28, 0.22])),
        Finding::Pneumonia => match beside(Finding::Consolidation) {
            Some(place) if random.chance(0.85) => place,
            _ => (both(random, 0.25), zone(random, [0.22, 0.28])),
        },
        Finding::Nodule => (one, zone(random, [0.45, 0.3])),
        Finding::Atelectasis => (both(random, 0.22), zone(random, [0.12, 0.1])),
        Finding::Fracture => {
            let side = beside(Finding::Pneumothorax).map_or(one, |(side, _)| side);
            (side, zone(random, [0.25, 0.45]))
        }
    };
    let u = random.uniform();
    let degree = usize::from(u > 0.3) + usize::from(u > 0.74);
    let size = match finding {
        // Half are masses, over 30 mm.
        Finding::Nodule if random.chance(0.55) => random.range(31.0, 65.0),
        Finding::Nodule => random.range(19.0, 30.0),
        _ => 0.0,
    };
    let size = size.round() as f32;
    let seed = random.bits();
    case.lesions.push(Lesion { finding, side, zone, degree, size, seed });
}

fn devices(case: &Case, random: &mut Random) -> Vec<Device> {
    // Chances of tracheal tube, central line, pacemaker, gastric tube.
    let chances = match case.patient.story {
        Story::Critical => [0.62, 0.75, 0.08, 0.55],
        Story::HeartFailure => [0.03, 0.30, 0.75, 0.03],
        Story::Trauma => [0.35, 0.45, 0.03, 0.35],
        Story::Surgery => [0.12, 0.70, 0.12, 0.45],
        Story::Tumour => [0.00, 0.90, 0.10, 0.05],
        Story::Collapse => [0.02, 0.05, 0.00, 0.02],
        _ => [0.08, 0.55, 0.25, 0.35],
    };
    let mut kinds: Vec<Kind> = Kind::ALL
        .into_iter()
        .zip(chances)
        .filter(|(_, p)| random.chance(*p))
        .map(|d| d.0)
        .collect();
    let air = case.lesion(Finding::Pneumothorax);
    if air.is_some() && random.chance(0.6) {
        kinds.push(Kind::ChestTube);
    }
    if kinds.is_empty() {
        kinds.push(if air.is_some() { Kind::ChestTube } else { Kind::CentralLine });
    }
    kinds
        .into_iter()
        .map(|kind| {
            let side = match kind {
                Kind::TrachealTube | Kind::GastricTube => Side::None,
                Kind::CentralLine if random.chance(0.75) => Side::Right,
                Kind::Pacemaker if random.chance(0.15) => Side::Right,
                Kind::CentralLine | Kind::Pacemaker => Side::Left,
                Kind::ChestTube => air.map_or(Side::Right, |lesion| lesion.side),
            };
            Device { kind, side, seed: random.bits() }
        })
        .collect()
}

/// The next visit: what was there clears, stays, or changes by a degree; something may be new.
fn follow_up(mut case: Case, random: &mut Random) -> Case {
    case.lesions.retain_mut(|lesion| {
        let chronic =
            matches!(lesion.finding, Finding::Cardiomegaly | Finding::Nodule | Finding::Fracture);
        if lesion.finding == Finding::Nodule {
            lesion.size = (lesion.size * random.range(0.98, 1.25) as f32).round().min(70.0);
        }
        if chronic {
            return true;
        }
        let u = random.uniform();
        if u < 0.25 {
            lesion.degree = (lesion.degree + 1).min(2);
        } else if u < 0.6 {
            if lesion.degree == 0 {
                return false;
            }
            lesion.degree -= 1;
        }
        true
    });
    let fresh = SCRIPTS.iter().find(|s| s.story == case.patient.story);
    for finding in Finding::ALL {
        let chance = fresh.map_or(0.0, |s| 0.15 * s.chances[finding as usize]);
        if finding != Finding::Devices && !case.has(finding) && random.chance(chance) {
            add(&mut case, finding, random);
        }
    }
    let air = case.lesion(Finding::Pneumothorax).map(|lesion| lesion.side);
    case.devices.retain(|device| match device.kind {
        Kind::Pacemaker => true,
        Kind::ChestTube => air == Some(device.side),
        _ => random.chance(0.6),
    });
    case.portable = bedside_only(&case) || random.chance(if case.portable { 0.6 } else { 0.1 });
    case
}
