//! A running mean of the weights, steadier than the last step's.
//!
//! Source: Polyak and Juditsky 1992; in the exponential form of Tarvainen and Valpola 2017,
//! "Mean teachers are better role models", arXiv:1703.01780, with a warm-up of the decay.

use std::collections::BTreeMap;

use candle::{Tensor, Var};

use crate::{Error, Result, kernels};

/// The running mean, by parameter; empty when the decay is 0.
#[derive(Debug)]
pub(super) struct Average {
    decay: f64,
    means: BTreeMap<String, Tensor>,
}

/// Weights taken out of a model while the mean stands in for them.
#[derive(Debug)]
pub(super) struct Held(Vec<Tensor>);

impl Average {
    /// A mean that starts at the present weights.
    pub(super) fn new(learning: &[(String, Var)], decay: f64) -> Result<Self> {
        let used = if decay > 0.0 { learning } else { &[] };
        let copies =
            used.iter().map(|(name, var)| Ok((name.clone(), var.as_detached_tensor().copy()?)));
        Ok(Self { decay, means: copies.collect::<Result<_>>()? })
    }

    /// Folds the present weights in. The decay rises with the step, so that the start is forgotten.
    pub(super) fn update(&mut self, learning: &[(String, Var)], step: u64) -> Result<()> {
        let decay = self.decay.min((1.0 + step as f64) / (10.0 + step as f64));
        for (name, var) in learning {
            if let Some(mean) = self.means.get_mut(name) {
                // Detached: else the mean would keep the weights of every step before.
                let now = var.as_detached_tensor();
                if kernels::serve(&[mean, &now]) {
                    kernels::change(mean, &now, |mean, now| {
                        kernels::blend(mean, now, decay as f32);
                    })?;
                } else {
                    *mean = ((&*mean * decay)? + (now * (1.0 - decay))?)?;
                }
            }
        }
        Ok(())
    }

    /// Puts the mean into the model.
    pub(super) fn adopt(&self, learning: &[(String, Var)]) -> Result<()> {
        for (name, var) in learning {
            if let Some(mean) = self.means.get(name) {
                var.set(mean)?;
            }
        }
        Ok(())
    }

    /// Puts the mean into the model and gives what was there.
    pub(super) fn swap_in(&self, learning: &[(String, Var)]) -> Result<Held> {
        let held = learning.iter().map(|(_, var)| Ok(var.as_detached_tensor().copy()?));
        let held = held.collect::<Result<_>>()?;
        self.adopt(learning)?;
        Ok(Held(held))
    }

    /// The state, for a checkpoint.
    pub(super) fn state(&self) -> BTreeMap<String, Tensor> {
        self.means.clone()
    }

    /// Puts back what [`Self::state`] gave.
    pub(super) fn restore(&mut self, state: &BTreeMap<String, Tensor>) -> Result<()> {
        for (name, mean) in &mut self.means {
            let why = || format!("the running mean of `{name}` is missing from the checkpoint");
            let stored = state.get(name).ok_or_else(|| Error::Training(why()))?;
            *mean = stored.to_device(mean.device())?;
        }
        Ok(())
    }
}

impl Held {
    /// Ends the stand-in.
    pub(super) fn put_back(self, learning: &[(String, Var)]) -> Result<()> {
        for ((_, var), value) in learning.iter().zip(self.0) {
            var.set(&value)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle::Device;

    #[test]
    fn the_mean_follows_its_formula_and_stands_in_for_the_weights() {
        let var = Var::new(&[1f32], &Device::Cpu).unwrap();
        let learning = [("w".to_owned(), var.clone())];
        let mut average = Average::new(&learning, 0.5).unwrap();
        var.set(&Tensor::new(&[3f32], &Device::Cpu).unwrap()).unwrap();
        average.update(&learning, 100).unwrap();
        assert!(!average.means["w"].track_op());
        let held = average.swap_in(&learning).unwrap();
        assert_eq!(var.to_vec1::<f32>().unwrap(), [2.0]);
        held.put_back(&learning).unwrap();
        assert_eq!(var.to_vec1::<f32>().unwrap(), [3.0]);
    }
}
