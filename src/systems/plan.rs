//! How much memory a call will take, before anything of it is allocated.
//!
//! A [`Sketch`] is a model without numbers: its towers are built as always, on parameters that
//! know only their shapes, and every layer's `trace` is run in place of its `forward`. See
//! [`Shadow`](crate::nn::Shadow) for what is counted. Not counted are the decoding of a film's
//! file (a few times its pixels for each worker) and some megabytes of the kernels' own.

use serde::Serialize;

use super::elixr::{Elixr, ElixrConfig};
use super::writing::trace_writing;
use super::{Graft, GraftConfig, Level, ModelSpec};
use crate::data::LoaderOptions;
use crate::language::Generation;
use crate::nn::{Account, Bytes, Kind, Outline, Pass, Precision, is_statistic};
use crate::{Error, Result};

/// Bytes of a number.
const NUMBER: usize = size_of::<f32>();

/// Texts that are embedded at once.
pub const TEXTS: usize = 64;

/// What a call will hold in memory at its peak.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// What is asked for: `encode`, `encode_text` or the name of a stage.
    pub what: String,
    /// Films or texts at a time.
    pub batch: usize,
    /// The shape of one: (C, H, W) of a film, (N) tokens of a text.
    pub shape: Vec<usize>,
    /// Bytes by kind at the moment when the most are held.
    pub bytes: Vec<(&'static str, usize)>,
    /// Their sum.
    pub total: usize,
}

impl Plan {
    /// The bytes of one kind.
    pub fn of(&self, kind: Kind) -> usize {
        self.bytes[kind as usize].1
    }
}

/// A model without numbers.
#[derive(Debug)]
pub struct Sketch {
    outline: Outline,
    learning: Elixr,
    still: Elixr,
    /// The decoder as it is used, its options, and the features of a query.
    graft: Option<(Graft, GraftConfig, usize)>,
    precision: Precision,
    shape: [usize; 3],
    text_length: usize,
}

impl Sketch {
    /// The model that `spec` describes, computing in `precision`, for films of `size` (rows, columns), or as its recipe
    /// makes them.
    pub fn new(spec: &ModelSpec, size: Option<[usize; 2]>, precision: Precision) -> Result<Self> {
        Self::of(spec.elixr(), film_shape(spec, size)?, precision)
    }

    fn of(config: &ElixrConfig, shape: [usize; 3], precision: Precision) -> Result<Self> {
        precision.learns()?;
        let (outline, unused) = (Outline::default(), Outline::default());
        let graft = |decoder: &GraftConfig| -> Result<_> {
            let from = config.query_dim();
            let graft = Graft::new(decoder, from, &outline.builder(false, precision))?;
            Ok((graft, decoder.clone(), from))
        };
        Ok(Self {
            graft: config.decoder.as_deref().map(graft).transpose()?,
            precision,
            learning: Elixr::new(config, &outline.builder(true, precision))?,
            still: Elixr::new(config, &unused.builder(false, precision))?,
            outline,
            shape,
            text_length: config.text_length,
        })
    }

    /// The towers that learn.
    pub fn learning(&self) -> &Elixr {
        &self.learning
    }

    /// The towers as they are used.
    pub fn still(&self) -> &Elixr {
        &self.still
    }

    /// The decoder as it is used; fails when the model has none.
    pub fn still_graft(&self) -> Result<&Graft> {
        self.graft.as_ref().map(|(graft, ..)| graft).ok_or_else(no_decoder)
    }

    /// The decoder in which those parameters learn whose name `learns`.
    pub fn graft(&self, learns: impl Fn(&str) -> bool + Send + Sync + 'static) -> Result<Graft> {
        let (_, config, from) = self.graft.as_ref().ok_or_else(no_decoder)?;
        let parts = Outline::default().part(learns, self.precision);
        Graft::new(config, *from, &parts)
    }

    /// The plan of asking about `batch` films at a time in prompts of at most `tokens` tokens.
    pub fn ask(&self, batch: usize, tokens: usize, options: &Generation) -> Result<Plan> {
        options.validate()?;
        let (account, pass, batch) = (self.account(), Pass::inference(), batch.max(1));
        self.queue(&account, batch, None);
        let pixels = account.input(Kind::Data, &self.batch(batch));
        let image = self.still.trace_image(&pixels, &pass)?;
        let queries = self.still.trace_gather(&image, &pass)?;
        drop(image);
        let graft = self.still_graft()?;
        let films = graft.trace_adapt(&queries);
        drop(queries);
        let prompts = graft.trace_splice([batch, tokens], Some(&films), &account);
        trace_writing(graft.decoder(), &prompts, options);
        Ok(Plan::new("ask", batch, &self.shape, account.peak()))
    }

