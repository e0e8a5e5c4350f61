//! The report of a case: findings and impression in many wordings that always agree with the truth.

use super::super::{Attributes, Report};
use super::clinic::Case;
use super::finding::{FINDINGS, Finding, Kind};
use super::phrases::{ABSENCE, CLEAR, DOUBT, NORMAL, device, phrases};
use crate::random::Random;
use crate::{Error, Result};

/// One sentence that states a finding or names a device.
///
/// `finding` is one of [`FINDINGS`] or a device (`endotracheal tube`, `central venous catheter`,
/// `pacemaker`, `nasogastric tube`, `chest tube`); empty attributes are left out of the sentence.
pub fn sentence(finding: &str, attributes: &Attributes, random: &mut Random) -> Result<String> {
    if let Some(kind) = Kind::named(finding) {
        return Ok(fill(pick(device(kind), random), attributes, random));
    }
    let finding = known(finding)?;
    let words = phrases(finding);
    let both = attributes.side == "bilateral" && !words.both.is_empty();
    let slight = attributes.severity == finding.degrees()[0]
        && !attributes.severity.is_empty()
        && !words.slight.is_empty()
        && !both;
    let templates = if both {
        words.both
    } else if slight && random.chance(0.45) {
        words.slight
    } else {
        words.present
    };
    Ok(fill(pick(templates, random), attributes, random))
}

/// One sentence that says a finding is absent.
pub fn negation(finding: &str, random: &mut Random) -> Result<String> {
    let words = phrases(known(finding)?);
    if !words.normal.is_empty() && random.chance(0.4) {
        return Ok(pick(words.normal, random).to_owned());
    }
    let what = pick(words.absent, random).to_owned();
    Ok(absence(&[what], random))
}

fn known(finding: &str) -> Result<Finding> {
    Finding::named(finding).ok_or_else(|| {
        let why = format!("found {finding:?}, expected one of {FINDINGS:?} or a device");
        Error::value("finding", why)
    })
}

/// The report of a case whose truth is `labels`; what is unknown (NaN) is not spoken of.
pub(super) fn report(
    case: &Case,
    labels: &[f32],
    indication: String,
    random: &mut Random,
) -> Report {
    let label = |finding: Finding| labels[finding as usize];
    let mut positive = Vec::new();
    let mut impression = Vec::new();
    for lesion in &case.lesions {
        let attributes = lesion.attributes();
        let short = |random: &mut Random| short(lesion.finding, &attributes, random);
        if label(lesion.finding) < 0.0 {
            let doubt = doubted(&short(random), random);
            positive.push(doubt.clone());
            impression.push(doubt);
        } else if label(lesion.finding) > 0.0 {
            positive.extend(sentence(&attributes.finding, &attributes, random));
            impression.push(finish(&short(random)));
        }
    }
    if label(Finding::Devices) > 0.0 {
        for device in &case.devices {
            let attributes = device.attributes();
            positive.extend(sentence(&attributes.finding, &attributes, random));
        }
        if impression.is_empty() || random.chance(0.3) {
            impression.push(finish(&short(Finding::Devices, &Attributes::default(), random)));
        }
    }
    if random.chance(0.5) {
        random.shuffle(&mut positive);
    }
    let absent: Vec<Finding> =
        Finding::ALL.into_iter().filter(|finding| label(*finding) == 0.0).collect();
    let mut negative = negatives(&absent, random);
    if absent.len() == FINDINGS.len() {
        impression.push(pick(NORMAL, random).to_owned());
    } else if impression.is_empty() {
        // Everything that could be spoken of is absent, but not everything is known.
        impression.extend(absent.first().map(|f| absence(&[f.name().to_owned()], random)));
    }
    let sections = if random.chance(0.75) {
        positive.append(&mut negative);
        positive
    } else {
        negative.append(&mut positive);
        negative
    };
    Report { indication, findings: sections.join(" "), impression: numbered(impression, random) }
}

fn numbered(mut lines: Vec<String>, random: &mut Random) -> String {
    if lines.len() > 1 && random.chance(0.35) {
        for (i, line) in lines.iter_mut().enumerate() {
            *line = format!("{}. {line}", i + 1);
        }
    }
    lines.join(" ")
}

/// What a reader says is absent: never all of it.
fn negatives(absent: &[Finding], random: &mut Random) -> Vec<String> {
    const LUNG: [Finding; 6] = [
        Finding::Effusion,
        Finding::Consolidation,
        Finding::Nodule,
        Finding::Edema,
        Finding::Atelectasis,
        Finding::Pneumonia,
    ];
    let mut sentences = Vec::new();
    let clear = LUNG.iter().all(|finding| absent.contains(finding));
    if clear && random.chance(0.6) {
        sentences.push(pick(CLEAR, random).to_owned());
    }
    let chances = [
        (Finding::Effusion, 0.9),
        (Finding::Pneumothorax, 0.9),
        (Finding::Consolidation, 0.7),
        (Finding::Edema, 0.5),
        (Finding::Pneumonia, 0.25),
        (Finding::Nodule, 0.2),
        (Finding::Atelectasis, 0.2),
        (Finding::Cardiomegaly, 0.8),
        (Finding::Fracture, 0.45),
        (Finding::Devices, 0.08),
    ];
    let mut listed = Vec::new();
    for (finding, chance) in chances {
        if !absent.contains(&finding) || !random.chance(chance) {
            continue;
        }
        let words = phrases(finding);
        if !words.normal.is_empty() && random.chance(0.35) || finding == Finding::Cardiomegaly {
            sentences.push(pick(words.normal, random).to_owned());
        } else {
            listed.push(pick(words.absent, random).to_owned());
        }
    }
    random.shuffle(&mut listed);
    while !listed.is_empty() {
        let take = (1 + random.below(3)).min(listed.len());
        let group: Vec<String> = listed.drain(..take).collect();
        sentences.push(absence(&group, random));
    }
    random.shuffle(&mut sentences);
    sentences
}

