//! The map between a volume as it was read and what became of it, both ways.
//!
//! Both are grids in the same patient, so every turn, crop, pad and resize between them is known
//! without being recorded. Points are (z, y, x) in continuous voxels, boxes [z0, y0, x0, z1, y1,
//! x1] at voxel edges.

use ndarray::parallel::prelude::*;
use ndarray::{Array3, ArrayView3, Axis};
use serde::{Deserialize, Serialize};

use super::Grid;
use super::volume::room;
use crate::{Error, Result};

/// Two grids over one patient.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VolumeGeometry {
    /// The grid of the volume as it was read.
    pub original: Grid,
    /// The grid that the model sees.
    pub model: Grid,
}

impl VolumeGeometry {
    /// Checks a map that came from outside.
    pub fn validate(&self) -> Result<()> {
        self.original.validate()?;
        self.model.validate()
    }

    /// A point of the original volume, as a point of the model's.
    pub fn to_model(&self, at: [f64; 3]) -> [f64; 3] {
        self.model.to_voxel(self.original.to_patient(at))
    }

    /// A point of the model's volume, as a point of the original.
    pub fn to_original(&self, at: [f64; 3]) -> [f64; 3] {
        self.original.to_voxel(self.model.to_patient(at))
    }

    /// A box of the original volume on the model's, clipped to it; a box outside becomes empty.
    pub fn box_to_model(&self, edges: [f64; 6]) -> [f64; 6] {
        around(edges, self.model.shape, |at| self.to_model(at))
    }

    /// A box of the model's volume on the original, clipped to it; a box outside becomes empty.
    pub fn box_to_original(&self, edges: [f64; 6]) -> [f64; 6] {
        around(edges, self.original.shape, |at| self.to_original(at))
    }

    /// A mask of the original volume on the model's, by the nearest voxel; padding is false.
    pub fn mask_to_model(&self, mask: ArrayView3<'_, bool>) -> Result<Array3<bool>> {
        if mask.shape() != self.original.shape {
            let [d, h, w] = self.original.shape;
            return Err(Error::shape("mask", format!("({d}, {h}, {w})"), mask.shape()));
        }
        let map = Affine::between(&self.model, &self.original, self.original.shape);
        nearest(mask, self.model.shape, &map)
    }

    /// A mask over the model's volume, of any resolution, on the original, by the nearest voxel;
    /// what the model did not see is false.
    pub fn mask_to_original(&self, mask: ArrayView3<'_, bool>) -> Result<Array3<bool>> {
        let cells = cells("mask", mask.dim())?;
        let map = Affine::between(&self.original, &self.model, cells);
        nearest(mask, self.original.shape, &map)
    }

    /// A heat map over the model's volume, of any resolution (a grid of tokens, say), on the
    /// original, trilinearly; what the model did not see is 0.
    pub fn heatmap_to_original(&self, heat: ArrayView3<'_, f32>) -> Result<Array3<f32>> {
        let cells = cells("heat map", heat.dim())?;
        let map = Affine::between(&self.original, &self.model, cells);
        fill(self.original.shape, 0.0, |at| {
            let at = map.at(at);
            if voxel(at, cells).is_none() { 0.0 } else { between(cells, at, |at| heat[at]) }
        })
    }

    /// For each voxel of the original the number, from 1, of the first of the masks over the
    /// model's volume that mostly covers it, interpolated so that edges are smooth; 0 for none.
    pub(super) fn majority(&self, masks: &[Array3<bool>]) -> Result<Array3<u8>> {
        let cells = self.model.shape;
        let map = Affine::between(&self.original, &self.model, cells);
        fill(self.original.shape, 0, |at| {
            let at = map.at(at);
            if voxel(at, cells).is_none() {
                return 0;
            }
            let covers =
                |mask: &&Array3<bool>| between(cells, at, |at| f32::from(u8::from(mask[at]))) > 0.5;
            masks.iter().zip(1..).find(|(mask, _)| covers(mask)).map_or(0, |(_, number)| number)
        })
    }
}

