//! Slices in the order in which they lie, and the regular stack that they make.
//!
//! Source: DICOM PS3.3, C.7.6.2.1.1: a pixel lies at the position of its slice plus steps along
//! the two vectors of its orientation; slices follow each other along their normal.

use super::{Repair, Slice};
use crate::imaging::Grid;
use crate::imaging::grid::{MOST_VOXELS, cross, dot};

/// Slices nearer than this, in mm, are at one place.
const SAME_PLACE: f64 = 1e-3;

/// A slice may lie this far, in distances of slices, from where even distances put it: scanners
/// round positions, and half a voxel is what every place is promised to hold.
const UNEVEN: f64 = 0.1;

/// Sides of a slice that a stack may drift by; at 30 degrees, a metre of slices drifts by two.
const FARTHEST: f64 = 4.0;

/// A stack may drift by this many pixels within its planes before it counts as tilted.
const DRIFT: f64 = 0.5;

/// The slices of a volume in order, and how they make it.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// The volume's grid, before it is turned.
    pub(super) grid: Grid,
    /// Which slices are decoded, in order.
    pub(super) order: Vec<usize>,
    /// For each plane of the volume: two decoded slices and the weight of the second; empty when
    /// the planes are the slices.
    pub(super) blends: Vec<Blend>,
    /// For each plane: how far, in pixels down and across, it lies off the first; empty when the
    /// planes stand above each other.
    pub(super) shifts: Vec<[f64; 2]>,
    pub(super) history: Vec<String>,
}

/// Two decoded slices, by their places in the order, and the weight of the second.
pub(super) type Blend = (usize, usize, f32);

type Why<T> = Result<T, String>;

/// A slice with its place along the normal.
#[derive(Clone, Copy)]
struct Placed {
    slice: usize,
    position: [f64; 3],
    along: f64,
}

/// Works out the stack; what is irregular is an error unless its repair is allowed.
pub(super) fn plan(slices: &[Slice], repair: &[Repair]) -> Why<Plan> {
    let mut history = Vec::new();
    if let [only] = slices {
        return single(only);
    }
    let kept = positioned(slices, repair, &mut history)?;
    let kept = commonest(&kept, repair, Repair::Orientation, &mut history, |i| {
        slices[i].facts.orientation.map(|both| both.map(|v| v.map(|p| (p * 100.0).round() as i64)))
    })?;
    let kept = commonest(&kept, repair, Repair::Size, &mut history, |i| {
        let (slice, spacing) = (&slices[i], slices[i].facts.spacing.unwrap_or([0.0; 2]));
        (slice.rows, slice.cols, spacing.map(|s| (s * 1e4).round() as i64))
    })?;
    let first = &slices[kept[0]];
    let ([across, down], normal) = axes(first)?;
    let [row_spacing, col_spacing] = first.facts.spacing.ok_or("PixelSpacing is missing")?;
    let mut placed: Vec<Placed> = kept
        .iter()
        .filter_map(|&slice| {
            let position = slices[slice].facts.position?;
            Some(Placed { slice, position, along: dot(position, normal) })
        })
        .collect();
    placed.sort_by(|a, b| a.along.total_cmp(&b.along).then(a.slice.cmp(&b.slice)));
    let placed = single_places(placed, repair, &mut history)?;
    let [bottom, .., top] = &placed[..] else {
        return single(&slices[placed[0].slice]);
    };
    let (spacing, blends) = even(&placed, repair, &mut history)?;
    let depth = if blends.is_empty() { placed.len() } else { blends.len() };
    let steps = [spacing, row_spacing, col_spacing];
    let (rows, cols) = (first.rows, first.cols);
    let shifts: Vec<[f64; 2]> = placed
        .iter()
        .map(|at| {
            let off = [0, 1, 2].map(|i| at.position[i] - bottom.position[i]);
            [dot(off, down) / row_spacing, dot(off, across) / col_spacing]
        })
        .collect();
    let grid = Grid {
        shape: [depth, rows, cols],
        spacing: steps,
        origin: bottom.position,
        direction: [normal, down, across],
    };
    grid.validate().map_err(|error| error.to_string())?;
    let drift = shifts.iter().flatten().fold(0.0f64, |most, s| most.max(s.abs()));
    let tilted = drift > DRIFT;
    if tilted {
        let off = [0, 1, 2].map(|i| top.position[i] - bottom.position[i]);
        let high = top.along - bottom.along;
        let angle = (dot(off, off) / (high * high) - 1.0).max(0.0).sqrt().atan().to_degrees();
        // Two small slices far beside each other would ask for a canvas of any size.
        if drift > FARTHEST * rows.max(cols) as f64 {
            return Err(format!(
                "the slices drift by {drift:.1} pixels, at {angle:.1} degrees: too far for a \
                 tilted gantry"
            ));
        }
        let what = format!(
            "the gantry was tilted by {angle:.1} degrees (slices drift by {drift:.1} pixels)"
        );
        let how = "shift the slices";
        allowed(repair, Repair::Tilt, &what, how, &mut history)?;
    }
    Ok(Plan {
        grid,
        order: placed.iter().map(|p| p.slice).collect(),
        blends,
        shifts: if tilted { shifts } else { Vec::new() },
        history,
    })
}

