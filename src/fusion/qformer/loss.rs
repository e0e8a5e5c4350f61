//! The three losses that a Q-Former learns from: contrast, match, caption.
//!
//! Source: Li et al. 2023, "BLIP-2", arXiv:2301.12597, section 3.2; Li et al. 2021, "ALBEF",
//! arXiv:2107.07651, for negatives that are hard.

use candle::{D, DType, Tensor};
use serde::{Deserialize, Serialize};

use super::{QFormer, Words};
use crate::fusion::similarity;
use crate::nn::{CrossEntropy, Pass, shared_cross_entropy};
use crate::random::Random;
use crate::{Error, Result};

/// What gradients pass in the contrast of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gather {
    /// All: each film and each text learns from both directions.
    #[default]
    Learns,
    /// Those of the side in the rows only: the other one is a constant, as in LAVIS, which
    /// gathers it from all processes without a gradient.
    Constant,
}

/// How films and texts are paired.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pairing {
    /// What gradients pass.
    pub gather: Gather,
    /// The part of a target, in [0, 1), that is spread over the batch in the contrast.
    pub contrast_smoothing: f64,
    /// The part that is spread over the vocabulary in the caption.
    pub caption_smoothing: f64,
    /// The token that a caption starts with, in the place of a text's first.
    pub start: u32,
}

impl Pairing {
    /// LAVIS's smoothing of 0.1, and all gradients.
    pub fn new(start: u32) -> Self {
        Self { gather: Gather::default(), contrast_smoothing: 0.1, caption_smoothing: 0.1, start }
    }
}

/// How alike the films and texts of a batch are, divided by the temperature.
#[derive(Clone, Debug)]
pub struct Alignment {
    /// Films in rows (B, B).
    pub images: Tensor,
    /// Texts in rows (B, B).
    pub texts: Tensor,
}

/// For each film a text that is not its own, and the other way round; none where all are alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Negatives {
    /// For each text, a film.
    pub images: Vec<Option<u32>>,
    /// For each film, a text.
    pub texts: Vec<Option<u32>>,
}

/// The three losses, scalars.
#[derive(Clone, Debug)]
pub struct Losses {
    /// Which text belongs to a film, and which film to a text.
    pub contrast: Tensor,
    /// Whether a film and a text belong together.
    pub matching: Tensor,
    /// The next word of the text.
    pub caption: Tensor,
}

impl Alignment {
    /// Of unit vectors `images` (B, Q, E) and `texts` (B, E).
    pub fn new(images: &Tensor, texts: &Tensor, temp: &Tensor, gather: Gather) -> Result<Self> {
        let scaled = |images: &Tensor, texts: &Tensor| -> Result<Tensor> {
            Ok(similarity(images, texts)?.broadcast_div(temp)?)
        };
        if gather == Gather::Constant {
            let texts_in_rows = scaled(&images.detach(), texts)?.t()?.contiguous()?;
            return Ok(Self { images: scaled(images, &texts.detach())?, texts: texts_in_rows });
        }
        let images = scaled(images, texts)?;
        Ok(Self { texts: images.t()?.contiguous()?, images })
    }

    /// The contrast: `same` (B, B) is 1 where film and text belong together, on the diagonal at
    /// least. A target is spread over all that do, so that equal texts do not push each other
    /// away; with the identity this is LAVIS's loss exactly.
    pub fn contrast(&self, same: &Tensor, smoothing: f64) -> Result<Tensor> {
        let of_rows = |logits: &Tensor, same: &Tensor| -> Result<Tensor> {
            let count = logits.dim(1)? as f64;
            let own = same.broadcast_div(&same.sum_keepdim(D::Minus1)?)?;
            let targets = own.affine(1.0 - smoothing, smoothing / count)?;
            Ok((shared_cross_entropy(logits, &targets)? / logits.dim(0)? as f64)?)
        };
        let rows = of_rows(&self.images, same)?;
        Ok(((rows + of_rows(&self.texts, &same.t()?.contiguous()?)?)? * 0.5)?)
    }

    /// The chances of each column to be drawn as the negative of a row: (films' texts, texts'
    /// films). `same` is as in [`Self::contrast`]; what belongs together is never drawn.
    pub fn chances(&self, same: &Tensor) -> Result<[Vec<Vec<f32>>; 2]> {
        let same = same.to_dtype(DType::F32)?.to_vec2::<f32>()?;
        let turned = |i: usize, j: usize| same[j][i];
        let straight = |i: usize, j: usize| same[i][j];
        Ok([of_rows(&self.images, straight)?, of_rows(&self.texts, turned)?])
    }
}

/// The softmax of each row over the columns that are not the same; zeros where all are.
fn of_rows(logits: &Tensor, same: impl Fn(usize, usize) -> f32) -> Result<Vec<Vec<f32>>> {
    let mut rows = logits.detach().to_dtype(DType::F32)?.to_vec2::<f32>()?;
    for (i, row) in rows.iter_mut().enumerate() {
        for (j, x) in row.iter_mut().enumerate() {
            if same(i, j) != 0.0 {
                *x = f32::NEG_INFINITY;
            }
        }
        let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        for x in row.iter_mut() {
            *x = if *x == f32::NEG_INFINITY { 0.0 } else { (*x - most).exp() };
        }
        let sum = row.iter().sum::<f32>().max(f32::MIN_POSITIVE);
        for x in row.iter_mut() {
            *x /= sum;
        }
    }
    Ok(rows)
}

