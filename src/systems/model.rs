//! A model: its specification, its parameters and its towers; one folder on disk.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::OnceLock;

use candle::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::elixr::{Elixr, ElixrConfig};
use super::{Graft, Plan, Sketch};
use crate::imaging::Recipe;
use crate::language::{Script, TokenBatch, Tokenizer};
use crate::nn::{Kind, Parameters, Precision};
use crate::weights::{self, Checkpoint, LoadReport, NameMap, Strictness};
use crate::{Error, Result, files};

/// The layout of `config.json` that this version reads and writes.
const FORMAT: u32 = 1;

/// The part of a model's folder that holds a decoder's tokenizer and chat template.
const DECODER: &str = "decoder";

/// Which of the four systems, with its sizes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum SystemConfig {
    /// An image encoder aligned with language.
    Elixr(ElixrConfig),
}

/// A model's `config.json`: all but the weights and the tokenizer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSpec {
    /// Version of this layout.
    pub format: u32,
    /// The system and its sizes.
    pub system: SystemConfig,
    /// How pixels are made right for it.
    #[serde(default = "default_recipe")]
    pub recipe: Recipe,
    /// Licence of the weights, as SPDX or in words.
    pub licence: String,
    /// How the weights came about: one line a stage.
    pub lineage: Vec<String>,
}

/// Presets leave the recipe to the size that the caller asks for.
fn default_recipe() -> Recipe {
    Recipe::film(224)
}

impl ModelSpec {
    /// A specification without history.
    pub fn new(system: SystemConfig, recipe: Recipe) -> Self {
        let licence = "unset".to_owned();
        Self { format: FORMAT, system, recipe, licence, lineage: Vec::new() }
    }

    /// The same specification for square films of `image_size` pixels a side, with the fields
    /// of `overrides` (a JSON object, merged into `system`) in place of its own.
    pub fn customised(self, image_size: usize, overrides: Option<&str>) -> Result<Self> {
        let mut system = serde_json::to_value(&self.system)
            .map_err(|error| Error::Internal(format!("specification: {error}")))?;
        if let Some(overrides) = overrides {
            let changes = serde_json::from_str(overrides)
                .map_err(|error| Error::config("overrides", error.to_string()))?;
            merge(&mut system, changes);
        }
        let system = serde_json::from_value(system)
            .map_err(|error| Error::config("overrides", error.to_string()))?;
        let recipe = Recipe::film(image_size);
        recipe.validate()?;
        Ok(Self { system, recipe, ..self })
    }

    /// What the head scores.
    pub fn findings(&self) -> &[String] {
        &self.elixr().findings
    }

    /// Sets what the head scores.
    pub fn set_findings(&mut self, findings: Vec<String>) {
        let SystemConfig::Elixr(config) = &mut self.system;
        config.findings = findings;
    }

    /// The system's sizes.
    pub fn elixr(&self) -> &ElixrConfig {
        let SystemConfig::Elixr(config) = &self.system;
        config
    }

    /// The system's sizes, to be changed.
    pub(super) fn elixr_mut(&mut self) -> &mut ElixrConfig {
        let SystemConfig::Elixr(config) = &mut self.system;
        config
    }
}

/// Puts the fields of `changes` over those of `base`, deep down.
fn merge(base: &mut serde_json::Value, changes: serde_json::Value) {
    match (base, changes) {
        (serde_json::Value::Object(base), serde_json::Value::Object(changes)) => {
            // Another kind of part has other fields: nothing of the old one stays.
            if changes.get("arch").is_some_and(|arch| base.get("arch") != Some(arch)) {
                *base = changes;
                return;
            }
            for (key, change) in changes {
                merge(base.entry(key).or_insert(serde_json::Value::Null), change);
            }
        }
        (base, changes) => *base = changes,
    }
}

/// How the texts of the decoder are read that `config` has, if it has one.
fn script_beside(folder: &Path, config: &ElixrConfig) -> Result<Option<Script>> {
    let Some(decoder) = &config.decoder else { return Ok(None) };
    let folder = folder.join(DECODER);
    let script = Script::open(&folder, &decoder.llama)?;
    if script.hash()? != decoder.script {
        let why = "found another tokenizer or chat template, expected those that the model was \
                   saved with";
        return Err(Error::format(folder.join("tokenizer.json"), why));
    }
    Ok(Some(script))
}

