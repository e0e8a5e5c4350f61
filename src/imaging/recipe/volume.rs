//! A recipe at work on a volume: the same steps as for films, and those that only volumes know.

use ndarray::{Array4, Axis};

use super::{Intensity, Recipe, Step, VoxelSize};
use crate::imaging::{Grid, HuWindow, Organ, Volume, VolumeGeometry};
use crate::{Error, Result};

/// What a recipe makes of a volume.
#[derive(Clone, Debug)]
pub struct VolumeInput {
    /// Values (C, D, H, W).
    pub voxels: Array4<f32>,
    /// The map between the volume as it was read and the voxels.
    pub geometry: VolumeGeometry,
    /// Size of a voxel (z, y, x) in mm that the model is to be told: the true one, unless a step
    /// of the recipe says otherwise.
    pub voxel_size: [f64; 3],
}

/// A volume between two steps.
struct Dish {
    volume: Volume,
    channels: usize,
    /// What each channel is still to be multiplied by and raised by.
    finish: Vec<[f32; 2]>,
    normalized: bool,
    /// The spacing that a released model was told instead of the true one.
    told: Option<[f64; 3]>,
}

impl Recipe {
    /// Makes a model's input (C, D, H, W) of a volume, with the map back to the patient.
    pub fn apply_volume(&self, volume: &Volume) -> Result<VolumeInput> {
        self.validate()?;
        let mut dish = Dish {
            volume: volume.reorient("LPS")?,
            channels: 1,
            finish: vec![[1.0, 0.0]],
            normalized: false,
            told: None,
        };
        for (index, step) in self.steps.iter().enumerate() {
            dish.cook(step, index)?;
        }
        dish.serve()
    }
}

impl Dish {
    fn cook(&mut self, step: &Step, index: usize) -> Result<()> {
        match step {
            Step::Channels { count } => {
                self.channels = *count;
                self.finish = vec![self.finish[0]; *count];
            }
            Step::Normalize { mean, std } => {
                self.normalized = true;
                let of = |values: &[f32], channel: usize| {
                    values.get(channel).copied().unwrap_or(values[0])
                };
                for (channel, finish) in self.finish.iter_mut().enumerate() {
                    let (mean, std) = (of(mean, channel), of(std, channel));
                    *finish = [finish[0] / std, (finish[1] - mean) / std];
                }
            }
            Step::Resample { spacing, kernel } => {
                self.volume = self.volume.resample(*spacing, *kernel)?;
            }
            Step::ResizeVolume { depth, height, width, kernel } => {
                self.volume = self.volume.resize([*depth, *height, *width], *kernel)?;
            }
            Step::CropOrgan { organ, depth, height, width, voxel_size } => {
                self.crop(*organ, [*depth, *height, *width], *voxel_size)?;
            }
            // Steps that look at the values need those of the volume.
            _ if self.normalized => {
                let why = format!("{step} cannot follow a normalisation");
                return Err(Error::config(format!("steps[{index}]"), why));
            }
            Step::Rescale { from } => {
                let window = self.ends(*from)?;
                self.volume = self.volume.window(window);
            }
            Step::Window { center, width } => {
                let window = HuWindow::new(center - width / 2.0, center + width / 2.0)?;
                self.volume = self.volume.window(window);
            }
            Step::Invert {} => self.volume.voxels.mapv_inplace(|v| 1.0 - v),
            Step::Quantize { bits } => {
                let levels = ((1u32 << bits) - 1) as f32;
                let rounded = |v: f32| (v.clamp(0.0, 1.0) * levels).round() / levels;
                self.volume.voxels.mapv_inplace(rounded);
            }
            Step::Frontal {}
            | Step::Resize { .. }
            | Step::ResizeShortest { .. }
            | Step::CenterCrop { .. }
            | Step::PadToSquare { .. } => {
                let why = format!("{step} is for films; volumes have resize_volume and resample");
                return Err(Error::config(format!("steps[{index}]"), why));
            }
        }
        Ok(())
    }

