//! Recipes with a name: ours, and those that published checkpoints were trained with.

use super::{Intensity, Recipe, Step, VoxelSize};
use crate::imaging::{HuWindow, Kernel, Organ};
use crate::{Error, Result};

const NAMES: [&str; 7] = [
    "film-224",
    "film-512",
    "imagenet-224",
    "clip-224",
    "medsiglip-448",
    "cxr-foundation-1280",
    "cxr-foundation-1280-any-view",
];

const VOLUME_NAMES: [&str; 4] = ["m3fm-left-lung", "m3fm-right-lung", "m3fm-lungs", "m3fm-heart"];

const IMAGENET: [[f32; 3]; 2] = [[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]];
const CLIP: [[f32; 3]; 2] =
    [[0.481_454_66, 0.457_827_5, 0.408_210_73], [0.268_629_54, 0.261_302_6, 0.275_777_1]];
const HALF: [[f32; 3]; 2] = [[0.5; 3]; 2];

impl Recipe {
    /// Our own default: the display range to [0, 1], a black border to a square, antialiased
    /// bilinear to `size` x `size`, one channel, no mean and deviation.
    pub fn film(size: usize) -> Self {
        Self {
            steps: vec![
                Step::Rescale { from: Intensity::Range },
                Step::PadToSquare { value: 0.0 },
                Step::Resize {
                    height: size,
                    width: size,
                    kernel: Kernel::Bilinear,
                    antialias: true,
                },
                Step::Channels { count: 1 },
            ],
        }
    }

    /// What CXR Foundation's clients do to a film, brought to `size` x `size`: frontal films only,
    /// unless `any_view`; the lowest and highest value to [0, 1] in 65536 levels, except for films
    /// of 8 bits, which keep their levels; then as [`Recipe::film`], for how the released encoder
    /// resizes is not published.
    ///
    /// Source: the data processing of the public repository Google-Health/cxr-foundation.
    pub fn cxr_foundation(size: usize, any_view: bool) -> Self {
        let mut steps =
            vec![Step::Rescale { from: Intensity::Stretch }, Step::Quantize { bits: 16 }];
        if !any_view {
            steps.insert(0, Step::Frontal {});
        }
        steps.extend(Self::film(size).steps.into_iter().skip(1));
        Self { steps }
    }

    /// The names that [`Recipe::preset`] knows.
    pub fn presets() -> &'static [&'static str] {
        &NAMES
    }

    /// A recipe by name.
    ///
    /// `imagenet-224` and `clip-224` follow PIL on 8 bits: shorter side to 224 by antialiased
    /// bicubic, the middle kept, the mean and deviation of `ImageNet` or of CLIP; they agree with PIL
    /// within a grey level, except where its cubic overshoots black or white. `medsiglip-448`
    /// follows `tf.image.resize`: 448 x 448 by bilinear without antialiasing, values to [-1, 1].
    /// `cxr-foundation-1280` is [`Recipe::cxr_foundation`].
    pub fn preset(name: &str) -> Result<Self> {
        match name {
            "film-224" => Ok(Self::film(224)),
            "film-512" => Ok(Self::film(512)),
            "imagenet-224" => Ok(shortest_and_middle(224, IMAGENET)),
            "clip-224" => Ok(shortest_and_middle(224, CLIP)),
            "medsiglip-448" => Ok(stretched(448, HALF)),
            "cxr-foundation-1280" => Ok(Self::cxr_foundation(1280, false)),
            "cxr-foundation-1280-any-view" => Ok(Self::cxr_foundation(1280, true)),
            _ => Err(Error::value(
                "preset",
                format!("expected one of {}, found {name:?}", NAMES.join(", ")),
            )),
        }
    }
}

impl Recipe {
    /// The names that [`Recipe::volume_preset`] knows.
    pub fn volume_presets() -> &'static [&'static str] {
        &VOLUME_NAMES
    }

    /// A recipe for volumes by name: the crops, sizes and windows of M3FM, with the true size of a
    /// voxel, to [-1, 1].
    ///
    /// Source: Niu et al. 2025 (M3FM) and its released code.
    pub fn volume_preset(name: &str) -> Result<Self> {
        let (organ, [depth, height, width], window) = match name {
            "m3fm-left-lung" => (Organ::LeftLung, [128, 448, 320], "cancer"),
            "m3fm-right-lung" => (Organ::RightLung, [128, 448, 320], "cancer"),
            "m3fm-lungs" => (Organ::Lungs, [128, 320, 448], "cancer"),
            "m3fm-heart" => (Organ::Heart, [128, 192, 224], "heart"),
            _ => {
                let names = VOLUME_NAMES.join(", ");
                return Err(Error::value(
                    "preset",
                    format!("expected one of {names}, found {name:?}"),
                ));
            }
        };
        let HuWindow { low, high } = HuWindow::named(window)?;
        Ok(Self {
            steps: vec![
                Step::CropOrgan { organ, depth, height, width, voxel_size: VoxelSize::True },
                Step::Rescale { from: Intensity::Fixed { low, high } },
                Step::Normalize { mean: vec![0.5], std: vec![0.5] },
            ],
        })
    }
}

fn shortest_and_middle(size: usize, statistics: [[f32; 3]; 2]) -> Recipe {
    let mut steps = vec![
        Step::Rescale { from: Intensity::Range },
        Step::Quantize { bits: 8 },
        Step::ResizeShortest { size, kernel: Kernel::Bicubic, antialias: true },
        // PIL clips what the cubic overshoots and rounds to 8 bits again.
        Step::Quantize { bits: 8 },
        Step::CenterCrop { height: size, width: size },
    ];
    steps.extend(colours(statistics));
    Recipe { steps }
}

fn stretched(size: usize, statistics: [[f32; 3]; 2]) -> Recipe {
    let mut steps = vec![
        Step::Rescale { from: Intensity::Range },
        Step::Quantize { bits: 8 },
        Step::Resize { height: size, width: size, kernel: Kernel::Bilinear, antialias: false },
    ];
    steps.extend(colours(statistics));
    Recipe { steps }
}

fn colours([mean, std]: [[f32; 3]; 2]) -> [Step; 2] {
    [Step::Channels { count: 3 }, Step::Normalize { mean: mean.to_vec(), std: std.to_vec() }]
}
