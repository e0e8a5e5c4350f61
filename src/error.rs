//! The one error type of the crate, and how it reads to a person.
//!
//! Every variant says what was at fault, what was found and what was expected.

use std::path::Path;

/// What went wrong, with the values needed to mend it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An array does not have the shape that the layer or reader needs.
    #[error("{what}: expected shape {expected}, got {got:?}")]
    Shape {
        /// The argument or tensor at fault.
        what: String,
        /// The shape needed, as written in the docs.
        expected: String,
        /// The shape received.
        got: Vec<usize>,
    },
    /// An argument has a value without meaning here.
    #[error("{what}: {why}")]
    Value {
        /// The argument at fault.
        what: String,
        /// What was found and what was expected.
        why: String,
    },
    /// A configuration field has a value that nothing can be built from.
    #[error("config field `{field}`: {why}")]
    Config {
        /// The field, as spelled in the file.
        field: String,
        /// What was found and what was expected.
        why: String,
    },
    /// The system could not read or write a file.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file was read, but its content is not what it should be.
    #[error("{path}: {why}")]
    Format {
        /// The file.
        path: String,
        /// What was found and what was expected.
        why: String,
    },
    /// A manifest row or column that no study can be made from.
    #[error("{place}: {why}")]
    Manifest {
        /// The file, row and column.
        place: String,
        /// What was found and what was expected.
        why: String,
    },
    /// A checkpoint that does not fit the model.
    #[error("{path}: {why}")]
    Checkpoint {
        /// The file or folder.
        path: String,
        /// Which keys, found and expected.
        why: String,
    },
    /// Training could not start or go on.
    #[error("training: {0}")]
    Training(String),
    /// The device asked for is not there.
    #[error("device {asked:?}: {why}")]
    Device {
        /// What the caller asked for.
        asked: String,
        /// Why it cannot be had, and what can.
        why: String,
    },
    /// A call would take more memory than there is.
    #[error("{call} needs about {why}; carina.check_memory(False) goes on regardless")]
    Memory {
        /// The call, its batch and the shape of one.
        call: String,
        /// What is needed, what there is, and what the caller may change.
        why: String,
    },
    /// The caller asked to stop.
    #[error("interrupted")]
    Interrupted,
    /// A defect of this package: a panic caught at the border.
    #[error("internal error, please report it: {0}")]
    Internal(String),
    /// A tensor operation failed inside candle.
    #[error(transparent)]
    Tensor(#[from] candle::Error),
}

impl Error {
    /// An argument `what` with an explanation.
    pub fn value(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Value { what: what.into(), why: why.into() }
    }

    /// A shape mismatch of `what`.
    pub fn shape(what: impl Into<String>, expected: impl Into<String>, got: &[usize]) -> Self {
        Self::Shape { what: what.into(), expected: expected.into(), got: got.to_vec() }
    }

    /// A bad configuration field.
    pub fn config(field: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Config { field: field.into(), why: why.into() }
    }

    /// A file whose content is wrong.
    pub fn format(path: impl AsRef<Path>, why: impl Into<String>) -> Self {
        Self::Format { path: path.as_ref().display().to_string(), why: why.into() }
    }

    /// A failed read or write of `path`.
    pub fn io(path: impl AsRef<Path>, source: std::io::Error) -> Self {
        Self::Io { path: path.as_ref().display().to_string(), source }
    }

    /// A checkpoint that does not fit.
    pub fn checkpoint(path: impl AsRef<Path>, why: impl Into<String>) -> Self {
        Self::Checkpoint { path: path.as_ref().display().to_string(), why: why.into() }
    }
}

/// The result of every fallible function of the crate.
pub type Result<T> = std::result::Result<T, Error>;
