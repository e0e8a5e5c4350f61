//! The training loop: one for every stage.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use candle::Var;

use super::adamw::{AdamW, global_norm};
use super::aim::Objective;
use super::average::Average;
use super::checkpoint::{self, FORMAT, Identity, State, Tensors};
use super::feed::Feed;
use super::gradients::Gradients;
use super::history::{EpochRow, History, StepRow};
use super::instruct;
use super::learn;
use super::learnable::Learnable;
use super::objective::{Films, Target, Task};
use super::overlong::overlong;
use super::plan::fits;
use super::ranks::{Ranks, leads};
use super::stage::Stage;
use super::validate;
use crate::data::{Augment, Cache, Dataset, Loader, LoaderOptions, shared_patients};
use crate::nn::Pass;
use crate::progress::Progress;
use crate::systems::{Model, prepare};
use crate::{Error, Result, files};

/// Where a run writes, and how it goes on.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    /// Folder for the checkpoint, the history and the trained model; nothing is kept without one.
    pub out: Option<PathBuf>,
    /// Go on from the folder's checkpoint when it holds one.
    pub resume: bool,
    /// Steps between checkpoints; the end of an epoch is always one. 0 takes only those.
    pub checkpoint_steps: u64,
    /// Stop after this many steps in all, as a kill would, but tidily; for tests and budgets.
    pub stop_after: Option<u64>,
    /// Prepared films kept between epochs.
    pub cache: Arc<Cache>,
    /// Threads that decode.
    pub workers: usize,
    /// Transformer blocks keep no graph and run again in the backward: less memory, the same
    /// gradients, more time.
    pub recompute: bool,
    /// The processes that this one trains with, if any. Each reads its share of every batch, so
    /// that supervised steps are those of one process where all labels are known (unknown ones
    /// weigh the shares unevenly); in contrastive ones a film meets the texts of its own share.
    pub ranks: Option<Arc<Ranks>>,
}

/// A run under way.
struct Run<'a> {
    model: &'a Model,
    stage: &'a Stage,
    train: &'a Learnable,
    validation: Option<&'a Learnable>,
    options: &'a RunOptions,
    progress: &'a Progress,
    target: Target,
    learning: Vec<(String, Var)>,
    optimiser: AdamW,
    average: Average,
    identity: Identity,
    history: History,
    step: u64,
    total: u64,
}

/// Trains `model` in place by `stage`, and says what was measured.
///
/// With an `out` folder the run can be killed at any moment and taken up again: order,
/// augmentation and dropout depend on the seed, the epoch and the step only.
pub fn run(
    model: &mut Model,
    dataset: &Arc<Dataset>,
    validation: Option<&Arc<Dataset>>,
    stage: &Stage,
    options: &RunOptions,
    progress: &Progress,
) -> Result<History> {
    stage.validate()?;
    if dataset.is_empty() {
        return Err(Error::value("dataset", "found no study, expected at least one"));
    }
    let supervised = matches!(stage.objective, Objective::Supervised { .. });
    let train = Learnable::new("dataset", dataset, stage)?;
    let validation = match validation {
        Some(part) if supervised && part.findings != dataset.findings => {
            let why = format!("found {:?}, expected {:?}", part.findings, dataset.findings);
            return Err(Error::value("findings of the validation set", why));
        }
        Some(part) => Some(Learnable::new("validation", part, stage)?),
        None => None,
    };
    if let Objective::Qformer { .. } = stage.objective {
        model.towers().qformer()?;
        model.caption_tokens()?;
    }
    if let Objective::Instruct { .. } = stage.objective {
        instruct::check(model, stage)?;
    }
    if supervised {
        model.set_findings(&dataset.findings)?;
    }
    model.changed();
    fits(model, train.dataset.len(), stage, options)?;
    let run = Run::start(model, &train, validation.as_ref(), stage, options, progress)?;
    let history = run.go()?;
    let line = format!(
        "{}: {} studies, {} epochs, batch {}, peak rate {}, seed {}",
        stage.name,
        dataset.len(),
        stage.epochs,
        stage.batch_size,
        stage.schedule.peak,
        stage.seed
    );
    model.note(line);
    if let Some(out) = options.out.as_ref().filter(|_| leads(options.ranks.as_ref())) {
        model.save(&out.join("model"))?;
    }
    Ok(history)
}

impl<'a> Run<'a> {
    fn start(
        model: &'a Model,
        train: &'a Learnable,
        validation: Option<&'a Learnable>,
        stage: &'a Stage,
        options: &'a RunOptions,
        progress: &'a Progress,
    ) -> Result<Self> {
        let mut learning = model.parameters().trainable();
        learning.retain(|(name, _)| stage.trains(name));
        if learning.is_empty() {
            let why = format!("stage `{}`: no parameter matches {:?}", stage.name, stage.train);
            return Err(Error::Training(why));
        }
        let identity = Identity::of(model, &train.dataset, stage)?;
        if let Some(ranks) = &options.ranks {
            ranks.check(stage, &identity, model.device())?;
        }
        let batches = batches(train.dataset.len(), stage.batch_size);
        let total = (batches.div_ceil(stage.accumulate) * stage.epochs) as u64;
        progress.set_total(total as usize);
        Ok(Self {
            optimiser: AdamW::new(&learning, stage.optimiser)?,
            average: Average::new(&learning, stage.average)?,
            learning,
            model,
            stage,
            train,
            validation,
            options,
            progress,
            target: Target::new(model, &train.dataset, stage)?,
            identity,
            history: History::default(),
            step: 0,
            total,
        })
    }

