//! Low-rank updates of a decoder's linear maps.

use candle::Tensor;
use candle_nn::VarBuilder;
use serde::{Deserialize, Serialize};

use super::Llama;
use crate::nn::Linear;
use crate::nn::limits::within;
use crate::{Error, Result};

/// The linear maps of a layer, in the order of [`Llama::linears_mut`].
const MAPS: [(&str, &str); 7] = [
    ("self_attn", "q_proj"),
    ("self_attn", "k_proj"),
    ("self_attn", "v_proj"),
    ("self_attn", "o_proj"),
    ("mlp", "gate_proj"),
    ("mlp", "up_proj"),
    ("mlp", "down_proj"),
];

/// Which maps of a decoder are updated, and how much an update can say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoraConfig {
    /// The rank of each update.
    pub rank: usize,
    /// Updates are multiplied by this over the rank.
    pub alpha: f64,
    /// The maps: `q_proj`, `k_proj`, `v_proj`, `o_proj`, `gate_proj`, `up_proj`, `down_proj`.
    pub targets: Vec<String>,
}

impl Default for LoraConfig {
    fn default() -> Self {
        let targets = ["q_proj", "v_proj"].map(str::to_owned).to_vec();
        Self { rank: 8, alpha: 16.0, targets }
    }
}

impl LoraConfig {
    /// Refuses what no update can be made from, naming the field.
    pub fn validate(&self) -> Result<()> {
        within("lora.rank", self.rank, 4096)?;
        if !(self.alpha.is_finite() && self.alpha > 0.0) {
            let why = format!("found {}, expected a number above 0", self.alpha);
            return Err(Error::config("lora.alpha", why));
        }
        let known = MAPS.map(|(_, name)| name);
        if !self.targets.is_empty() && self.targets.iter().all(|name| known.contains(&&**name)) {
            return Ok(());
        }
        let why = format!("found {:?}, expected some of {}", self.targets, known.join(", "));
        Err(Error::config("lora.targets", why))
    }
}

impl Llama {
    /// Adds an update to every map that `config` names; parameters under `vb` go by the names of
    /// the maps, as `layers.0.self_attn.q_proj.lora_A.weight`.
    pub fn with_lora(&mut self, config: &LoraConfig, vb: &VarBuilder) -> Result<()> {
        config.validate()?;
        for (name, map) in self.named_linears_mut() {
            if config.targets.iter().any(|target| name.rsplit('.').next() == Some(target)) {
                map.with_lora(config.rank, config.alpha, vb.pp(name))?;
            }
        }
        Ok(())
    }

    /// The weights of all maps that have an update, by name, with the update added in.
    pub fn merged(&mut self) -> Result<Vec<(String, Tensor)>> {
        let updated = self.named_linears_mut().into_iter().filter(|(_, map)| map.lora().is_some());
        updated.map(|(name, map)| Ok((name, map.merged_weight()?))).collect()
    }

    fn named_linears_mut(&mut self) -> Vec<(String, &mut Linear)> {
        let named = |(i, map)| {
            let (part, name) = MAPS[i % MAPS.len()];
            (format!("layers.{}.{part}.{name}", i / MAPS.len()), map)
        };
        self.linears_mut().into_iter().enumerate().map(named).collect()
    }
}
