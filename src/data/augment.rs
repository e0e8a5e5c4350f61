//! Random changes that leave the diagnosis: small moves, light, noise, blur, erased patches.
//!
//! Films are (C, H, W) with black 0 and white 1. All channels move alike.

use ndarray::Array3;
use serde::{Deserialize, Serialize};

use super::warp::{Affine, blur};
use crate::random::Random;
use crate::{Error, Result};

/// How films are changed at random; every amount 0 (or 1 for factors) changes nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Augment {
    /// Largest rotation either way, in degrees.
    pub rotate: f64,
    /// Smallest and largest magnification.
    pub scale: [f64; 2],
    /// Largest shift either way, as a part of the side.
    pub translate: f64,
    /// Largest shear either way, in degrees.
    pub shear: f64,
    /// Probability of a left-right flip. Keep 0 where sides matter: a flipped film shows the heart
    /// on the right, and "left effusion" becomes wrong.
    pub flip: f64,
    /// Largest value added or taken away.
    pub brightness: f64,
    /// Largest change of contrast: 0.2 draws a factor from 0.8 to 1.2.
    pub contrast: f64,
    /// Smallest and largest exponent.
    pub gamma: [f64; 2],
    /// Largest standard deviation of the noise. Its bell curve ends at 3.5 standard deviations.
    pub noise: f64,
    /// Largest standard deviation of the blur, in pixels.
    pub blur: f64,
    /// Probability of an erased patch.
    pub erase: f64,
    /// Smallest and largest part of the film that a patch takes.
    pub erase_area: [f64; 2],
}

impl Default for Augment {
    fn default() -> Self {
        Self::none()
    }
}

impl Augment {
    /// No change.
    pub fn none() -> Self {
        Self {
            rotate: 0.0,
            scale: [1.0, 1.0],
            translate: 0.0,
            shear: 0.0,
            flip: 0.0,
            brightness: 0.0,
            contrast: 0.0,
            gamma: [1.0, 1.0],
            noise: 0.0,
            blur: 0.0,
            erase: 0.0,
            erase_area: [0.02, 0.1],
        }
    }

    /// Changes that a chest film may show by positioning and exposure; sides are kept.
    pub fn film() -> Self {
        Self {
            rotate: 8.0,
            scale: [0.9, 1.1],
            translate: 0.05,
            shear: 3.0,
            brightness: 0.1,
            contrast: 0.2,
            gamma: [0.8, 1.25],
            noise: 0.02,
            blur: 0.5,
            ..Self::none()
        }
    }

    /// Reads amounts from JSON; a misspelt or impossible one is an error that names it.
    pub fn from_json(text: &str) -> Result<Self> {
        let augment: Self =
            serde_json::from_str(text).map_err(|why| Error::config("augment", why.to_string()))?;
        augment.validate()?;
        Ok(augment)
    }

