//! Films asked in words: answers written by the decoder, or chosen among some.

use std::collections::HashSet;
use std::sync::Arc;

use candle::Tensor;

use super::{Graft, GraftConfig, Level, Model};
use crate::data::{Cache, Dataset, RowError};
use crate::language::{Generation, Line, Prompts, Script};
use crate::nn::Precision;
use crate::progress::Progress;
use crate::tasks::Instruction;
use crate::{Error, Result};

/// What is asked of films.
#[derive(Clone, Debug)]
pub struct Inquiry {
    /// What is to be written.
    pub task: Instruction,
    /// The question or report to check, or one for each film; none for a task without.
    pub questions: Vec<String>,
    /// What matrices are multiplied in.
    pub precision: Precision,
}

/// What was answered about a film.
#[derive(Clone, Debug, PartialEq)]
pub struct Answered {
    /// The answer.
    pub text: String,
    /// The mean log-probability of its tokens, the one that ends it among them.
    pub score: f64,
    /// Whether the decoder ended it; if not, there was no more room.
    pub ended: bool,
}

/// For each film an answer, none for one that could not be read; and why not.
pub type Answers<T> = (Vec<Option<T>>, Vec<RowError>);

impl Inquiry {
    /// An inquiry about `films` films; refuses questions that a task has no use for, none where
    /// it needs one, and empty ones.
    pub fn new(
        task: Instruction,
        questions: Vec<String>,
        precision: Precision,
        films: usize,
    ) -> Result<Self> {
        let refuse = |why: String| Err(Error::value("question", why));
        let name = task.name();
        if !task.asks() && !task.checks() {
            if !questions.is_empty() {
                return refuse(format!("found one, expected none for the task {name:?}"));
            }
        } else if questions.is_empty() {
            let what = if task.checks() { "a report" } else { "one" };
            return refuse(format!("found none, expected {what} for the task {name:?}"));
        } else if ![1, films].contains(&questions.len()) {
            let found = questions.len();
            return refuse(format!(
                "found {found}, expected one, or one for each of {films} films"
            ));
        }
        if let Some(row) = questions.iter().position(|question| question.trim().is_empty()) {
            return refuse(format!("found an empty one in row {row}, expected some words"));
        }
        Ok(Self { task, questions, precision })
    }

    /// The prompt for a film.
    fn prompt(&self, film: usize) -> String {
        let question = self.questions.get(film).or(self.questions.first());
        let text = question.map_or("", String::as_str);
        self.task.prompt(0, &[("question", text), ("draft", text)])
    }

    /// The prompts, as many as there are different ones.
    fn prompts(&self) -> Vec<String> {
        (0..self.questions.len().max(1)).map(|film| self.prompt(film)).collect()
    }
}

/// Where a film stands among `words`: behind the token that begins a text, if there is one.
pub fn place_of_film(words: &[u32], config: &GraftConfig) -> usize {
    usize::from(words.first().is_some_and(|first| Some(*first) == config.llama.bos))
}

/// A prompt among whose words image `image` stands.
fn line(words: Vec<u32>, image: usize, config: &GraftConfig) -> Line {
    let place = place_of_film(&words, config);
    Line { words, images: vec![(place, image)] }
}

impl Model {
    /// Writes an answer about the first film of every study, `batch_size` at a time.
    pub fn ask(
        &self,
        dataset: &Arc<Dataset>,
        inquiry: &Inquiry,
        options: &Generation,
        batch_size: usize,
        cache: Arc<Cache>,
        progress: &Progress,
    ) -> Result<Answers<Answered>> {
        options.validate()?;
        let (config, script) = self.grafted()?;
        let room = self.room(inquiry, options.max_new_tokens)?;
        self.fits(inquiry.precision, |sketch| {
            sketch.ask(batch_size.min(dataset.len()), room.longest, options)
        })?;
        self.about(
            dataset,
            (inquiry.precision, batch_size),
            room,
            cache,
            progress,
            |graft, films, indices| {
                let ask = |(image, &film): (usize, &usize)| -> Result<Line> {
                    let none: [&str; 0] = [];
                    let (words, _) =
                        script.exchange(&inquiry.prompt(film), &none, &config.llama)?;
                    Ok(line(words, image, config))
                };
                let lines: Vec<Line> =
                    indices.iter().enumerate().map(ask).collect::<Result<_>>()?;
                write(graft, script, &lines, films, options, (indices, progress))
            },
        )
    }

    /// How likely each of `options` is as the answer about the first film of every study, as
    /// probabilities that add up to one.
    pub fn prefer(
        &self,
        dataset: &Arc<Dataset>,
        inquiry: &Inquiry,
        options: &[String],
        batch_size: usize,
        cache: Arc<Cache>,
        progress: &Progress,
    ) -> Result<Answers<Vec<f64>>> {
        let (config, script) = self.grafted()?;
        if options.len() < 2 {
            let why = format!("found {}, expected two or more", options.len());
            return Err(Error::value("options", why));
        }
        if let Some(at) = options.iter().position(|option| option.trim().is_empty()) {
            return Err(Error::value("options", format!("found an empty one at place {at}")));
        }
        let long = |option: &String| Ok(script.tokenizer().tokens(option, true)?.len() + 1);
        let most = options.iter().map(long).collect::<Result<Vec<usize>>>()?;
        let most = most.into_iter().max().unwrap_or(1);
        let room = self.room(inquiry, most)?;
        let writing = Generation { max_new_tokens: most, ..Generation::default() };
        self.fits(inquiry.precision, |sketch| {
            sketch.ask(batch_size.min(dataset.len()), room.longest, &writing)
        })?;
        self.about(
            dataset,
            (inquiry.precision, batch_size),
            room,
            cache,
            progress,
            |graft, films, indices| {
                let (mut lines, mut answers) = (Vec::new(), Vec::new());
                for (image, &film) in indices.iter().enumerate() {
                    let exchange =
                        script.exchange(&inquiry.prompt(film), options, &config.llama)?;
                    lines.push(line(exchange.0, image, config));
                    answers.push(exchange.1);
                }
                let sums = graft.likelihoods(&lines, &answers, Some(films))?;
                Ok(sums.iter().map(|sums| shares(sums)).collect())
            },
        )
    }

