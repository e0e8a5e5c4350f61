//! Losses, optimiser, schedules, the training loop and its checkpoints.