    /// The amounts as JSON.
    pub fn to_json(&self) -> String {
        // Numbers and names always serialise.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Fails on amounts without meaning.
    pub fn validate(&self) -> Result<()> {
        let limits = [
            ("rotate", self.rotate, 180.0),
            ("translate", self.translate, 1.0),
            ("shear", self.shear, 60.0),
            ("flip", self.flip, 1.0),
            ("brightness", self.brightness, 1.0),
            ("contrast", self.contrast, 1.0),
            ("noise", self.noise, 1.0),
            ("blur", self.blur, 10.0),
            ("erase", self.erase, 1.0),
        ];
        for (field, value, most) in limits {
            if !(0.0..=most).contains(&value) {
                let why = format!("found {value}, expected 0 to {most}");
                return Err(Error::config(format!("augment.{field}"), why));
            }
        }
        let ranges = [
            ("scale", self.scale, 0.1, 10.0),
            ("gamma", self.gamma, 0.1, 10.0),
            ("erase_area", self.erase_area, 0.0, 1.0),
        ];
        for (field, [low, high], least, most) in ranges {
            if !(least <= low && low <= high && high <= most) {
                let why = format!(
                    "found [{low}, {high}], expected two rising numbers from {least} to {most}"
                );
                return Err(Error::config(format!("augment.{field}"), why));
            }
        }
        Ok(())
    }

    /// Changes `pixels` (C, H, W), black 0 and white 1, with numbers drawn from `random`.
    pub fn apply(&self, pixels: &mut Array3<f32>, random: &mut Random) {
        if *self == Self::none() || pixels.is_empty() {
            return;
        }
        let (_, height, width) = pixels.dim();
        let affine = self.affine(height, width, random);
        let sigma = random.range(0.0, self.blur);
        let light = Light {
            contrast: random.range(1.0 - self.contrast, 1.0 + self.contrast) as f32,
            brightness: random.range(-self.brightness, self.brightness) as f32,
            gamma: random.range(self.gamma[0].ln(), self.gamma[1].ln()).exp() as f32,
            noise: random.range(0.0, self.noise) as f32,
        };
        let curve = light.curve();
        let patch = self.patch(height, width, random);
        for mut channel in pixels.outer_iter_mut() {
            if let Some(affine) = &affine {
                let moved = affine.sample(&channel.view());
                channel.assign(&moved);
            }
            if sigma > 0.1 {
                blur(&mut channel, sigma as f32);
            }
            channel.mapv_inplace(|value| {
                let place = value.clamp(0.0, 1.0) * LEVELS as f32;
                let step = place as usize;
                (curve[step + 1] - curve[step]) * (place - step as f32) + curve[step]
            });
        }
        light.add_noise(pixels, random);
        if let Some(patch) = patch {
            erase(pixels, patch);
        }
    }

    /// As [`Self::apply`], for films whose black and white are `ranges`, one pair for each channel
    /// or one for all; none means 0 and 1.
    pub fn apply_between(
        &self,
        pixels: &mut Array3<f32>,
        ranges: &[[f32; 2]],
        random: &mut Random,
    ) {
        if *self == Self::none() {
            return;
        }
        let range = |channel: usize| ranges.get(channel).or(ranges.first());
        let spread = |range: &[f32; 2]| (range[1] - range[0]).max(f32::MIN_POSITIVE);
        for (number, mut channel) in pixels.outer_iter_mut().enumerate() {
            if let Some(range) = range(number) {
                channel.mapv_inplace(|value| (value - range[0]) / spread(range));
            }
        }
        self.apply(pixels, random);
        for (number, mut channel) in pixels.outer_iter_mut().enumerate() {
            if let Some(range) = range(number) {
                channel.mapv_inplace(|value| value * spread(range) + range[0]);
            }
        }
    }

    /// The move that was drawn; `None` when nothing moves.
    fn affine(&self, height: usize, width: usize, random: &mut Random) -> Option<Affine> {
        let angle = random.range(-self.rotate, self.rotate).to_radians();
        let scale = random.range(self.scale[0].ln(), self.scale[1].ln()).exp();
        let shift =
            [height, width].map(|side| random.range(-self.translate, self.translate) * side as f64);
        let shear = random.range(-self.shear, self.shear).to_radians().tan();
        let flip = random.chance(self.flip);
        let moves = self.rotate + self.translate + self.shear > 0.0
            || self.scale[0] < 1.0
            || self.scale[1] > 1.0;
        (moves || flip)
            .then(|| Affine::about_centre([height, width], angle, scale, shift, shear, flip))
    }

    /// Top, left, bottom and right of the patch that is erased.
    fn patch(&self, height: usize, width: usize, random: &mut Random) -> Option<[usize; 4]> {
        if !random.chance(self.erase) {
            return None;
        }
        let area = random.range(self.erase_area[0], self.erase_area[1]);
        let aspect = random.range(-0.7, 0.7).exp().sqrt(); // sides from 1:2 to 2:1
        let side = |length: usize, factor: f64| {
            ((area.sqrt() * factor * length as f64).round() as usize).min(length)
        };
        let (rows, columns) = (side(height, aspect), side(width, 1.0 / aspect));
        let (top, left) = (random.below(height - rows + 1), random.below(width - columns + 1));
        Some([top, left, top + rows, left + columns])
    }
}

/// Makes a patch (top, left, bottom, right) of every channel black.
fn erase(pixels: &mut Array3<f32>, [top, left, bottom, right]: [usize; 4]) {
    pixels.slice_mut(ndarray::s![.., top..bottom, left..right]).fill(0.0);
}

/// Steps of the exposure curve; between them it is linear.
const LEVELS: usize = 1024;

/// A change of exposure.
struct Light {
    contrast: f32,
    brightness: f32,
    gamma: f32,
    noise: f32,
}

impl Light {
    /// The new value of each of the old values 0, 1/1024, …, 1: a power costs more than a look-up.
    fn curve(&self) -> Vec<f32> {
        let value = |step: usize| {
            let value = step as f32 / LEVELS as f32;
            let value = ((value - 0.5) * self.contrast + 0.5 + self.brightness).clamp(0.0, 1.0);
            value.powf(self.gamma)
        };
        (0..=LEVELS + 1).map(|step| value(step.min(LEVELS))).collect()
    }