/// A model that can be trained and asked.
#[derive(Debug)]
pub struct Model {
    pub(super) spec: ModelSpec,
    pub(super) parameters: Parameters,
    /// The towers that learn.
    towers: Elixr,
    /// The same towers as they are used, by precision, until something changes the weights.
    still: [OnceLock<Elixr>; 2],
    tokenizer: Tokenizer,
    /// The decoder as it is used, by precision, likewise.
    pub(super) still_graft: [OnceLock<Graft>; 2],
    /// How the decoder's texts are read; there is one with a decoder.
    pub(super) script: Option<Script>,
}

impl Model {
    /// An untrained model whose weights depend on `seed` only.
    pub fn create(
        spec: ModelSpec,
        tokenizer: Tokenizer,
        seed: u64,
        device: &Device,
    ) -> Result<Self> {
        if spec.elixr().decoder.is_some() {
            let why = "found one, expected none: a decoder comes by model.graft(decoder)";
            return Err(Error::config("decoder", why));
        }
        Self::build(spec, (tokenizer, None), Parameters::new(seed, device))
    }

    fn build(
        mut spec: ModelSpec,
        (tokenizer, script): (Tokenizer, Option<Script>),
        parameters: Parameters,
    ) -> Result<Self> {
        let SystemConfig::Elixr(config) = &mut spec.system;
        config.text.set_vocab_size(tokenizer.vocab_size());
        let tokenizer = tokenizer.with_max_length(config.text_length)?;
        let mut tokenizer = config.text.fitted(tokenizer);
        if config.cxr_foundation_tokens {
            tokenizer = tokenizer.cxr_foundation()?;
        }
        let towers = Elixr::new(config, &parameters.builder())?;
        if let Some(decoder) = &config.decoder {
            Graft::new(decoder, config.query_dim(), &parameters.builder())?; // declares what to load
        }
        let (still, still_graft) = Default::default();
        Ok(Self { spec, parameters, towers, still, tokenizer, still_graft, script })
    }

    /// Opens a model's folder: `config.json`, `model.safetensors` and `tokenizer.json`; the
    /// tokenizer of a decoder lies in `decoder`.
    pub fn load(folder: &Path, device: &Device) -> Result<(Self, LoadReport)> {
        let path = folder.join("config.json");
        let bytes = files::read(&path)?;
        let spec: ModelSpec =
            serde_json::from_slice(&bytes).map_err(|e| Error::format(&path, e.to_string()))?;
        if spec.format != FORMAT {
            let why = format!("found format {}, expected {FORMAT}", spec.format);
            return Err(Error::format(&path, why));
        }
        let path = folder.join("tokenizer.json");
        let length = spec.elixr().text_length;
        let tokenizer = Tokenizer::from_json(&files::read(&path)?, length)
            .map_err(|why| Error::format(&path, why.to_string()))?;
        let script = script_beside(folder, spec.elixr())?;
        let model = Self::build(spec, (tokenizer, script), Parameters::blank(device))?;
        let checkpoint = Checkpoint::open(folder.join("model.safetensors"))?;
        let report = weights::load(
            &model.parameters,
            &checkpoint,
            &NameMap::named("plain")?,
            Strictness::Strict,
        )?;
        Ok((model, report))
    }

    /// Writes the model's folder; `config.json` goes first and comes last, so a folder that has one
    /// is whole.
    pub fn save(&self, folder: &Path) -> Result<()> {
        files::create_folder(folder)?;
        files::remove(&folder.join("config.json"))?;
        let tensors: Vec<(String, Tensor)> = self
            .parameters
            .all()
            .into_iter()
            .map(|(name, var)| (name, var.as_tensor().clone()))
            .collect();
        weights::save(&tensors, &folder.join("model.safetensors"), &BTreeMap::new())?;
        let tokenizer = self.tokenizer.to_json()?;
        files::write_atomic(&folder.join("tokenizer.json"), tokenizer.as_bytes())?;
        if let Some(script) = &self.script {
            script.save(&folder.join(DECODER))?;
        }
        let text = serde_json::to_string_pretty(&self.spec)
            .map_err(|error| Error::Internal(format!("config.json: {error}")))?;
        files::write_atomic(&folder.join("config.json"), text.as_bytes())
    }

    /// All but the weights.
    pub fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    /// The named tensors.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The towers, whose parameters gather gradients.
    pub fn towers(&self) -> &Elixr {
        &self.towers
    }

    /// The towers, whose parameters gather gradients, for one pass that multiplies in `precision`.
    pub fn towers_in(&self, precision: Precision) -> Result<Elixr> {
        precision.learns()?;
        if precision.is_single() {
            return Ok(self.towers.clone());
        }
        Elixr::new(self.spec.elixr(), &self.parameters.builder_in(precision))
    }

