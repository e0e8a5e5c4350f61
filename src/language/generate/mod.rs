//! Writing: tokens after a prompt, one by one.

mod beam;
mod options;
mod rules;

use candle::{DType, Tensor};

use super::{Cache, Llama};
use crate::progress::Progress;
use crate::random::Random;
use crate::{Error, Result};
use beam::Search;

pub use options::{Generation, Stopping};

/// What a decoder reads before it writes: a batch of texts, perhaps with images among the words.
#[derive(Clone, Debug)]
pub struct Prompts {
    /// Vectors of the tokens, (B, T, D), that end together.
    vectors: Tensor,
    /// Which are real, (B, T); all when absent.
    mask: Option<Tensor>,
    /// The tokens of each that rules on repetition count.
    texts: Vec<Vec<u32>>,
}

impl Prompts {
    /// Token numbers, of different lengths perhaps, each at least one.
    pub fn of_tokens<T: AsRef<[u32]>>(model: &Llama, prompts: &[T]) -> Result<Self> {
        let longest = prompts.iter().map(|p| p.as_ref().len()).max().unwrap_or(0);
        let (mut ids, mut mask) = (Vec::new(), Vec::new());
        for (i, prompt) in prompts.iter().enumerate() {
            let prompt = prompt.as_ref();
            let most = model.config().vocab_size;
            if prompt.is_empty() {
                return Err(Error::value(format!("prompt {i}"), "found no token, expected one"));
            }
            if let Some(token) = prompt.iter().find(|token| **token as usize >= most) {
                let why = format!("found token {token}, expected less than {most}");
                return Err(Error::value(format!("prompt {i}"), why));
            }
            let padding = longest - prompt.len();
            ids.extend(std::iter::repeat_n(0, padding).chain(prompt.iter().copied()));
            mask.extend((0..longest).map(|place| u8::from(place >= padding)));
        }
        let shape = (prompts.len(), longest);
        let even = mask.iter().all(|real| *real == 1);
        let mask = Tensor::from_vec(mask, shape, model.device())?;
        let ids = Tensor::from_vec(ids, shape, model.device())?;
        let texts = prompts.iter().map(|prompt| prompt.as_ref().to_vec()).collect();
        Ok(Self { vectors: model.embed(&ids)?, mask: (!even).then_some(mask), texts })
    }

    /// Vectors (B, T, D), of which `mask` (B, T) is not zero on real ones; all texts end with the
    /// last. Rules on repetition count what is written only.
    pub fn of_vectors(vectors: Tensor, mask: Option<Tensor>) -> Result<Self> {
        let (rows, _, _) = vectors.dims3()?;
        Ok(Self { vectors, mask, texts: vec![Vec::new(); rows] })
    }
}

/// What was written after one prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct Generated {
    /// The tokens, without the one that ended the text.
    pub tokens: Vec<u32>,
    /// Whether such a token was written; if not, there was no more room.
    pub ended: bool,
    /// The score of a beam search: log-probability by length.
    pub score: Option<f64>,
}

impl Llama {
    /// Writes after each of `prompts`, in their order; `row` is the number of the first among all
    /// that share a seed. Stops at the model's end tokens and those of `options`.
    pub fn generate(
        &self,
        prompts: &Prompts,
        options: &Generation,
        row: usize,
        progress: &Progress,
    ) -> Result<Vec<Generated>> {
        options.validate()?;
        let (rows, read, _) = prompts.vectors.dims3()?;
        if rows == 0 {
            return Ok(Vec::new());
        }
        let room = self.config().max_positions;
        if options.max_new_tokens > room.saturating_sub(read) {
            let (found, most) = (options.max_new_tokens, room.saturating_sub(read));
            let why = format!(
                "found {found} after a prompt of {read} tokens, expected at most {most}: \
                 the decoder has {room} positions"
            );
            return Err(Error::value("max_new_tokens", why));
        }
        progress.check()?;
        let stops = [self.config().eos.as_slice(), &options.stop].concat();
        let mut cache = Cache::default();
        let states = self.forward_after(&mut cache, &prompts.vectors, prompts.mask.as_ref())?;
        let logits = self.last_logits(&states)?;
        if options.beams > 1 {
            self.search(prompts, (options, &stops), (cache, logits), progress)
        } else {
            self.follow(prompts, (options, &stops), (cache, logits), row, progress)
        }
    }

