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
        found: nn::Gradients,
        learning: &[(String, Var)],
        parameters: &Parameters,
    ) -> Result<()> {
        match learning.iter().find(|(_, var)| found.get(var).is_none()) {
            Some((name, _)) => Err(no_gradient(name)),
            None => self.add_some(found, learning, parameters),
        }
    }

    /// As [`Self::add_all`], of the parameters that learn those that there are: see
    /// [`Self::check`].
    pub(super) fn add_some(
        &mut self,
        mut found: nn::Gradients,
        learning: &[(String, Var)],
        parameters: &Parameters,
    ) -> Result<()> {
        for (name, var) in learning {
            if let Some(gradient) = found.take(var) {
                self.add(name, gradient)?;
            }
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

    /// Fails when a parameter that learns has no gradient.
    pub(super) fn check(&self, learning: &[(String, Var)]) -> Result<()> {
        match learning.iter().find(|(name, _)| !self.sums.contains_key(name)) {
            Some((name, _)) => Err(no_gradient(name)),
            None => Ok(()),
        }
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
