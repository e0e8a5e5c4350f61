//! The clinical record of a visit: what was measured and told, as the findings would have it.

use super::super::{Record, Value};
use super::clinic::{Case, Story};
use super::finding::Finding;
use crate::random::Random;

/// The record of a case, with some entries missing, and the reason for the study in words.
pub(super) fn record(case: &Case, random: &mut Random) -> (Record, String) {
    let patient = &case.patient;
    // 0 absent, 1 to 3 by degree.
    let grade = |finding| case.lesion(finding).map_or(0.0, |lesion| lesion.degree as f64 + 1.0);
    let (pneumonia, solid) = (grade(Finding::Pneumonia), grade(Finding::Consolidation));
    let (edema, heart) = (grade(Finding::Edema), grade(Finding::Cardiomegaly));
    let (air, fluid) = (grade(Finding::Pneumothorax), grade(Finding::Effusion));
    let (broken, tumour) = (grade(Finding::Fracture), grade(Finding::Nodule));
    let infected = f64::from(pneumonia > 0.0);
    let critical = f64::from(patient.story == Story::Critical);
    let age = f64::from(patient.age);

    let temperature = 36.7
        + 0.3 * random.normal()
        + infected * (0.9 + 0.3 * pneumonia + 0.4 * random.normal())
        + 0.12 * solid;
    let rate =
        74.0 + 10.0 * random.normal() + 8.0 * infected + 5.0 * edema + 4.0 * air + 9.0 * critical;
    let systolic = 112.0 + 0.3 * age + 13.0 * random.normal() + 4.0 * heart - 14.0 * critical;
    let diastolic = 0.42 * systolic + 24.0 + 6.0 * random.normal();
    let burden = 1.3 * pneumonia + 1.0 * solid + 1.5 * edema + 1.0 * air + 0.8 * fluid;
    let oxygen = 98.2 - burden - 1.5 * critical - (0.9 * random.normal()).abs();
    let white = 6.8 + 1.5 * random.normal() + infected * (3.0 + 1.3 * pneumonia) + 1.5 * critical;
    let protein = (1.0
        + 0.8 * random.normal()
        + 2.6 * infected
        + 0.25 * solid
        + 0.9 * critical
        + 0.4 * f64::from(tumour > 0.0)
        + 0.5 * f64::from(broken > 0.0))
    .exp();
    let strain =
        (3.4 + 0.018 * (age - 40.0) + 0.55 * random.normal() + 0.75 * heart + 0.6 * edema).exp();
    let smoker = random.chance(match patient.story {
        Story::Tumour => 0.82,
        Story::Healthy => 0.28,
        _ => 0.42,
    });
    let years = if smoker { random.range(3.0, 1.1 * (age - 15.0).max(4.0)).min(90.0) } else { 0.0 };

    let mut told = |p: f64| random.chance(p.clamp(0.03, 0.95));
    let dyspnea = told(0.06 + 0.22 * edema + 0.16 * air + 0.14 * fluid + 0.13 * pneumonia);
    let cough = told(0.10 + 0.55 * infected + 0.07 * solid + 0.2 * f64::from(tumour > 0.0));
    let pain = told(0.08 + 0.45 * f64::from(air > 0.0) + 0.4 * f64::from(broken > 0.0));
    let trauma = told(0.02 + 0.85 * f64::from(broken > 0.0));
    let fever = temperature >= 38.0;

    let labs = if patient.story == Story::Healthy { 0.4 } else { 0.12 };
    let entries = [
        ("temperature_c", (temperature * 10.0).round() / 10.0, 0.08),
        ("heart_rate_bpm", rate.clamp(42.0, 170.0).round(), 0.06),
        ("systolic_mmhg", systolic.clamp(75.0, 220.0).round(), 0.07),
        ("diastolic_mmhg", diastolic.clamp(40.0, 125.0).round(), 0.07),
        ("spo2_percent", oxygen.clamp(70.0, 100.0).round(), 0.08),
        ("pack_years", years.round(), 0.15),
        ("wbc_g_l", (white.clamp(1.5, 40.0) * 10.0).round() / 10.0, labs),
        ("crp_mg_l", protein.clamp(0.3, 400.0).round(), labs),
        ("bnp_pg_ml", strain.clamp(5.0, 5000.0).round(), labs + 0.15),
        ("dyspnea", f64::from(dyspnea), 0.03),
        ("cough", f64::from(cough), 0.03),
        ("chest_pain", f64::from(pain), 0.03),
        ("trauma", f64::from(trauma), 0.03),
        ("fever", f64::from(fever), 0.03),
    ];
    let mut record: Record = entries
        .into_iter()
        .filter(|(_, _, missing)| !random.chance(*missing))
        .map(|(name, value, _)| (name.to_owned(), Value::Number(value)))
        .collect();
    let sex = if patient.female { "F" } else { "M" };
    record.insert("age_years".to_owned(), Value::Number(age));
    record.insert("sex".to_owned(), Value::Text(sex.to_owned()));
    let complaints = [
        (dyspnea, "shortness of breath"),
        (fever, "fever"),
        (cough, "cough"),
        (pain, "chest pain"),
        (trauma, "a fall"),
    ];
    let complaints: Vec<&str> = complaints.iter().filter(|c| c.0).map(|c| c.1).collect();
    (record, indication(case, &complaints, random))
}

fn indication(case: &Case, complaints: &[&str], random: &mut Random) -> String {
    let patient = &case.patient;
    let noun = if patient.female { "woman" } else { "man" };
    let who = format!("{:.0}-year-old {noun}", patient.age);
    let text = match complaints {
        [] if case.portable => format!("{who}, bedside follow-up."),
        [] => format!(
            "{who}, {}.",
            random.choose(&["routine examination", "preoperative", "check-up"])
        ),
        [one] => format!("{who} with {one}."),
        [firsts @ .., last] => format!("{who} with {} and {last}.", firsts.join(", ")),
    };
    if random.chance(0.3) { format!("{text} Evaluate the chest.") } else { text }
}