fn absence(names: &[String], random: &mut Random) -> String {
    let list = match names {
        [] => return String::new(),
        [one] => one.clone(),
        [firsts @ .., last] => format!("{} or {last}", firsts.join(", ")),
    };
    let list = list.replace("evidence of ", "");
    tidy(&pick(ABSENCE, random).replace("{what}", &list))
}

fn doubted(what: &str, random: &mut Random) -> String {
    tidy(&pick(DOUBT, random).replace("{what}", what))
}

/// The finding in few words, lower-case and without a stop.
fn short(finding: Finding, attributes: &Attributes, random: &mut Random) -> String {
    let words = phrases(finding);
    let both = attributes.side == "bilateral" && !words.short_both.is_empty();
    let templates = if both { words.short_both } else { words.short };
    let filled = fill(pick(templates, random), attributes, random);
    let mut letters = filled.chars();
    letters.next().map_or(String::new(), |first| first.to_lowercase().chain(letters).collect())
}

fn finish(words: &str) -> String {
    tidy(&format!("{words}."))
}

fn fill(template: &str, attributes: &Attributes, random: &mut Random) -> String {
    let severity = attributes.severity.as_str();
    let (size, degree) = match severity.strip_suffix(" mm") {
        Some(size) => (size, ""),
        None => ("", degree(severity, random)),
    };
    let nodule = if size.parse::<f64>().is_ok_and(|mm| mm > 30.0) { "mass" } else { "nodule" };
    let adverb = match severity {
        "" => String::new(),
        "severe" => "markedly".to_owned(),
        severity => format!("{severity}ly"),
    };
    let zone = if attributes.zone == "middle" { "mid" } else { &attributes.zone };
    let mut text = template.to_owned();
    if size.is_empty() {
        for dropped in [", measuring {size} mm", " of {size} mm", ", {size} mm", "{size} mm "] {
            text = text.replace(dropped, "");
        }
    }
    if degree.is_empty() {
        for dropped in [
            ", {degree} in amount",
            ", {degree} in size",
            ", {degree} in extent",
            ", {degree}",
            "{degree} ",
        ] {
            text = text.replace(dropped, "");
        }
    }
    if attributes.side.is_empty() {
        for dropped in [" on the {side}", "{side}-sided ", "{side} "] {
            text = text.replace(dropped, "");
        }
    }
    let place = place(&attributes.side, zone, random);
    for (slot, value) in [
        ("{place}", place.as_str()),
        ("{degree}", degree),
        ("{adverb}", &adverb),
        ("{size}", size),
        ("{nodule}", nodule),
        ("{side}", &attributes.side),
        ("{zone}", zone),
    ] {
        text = text.replace(slot, value);
    }
    tidy(&text)
}

fn degree<'a>(severity: &'a str, random: &mut Random) -> &'a str {
    let other = match severity {
        "small" => "trace",
        "mild" => "slight",
        "large" => "sizeable",
        "severe" => "marked",
        _ => severity,
    };
    if random.chance(0.15) { other } else { severity }
}

fn place(side: &str, zone: &str, random: &mut Random) -> String {
    let options = match (side, zone) {
        ("", "") => vec!["the lung".to_owned()],
        ("", zone) => vec![format!("the {zone} lung zone")],
        ("bilateral", "") => vec!["both lungs".to_owned()],
        (side, "") => vec![format!("the {side} lung")],
        ("bilateral", "lower") => {
            ["both lower lung zones", "both lung bases", "both bases"].map(str::to_owned).to_vec()
        }
        ("bilateral", zone) => {
            vec![format!("both {zone} lung zones"), format!("both {zone} lungs")]
        }
        (side, "lower") => vec![
            format!("the {side} lower lung zone"),
            format!("the {side} lung base"),
            format!("the {side} lower lung"),
        ],
        (side, zone) => vec![
            format!("the {side} {zone} lung zone"),
            format!("the {side} {zone} lung"),
            format!("the {zone} zone of the {side} lung"),
        ],
    };
    random.choose(&options).clone()
}

/// One of the wordings.
fn pick<'a>(wordings: &[&'a str], random: &mut Random) -> &'a str {
    wordings[random.below(wordings.len())]
}

/// Single spaces, and a capital at the start.
fn tidy(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}
