//! Colour images as grey ones: luma by ITU-R BT.601.
//!
//! Source: DICOM PS3.3, C.7.6.3.1.2 (photometric interpretations) and C.7.6.3.1.5 (palettes).

use dicom_core::Tag;
use dicom_dictionary_std::tags;

use super::attributes::Attributes;
use super::layout::Layout;
use super::lut::Lut;
use super::stored::Values;
use super::walk::Why;

const WEIGHTS: [f64; 3] = [0.299, 0.587, 0.114];

/// Descriptor and data of the red, green and blue palettes.
const PALETTES: [(Tag, Tag); 3] = [
    (tags::RED_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR, tags::RED_PALETTE_COLOR_LOOKUP_TABLE_DATA),
    (
        tags::GREEN_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR,
        tags::GREEN_PALETTE_COLOR_LOOKUP_TABLE_DATA,
    ),
    (tags::BLUE_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR, tags::BLUE_PALETTE_COLOR_LOOKUP_TABLE_DATA),
];

/// Grey values of an image of three samples, and the range they can have.
pub(super) fn luma(
    values: &Values,
    layout: &Layout,
    ycbcr_in_stream: bool,
    history: &mut Vec<String>,
) -> Why<(Vec<f32>, [f64; 2])> {
    let range = layout.stored_range();
    let samples = values.to_f64();
    let photometric = layout.photometric.as_str();
    let pixels = samples.chunks_exact(3);
    let grey: Vec<f32> = match photometric {
        // In full-range YCbCr, the luma of BT.601 is the first sample itself.
        "YBR_FULL" | "YBR_FULL_422" => pixels.map(|p| p[0] as f32).collect(),
        "RGB" if ycbcr_in_stream => pixels.map(|p| p[0] as f32).collect(),
        "YBR_PARTIAL_422" | "YBR_PARTIAL_420" => {
            let unit = (range[1] + 1.0) / 256.0;
            let stretch = range[1] / (219.0 * unit);
            pixels.map(|p| ((p[0] - 16.0 * unit) * stretch).clamp(0.0, range[1]) as f32).collect()
        }
        // The JPEG 2000 codec has undone its own transforms.
        "RGB" | "YBR_ICT" | "YBR_RCT" => {
            pixels.map(|p| p.iter().zip(WEIGHTS).map(|(v, w)| v * w).sum::<f64>() as f32).collect()
        }
        _ => {
            return Err(format!(
                "the photometric interpretation of three samples is {photometric:?}, expected RGB or YBR_…"
            ));
        }
    };
    history.push(format!("{photometric} reduced to luma (ITU-R BT.601)"));
    Ok((grey, range))
}

/// Grey values of an image whose samples are numbers of palette entries.
pub(super) fn palette(
    values: &Values,
    layout: &Layout,
    attributes: &Attributes<'_>,
    history: &mut Vec<String>,
) -> Why<(Vec<f32>, [f64; 2])> {
    if attributes.has(tags::SEGMENTED_RED_PALETTE_COLOR_LOOKUP_TABLE_DATA) {
        return Err("its palette is segmented, which is not supported".to_owned());
    }
    let mut tables = Vec::with_capacity(3);
    for (descriptor, data) in PALETTES {
        tables.push(Lut::read_from(attributes, descriptor, data, layout.signed)?);
    }
    let entry = |stored: f64| {
        tables.iter().zip(WEIGHTS).map(|(table, w)| table.at(stored) * w).sum::<f64>() as f32
    };
    history.push("palette applied and reduced to luma (ITU-R BT.601)".to_owned());
    Ok((values.to_f64().into_iter().map(entry).collect(), tables[0].range()))
}
