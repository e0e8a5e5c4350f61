//! A DICOM frame as a film: grey values that mean something, white high, with its history.

use dicom_dictionary_std::tags;
use ndarray::Array2;

use super::File;
use super::attributes::Attributes;
use super::layout::Layout;
use super::modality::Modality;
use super::stored::Values;
use super::terms::MODALITIES;
use super::tone::{Tone, fill_padding, padding};
use super::voi::Voi;
use super::walk::Why;
use super::{colour, frames::Frame};
use crate::imaging::grid::end_letter;
use crate::imaging::{Image, ReadOptions, View};

/// Modalities whose values have a unit: they keep it unless a window is asked for.
const MEASURED: [&str; 3] = ["CT", "MR", "PT"];

/// Reads the frame that the options ask for.
pub(super) fn read(file: &File<'_>, options: &ReadOptions) -> Why<Image> {
    let attributes = Attributes::new(file.object, file.coding);
    let layout = &file.frames.layout;
    let number = options.frame.unwrap_or(0);
    let mut history = file.notes.clone();
    history.insert(0, describe(layout));
    if layout.frames > 1 {
        history.push(format!("frame {number} of {}, counted from 0", layout.frames));
    }
    let frame = file.frames.decode(number)?;
    let mut values = Values::empty(layout);
    values.append(&frame, layout);
    let modality = attributes.term(tags::MODALITY, MODALITIES);
    let (pixels, range) = if layout.samples == 1 && layout.photometric != "PALETTE COLOR" {
        grey(&values, &attributes, layout, number, &modality, options, &mut history)?
    } else {
        coloured(&values, &attributes, layout, &frame, &mut history)?
    };
    let pixels = Array2::from_shape_vec((layout.rows, layout.cols), pixels)
        .map_err(|error| format!("the frame does not fill the image: {error}"))?;
    if pixels.iter().any(|v| !v.is_finite()) {
        return Err("some pixel values are NaN or infinite".to_owned());
    }
    Ok(Image {
        pixels,
        spacing: spacing(&attributes, number, &mut history)?,
        view: view(&attributes),
        orientation: orientation(&attributes, number),
        modality,
        range,
        history,
    })
}

type Pixels = (Vec<f32>, Option<[f32; 2]>);

fn grey(
    values: &Values,
    attributes: &Attributes<'_>,
    layout: &Layout,
    frame: usize,
    modality: &str,
    options: &ReadOptions,
    history: &mut Vec<String>,
) -> Why<Pixels> {
    let measured = MEASURED.contains(&modality);
    let transform = Modality::read(attributes, layout, frame, history)?;
    let possible = transform.range(layout);
    let windowed = options.apply_window.unwrap_or(options.window.is_some() || !measured);
    let voi = if windowed {
        let choice = options.window.as_ref();
        Voi::read(attributes, layout, possible, frame, choice, history)?
    } else {
        None
    };
    let output = voi.as_ref().map_or(possible, Voi::range);
    let inverted_within = inversion(attributes, layout, history).then_some(output);
    let padding = padding(attributes, layout)?;
    // Without a window, only a film's bits say how bright it is meant to be.
    let film = !measured && !modality.is_empty();
    let known = voi.is_some() || (film && !layout.float);
    let tone = Tone { modality: transform, voi, inverted_within, padding };
    let mut pixels = tone.apply(values, layout);
    if tone.padding.is_some() {
        let lowest = tone.voi.is_some().then_some(output[0]);
        let count = fill_padding(&mut pixels, lowest);
        if count > 0 {
            history.push(format!("{count} padding pixels set to the background"));
        }
    }
    Ok((pixels, known.then_some(output.map(|v| v as f32))))
}

/// Whether low values are meant to be white. Films with MONOCHROME1 state the same thing twice,
/// once here and once as their Presentation LUT Shape, so one inversion serves both.
fn inversion(attributes: &Attributes<'_>, layout: &Layout, history: &mut Vec<String>) -> bool {
    let reason = if layout.photometric == "MONOCHROME1" {
        "MONOCHROME1"
    } else if attributes.text(tags::PRESENTATION_LUT_SHAPE) == "INVERSE" {
        "presentation LUT shape INVERSE"
    } else {
        return false;
    };
    history.push(format!("inverted ({reason}): white is high"));
    true
}