    /// Adds bell-shaped noise: the sum of four uniform 16-bit numbers, one draw for each value.
    fn add_noise(&self, pixels: &mut Array3<f32>, random: &mut Random) {
        if self.noise < 1e-6 {
            return;
        }
        // Four uniforms of width 2^16 have the standard deviation 2^16 * sqrt(4 / 12).
        let scale = self.noise / (65536.0 / 3.0f32.sqrt());
        for value in pixels {
            let bits = random.bits();
            let sum: u64 = (0..4).map(|part| (bits >> (16 * part)) & 0xffff).sum();
            *value = ((sum as f32 - 131_070.0) * scale + *value).clamp(0.0, 1.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(side: usize) -> Array3<f32> {
        Array3::from_shape_fn((1, side, side), |(_, r, c)| (r + c) as f32 / (2 * side) as f32)
    }

    #[test]
    fn the_same_stream_gives_the_same_film_and_another_another() {
        let film = |seed| {
            let mut pixels = ramp(32);
            Augment::film().apply(&mut pixels, &mut Random::new(seed, &[1, 2]));
            pixels
        };
        assert_eq!(film(1), film(1));
        assert_ne!(film(1), film(2));
        assert!(film(1).iter().all(|v| (0.0..=1.0).contains(v)));
    }

    #[test]
    fn none_changes_nothing_and_a_flip_mirrors() {
        let mut pixels = ramp(9);
        Augment::none().apply(&mut pixels, &mut Random::new(0, &[]));
        assert_eq!(pixels, ramp(9));
        let flip = Augment { flip: 1.0, ..Augment::none() };
        flip.apply(&mut pixels, &mut Random::new(0, &[]));
        let mirrored = ramp(9).slice_move(ndarray::s![.., .., ..;-1]);
        let worst = (&pixels - &mirrored).mapv(f32::abs).fold(0.0f32, |a, &b| a.max(b));
        assert!(worst < 1e-6, "{worst}");
    }

    #[test]
    fn noise_has_the_standard_deviation_asked_for() {
        let light = Light { contrast: 1.0, brightness: 0.0, gamma: 1.0, noise: 0.05 };
        let mut pixels = Array3::from_elem((1, 200, 200), 0.5);
        light.add_noise(&mut pixels, &mut Random::new(0, &[]));
        let (mean, deviation) = (pixels.mean().unwrap(), pixels.std(0.0));
        assert!((mean - 0.5).abs() < 1e-3 && (deviation - 0.05).abs() < 1e-3);
    }

    #[test]
    fn an_erased_patch_has_the_area_asked_for() {
        let augment = Augment { erase: 1.0, erase_area: [0.1, 0.1], ..Augment::none() };
        for seed in 0..20 {
            let mut pixels = Array3::from_elem((1, 50, 80), 1.0);
            augment.apply(&mut pixels, &mut Random::new(seed, &[]));
            let part = 1.0 - pixels.mean().unwrap();
            assert!((part - 0.1).abs() < 0.01, "{part}");
        }
    }

    #[test]
    fn other_ranges_give_the_same_film_in_their_own_values() {
        let (mut plain, mut ranged) = (ramp(32), ramp(32).mapv(|v| v * 4.0 - 2.0));
        Augment::film().apply(&mut plain, &mut Random::new(3, &[]));
        let ranges = [[-2.0, 2.0]];
        Augment::film().apply_between(&mut ranged, &ranges, &mut Random::new(3, &[]));
        let worst = (plain * 4.0 - 2.0 - ranged).mapv(f32::abs).fold(0.0f32, |a, &b| a.max(b));
        assert!(worst < 1e-5, "{worst}");
    }

    #[test]
    fn senseless_amounts_name_their_field() {
        let wrong = Augment { flip: 1.5, ..Augment::none() };
        let error = wrong.validate().unwrap_err().to_string();
        assert_eq!(error, "config field `augment.flip`: found 1.5, expected 0 to 1");
        let wrong = Augment { scale: [1.2, 0.8], ..Augment::none() };
        assert!(wrong.validate().unwrap_err().to_string().contains("`augment.scale`"));
        Augment::film().validate().unwrap();
    }

    #[test]
    fn a_small_film_takes_less_than_half_a_millisecond() {
        let mut pixels = ramp(128);
        let start = std::time::Instant::now();
        for sample in 0..200 {
            Augment::film().apply(&mut pixels, &mut Random::new(0, &[sample]));
        }
        let each = start.elapsed() / 200;
        eprintln!("augmentation of 128 x 128: {each:?}");
        // Ten times the goal: a machine under load must not fail the suite.
        assert!(each < std::time::Duration::from_millis(5), "{each:?}");
    }

    #[test]
    fn any_size_of_film_is_taken() {
        for (height, width) in [(1, 1), (1, 7), (2, 300), (33, 5)] {
            let mut pixels = Array3::from_elem((2, height, width), 0.5);
            let augment = Augment { erase: 1.0, flip: 0.5, blur: 3.0, ..Augment::film() };
            augment.apply(&mut pixels, &mut Random::new(0, &[]));
            assert!(pixels.iter().all(|v| v.is_finite()));
        }
    }
}