    /// The logits after the last of `states` (B, T, D), row by row.
    fn last_logits(&self, states: &Tensor) -> Result<Vec<Vec<f64>>> {
        let last = states.narrow(1, states.dim(1)? - 1, 1)?.squeeze(1)?.contiguous()?;
        let logits = self.logits(&last)?.to_dtype(DType::F64)?.to_vec2::<f64>()?; // (B, V)
        if logits.iter().flatten().any(|x| x.is_nan()) {
            let why = "the decoder's logits are not numbers: its weights or the prompt hold NaN";
            return Err(Error::value("logits", why));
        }
        Ok(logits)
    }

    /// Reads one more token of each text that goes on.
    fn read(&self, cache: &mut Cache, tokens: Vec<u32>) -> Result<Vec<Vec<f64>>> {
        let ids = Tensor::from_vec(tokens, ((), 1), self.device())?;
        let states = self.forward_after(cache, &self.embed(&ids)?, None)?;
        self.last_logits(&states)
    }

    /// One text after each prompt, token by token.
    fn follow(
        &self,
        prompts: &Prompts,
        (options, stops): (&Generation, &[u32]),
        (mut cache, mut logits): (Cache, Vec<Vec<f64>>),
        row: usize,
        progress: &Progress,
    ) -> Result<Vec<Generated>> {
        let start = || Generated { tokens: Vec::new(), ended: false, score: None };
        let mut all: Vec<Generated> = prompts.texts.iter().map(|_| start()).collect();
        let mut texts = prompts.texts.clone();
        let mut going: Vec<usize> = (0..all.len()).collect();
        for step in 0..options.max_new_tokens {
            let (mut kept, mut tokens) = (Vec::new(), Vec::new());
            for (place, (&i, logits)) in going.iter().zip(&mut logits).enumerate() {
                options.restrain(logits, &texts[i]);
                let stream = [0x6765_6e65, (row + i) as u64, step as u64];
                let token = options.choose(logits, &mut Random::new(options.seed, &stream));
                if stops.contains(&token) {
                    all[i].ended = true;
                } else {
                    all[i].tokens.push(token);
                    texts[i].push(token);
                    kept.push(place as u32);
                    tokens.push(token);
                }
            }
            progress.tick(1)?;
            if kept.is_empty() || step + 1 == options.max_new_tokens {
                break;
            }
            if kept.len() < going.len() {
                cache.choose(&kept)?;
                going = kept.iter().map(|&place| going[place as usize]).collect();
            }
            logits = self.read(&mut cache, tokens)?;
        }
        Ok(all)
    }

    /// The best of several texts after each prompt.
    fn search(
        &self,
        prompts: &Prompts,
        (options, stops): (&Generation, &[u32]),
        (mut cache, logits): (Cache, Vec<Vec<f64>>),
        progress: &Progress,
    ) -> Result<Vec<Generated>> {
        let beams = options.beams;
        let search = |text: &Vec<u32>| Search::new(options, text.clone(), stops);
        let mut searches: Vec<Search> = prompts.texts.iter().map(search).collect();
        let repeated = (0..searches.len() as u32).flat_map(|i| std::iter::repeat_n(i, beams));
        cache.choose(&repeated.collect::<Vec<u32>>())?;
        let repeat = |row: Vec<f64>| std::iter::repeat_n(row, beams);
        let mut logits: Vec<Vec<f64>> = logits.into_iter().flat_map(repeat).collect();
        let mut going: Vec<usize> = (0..searches.len()).collect();
        loop {
            let (mut kept, mut tokens, mut next) = (Vec::new(), Vec::new(), Vec::new());
            let mut first = 0;
            for &i in &going {
                let count = searches[i].running.len();
                searches[i].step(&logits[first..first + count]);
                if !searches[i].done {
                    next.push(i);
                    for beam in &searches[i].running {
                        kept.push((first + beam.from) as u32);
                        tokens.extend(beam.tokens.last());
                    }
                }
                first += count;
            }
            going = next;
            progress.tick(1)?;
            if going.is_empty() {
                return Ok(searches.into_iter().map(Search::best).collect());
            }
            cache.choose(&kept)?;
            logits = self.read(&mut cache, tokens)?;
        }
    }
}