fn coloured(
    values: &Values,
    attributes: &Attributes<'_>,
    layout: &Layout,
    frame: &Frame<'_>,
    history: &mut Vec<String>,
) -> Why<Pixels> {
    let (pixels, range) = if layout.samples == 1 {
        colour::palette(values, layout, attributes, history)?
    } else {
        colour::luma(values, layout, frame.says_ycbcr, history)?
    };
    Ok((pixels, Some(range.map(|v| v as f32))))
}

fn describe(layout: &Layout) -> String {
    let kind = if layout.float {
        format!("{}-bit floating point", layout.allocated)
    } else {
        let sign = if layout.signed { "signed" } else { "unsigned" };
        format!("{} of {} bits, {sign}", layout.stored, layout.allocated)
    };
    format!("DICOM, {} x {}, {kind}, {}", layout.rows, layout.cols, layout.photometric)
}

/// Size of a pixel in mm: in the patient where the file says so, else at the detector.
fn spacing(
    attributes: &Attributes<'_>,
    frame: usize,
    history: &mut Vec<String>,
) -> Why<Option<[f64; 2]>> {
    let measures = attributes.of_frame(tags::PIXEL_MEASURES_SEQUENCE, frame);
    let pair = |numbers: Vec<f64>| match numbers[..] {
        [rows, cols] if rows > 0.0 && cols > 0.0 => Some([rows, cols]),
        _ => None,
    };
    if let Some(spacing) = pair(measures.numbers(tags::PIXEL_SPACING)?) {
        return Ok(Some(spacing));
    }
    let Some(spacing) = pair(attributes.numbers(tags::IMAGER_PIXEL_SPACING)?) else {
        return Ok(None);
    };
    let factor = attributes.numbers(tags::ESTIMATED_RADIOGRAPHIC_MAGNIFICATION_FACTOR)?;
    history.push(match factor.first() {
        Some(factor) => {
            format!("spacing at the detector; the file estimates a magnification of {factor}")
        }
        None => "spacing at the detector, not in the patient".to_owned(),
    });
    Ok(Some(spacing))
}

fn view(attributes: &Attributes<'_>) -> View {
    match attributes.text(tags::VIEW_POSITION).to_ascii_uppercase().as_str() {
        "PA" => View::Pa,
        "AP" => View::Ap,
        "LL" | "RL" | "LAT" | "LATERAL" => View::Lateral,
        _ => View::Unknown,
    }
}

/// Where x and y point, by the plane's place in the patient or else by the letters of the file.
fn orientation(attributes: &Attributes<'_>, frame: usize) -> String {
    let plane = attributes.of_frame(tags::PLANE_ORIENTATION_SEQUENCE, frame);
    let vectors = plane.numbers(tags::IMAGE_ORIENTATION_PATIENT).unwrap_or_default();
    let pair: Vec<char> = match vectors[..] {
        [a, b, c, d, e, f] => [[a, b, c], [d, e, f]].map(main_axis).to_vec(),
        _ => attributes
            .texts(tags::PATIENT_ORIENTATION)
            .iter()
            .filter_map(|letters| match letters.chars().next()? {
                'H' => Some('S'),
                'F' => Some('I'),
                letter => "LRPA".contains(letter).then_some(letter),
            })
            .collect(),
    };
    let axis = |letter: char| ["LR", "PA", "SI"].iter().position(|ends| ends.contains(letter));
    match pair[..] {
        [x, y] if axis(x) != axis(y) => pair.iter().collect(),
        _ => String::new(), // damaged, or free text that may say anything
    }
}

/// The letter of the end of the patient that a vector (left, back, head) points to most.
fn main_axis(vector: [f64; 3]) -> char {
    let longest = |a: &usize, b: &usize| vector[*a].abs().total_cmp(&vector[*b].abs());
    let along = (0..3).max_by(longest).unwrap_or_default();
    end_letter(along, vector[along] >= 0.0)
}
