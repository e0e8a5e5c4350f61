//! What may be done to slices that are no regular stack.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// A repair that the caller allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Repair {
    /// Slices that are missing between others are interpolated linearly.
    Missing,
    /// Of several slices at one place the first, by file name, is kept.
    Duplicates,
    /// Of several sizes or pixel spacings the commonest is kept.
    Size,
    /// Of several orientations the commonest is kept.
    Orientation,
    /// Slices without a place are left out.
    Position,
    /// Slices at uneven distances are interpolated to even ones.
    Uneven,
    /// Slices of a tilted gantry are shifted to stand above each other.
    Tilt,
}

impl Repair {
    /// All repairs, by name.
    pub const NAMED: [(&'static str, Self); 7] = [
        ("missing", Self::Missing),
        ("duplicates", Self::Duplicates),
        ("size", Self::Size),
        ("orientation", Self::Orientation),
        ("position", Self::Position),
        ("uneven", Self::Uneven),
        ("tilt", Self::Tilt),
    ];

    /// A repair by name.
    pub fn named(name: &str) -> Result<Self> {
        let found = Self::NAMED.iter().find(|(known, _)| *known == name);
        found.map(|(_, repair)| *repair).ok_or_else(|| {
            let names = Self::NAMED.map(|(known, _)| known).join(", ");
            Error::value("repair", format!("expected some of {names}, found {name:?}"))
        })
    }
}
