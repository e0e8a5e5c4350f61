//! Boxes of one size that cover a volume, for models that see a part at a time.

use super::Volume;
use crate::imaging::grid::check_shape;
use crate::{Error, Result};

impl Volume {
    /// Boxes of `size` that cover the volume, each sharing at least `overlap` (0 up to 1) of its
    /// length with the next; a box reaches beyond the volume only where the volume is smaller.
    pub fn tiles(&self, size: [usize; 3], overlap: f64) -> Result<Vec<[i64; 6]>> {
        check_shape("tile", size)?;
        if !(0.0..1.0).contains(&overlap) {
            let why = format!("expected a part from 0 up to, not including, 1, found {overlap}");
            return Err(Error::value("overlap", why));
        }
        let [z, y, x] = [0, 1, 2].map(|a| starts(self.grid.shape[a], size[a], overlap));
        let count = z.len() as u128 * y.len() as u128 * x.len() as u128;
        if count > 1 << 24 {
            return Err(Error::value("tile", format!("{count} tiles are more than can be used")));
        }
        let [d, h, w] = size.map(|side| side as i64);
        let mut boxes = Vec::with_capacity(count as usize);
        for &z in &z {
            for &y in &y {
                boxes.extend(x.iter().map(|&x| [z, y, x, z + d, y + h, x + w]));
            }
        }
        Ok(boxes)
    }
}

fn starts(side: usize, length: usize, overlap: f64) -> Vec<i64> {
    let step = ((length as f64 * (1.0 - overlap)) as usize).max(1);
    let last = side.saturating_sub(length);
    let mut starts: Vec<i64> = (0..last).step_by(step).map(|s| s as i64).collect();
    starts.push(last as i64);
    starts
}

#[cfg(test)]
mod tests {
    use ndarray::{Array3, s};
    use proptest::prelude::*;

    use super::*;
    use crate::imaging::Grid;

    proptest! {
        #[test]
        fn every_voxel_lies_in_a_tile(
            shape in [1usize..12, 1usize..12, 1usize..12],
            size in [1usize..8, 1usize..8, 1usize..8],
            overlap in 0.0..0.9f64,
        ) {
            let volume = Volume::new(Array3::zeros(shape), Grid::new(shape, [1.0; 3])).unwrap();
            let mut seen = Array3::from_elem(shape, false);
            for tile in volume.tiles(size, overlap).unwrap() {
                let side = |a: usize| tile[a] as usize..(tile[a + 3] as usize).min(shape[a]);
                seen.slice_mut(s![side(0), side(1), side(2)]).fill(true);
                prop_assert!((0..3).all(|a| tile[a + 3] - tile[a] == size[a] as i64));
            }
            prop_assert!(seen.iter().all(|v| *v));
        }
    }

    #[test]
    fn tiles_that_would_never_move_on_are_refused() {
        let volume = Volume::new(Array3::zeros((2, 2, 2)), Grid::new([2; 3], [1.0; 3])).unwrap();
        let error = volume.tiles([1; 3], 1.0).unwrap_err().to_string();
        assert_eq!(error, "overlap: expected a part from 0 up to, not including, 1, found 1");
    }
}