/// Notes a repair that is allowed; refuses with its name when it is not.
fn allowed(
    repair: &[Repair],
    needed: Repair,
    what: &str,
    how: &str,
    history: &mut Vec<String>,
) -> Why<()> {
    // Every repair has its name.
    let named = Repair::NAMED.iter().find(|(_, known)| *known == needed);
    let name = named.map_or("", |(name, _)| name);
    if !repair.contains(&needed) {
        return Err(format!("{what}; pass repair=\"{name}\" to {how}"));
    }
    history.push(format!("repair {name:?}: {what}"));
    Ok(())
}

/// One slice: its depth is its thickness.
fn single(slice: &Slice) -> Why<Plan> {
    let ([across, down], normal) = match slice.facts.orientation {
        Some(_) => axes(slice)?,
        None => return Err("ImageOrientationPatient is missing".to_owned()),
    };
    let [rows, cols] = slice.facts.spacing.ok_or("PixelSpacing is missing")?;
    let depth = slice.facts.thickness.ok_or("one slice without SliceThickness has no depth")?;
    let grid = Grid {
        shape: [1, slice.rows, slice.cols],
        spacing: [depth, rows, cols],
        origin: slice.facts.position.ok_or("ImagePositionPatient is missing")?,
        direction: [normal, down, across],
    };
    grid.validate().map_err(|error| error.to_string())?;
    let history = vec!["one slice: its depth is the slice thickness".to_owned()];
    Ok(Plan { grid, order: vec![0], blends: Vec::new(), shifts: Vec::new(), history })
}

fn positioned(slices: &[Slice], repair: &[Repair], history: &mut Vec<String>) -> Why<Vec<usize>> {
    let has = |slice: &Slice| slice.facts.position.is_some() && slice.facts.orientation.is_some();
    let kept: Vec<usize> = (0..slices.len()).filter(|&i| has(&slices[i])).collect();
    let without = slices.len() - kept.len();
    if kept.is_empty() {
        return Err(format!(
            "none of {without} slices has ImagePositionPatient and ImageOrientationPatient"
        ));
    }
    if without > 0 {
        let what = format!(
            "{without} of {} slices have no ImagePositionPatient or ImageOrientationPatient",
            slices.len()
        );
        allowed(repair, Repair::Position, &what, "leave them out", history)?;
    }
    Ok(kept)
}

/// The slices of the commonest kind, the first one seen where two are as common.
fn commonest<K: PartialEq>(
    kept: &[usize],
    repair: &[Repair],
    needed: Repair,
    history: &mut Vec<String>,
    kind: impl Fn(usize) -> K,
) -> Why<Vec<usize>> {
    let mut kinds: Vec<(K, usize)> = Vec::new();
    for &slice in kept {
        let own = kind(slice);
        match kinds.iter().position(|(known, _)| *known == own) {
            Some(index) => kinds[index].1 += 1,
            None => kinds.push((own, 1)),
        }
        if kinds.len() > 64 {
            return Err("its slices have nothing in common".to_owned());
        }
    }
    let mut best = 0;
    for (index, (_, count)) in kinds.iter().enumerate() {
        if *count > kinds[best].1 {
            best = index;
        }
    }
    let (common, count) = &kinds[best];
    let others = kept.len() - count;
    if others > 0 {
        let what = match needed {
            Repair::Orientation => "lie in another direction",
            _ => "have another size or pixel spacing",
        };
        let what = format!("{others} of {} slices {what} than the rest", kept.len());
        allowed(repair, needed, &what, "leave them out", history)?;
    }
    Ok(kept.iter().copied().filter(|&slice| kind(slice) == *common).collect())
}

