//! Weights in and out: the only opener of checkpoints.