    /// The towers without a graph, as they are now: weights that change later may or may not
    /// show in them.
    pub fn frozen_towers(&self, precision: Precision) -> Result<Elixr> {
        precision.learns()?;
        Elixr::new(self.spec.elixr(), &self.parameters.frozen_in(precision))
    }

    /// The towers without a graph, for use. Built once; [`Self::changed`] lets go of them.
    pub fn still(&self, precision: Precision) -> Result<&Elixr> {
        precision.learns()?;
        let place = &self.still[precision as usize];
        if let Some(still) = place.get() {
            return Ok(still);
        }
        let still = self.frozen_towers(precision)?;
        Ok(place.get_or_init(|| still))
    }

    /// Lets go of what was made of the weights. To be called by whoever changes them.
    pub fn changed(&mut self) {
        (self.still, self.still_graft) = Default::default();
    }

    /// Where the model computes.
    pub fn device(&self) -> &Device {
        self.parameters.device()
    }

    /// What the head scores.
    pub fn findings(&self) -> &[String] {
        self.spec.findings()
    }

    /// Makes the head score `findings`; a head that already does stays as it is.
    pub fn set_findings(&mut self, findings: &[String]) -> Result<()> {
        if self.findings() == findings {
            return Ok(());
        }
        self.changed();
        self.spec.set_findings(findings.to_vec());
        self.towers.renew_head(self.spec.elixr(), &self.parameters)
    }

    /// Adds a line to the lineage.
    pub fn note(&mut self, line: String) {
        self.spec.lineage.push(line);
    }

    /// Sets the licence of the weights.
    pub fn set_licence(&mut self, licence: String) {
        self.spec.licence = licence;
    }

    /// Tokens of `texts`, ready for the text tower; too long ones are cut after a sentence.
    pub fn tokenize(&self, texts: &[String]) -> Result<TokenBatch> {
        self.tokenizer.encode(&self.tokenizer.fitting(texts)?.0)
    }

    /// How many of `texts` are longer than the text tower reads, and how many tokens that are.
    pub fn overlong(&self, texts: &[String]) -> Result<(usize, usize)> {
        Ok((self.tokenizer.fitting(texts)?.1, self.tokenizer.max_length()))
    }

    /// The text of `tokens`, without special ones.
    pub fn text_of(&self, tokens: &[u32]) -> Result<String> {
        self.tokenizer.decode(tokens)
    }

    /// The tokens that start and end a caption.
    pub fn caption_tokens(&self) -> Result<[u32; 2]> {
        let known = |names: [&str; 2]| {
            let found = names.iter().find_map(|name| self.tokenizer.id(name));
            found.ok_or_else(|| {
                let why = format!("found neither {} nor {}, expected one", names[0], names[1]);
                Error::value("tokenizer", why)
            })
        };
        Ok([known(["[BOS]", "[DEC]"])?, known(["[SEP]", "[EOS]"])?])
    }

    /// Fails when what `plan` says of a call does not fit in memory: see [`Plan::fit`]. On other
    /// devices than the CPU, and for films that the encoder will refuse, there is no check.
    pub(super) fn fits(
        &self,
        precision: Precision,
        plan: impl FnOnce(&Sketch) -> Result<Plan>,
    ) -> Result<()> {
        if !self.device().is_cpu() {
            return Ok(());
        }
        let Ok(plan) = Sketch::new(&self.spec, None, precision).and_then(|sketch| plan(&sketch))
        else {
            return Ok(());
        };
        let packed = self.still[precision as usize].get().map_or(0, |_| plan.of(Kind::Packed));
        plan.fit(plan.of(Kind::Weights) + packed, "")
    }

    /// Unit embeddings (T, E) of `texts`.
    pub fn embed_text(&self, texts: &[String]) -> Result<Tensor> {
        self.fits(Precision::F32, |sketch| sketch.encode_text(texts.len()))?;
        self.still(Precision::F32)?.text(&self.tokenize(texts)?)
    }

    /// A hash that changes with any weight or setting: embeddings carry it.
    pub fn fingerprint(&self) -> Result<String> {
        let mut text = serde_json::to_string(&self.spec.system)
            .map_err(|error| Error::Internal(format!("config.json: {error}")))?;
        text.push_str(&self.spec.recipe.hash());
        for (name, var) in self.parameters.all() {
            let bytes: Vec<u8> = var
                .flatten_all()?
                .to_vec1::<f32>()?
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect();
            text.push_str(&name);
            text.push_str(&files::sha256_hex(&bytes));
        }
        Ok(files::sha256_hex(text.as_bytes()))
    }
}
