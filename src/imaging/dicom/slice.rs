//! Slices of a CT and the like: where each lies in the patient, and its values in their units.
//!
//! Source: DICOM PS3.3, C.7.6.2 (Image Plane), C.7.6.16 (multi-frame functional groups).

use std::path::Path;

use dicom_core::Tag;
use dicom_dictionary_std::tags;
use rayon::prelude::*;

use super::attributes::{self, Attributes};
use super::layout::Layout;
use super::modality::Modality;
use super::stored::Values;
use super::terms::MODALITIES;
use super::tone::padding;
use super::walk::{Why, walk_header};
use super::{File, guarded, stream, with_file};
use crate::Result;

/// More frames than these are in no file of slices.
const MOST_FRAMES: usize = 1 << 16;

/// What a file says of itself and of its frames.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct FileFacts {
    /// Identifiers, for grouping only; they go no further.
    pub(crate) series: String,
    pub(crate) patient: String,
    pub(crate) study: String,
    pub(crate) frame_of_reference: String,
    pub(crate) number: i64,
    pub(crate) modality: String,
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    pub(crate) sample_bytes: usize,
    /// A scout film for planning the scan, not a slice of it.
    pub(crate) localizer: bool,
    pub(crate) tilted: bool,
    pub(crate) frames: Vec<FrameFacts>,
}

/// Where one frame lies.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct FrameFacts {
    /// Centre of the first pixel, (x, y, z) in mm.
    pub(crate) position: Option<[f64; 3]>,
    /// Where columns count up to (along a row), and where rows count up to.
    pub(crate) orientation: Option<[[f64; 3]; 2]>,
    /// Distance of the rows and of the columns in mm.
    pub(crate) spacing: Option<[f64; 2]>,
    pub(crate) thickness: Option<f64>,
}

/// Reads what a file says; `bytes` may end anywhere within its pixels. `None` without pixels.
pub(crate) fn facts(bytes: &[u8], name: &Path) -> Result<Option<FileFacts>> {
    guarded(name, || {
        let stream = stream::open(bytes, walk_header)?;
        let found = walk_header(&stream.data_set, stream.coding)?;
        let Some((kind, _)) = found.pixels else { return Ok(None) };
        let object = attributes::parse(found.header, stream.coding)?;
        let attributes = Attributes::new(&object, stream.coding);
        let layout = Layout::read(&attributes, kind)?;
        grey(&layout)?;
        Ok(Some(FileFacts {
            series: attributes.text(tags::SERIES_INSTANCE_UID),
            patient: format!(
                "{}\\{}",
                attributes.text(tags::PATIENT_ID),
                attributes.text(tags::PATIENT_NAME)
            ),
            study: attributes.text(tags::STUDY_INSTANCE_UID),
            frame_of_reference: attributes.text(tags::FRAME_OF_REFERENCE_UID),
            number: attributes.whole(tags::SERIES_NUMBER).ok().flatten().unwrap_or(0),
            modality: attributes.term(tags::MODALITY, MODALITIES),
            rows: layout.rows,
            cols: layout.cols,
            sample_bytes: layout.sample_bytes(),
            localizer: is_localizer(&attributes),
            tilted: attributes
                .numbers(tags::GANTRY_DETECTOR_TILT)
                .is_ok_and(|tilt| tilt.first().is_some_and(|angle| angle.abs() > 0.1)),
            frames: frames(&attributes, layout.frames)?,
        }))
    })
}

/// Whether a file, by its meta group, holds a whole enhanced CT, MR or PET in its frames.
pub(crate) fn is_enhanced(beginning: &[u8]) -> bool {
    // Enhanced CT, MR and PET, and the legacy converted kinds of each.
    const CLASSES: [&[u8]; 6] = [
        b"1.2.840.10008.5.1.4.1.1.2.1",
        b"1.2.840.10008.5.1.4.1.1.2.2",
        b"1.2.840.10008.5.1.4.1.1.4.1",
        b"1.2.840.10008.5.1.4.1.1.4.4",
        b"1.2.840.10008.5.1.4.1.1.130",
        b"1.2.840.10008.5.1.4.1.1.128.1",
    ];
    let meta = &beginning[..beginning.len().min(1024)];
    let class = b"\x02\x00\x02\x00UI";
    let at = meta.windows(class.len()).position(|window| window == class);
    at.and_then(|at| meta.get(at + 8..)).is_some_and(|uid| {
        CLASSES.iter().any(|class| {
            uid.starts_with(class)
                && !uid.get(class.len()).is_some_and(|b| b.is_ascii_digit() || *b == b'.')
        })
    })
}

