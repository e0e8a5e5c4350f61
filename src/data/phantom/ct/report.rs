//! The report of a scan: findings and impression that state what is there and nothing else.

use super::clinic::Case;
use super::finding::{Finding, Lesion, Nodule};
use super::patient::Smoking;
use crate::data::Report;
use crate::random::Random;

/// The report of a case.
pub(super) fn report(case: &Case, random: &mut Random) -> Report {
    let mut findings: Vec<String> = case.nodules.iter().map(|n| nodule(n, random)).collect();
    findings.extend(case.lesions.iter().map(|lesion| sentence(lesion, random)));
    findings.extend(absent(case, random));
    let mut impression = Vec::new();
    if let Some(largest) = case.largest() {
        let kind = largest.attenuation.name();
        let (size, lobe) = (round(largest.diameter), largest.lobe.name());
        impression.push(match case.nodules.len() {
            1 => format!("{} {size} mm nodule in the {lobe}.", capital(kind)),
            count => format!(
                "{} lung nodules, the largest {size} mm ({kind}) in the {lobe}.",
                COUNTS[count.min(5)]
            ),
        });
        impression.push(format!("Lung-RADS category {}.", super::questions::lung_rads(case)));
    }
    impression.extend(case.lesions.iter().map(|lesion| format!("{}.", capital(&brief(lesion)))));
    if impression.is_empty() {
        impression.push(pick(
            &["No acute abnormality of the chest.", "Unremarkable CT of the chest."],
            random,
        ));
    }
    Report {
        indication: indication(case),
        findings: findings.join(" "),
        impression: impression.join(" "),
    }
}

const COUNTS: [&str; 6] = ["No", "One", "Two", "Three", "Four", "Several"];

fn indication(case: &Case) -> String {
    let patient = &case.patient;
    let noun = if patient.female { "woman" } else { "man" };
    let age = patient.age;
    match patient.smoking {
        Smoking::Never => format!("{age:.0}-year-old {noun}, never smoked."),
        Smoking::Former => format!(
            "{age:.0}-year-old {noun}, former smoker of {:.0} pack-years, lung cancer screening.",
            patient.pack_years
        ),
        Smoking::Current => format!(
            "{age:.0}-year-old {noun}, current smoker of {:.0} pack-years, lung cancer screening.",
            patient.pack_years
        ),
    }
}

fn nodule(nodule: &Nodule, random: &mut Random) -> String {
    let (size, kind, margin) =
        (round(nodule.diameter), nodule.attenuation.name(), nodule.margin.name());
    let lobe = nodule.lobe.name();
    match random.below(3) {
        0 => format!(
            "{} {size} mm {kind} nodule with {margin} margins in the {lobe}.",
            article(size)
        ),
        1 => format!(
            "In the {lobe} there is {} {size} mm {margin}, {kind} nodule.",
            article(size).to_lowercase()
        ),
        _ => format!(
            "{} nodule in the {lobe} measures {size} mm, its margins {margin}.",
            capital(kind)
        ),
    }
}

/// Whole millimetres from 10 on, one decimal below.
fn round(diameter: f32) -> f32 {
    if diameter < 10.0 { diameter } else { diameter.round() }
}

fn article(size: f32) -> &'static str {
    // An 8, an 11, an 18.
    let spoken = size.floor() as u32;
    if spoken == 8 || spoken == 11 || spoken == 18 { "An" } else { "A" }
}

