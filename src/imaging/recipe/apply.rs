//! A recipe at work: the film goes through the steps, and the geometry goes with it.

use ndarray::{Array2, Array3, Axis, CowArray, Ix2, s};

use super::check::shortest;
use super::{Intensity, Recipe, Step};
use crate::imaging::cxr_foundation::stretch_ends;
use crate::imaging::{Geometry, Image, Kernel, resize};
use crate::{Error, Result};

/// What a step works on.
struct Dish<'a> {
    /// The film, as long as its channels are equal; not copied before a step changes it.
    pixels: CowArray<'a, f32, Ix2>,
    channels: usize,
    /// What each channel is still to be multiplied by and raised by, once steps made them differ.
    finish: Vec<[f32; 2]>,
    /// Whether the channels differ.
    differ: bool,
    range: Option<[f32; 2]>,
    geometry: Geometry,
    /// The film as it came.
    image: &'a Image,
}

impl Recipe {
    /// Makes a model's input (C, H, W) of a film, with the map back to the film's own pixels.
    pub fn apply(&self, image: &Image) -> Result<(Array3<f32>, Geometry)> {
        self.validate()?;
        // A NaN would spread silently through every later step.
        image.validate()?;
        let size = [image.pixels.nrows(), image.pixels.ncols()];
        let mut dish = Dish {
            pixels: image.pixels.view().into(),
            channels: 1,
            finish: vec![[1.0, 0.0]],
            differ: false,
            range: image.range,
            geometry: Geometry::identity(size, image.spacing),
            image,
        };
        for (index, step) in self.steps.iter().enumerate() {
            dish.cook(step, index)?;
        }
        Ok(dish.serve())
    }
}

impl Dish<'_> {
    fn cook(&mut self, step: &Step, index: usize) -> Result<()> {
        match step {
            Step::Frontal {} => self.image.expect_frontal()?,
            Step::Rescale { from } => {
                self.settle("rescale")?;
                let [low, high] = self.ends(*from);
                self.rescale(low, high);
            }
            Step::Window { center, width } => {
                self.settle("window")?;
                self.rescale(center - width / 2.0, center + width / 2.0);
            }
            Step::Invert {} => {
                self.settle("invert")?;
                self.change(|v| 1.0 - v);
            }
            Step::Quantize { bits } => {
                self.settle("quantize")?;
                let levels = ((1u32 << bits) - 1) as f32;
                self.change(|v| (v.clamp(0.0, 1.0) * levels).round() / levels);
            }
            Step::Resize { height, width, kernel, antialias } => {
                self.resize([*height, *width], *kernel, *antialias)?;
            }
            Step::ResizeShortest { size, kernel, antialias } => {
                let new = shortest(self.geometry.model, *size);
                self.resize(new, *kernel, *antialias)?;
            }
            Step::CenterCrop { height, width } => self.crop([*height, *width])?,
            Step::PadToSquare { value } => {
                self.settle("pad_to_square")?;
                self.pad(*value);
            }
            Step::Channels { count } => {
                self.channels = *count;
                self.finish = vec![self.finish[0]; *count];
            }
            Step::Normalize { mean, std } => self.normalize(mean, std),
            Step::Resample { .. } | Step::ResizeVolume { .. } | Step::CropOrgan { .. } => {
                let why = format!("{step} is for volumes; films have resize and center_crop");
                return Err(Error::config(format!("steps[{index}]"), why));
            }
        }
        Ok(())
    }

    /// Steps that look at the values need the film itself, not channels that differ.
    fn settle(&mut self, step: &str) -> Result<()> {
        let [scale, shift] = self.finish[0];
        if self.differ {
            return Err(Error::config(
                "steps",
                format!("{step} cannot follow a normalisation that differs between channels"),
            ));
        }
        let settled = scale.to_bits() == 1f32.to_bits() && shift.to_bits() == 0;
        if !settled {
            self.change(|v| v * scale + shift);
            self.finish.fill([1.0, 0.0]);
        }
        Ok(())
    }

    /// Changes every value: in place, or on the way into a copy.
    fn change(&mut self, to: impl Fn(f32) -> f32) {
        if self.pixels.is_view() {
            self.pixels = self.pixels.mapv(to).into();
        } else {
            self.pixels.mapv_inplace(to);
        }
    }

    fn ends(&self, from: Intensity) -> [f32; 2] {
        let least = || {
            self.pixels.iter().fold([f32::INFINITY, f32::NEG_INFINITY], |[low, high], &v| {
                [low.min(v), high.max(v)]
            })
        };
        match from {
            Intensity::Range => self.range.unwrap_or_else(least),
            Intensity::MinMax => least(),
            Intensity::Stretch => stretch_ends(self.range, least()),
            Intensity::Percentile { low, high } => {
                let mut sorted: Vec<f32> = self.pixels.iter().copied().collect();
                sorted.sort_unstable_by(f32::total_cmp);
                [percentile(&sorted, low), percentile(&sorted, high)]
            }
            Intensity::Fixed { low, high } => [low, high],
        }
    }

    fn rescale(&mut self, low: f32, high: f32) {
        // A film of one value has nothing to show: it becomes black.
        let factor = if high > low { 1.0 / (high - low) } else { 0.0 };
        self.change(|v| ((v - low) * factor).clamp(0.0, 1.0));
        self.range = Some([0.0, 1.0]);
    }

    fn resize(
        &mut self,
        [height, width]: [usize; 2],
        kernel: Kernel,
        antialias: bool,
    ) -> Result<()> {
        self.pixels = resize(self.pixels.view(), height, width, kernel, antialias)?.into();
        self.geometry = self.geometry.clone().resized(height, width);
        Ok(())
    }

    fn crop(&mut self, [height, width]: [usize; 2]) -> Result<()> {
        let (rows, cols) = self.pixels.dim();
        if rows < height || cols < width {
            let expected = format!("at least ({height}, {width}) to keep the middle");
            return Err(Error::shape("image", expected, &[rows, cols]));
        }
        let (top, left) = ((rows - height) / 2, (cols - width) / 2);
        self.pixels =
            self.pixels.slice(s![top..top + height, left..left + width]).to_owned().into();
        let shift = [-(top as isize), -(left as isize)];
        self.geometry = self.geometry.clone().shifted(shift, [height, width]);
        Ok(())
    }

    fn pad(&mut self, value: f32) {
        let (rows, cols) = self.pixels.dim();
        let side = rows.max(cols);
        let (top, left) = ((side - rows) / 2, (side - cols) / 2);
        let mut square = Array2::from_elem((side, side), value);
        square.slice_mut(s![top..top + rows, left..left + cols]).assign(&self.pixels);
        self.pixels = square.into();
        let shift = [top as isize, left as isize];
        self.geometry = self.geometry.clone().shifted(shift, [side, side]);
    }

    fn normalize(&mut self, mean: &[f32], std: &[f32]) {
        let of = |values: &[f32], channel: usize| values.get(channel).copied().unwrap_or(values[0]);
        self.differ |= mean.len().max(std.len()) > 1;
        for (channel, finish) in self.finish.iter_mut().enumerate() {
            let (mean, std) = (of(mean, channel), of(std, channel));
            *finish = [finish[0] / std, (finish[1] - mean) / std];
        }
    }

    fn serve(self) -> (Array3<f32>, Geometry) {
        let (height, width) = self.pixels.dim();
        let mut served = Array3::zeros((self.channels, height, width)); // (C, H, W)
        for (mut channel, [scale, shift]) in served.axis_iter_mut(Axis(0)).zip(self.finish) {
            channel.zip_mut_with(&self.pixels, |place, &v| *place = v * scale + shift);
        }
        (served, self.geometry)
    }
}

