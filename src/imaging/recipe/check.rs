//! Which recipes can be cooked, and what shape comes out.

use super::{Intensity, Recipe, Step};
use crate::imaging::Kernel;
use crate::imaging::resize::MAX_SIDE;
use crate::{Error, Result};

impl Recipe {
    /// Checks every step; the error names the step at fault.
    pub fn validate(&self) -> Result<()> {
        let mut channels = 1;
        for (index, step) in self.steps.iter().enumerate() {
            let field = format!("steps[{index}]");
            step.check(channels).map_err(|why| Error::config(field, why))?;
            if let Step::Channels { count } = step {
                channels = *count;
            }
        }
        Ok(())
    }

    /// The shape (C, H, W) that comes out, when it does not depend on the film.
    pub fn output_shape(&self) -> Option<[usize; 3]> {
        let mut channels = 1;
        let mut size: Option<[usize; 2]> = None;
        let mut square = false;
        for step in &self.steps {
            match *step {
                Step::Channels { count } => channels = count,
                Step::Resize { height, width, .. } | Step::CenterCrop { height, width } => {
                    (size, square) = (Some([height, width]), height == width);
                }
                Step::PadToSquare { .. } => {
                    size = size.map(|[h, w]| [h.max(w); 2]);
                    square = true;
                }
                Step::ResizeShortest { size: short, .. } => {
                    size = if square { Some([short; 2]) } else { size.map(|s| shortest(s, short)) };
                }
                _ => {}
            }
        }
        size.map(|[height, width]| [channels, height, width])
    }
}

/// The size with its shorter side made `short`; the longer one rounds down.
pub(super) fn shortest([height, width]: [usize; 2], short: usize) -> [usize; 2] {
    if height <= width {
        [short, (short * width / height).max(1)]
    } else {
        [(short * height / width).max(1), short]
    }
}

fn volume_side(
    side: impl Fn(&str, usize) -> std::result::Result<(), String>,
    [depth, height, width]: [usize; 3],
) -> std::result::Result<(), String> {
    side("depth", depth)?;
    side("height", height)?;
    side("width", width)
}

fn trilinear(kernel: Kernel) -> std::result::Result<(), String> {
    match kernel {
        Kernel::Bilinear | Kernel::Nearest => Ok(()),
        _ => Err(format!("kernel is {kernel}, expected bilinear or nearest for a volume")),
    }
}

impl Step {
    fn check(&self, channels: usize) -> std::result::Result<(), String> {
        let side = |name: &str, value: usize| match value {
            1..=MAX_SIDE => Ok(()),
            _ => Err(format!("{name} is {value}, expected 1 to {MAX_SIDE}")),
        };
        let wide = |low: f32, high: f32| {
            if low.is_finite() && high.is_finite() && low < high {
                return Ok(());
            }
            Err(format!("expected low < high, found {low} and {high}"))
        };
        match self {
            Self::Rescale { from: Intensity::Percentile { low, high } } => {
                wide(*low, *high)?;
                if *low < 0.0 || *high > 100.0 {
                    return Err(format!("expected percentages, found {low} and {high}"));
                }
            }
            Self::Rescale { from: Intensity::Fixed { low, high } } => wide(*low, *high)?,
            Self::Window { center, width } => wide(center - width / 2.0, center + width / 2.0)?,
            Self::Quantize { bits } if !(1..=16).contains(bits) => {
                return Err(format!("bits is {bits}, expected 1 to 16"));
            }
            Self::Resize { height, width, .. } | Self::CenterCrop { height, width } => {
                side("height", *height)?;
                side("width", *width)?;
            }
            Self::ResizeShortest { size, .. } => side("size", *size)?,
            Self::Resample { spacing, kernel } => {
                if !spacing.iter().all(|s| s.is_finite() && *s > 0.0) {
                    return Err(format!("spacing is {spacing:?}, expected three lengths in mm"));
                }
                trilinear(*kernel)?;
            }
            Self::ResizeVolume { depth, height, width, kernel } => {
                volume_side(side, [*depth, *height, *width])?;
                trilinear(*kernel)?;
            }
            Self::CropOrgan { depth, height, width, .. } => {
                volume_side(side, [*depth, *height, *width])?;
            }
            Self::PadToSquare { value } if !value.is_finite() => {
                return Err(format!("value is {value}, expected a finite number"));
            }
            Self::Channels { .. } if channels != 1 => {
                return Err(format!("expected a grey film, found {channels} channels"));
            }
            Self::Channels { count } if !(1..=16).contains(count) => {
                return Err(format!("count is {count}, expected 1 to 16"));
            }
            Self::Normalize { mean, std } => {
                for (name, values) in [("mean", mean), ("std", std)] {
                    if values.len() != 1 && values.len() != channels {
                        let found = values.len();
                        return Err(format!("{name} has {found} values, expected 1 or {channels}"));
                    }
                }
                let sound = mean.iter().all(|v| v.is_finite())
                    && std.iter().all(|v| v.is_finite() && *v > 0.0);
                if !sound {
                    return Err(format!(
                        "expected finite means and positive deviations, found {mean:?} and {std:?}"
                    ));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
