//! What the numbers of a configuration must be.

use crate::{Error, Result};

/// Refuses a size that is not 1 to `most`.
pub(crate) fn within(field: impl Into<String>, found: usize, most: usize) -> Result<()> {
    if (1..=most).contains(&found) {
        return Ok(());
    }
    Err(Error::config(field, format!("found {found}, expected 1 to {most}")))
}

/// Refuses what cannot be added to the variance in a norm.
pub(crate) fn small(field: impl Into<String>, found: f64) -> Result<()> {
    if found > 0.0 && found < 1.0 {
        return Ok(());
    }
    Err(Error::config(field, format!("found {found}, expected a small positive number")))
}

/// Refuses what is no probability of an omission.
pub(crate) fn chance(field: impl Into<String>, found: f64) -> Result<()> {
    if (0.0..1.0).contains(&found) {
        return Ok(());
    }
    Err(Error::config(field, format!("found {found}, expected 0 ≤ p < 1")))
}
