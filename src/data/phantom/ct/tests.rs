//! What must hold of every CT phantom.

use std::sync::OnceLock;

use ndarray::Array3;

use super::finding::Lobe;
use super::*;
use crate::data::{FollowUp, Value};

fn options(studies: usize) -> CtOptions {
    CtOptions { studies, seed: 7, size: 96, slices: Some(48), ..CtOptions::default() }
}

fn many() -> &'static (CtOptions, Dataset) {
    static MANY: OnceLock<(CtOptions, Dataset)> = OnceLock::new();
    MANY.get_or_init(|| {
        let options = options(1500);
        let ds = generate(&options, &Progress::silent()).unwrap();
        (options, ds)
    })
}

fn clean(case: &Case) -> Array3<f32> {
    let mut case = case.clone();
    (case.scanner.noise, case.scanner.edge, case.scanner.blur) = (0.0, 0.0, 0.0);
    render::render(&case, &Progress::silent()).unwrap().voxels
}

/// The first case that has a finding, with fine enough voxels to see it.
fn with(finding: Finding) -> Case {
    let options = CtOptions { size: 128, slices: Some(96), ..options(1) };
    (0..10_000).map(|number| Case::draw(&options, number)).find(|case| case.has(finding)).unwrap()
}

#[test]
fn the_same_seed_gives_the_same_scan_for_any_number_of_threads() {
    let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let case = Case::draw(&options(1), 3);
    let make = || render::render(&case, &Progress::silent()).unwrap();
    let (one, more) = (alone.install(make), make());
    assert_eq!(one.voxels, more.voxels);
    assert_eq!(one.truth, more.truth);
    let few = generate(&options(3), &Progress::silent()).unwrap();
    for (a, b) in few.studies.iter().zip(&many().1.studies) {
        assert_eq!((&a.report, &a.record), (&b.report, &b.record));
    }
}

#[test]
fn tissues_have_their_ct_numbers_and_left_is_left() {
    let case = Case::draw(&options(1), 0);
    let voxels = clean(&case);
    let truth = render::render(&case, &Progress::silent()).unwrap().truth;
    let mean = |bits: u32| {
        let inside = voxels.iter().zip(&truth).filter(|(_, t)| **t & bits != 0).map(|(v, _)| *v);
        let (sum, count) = inside.fold((0.0, 0.0), |(s, n), v| (s + f64::from(v), n + 1.0));
        sum / count
    };
    assert!((-900.0..-700.0).contains(&mean(render::bit(Lobe::LeftLower))));
    assert!((-60.0..120.0).contains(&mean(render::HEART)));
    assert!(mean(render::AIRWAYS) < -300.0);
    // x grows to the left of the patient: the heart lies left of the middle, the liver right.
    let column = |bits: u32| {
        let hits = truth.indexed_iter().filter(|(_, t)| **t & bits != 0).map(|((_, _, x), _)| x);
        let (sum, count) = hits.fold((0.0, 0.0), |(s, n), x| (s + x as f64, n + 1.0));
        case.scanner.origin[0] + case.scanner.spacing[2] * sum / count
    };
    assert!(column(render::bit(Lobe::RightUpper)) < -20.0);
    assert!(column(render::bit(Lobe::LeftUpper)) > 20.0);
    assert!(column(render::HEART) > 5.0);
    let height = |lobe: Lobe| {
        let hits = truth.indexed_iter().filter(|(_, t)| **t & render::bit(lobe) != 0);
        let (sum, count) = hits.fold((0.0, 0.0), |(s, n), ((z, _, _), _)| (s + z as f64, n + 1.0));
        sum / count
    };
    assert!(height(Lobe::RightUpper) > height(Lobe::RightMiddle));
    assert!(height(Lobe::LeftUpper) > height(Lobe::LeftLower));
}

#[test]
fn a_mask_is_where_its_lesion_changes_the_scan() {
    for finding in [
        Finding::Nodule,
        Finding::Consolidation,
        Finding::Effusion,
        Finding::Emphysema,
        Finding::Fibrosis,
        Finding::Covid,
        Finding::Adenopathy,
        Finding::Thickening,
        Finding::Atelectasis,
        Finding::ChestWall,
    ] {
        let mut case = with(finding);
        case.lesions.retain(|lesion| lesion.finding == finding);
        if finding != Finding::Nodule {
            case.nodules.clear();
        }
        let ill = clean(&case);
        let truth = render::render(&case, &Progress::silent()).unwrap().truth;
        let mut well = case.clone();
        well.lesions.clear();
        well.nodules.clear();
        let change = &ill - &clean(&well);
        let bits = u32::MAX << render::FIRST_LESION;
        let (mut inside, mut within, mut all) = (0.0f64, 0.0f64, 0.0f64);
        for (change, truth) in change.iter().zip(&truth) {
            let amount = f64::from(change.abs());
            all += amount;
            if truth & bits != 0 {
                inside += 1.0;
                within += amount;
            }
        }
        assert!(inside > 0.0, "{finding:?} has an empty mask");
        let least = if finding == Finding::ChestWall { 8.0 } else { 25.0 };
        assert!(within / inside > least, "{finding:?}: {}", within / inside);
        assert!(within / all > 0.5, "{finding:?}: {} of the change is in the mask", within / all);
    }
}

