//! How pixels become a model's input, as data: printable, hashable, invertible.
//!
//! A recipe travels with every model, embedding and head. Two recipes with the same steps have the
//! same hash; what two different hashes made must never be mixed.

mod apply;
mod check;
mod presets;
mod volume;

pub use volume::VolumeInput;

use serde::{Deserialize, Serialize};

use super::{Kernel, Organ};
use crate::{Error, Result, files};

/// Which values of a film become 0 and 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Intensity {
    /// The film's own display range; its lowest and highest value when it states none.
    Range,
    /// Its lowest and highest value.
    MinMax,
    /// Its lowest and highest value, but its display range when that is of 8 bits or when all
    /// values are one, as CXR Foundation's clients prepare films.
    Stretch,
    /// The values below which these percentages of the pixels lie, interpolated linearly.
    Percentile {
        /// Percentage that becomes 0.
        low: f32,
        /// Percentage that becomes 1.
        high: f32,
    },
    /// These values, in the units of the film.
    Fixed {
        /// The value that becomes 0.
        low: f32,
        /// The value that becomes 1.
        high: f32,
    },
}

/// Which size of a voxel a model is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VoxelSize {
    /// That of the voxels it is given.
    #[default]
    True,
    /// That from before the resize, as the released code of M3FM tells its models.
    Released,
}

/// One step of a recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case", deny_unknown_fields)]
pub enum Step {
    /// Refuses a film that is known to be lateral.
    Frontal {},
    /// Maps values linearly to [0, 1] and clips them there.
    Rescale {
        /// What becomes 0 and 1.
        from: Intensity,
    },
    /// Maps a window, in the units of the film, linearly to [0, 1] and clips outside it.
    Window {
        /// The middle.
        center: f32,
        /// The width.
        width: f32,
    },
    /// Turns [0, 1] over: black becomes white.
    Invert {},
    /// Clips to [0, 1] and rounds to the levels that so many bits have.
    Quantize {
        /// Number of bits, 1 to 16.
        bits: u8,
    },
    /// Gives the film this size, whatever its proportions.
    Resize {
        /// New height.
        height: usize,
        /// New width.
        width: usize,
        /// How pixels between pixels are made up.
        kernel: Kernel,
        /// Whether the kernel widens when it shrinks the film.
        antialias: bool,
    },
    /// Gives the shorter side this size and keeps the proportions (the longer side rounds down).
    ResizeShortest {
        /// New length of the shorter side.
        size: usize,
        /// How pixels between pixels are made up.
        kernel: Kernel,
        /// Whether the kernel widens when it shrinks the film.
        antialias: bool,
    },
    /// Keeps the middle; the film must be at least as large.
    CenterCrop {
        /// New height.
        height: usize,
        /// New width.
        width: usize,
    },
    /// Adds borders on both sides of the shorter axis until the film is square.
    PadToSquare {
        /// Value of the border.
        value: f32,
    },
    /// Gives a volume a spacing as near to this as whole voxels allow.
    Resample {
        /// New spacing (z, y, x) in mm.
        spacing: [f64; 3],
        /// `bilinear` (here trilinear) or `nearest`.
        kernel: Kernel,
    },
    /// Gives a volume this size, whatever its proportions.
    ResizeVolume {
        /// New number of slices.
        depth: usize,
        /// New height.
        height: usize,
        /// New width.
        width: usize,
        /// `bilinear` (here trilinear) or `nearest`.
        kernel: Kernel,
    },
    /// Keeps the box of an organ of a chest CT, grown to a size where there is room, and gives it
    /// that size.
    CropOrgan {
        /// What to keep.
        organ: Organ,
        /// New number of slices.
        depth: usize,
        /// New height.
        height: usize,
        /// New width.
        width: usize,
        /// Which size of a voxel the model is told.
        #[serde(default)]
        voxel_size: VoxelSize,
    },
    /// Repeats the grey film.
    Channels {
        /// Number of channels.
        count: usize,
    },
    /// Subtracts a mean and divides by a deviation, for each channel or for all.
    Normalize {
        /// One mean, or one for each channel.
        mean: Vec<f32>,
        /// One deviation, or one for each channel.
        std: Vec<f32>,
    },
}

/// The steps from a film to a model's input (C, H, W), in order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// The steps.
    pub steps: Vec<Step>,
}

impl Recipe {
    /// A checked recipe.
    pub fn new(steps: Vec<Step>) -> Result<Self> {
        let recipe = Self { steps };
        recipe.validate()?;
        Ok(recipe)
    }

    /// Reads a recipe from JSON; a misspelt or impossible step is an error that names it.
    pub fn from_json(text: &str) -> Result<Self> {
        let recipe: Self = serde_json::from_str(text)
            .map_err(|error| Error::config("recipe", error.to_string()))?;
        recipe.validate()?;
        Ok(recipe)
    }

    /// The recipe as canonical JSON: no spaces, fields in the order of the definition.
    pub fn to_json(&self) -> String {
        // Numbers, names and lists always serialise.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// SHA-256 of the canonical JSON, in hexadecimal.
    pub fn hash(&self) -> String {
        files::sha256_hex(self.to_json().as_bytes())
    }
}

impl std::fmt::Display for Intensity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Range => write!(f, "the film's range"),
            Self::MinMax => write!(f, "lowest and highest value"),
            Self::Stretch => write!(f, "lowest and highest value (not of 8 bits)"),
            Self::Percentile { low, high } => write!(f, "percentiles {low} and {high}"),
            Self::Fixed { low, high } => write!(f, "{low} to {high}"),
        }
    }
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let plain = |antialias: &bool| if *antialias { "antialiased" } else { "not antialiased" };
        match self {
            Self::Frontal {} => write!(f, "frontal films only"),
            Self::Rescale { from } => write!(f, "rescale {from} to [0, 1]"),
            Self::Window { center, width } => {
                write!(f, "window at {center}, {width} wide, to [0, 1]")
            }
            Self::Invert {} => write!(f, "invert"),
            Self::Quantize { bits } => write!(f, "quantise to {bits} bits"),
            Self::Resize { height, width, kernel, antialias } => {
                write!(f, "resize to {height} x {width}, {kernel}, {}", plain(antialias))
            }
            Self::ResizeShortest { size, kernel, antialias } => {
                write!(f, "resize shorter side to {size}, {kernel}, {}", plain(antialias))
            }
            Self::CenterCrop { height, width } => write!(f, "keep the middle {height} x {width}"),
            Self::PadToSquare { value } => write!(f, "pad to a square with {value}"),
            Self::Resample { spacing: [z, y, x], kernel } => {
                write!(f, "resample to {z} x {y} x {x} mm, {kernel}")
            }
            Self::ResizeVolume { depth, height, width, kernel } => {
                write!(f, "resize to {depth} x {height} x {width}, {kernel}")
            }
            Self::CropOrgan { organ, depth, height, width, voxel_size } => {
                let told = match voxel_size {
                    VoxelSize::True => "",
                    VoxelSize::Released => ", voxel size as before it",
                };
                let organ = organ.name().replace('_', " ");
                write!(f, "crop to the {organ}, {depth} x {height} x {width}{told}")
            }
            Self::Channels { count } => write!(f, "{count} channels"),
            Self::Normalize { mean, std } => write!(f, "subtract {mean:?}, divide by {std:?}"),
        }
    }
}

impl std::fmt::Display for Recipe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let steps: Vec<String> = self.steps.iter().map(ToString::to_string).collect();
        f.write_str(&steps.join(" -> "))
    }
}
