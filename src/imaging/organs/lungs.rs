//! The two lungs in blocks of a chest CT.

use ndarray::{Array3, ArrayView2, Axis, Zip};

use super::airway;
use super::morphology::{closed, divided, from_border, grown, parts, shrunk};

/// Lung, airway and gas are darker than this.
const AIR: f32 = -400.0;

/// Air outside the body and gas in the bowel are darker than this in the mean; lungs are not.
const PURE: f64 = -940.0;

/// Muscle, fat and bone are brighter than this.
const TISSUE: f32 = -200.0;

/// The wall of the chest is at least this thick, in mm.
const WALL: f64 = 9.0;

/// A lung, or the part of one that a scan shows, has at least this volume in mm³.
const LEAST: f64 = 20_000.0;

/// A lung has at least this part of the other one's volume.
const SMALLER: f64 = 0.1;

/// Vessels of this width, in mm, count as lung.
const VESSEL: f64 = 9.0;

/// The right lung and the left one, either of them empty where there is none.
pub(super) fn find(coarse: &Array3<f32>, spacing: [f64; 3]) -> [Array3<bool>; 2] {
    let inner = inner_air(coarse, spacing);
    let block: f64 = spacing.iter().product();
    let tubes = grown(&airway::find(coarse, &inner, spacing), 1);
    let air = Zip::from(&inner).and(&tubes).map_collect(|&air, &tube| air && !tube);
    let found = parts(&air);
    let largest = found.by_size().first().map_or(0, |&part| found.size(part));
    let least = (LEAST / block).max(largest as f64 * SMALLER);
    let lungs: Vec<Array3<bool>> = found
        .by_size()
        .into_iter()
        .take_while(|&part| found.size(part) as f64 >= least)
        .map(|part| found.mask(part))
        .filter(|mask| !is_gas(coarse, mask))
        .take(2)
        .collect();
    let empty = || Array3::from_elem(coarse.raw_dim(), false);
    let middle = middle(coarse);
    let pair = match &lungs[..] {
        [] => return [empty(), empty()],
        [one, other] if apart(one, other, middle) => [one.clone(), other.clone()],
        [one, ..] => halves(one, middle),
    };
    let times = ((VESSEL / spacing[2]).round() as usize).clamp(1, 6);
    let [a, b] = pair.map(|lung| closed(&lung, times));
    // Where both were closed over the same voxel, it is neither's.
    let [a, b] = [
        Zip::from(&a).and(&b).map_collect(|&own, &other| own && !other),
        Zip::from(&b).and(&a).map_collect(|&own, &other| own && !other),
    ];
    // x grows to the patient's left.
    match (column(&a), column(&b)) {
        (Some(first), Some(second)) => {
            if first <= second {
                [a, b]
            } else {
                [b, a]
            }
        }
        (Some(only), None) => {
            if only <= middle {
                [a, b]
            } else {
                [b, a]
            }
        }
        (None, Some(only)) => {
            if only <= middle {
                [b, a]
            } else {
                [a, b]
            }
        }
        (None, None) => [a, b],
    }
}

/// Air that is not outside the body, judged slice by slice: a nose would let it in.
fn inner_air(coarse: &Array3<f32>, spacing: [f64; 3]) -> Array3<bool> {
    let mut inner = coarse.mapv(|hu| hu < AIR);
    for (mut slice, values) in inner.axis_iter_mut(Axis(0)).zip(coarse.axis_iter(Axis(0))) {
        let found = parts(&from_border(slice.view()).insert_axis(Axis(0)));
        let labels = found.labels.index_axis(Axis(0), 0);
        let cut = cut_lungs(labels, found.sizes.len(), values, WALL / spacing[1]);
        for (air, label) in slice.iter_mut().zip(&labels) {
            *air &= *label == 0 || cut[*label as usize - 1];
        }
    }
    inner
}

/// Which of the `count` parts that reach the border of a slice are lungs, in a scan narrower than
/// the chest: they are paler than the air outside, and unlike the padding of a table they have a
/// wall of `wall` rows behind them.
fn cut_lungs(
    labels: ArrayView2<'_, u32>,
    count: usize,
    values: ArrayView2<'_, f32>,
    wall: f64,
) -> Vec<bool> {
    let mut blocks = vec![[0_usize; 3]; count]; // all, pure, with a wall behind
    for (labels, values) in labels.columns().into_iter().zip(values.columns()) {
        let mut tissue = 0.0;
        for (label, hu) in labels.iter().zip(values).rev() {
            tissue += f64::from(u8::from(*hu > TISSUE));
            if let Some(part) = (*label as usize).checked_sub(1) {
                let [all, pure, walled] = &mut blocks[part];
                *all += 1;
                *pure += usize::from(f64::from(*hu) < PURE);
                *walled += usize::from(tissue >= wall);
            }
        }
    }
    blocks.iter().map(|[all, pure, walled]| 2 * pure < *all && 2 * walled > *all).collect()
}

/// Whether a part is gas, in the bowel for example: pure away from its wall.
fn is_gas(coarse: &Array3<f32>, mask: &Array3<bool>) -> bool {
    let inside = shrunk(mask, 1);
    let thick = inside.iter().any(|set| *set);
    mean(coarse, if thick { &inside } else { mask }) < PURE
}

fn mean(coarse: &Array3<f32>, mask: &Array3<bool>) -> f64 {
    let set = coarse.iter().zip(mask).filter(|(_, set)| **set);
    let (sum, count) =
        set.fold((0.0, 0.0), |(sum, count), (hu, _)| (sum + f64::from(*hu), count + 1.0));
    if count > 0.0 { sum / count } else { 0.0 }
}

/// The mean column of a mask.
fn column(mask: &Array3<bool>) -> Option<f64> {
    let set = mask.indexed_iter().filter(|(_, set)| **set);
    let (sum, count) =
        set.fold((0.0, 0.0), |(sum, count), ((.., x), _)| (sum + x as f64, count + 1.0));
    (count > 0.0).then(|| sum / count)
}

/// The mean column of the body.
fn middle(coarse: &Array3<f32>) -> f64 {
    column(&coarse.mapv(|hu| hu > AIR)).unwrap_or_default()
}

/// Whether two parts lie on the two sides of the body.
fn apart(one: &Array3<bool>, other: &Array3<bool>, middle: f64) -> bool {
    let sides = [one, other].map(|part| column(part).map(|at| at < middle));
    sides[0] != sides[1]
}

/// A part that may hold both lungs, joined where they touch in front: shrunk until it falls in
/// two, else cut at the middle; on one side of the body it is one lung.
fn halves(joined: &Array3<bool>, middle: f64) -> [Array3<bool>; 2] {
    let all = joined.iter().filter(|set| **set).count() as f64;
    let right =
        joined.indexed_iter().filter(|((.., x), set)| **set && (*x as f64) < middle).count();
    let share = right as f64 / all;
    if !(0.15..=0.85).contains(&share) {
        return [joined.clone(), Array3::from_elem(joined.raw_dim(), false)];
    }
    for times in 1..=4 {
        let found = parts(&shrunk(joined, times));
        if let [first, second, ..] = found.by_size()[..] {
            let (one, other) = (found.mask(first), found.mask(second));
            let fair = found.size(second) as f64 > 0.2 * found.size(first) as f64;
            if fair && apart(&one, &other, middle) {
                return divided(joined, [&one, &other]);
            }
        }
    }
    let side = |right: bool| {
        let mut half = joined.clone();
        for ((.., x), set) in half.indexed_iter_mut() {
            *set &= ((x as f64) < middle) == right;
        }
        half
    };
    [side(true), side(false)]
}