#[test]
fn nodules_lie_in_their_lobe_and_have_their_size() {
    let (options, _) = many();
    let fine = CtOptions { size: 192, slices: Some(160), ..options.clone() };
    let mut seen = 0;
    for number in 0..60 {
        let case = Case::draw(&fine, number);
        for nodule in &case.nodules {
            let standard = std::array::from_fn(|i| nodule.centre[i] / case.body.scale[i]);
            assert_eq!(case.body.region(standard), body::Region::Lung(nodule.lobe));
        }
        let Some(nodule) = case.largest().filter(|n| n.diameter > 14.0 && seen < 4) else {
            continue;
        };
        seen += 1;
        let place = case.nodules.iter().position(|n| n == nodule).unwrap();
        let truth = render::render(&case, &Progress::silent()).unwrap().truth;
        let bit = 1 << (render::FIRST_LESION + place as u32);
        let count = truth.iter().filter(|t| **t & bit != 0).count() as f64;
        let volume = count * case.scanner.spacing.iter().product::<f64>();
        let diameter = (6.0 * volume / std::f64::consts::PI).cbrt();
        let stated = f64::from(nodule.diameter);
        assert!((diameter / stated - 1.0).abs() < 0.12, "{diameter:.1} mm for {stated:.1}");
    }
    assert!(seen > 1);
}

#[test]
fn reports_speak_of_what_is_there() {
    let words = [
        ("nodule", Finding::Nodule),
        ("effusion", Finding::Effusion),
        ("consolidation", Finding::Consolidation),
        ("emphysema", Finding::Emphysema),
        ("adenopathy", Finding::Adenopathy),
        ("cardiomegaly", Finding::Cardiomegaly),
        ("COVID-19", Finding::Covid),
        ("fibrosis", Finding::Fibrosis),
    ];
    for study in &many().1.studies {
        let text = study.report.text();
        for (word, finding) in words {
            let there = study.labels[finding as usize] == 1.0;
            let said =
                text.split_inclusive(". ").any(|s| s.contains(word) && !s.starts_with("No "));
            assert_eq!(said, there, "{word}: {text}");
        }
    }
}

/// How often a case ranks above a control, by `score`.
fn area(pairs: &[(f64, bool)]) -> f64 {
    let (mut wins, mut count) = (0.0, 0.0);
    for (score, _) in pairs.iter().filter(|p| p.1) {
        for (other, _) in pairs.iter().filter(|p| !p.1) {
            wins += if score > other {
                1.0
            } else if score < other {
                0.0
            } else {
                0.5
            };
            count += 1.0;
        }
    }
    wins / count
}

#[test]
fn a_simple_rule_on_record_and_truth_tells_risk_better_than_chance() {
    let ds = &many().1;
    let number = |study: &Study, key: &str| match study.record.get(key) {
        Some(Value::Number(value)) => *value,
        _ => 0.0,
    };
    let known = |outcome: usize, score: &dyn Fn(&Study) -> f64| -> Vec<(f64, bool)> {
        let row = |study: &Arc<Study>| {
            let (events, known) = study.follow_up[outcome].targets(6);
            known[5].then(|| (score(study), events[5]))
        };
        ds.studies.iter().filter_map(row).collect()
    };
    let cancer = known(0, &|study| {
        let sizes = study.attributes.iter().filter(|a| a.finding == "lung nodule");
        let mm = sizes.filter_map(|a| a.severity.strip_suffix(" mm")?.parse::<f64>().ok());
        mm.fold(0.0, f64::max) + 0.1 * number(study, "pack_years")
    });
    let heart = known(1, &|study| {
        number(study, "age_years")
            + 10.0 * f64::from(study.labels[Finding::Cardiovascular as usize])
    });
    let events = |pairs: &[(f64, bool)]| pairs.iter().filter(|p| p.1).count();
    assert!(events(&cancer) > 40 && events(&heart) > 40, "{} {}", events(&cancer), events(&heart));
    assert!(area(&cancer) > 0.7, "{}", area(&cancer));
    assert!(area(&heart) > 0.65, "{}", area(&heart));
    // Risk accumulates, and the findings weigh beside the record.
    let case = Case::draw(&many().0, 0);
    assert!(hazard::lung_cancer(&case, 6.0) > hazard::lung_cancer(&case, 1.0));
    let mut healthy = with(Finding::Nodule);
    let before = hazard::lung_cancer(&healthy, 6.0);
    healthy.nodules.clear();
    assert!(hazard::lung_cancer(&healthy, 6.0) < before);
}

#[test]
fn unknown_years_are_masked_and_known_ones_are_not() {
    let lost = FollowUp { outcome: String::new(), years: 2.5, event: false };
    assert_eq!(lost.targets(4), (vec![false; 4], vec![true, true, false, false]));
    let ill = FollowUp { event: true, ..lost };
    assert_eq!(ill.targets(4), (vec![false, false, true, true], vec![true; 4]));
}

#[test]
fn absurd_wishes_are_refused_by_name() {
    let refused = |change: &dyn Fn(&mut CtOptions)| {
        let mut options = options(1);
        change(&mut options);
        options.validate().unwrap_err().to_string()
    };
    assert_eq!(refused(&|o| o.size = 8), "size: found 8, expected 32 to 1024");
    assert_eq!(refused(&|o| o.slices = Some(2)), "slices: found 2, expected 8 to 2048");
    assert!(refused(&|o| o.noise = f64::NAN).starts_with("noise: found NaN"));
    let large = refused(&|o| (o.size, o.slices) = (1024, Some(2000)));
    assert!(large.ends_with("need about 15.6 GiB a volume, expected at most 8 GiB"), "{large}");
    let error = Scan::reopen(&options(3), 3).unwrap_err().to_string();
    assert_eq!(error, "phantom: found 3, expected below 3 studies");
}
