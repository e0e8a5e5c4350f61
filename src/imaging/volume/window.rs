//! Windows of Hounsfield units with a name.

use super::Volume;
use crate::{Error, Result};

/// The values of a volume that become 0 and 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HuWindow {
    /// The value that becomes 0.
    pub low: f32,
    /// The value that becomes 1.
    pub high: f32,
}

impl HuWindow {
    /// Names and ends. The first three are those of the reading room; `cancer` and `heart` are
    /// those that M3FM was trained with.
    pub const NAMED: [(&'static str, Self); 5] = [
        ("lung", Self { low: -1350.0, high: 150.0 }),
        ("mediastinum", Self { low: -160.0, high: 240.0 }),
        ("bone", Self { low: -500.0, high: 1300.0 }),
        ("cancer", Self { low: -1300.0, high: 150.0 }),
        ("heart", Self { low: -135.0, high: 225.0 }),
    ];

    /// A window by name.
    pub fn named(name: &str) -> Result<Self> {
        let found = Self::NAMED.iter().find(|(known, _)| *known == name);
        found.map(|(_, window)| *window).ok_or_else(|| {
            let names = Self::NAMED.map(|(known, _)| known).join(", ");
            Error::value("window", format!("expected one of {names}, found {name:?}"))
        })
    }

    /// A window by its ends.
    pub fn new(low: f32, high: f32) -> Result<Self> {
        if low.is_finite() && high.is_finite() && low < high {
            return Ok(Self { low, high });
        }
        Err(Error::value("window", format!("expected low < high, found {low} and {high}")))
    }
}

impl Volume {
    /// The volume with a window mapped linearly to [0, 1] and clipped outside it.
    #[must_use]
    pub fn window(&self, window: HuWindow) -> Self {
        let HuWindow { low, high } = window;
        let voxels = self.voxels.mapv(|v| ((v.clamp(low, high) - low) / (high - low)).min(1.0));
        self.became(voxels, self.grid.clone(), format!("window {low} to {high}, to [0, 1]"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_without_a_name_is_refused_with_the_names() {
        let error = HuWindow::named("brain").unwrap_err().to_string();
        let known = "lung, mediastinum, bone, cancer, heart";
        assert_eq!(error, format!("window: expected one of {known}, found \"brain\""));
        let error = HuWindow::new(3.0, 3.0).unwrap_err().to_string();
        assert_eq!(error, "window: expected low < high, found 3 and 3");
    }
}
