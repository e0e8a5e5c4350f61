//! Model presets: data, compiled in.

use super::ModelSpec;
use crate::{Error, Result};

/// The presets by name, `system-size`.
const PRESETS: &[(&str, &str)] = &[
    ("elixr-tiny", include_str!("presets/elixr-tiny.toml")),
    ("elixr-qformer", include_str!("presets/elixr-qformer.toml")),
    ("elixr-small", include_str!("presets/elixr-small.toml")),
    ("elixr-densenet121", include_str!("presets/elixr-densenet121.toml")),
    ("elixr-base", include_str!("presets/elixr-base.toml")),
    ("elixr-l2", include_str!("presets/elixr-l2.toml")),
];

/// The names that [`preset`] knows.
pub fn presets() -> Vec<&'static str> {
    PRESETS.iter().map(|(name, _)| *name).collect()
}

/// A model's specification from the presets.
pub fn preset(name: &str) -> Result<ModelSpec> {
    let found = PRESETS.iter().find(|(known, _)| *known == name).ok_or_else(|| {
        let known = presets().join(", ");
        Error::value("preset", format!("found {name:?}, expected one of {known}"))
    })?;
    toml::from_str(found.1).map_err(|error| Error::Internal(format!("preset {name}: {error}")))
}