    /// The shape (C, H, W) of a film.
    pub fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// The most tokens of a text.
    pub fn text_length(&self) -> usize {
        self.text_length
    }

    /// How many numbers those learnable parameters hold whose name `counts`.
    pub fn learnable(&self, counts: impl Fn(&str) -> bool) -> usize {
        self.outline.count(|name| !is_statistic(name) && counts(name))
    }

    /// An account that holds the weights.
    pub fn account(&self) -> Account {
        let account = Account::default();
        account.keep(Kind::Weights, NUMBER * self.outline.count(|_| true));
        account
    }

    /// Holds the films that wait behind the one of `films` batches that is worked on.
    pub fn queue(&self, account: &Account, batch: usize, films: Option<usize>) {
        let ahead = LoaderOptions::default().prefetch.saturating_mul(batch);
        let waiting = films.map_or(ahead, |films| ahead.min(films.saturating_sub(batch)));
        account.keep(Kind::Data, NUMBER * self.film().saturating_mul(waiting));
    }

    /// Numbers of one film.
    pub fn film(&self) -> usize {
        self.shape.iter().product()
    }

    /// The plan of what `account` has seen.
    pub fn plan(&self, what: &str, batch: usize, shape: &[usize], account: &Account) -> Plan {
        Plan::new(what, batch, shape, account.peak())
    }

    /// The plan of encoding `films` films (many, when unknown), `batch` at a time.
    pub fn encode(&self, batch: usize, level: Level, films: Option<usize>) -> Result<Plan> {
        let batch = films.map_or(batch, |films| batch.min(films)).max(1);
        let (account, pass) = (self.account(), Pass::inference());
        self.queue(&account, batch, films);
        let pixels = account.input(Kind::Data, &self.batch(batch));
        let tokens = self.still.trace_image(&pixels, &pass)?;
        let queries = self.still.trace_gather(&tokens, &pass)?;
        let row = match level {
            Level::Pooled => queries.dims()[2],
            Level::Queries => queries.dims()[1..].iter().product(),
            Level::Contrastive => self.still.trace_embed(&queries).dims()[1..].iter().product(),
            Level::Tokens => tokens.dims()[1..].iter().product(),
            Level::Logits => self.still.trace_classify(&queries).dims()[1],
        };
        // The rows, and the array that they are copied to in the end.
        let rows = films.unwrap_or(batch).saturating_mul(2 * row * NUMBER);
        let mut peak = account.peak();
        peak[Kind::Data as usize] += rows;
        Ok(Plan::new("encode", batch, &self.shape, peak))
    }

    /// The plan of embedding texts, each as long as the model reads.
    pub fn encode_text(&self, batch: usize) -> Result<Plan> {
        let (account, pass) = (self.account(), Pass::inference());
        let batch = batch.clamp(1, TEXTS);
        let states = self.still.trace_text([batch, self.text_length], &account, &pass)?;
        drop(self.still.trace_project(&states));
        Ok(self.plan("encode_text", batch, &[self.text_length], &account))
    }

    /// The sizes of a batch of films.
    pub fn batch(&self, batch: usize) -> [usize; 4] {
        let [channels, height, width] = self.shape;
        [batch, channels, height, width]
    }
}

impl Plan {
    pub(super) fn new(what: &str, batch: usize, shape: &[usize], bytes: Bytes) -> Self {
        let named = Kind::ALL.iter().map(|kind| (kind.name(), bytes[*kind as usize]));
        Self {
            what: what.to_owned(),
            batch,
            shape: shape.to_vec(),
            bytes: named.collect(),
            total: bytes.iter().sum(),
        }
    }
}

/// What a call says that needs a decoder.
pub(super) fn no_decoder() -> Error {
    Error::value("model", "found no decoder; put one behind it with model.graft(decoder)")
}

fn film_shape(spec: &ModelSpec, size: Option<[usize; 2]>) -> Result<[usize; 3]> {
    let Some([channels, height, width]) = spec.recipe.output_shape() else {
        let why = "its steps leave the shape open, expected a fixed one";
        return Err(Error::config("recipe", why));
    };
    let [height, width] = size.unwrap_or([height, width]);
    Ok([channels, height, width])
}
