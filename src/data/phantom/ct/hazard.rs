//! What happens after the scan: lung cancer and cardiovascular death, from record and findings.
//!
//! Each event has a cumulative hazard H(t), t in years, and comes when H reaches an exponential
//! draw. Nothing else decides it, so a model that reads record and scan has all there is to know.
//!
//! Lung cancer: H(t) = a·t·(1 + 0.05 t) + Σ −ln(1 − pᵢ)·(1 − e^(−t/1.5)) over the nodules.
//! a = 0.0016·exp(0.055 (age − 62) + 0.018 (pack-years − 30) − 0.03 years since quitting +
//! 0.3 COPD + 0.2 grade of emphysema + 0.15 grade of fibrosis + 0.35 family + 0.5 own cancer).
//! pᵢ follows the size, density, margin and lobe of nodule i in the manner of the Brock model
//! (`McWilliams` et al. 2013, N Engl J Med 369:910), with 0.012 for a pack-year.
//!
//! Cardiovascular death: H(t) = b·t·(1 + 0.04 t), b = 0.0022·exp(0.08 (age − 62) + 0.3 ln(1 + score/10) +
//! 0.6 heart disease + 0.45 stroke + 0.4 diabetes + 0.2 hypertension + 0.35 smoking now +
//! 0.3 male + 0.3 grade of the heart's size + 0.2 grade of effusion).
//!
//! Other deaths and the end of follow-up (a fifth is lost early) censor both.

use super::clinic::Case;
use super::finding::{Attenuation, Finding, Lobe, Margin, Nodule};
use super::patient::Smoking;
use crate::data::FollowUp;
use crate::random::Random;

/// The names of the outcomes.
pub(super) const OUTCOMES: [&str; 2] = ["lung cancer", "cardiovascular death"];

/// No event is looked for after so many years.
const HORIZON: f64 = 12.0;

/// What became of the patient of a case, in the order of [`OUTCOMES`].
pub(super) fn follow_up(case: &Case, random: &mut Random) -> Vec<FollowUp> {
    let mut draw = |hazard: &dyn Fn(f64) -> f64| arrival(hazard, -(1.0 - random.uniform()).ln());
    let cancer = draw(&|t| lung_cancer(case, t));
    let heart = draw(&|t| cardiovascular(case, t));
    let other = draw(&|t| other_death(case, t));
    let lost = random.chance(0.2);
    let end = if lost { random.range(0.2, 6.0) } else { random.range(6.0, 8.5) };
    let end = other.min(end);
    [(cancer, end.min(heart)), (heart, end)]
        .into_iter()
        .zip(OUTCOMES)
        .map(|((event, end), outcome)| FollowUp {
            outcome: outcome.to_owned(),
            // Two decimals: some four days.
            years: (event.min(end) * 100.0).ceil() / 100.0,
            event: event <= end,
        })
        .collect()
}

/// When a growing hazard reaches `level`; infinite when it does not within the horizon.
fn arrival(hazard: &dyn Fn(f64) -> f64, level: f64) -> f64 {
    if hazard(HORIZON) < level {
        return f64::INFINITY;
    }
    let (mut low, mut high) = (0.0, HORIZON);
    for _ in 0..50 {
        let middle = 0.5 * (low + high);
        if hazard(middle) < level { low = middle } else { high = middle }
    }
    high
}

/// Cumulative hazard of a lung cancer diagnosis within `t` years.
pub(super) fn lung_cancer(case: &Case, t: f64) -> f64 {
    let patient = &case.patient;
    let known = |disease: &str| f64::from(patient.has(disease));
    let log = 0.055 * (patient.age - 62.0) + 0.018 * (patient.pack_years - 30.0)
        - 0.03 * patient.quit_years
        + 0.3 * known("copd")
        + 0.2 * case.grade(Finding::Emphysema)
        + 0.15 * case.grade(Finding::Fibrosis)
        + 0.35 * f64::from(patient.family.contains(&true))
        + 0.5 * f64::from(patient.cancers.iter().any(Option::is_some));
    let seen: f64 = case.nodules.iter().map(|nodule| -(1.0 - malignancy(case, nodule)).ln()).sum();
    0.0016 * log.exp() * t * (1.0 + 0.05 * t) + seen * (1.0 - (-t / 1.5).exp())
}

/// The chance that a nodule is a cancer.
fn malignancy(case: &Case, nodule: &Nodule) -> f64 {
    let patient = &case.patient;
    let size = (f64::from(nodule.diameter) / 10.0).powf(-0.5) - 1.581;
    let upper = matches!(nodule.lobe, Lobe::RightUpper | Lobe::LeftUpper);
    let score = -6.5
        + 0.0287 * (patient.age - 62.0)
        + 0.6 * f64::from(patient.female)
        + 0.3 * f64::from(patient.family.contains(&true))
        + 0.3 * f64::from(case.has(Finding::Emphysema))
        + 0.66 * f64::from(upper)
        + 0.77 * f64::from(nodule.margin == Margin::Spiculated)
        + match nodule.attenuation {
            Attenuation::Solid => 0.0,
            Attenuation::PartSolid => 0.38,
            Attenuation::GroundGlass => -0.13,
        }
        + 0.012 * (patient.pack_years - 30.0)
        - 5.39 * size;
    (1.0 / (1.0 + (-score).exp())).min(0.97)
}

/// Cumulative hazard of death from the heart or vessels within `t` years.
pub(super) fn cardiovascular(case: &Case, t: f64) -> f64 {
    let patient = &case.patient;
    let known = |disease: &str| f64::from(patient.has(disease));
    let log = 0.08 * (patient.age - 62.0)
        + 0.3 * (1.0 + f64::from(case.calcium_score()) / 10.0).ln()
        + 0.6 * known("heart_disease")
        + 0.45 * known("stroke")
        + 0.4 * known("diabetes")
        + 0.2 * known("hypertension")
        + 0.35 * f64::from(patient.smoking == Smoking::Current)
        + 0.3 * f64::from(!patient.female)
        + 0.3 * case.grade(Finding::Cardiomegaly)
        + 0.2 * case.grade(Finding::Effusion);
    0.0022 * log.exp() * t * (1.0 + 0.04 * t)
}

fn other_death(case: &Case, t: f64) -> f64 {
    let log = 0.085 * (case.patient.age - 62.0)
        + 0.2 * case.grade(Finding::Emphysema)
        + 0.25 * case.grade(Finding::Fibrosis);
    0.008 * log.exp() * t
}
