//! Where a core error becomes a Python exception: here and nowhere else.

use std::io::ErrorKind;

use pyo3::exceptions::PyKeyboardInterrupt;
use pyo3::{PyErr, import_exception};

use crate::Error;

import_exception!(carina.errors, CheckpointError);
import_exception!(carina.errors, ConfigError);
import_exception!(carina.errors, DeviceError);
import_exception!(carina.errors, FileError);
import_exception!(carina.errors, FormatError);
import_exception!(carina.errors, InternalError);
import_exception!(carina.errors, InvalidValueError);
import_exception!(carina.errors, ManifestError);
import_exception!(carina.errors, MissingFileError);
import_exception!(carina.errors, OutOfMemoryError);
import_exception!(carina.errors, ShapeError);
import_exception!(carina.errors, TrainingError);

impl From<Error> for PyErr {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        match error {
            Error::Shape { .. } => ShapeError::new_err(text),
            Error::Value { .. } => InvalidValueError::new_err(text),
            Error::Config { .. } => ConfigError::new_err(text),
            // `except FileNotFoundError` must work as it does everywhere else.
            Error::Io { source, .. } if source.kind() == ErrorKind::NotFound => {
                MissingFileError::new_err(text)
            }
            Error::Io { .. } => FileError::new_err(text),
            Error::Format { .. } => FormatError::new_err(text),
            Error::Manifest { .. } => ManifestError::new_err(text),
            Error::Checkpoint { .. } => CheckpointError::new_err(text),
            Error::Training(_) => TrainingError::new_err(text),
            Error::Device { .. } => DeviceError::new_err(text),
            Error::Memory { .. } => OutOfMemoryError::new_err(text),
            Error::Interrupted => PyKeyboardInterrupt::new_err(text),
            Error::Internal(_) | Error::Tensor(_) => InternalError::new_err(text),
        }
    }
}
