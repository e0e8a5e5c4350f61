use proptest::prelude::*;

use super::{Corruption, CorruptionKind as Kind, Donors, corrupt};
use crate::random::Random;

fn made(text: &str, kind: Kind, seed: u64) -> Result<Corruption, &'static str> {
    made_of(&[text.to_owned()], &[], kind, seed)
}

fn made_of(
    sections: &[String],
    facts: &[(String, f32)],
    kind: Kind,
    seed: u64,
) -> Result<Corruption, &'static str> {
    corrupt(sections, facts, kind, &Donors::default(), &mut Random::new(seed, &[]))
}

fn text(text: &str, kind: Kind, seed: u64) -> String {
    made(text, kind, seed).unwrap().sections.remove(0)
}

#[test]
fn sides_change_in_every_sentence_about_the_finding() {
    let sections = [
        "Small LEFT effusion. No right pneumothorax.".to_owned(),
        "1. Left pleural effusion. 2. The left and right apices are clear.".to_owned(),
    ];
    let made = made_of(&sections, &[], Kind::Laterality, 0).unwrap();
    assert_eq!(made.sections[0], "Small RIGHT effusion. No right pneumothorax.");
    assert_eq!(
        made.sections[1],
        "1. Right pleural effusion. 2. The left and right apices are clear."
    );
    assert_eq!((made.finding.as_str(), made.changes.len()), ("pleural effusion", 2));
}

#[test]
fn what_one_sentence_ties_together_changes_together() {
    let report = "Mild opacity in the left lung, suggestive of pneumonia. Mild left pneumonia.";
    for seed in 0..10 {
        let swapped = text(report, Kind::Laterality, seed);
        assert_eq!(swapped, report.replace("left", "right"));
        let degrees = text(report, Kind::Severity, seed);
        assert!(!degrees.contains("Mild"), "{degrees}");
    }
}

#[test]
fn a_report_of_one_word_is_a_report() {
    let made = made("normal", Kind::Inserted, 3).unwrap();
    assert!(made.changes[0].before == "normal" && !made.changes[0].after.is_empty());
    for seed in 0..20 {
        let added = text("PTB", Kind::Device, seed);
        assert!(added.starts_with("PTB. ") || added.ends_with(". PTB"), "{added}");
    }
}

#[test]
fn a_dropped_finding_leaves_no_trace_and_numbers_close_up() {
    let report = "1. Small left effusion. 2. The heart is enlarged. 3. ET tube in place.";
    let seen: Vec<String> = (0..20).map(|seed| text(report, Kind::Dropped, seed)).collect();
    for expected in [
        "1. The heart is enlarged. 2. ET tube in place.",
        "1. Small left effusion. 2. ET tube in place.",
    ] {
        assert!(seen.iter().any(|found| found == expected), "{seen:?}");
    }
    assert_eq!(text("Mild edema.", Kind::Dropped, 0), "No acute cardiopulmonary abnormality.");
}

#[test]
fn an_inserted_finding_takes_the_place_of_its_denial() {
    let facts = [("Pneumothorax".to_owned(), 0.0)];
    let sections = [
        "No effusion, pneumothorax or edema. Heart size is normal.".to_owned(),
        "No acute cardiopulmonary process.".to_owned(),
    ];
    let of_air = (0..200)
        .map(|seed| made_of(&sections, &facts, Kind::Inserted, seed).unwrap())
        .find(|made| made.finding == "pneumothorax")
        .unwrap();
    assert!(of_air.sections[0].contains("No effusion or edema."), "{of_air:?}");
    assert!(of_air.sections[1].ends_with("pneumothorax.") || of_air.sections[1].contains("apical"));
    let present = [("pneumothorax".to_owned(), 1.0), ("pleural effusion".to_owned(), f32::NAN)];
    for seed in 0..100 {
        let made = made_of(&sections, &present, Kind::Inserted, seed).unwrap();
        assert!(!["pneumothorax", "pleural effusion"].contains(&made.finding.as_str()));
    }
}

#[test]
fn what_is_put_in_comes_from_other_reports_where_they_have_it() {
    let donors = Donors::of(["Tiny apical pneumothorax is noted. Unchanged left effusion."]);
    let report = ["No pneumothorax.".to_owned()];
    let made = corrupt(&report, &[], Kind::Inserted, &donors, &mut Random::new(0, &[])).unwrap();
    assert_eq!(made.sections[0], "Tiny apical pneumothorax is noted.");
}

