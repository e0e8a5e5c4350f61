//! Lungs and heart of a chest CT, found without any learnt model: the same answer every time.
//!
//! The volume is averaged to blocks of about 3 mm; there, air inside the body is found, the airway
//! is followed from the top and taken out, and what remains is divided into two lungs, closed over
//! vessels and filled. The heart is only a box: the soft tissue between the lungs, in front of the
//! spine. Dense lungs (consolidation, effusion) are missed where they are dense; scans that show
//! no lung have no boxes.

mod airway;
mod heart;
mod lungs;
mod morphology;

use ndarray::{Array3, ArrayView3};

use super::{Grid, Volume, VolumeGeometry};
use crate::{Error, Result};

/// Length of a block in mm, at least.
const BLOCK: f64 = 3.0;

/// An organ that has a box.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Organ {
    /// The lung on the patient's left.
    LeftLung,
    /// The lung on the patient's right.
    RightLung,
    /// Both lungs.
    Lungs,
    /// The heart with the roots of its vessels.
    Heart,
}

impl Organ {
    /// All organs, by name.
    pub const NAMED: [(&'static str, Self); 4] = [
        ("left_lung", Self::LeftLung),
        ("right_lung", Self::RightLung),
        ("lungs", Self::Lungs),
        ("heart", Self::Heart),
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        let found = Self::NAMED.iter().find(|(_, organ)| *organ == self);
        found.map_or("", |(name, _)| name)
    }
}

/// A box of voxels: z0, y0, x0, z1, y1, x1, the last ones not included.
pub type Edges = [i64; 6];

/// What was found in a volume.
#[derive(Clone, Debug)]
pub struct Organs {
    /// For each voxel 0, or [`Organs::RIGHT`] or [`Organs::LEFT`] for the lung it is in.
    pub labels: Array3<u8>,
    right: Option<Edges>,
    left: Option<Edges>,
    heart: Option<Edges>,
}

impl Organs {
    /// The label of the right lung.
    pub const RIGHT: u8 = 1;
    /// The label of the left lung.
    pub const LEFT: u8 = 2;

