//! What must hold of every phantom.

use std::sync::OnceLock;

use ndarray::Array2;

use super::*;
use crate::data::{MaskPixels, Value};

fn make(studies: usize, change: impl FnOnce(&mut PhantomOptions)) -> Dataset {
    let mut options = PhantomOptions { studies, size: 48, seed: 5, ..PhantomOptions::default() };
    change(&mut options);
    generate(&options, &Progress::silent()).unwrap()
}

fn many() -> &'static Dataset {
    static MANY: OnceLock<Dataset> = OnceLock::new();
    MANY.get_or_init(|| make(700, |_| {}))
}

fn pixels(study: &Study) -> &Array2<f32> {
    match &study.films[0].pixels {
        Pixels::Memory(image) => &image.pixels,
        Pixels::File(path) => panic!("{}", path.display()),
    }
}

fn mask<'a>(study: &'a Study, name: &str) -> Option<&'a Array2<bool>> {
    study.masks.iter().find(|m| m.finding == name).map(|m| match &m.mask {
        MaskPixels::Memory(mask) => mask.as_ref(),
        MaskPixels::File(path) => panic!("{}", path.display()),
    })
}

/// Mean column of the true pixels.
fn column(mask: &Array2<bool>) -> f32 {
    let hits: Vec<f32> = mask
        .indexed_iter()
        .filter(|(_, hit)| **hit)
        .map(|((_, column), _)| column as f32)
        .collect();
    hits.iter().sum::<f32>() / hits.len() as f32
}

fn mean(study: &Study, mask: &Array2<bool>) -> f32 {
    let inside: Vec<f32> =
        pixels(study).iter().zip(mask).filter(|(_, hit)| **hit).map(|(v, _)| *v).collect();
    inside.iter().sum::<f32>() / inside.len() as f32
}

fn same(a: &Study, b: &Study) -> bool {
    // Debug text treats NaN labels as equal, which `==` does not.
    pixels(a) == pixels(b) && format!("{a:?}") == format!("{b:?}")
}

#[test]
fn the_same_seed_gives_the_same_studies_for_any_number_of_threads() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let alone = pool.install(|| make(12, |o| o.missing = 0.2));
    let together = make(12, |o| o.missing = 0.2);
    assert!(alone.studies.iter().zip(&together.studies).all(|(a, b)| same(a, b)));
    let other = make(12, |o| o.seed = 6);
    assert!(!same(&alone.studies[0], &other.studies[0]));
}

#[test]
fn fewer_studies_are_the_first_of_more() {
    let (few, more) = (make(5, |_| {}), make(9, |_| {}));
    assert!(few.studies.iter().zip(&more.studies).all(|(a, b)| same(a, b)));
}

#[test]
fn films_are_display_grey_with_dark_lungs_and_a_white_heart() {
    for study in many().studies.iter().take(200) {
        assert!(pixels(study).iter().all(|v| (0.0..=1.0).contains(v)));
        if study.labels.iter().all(|label| *label == 0.0) {
            let lungs =
                ["left lung", "right lung"].map(|name| mean(study, mask(study, name).unwrap()));
            let heart = mean(study, mask(study, "heart").unwrap());
            assert!(heart > lungs[0] + 0.15 && heart > lungs[1] + 0.15, "{lungs:?} {heart}");
        }
    }
}

#[test]
fn the_patients_left_is_on_the_right_of_the_image() {
    let mut seen = 0;
    for study in &many().studies {
        let [right, left] =
            ["right lung", "left lung"].map(|name| mask(study, name).map_or(f32::NAN, column));
        assert!(right < left || right.is_nan() || left.is_nan());
        for attributes in &study.attributes {
            let Some(mask) = mask(study, &attributes.finding) else { continue };
            let middle = f32::midpoint(right, left);
            match attributes.side.as_str() {
                "left" => assert!(column(mask) > middle || middle.is_nan()),
                "right" => assert!(column(mask) < middle || middle.is_nan()),
                _ => continue,
            }
            seen += 1;
        }
    }
    assert!(seen > 300, "{seen}");
}

#[test]
fn boxes_bound_their_masks_tightly() {
    for study in &many().studies {
        for name in FINDINGS {
            let boxes: Vec<_> = study.boxes.iter().filter(|b| b.finding == name).collect();
            let Some(mask) = mask(study, name) else {
                assert!(boxes.is_empty());
                continue;
            };
            let inside = |row: usize, column: usize, [x0, y0, x1, y1]: [f32; 4]| {
                let (x, y) = (column as f32 + 0.5, row as f32 + 0.5);
                x > x0 && x < x1 && y > y0 && y < y1
            };
            for ((row, column), hit) in mask.indexed_iter() {
                assert!(!hit || boxes.iter().any(|b| inside(row, column, b.corners)));
            }
            for b in &boxes {
                let [x0, y0, x1, y1] = b.corners.map(|edge| edge as usize);
                let touches = (y0..y1).any(|y| mask[(y, x0)])
                    && (y0..y1).any(|y| mask[(y, x1 - 1)])
                    && (x0..x1).any(|x| mask[(y0, x)])
                    && (x0..x1).any(|x| mask[(y1 - 1, x)]);
                assert!(touches, "{name} {:?}", b.corners);
            }
        }
    }
}