    /// Calls `work` for the adapted films (B, Q, W) of every batch and their rows, those left out
    /// for want of room excepted.
    fn about<T: Clone>(
        &self,
        dataset: &Arc<Dataset>,
        (precision, batch_size): (Precision, usize),
        room: Room,
        cache: Arc<Cache>,
        progress: &Progress,
        mut work: impl FnMut(&Graft, &Tensor, &[usize]) -> Result<Vec<T>>,
    ) -> Result<Answers<T>> {
        if batch_size == 0 {
            return Err(Error::value("batch_size", "found 0, expected at least 1"));
        }
        let graft = self.still_graft(precision)?;
        progress.set_total(dataset.len());
        let mut all = vec![None; dataset.len()];
        let left_out: HashSet<usize> = room.left_out.iter().map(|error| error.index).collect();
        let mut failures = self.over(dataset, batch_size, cache, progress, |pixels, indices| {
            let asked = |place: &u32| !left_out.contains(&indices[*place as usize]);
            let places: Vec<u32> = (0..indices.len() as u32).filter(asked).collect();
            if places.is_empty() {
                return Ok(());
            }
            let indices: Vec<usize> = places.iter().map(|&place| indices[place as usize]).collect();
            let asked = if left_out.is_empty() {
                pixels.clone()
            } else {
                pixels.index_select(&Tensor::new(places, pixels.device())?, 0)?
            };
            let queries = self.features(&asked, Level::Queries, precision)?;
            let answers = work(graft, &graft.adapt(&queries)?, &indices)?;
            for (answer, &index) in answers.into_iter().zip(&indices) {
                all[index] = Some(answer);
            }
            Ok(())
        })?;
        let unread: HashSet<usize> = failures.iter().map(|error| error.index).collect();
        failures.extend(room.left_out.into_iter().filter(|error| !unread.contains(&error.index)));
        failures.sort_by_key(|error| error.index);
        Ok((all, failures))
    }

    /// How long the prompts are beside the film and `most` new tokens. One for all films that has
    /// no room is refused, and so are prompts none of which has.
    fn room(&self, inquiry: &Inquiry, most: usize) -> Result<Room> {
        let (config, script) = self.grafted()?;
        let none: [&str; 0] = [];
        let (room, film) = (config.llama.max_positions, self.spec().elixr().queries);
        let left = room.saturating_sub(film + most);
        let mut found = Room { longest: 0, left_out: Vec::new() };
        let prompts = inquiry.prompts();
        for (index, prompt) in prompts.iter().enumerate() {
            let tokens = script.exchange(prompt, &none, &config.llama)?.0.len();
            if tokens <= left {
                found.longest = found.longest.max(tokens);
                continue;
            }
            let why = format!(
                "found {tokens} tokens, expected at most {left}: of the decoder's {room} positions \
                 the film takes {film}, and the answer up to {most}"
            );
            let error = Error::value("question", why);
            if prompts.len() == found.left_out.len() + 1 {
                return Err(error);
            }
            found.left_out.push(RowError { index, message: error.to_string() });
        }
        Ok(found)
    }
}

/// What prompts there is room for.
struct Room {
    /// The tokens of the longest of them.
    longest: usize,
    /// The films whose prompts are too long.
    left_out: Vec<RowError>,
}

/// Writes after each of `lines`, and says how likely what was written is.
fn write(
    graft: &Graft,
    script: &Script,
    lines: &[Line],
    films: &Tensor,
    options: &Generation,
    (indices, progress): (&[usize], &Progress),
) -> Result<Vec<Answered>> {
    let decoder = graft.decoder();
    let spliced = decoder.splice(lines, Some(films), crate::language::Fill::Before)?;
    let prompts = Prompts::of_vectors(spliced.vectors, spliced.mask)?;
    let first = indices.first().copied().unwrap_or(0);
    let written = decoder.generate(&prompts, options, first, &progress.part())?;
    let end = decoder.config().eos.first();
    let words = written.iter().map(|one| {
        let end = end.filter(|_| one.ended || one.tokens.is_empty());
        vec![one.tokens.iter().chain(end).copied().collect::<Vec<u32>>()]
    });
    let words: Vec<_> = words.collect();
    let sums = graft.likelihoods(lines, &words, Some(films))?;
    let answer = |((one, words), sums): ((_, &Vec<Vec<u32>>), &Vec<f64>)| {
        let one: &crate::language::Generated = one;
        let text = script.tokenizer().decode(&one.tokens)?.trim().to_owned();
        let score = sums[0] / words[0].len().max(1) as f64;
        Ok(Answered { text, score, ended: one.ended })
    };
    written.iter().zip(&words).zip(&sums).map(answer).collect()
}

/// Log-likelihoods as parts of one.
fn shares(sums: &[f64]) -> Vec<f64> {
    let top = sums.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let all: f64 = sums.iter().map(|sum| (sum - top).exp()).sum();
    sums.iter().map(|sum| (sum - top).exp() / all).collect()
}
