//! Several rows of one study become one study with several films.

use crate::data::{Pixels, Study};
use crate::imaging::View;

/// Joins another row of a study to the first; the error says what does not fit.
pub(super) fn join(study: &mut Study, other: Study) -> std::result::Result<(), String> {
    let path = |pixels: &Pixels| match pixels {
        Pixels::File(path) => Some(path.clone()),
        Pixels::Memory(_) => None,
    };
    for film in &other.films {
        let there = study.films.iter().any(|known| {
            path(&known.pixels).is_some() && path(&known.pixels) == path(&film.pixels)
        });
        if there {
            return Err("the same image".to_owned());
        }
    }
    let placed = !other.boxes.is_empty() || !other.masks.is_empty();
    if placed && study.films[0].view != View::Lateral {
        return Err("boxes or masks, which belong to the first film,".to_owned());
    }
    if other.patient != study.patient {
        return Err("another patient".to_owned());
    }
    let shared = study.labels.len().min(other.labels.len());
    for (ours, theirs) in study.labels.iter().zip(&other.labels) {
        if !ours.is_nan() && !theirs.is_nan() && (ours - theirs).abs() > 0.0 {
            return Err("other labels".to_owned());
        }
    }
    for (ours, theirs) in study.labels.iter_mut().zip(&other.labels).filter(|(l, _)| l.is_nan()) {
        *ours = *theirs;
    }
    study.labels.extend_from_slice(&other.labels[shared..]);
    agree("report", &mut study.report, other.report)?;
    agree("split", &mut study.split, other.split)?;
    agree("attributes", &mut study.attributes, other.attributes)?;
    agree("questions", &mut study.questions, other.questions)?;
    agree("follow-up", &mut study.follow_up, other.follow_up)?;
    if study.scans.is_empty() {
        study.scans = other.scans;
    }
    for (name, value) in other.record {
        if study.record.entry(name).or_insert_with(|| value.clone()) != &value {
            return Err("another record".to_owned());
        }
    }
    if placed {
        (study.boxes, study.masks) = (other.boxes, other.masks);
    }
    study.films.extend(other.films);
    study.films.sort_by_key(|film| film.view == View::Lateral);
    Ok(())
}

fn agree<T: Default + PartialEq>(
    what: &str,
    ours: &mut T,
    theirs: T,
) -> std::result::Result<(), String> {
    if *ours == T::default() {
        *ours = theirs;
    } else if theirs != T::default() && theirs != *ours {
        return Err(format!("another {what}"));
    }
    Ok(())
}