    /// The box around an organ, in voxels of the volume; none where it was not found.
    pub fn edges(&self, organ: Organ) -> Option<Edges> {
        match organ {
            Organ::RightLung => self.right,
            Organ::LeftLung => self.left,
            Organ::Heart => self.heart,
            Organ::Lungs => {
                match (self.right, self.left) {
                    (Some(a), Some(b)) => Some(std::array::from_fn(|i| {
                        if i < 3 { a[i].min(b[i]) } else { a[i].max(b[i]) }
                    })),
                    (one, other) => one.or(other),
                }
            }
        }
    }
}

impl Volume {
    /// Finds the lungs and the heart of a chest CT in Hounsfield units.
    pub fn organs(&self) -> Result<Organs> {
        let lowest = self.voxels.iter().copied().fold(f32::INFINITY, f32::min);
        if lowest > -500.0 {
            let why = format!("expected a CT in Hounsfield units, found no value below {lowest}");
            return Err(Error::value("volume", why));
        }
        let turn = self.grid.turn_to("LPS")?;
        let upright = super::volume::turned_view(self.voxels.view(), turn);
        let grid = self.grid.turned(turn);
        let (coarse, blocks) = averaged(upright, &grid);
        let found = lungs::find(&coarse, blocks.spacing);
        let map = VolumeGeometry { original: self.grid.clone(), model: blocks };
        let heart = heart::find(&coarse, &found, map.model.spacing);
        let heart = heart.map(|edges| whole(map.box_to_original(edges)));
        let labels = map.majority(&found)?;
        let edges = |label| around(&labels, label);
        Ok(Organs { right: edges(Organs::RIGHT), left: edges(Organs::LEFT), heart, labels })
    }
}

/// A box of whole voxels around one at any place.
fn whole(edges: [f64; 6]) -> Edges {
    std::array::from_fn(|i| if i < 3 { edges[i].floor() as i64 } else { edges[i].ceil() as i64 })
}

/// Means of whole blocks of voxels, and the grid that they make.
fn averaged(voxels: ArrayView3<'_, f32>, grid: &Grid) -> (Array3<f32>, Grid) {
    use ndarray::parallel::prelude::*;

    let times: [usize; 3] = std::array::from_fn(|axis| {
        ((BLOCK / grid.spacing[axis]).round() as usize).clamp(1, grid.shape[axis])
    });
    // What does not fill a block at the far end is left out.
    let shape: [usize; 3] = std::array::from_fn(|axis| grid.shape[axis] / times[axis]);
    let covered: [usize; 3] = std::array::from_fn(|axis| shape[axis] * times[axis]);
    let mut means = Array3::zeros(shape);
    let count = times.iter().product::<usize>() as f32;
    means.axis_iter_mut(ndarray::Axis(0)).into_par_iter().enumerate().for_each(|(z, mut plane)| {
        for dz in 0..times[0] {
            let slice = voxels.index_axis(ndarray::Axis(0), z * times[0] + dz);
            for ((y, x), sum) in plane.indexed_iter_mut() {
                for dy in 0..times[1] {
                    for dx in 0..times[2] {
                        // Below air there is only padding.
                        let value = slice[[y * times[1] + dy, x * times[2] + dx]];
                        *sum += value.max(-1024.0) / count;
                    }
                }
            }
        }
    });
    (means, grid.cropped([0; 3], covered).resized(shape))
}

/// The box around the voxels of a label.
fn around(labels: &Array3<u8>, label: u8) -> Option<Edges> {
    let mut edges: Option<Edges> = None;
    for ((z, y, x), _) in labels.indexed_iter().filter(|(_, value)| **value == label) {
        let at = [z as i64, y as i64, x as i64];
        let own = edges.get_or_insert([at[0], at[1], at[2], at[0] + 1, at[1] + 1, at[2] + 1]);
        for axis in 0..3 {
            own[axis] = own[axis].min(at[axis]);
            own[axis + 3] = own[axis + 3].max(at[axis] + 1);
        }
    }
    edges
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A body with two lungs, a heart between them and a trachea above, at 3 mm.
    fn chest() -> Volume {
        let inside = |at: [f64; 3], centre: [f64; 3], half: [f64; 3]| {
            (0..3).map(|a| ((at[a] - centre[a]) / half[a]).powi(2)).sum::<f64>() < 1.0
        };
        let voxels = Array3::from_shape_fn((100, 90, 120), |(z, y, x)| {
            let at = [z as f64, y as f64, x as f64];
            if !inside([50.0, at[1], at[2]], [50.0, 45.0, 60.0], [1e9, 38.0, 55.0]) {
                return -1000.0;
            }
            if inside(at, [42.0, 38.0, 64.0], [18.0, 16.0, 17.0]) {
                return 45.0;
            }
            if inside([z.max(60) as f64, at[1], at[2]], [60.0, 50.0, 60.0], [60.0, 3.0, 3.0])
                && z >= 60
            {
                return -1000.0;
            }
            let lung = |x: f64| inside(at, [50.0, 45.0, x], [42.0, 28.0, 19.0]);
            if lung(34.0) || lung(86.0) { -850.0 } else { 40.0 }
        });
        let mut volume = Volume::new(voxels, Grid::new([100, 90, 120], [3.0; 3])).unwrap();
        volume.modality = "CT".to_owned();
        volume
    }

    #[test]
    fn lungs_are_told_apart_and_the_airway_is_none_of_them() {
        let volume = chest();
        let organs = volume.organs().unwrap();
        let right = organs.edges(Organ::RightLung).unwrap();
        let left = organs.edges(Organ::LeftLung).unwrap();
        for (found, wanted) in [(right, [8, 17, 15, 92, 73, 53]), (left, [8, 17, 67, 92, 73, 105])]
        {
            assert!(
                found.iter().zip(wanted).all(|(f, w)| (f - w).abs() <= 3),
                "{found:?} {wanted:?}"
            );
        }
        assert_eq!(organs.labels[[90, 50, 60]], 0);
        assert_eq!(organs.labels[[50, 45, 30]], Organs::RIGHT);
        assert_eq!(organs.labels[[50, 45, 92]], Organs::LEFT);
    }

    #[test]
    fn the_heart_lies_between_the_lungs() {
        let found = chest().organs().unwrap().edges(Organ::Heart).unwrap();
        let wanted = [24, 22, 47, 60, 54, 81];
        let across = [1, 2, 4, 5];
        assert!(
            across.iter().all(|&side| (found[side] - wanted[side]).abs() <= 9),
            "{found:?} {wanted:?}"
        );
        // Upwards and downwards the mediastinum has no end that shows: the box holds the heart
        // and stays beside the lungs.
        let lungs = chest().organs().unwrap().edges(Organ::Lungs).unwrap();
        assert!(found[0] <= wanted[0] && found[3] >= wanted[3], "{found:?} {wanted:?}");
        assert!(found[0] >= lungs[0] && found[3] <= lungs[3], "{found:?} {lungs:?}");
    }

    #[test]
    fn the_orientation_of_the_array_does_not_matter() {
        let volume = chest();
        let (one, other) = (volume.organs().unwrap(), volume.reorient("SRA").unwrap());
        let turned = other.organs().unwrap();
        let map = VolumeGeometry { original: other.grid, model: volume.grid };
        let box_of = |organs: &Organs| organs.edges(Organ::LeftLung).unwrap().map(|v| v as f64);
        let there = map.box_to_model(box_of(&turned));
        assert!(there.iter().zip(box_of(&one)).all(|(a, b)| (a - b).abs() <= 2.0));
    }

    #[test]
    fn what_is_no_ct_is_refused_and_what_has_no_lungs_has_no_boxes() {
        let grid = Grid::new([4, 5, 6], [1.0; 3]);
        let bright = Volume::new(Array3::from_elem((4, 5, 6), 80.0), grid.clone()).unwrap();
        let error = bright.organs().unwrap_err().to_string();
        assert!(error.starts_with("volume: expected a CT in Hounsfield units"), "{error}");
        let air = Volume::new(Array3::from_elem((4, 5, 6), -1000.0), grid).unwrap();
        let organs = air.organs().unwrap();
        assert!(Organ::NAMED.iter().all(|(_, organ)| organs.edges(*organ).is_none()));
    }
}
