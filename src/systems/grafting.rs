//! A model gets a decoder: its weights, its tokenizer, and an adapter that leads to it.

use candle::Tensor;

use super::plan::no_decoder;
use super::{Graft, GraftConfig, Model};
use crate::fusion::Adapter;
use crate::language::{Decoder, LoraConfig, Script};
use crate::nn::{Parameters, Precision};
use crate::{Error, Result};

/// What the names of the parameters begin with that come with a decoder.
const PARTS: [&str; 3] = ["adapter.", "decoder.", "lora."];

/// How a decoder is put behind a model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Grafting {
    /// Features between the two maps of the adapter; the width of the decoder when absent.
    pub adapter_dim: Option<usize>,
    /// Low-rank updates of the decoder.
    pub lora: Option<LoraConfig>,
    /// Seed of the adapter and the updates.
    pub seed: u64,
}

impl Model {
    /// Puts a copy of `decoder` behind the model, in place of one that is there already. The new
    /// adapter speaks about as loudly as the decoder's own words.
    pub fn graft(&mut self, decoder: &Decoder, how: &Grafting) -> Result<()> {
        let Some(weights) = decoder.parameters() else {
            let found = match decoder.precision() {
                Precision::F32 => "shared",
                Precision::Bf16 => "in bf16",
                Precision::Q8_0 => "in q8_0",
            };
            let why = format!(
                "found one opened {found}, expected f32, not shared: gradients pass through its \
                 weights; open it with load_decoder(folder)"
            );
            return Err(Error::value("decoder", why));
        };
        let script = decoder.script().clone();
        let config = GraftConfig {
            llama: decoder.config().clone(),
            adapter_dim: how.adapter_dim.unwrap_or(decoder.config().dim),
            lora: how.lora.clone(),
            script: script.hash()?,
        };
        let mut sizes = self.spec.elixr().clone();
        sizes.decoder = Some(Box::new(config.clone()));
        sizes.validate()?;
        let parts = Parameters::new(how.seed, self.device());
        parts.adopt("decoder.", weights)?;
        Graft::new(&config, sizes.query_dim(), &parts.builder())?;
        speak_as_loudly(&parts)?;
        for prefix in PARTS {
            self.parameters.forget(prefix);
        }
        self.parameters.take_in(&parts);
        *self.spec.elixr_mut() = sizes;
        self.script = Some(script);
        self.changed();
        Ok(())
    }

    /// The options of the decoder and how its texts are read; fails when there is none.
    pub fn grafted(&self) -> Result<(&GraftConfig, &Script)> {
        match (&self.spec.elixr().decoder, &self.script) {
            (Some(config), Some(script)) => Ok((config, script)),
            _ => Err(no_decoder()),
        }
    }

    /// The decoder without a graph, for use. Built once; [`Self::changed`] lets go of it.
    pub fn still_graft(&self, precision: Precision) -> Result<&Graft> {
        precision.learns()?;
        let place = &self.still_graft[precision as usize];
        if let Some(still) = place.get() {
            return Ok(still);
        }
        let still = self.frozen_graft(precision)?;
        Ok(place.get_or_init(|| still))
    }

    /// The decoder without a graph, as it is now.
    pub fn frozen_graft(&self, precision: Precision) -> Result<Graft> {
        let (config, _) = self.grafted()?;
        let from = self.spec.elixr().query_dim();
        Graft::new(config, from, &self.parameters.frozen_in(precision))
    }

    /// Adds the low-rank updates to the decoder's weights, and drops them.
    pub fn merge_lora(&mut self) -> Result<()> {
        let (config, _) = self.grafted()?;
        if config.lora.is_none() {
            let why = "found none; give the decoder some with model.graft(decoder, lora_rank=8)";
            return Err(Error::value("low-rank updates", why));
        }
        for (name, weight) in self.frozen_graft(Precision::F32)?.decoder_mut().merged()? {
            self.parameters.set(&format!("decoder.model.{name}.weight"), &weight)?;
        }
        self.parameters.forget("lora.");
        if let Some(decoder) = &mut self.spec.elixr_mut().decoder {
            decoder.lora = None;
        }
        self.changed();
        Ok(())
    }
}

/// Brings what the adapter gives to the size of the decoder's own words.
fn speak_as_loudly(parts: &Parameters) -> Result<()> {
    let lost = || Error::Internal("a decoder without a table of words".to_owned());
    let table = parts.get("decoder.model.embed_tokens.weight").ok_or_else(lost)?;
    let size = table.sqr()?.mean_all()?.sqrt()?.to_scalar::<f32>()?;
    for name in ["adapter.fc2.weight", "adapter.fc2.bias"] {
        let found: Option<Tensor> = parts.get(name).map(|var| var.as_detached_tensor());
        let value = found.ok_or_else(lost)?;
        parts.set(name, &(value * (f64::from(size) / Adapter::SIZE))?)?;
    }
    Ok(())
}
