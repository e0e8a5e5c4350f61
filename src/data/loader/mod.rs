//! Batches of prepared films, read on threads of their own, in an order that only the seed decides.
//!
//! Memory is bounded: at most `prefetch` batches of films are prepared or being prepared ahead of
//! the batch that is put together. A film that cannot be read costs its row, not the batch.

mod ahead;
mod batch;
mod epoch;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use ndarray::Array3;
use serde::{Deserialize, Serialize};

pub use ahead::{Ahead, OnDevice};
pub use batch::{Batch, RowError};
pub use epoch::Epoch;

use super::film::check_finite;
use super::{Augment, Cache, Dataset};
use crate::imaging::{Image, Recipe, Step};
use crate::random::Random;
use crate::{Error, Result};

/// Names of the random streams, so that no two purposes share one.
const ORDER: u64 = 0x6f72_6472;
const FILM: u64 = 0x6669_6c6d;
const AUGMENT: u64 = 0x6175_676d;

/// A function from a film to a tensor (C, H, W).
type Run = dyn Fn(&Image) -> Result<Array3<f32>> + Send + Sync;

/// What makes a film a tensor (C, H, W), with a hash that names it for the cache.
pub struct Prepare {
    hash: String,
    ranges: Vec<[f32; 2]>,
    run: Box<Run>,
}

impl Prepare {
    /// Preparation by `run`; `hash` must change whenever its results would.
    pub fn new(
        hash: impl Into<String>,
        run: impl Fn(&Image) -> Result<Array3<f32>> + Send + Sync + 'static,
    ) -> Self {
        Self { hash: hash.into(), ranges: Vec::new(), run: Box::new(run) }
    }

    /// Preparation by a recipe.
    pub fn from_recipe(recipe: Recipe) -> Self {
        let ranges = ranges_after(&recipe);
        let hash = recipe.hash();
        Self::new(hash, move |image| Ok(recipe.apply(image)?.0)).with_ranges(ranges)
    }

    /// Says which values black and white have in each channel, when they are not 0 and 1; one pair
    /// serves all channels. Augmentation works between them.
    #[must_use]
    pub fn with_ranges(self, ranges: Vec<[f32; 2]>) -> Self {
        Self { ranges, ..self }
    }

    /// The tensor (C, H, W) of a film, finite throughout.
    pub fn film(&self, image: &Image) -> Result<Array3<f32>> {
        let prepared = (self.run)(image)?;
        check_finite(&prepared)?;
        Ok(prepared)
    }
}

/// Black and white in each channel, once the steps of `recipe` are done.
fn ranges_after(recipe: &Recipe) -> Vec<[f32; 2]> {
    let mut ranges = vec![[0.0, 1.0]];
    for step in &recipe.steps {
        match step {
            Step::Channels { count } => ranges = vec![ranges[0]; *count],
            Step::Normalize { mean, std } => {
                for (channel, range) in ranges.iter_mut().enumerate() {
                    let of = |values: &[f32]| {
                        values.get(channel).or(values.first()).copied().unwrap_or(1.0)
                    };
                    *range = range.map(|value| (value - of(mean)) / of(std));
                }
            }
            _ => {}
        }
    }
    ranges
}

impl std::fmt::Debug for Prepare {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prepare").field("hash", &self.hash).finish_non_exhaustive()
    }
}

/// Which film of a study with several is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FilmChoice {
    /// The first, which is the frontal one.
    #[default]
    First,
    /// One drawn anew in every epoch.
    Random,
}

/// How batches are made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoaderOptions {
    /// Films in a batch.
    pub batch_size: usize,
    /// Decides order, augmentation and choice of film.
    pub seed: u64,
    /// Whether every epoch has an order of its own; otherwise the data set's.
    pub shuffle: bool,
    /// Whether a last batch that is not full is left out.
    pub drop_last: bool,
    /// Threads that read and prepare; 0 takes one for each processor.
    pub workers: usize,
    /// Batches prepared ahead, at least 1.
    pub prefetch: usize,
    /// Which film of a study is taken.
    pub film: FilmChoice,
    /// What is changed at random, after the cache.
    pub augment: Augment,
}

impl Default for LoaderOptions {
    fn default() -> Self {
        Self {
            batch_size: 32,
            seed: 0,
            shuffle: true,
            drop_last: false,
            workers: 0,
            prefetch: 2,
            film: FilmChoice::First,
            augment: Augment::none(),
        }
    }
}

impl LoaderOptions {
    /// Every film once, in the data set's order, unchanged: for embedding and evaluation.
    pub fn sequential(batch_size: usize) -> Self {
        Self { batch_size, shuffle: false, ..Self::default() }
    }

