//! Overlap of masks and of boxes.

use crate::{Error, Result};

/// 2 |A ∩ B| / (|A| + |B|) of two masks; `empty` when both are empty.
pub fn dice(a: &[bool], b: &[bool], empty: f64) -> Result<f64> {
    let (both, sum) = counts(a, b)?;
    Ok(if sum == 0 { empty } else { 2.0 * both as f64 / sum as f64 })
}

/// |A ∩ B| / |A ∪ B| of two masks; `empty` when both are empty.
pub fn iou(a: &[bool], b: &[bool], empty: f64) -> Result<f64> {
    let (both, sum) = counts(a, b)?;
    Ok(if sum == 0 { empty } else { both as f64 / (sum - both) as f64 })
}

fn counts(a: &[bool], b: &[bool]) -> Result<(usize, usize)> {
    if a.len() != b.len() {
        let expected = format!("as many pixels as the first mask, {}", a.len());
        return Err(Error::shape("y_pred", expected, &[b.len()]));
    }
    let both = a.iter().zip(b).filter(|&(&x, &y)| x && y).count();
    let sum = a.iter().chain(b).filter(|&&x| x).count();
    Ok((both, sum))
}

/// Intersection over union of two boxes (left, top, right, bottom); zero when either has no area.
pub fn box_iou(a: [f64; 4], b: [f64; 4]) -> Result<f64> {
    let (area_a, area_b) = (area(a)?, area(b)?);
    let width = (a[2].min(b[2]) - a[0].max(b[0])).max(0.0);
    let height = (a[3].min(b[3]) - a[1].max(b[1])).max(0.0);
    let both = width * height;
    let union = area_a + area_b - both;
    Ok(if union > 0.0 { both / union } else { 0.0 })
}

fn area(corners: [f64; 4]) -> Result<f64> {
    let [left, top, right, bottom] = corners;
    if corners.iter().all(|c| c.is_finite()) && left <= right && top <= bottom {
        return Ok((right - left) * (bottom - top));
    }
    let why = format!("got {corners:?}, expected finite left <= right and top <= bottom");
    Err(Error::value("box", why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlap_of_masks_follows_the_definition() {
        let (a, b) = ([true, true, false, false], [true, false, true, false]);
        assert_eq!(dice(&a, &b, f64::NAN).unwrap(), 0.5);
        assert_eq!(iou(&a, &b, f64::NAN).unwrap(), 1.0 / 3.0);
        assert!(dice(&[false], &[false], f64::NAN).unwrap().is_nan());
        assert_eq!(iou(&[false], &[false], 1.0).unwrap(), 1.0);
    }

    #[test]
    fn boxes_that_touch_do_not_overlap() {
        let unit = [0.0, 0.0, 1.0, 1.0];
        assert_eq!(box_iou(unit, [1.0, 0.0, 2.0, 1.0]).unwrap(), 0.0);
        assert_eq!(box_iou(unit, unit).unwrap(), 1.0);
        assert_eq!(box_iou(unit, [0.5, 0.0, 1.5, 1.0]).unwrap(), 1.0 / 3.0);
    }

    #[test]
    fn a_box_inside_out_is_refused() {
        let error = box_iou([1.0, 0.0, 0.0, 1.0], [0.0; 4]).unwrap_err().to_string();
        assert!(error.starts_with("box: got [1.0, 0.0, 0.0, 1.0], expected finite"), "{error}");
    }
}
