//! Beam search: several texts are followed, and the best finished one is kept.
//!
//! Source: Graves 2012, arXiv:1211.3711; scores, penalties of length and the end of the search as
//! in the transformers library, version 5.

use super::rules::log_softmax;
use super::{Generated, Generation, Stopping};

/// Below every score of a text that can be.
const HOPELESS: f64 = -1e9;

/// A text that is followed: its sum of log-probabilities and its tokens after the prompt.
#[derive(Clone, Debug)]
pub(super) struct Beam {
    pub(super) score: f64,
    pub(super) tokens: Vec<u32>,
    /// Which beam of the step before it continues.
    pub(super) from: usize,
}

/// The search after one prompt.
pub(super) struct Search<'a> {
    options: &'a Generation,
    prompt: Vec<u32>,
    stops: &'a [u32],
    pub(super) running: Vec<Beam>,
    /// Finished texts, best first: score, tokens, whether an end was written.
    finished: Vec<(f64, Vec<u32>, bool)>,
    pub(super) done: bool,
}

impl<'a> Search<'a> {
    pub(super) fn new(options: &'a Generation, prompt: Vec<u32>, stops: &'a [u32]) -> Self {
        let start =
            |i| Beam { score: if i == 0 { 0.0 } else { HOPELESS }, tokens: Vec::new(), from: i };
        let running = (0..options.beams).map(start).collect();
        Self { options, prompt, stops, running, finished: Vec::new(), done: false }
    }

    /// Goes on by one token, given the logits after each running beam.
    pub(super) fn step(&mut self, logits: &[Vec<f64>]) {
        let beams = self.options.beams;
        let length = self.running[0].tokens.len() + 1;
        let last = length >= self.options.max_new_tokens;
        let candidates = self.candidates(logits, (1 + self.stops.len()).max(2) * beams);
        let ends = |beam: &Beam| beam.tokens.last().is_some_and(|token| self.stops.contains(token));
        let per_length = (length as f64).powf(self.options.length_penalty);
        let full = self.options.stopping == Stopping::Early && self.finished.len() >= beams;
        let mut running = Vec::with_capacity(beams);
        for (rank, beam) in candidates.into_iter().enumerate() {
            let ended = ends(&beam);
            if !(ended || last) {
                if running.len() < beams {
                    running.push(beam);
                }
            } else if rank < beams && !full {
                let mut tokens = beam.tokens;
                if ended {
                    tokens.pop();
                }
                self.finished.push((beam.score / per_length, tokens, ended));
            }
        }
        self.finished.sort_by(|a, b| b.0.total_cmp(&a.0));
        self.finished.truncate(beams);
        self.done = last || running.is_empty() || !self.may_improve(&running, length);
        self.running = running;
    }

    /// The best continuations of all running beams.
    fn candidates(&self, logits: &[Vec<f64>], count: usize) -> Vec<Beam> {
        let mut all: Vec<(f64, usize, u32)> = Vec::new();
        for (i, (beam, logits)) in self.running.iter().zip(logits).enumerate() {
            let mut scores = log_softmax(logits);
            let text = [self.prompt.as_slice(), &beam.tokens].concat();
            self.options.restrain(&mut scores, &text);
            let scored =
                scores.iter().zip(0u32..).map(|(score, token)| (score + beam.score, i, token));
            all.extend(scored);
        }
        let better = |a: &(f64, usize, u32), b: &(f64, usize, u32)| b.0.total_cmp(&a.0);
        if all.len() > count {
            all.select_nth_unstable_by(count, better);
            all.truncate(count);
        }
        all.sort_by(better);
        let beam = |(score, from, token): (f64, usize, u32)| {
            let mut tokens = self.running[from].tokens.clone();
            tokens.push(token);
            Beam { score, tokens, from }
        };
        all.into_iter().map(beam).collect()
    }

    /// Whether a running beam may end above a finished text.
    fn may_improve(&self, running: &[Beam], length: usize) -> bool {
        let options = self.options;
        let (Some(worst), Some(best)) = (self.finished.last(), running.first()) else {
            return true;
        };
        if self.finished.len() < options.beams {
            return true;
        }
        if options.stopping == Stopping::Early {
            return false;
        }
        let far = options.stopping == Stopping::Never && options.length_penalty > 0.0;
        let length = if far { options.max_new_tokens } else { length };
        best.score / (length as f64).powf(options.length_penalty) > worst.0
    }

    /// The best finished text.
    pub(super) fn best(self) -> Generated {
        let best = self.finished.into_iter().next();
        let (score, tokens, ended) = best.unwrap_or((HOPELESS, Vec::new(), false));
        Generated { tokens, ended, score: Some(score) }
    }
}
