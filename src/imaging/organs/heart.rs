//! The box of the heart: soft tissue between the lungs, in front of the spine.
//!
//! Upwards the great vessels, and downwards the liver, are as wide as the heart in many people:
//! the box may reach beyond it there, or end before it.

use ndarray::{Array3, Axis};

/// Soft tissue is brighter than this.
const SOFT: f32 = -200.0;

/// The heart lies within this part of the depth of the chest, from the front of the lungs on;
/// behind it are spine and descending aorta.
const FRONT: f64 = 0.65;

/// Slices of the heart hold at least this part of the tissue of the fullest one.
const FULL: f64 = 0.45;

/// The part of the tissue that may lie outside the box on each side: fat and small vessels.
const TRIM: f64 = 0.006;

/// Slices above the domes of the diaphragm hold at least this part of the lung of the fullest one.
const OPEN: f64 = 0.3;

/// How far, in mm, a lung may draw back from where its inner edge usually is: the heart reaches
/// further to the left. Where it draws back more, liver or fluid lies between the lungs.
const BACK: [f64; 2] = [40.0, 60.0];

/// The box z0, y0, x0, z1, y1, x1 in blocks; none without both lungs.
pub(super) fn find(
    coarse: &Array3<f32>,
    [right, left]: &[Array3<bool>; 2],
    spacing: [f64; 3],
) -> Option<[f64; 6]> {
    let gaps = near(gaps(right, left), [right, left], spacing[2]);
    let mut tissue = vec![Vec::new(); coarse.dim().0];
    for Gap { z, y, inner: [from, to] } in gaps {
        let soft = (from + 1..to).filter(|&x| coarse[[z, y, x]] > SOFT);
        tissue[z].extend(soft.map(|x| (y, x)));
    }
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

/// A row that has the right lung on one side and the left on the other.
#[derive(Clone, Copy)]
struct Gap {
    z: usize,
    y: usize,
    /// The last column of the right lung and the first one of the left.
    inner: [usize; 2],
}

/// The gaps between the lungs in the front of the chest.
fn gaps(right: &Array3<bool>, left: &Array3<bool>) -> Vec<Gap> {
    let mut found = Vec::new();
    for (z, (right, left)) in right.outer_iter().zip(left.outer_iter()).enumerate() {
        let rows: Vec<usize> = (0..right.nrows())
            .filter(|&y| right.row(y).iter().chain(left.row(y)).any(|set| *set))
            .collect();
        let (Some(&front), Some(&back)) = (rows.first(), rows.last()) else { continue };
        for y in front..=front + ((back - front) as f64 * FRONT) as usize {
            let from = right.row(y).iter().rposition(|set| *set);
            let to = left.row(y).iter().position(|set| *set);
            if let (Some(from), Some(to)) = (from, to)
                && from < to
            {
                found.push(Gap { z, y, inner: [from, to] });
            }
        }
    }
    found
}

/// The gaps whose sides are not far behind where they are in the middle of all gaps above the
/// diaphragm; `step` is the width of a column in mm.
fn near(mut gaps: Vec<Gap>, lungs: [&Array3<bool>; 2], step: f64) -> Vec<Gap> {
    let count = |z: usize| -> usize {
        let slices = lungs.map(|lung| lung.index_axis(Axis(0), z));
        slices.iter().map(|slice| slice.iter().filter(|set| **set).count()).sum()
    };
    let lung: Vec<usize> = (0..lungs[0].dim().0).map(count).collect();
    let open = OPEN * lung.iter().copied().max().unwrap_or_default() as f64;
    let usual = [0, 1].map(|side| {
        let above = gaps.iter().filter(|gap| lung[gap.z] as f64 >= open);
        let mut edges: Vec<usize> = above.map(|gap| gap.inner[side]).collect();
        edges.sort_unstable();
        edges.get(edges.len() / 2).map_or(0.0, |edge| *edge as f64)
    });
    gaps.retain(|gap| {
        let [from, to] = gap.inner.map(|edge| edge as f64);
        from > usual[0] - BACK[0] / step && to < usual[1] + BACK[1] / step
    });
    gaps
}

/// Where values begin and end, but for a few at each end.
fn trimmed(mut values: Vec<usize>) -> Option<(f64, f64)> {
    values.sort_unstable();
    let few = (values.len() as f64 * TRIM) as usize;
    let (first, last) = (values.get(few)?, values.get(values.len().checked_sub(few + 1)?)?);
    Some((*first as f64, *last as f64 + 1.0))
}