/// The value at a place between eight cells; edges repeat.
fn between(cells: [usize; 3], at: [f64; 3], value: impl Fn([usize; 3]) -> f32) -> f32 {
    let [z, y, x] = [0, 1, 2].map(|a| neighbours(at[a], cells[a]));
    let row = |z: usize, y: usize| value([z, y, x.0]) * (1.0 - x.2) + value([z, y, x.1]) * x.2;
    let plane = |z: usize| row(z, y.0) * (1.0 - y.2) + row(z, y.1) * y.2;
    plane(z.0) * (1.0 - z.2) + plane(z.1) * z.2
}

impl std::fmt::Display for VolumeGeometry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} -> {}", self.original, self.model)
    }
}

/// From the voxels of one grid to the cells that another is cut into: a matrix and a shift.
struct Affine {
    matrix: [[f64; 3]; 3],
    shift: [f64; 3],
}

impl Affine {
    fn between(from: &Grid, to: &Grid, cells: [usize; 3]) -> Self {
        let scale: [f64; 3] = std::array::from_fn(|a| cells[a] as f64 / to.shape[a] as f64);
        let of = |at: [f64; 3]| {
            let place = to.to_voxel(from.to_patient(at));
            [0, 1, 2].map(|a| place[a] * scale[a])
        };
        let shift = of([0.0; 3]);
        let column = |axis: usize| {
            let mut at = [0.0; 3];
            at[axis] = 1.0;
            let end = of(at);
            [0, 1, 2].map(|a| end[a] - shift[a])
        };
        let [z, y, x] = [column(0), column(1), column(2)];
        Self { matrix: [0, 1, 2].map(|a| [z[a], y[a], x[a]]), shift }
    }

    /// Where the centre of a voxel lies.
    fn at(&self, [z, y, x]: [usize; 3]) -> [f64; 3] {
        let at = [z as f64 + 0.5, y as f64 + 0.5, x as f64 + 0.5];
        [0, 1, 2].map(|a| {
            let [p, q, r] = self.matrix[a];
            p * at[0] + q * at[1] + r * at[2] + self.shift[a]
        })
    }
}

fn nearest(mask: ArrayView3<'_, bool>, shape: [usize; 3], map: &Affine) -> Result<Array3<bool>> {
    let cells = <[usize; 3]>::from(mask.dim());
    fill(shape, false, |at| voxel(map.at(at), cells).is_some_and(|at| mask[at]))
}

/// A new array, each voxel from its place, in parallel.
fn fill<T: Copy + Send + Sync>(
    shape: [usize; 3],
    blank: T,
    of: impl Fn([usize; 3]) -> T + Sync,
) -> Result<Array3<T>> {
    let mut filled = room(shape, blank)?;
    filled.axis_iter_mut(Axis(0)).into_par_iter().enumerate().for_each(|(z, mut plane)| {
        for ((y, x), value) in plane.indexed_iter_mut() {
            *value = of([z, y, x]);
        }
    });
    Ok(filled)
}

fn cells(what: &str, (d, h, w): (usize, usize, usize)) -> Result<[usize; 3]> {
    if d == 0 || h == 0 || w == 0 {
        return Err(Error::shape(what, "three sides of at least 1", &[d, h, w]));
    }
    Ok([d, h, w])
}

/// The voxel that a place lies in, when it lies in one.
fn voxel(at: [f64; 3], shape: [usize; 3]) -> Option<[usize; 3]> {
    let inside = at.iter().zip(shape).all(|(at, side)| *at >= 0.0 && *at < side as f64);
    inside.then(|| at.map(|a| a as usize))
}

/// The two cells around a place and the weight of the second; edges repeat.
fn neighbours(at: f64, side: usize) -> (usize, usize, f32) {
    let at = (at - 0.5).clamp(0.0, side as f64 - 1.0);
    let low = at as usize;
    (low, (low + 1).min(side - 1), (at - low as f64) as f32)
}

