//! What the micro-batches of one step add up to.

use std::collections::BTreeMap;

use candle::{Tensor, Var};

use super::adamw::no_gradient;
use crate::nn::{self, Parameters};
use crate::{Error, Result};

/// Gradients summed over micro-batches.
#[derive(Debug, Default)]
pub(super) struct Gradients {
    pub(super) sums: BTreeMap<String, Tensor>,
    pub(super) loss: f64,
    pub(super) films: usize,
    pub(super) parts: usize,
}

impl Gradients {
    /// Adds the gradients of a micro-batch: one of each parameter that learns, of the others
    /// those that there are, and of nothing else.
    pub(super) fn add_all(
        &mut self,
        mut found: nn::Gradients,
        learning: &[(String, Var)],
        parameters: &Parameters,
    ) -> Result<()> {
        for (name, var) in learning {
            self.add(name, found.take(var).ok_or_else(|| no_gradient(name))?)?;
        }
        for (_, var) in parameters.all() {
            found.take(&var);
        }
        if found.is_empty() {
            return Ok(());
        }
        Err(Error::Training(format!(
            "{} gradients reached tensors that are no parameters; expected none: a loss must not \
             use results of an earlier step",
            found.len()
        )))
    }

    /// Adds one micro-batch's gradient of the parameter `name`.
    fn add(&mut self, name: &str, gradient: Tensor) -> Result<()> {
        let sum = match self.sums.get(name) {
            Some(sum) => (sum + gradient)?,
            None => gradient,
        };
        self.sums.insert(name.to_owned(), sum);
        Ok(())
    }
}