    fn go(mut self) -> Result<History> {
        let (epoch, batch) = self.resume()?;
        if let Some(notice) = &self.train.notice {
            self.fail(notice);
        }
        let studies = &self.train.dataset;
        let shared = |part: &Learnable| shared_patients(studies, &part.dataset);
        let shared = self.validation.map_or(0, shared);
        if shared > 0 {
            self.fail(&format!("validation shares {shared} patients with the training set"));
        }
        if let Some(notice) = overlong(self.model, self.stage, studies, self.progress)? {
            self.fail(&notice);
        }
        let outcome = self.epochs(epoch, batch);
        if matches!(outcome, Err(Error::Interrupted)) {
            return Err(Error::Interrupted); // the last checkpoint stands
        }
        outcome?;
        self.average.adopt(&self.learning)?;
        Ok(self.history)
    }

    fn epochs(&mut self, first: usize, mut batch: usize) -> Result<()> {
        let loader = self.loader(&self.train.dataset, true)?;
        for epoch in first..self.stage.epochs {
            if self.epoch(&loader, epoch, batch)? {
                return Ok(());
            }
            let compares = matches!(self.stage.objective, Objective::Supcon { .. });
            if compares && self.history.steps.iter().all(|step| step.loss == 0.0) {
                let why = "no two studies of a batch share a label; use larger batches";
                return Err(Error::Training(why.to_owned()));
            }
            batch = 0;
            if let Some(validation) = self.validation {
                let row = self.validate(validation, epoch)?;
                self.progress.emit(serde_json::json!({"epoch": row}));
                self.history.epochs.push(row);
            }
            self.save(epoch + 1, 0)?;
            if self.stops() {
                break;
            }
        }
        Ok(())
    }

    fn stops(&self) -> bool {
        self.options.stop_after.is_some_and(|last| self.step >= last)
    }

    /// Runs the epoch from its batch `first` on; says whether it was told to stop on the way.
    fn epoch(&mut self, loader: &Loader, epoch: usize, first: usize) -> Result<bool> {
        let (mut gradients, mut held) = (Gradients::default(), Vec::new());
        let mut clock = Instant::now();
        let last = batches(self.train.dataset.len(), self.stage.batch_size);
        let device = self.model.device();
        let mut plan = loader.plan(epoch as u64);
        if let Some(ranks) = &self.options.ranks {
            plan = plan.iter().map(|batch| ranks.share(batch)).collect();
        }
        let feed = Feed::new(loader, self.stage, plan, (epoch, first), device)?;
        for (offset, batch) in feed.enumerate() {
            let (batch, pixels) = batch?;
            for failure in &batch.failures {
                let row = self.train.row(failure.index);
                self.fail(&format!("row {row}: {}", failure.message));
            }
            let number = first + offset + 1; // batches of this epoch done, this one included
            let due = number.is_multiple_of(self.stage.accumulate) || number == last;
            if let Some(pixels) = pixels {
                held.push((Films { pixels, indices: batch.indices }, number));
            }
            if due || !self.stage.together() {
                self.learn(&std::mem::take(&mut held), epoch, &mut gradients)?;
            }
            if due {
                self.advance(&mut gradients, epoch, &mut clock)?;
                let every = self.options.checkpoint_steps;
                let stops = self.stops() && number < last;
                if stops || every > 0 && self.step.is_multiple_of(every) && number < last {
                    self.save(epoch, number)?;
                }
                if stops {
                    return Ok(true);
                }
            }
            self.progress.check()?;
        }
        Ok(false)
    }

    /// Adds the gradients of micro-batches, each with its number in the epoch.
    fn learn(
        &self,
        parts: &[(Films, usize)],
        epoch: usize,
        gradients: &mut Gradients,
    ) -> Result<()> {
        let passes: Vec<Pass> = parts.iter().map(|(_, number)| self.pass(epoch, *number)).collect();
        let task = |(part, pass)| {
            let (films, _): &(Films, usize) = part;
            let (model, stage, dataset) = (self.model, self.stage, &*self.train.dataset);
            Task { model, stage, dataset, target: &self.target, films, epoch: Some(epoch), pass }
        };
        let tasks: Vec<Task> = parts.iter().zip(&passes).map(task).collect();
        learn::add(&tasks, &self.learning, gradients, self.step + 1)
    }