fn sentence(lesion: &Lesion, random: &mut Random) -> String {
    let (degree, side) = (lesion.degree_name(), lesion.side_name());
    let lobe = lesion.lobe.map_or_else(String::new, super::finding::Lobe::name);
    let size = lesion.widest();
    match lesion.finding {
        Finding::Atelectasis => match random.below(2) {
            0 => format!("{} plate-like atelectasis in the {lobe}.", capital(degree)),
            _ => format!("Linear bands of {degree} atelectasis are seen in the {lobe}."),
        },
        Finding::Effusion => match random.below(2) {
            0 => format!("{} {side} pleural effusion{}.", capital(degree), plural(lesion)),
            _ if lesion.side == Some(2) => {
                format!("There are {degree} bilateral pleural effusions.")
            }
            _ => format!("There is a {degree} pleural effusion on the {side}."),
        },
        Finding::Thickening if lesion.spots.iter().any(|spot| spot.density > 200.0) => {
            format!("{} calcified pleural thickening on the {side}.", capital(degree))
        }
        Finding::Thickening => format!("{} pleural thickening on the {side}.", capital(degree)),
        Finding::Adenopathy => match lesion.side {
            Some(_) => {
                format!("Enlarged {side} hilar lymph nodes, up to {size:.0} mm in short axis.")
            }
            None => format!("Enlarged mediastinal lymph nodes, up to {size:.0} mm in short axis."),
        },
        Finding::ChestWall => format!("Soft-tissue mass of {size:.0} mm in the {side} chest wall."),
        Finding::Consolidation => match random.below(2) {
            0 => format!("{} consolidation in the {lobe} with air bronchograms.", capital(degree)),
            _ => format!("The {lobe} shows {degree} consolidation."),
        },
        Finding::Emphysema => match random.below(2) {
            0 => format!("{} centrilobular emphysema, most in the upper lungs.", capital(degree)),
            _ => format!("There is {degree} upper-predominant centrilobular emphysema."),
        },
        Finding::Fibrosis => {
            format!(
                "{} subpleural reticulation at both bases, in keeping with fibrosis.",
                capital(degree)
            )
        }
        Finding::Covid => {
            format!(
                "Multiple peripheral ground-glass opacities in both lungs, {degree} in extent, typical of COVID-19."
            )
        }
        Finding::Calcium => match random.below(2) {
            0 => format!("{} coronary artery calcification.", capital(degree)),
            _ => format!(
                "{} calcification of the coronary arteries, score about {:.0}.",
                capital(degree),
                lesion.calcium_score()
            ),
        },
        Finding::Cardiomegaly => format!("{} cardiomegaly.", capital(degree)),
        Finding::Nodule | Finding::Cardiovascular => String::new(),
    }
}

fn plural(lesion: &Lesion) -> &'static str {
    if lesion.side == Some(2) { "s" } else { "" }
}

/// The finding in few words.
fn brief(lesion: &Lesion) -> String {
    let (degree, side) = (lesion.degree_name(), lesion.side_name());
    match lesion.finding {
        Finding::Adenopathy => match lesion.side {
            Some(_) => format!("{side} hilar adenopathy"),
            None => "mediastinal adenopathy".to_owned(),
        },
        Finding::ChestWall => format!("{side} chest wall mass"),
        Finding::Atelectasis | Finding::Consolidation => {
            let lobe = lesion.lobe.map_or_else(String::new, super::finding::Lobe::name);
            format!("{lobe} {}", lesion.finding.name())
        }
        Finding::Effusion => format!("{degree} {side} pleural effusion{}", plural(lesion)),
        Finding::Thickening => format!("{side} pleural thickening"),
        Finding::Fibrosis => format!("{degree} fibrosis"),
        Finding::Covid => "COVID-19 pneumonia".to_owned(),
        Finding::Calcium
        | Finding::Emphysema
        | Finding::Cardiomegaly
        | Finding::Nodule
        | Finding::Cardiovascular => {
            format!("{degree} {}", lesion.finding.name())
        }
    }
}

/// Some of what is not there.
fn absent(case: &Case, random: &mut Random) -> Vec<String> {
    let options = [
        (Finding::Nodule, 0.9, "No lung nodule."),
        (Finding::Effusion, 0.7, "No pleural effusion."),
        (Finding::Consolidation, 0.6, "No consolidation."),
        (Finding::Adenopathy, 0.7, "No adenopathy."),
        (Finding::Emphysema, 0.4, "No emphysema."),
        (Finding::Calcium, 0.5, "No coronary calcification."),
        (Finding::Fibrosis, 0.2, "No fibrosis."),
        (Finding::Cardiomegaly, 0.5, "The heart is normal in size."),
        (Finding::Atelectasis, 0.15, "No atelectasis."),
        (Finding::Thickening, 0.15, "No pleural thickening."),
        (Finding::ChestWall, 0.3, "The chest wall is unremarkable."),
    ];
    options
        .iter()
        .filter(|(finding, share, _)| random.chance(*share) && !case.has(*finding))
        .map(|(_, _, text)| (*text).to_owned())
        .collect()
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn pick(options: &[&str], random: &mut Random) -> String {
    (*random.choose(options)).to_owned()
}
