//! Metrics of the field, on plain arrays.