fn grey(layout: &Layout) -> Why<()> {
    if layout.samples == 1 && layout.photometric != "PALETTE COLOR" {
        return Ok(());
    }
    Err(format!("expected slices of grey values, found {}", layout.photometric))
}

fn is_localizer(attributes: &Attributes<'_>) -> bool {
    let kinds = attributes.texts(tags::IMAGE_TYPE);
    kinds.iter().any(|kind| kind.eq_ignore_ascii_case("LOCALIZER") || kind == "SCOUT")
}

fn frames(attributes: &Attributes<'_>, count: usize) -> Why<Vec<FrameFacts>> {
    if count == 1 {
        return Ok(vec![FrameFacts::read(attributes, 0)?]);
    }
    let groups = attributes.items(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE).len();
    if groups != count {
        return Err(format!(
            "{count} frames with {groups} functional groups, so where the frames lie is unknown"
        ));
    }
    if count > MOST_FRAMES {
        return Err(format!("{count} frames are more than the {MOST_FRAMES} that can be read"));
    }
    (0..count).map(|frame| FrameFacts::read(attributes, frame)).collect()
}

impl FrameFacts {
    fn read(attributes: &Attributes<'_>, frame: usize) -> Why<Self> {
        let of = |group: Tag, tag: Tag| attributes.of_frame(group, frame).numbers(tag);
        let orientation = of(tags::PLANE_ORIENTATION_SEQUENCE, tags::IMAGE_ORIENTATION_PATIENT)?;
        let position = of(tags::PLANE_POSITION_SEQUENCE, tags::IMAGE_POSITION_PATIENT)?;
        let spacing = of(tags::PIXEL_MEASURES_SEQUENCE, tags::PIXEL_SPACING)?;
        let thickness = of(tags::PIXEL_MEASURES_SEQUENCE, tags::SLICE_THICKNESS)?;
        Ok(Self {
            position: position.try_into().ok(),
            orientation: match orientation[..] {
                [a, b, c, d, e, f] => Some([[a, b, c], [d, e, f]]),
                _ => None,
            },
            spacing: <[f64; 2]>::try_from(spacing).ok().filter(|s| s.iter().all(|v| *v > 0.0)),
            thickness: thickness.first().copied().filter(|t| *t > 0.0),
        })
    }
}

/// Decodes frames of a file in parallel, each to its place, in modality units; padding becomes NaN.
/// Says of each what was done to its stored values.
pub(crate) fn decode_slices(
    bytes: &[u8],
    name: &Path,
    frames: Vec<(usize, &mut [f32])>,
) -> Result<Vec<Vec<String>>> {
    guarded(name, || {
        with_file(bytes, |file| {
            grey(&file.frames.layout)?;
            frames.into_par_iter().map(|(frame, place)| decode_slice(file, frame, place)).collect()
        })
    })
}

fn decode_slice(file: &File<'_>, frame: usize, place: &mut [f32]) -> Why<Vec<String>> {
    let attributes = Attributes::new(file.object, file.coding);
    let layout = &file.frames.layout;
    if layout.rows * layout.cols != place.len() {
        return Err(format!("the slice is {} x {} now", layout.rows, layout.cols));
    }
    let mut values = Values::empty(layout);
    values.append(&file.frames.decode(frame)?, layout);
    let mut steps = file.notes.clone();
    let modality = Modality::read(&attributes, layout, frame, &mut steps)?;
    match (&modality, padding(&attributes, layout)?) {
        (Modality::Rescale { slope, intercept }, None) => {
            values.map_to(place, |v| (v * slope + intercept) as f32);
        }
        (_, None) => values.map_to(place, |v| modality.value(v) as f32),
        (_, Some([low, high])) => values.map_to(place, |v| {
            if (low..=high).contains(&v) { f32::NAN } else { modality.value(v) as f32 }
        }),
    }
    if layout.float && place.iter().any(|v| !v.is_finite()) {
        return Err("some pixel values are NaN or infinite".to_owned());
    }
    Ok(steps)
}