/// The box around where the corners of a box go, clipped to a shape.
fn around(edges: [f64; 6], shape: [usize; 3], map: impl Fn([f64; 3]) -> [f64; 3]) -> [f64; 6] {
    let mut low = [f64::INFINITY; 3];
    let mut high = [f64::NEG_INFINITY; 3];
    for corner in 0..8 {
        let at = map([0, 1, 2].map(|a| edges[if corner >> a & 1 == 1 { a + 3 } else { a }]));
        for axis in 0..3 {
            low[axis] = low[axis].min(at[axis]);
            high[axis] = high[axis].max(at[axis]);
        }
    }
    let clip = |value: f64, axis: usize| value.clamp(0.0, shape[axis] as f64);
    std::array::from_fn(|i| if i < 3 { clip(low[i], i) } else { clip(high[i - 3], i - 3) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::grid::tests::grids;
    use super::*;

    prop_compose! {
        /// A volume turned, cropped or padded and resized, as recipes do.
        fn placed()(
            grid in grids(),
            turn in 0usize..4,
            start in [-3i64..4, -3i64..4, -3i64..4],
            cut in [1usize..12, 1usize..12, 1usize..12],
            size in [1usize..24, 1usize..24, 1usize..24],
        ) -> VolumeGeometry {
            let letters = ["LPS", "RAS", "PSR", "SLA"][turn];
            let turned = grid.turned(grid.turn_to(letters).unwrap());
            VolumeGeometry { model: turned.cropped(start, cut).resized(size), original: grid }
        }
    }

    proptest! {
        #[test]
        fn points_come_back(map in placed(), at in [-9.0..30.0f64, -9.0..30.0, -9.0..30.0]) {
            let back = map.to_original(map.to_model(at));
            prop_assert!(back.iter().zip(at).all(|(b, a)| (b - a).abs() < 1e-7), "{back:?} {at:?}");
        }

        #[test]
        fn boxes_in_view_come_back(map in placed(), part in [0.0..1.0f64, 0.0..1.0, 0.0..1.0]) {
            let [d, h, w] = map.model.shape.map(|side| side as f64);
            let seen = map.box_to_original([0.0, 0.0, 0.0, d, h, w]);
            prop_assume!((0..3).all(|a| seen[a + 3] - seen[a] > 1e-6));
            let mut inside = seen;
            for axis in 0..3 {
                inside[axis] += part[axis] * (seen[axis + 3] - seen[axis]) / 2.0;
            }
            let back = map.box_to_original(map.box_to_model(inside));
            prop_assert!(back.iter().zip(inside).all(|(b, i)| (b - i).abs() < 0.5), "{back:?} {inside:?}");
        }

        #[test]
        fn a_spot_of_a_mask_comes_back_within_half_a_voxel(map in placed(), part in [0.0..1.0f64, 0.0..1.0, 0.0..1.0]) {
            let spot: [usize; 3] = std::array::from_fn(|a| (part[a] * map.model.shape[a] as f64) as usize);
            let mut mask = Array3::from_elem(map.model.shape, false);
            mask[spot] = true;
            let back = map.mask_to_original(mask.view()).unwrap();
            // Every voxel that came back has its centre in the spot.
            for (at, _) in back.indexed_iter().filter(|(_, set)| **set) {
                let centre = [at.0 as f64 + 0.5, at.1 as f64 + 0.5, at.2 as f64 + 0.5];
                let there = map.to_model(centre);
                prop_assert!((0..3).all(|a| (there[a] - spot[a] as f64 - 0.5).abs() <= 0.5 + 1e-6));
            }
        }

        #[test]
        fn heat_keeps_its_place(grid in grids()) {
            let map = VolumeGeometry { model: grid.resized([3, 4, 5]), original: grid };
            // A heat that grows along x is that place, wherever it is looked up.
            let heat = Array3::from_shape_fn((3, 4, 5), |(_, _, x)| x as f32 + 0.5);
            let back = map.heatmap_to_original(heat.view()).unwrap();
            for ((z, y, x), value) in back.indexed_iter() {
                let at = map.to_model([z as f64 + 0.5, y as f64 + 0.5, x as f64 + 0.5]);
                prop_assert!((f64::from(*value) - at[2].clamp(0.5, 4.5)).abs() < 1e-4);
            }
        }
    }

    #[test]
    fn a_mask_of_another_volume_is_refused() {
        let grid = Grid::new([2, 3, 4], [1.0; 3]);
        let map = VolumeGeometry { original: grid.clone(), model: grid };
        let error = map.mask_to_model(Array3::from_elem((2, 3, 5), true).view()).unwrap_err();
        assert_eq!(error.to_string(), "mask: expected shape (2, 3, 4), got [2, 3, 5]");
    }
}
