//! Protocols: what is asked of a model, how it is scored and reported.

pub mod probe;
