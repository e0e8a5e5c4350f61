//! The trachea and the large bronchi, followed from the top slice by slice.

use ndarray::{Array2, Array3, ArrayView2, Axis};

use super::morphology::parts;

/// Darker than lung: the air of an airway, in blocks that may hold some of its wall.
const DARK: f32 = -900.0;

/// Cross-sections of a trachea or bronchus, in mm².
const LEAST: f64 = 40.0;
const MOST: f64 = 800.0;

/// Finds the airway among the air inside the body. A section too large for one is lung, so the
/// search cannot leak; a scan that begins below the trachea has none.
pub(super) fn find(coarse: &Array3<f32>, inner: &Array3<bool>, spacing: [f64; 3]) -> Array3<bool> {
    let mut airway = Array3::from_elem(coarse.raw_dim(), false);
    let pixel = spacing[1] * spacing[2];
    let (depth, ..) = coarse.dim();
    let middle = centre(inner);
    let mut above: Option<Array2<bool>> = None;
    for z in (0..depth).rev() {
        let dark = ndarray::Zip::from(coarse.index_axis(Axis(0), z))
            .and(inner.index_axis(Axis(0), z))
            .map_collect(|&hu, &inside| inside && hu < DARK);
        let mut slice = Array2::from_elem(dark.raw_dim(), false);
        for section in sections(dark.view()) {
            let area = section.iter().filter(|set| **set).count() as f64 * pixel;
            let follows = match &above {
                Some(above) => section.iter().zip(above).any(|(a, b)| *a && *b),
                None => central(&section, middle, spacing),
            };
            if follows && (LEAST..=MOST).contains(&area) {
                slice.zip_mut_with(&section, |set, &own| *set |= own);
            }
        }
        let found = slice.iter().any(|set| *set);
        if !found && above.is_some() {
            break;
        }
        airway.index_axis_mut(Axis(0), z).assign(&slice);
        // Bronchi run obliquely: the next section may lie a block aside.
        above = found.then(|| {
            let thick = slice.insert_axis(Axis(0));
            super::morphology::grown(&thick, 1).index_axis_move(Axis(0), 0)
        });
    }
    airway
}

fn sections(slice: ArrayView2<'_, bool>) -> Vec<Array2<bool>> {
    let found = parts(&slice.to_owned().insert_axis(Axis(0)));
    (1..=found.sizes.len() as u32)
        .map(|part| found.mask(part).index_axis_move(Axis(0), 0))
        .collect()
}

/// The mean column of the air.
fn centre(inner: &Array3<bool>) -> f64 {
    let set = inner.indexed_iter().filter(|(_, set)| **set);
    let (sum, count) =
        set.fold((0.0, 0.0), |(sum, count), ((.., x), _)| (sum + x as f64, count + 1.0));
    if count > 0.0 { sum / count } else { 0.0 }
}

/// Whether a section lies within 4 cm of the middle: the tops of the lungs do not.
fn central(section: &Array2<bool>, middle: f64, spacing: [f64; 3]) -> bool {
    let set = section.indexed_iter().filter(|(_, set)| **set);
    let (sum, count) =
        set.fold((0.0, 0.0), |(sum, count), ((_, x), _)| (sum + x as f64, count + 1.0));
    count > 0.0 && ((sum / count - middle) * spacing[2]).abs() < 40.0
}
