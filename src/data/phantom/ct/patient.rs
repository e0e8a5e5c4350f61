//! Who comes for a chest CT: age, habits, illnesses and family, drawn so that they go together.

use crate::random::Random;

/// Illnesses asked for, each with its share among people of 62 who smoked 30 pack-years, and how
/// much the log-odds rise with ten years of age and with ten pack-years.
#[rustfmt::skip]
pub(super) const DISEASES: [(&str, f64, f64, f64); 16] = [
    ("adult_asthma",       0.060, 0.0,  0.05),
    ("asbestosis",         0.012, 0.2,  0.00),
    ("bronchiectasis",     0.030, 0.2,  0.10),
    ("childhood_asthma",   0.060, 0.0,  0.00),
    ("chronic_bronchitis", 0.080, 0.1,  0.20),
    ("copd",               0.150, 0.3,  0.30),
    ("diabetes",           0.160, 0.3,  0.05),
    ("emphysema",          0.080, 0.3,  0.35),
    ("lung_fibrosis",      0.020, 0.5,  0.10),
    ("heart_disease",      0.120, 0.5,  0.12),
    ("hypertension",       0.380, 0.5,  0.05),
    ("pneumonia",          0.200, 0.2,  0.05),
    ("sarcoidosis",        0.008, 0.0,  0.00),
    ("silicosis",          0.006, 0.1,  0.00),
    ("stroke",             0.040, 0.6,  0.10),
    ("tuberculosis",       0.012, 0.2,  0.00),
];

/// Cancers asked for, with their share.
pub(super) const CANCERS: [(&str, f64); 15] = [
    ("bladder", 0.008),
    ("breast", 0.020),
    ("cervical", 0.006),
    ("colorectal", 0.010),
    ("esophageal", 0.001),
    ("kidney", 0.005),
    ("larynx", 0.003),
    ("lung", 0.006),
    ("nasal", 0.001),
    ("oral", 0.004),
    ("pancreatic", 0.001),
    ("pharynx", 0.001),
    ("stomach", 0.002),
    ("thyroid", 0.004),
    ("transitional_cell", 0.002),
];

/// Relatives who may have had lung cancer, with their share.
pub(super) const FAMILY: [(&str, f64); 5] =
    [("brother", 0.05), ("child", 0.008), ("father", 0.09), ("mother", 0.05), ("sister", 0.035)];

const RACES: [(&str, f64); 4] = [
    ("White", 0.72),
    ("Black or African American", 0.14),
    ("Asian", 0.09),
    ("More than one race", 0.05),
];

const SCHOOLS: [(&str, f64); 5] = [
    ("8th grade or less", 0.05),
    ("high school graduate", 0.33),
    ("some college", 0.28),
    ("bachelor's degree", 0.20),
    ("graduate school", 0.14),
];

/// Whether someone smokes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Smoking {
    Never,
    Former,
    Current,
}

/// One person.
#[derive(Clone, Debug)]
pub(super) struct Patient {
    pub(super) number: u64,
    pub(super) age: f64,
    pub(super) female: bool,
    pub(super) race: &'static str,
    pub(super) hispanic: bool,
    pub(super) education: &'static str,
    pub(super) height_cm: f64,
    pub(super) weight_kg: f64,
    pub(super) smoking: Smoking,
    pub(super) pack_years: f64,
    pub(super) cigarettes: f64,
    pub(super) quit_years: f64,
    /// Age at diagnosis, in the order of [`DISEASES`].
    pub(super) diseases: [Option<f64>; 16],
    /// Age at diagnosis, in the order of [`CANCERS`].
    pub(super) cancers: [Option<f64>; 15],
    /// In the order of [`FAMILY`].
    pub(super) family: [bool; 5],
}

impl Patient {
    /// Patient `number` of the world named by `seed`.
    pub(super) fn draw(seed: u64, number: u64) -> Self {
        let random = &mut Random::new(seed, &[number, 20]);
        let female = random.chance(0.44);
        let age = (63.0 + 8.0 * random.normal()).clamp(40.0, 88.0).floor();
        let height_cm = if female { 162.0 } else { 176.0 } + 6.5 * random.normal();
        let index = (27.5 + 4.6 * random.normal()).clamp(17.5, 44.0);
        let smoking = match random.uniform() {
            u if u < 0.15 => Smoking::Never,
            u if u < 0.58 => Smoking::Former,
            _ => Smoking::Current,
        };
        let quit = random.range(0.5, 20.0).floor().max(1.0);
        let begun = random.range(14.0, 24.0);
        let cigarettes = (20.0 + 9.0 * random.normal()).clamp(3.0, 60.0).round();
        let quit_years =
            if smoking == Smoking::Former { quit.min(age - begun - 5.0).floor() } else { 0.0 };
        let pack_years = match smoking {
            Smoking::Never => 0.0,
            _ => {
                (cigarettes / 20.0 * (age - begun - quit_years).max(2.0) * random.range(0.75, 1.0))
                    .round()
            }
        };
        let mut patient = Self {
            number,
            age,
            female,
            race: pick(&RACES, random),
            hispanic: random.chance(0.08),
            education: pick(&SCHOOLS, random),
            height_cm,
            weight_kg: index * (height_cm / 100.0).powi(2),
            smoking,
            pack_years,
            cigarettes: if smoking == Smoking::Never { 0.0 } else { cigarettes },
            quit_years,
            diseases: [None; 16],
            cancers: [None; 15],
            family: [false; 5],
        };
        patient.fall_ill(random);
        patient
    }

    fn fall_ill(&mut self, random: &mut Random) {
        let (decades, packs) = ((self.age - 62.0) / 10.0, (self.pack_years - 30.0) / 10.0);
        let stout = (self.weight_kg / (self.height_cm / 100.0).powi(2) - 27.5) / 5.0;
        for (place, (name, share, by_age, by_packs)) in self.diseases.iter_mut().zip(DISEASES) {
            let metabolic =
                if matches!(name, "diabetes" | "hypertension") { 0.4 * stout } else { 0.0 };
            let p = chance(share, by_age * decades + by_packs * packs + metabolic);
            let early = if name == "childhood_asthma" { 0.02 } else { 0.55 };
            let late = if name == "childhood_asthma" { 0.2 } else { 0.98 };
            let at = (self.age * random.range(early, late)).floor().max(1.0);
            *place = random.chance(p).then_some(at);
        }
        for (place, (name, share)) in self.cancers.iter_mut().zip(CANCERS) {
            let possible = match name {
                "cervical" | "breast" => self.female,
                _ => true,
            };
            let at = (self.age * random.range(0.6, 0.98)).floor();
            *place =
                (random.chance(share * (1.0 + 0.4 * decades.max(-1.0))) && possible).then_some(at);
        }
        for (place, (_, share)) in self.family.iter_mut().zip(FAMILY) {
            *place = random.chance(share);
        }
    }

    /// Whether an illness of [`DISEASES`] is known.
    pub(super) fn has(&self, disease: &str) -> bool {
        DISEASES.iter().zip(&self.diseases).any(|((name, ..), at)| *name == disease && at.is_some())
    }
}

/// `share` moved by `shift` on the scale of log-odds.
pub(super) fn chance(share: f64, shift: f64) -> f64 {
    let odds = share / (1.0 - share) * shift.exp();
    odds / (1.0 + odds)
}

fn pick(options: &[(&'static str, f64)], random: &mut Random) -> &'static str {
    let mut left = random.uniform();
    for (name, share) in options {
        left -= share;
        if left < 0.0 {
            return name;
        }
    }
    options[0].0
}
