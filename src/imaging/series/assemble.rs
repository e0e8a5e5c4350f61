//! The slices of a series, decoded in parallel and put together.

use std::collections::BTreeMap;

use ndarray::parallel::prelude::*;
use ndarray::{Array3, Axis};

use super::order::{Plan, plan};
use super::tilt::straightened;
use super::{Series, Slice, several};
use crate::imaging::dicom::decode_slices;
use crate::imaging::volume::{room, turned};
use crate::imaging::{Volume, VolumeOptions};
use crate::progress::Progress;
use crate::{Error, Result, files};

/// Stored pixels may be this many times the bytes of their files, and [`ALWAYS`] in any case.
const RATIO: u64 = 400;
const ALWAYS: u64 = 64 << 20;

/// Air, as CT scanners write it: what a CT holds where nothing was scanned.
const AIR: f32 = -1024.0;

pub(super) fn read(
    series: &Series,
    options: &VolumeOptions,
    progress: &Progress,
) -> Result<Volume> {
    let refuse = |why: String| Error::format(series.name(), why);
    if let Some(what) = series.mixed {
        return Err(refuse(several(what)));
    }
    let plan = plan(&series.slices, &options.repair).map_err(refuse)?;
    plausible(series).map_err(refuse)?;
    progress.set_total(plan.order.len());
    let modality = series.modality();
    let (planes, steps) = decoded(series, &plan, progress)?;
    let mut history = vec![format!(
        "DICOM, {}{} slices of {} x {}, ordered by their place along the normal",
        if modality.is_empty() { String::new() } else { format!("{modality}, ") },
        plan.order.len(),
        planes.dim().1,
        planes.dim().2,
    )];
    history.extend(steps);
    if series.tilted && plan.shifts.is_empty() {
        history.push("a gantry tilt is stated, but the slices do not drift".to_owned());
    }
    history.extend(plan.history.iter().cloned());
    let (mut voxels, grid) = stacked(planes, &plan)?;
    fill(&mut voxels, series, options, &mut history);
    let turn = options.turn(&grid)?;
    let stood = grid.turned(turn);
    if !turn.is_identity() {
        voxels = turned(voxels.view(), turn)?;
        history.push(format!("turned from {} to {}", grid.orientation(), stood.orientation()));
    }
    Ok(Volume {
        voxels,
        original: stood.clone(),
        grid: stood,
        modality: modality.to_owned(),
        history,
    })
}

/// Refuses slices that claim far more pixels than their files can hold.
fn plausible(series: &Series) -> std::result::Result<(), String> {
    let size = |slice: &Slice| (slice.rows * slice.cols * slice.sample_bytes) as u64;
    let claimed = series.slices.iter().map(size).fold(0u64, u64::saturating_add);
    if claimed > series.bytes.saturating_mul(RATIO).max(ALWAYS) {
        return Err(format!(
            "{} bytes of files cannot hold slices of {claimed} bytes",
            series.bytes
        ));
    }
    Ok(())
}

/// Frames of one file, each with the place of its values.
type Frames<'a> = Vec<(usize, &'a mut [f32])>;

/// The slices in order, in modality units, with NaN for padding; and what was done to them.
fn decoded(
    series: &Series,
    plan: &Plan,
    progress: &Progress,
) -> Result<(Array3<f32>, Vec<String>)> {
    let first = &series.slices[plan.order[0]];
    let mut planes = room([plan.order.len(), first.rows, first.cols], 0.0f32)?;
    let mut by_file: BTreeMap<usize, Frames<'_>> = BTreeMap::new();
    let places =
        planes.as_slice_mut().unwrap_or_default().chunks_exact_mut(first.rows * first.cols);
    for (&index, place) in plan.order.iter().zip(places) {
        let slice = &series.slices[index];
        by_file.entry(slice.file).or_default().push((slice.frame, place));
    }
    let work: Vec<(usize, Frames<'_>)> = by_file.into_iter().collect();
    let steps: Vec<Vec<String>> = work
        .into_par_iter()
        .map(|(file, frames)| {
            progress.tick(frames.len())?;
            let path = &series.files[file];
            decode_slices(&files::read(path)?, path, frames)
        })
        .collect::<Result<Vec<_>>>()?
        .concat();
    Ok((planes, common(steps)))
}

/// What was done to all slices, once; and that it differs where it does.
fn common(mut steps: Vec<Vec<String>>) -> Vec<String> {
    let all = steps.len();
    steps.sort();
    steps.dedup();
    if let [one] = &mut steps[..] {
        return std::mem::take(one);
    }
    let mut shown: Vec<String> = steps.iter().take(3).map(|own| own.join(", ")).collect();
    if steps.len() > 3 {
        shown.push("…".to_owned());
    }
    vec![format!(
        "each of {all} slices by its own attributes, in {} ways: {}",
        steps.len(),
        shown.join("; ")
    )]
}

/// The planes of the volume: the slices, blends of them, and shifted where the gantry was tilted.
fn stacked(planes: Array3<f32>, plan: &Plan) -> Result<(Array3<f32>, crate::imaging::Grid)> {
    let mut grid = plan.grid.clone();
    let mut planes = planes;
    if !plan.shifts.is_empty() {
        let slices = crate::imaging::Grid {
            shape: [planes.dim().0, grid.shape[1], grid.shape[2]],
            ..grid.clone()
        };
        let (straight, wider) = straightened(&planes, &plan.shifts, &slices)?;
        let [_, rows, cols] = wider.shape;
        grid = crate::imaging::Grid { shape: [grid.shape[0], rows, cols], ..wider };
        planes = straight;
    }
    if plan.blends.is_empty() {
        return Ok((planes, grid));
    }
    let mut blended = room(grid.shape, 0.0f32)?;
    blended.axis_iter_mut(Axis(0)).into_par_iter().zip(&plan.blends).for_each(
        |(mut plane, &(below, above, part))| {
            let (low, high) =
                (planes.index_axis(Axis(0), below), planes.index_axis(Axis(0), above));
            ndarray::Zip::from(&mut plane).and(&low).and(&high).for_each(|place, &low, &high| {
                // NaN of a slice that does not count must not spread.
                *place = match part {
                    0.0 => low,
                    1.0 => high,
                    _ => low * (1.0 - part) + high * part,
                };
            });
        },
    );
    Ok((blended, grid))
}

fn fill(
    voxels: &mut Array3<f32>,
    series: &Series,
    options: &VolumeOptions,
    history: &mut Vec<String>,
) {
    let count = voxels.par_iter().filter(|v| v.is_nan()).count();
    if count == 0 {
        return;
    }
    let lowest = || voxels.iter().copied().filter(|v| !v.is_nan()).reduce(f32::min).unwrap_or(0.0);
    let air = if series.modality() == "CT" { AIR } else { lowest() };
    let fill = options.fill.unwrap_or(air);
    voxels.par_mapv_inplace(|v| if v.is_nan() { fill } else { v });
    history.push(format!("{count} voxels of padding or outside of the slices set to {fill}"));
}
