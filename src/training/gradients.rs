//! What the micro-batches of one step add up to.

use std::collections::BTreeMap;

use candle::Tensor;

use crate::Result;

/// Gradients summed over micro-batches.
#[derive(Debug, Default)]
pub(super) struct Gradients {
    pub(super) sums: BTreeMap<String, Tensor>,
    pub(super) loss: f64,
    pub(super) films: usize,
    pub(super) parts: usize,
}

impl Gradients {
    /// Adds one micro-batch's gradient of the parameter `name`.
    pub(super) fn add(&mut self, name: &str, gradient: Tensor) -> Result<()> {
        let sum = match self.sums.get(name) {
            Some(sum) => (sum + gradient)?,
            None => gradient,
        };
        self.sums.insert(name.to_owned(), sum);
        Ok(())
    }
}