#[test]
fn degrees_and_sizes_change_together() {
    for seed in 0..20 {
        let found = text("There is a small 12 mm nodule. Nodule, small.", Kind::Severity, seed);
        let expected = ["moderate", "large"]
            .map(|word| format!("There is a {word} 24 mm nodule. Nodule, {word}."));
        assert!(expected.contains(&found), "{found}");
    }
    let found = text("An extensive consolidation of 5.2 cm.", Kind::Severity, 1);
    assert!(found.starts_with("A mi") || found.starts_with("A mo"), "{found}");
    assert!(found.ends_with("of 2.6 cm."), "{found}");
    assert!(made("ET tube 3 cm above the carina.", Kind::Severity, 0).is_err());
}

#[test]
fn negations_turn_both_ways() {
    assert_eq!(
        text("There is mild edema in the right lung.", Kind::Negation, 0),
        "There is no edema in the right lung."
    );
    assert_eq!(text("The heart is enlarged.", Kind::Negation, 0), "No cardiomegaly.");
    assert_eq!(text("There is no left effusion.", Kind::Negation, 0), "There is left effusion.");
    assert_eq!(text("No pneumothorax.", Kind::Negation, 0), "Pneumothorax.");
}

#[test]
fn devices_are_added_removed_and_moved() {
    let report = "Left chest tube directed to the apex. No pneumothorax.";
    let mut ways = std::collections::HashSet::new();
    for seed in 0..40 {
        let made = made(report, Kind::Device, seed).unwrap();
        match made.detail {
            "removed" => assert_eq!(made.sections[0], "No pneumothorax."),
            "moved" => assert!(made.sections[0].contains("base"), "{made:?}"),
            _ => assert!(made.sections[0].contains("chest tube directed to the apex"), "{made:?}"),
        }
        ways.insert(made.detail);
    }
    assert_eq!(ways.len(), 3);
}

#[test]
fn a_kind_that_does_not_fit_says_why() {
    for (kind, why) in [
        (Kind::Laterality, "no finding on one side is affirmed"),
        (Kind::Dropped, "no finding is affirmed in sentences of its own"),
        (Kind::Severity, "no finding is affirmed with a degree or a size"),
    ] {
        assert_eq!(made("The lungs are clear.", kind, 0).unwrap_err(), why);
    }
    for kind in &Kind::ALL[1..] {
        assert!(made("", *kind, 0).is_err(), "{kind:?}");
    }
    let error = Kind::parse("flip").unwrap_err().to_string();
    assert!(error.starts_with("kind: found \"flip\", expected one of none, laterality"), "{error}");
}

/// Reports of sentences that may stand in any order.
fn reports() -> impl Strategy<Value = String> {
    let sentences = prop::sample::select(vec![
        "There is a small left pleural effusion.",
        "Right-sided pneumothorax, moderate.",
        "No effusion, pneumothorax or edema.",
        "The heart is mildly enlarged.",
        "The lungs are clear.",
        "Heart size is normal.",
        "A 5.2 cm mass in the RIGHT upper lobe.",
        "LUL opacity",
        "Left hemidiaphragm is elevated.",
        "ET tube ends above the carina.",
        "No lines or tubes.",
        "Possible left effusion, cannot be excluded.",
        "1. Severe edema.",
        "IMPRESSION: Normal study.",
        "Left rib fractures; no pneumothorax.",
        "Ünïcode — naïve 3 mm.",
    ]);
    let gaps = prop::sample::select(vec![" ", "\n", "\n\n", "  "]);
    prop::collection::vec((sentences, gaps), 0..7)
        .prop_map(|parts| parts.into_iter().flat_map(|(text, gap)| [text, gap]).collect())
}

proptest! {
    #[test]
    fn none_is_the_report_byte_for_byte(report in "(?s).{0,200}", seed: u64) {
        let made = made(&report, Kind::None, seed).unwrap();
        prop_assert_eq!(&made.sections[0], &report);
        prop_assert!(made.changes.is_empty());
    }

    #[test]
    fn changing_sides_twice_gives_the_report_back(report in reports(), seed: u64) {
        if let Ok(once) = made(&report, Kind::Laterality, seed) {
            let twice = made(&once.sections[0], Kind::Laterality, seed).unwrap();
            prop_assert_eq!(&twice.sections[0], &report);
        }
    }

    #[test]
    fn every_other_kind_changes_the_report_or_says_why(
        reports in prop::collection::vec(reports(), 1..3), seed: u64, kind in 1usize..7
    ) {
        match made_of(&reports, &[], Kind::ALL[kind], seed) {
            Ok(made) => {
                prop_assert_ne!(&made.sections, &reports);
                prop_assert!(!made.changes.is_empty());
                prop_assert!(made.changes.iter().all(|c| c.before != c.after));
            }
            Err(why) => prop_assert!(!why.is_empty()),
        }
    }

    #[test]
    fn any_text_is_taken(report in "[ -~\\né•]{0,120}", seed: u64, kind in 0usize..7) {
        let _ = made(&report, Kind::ALL[kind], seed);
    }
}
