//! Captions from a Q-Former: the most likely word, again and again.

use candle::{D, Tensor};

use super::QFormer;
use crate::nn::{AttentionInput, KeyValues, Pass};
use crate::progress::Progress;
use crate::{Error, Result};

/// How captions are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Captioning {
    /// The token that a caption starts with.
    pub start: u32,
    /// The token that ends it.
    pub end: u32,
    /// The fewest words, without these two.
    pub least: usize,
    /// The most words.
    pub most: usize,
}

impl QFormer {
    /// Writes a caption for each prepared `image` (B, N, C), of which `mask` (B, N) says what is
    /// real: its tokens, without those of start and end. Nothing that was seen is computed again.
    pub fn caption(
        &self,
        image: &Tensor,
        mask: Option<&Tensor>,
        options: &Captioning,
        progress: &Progress,
    ) -> Result<Vec<Vec<u32>>> {
        self.check(options)?;
        let batch = image.dim(0)?;
        let mut seen: Vec<KeyValues> = Vec::new();
        let mut x = self.queries(batch, &Pass::inference())?;
        for layer in &self.layers {
            let mut own = KeyValues::default();
            let own_input = AttentionInput::default();
            let attended = layer.attention().forward_after(&mut own, &x, &own_input)?;
            x = layer.behind_queries(attended, (image, mask), &Pass::inference())?;
            seen.push(own);
        }
        let mut all = vec![Vec::new(); batch];
        let mut going: Vec<usize> = (0..batch).collect();
        let mut tokens = vec![options.start; batch];
        for place in 0..options.most {
            if going.is_empty() {
                break;
            }
            progress.check()?;
            let best = self.next(&mut seen, tokens, place, options)?;
            let (mut kept, mut next) = (Vec::new(), Vec::new());
            for (row, token) in (0u32..).zip(best) {
                if token != options.end {
                    all[going[row as usize]].push(token);
                    kept.push(row);
                    next.push(token);
                }
            }
            if kept.len() < going.len() {
                seen.iter_mut().try_for_each(|own| own.choose(&kept))?;
                going = kept.iter().map(|row| going[*row as usize]).collect();
            }
            tokens = next;
        }
        Ok(all)
    }

    /// Reads one more token of each text, and gives the most likely next one.
    fn next(
        &self,
        seen: &mut [KeyValues],
        tokens: Vec<u32>,
        place: usize,
        options: &Captioning,
    ) -> Result<Vec<u32>> {
        let ids = Tensor::from_vec(tokens, ((), 1), self.device())?;
        let mut x = self.embed_from(&ids, place, &Pass::inference())?;
        for (layer, seen) in self.layers.iter().zip(seen) {
            let attended = layer.attention().forward_after(seen, &x, &AttentionInput::default())?;
            x = layer.behind_text(&attended, &Pass::inference())?;
        }
        let mut logits = self.logits(&x.squeeze(1)?)?; // (B, V)
        if logits.sum_all()?.to_scalar::<f32>()?.is_nan() {
            let why = "they are not numbers: the Q-Former's weights or an image hold NaN";
            return Err(Error::value("logits of a caption", why));
        }
        if place < options.least {
            let vocabulary = 0..logits.dim(D::Minus1)? as u32;
            let hidden =
                vocabulary.map(|word| if word == options.end { f32::NEG_INFINITY } else { 0.0 });
            let hidden = Tensor::from_iter(hidden, logits.device())?;
            logits = logits.broadcast_add(&hidden)?;
        }
        Ok(logits.argmax(D::Minus1)?.to_vec1::<u32>()?)
    }

    fn check(&self, options: &Captioning) -> Result<()> {
        let body = &self.config.body;
        for (name, token) in [("start token", options.start), ("end token", options.end)] {
            if token as usize >= body.vocab_size {
                let why = format!("found {token}, expected less than {}", body.vocab_size);
                return Err(Error::value(name, why));
            }
        }
        let most = body.max_length();
        if options.most == 0 || options.most > most {
            let why = format!("found {}, expected 1 to {most}", options.most);
            return Err(Error::value("most words of a caption", why));
        }
        Ok(())
    }
}