impl Negatives {
    /// Draws by [`Alignment::chances`], for row i from the stream `streams(i)`: first a text, then
    /// a film.
    pub fn draw(chances: &[Vec<Vec<f32>>; 2], streams: impl Fn(usize) -> Random) -> Self {
        let [texts, images] = chances;
        let both = texts.iter().zip(images).enumerate().map(|(i, (text, image))| {
            let mut random = streams(i);
            (pick(text, &mut random), pick(image, &mut random))
        });
        let (texts, images) = both.unzip();
        Self { images, texts }
    }
}

/// A column by its chance; none when all are zero.
fn pick(chances: &[f32], random: &mut Random) -> Option<u32> {
    let mut left = random.uniform() * chances.iter().map(|x| f64::from(*x)).sum::<f64>();
    let mut last = None;
    for (column, chance) in (0u32..).zip(chances) {
        if *chance > 0.0 {
            last = Some(column);
            left -= f64::from(*chance);
            if left < 0.0 {
                break;
            }
        }
    }
    last
}

impl QFormer {
    /// All three losses of `tokens` (B, N, C) of images and their texts. `same` (B, B) says which
    /// belong together; `negatives` draws from [`Alignment::chances`].
    pub fn losses(
        &self,
        tokens: &Tensor,
        words: Words,
        same: &Tensor,
        pairing: &Pairing,
        negatives: impl FnOnce(&[Vec<Vec<f32>>; 2]) -> Negatives,
        pass: &Pass,
    ) -> Result<Losses> {
        let image = self.prepare(tokens)?;
        let (queries, keys) = self.look_keeping(&image, None, pass)?;
        let caption = self.caption_loss(&keys, words, pairing, pass)?;
        let first = self.read(words, pass)?.narrow(1, 0, 1)?.squeeze(1)?;
        let (images, texts) = (self.embed_image(&queries)?, self.embed_text(&first)?);
        let alignment = Alignment::new(&images, &texts, &self.temperature()?, pairing.gather)?;
        let contrast = alignment.contrast(same, pairing.contrast_smoothing)?;
        let negatives = negatives(&alignment.chances(same)?);
        let matching = self.matching_loss(&image, words, &negatives, pass)?;
        Ok(Losses { contrast, matching, caption })
    }

    /// Whether each film and its text belong together, and each with its negative: the mean
    /// cross-entropy. `image` (B, N, C) is prepared.
    pub fn matching_loss(
        &self,
        image: &Tensor,
        words: Words,
        negatives: &Negatives,
        pass: &Pass,
    ) -> Result<Tensor> {
        let batch = image.dim(0)?;
        let own = |i: usize| (i as u32, i as u32);
        let pairs = (0..batch).map(own);
        let films = negatives.images.iter().enumerate();
        let films = films.filter_map(|(i, film)| film.map(|film| (film, i as u32)));
        let texts = negatives.texts.iter().enumerate();
        let texts = texts.filter_map(|(i, text)| text.map(|text| (i as u32, text)));
        let (films, texts): (Vec<u32>, Vec<u32>) = pairs.chain(films).chain(texts).unzip();
        if films.iter().chain(&texts).any(|row| *row as usize >= batch) {
            let why = format!("found a row of no film or text, expected less than {batch}");
            return Err(Error::value("negatives", why));
        }
        let rows = films.len();
        let labels: Vec<u32> = (0..rows).map(|row| u32::from(row < batch)).collect();
        let tensor = |rows: Vec<u32>| Tensor::new(rows, image.device());
        let (films, texts, labels) = (tensor(films)?, tensor(texts)?, tensor(labels)?);
        let ids = words.ids.index_select(&texts, 0)?;
        let mask = words.mask.index_select(&texts, 0)?;
        let words = Words { ids: &ids, mask: &mask };
        let queries = self.meet(&image.index_select(&films, 0)?, None, words, pass)?;
        CrossEntropy::default().of_logits(&self.matches(&queries)?.mean(1)?, &labels)
    }

    /// The mean cross-entropy of each next word, told behind the queries of `keys`.
    pub fn caption_loss(
        &self,
        keys: &super::Keys,
        words: Words,
        pairing: &Pairing,
        pass: &Pass,
    ) -> Result<Tensor> {
        let (batch, count) = words.ids.dims2()?;
        if count < 2 {
            let expected = "(B, T) with T of at least 2: one to start from, one to tell";
            return Err(Error::shape("token ids of captions", expected, words.ids.dims()));
        }
        let start = Tensor::full(pairing.start, (batch, 1), words.ids.device())?;
        let start = start.to_dtype(words.ids.dtype())?;
        let (ids, mask) = (words.ids, words.mask);
        // The last token has no next one.
        let told = Tensor::cat(&[&start, &ids.narrow(1, 1, count - 2)?], 1)?;
        let words = Words { ids: &told, mask: &mask.narrow(1, 0, count - 1)? };
        let states = self.tell(keys, words, pass)?;
        let next = ids.narrow(1, 1, count - 1)?.to_dtype(DType::I64)?;
        let real = mask.narrow(1, 1, count - 1)?.ne(0u32)?;
        let nothing = Tensor::full(CrossEntropy::default().ignored, next.shape(), next.device())?;
        let targets = real.where_cond(&next, &nothing)?;
        self.next_words(&states, &targets, pairing.caption_smoothing)
    }
}