    fn crop(&mut self, organ: Organ, size: [usize; 3], told: VoxelSize) -> Result<()> {
        let edges = self.volume.organs()?.edges(organ).ok_or_else(|| {
            let why = format!("expected a chest CT with {}, found none", organ.name());
            Error::value("volume", why)
        })?;
        let before = self.volume.grid.spacing;
        self.volume = self.volume.crop_resize(edges, size)?;
        if told == VoxelSize::Released {
            self.told = Some(before);
        }
        Ok(())
    }

    fn ends(&self, from: Intensity) -> Result<HuWindow> {
        let values = &self.volume.voxels;
        let (low, high) = match from {
            Intensity::Fixed { low, high } => (low, high),
            Intensity::Range | Intensity::MinMax | Intensity::Stretch => values
                .iter()
                .fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), &v| (l.min(v), h.max(v))),
            Intensity::Percentile { low, high } => {
                let mut sorted: Vec<f32> = values.iter().copied().collect();
                sorted.sort_unstable_by(f32::total_cmp);
                let at = |percent| super::apply::percentile(&sorted, percent);
                (at(low), at(high))
            }
        };
        // A volume of one value has nothing to show: it becomes black.
        HuWindow::new(low, if high > low { high } else { low + 1.0 })
    }

    fn serve(self) -> Result<VolumeInput> {
        let [depth, height, width] = self.volume.grid.shape;
        crate::imaging::grid::check_shape("channels", [self.channels, depth, height * width])?;
        let mut voxels = Array4::zeros((self.channels, depth, height, width)); // (C, D, H, W)
        for (mut channel, [scale, shift]) in voxels.axis_iter_mut(Axis(0)).zip(self.finish) {
            channel.zip_mut_with(&self.volume.voxels, |place, &v| *place = v * scale + shift);
        }
        let grid: &Grid = &self.volume.grid;
        let voxel_size = self.told.unwrap_or(grid.spacing);
        Ok(VolumeInput { voxels, geometry: self.volume.geometry(), voxel_size })
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array3;

    use super::*;

    fn volume() -> Volume {
        let voxels = Array3::from_shape_fn((6, 8, 10), |(z, y, x)| (z * 80 + y * 10 + x) as f32);
        Volume::new(voxels, Grid::new([6, 8, 10], [2.0, 1.0, 1.0])).unwrap()
    }

    #[test]
    fn steps_of_films_and_of_volumes_make_one_input() {
        let text = r#"{"steps":[{"step":"resize_volume","depth":3,"height":4,"width":5,"kernel":"bilinear"},
            {"step":"window","center":200.0,"width":400.0},{"step":"channels","count":3},
            {"step":"normalize","mean":[0.5],"std":[0.5]}]}"#;
        let recipe = Recipe::from_json(text).unwrap();
        let input = recipe.apply_volume(&volume().reorient("RAS").unwrap()).unwrap();
        assert_eq!(input.voxels.dim(), (3, 3, 4, 5));
        assert!(input.voxel_size.iter().zip([4.0, 2.0, 2.0]).all(|(a, b)| (a - b).abs() < 1e-9));
        assert!(input.voxels.iter().all(|v| (-1.0..=1.0).contains(v)));
        assert_eq!(input.geometry.model.orientation(), "LPS");
        assert_eq!(Recipe::from_json(&recipe.to_json()).unwrap().hash(), recipe.hash());
    }

    #[test]
    fn steps_of_the_other_kind_are_named() {
        let error = Recipe::film(8).apply_volume(&volume()).unwrap_err().to_string();
        assert!(error.starts_with("config field `steps[1]`: pad to a square"), "{error}");
        let recipe = Recipe::volume_preset("m3fm-heart").unwrap();
        let film = crate::imaging::Image::from_pixels(ndarray::Array2::zeros((4, 4)));
        let error = recipe.apply(&film).unwrap_err().to_string();
        assert!(error.starts_with("config field `steps[0]`: crop to the heart"), "{error}");
    }

    #[test]
    fn every_volume_preset_is_sound() {
        for name in Recipe::volume_presets() {
            let recipe = Recipe::volume_preset(name).unwrap();
            recipe.validate().unwrap();
            assert_eq!(Recipe::from_json(&recipe.to_json()).unwrap(), recipe, "{name}");
        }
    }
}
