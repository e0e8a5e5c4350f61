//! Configurations of the one architecture: config, assembly, forward.
