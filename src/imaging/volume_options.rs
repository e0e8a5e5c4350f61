//! How to read a volume.

use super::grid::Turn;
use super::{Grid, Repair};
use crate::{Error, Result};

/// How to read a volume; by default whatever is doubtful is an error.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct VolumeOptions {
    /// Where x, y and z are to point, three letters; `LPS` (left, back, head) by default.
    /// `stored` leaves the axes as the file has them.
    pub orientation: Option<String>,
    /// What may be done to a series whose slices are no regular stack.
    pub repair: Vec<Repair>,
    /// The value of voxels that are padding, NaN or outside of what was scanned; by default air
    /// (-1024) for CT, the lowest other value for the rest, and an error for NaN.
    pub fill: Option<f32>,
    /// How the axes of a NIfTI file lie that does not say so itself.
    pub assume: Option<String>,
    /// Which series of a folder, counted from 0; needed where it holds several.
    pub series: Option<usize>,
}

impl VolumeOptions {
    /// The turn from the stored axes to those asked for.
    pub(super) fn turn(&self, stored: &Grid) -> Result<Turn> {
        match self.orientation.as_deref() {
            Some("stored") => Ok(Turn { from: [0, 1, 2], flip: [false; 3] }),
            letters => stored.turn_to(letters.unwrap_or("LPS")),
        }
    }

    /// Checks options that came from outside.
    pub fn validate(&self) -> Result<()> {
        let plain = Grid::new([1; 3], [1.0; 3]);
        self.turn(&plain)?;
        if let Some(letters) = &self.assume {
            plain.turn_to(letters)?;
        }
        match self.fill {
            Some(fill) if !fill.is_finite() => {
                Err(Error::value("fill", format!("expected a finite value, found {fill}")))
            }
            _ => Ok(()),
        }
    }
}