/// The unit vectors along a row and down a column, and the normal.
fn axes(slice: &Slice) -> Why<([[f64; 3]; 2], [f64; 3])> {
    let [row, col] = slice.facts.orientation.ok_or("ImageOrientationPatient is missing")?;
    let unit = |v: [f64; 3]| {
        let length = dot(v, v).sqrt();
        ((length - 1.0).abs() < 0.01).then(|| v.map(|part| part / length))
    };
    let (Some(across), Some(down)) = (unit(row), unit(col)) else {
        return Err(format!(
            "ImageOrientationPatient is {row:?} and {col:?}, expected two unit vectors"
        ));
    };
    if dot(across, down).abs() > 1e-3 {
        return Err("the two vectors of ImageOrientationPatient are not at right angles".to_owned());
    }
    let normal = cross(across, down);
    let length = dot(normal, normal).sqrt();
    Ok(([across, down], normal.map(|part| part / length)))
}

/// One slice for each place.
fn single_places(
    placed: Vec<Placed>,
    repair: &[Repair],
    history: &mut Vec<String>,
) -> Why<Vec<Placed>> {
    let mut firsts: Vec<(Placed, usize)> = Vec::new();
    for at in placed {
        match firsts.last_mut() {
            Some((last, count)) if at.along - last.along < SAME_PLACE => *count += 1,
            _ => firsts.push((at, 1)),
        }
    }
    let most = firsts.iter().map(|(_, count)| *count).max().unwrap_or(1);
    let everywhere = firsts.len() > 1 && firsts.iter().all(|(_, count)| *count == most);
    let more: usize = firsts.iter().map(|(_, count)| count - 1).sum();
    if more > 0 && everywhere && !repair.contains(&Repair::Duplicates) {
        return Err(format!(
            "expected one volume, found {most} at the same {} places (a series in time, or several \
             reconstructions); pass repair=\"duplicates\" to keep the first slice of each",
            firsts.len()
        ));
    }
    if more > 0 {
        let what = match more {
            1 => "1 slice lies at the place of another".to_owned(),
            many => format!("{many} slices lie at the place of another"),
        };
        allowed(repair, Repair::Duplicates, &what, "keep the first of each", history)?;
    }
    Ok(firsts.into_iter().map(|(first, _)| first).collect())
}

/// The distance of the planes, and, where the slices are not all of them, how each is made.
fn even(placed: &[Placed], repair: &[Repair], history: &mut Vec<String>) -> Why<(f64, Vec<Blend>)> {
    let gaps: Vec<f64> = placed.windows(2).map(|two| two[1].along - two[0].along).collect();
    let mut sorted = gaps.clone();
    sorted.sort_by(f64::total_cmp);
    let usual = sorted[sorted.len() / 2];
    let bottom = placed[0].along;
    let span = placed[placed.len() - 1].along - bottom;
    let steps = (span / usual).round().max(1.0);
    let planes = steps as usize + 1;
    let spacing = span / steps;
    let misfit =
        |index: usize, plane: f64| ((placed[index].along - bottom) / spacing - plane).abs();
    if planes == placed.len() && (0..planes).all(|i| misfit(i, i as f64) <= UNEVEN) {
        return Ok((spacing, Vec::new()));
    }
    let too_many = steps > (placed.len() * 8) as f64 || steps * 64.0 > MOST_VOXELS as f64;
    if too_many {
        return Err(format!(
            "{} slices over {span:.1} mm, most of them {usual:.3} mm apart, are no one stack",
            placed.len()
        ));
    }
    let on_planes = (0..placed.len())
        .all(|i| misfit(i, ((placed[i].along - bottom) / spacing).round()) <= UNEVEN);
    if on_planes {
        let largest = gaps.iter().copied().fold(0.0, f64::max);
        let missing = match planes - placed.len() {
            1 => "1 slice is missing".to_owned(),
            many => format!("{many} slices are missing"),
        };
        let what =
            format!("{missing} (gaps of up to {largest:.2} mm among slices {spacing:.2} mm apart)");
        allowed(repair, Repair::Missing, &what, "interpolate them", history)?;
    } else {
        let what = format!(
            "slices lie at uneven distances ({:.3} to {:.3} mm)",
            sorted[0],
            sorted[sorted.len() - 1]
        );
        allowed(repair, Repair::Uneven, &what, "interpolate to even ones", history)?;
    }
    let mut below = 0;
    let blends = (0..planes).map(|plane| {
        let at = bottom + plane as f64 * spacing;
        while below + 2 < placed.len() && placed[below + 1].along <= at {
            below += 1;
        }
        let part = (at - placed[below].along) / (placed[below + 1].along - placed[below].along);
        // A plane where a slice lies is that slice.
        let near = |part: f64| if part < UNEVEN / 8.0 { 0.0 } else { part };
        (below, below + 1, (1.0 - near(1.0 - near(part.clamp(0.0, 1.0)))) as f32)
    });
    Ok((spacing, blends.collect()))
}
