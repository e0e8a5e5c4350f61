//! Resizing in float32, with the kernel and the antialiasing named.
//!
//! All kernels place the centre of pixel `i` at `i + 0.5`. With antialiasing a kernel widens when
//! it shrinks an image, as PIL and torchvision do for PIL images; without, it always spans
//! its few neighbours, as `tf.image.resize` does by default.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use ndarray::{Array2, ArrayView2};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The largest side an image may be resized to.
pub(super) const MAX_SIDE: usize = 16_384;

/// How pixels between pixels are made up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kernel {
    /// The pixel whose square holds the point.
    Nearest,
    /// The triangle over two pixels.
    Bilinear,
    /// The Catmull-Rom cubic over four pixels (a = -0.5), as PIL has it.
    Bicubic,
    /// Windowed sinc over six pixels.
    Lanczos,
}

impl std::fmt::Display for Kernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Nearest => "nearest",
            Self::Bilinear => "bilinear",
            Self::Bicubic => "bicubic",
            Self::Lanczos => "lanczos",
        })
    }
}

/// Gives `image` (H, W) the size (`height`, `width`).
pub fn resize(
    image: ArrayView2<f32>,
    height: usize,
    width: usize,
    kernel: Kernel,
    antialias: bool,
) -> Result<Array2<f32>> {
    let (rows, cols) = image.dim();
    if image.is_empty() {
        return Err(Error::shape("image", "(rows, columns) of at least 1", &[rows, cols]));
    }
    if !(1..=MAX_SIDE).contains(&height) || !(1..=MAX_SIDE).contains(&width) {
        let expected = format!("sides of 1 to {MAX_SIDE}");
        return Err(Error::shape("new size", expected, &[height, width]));
    }
    if (rows, cols) == (height, width) {
        return Ok(image.to_owned());
    }
    let filter = match kernel {
        Kernel::Bilinear | Kernel::Nearest => FilterType::Bilinear,
        Kernel::Bicubic => FilterType::CatmullRom,
        Kernel::Lanczos => FilterType::Lanczos3,
    };
    let algorithm = match (kernel, antialias) {
        (Kernel::Nearest, _) => ResizeAlg::Nearest,
        (_, true) => ResizeAlg::Convolution(filter),
        (_, false) => ResizeAlg::Interpolation(filter),
    };
    let failed = |what: &str| Error::Internal(format!("resize: {what}"));
    let ordered = image.as_standard_layout();
    let values = ordered.as_slice().ok_or_else(|| failed("the source is not contiguous"))?;
    let bytes = bytemuck::cast_slice(values);
    let source = ImageRef::new(cols as u32, rows as u32, bytes, PixelType::F32)
        .map_err(|error| failed(&error.to_string()))?;
    let mut target = Image::new(width as u32, height as u32, PixelType::F32);
    let options = ResizeOptions::new().resize_alg(algorithm).use_alpha(false);
    Resizer::new()
        .resize(&source, &mut target, &options)
        .map_err(|error| failed(&error.to_string()))?;
    let pixels = bytemuck::pod_collect_to_vec(target.buffer());
    Array2::from_shape_vec((height, width), pixels).map_err(|error| failed(&error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The plain definition: two neighbours in each direction, edges repeated.
    fn plain_bilinear(image: &Array2<f32>, height: usize, width: usize) -> Array2<f32> {
        let (rows, cols) = image.dim();
        let neighbours = |index: usize, new: usize, old: usize| {
            let at =
                ((index as f64 + 0.5) * old as f64 / new as f64 - 0.5).clamp(0.0, old as f64 - 1.0);
            let low = at.floor() as usize;
            (low, (low + 1).min(old - 1), (at - at.floor()) as f32)
        };
        Array2::from_shape_fn((height, width), |(r, c)| {
            let (top, bottom, down) = neighbours(r, height, rows);
            let (left, right, across) = neighbours(c, width, cols);
            let row = |r: usize| image[[r, left]] * (1.0 - across) + image[[r, right]] * across;
            row(top) * (1.0 - down) + row(bottom) * down
        })
    }

    #[test]
    fn bilinear_without_antialiasing_reads_two_neighbours_only() {
        let image =
            Array2::from_shape_fn((37, 53), |(r, c)| ((r * 31 + c * 17) % 101) as f32 / 100.0);
        for (height, width) in [(11, 13), (20, 90), (74, 106)] {
            let ours = resize(image.view(), height, width, Kernel::Bilinear, false).unwrap();
            let plain = plain_bilinear(&image, height, width);
            let worst = (&ours - &plain).iter().fold(0f32, |m, v| m.max(v.abs()));
            assert!(worst < 1e-5, "{height} x {width}: {worst}");
        }
    }

    #[test]
    fn a_side_of_nothing_is_refused() {
        let error = resize(Array2::zeros((4, 4)).view(), 0, 3, Kernel::Lanczos, true).unwrap_err();
        assert_eq!(error.to_string(), "new size: expected shape sides of 1 to 16384, got [0, 3]");
    }
}