#[test]
fn every_finding_is_neither_rare_nor_common_and_a_third_is_normal() {
    let studies = &many().studies;
    let share = |test: &dyn Fn(&Study) -> bool| {
        studies.iter().filter(|study| test(study)).count() as f64 / studies.len() as f64
    };
    for (i, name) in FINDINGS.iter().enumerate() {
        let found = share(&|study| study.labels[i] == 1.0);
        assert!((0.06..0.32).contains(&found), "{name} {found}");
    }
    let normal = share(&|study| study.labels.iter().all(|label| *label == 0.0));
    assert!((0.32..0.46).contains(&normal), "{normal}");
    let edema_with = share(&|s| s.labels[5] == 1.0 && s.labels[2] == 1.0);
    assert!(edema_with > 2.0 * share(&|s| s.labels[5] == 1.0) * share(&|s| s.labels[2] == 1.0));
}

#[test]
fn present_findings_can_be_pointed_at() {
    let (mut present, mut shown) = (0, 0);
    for study in &many().studies {
        for (label, name) in study.labels.iter().zip(FINDINGS) {
            assert!(*label > 0.0 || mask(study, name).is_none(), "{name}");
            present += usize::from(*label > 0.0);
            shown += usize::from(*label > 0.0 && mask(study, name).is_some());
        }
    }
    // A finding may hide below another, as a small one does under a large effusion.
    assert!(shown as f64 > 0.97 * present as f64, "{shown} of {present}");
}

#[test]
fn the_record_goes_with_the_findings() {
    let average = |name: &str, finding: usize, label: f32| {
        let values: Vec<f64> = (many().studies.iter())
            .filter(|study| study.labels[finding] == label)
            .filter_map(|study| match study.record.get(name) {
                Some(Value::Number(value)) => Some(*value),
                _ => None,
            })
            .collect();
        values.iter().sum::<f64>() / values.len() as f64
    };
    let pneumonia = 7;
    assert!(
        average("temperature_c", pneumonia, 1.0) > average("temperature_c", pneumonia, 0.0) + 0.8
    );
    assert!(average("bnp_pg_ml", 5, 1.0) > 3.0 * average("bnp_pg_ml", 5, 0.0));
    assert!(average("pack_years", 4, 1.0) > average("pack_years", 4, 0.0) + 8.0);
    let without = many().studies.iter().filter(|s| !s.record.contains_key("crp_mg_l")).count();
    assert!(without > 70 && without < 350, "{without}");
}

#[test]
fn doubt_and_gaps_reach_the_labels() {
    let share = |data: &Dataset, test: fn(f32) -> bool| {
        let labels: Vec<f32> = data.studies.iter().flat_map(|s| s.labels.clone()).collect();
        labels.iter().filter(|label| test(**label)).count() as f64 / labels.len() as f64
    };
    let data = make(150, |o| (o.uncertain, o.missing, o.size) = (0.5, 0.2, 32));
    assert!((share(&data, f32::is_nan) - 0.2).abs() < 0.05);
    assert!(share(&data, |label| label == -1.0) > 0.03);
    assert!(share(many(), |label| label == -1.0 || label.is_nan()) == 0.0);
}

#[test]
fn absurd_wishes_are_refused_by_name() {
    let text = |change: fn(&mut PhantomOptions)| {
        let mut options = PhantomOptions::default();
        change(&mut options);
        generate(&options, &Progress::silent()).unwrap_err().to_string()
    };
    assert_eq!(text(|o| o.size = 31), "size: found 31 pixels, expected 32 to 2048");
    assert_eq!(text(|o| o.studies = 0), "studies: found 0, expected at least 1");
    assert_eq!(text(|o| o.missing = -0.5), "missing: found -0.5, expected a share from 0 to 1");
    assert_eq!(
        text(|o| o.uncertain = f64::NAN),
        "uncertain: found NaN, expected a share from 0 to 1"
    );
    assert!(text(|o| o.studies = usize::MAX).contains("expected at most 8 GiB"));
    assert!(
        text(|o| (o.studies, o.size) = (1000, 2048)).starts_with("studies: 1000 studies of 2048 x")
    );
}

#[test]
fn a_stop_is_heard() {
    let progress = Progress::silent();
    progress.stop();
    let made = generate(&PhantomOptions::default(), &progress);
    assert!(matches!(made, Err(Error::Interrupted)));
}

#[test]
fn sentences_are_whole_whatever_is_known() {
    let mut random = Random::new(0, &[]);
    let devices = ["endotracheal tube", "central venous catheter", "pacemaker", "chest tube"];
    for finding in FINDINGS.into_iter().chain(devices) {
        for (side, zone, severity) in [
            ("", "", ""),
            ("left", "upper", "mild"),
            ("bilateral", "lower", "large"),
            ("right", "middle", "14 mm"),
        ] {
            let attributes = Attributes {
                finding: finding.to_owned(),
                side: side.to_owned(),
                zone: zone.to_owned(),
                severity: severity.to_owned(),
                ..Attributes::default()
            };
            for _ in 0..20 {
                let text = sentence(finding, &attributes, &mut random).unwrap();
                let clean = !text.contains(['{', '}'])
                    && !text.contains("  ")
                    && !text.contains(" .")
                    && !text.contains(" ,")
                    && text.ends_with('.')
                    && text.starts_with(char::is_uppercase) | text.starts_with(char::is_numeric);
                assert!(clean, "{text}");
            }
        }
    }
    let error = sentence("gout", &Attributes::default(), &mut random).unwrap_err().to_string();
    assert!(error.starts_with("finding: found \"gout\", expected one of [\"pleural effusion\""));
    assert!(negation("edema", &mut random).unwrap().ends_with('.'));
}