    /// Fails on values that no batch can be made with.
    pub fn validate(&self) -> Result<()> {
        for (field, value) in [("batch_size", self.batch_size), ("prefetch", self.prefetch)] {
            if value == 0 {
                return Err(Error::config(field, "found 0, expected at least 1"));
            }
        }
        if self.workers > 1024 {
            let why = format!("found {}, expected at most 1024", self.workers);
            return Err(Error::config("workers", why));
        }
        self.augment.validate()
    }
}

/// Makes batches of a data set.
#[derive(Clone, Debug)]
pub struct Loader {
    source: Arc<Source>,
}

#[derive(Debug)]
struct Source {
    dataset: Arc<Dataset>,
    prepare: Prepare,
    cache: Arc<Cache>,
    options: LoaderOptions,
}

/// A place in an epoch: the study, and how often the epoch had it before.
type Item = (usize, u64);

impl Loader {
    /// A loader of the films of `dataset`.
    pub fn new(
        dataset: Arc<Dataset>,
        prepare: Prepare,
        cache: Arc<Cache>,
        options: LoaderOptions,
    ) -> Result<Self> {
        options.validate()?;
        if dataset.is_empty() {
            return Err(Error::value("dataset", "found no studies, expected at least one"));
        }
        if let Some(bare) = dataset.studies.iter().position(|study| study.films.is_empty()) {
            let why = format!("found no film in study {bare}, expected at least one in each");
            return Err(Error::value("dataset", why));
        }
        Ok(Self { source: Arc::new(Source { dataset, prepare, cache, options }) })
    }

    /// The data set that the indices of batches refer to.
    pub fn dataset(&self) -> &Arc<Dataset> {
        &self.source.dataset
    }

    /// How batches are made.
    pub fn options(&self) -> &LoaderOptions {
        &self.source.options
    }

    /// How many batches an epoch has.
    pub fn batches_per_epoch(&self) -> usize {
        let (count, size) = (self.source.dataset.len(), self.source.options.batch_size);
        if self.source.options.drop_last { count / size } else { count.div_ceil(size) }
    }

    /// Which studies stand in which batch of `epoch`.
    pub fn plan(&self, epoch: u64) -> Vec<Vec<usize>> {
        let options = &self.source.options;
        let mut order: Vec<usize> = (0..self.source.dataset.len()).collect();
        if options.shuffle {
            Random::new(options.seed, &[ORDER, epoch]).shuffle(&mut order);
        }
        let batches = order.chunks(options.batch_size).take(self.batches_per_epoch());
        batches.map(<[usize]>::to_vec).collect()
    }

    /// The batches of `epoch`.
    pub fn epoch(&self, epoch: u64) -> Result<Epoch> {
        self.epoch_from(epoch, 0)
    }

    /// The batches of `epoch` from number `start_batch` on, the same as an unbroken run gives.
    pub fn epoch_from(&self, epoch: u64, start_batch: usize) -> Result<Epoch> {
        self.run(self.plan(epoch), epoch, start_batch)
    }

    /// The batches of a plan of the caller's own (a sampler's, say), from `start_batch` on.
    ///
    /// A study may come several times; each time it is augmented otherwise.
    pub fn run(&self, plan: Vec<Vec<usize>>, epoch: u64, start_batch: usize) -> Result<Epoch> {
        let mut times: HashMap<usize, u64> = HashMap::new();
        let mut items = Vec::with_capacity(plan.iter().map(Vec::len).sum());
        let mut sizes = VecDeque::with_capacity(plan.len());
        for (number, batch) in plan.iter().enumerate() {
            for &index in batch {
                self.source.dataset.study(index)?;
                let before = times.entry(index).or_insert(0);
                if number >= start_batch {
                    items.push((index, *before));
                }
                *before += 1;
            }
            if number >= start_batch {
                sizes.push_back(batch.len());
            }
        }
        let largest = sizes.iter().copied().max().unwrap_or(0).max(1);
        let window = self.source.options.prefetch.saturating_mul(largest);
        Epoch::start(Arc::clone(&self.source), epoch, window, items, sizes, start_batch)
    }
}

impl Source {
    /// The film of one place in an epoch, ready for a batch.
    fn film(&self, epoch: u64, (index, time): Item) -> Result<Array3<f32>> {
        let films = &self.dataset.study(index)?.films;
        let path = |purpose| [purpose, epoch, index as u64, time];
        let chosen = match self.options.film {
            FilmChoice::First => 0,
            FilmChoice::Random => Random::new(self.options.seed, &path(FILM)).below(films.len()),
        };
        let film = &films[chosen];
        let recipe = format!("{} {:?}", self.prepare.hash, film.view);
        let mut pixels =
            self.cache.film(&film.pixels, &recipe, || self.prepare.film(&*film.read()?))?;
        let mut random = Random::new(self.options.seed, &path(AUGMENT));
        self.options.augment.apply_between(&mut pixels, &self.prepare.ranges, &mut random);
        Ok(pixels)
    }
}