    /// The pass of a micro-batch by its number in the epoch.
    fn pass(&self, epoch: usize, number: usize) -> Pass {
        let passes =
            (epoch * batches(self.train.dataset.len(), self.stage.batch_size) + number) as u64;
        let ranks = self.options.ranks.as_ref();
        let passes = ranks.map_or(passes, |ranks| ranks.own_pass(passes));
        let pass = Pass::training(self.stage.seed, passes);
        if self.options.recompute { pass.recomputing() } else { pass }
    }

    /// Takes one step along the gradients gathered so far.
    fn advance(
        &mut self,
        gradients: &mut Gradients,
        epoch: usize,
        clock: &mut Instant,
    ) -> Result<()> {
        let mut gathered = std::mem::take(gradients);
        if let Some(ranks) = &self.options.ranks {
            gathered = ranks.gather(&gathered, &self.learning)?;
        }
        let rate = self.stage.schedule.rate(self.step as usize, self.total as usize);
        self.step += 1;
        if gathered.parts > 0 {
            let parts = gathered.parts as f64;
            let norm = global_norm(&gathered.sums)? / parts;
            if !norm.is_finite() {
                let why =
                    format!("the gradients are {norm} at step {}; lower schedule.peak", self.step);
                return Err(Error::Training(why));
            }
            let clip = (self.stage.clip_norm / norm.max(1e-12)).min(1.0);
            self.optimiser.step(&gathered.sums, rate, clip / parts)?;
            self.average.update(&self.learning, self.step)?;
            if let Some(ranks) = &self.options.ranks {
                ranks.level(self.model.parameters())?;
            }
            let row = StepRow {
                step: self.step,
                epoch: epoch + 1,
                loss: gathered.loss / parts,
                rate,
                gradient_norm: norm,
                films_per_second: gathered.films as f64 / clock.elapsed().as_secs_f64().max(1e-9),
            };
            self.progress.emit(serde_json::json!({"step": row}));
            self.history.steps.push(row);
        }
        *clock = Instant::now();
        self.progress.tick(1)
    }

    fn validate(&self, validation: &Learnable, epoch: usize) -> Result<EpochRow> {
        let loader = self.loader(&validation.dataset, false)?;
        let held = self.average.swap_in(&self.learning)?;
        let row =
            validate::measure(self.model, self.stage, &validation.dataset, &loader, self.progress);
        held.put_back(&self.learning)?;
        let (loss, auroc) = row?;
        Ok(EpochRow { epoch: epoch + 1, loss, auroc })
    }

    fn loader(&self, dataset: &Arc<Dataset>, train: bool) -> Result<Loader> {
        let recipe = self.model.spec().recipe.clone();
        let augment = if train { self.stage.augment.clone() } else { Augment::none() };
        let options = LoaderOptions {
            batch_size: self.stage.batch_size.min(dataset.len()),
            seed: self.stage.seed,
            shuffle: train,
            drop_last: train,
            workers: self.options.workers,
            augment,
            ..LoaderOptions::default()
        };
        Loader::new(Arc::clone(dataset), prepare(recipe), Arc::clone(&self.options.cache), options)
    }

    fn fail(&mut self, message: &str) {
        if !self.history.failures.iter().any(|known| known == message) {
            self.progress.emit(serde_json::json!({"failure": message}));
            self.history.failures.push(message.to_owned());
        }
    }

    fn path(&self) -> Option<PathBuf> {
        self.options.out.as_ref().map(|out| out.join("checkpoint.safetensors"))
    }

    fn save(&self, epoch: usize, batch: usize) -> Result<()> {
        let Some(path) = self.path().filter(|_| leads(self.options.ranks.as_ref())) else {
            return Ok(());
        };
        if let Some(folder) = path.parent() {
            files::create_folder(folder)?;
        }
        let weights = self.model.parameters().all().into_iter();
        let tensors = Tensors {
            weights: weights.map(|(name, var)| (name, var.as_tensor().clone())).collect(),
            moments: self.optimiser.state()?.into_iter().collect(),
            average: self.average.state(),
        };
        let state = State {
            format: FORMAT,
            step: self.step,
            epoch,
            batch,
            identity: self.identity.clone(),
            history: self.history.clone(),
        };
        checkpoint::write(&path, &state, &tensors)
    }

    /// Goes back to the folder's checkpoint; gives the epoch and batch to go on with.
    fn resume(&mut self) -> Result<(usize, usize)> {
        let Some(path) = self.path().filter(|path| self.options.resume && path.exists()) else {
            return Ok((0, 0));
        };
        let (state, tensors) = checkpoint::read(&path, &self.identity)?;
        for (name, tensor) in &tensors.weights {
            self.model.parameters().set(name, tensor)?;
        }
        self.optimiser.restore(state.step, &tensors.moments)?;
        self.average.restore(&tensors.average)?;
        self.history = state.history;
        self.step = state.step;
        self.progress.tick(state.step as usize)?;
        Ok((state.epoch, state.batch))
    }
}

/// Full batches of an epoch, or the one short batch of a small data set.
fn batches(studies: usize, batch_size: usize) -> usize {
    (studies / batch_size).max(1)
}
