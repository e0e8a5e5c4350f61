//! Whole data sets into numbers: films in, embeddings out, order kept.

use std::sync::Arc;

use candle::Tensor;
use serde::{Deserialize, Serialize};

use super::Model;
use crate::data::{Cache, Dataset, Loader, LoaderOptions, Prepare, RowError};
use crate::fusion::Captioning;
use crate::imaging::Recipe;
use crate::nn::{Pass, Precision};
use crate::progress::Progress;
use crate::{Error, Result};

/// What of a film is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// The mean of what the queries gathered (D): for probes.
    #[default]
    Pooled,
    /// What each query gathered (Q, D).
    Queries,
    /// Unit embeddings in the space shared with text (Q, E): for zero-shot and search.
    Contrastive,
    /// The encoder's own tokens (N, D).
    Tokens,
    /// Logits of the classification head (L).
    Logits,
}

/// One row a study; a study that could not be read is NaN, and named among the failures.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// The rows, one after the other.
    pub values: Vec<f32>,
    /// Studies, then the shape of a row.
    pub shape: Vec<usize>,
    /// What could not be read, and why.
    pub failures: Vec<RowError>,
}

/// Preparation of films by a model's recipe.
pub fn prepare(recipe: Recipe) -> Prepare {
    Prepare::new(recipe.hash(), move |image| Ok(recipe.apply(image)?.0))
}

impl Model {
    /// Encodes the first film of every study; the rows are float32 whatever the precision.
    pub fn encode(
        &self,
        dataset: &Arc<Dataset>,
        (level, precision): (Level, Precision),
        batch_size: usize,
        cache: Arc<Cache>,
        progress: &Progress,
    ) -> Result<Encoded> {
        self.fits(precision, |sketch| sketch.encode(batch_size, level, Some(dataset.len())))?;
        progress.set_total(dataset.len());
        let row = self.row_shape(level, precision)?;
        let width: usize = row.iter().product();
        let mut values = vec![f32::NAN; dataset.len() * width];
        let failures = self.over(dataset, batch_size, cache, progress, |pixels, indices| {
            let rows = self.features(pixels, level, precision)?.flatten_all()?.to_vec1::<f32>()?;
            for (row, &index) in rows.chunks_exact(width).zip(indices) {
                values[index * width..(index + 1) * width].copy_from_slice(row);
            }
            Ok(())
        })?;
        let shape = [vec![dataset.len()], row].concat();
        Ok(Encoded { values, shape, failures })
    }

    /// Writes a caption of at most `most` tokens for the first film of every study, by the
    /// Q-Former; `None` for a film that could not be read.
    pub fn caption(
        &self,
        dataset: &Arc<Dataset>,
        most: usize,
        batch_size: usize,
        cache: Arc<Cache>,
        progress: &Progress,
    ) -> Result<(Vec<Option<String>>, Vec<RowError>)> {
        let towers = self.still(Precision::F32)?;
        let qformer = towers.qformer()?;
        let [start, end] = self.caption_tokens()?;
        let options = Captioning { start, end, least: 1, most };
        // Keys and values of a caption are less than what the queries held before.
        self.fits(Precision::F32, |sketch| {
            sketch.encode(batch_size, Level::Queries, Some(dataset.len()))
        })?;
        progress.set_total(dataset.len());
        let mut texts = vec![None; dataset.len()];
        let failures = self.over(dataset, batch_size, cache, progress, |pixels, indices| {
            let tokens = towers.encode_image(pixels, &Pass::inference())?.tokens;
            let image = qformer.prepare(&tokens)?;
            let written = qformer.caption(&image, None, &options, progress)?;
            for (tokens, &index) in written.iter().zip(indices) {
                texts[index] = Some(self.text_of(tokens)?);
            }
            Ok(())
        })?;
        Ok((texts, failures))
    }

    /// Calls `work` for the films of every batch, (B, C, H, W), and their rows; gives what could
    /// not be read.
    pub(super) fn over(
        &self,
        dataset: &Arc<Dataset>,
        batch_size: usize,
        cache: Arc<Cache>,
        progress: &Progress,
        mut work: impl FnMut(&Tensor, &[usize]) -> Result<()>,
    ) -> Result<Vec<RowError>> {
        let mut failures = Vec::new();
        let options = LoaderOptions::sequential(batch_size.min(dataset.len()));
        let prepare = prepare(self.spec().recipe.clone());
        let loader = Loader::new(Arc::clone(dataset), prepare, cache, options)?;
        for batch in loader.epoch(0)?.onto(self.device())? {
            let (batch, pixels) = batch?;
            let seen = batch.indices.len() + batch.failures.len();
            failures.extend(batch.failures);
            if let Some(pixels) = pixels {
                work(&pixels, &batch.indices)?;
            }
            progress.tick(seen)?;
        }
        Ok(failures)
    }

    /// Features of `pixels` (B, C, H, W), one row a film.
    pub fn features(&self, pixels: &Tensor, level: Level, precision: Precision) -> Result<Tensor> {
        let towers = self.still(precision)?;
        let features = towers.image(pixels)?;
        Ok(match level {
            Level::Pooled => features.queries.mean(1)?,
            Level::Queries => features.queries,
            Level::Contrastive => towers.embed_image(&features)?,
            Level::Tokens => features.grid.tokens,
            Level::Logits => towers.classify(&features)?,
        })
    }

    /// The shape (C, H, W) that the recipe brings every film to.
    pub fn output_shape(&self) -> Result<[usize; 3]> {
        let recipe = &self.spec().recipe;
        recipe.output_shape().ok_or_else(|| {
            let why = "its steps leave the shape open, expected a fixed one".to_owned();
            Error::config("recipe", why)
        })
    }

    /// The shape of one row, found by encoding one blank film.
    fn row_shape(&self, level: Level, precision: Precision) -> Result<Vec<usize>> {
        let [c, h, w] = self.output_shape()?;
        let blank = Tensor::zeros((1, c, h, w), candle::DType::F32, self.device())?;
        Ok(self.features(&blank, level, precision)?.dims()[1..].to_vec())
    }
}
