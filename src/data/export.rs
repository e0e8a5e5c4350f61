//! Phantoms as DICOM files: films as Digital X-Ray images, scans as CT series.
//!
//! Identifiers are made up and say so. What is written is what the phantom holds: a film's grey
//! in 12 bits, a scan's CT numbers rounded to whole HU.

use std::path::{Path, PathBuf};

use dicom_core::value::{DataSetSequence, PrimitiveValue, Value as DicomValue};
use dicom_core::{DataElement, Length, Tag, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::InMemDicomObject;
use ndarray::{ArrayView2, Axis};
use rayon::prelude::*;

use super::phantom::ct::Scan;
use super::{Dataset, Pixels, Study, Value};
use crate::imaging::dicom::write::{Grey, Syntax, put, uid, write};
use crate::imaging::{Image, View};
use crate::progress::Progress;
use crate::{Error, Result, files};

/// The highest value of a film's 12 bits.
const WHITE: f32 = 4095.0;
/// Stored value 0 of a CT.
const LOWEST_HU: f32 = -1024.0;

/// Writes every study to a folder of its own below `folder`; gives the files, in order.
///
/// # Errors
/// Fails on a study that is no phantom: its identity and acquisition would be made up.
pub fn write_dicom(
    dataset: &Dataset,
    folder: &Path,
    syntax: Syntax,
    progress: &Progress,
) -> Result<Vec<PathBuf>> {
    let foreign = |study: &Study| {
        let files = study.films.iter().any(|film| matches!(film.pixels, Pixels::File(_)));
        files || !study.id.starts_with("phantom-") || study.films.len() + study.scans.len() == 0
    };
    if let Some(row) = dataset.studies.iter().position(|study| foreign(study)) {
        let why = format!(
            "study {row} is no phantom; only phantoms are written with made-up identifiers"
        );
        return Err(Error::value("studies", why));
    }
    progress.set_total(dataset.len());
    let mut written = Vec::new();
    for study in &dataset.studies {
        progress.check()?;
        let place = folder.join(&study.id);
        files::create_folder(&place)?;
        for (number, film) in study.films.iter().enumerate() {
            let path = place.join(format!("DX{:04}.dcm", number + 1));
            write_film(study, &*film.read()?, number, syntax, &path)?;
            written.push(path);
        }
        for (number, scan) in study.scans.iter().enumerate() {
            written.extend(write_scan(study, scan, number, syntax, &place, progress)?);
        }
        progress.tick(1)?;
    }
    Ok(written)
}

fn write_film(
    study: &Study,
    image: &Image,
    number: usize,
    syntax: Syntax,
    path: &Path,
) -> Result<()> {
    let mut object =
        head(study, "DX", uids::DIGITAL_X_RAY_IMAGE_STORAGE_FOR_PRESENTATION, number, 0);
    let spacing = image.spacing.unwrap_or([1.0, 1.0]);
    let view = match image.view {
        View::Pa => "PA",
        View::Ap => "AP",
        View::Lateral => "LL",
        View::Unknown => "",
    };
    for (tag, vr, text) in [
        (tags::PRESENTATION_INTENT_TYPE, VR::CS, "FOR PRESENTATION"),
        (tags::IMAGE_TYPE, VR::CS, "ORIGINAL\\PRIMARY"),
        (tags::PATIENT_ORIENTATION, VR::CS, "L\\F"),
        (tags::VIEW_POSITION, VR::CS, view),
        (tags::IMAGE_LATERALITY, VR::CS, "U"),
        (tags::PIXEL_INTENSITY_RELATIONSHIP, VR::CS, "LOG"),
        (tags::RESCALE_INTERCEPT, VR::DS, "0"),
        (tags::RESCALE_SLOPE, VR::DS, "1"),
        (tags::RESCALE_TYPE, VR::LO, "US"),
        (tags::PRESENTATION_LUT_SHAPE, VR::CS, "IDENTITY"),
        // The whole range: grey is shown as it is stored.
        (tags::WINDOW_CENTER, VR::DS, "2048"),
        (tags::WINDOW_WIDTH, VR::DS, "4096"),
        (tags::DETECTOR_TYPE, VR::CS, "DIRECT"),
        (tags::IMAGER_PIXEL_SPACING, VR::DS, &numbers(&spacing)),
        (tags::PIXEL_SPACING, VR::DS, &numbers(&spacing)),
        (tags::POSITIONER_TYPE, VR::CS, "NONE"),
    ] {
        put(&mut object, tag, vr, text);
    }
    let sign = PrimitiveValue::from(1i16);
    object.put(DataElement::new(tags::PIXEL_INTENSITY_RELATIONSHIP_SIGN, VR::SS, sign));
    sequence(&mut object, tags::ANATOMIC_REGION_SEQUENCE, Some(code("51185008", "Chest")));
    sequence(&mut object, tags::ACQUISITION_CONTEXT_SEQUENCE, None);
    let pixels: Vec<u16> =
        image.pixels.iter().map(|v| (v.clamp(0.0, 1.0) * WHITE).round() as u16).collect();
    let (rows, columns) = image.pixels.dim();
    write(object, Grey { pixels: &pixels, rows, columns, stored: 12 }, syntax, path)
}

fn write_scan(
    study: &Study,
    scan: &Scan,
    number: usize,
    syntax: Syntax,
    folder: &Path,
    progress: &Progress,
) -> Result<Vec<PathBuf>> {
    let volume = scan.read(progress)?;
    let slices = volume.voxels.len_of(Axis(0));
    (0..slices)
        .into_par_iter()
        .map(|slice| {
            progress.check()?;
            // Numbered from the head down, as scanners do.
            let instance = slices - slice;
            let path = folder.join(format!("CT{:02}{instance:05}.dcm", number + 1));
            let object = slice_head(study, scan, number, slice, instance);
            write_slice(object, volume.voxels.index_axis(Axis(0), slice), syntax, &path)?;
            Ok(path)
        })
        .rev()
        .collect()
}

fn write_slice(
    object: InMemDicomObject,
    slice: ArrayView2<'_, f32>,
    syntax: Syntax,
    path: &Path,
) -> Result<()> {
    let stored = |v: &f32| (v.round() - LOWEST_HU).clamp(0.0, WHITE) as u16;
    let pixels: Vec<u16> = slice.iter().map(stored).collect();
    let (rows, columns) = slice.dim();
    write(object, Grey { pixels: &pixels, rows, columns, stored: 12 }, syntax, path)
}

fn slice_head(
    study: &Study,
    scan: &Scan,
    number: usize,
    slice: usize,
    instance: usize,
) -> InMemDicomObject {
    let mut object = head(study, "CT", uids::CT_IMAGE_STORAGE, number, instance - 1);
    let [thick, row, column] = scan.spacing();
    let [x, y, z] = scan.origin();
    let height = z + slice as f64 * thick;
    for (tag, vr, text) in [
        (tags::IMAGE_TYPE, VR::CS, "ORIGINAL\\PRIMARY\\AXIAL"),
        (tags::FRAME_OF_REFERENCE_UID, VR::UI, &named(study, &format!("frame {number}"))),
        (tags::POSITION_REFERENCE_INDICATOR, VR::LO, ""),
        (tags::PATIENT_POSITION, VR::CS, "HFS"),
        (tags::IMAGE_ORIENTATION_PATIENT, VR::DS, "1\\0\\0\\0\\1\\0"),
        (tags::IMAGE_POSITION_PATIENT, VR::DS, &numbers(&[x, y, height])),
        (tags::SLICE_LOCATION, VR::DS, &numbers(&[height])),
        (tags::PIXEL_SPACING, VR::DS, &numbers(&[row, column])),
        (tags::SLICE_THICKNESS, VR::DS, &numbers(&[thick])),
        (tags::KVP, VR::DS, "120"),
        (tags::ACQUISITION_NUMBER, VR::IS, "1"),
        (tags::RESCALE_INTERCEPT, VR::DS, "-1024"),
        (tags::RESCALE_SLOPE, VR::DS, "1"),
        (tags::RESCALE_TYPE, VR::LO, "HU"),
        (tags::WINDOW_CENTER, VR::DS, "40\\-600"),
        (tags::WINDOW_WIDTH, VR::DS, "400\\1500"),
        (tags::WINDOW_CENTER_WIDTH_EXPLANATION, VR::LO, "MEDIASTINUM\\LUNG"),
    ] {
        put(&mut object, tag, vr, text);
    }
    if scan.contrast() {
        put(&mut object, tags::CONTRAST_BOLUS_AGENT, VR::LO, "SYNTHETIC CONTRAST");
    }
    object
}

/// Patient, study, series, equipment and image of any of our files.
fn head(
    study: &Study,
    modality: &str,
    class: &str,
    series: usize,
    image: usize,
) -> InMemDicomObject {
    let mut object = InMemDicomObject::new_empty();
    let number = study.patient.rsplit('-').next().unwrap_or_default();
    let number_of = |key: &str| match study.record.get(key) {
        Some(Value::Number(value)) => Some(*value),
        _ => None,
    };
    let age = number_of("age_years").map_or_else(String::new, |age| format!("{age:03.0}Y"));
    let sex = ["sex", "gender"].iter().find_map(|key| match study.record.get(*key) {
        Some(Value::Text(text)) => text.get(..1).map(str::to_uppercase),
        _ => None,
    });
    for (tag, vr, text) in [
        (tags::SOP_CLASS_UID, VR::UI, class),
        (
            tags::SOP_INSTANCE_UID,
            VR::UI,
            &named(study, &format!("image {modality} {series} {image}")),
        ),
        (tags::PATIENT_NAME, VR::PN, &format!("PHANTOM^{number}")),
        (tags::PATIENT_ID, VR::LO, &format!("PHANTOM-{number}")),
        (tags::PATIENT_BIRTH_DATE, VR::DA, ""),
        (tags::PATIENT_SEX, VR::CS, sex.as_deref().unwrap_or_default()),
        (tags::PATIENT_AGE, VR::AS, &age),
        (tags::STUDY_INSTANCE_UID, VR::UI, &named(study, "study")),
        (tags::STUDY_DATE, VR::DA, "19000101"),
        (tags::STUDY_TIME, VR::TM, "000000"),
        (tags::STUDY_ID, VR::SH, "PHANTOM"),
        (tags::STUDY_DESCRIPTION, VR::LO, "SYNTHETIC, NOT A PATIENT"),
        (tags::ACCESSION_NUMBER, VR::SH, ""),
        (tags::REFERRING_PHYSICIAN_NAME, VR::PN, ""),
        (tags::MODALITY, VR::CS, modality),
        (tags::BODY_PART_EXAMINED, VR::CS, "CHEST"),
        (tags::SERIES_NUMBER, VR::IS, &(series + 1).to_string()),
        (tags::INSTANCE_NUMBER, VR::IS, &(image + 1).to_string()),
        (tags::MANUFACTURER, VR::LO, "carina phantom"),
        (tags::BURNED_IN_ANNOTATION, VR::CS, "NO"),
        (tags::LOSSY_IMAGE_COMPRESSION, VR::CS, "00"),
    ] {
        put(&mut object, tag, vr, text);
    }
    let series = named(study, &format!("series {modality} {series}"));
    put(&mut object, tags::SERIES_INSTANCE_UID, VR::UI, &series);
    object
}

/// The UID of something of a study. Phantoms of two seeds share names, and on one server would
/// take each other's place: what the study says tells them apart.
fn named(study: &Study, what: &str) -> String {
    let Study { id, record, report, .. } = study;
    uid(&format!("carina phantom {what} {id} {record:?} {}", report.text()))
}

/// A code of SNOMED CT.
fn code(value: &str, meaning: &str) -> InMemDicomObject {
    let mut item = InMemDicomObject::new_empty();
    put(&mut item, tags::CODE_VALUE, VR::SH, value);
    put(&mut item, tags::CODING_SCHEME_DESIGNATOR, VR::SH, "SCT");
    put(&mut item, tags::CODE_MEANING, VR::LO, meaning);
    item
}

fn sequence(object: &mut InMemDicomObject, tag: Tag, item: Option<InMemDicomObject>) {
    let items: Vec<InMemDicomObject> = item.into_iter().collect();
    let value = DicomValue::Sequence(DataSetSequence::new(items, Length::UNDEFINED));
    object.put(DataElement::new(tag, VR::SQ, value));
}

/// Decimal strings of at most 16 characters.
fn numbers(values: &[f64]) -> String {
    let text = |value: &f64| {
        let fine = format!("{value:.8}");
        fine[..fine.len().min(16)].trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    values.iter().map(text).collect::<Vec<_>>().join("\\")
}
