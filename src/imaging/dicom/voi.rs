//! From values of the modality to values for display: windows and VOI look-up tables.
//!
//! Source: DICOM PS3.3, C.11.2.1.2 (LINEAR), C.11.2.1.3.1 (SIGMOID), C.11.2.1.3.2 (`LINEAR_EXACT`).

use dicom_dictionary_std::tags;

use super::attributes::Attributes;
use super::layout::Layout;
use super::lut::Lut;
use super::walk::Why;
use crate::imaging::read::WindowChoice;

/// The shape of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Linear,
    LinearExact,
    Sigmoid,
}

/// What makes a value displayable.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Voi {
    Window { function: Function, center: f64, width: f64, top: f64 },
    Table(Lut),
}

impl Voi {
    /// The VOI transform of a frame: the one chosen, else the first look-up table, else the first
    /// usable window, else none.
    pub(super) fn read(
        attributes: &Attributes<'_>,
        layout: &Layout,
        input: [f64; 2],
        frame: usize,
        choice: Option<&WindowChoice>,
        history: &mut Vec<String>,
    ) -> Why<Option<Self>> {
        let own = attributes.of_frame(tags::FRAME_VOILUT_SEQUENCE, frame);
        let tables = own.items(tags::VOILUT_SEQUENCE);
        let windows = windows(&own, layout, history)?;
        let table = |item: &Attributes<'_>| Lut::read(item, input[0] < 0.0).map(Self::Table);
        let chosen = match choice {
            None => match tables.first() {
                Some(item) => Some(table(item)?),
                None => windows.into_iter().next().map(|(_, window)| window),
            },
            Some(WindowChoice::Index(index)) => {
                let count = windows.len();
                let window = windows.into_iter().nth(*index);
                Some(window.map(|(_, window)| window).ok_or_else(|| {
                    format!("window {index} was asked for, but the file has {count}")
                })?)
            }
            Some(WindowChoice::Name(name)) => {
                let same = |text: &str| text.eq_ignore_ascii_case(name);
                let item = tables.iter().find(|item| same(&item.text(tags::LUT_EXPLANATION)));
                let names: Vec<String> =
                    windows.iter().enumerate().map(|(i, (name, _))| shown(i, name)).collect();
                let window = windows.into_iter().find(|(text, _)| same(text));
                match (item, window) {
                    (Some(item), _) => Some(table(item)?),
                    (None, Some((_, window))) => Some(window),
                    (None, None) => {
                        return Err(format!(
                            "window {name:?} was asked for, but the file has {}",
                            if names.is_empty() { "none".to_owned() } else { names.join(", ") }
                        ));
                    }
                }
            }
        };
        if let Some(voi) = &chosen {
            history.push(voi.describe());
        }
        Ok(chosen)
    }

    pub(super) fn value(&self, x: f64) -> f64 {
        match self {
            Self::Table(table) => table.at(x),
            Self::Window { function, center, width, top } => {
                top * function.share(x, *center, *width)
            }
        }
    }

    /// The lowest and highest value that can come out.
    pub(super) fn range(&self) -> [f64; 2] {
        match self {
            Self::Table(table) => table.range(),
            Self::Window { top, .. } => [0.0, *top],
        }
    }

    fn describe(&self) -> String {
        match self {
            Self::Table(table) => format!("VOI look-up table of {}", table.describe()),
            Self::Window { function, center, width, top } => format!(
                "window {} at {center}, {width} wide, to 0 to {top}",
                match function {
                    Function::Linear => "LINEAR",
                    Function::LinearExact => "LINEAR_EXACT",
                    Function::Sigmoid => "SIGMOID",
                }
            ),
        }
    }
}

impl Function {
    /// Where a value falls between the lowest (0) and the highest (1) output.
    pub(super) fn share(self, x: f64, center: f64, width: f64) -> f64 {
        let linear = |center: f64, width: f64| {
            if x <= center - width / 2.0 {
                0.0
            } else if x > center + width / 2.0 {
                1.0
            } else {
                (x - center) / width + 0.5
            }
        };
        match self {
            Self::Linear => linear(center - 0.5, width - 1.0),
            Self::LinearExact => linear(center, width),
            Self::Sigmoid => 1.0 / (1.0 + (-4.0 * (x - center) / width).exp()),
        }
    }
}

/// Words that names of windows are made of. What else people write there is not shown.
const WORDS: &[&str] = &[
    "abdomen",
    "algo",
    "algo1",
    "algo2",
    "algo3",
    "bone",
    "brain",
    "chest",
    "contrast",
    "default",
    "harder",
    "heart",
    "high",
    "liver",
    "low",
    "lung",
    "lungs",
    "mediastinum",
    "normal",
    "pelvis",
    "preset",
    "sharp",
    "softer",
    "soft",
    "spine",
    "standard",
    "tissue",
    "user",
    "win",
    "window",
    "window1",
    "window2",
    "window3",
];

/// What an error calls a window: its name if it is a usual one, else its number.
fn shown(index: usize, name: &str) -> String {
    let words = name.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    let usual = words.clone().all(|word| WORDS.contains(&word.to_lowercase().as_str()));
    if usual && words.count() > 0 { format!("{name:?}") } else { format!("window {index}") }
}

/// The usable windows of a file with their names.
fn windows(
    own: &Attributes<'_>,
    layout: &Layout,
    history: &mut Vec<String>,
) -> Why<Vec<(String, Voi)>> {
    let function = match own.text(tags::VOILUT_FUNCTION).as_str() {
        "LINEAR_EXACT" => Function::LinearExact,
        "SIGMOID" => Function::Sigmoid,
        _ => Function::Linear,
    };
    let least = if function == Function::Linear { 1.0 } else { f64::MIN_POSITIVE };
    let top = match layout.stored {
        _ if layout.float => 1.0,
        bits => 2f64.powi(bits.min(16) as i32) - 1.0,
    };
    let centers = own.numbers(tags::WINDOW_CENTER)?;
    let widths = own.numbers(tags::WINDOW_WIDTH)?;
    let names = own.texts(tags::WINDOW_CENTER_WIDTH_EXPLANATION);
    let mut usable = Vec::new();
    for (index, (&center, &width)) in centers.iter().zip(&widths).enumerate() {
        if width < least {
            history.push(format!("window {index} ignored: its width is {width}"));
            continue;
        }
        let name = names.get(index).cloned().unwrap_or_default();
        usable.push((name, Voi::Window { function, center, width, top }));
    }
    Ok(usable)
}

#[cfg(test)]
mod tests {
    use super::Function::{Linear, LinearExact, Sigmoid};

    #[test]
    fn windows_follow_the_notes_of_the_standard() {
        // C.11.2.1.2.1: center 2048, width 4096 maps 0..4095 exactly onto the output.
        assert!((Linear.share(0.0, 2048.0, 4096.0)).abs() < 1e-12);
        assert!((Linear.share(4095.0, 2048.0, 4096.0) - 1.0).abs() < 1e-12);
        // A width of 1 is a threshold: 0 at center - 0.5 and below, 1 above.
        assert!(Linear.share(9.5, 10.0, 1.0).abs() < f64::EPSILON);
        assert!((Linear.share(9.6, 10.0, 1.0) - 1.0).abs() < f64::EPSILON);
        assert!((LinearExact.share(10.0, 10.0, 4.0) - 0.5).abs() < f64::EPSILON);
        assert!((Sigmoid.share(10.0, 10.0, 4.0) - 0.5).abs() < f64::EPSILON);
    }
}
