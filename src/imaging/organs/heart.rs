//! The box of the heart: soft tissue between the lungs, in front of the spine.
//!
//! Upwards the great vessels, and downwards the liver, are as wide as the heart in many people:
//! the box may reach beyond it there.

use ndarray::{Array3, ArrayView2, Axis};

/// Soft tissue is brighter than this.
const SOFT: f32 = -200.0;

/// The heart lies within this part of the depth of the chest, from the front of the lungs on;
/// behind it are spine and descending aorta.
const FRONT: f64 = 0.65;

/// Slices of the heart hold at least this part of the tissue of the fullest one.
const FULL: f64 = 0.5;

/// The part of the tissue that may lie outside the box on each side: fat and small vessels.
const TRIM: f64 = 0.04;

/// The box z0, y0, x0, z1, y1, x1 in blocks; none without both lungs.
pub(super) fn find(
    coarse: &Array3<f32>,
    [right, left]: &[Array3<bool>; 2],
    spacing: [f64; 3],
) -> Option<[f64; 6]> {
    let tissue: Vec<Vec<(usize, usize)>> = (0..coarse.dim().0)
        .map(|z| {
            let slice = |of: &Array3<bool>| of.index_axis(Axis(0), z).to_owned();
            between(coarse.index_axis(Axis(0), z), slice(right).view(), slice(left).view())
        })
        .collect();
    let area = |z: usize| tissue[z].len() as f64;
    let fullest = (0..tissue.len()).max_by(|&a, &b| area(a).total_cmp(&area(b)))?;
    // A heart is at least 20 cm² across.
    if area(fullest) * spacing[1] * spacing[2] < 2000.0 {
        return None;
    }
    let full = |z: &usize| area(*z) >= FULL * area(fullest);
    let low = (0..=fullest).rev().take_while(full).last()?;
    let high = (fullest..tissue.len()).take_while(full).last()?;
    let all = || tissue[low..=high].iter().flatten();
    let (y0, y1) = trimmed(all().map(|at| at.0).collect())?;
    let (x0, x1) = trimmed(all().map(|at| at.1).collect())?;
    Some([low as f64, y0, x0, high as f64 + 1.0, y1, x1])
}

/// The soft voxels (y, x) of a slice that have the right lung on one side and the left on the
/// other, in the front of the chest.
fn between(
    slice: ArrayView2<'_, f32>,
    right: ArrayView2<'_, bool>,
    left: ArrayView2<'_, bool>,
) -> Vec<(usize, usize)> {
    let rows: Vec<usize> = (0..slice.nrows())
        .filter(|&y| right.row(y).iter().chain(left.row(y)).any(|set| *set))
        .collect();
    let (Some(&front), Some(&back)) = (rows.first(), rows.last()) else { return Vec::new() };
    let last = front + ((back - front) as f64 * FRONT) as usize;
    let mut found = Vec::new();
    for y in front..=last {
        let inner = right.row(y).iter().rposition(|set| *set);
        let outer = left.row(y).iter().position(|set| *set);
        if let (Some(from), Some(to)) = (inner, outer)
            && from < to
        {
            found.extend((from + 1..to).filter(|&x| slice[[y, x]] > SOFT).map(|x| (y, x)));
        }
    }
    found
}

/// Where values begin and end, but for a few at each end.
fn trimmed(mut values: Vec<usize>) -> Option<(f64, f64)> {
    values.sort_unstable();
    let few = (values.len() as f64 * TRIM) as usize;
    let (first, last) = (values.get(few)?, values.get(values.len().checked_sub(few + 1)?)?);
    Some((*first as f64, *last as f64 + 1.0))
}
