//! Boxes cut out of a volume, grown to what a model needs.

use ndarray::s;

use super::{Volume, room};
use crate::imaging::Kernel;
use crate::imaging::grid::check_shape;
use crate::{Error, Result};

impl Volume {
    /// The box [z0, y0, x0, z1, y1, x1) of voxels; where it leaves the volume it holds `fill`.
    pub fn crop(&self, edges: [i64; 6], fill: f32) -> Result<Self> {
        let [z0, y0, x0, z1, y1, x1] = edges;
        let lengths = [(z0, z1), (y0, y1), (x0, x1)]
            .map(|(low, high)| high.checked_sub(low).and_then(|l| usize::try_from(l).ok()));
        let (true, [Some(d), Some(h), Some(w)]) = (z1 > z0 && y1 > y0 && x1 > x0, lengths) else {
            let why = format!("expected (z0, y0, x0, z1, y1, x1) with low < high, found {edges:?}");
            return Err(Error::value("box", why));
        };
        check_shape("box", [d, h, w])?;
        if !fill.is_finite() {
            return Err(Error::value("fill", format!("expected a finite value, found {fill}")));
        }
        let (start, shape) = ([z0, y0, x0], [d, h, w]);
        // On each axis: what of the volume is kept, and where it goes.
        let overlap = |axis: usize| {
            let side = self.grid.shape[axis] as i64;
            let low = start[axis].clamp(0, side);
            let high = start[axis].saturating_add(shape[axis] as i64).clamp(low, side);
            (low as usize..high as usize, (low - start[axis]).max(0) as usize)
        };
        let mut voxels = room(shape, fill)?;
        let [(z, to_z), (y, to_y), (x, to_x)] = [overlap(0), overlap(1), overlap(2)];
        let inside = !(z.is_empty() || y.is_empty() || x.is_empty());
        if inside {
            let to = s![to_z..to_z + z.len(), to_y..to_y + y.len(), to_x..to_x + x.len()];
            voxels.slice_mut(to).assign(&self.voxels.slice(s![z.clone(), y.clone(), x.clone()]));
        }
        let step = format!("kept voxels {z0} to {z1}, {y0} to {y1}, {x0} to {x1}");
        let partly = !inside || z.len() < d || y.len() < h || x.len() < w;
        let step = if partly { format!("{step}, {fill} where there are none") } else { step };
        Ok(self.became(voxels, self.grid.cropped(start, shape), step))
    }

    /// The box, grown to at least `size` where the volume allows it, cut out and resized to `size`.
    ///
    /// Source: Niu et al. 2025 (M3FM), `crop_resize` of the released code. The spacing of the
    /// result is the true one; the released code returns that from before the resize.
    pub fn crop_resize(&self, edges: [i64; 6], size: [usize; 3]) -> Result<Self> {
        check_shape("size", size)?;
        let grown = grown(edges, size, self.grid.shape)?;
        self.crop(grown, 0.0)?.resize(size, Kernel::Bilinear)
    }
}

/// A box grown evenly to `size` on the axes where it is smaller, and clipped to the volume.
///
/// An odd difference leaves it one voxel short, as in the released code of M3FM.
pub fn grown(edges: [i64; 6], size: [usize; 3], shape: [usize; 3]) -> Result<[i64; 6]> {
    let mut grown = edges;
    for axis in 0..3 {
        let side = shape[axis] as i64;
        let (low, high) = (edges[axis], edges[axis + 3]);
        if !(0 <= low && low < high && high <= side) {
            let why = format!(
                "expected (z0, y0, x0, z1, y1, x1) inside the volume {shape:?}, found {edges:?}"
            );
            return Err(Error::value("box", why));
        }
        let more = (size[axis] as i64 - (high - low)).max(0) / 2;
        grown[axis] = (low - more).max(0);
        grown[axis + 3] = (high + more).min(side);
    }
    Ok(grown)
}

#[cfg(test)]
mod tests {
    use ndarray::Array3;

    use super::*;
    use crate::imaging::Grid;

    fn volume() -> Volume {
        let voxels = Array3::from_shape_fn((3, 4, 5), |(z, y, x)| (z * 100 + y * 10 + x) as f32);
        Volume::new(voxels, Grid::new([3, 4, 5], [1.0; 3])).unwrap()
    }

    #[test]
    fn a_box_that_leaves_the_volume_is_padded() {
        let cut = volume().crop([-1, 0, 4, 2, 2, 6], -1000.0).unwrap();
        assert_eq!(cut.voxels.dim(), (3, 2, 2));
        let air = Array3::from_elem((1, 2, 2), -1000.0);
        assert_eq!(cut.voxels.slice(s![0..1, .., ..]), air);
        assert_eq!(cut.voxels.slice(s![1, 1, ..]), ndarray::aview1(&[14.0, -1000.0]));
        assert_eq!(
            cut.history,
            ["kept voxels -1 to 2, 0 to 2, 4 to 6, -1000 where there are none"]
        );
        let away = volume().crop([50, 0, 0, 52, 1, 1], 7.0).unwrap();
        assert_eq!(away.voxels, Array3::from_elem((2, 1, 1), 7.0));
    }

    #[test]
    fn an_empty_or_endless_box_is_refused() {
        let error = volume().crop([0, 0, 0, 0, 1, 1], 0.0).unwrap_err().to_string();
        assert!(error.starts_with("box: expected (z0, y0, x0, z1, y1, x1) with low < high"));
        let error = volume().crop([0, 0, 0, i64::MAX, 1, 1], 0.0).unwrap_err().to_string();
        assert!(error.starts_with("box: expected shape"), "{error}");
        assert!(volume().crop([i64::MIN, 0, 0, i64::MAX, 1, 1], 0.0).is_err());
        assert!(volume().crop_resize([0, 0, 0, 9, 1, 1], [4; 3]).is_err());
    }
}