/// The value below which `percent` of the sorted values lie, interpolated linearly.
pub(super) fn percentile(sorted: &[f32], percent: f32) -> f32 {
    let at = f64::from(percent) / 100.0 * (sorted.len() - 1) as f64;
    let (low, high) = (at.floor() as usize, at.ceil() as usize);
    let weight = (at - at.floor()) as f32;
    sorted[low] * (1.0 - weight) + sorted[high] * weight
}

#[cfg(test)]
mod tests {
    use super::*;

    fn film(rows: usize, cols: usize) -> Image {
        let pixels = Array2::from_shape_fn((rows, cols), |(r, c)| ((r * 13 + c * 7) % 50) as f32);
        Image { range: Some([0.0, 100.0]), ..Image::from_pixels(pixels) }
    }

    #[test]
    fn the_film_recipe_honours_the_range_and_pads_with_black() {
        let (pixels, geometry) = Recipe::film(32).apply(&film(20, 40)).unwrap();
        assert_eq!(pixels.dim(), (1, 32, 32));
        assert!(pixels[[0, 0, 0]].abs() < 1e-6 && pixels[[0, 31, 31]].abs() < 1e-6);
        assert!(pixels.iter().all(|v| (0.0..=0.5).contains(v)), "49 of 100 is the highest");
        let placed = geometry.box_to_model([0.0, 0.0, 40.0, 20.0]);
        let wanted = [0.0, 8.0, 32.0, 24.0];
        assert!(placed.iter().zip(wanted).all(|(p, w): (&f64, f64)| (p - w).abs() < 1e-9));
    }

    #[test]
    fn a_nan_pixel_is_named() {
        let mut image = film(3, 3);
        image.pixels[[1, 2]] = f32::NAN;
        let error = Recipe::film(8).apply(&image).unwrap_err().to_string();
        assert_eq!(error, "image: expected finite pixels, found NaN at row 1, column 2");
    }

    #[test]
    fn every_preset_has_the_shape_it_promises() {
        for name in Recipe::presets() {
            let recipe = Recipe::preset(name).unwrap();
            recipe.validate().unwrap();
            let promised = recipe.output_shape().unwrap_or_default();
            let (pixels, _) = recipe.apply(&film(61, 47)).unwrap();
            assert_eq!(pixels.shape(), promised, "{name}");
            assert_eq!(Recipe::from_json(&recipe.to_json()).unwrap(), recipe);
        }
    }

    #[test]
    fn a_misspelt_step_is_named() {
        let error = Recipe::from_json(r#"{"steps":[{"step":"quantize","bit":8}]}"#).unwrap_err();
        assert!(error.to_string().contains("unknown field `bit`"), "{error}");
        let error = Recipe::from_json(r#"{"steps":[{"step":"quantize","bits":0}]}"#).unwrap_err();
        assert_eq!(error.to_string(), "config field `steps[0]`: bits is 0, expected 1 to 16");
    }
}
