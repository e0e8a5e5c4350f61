//! What a Q-Former holds in memory, each function beside the one of its name.

use super::QFormer;
use crate::Result;
use crate::fusion::trace_similarity;
use crate::nn::{Account, Pass, Shadow, Work, trace_join, trace_unit};

/// Keys and values of the queries in every layer.
type Keys = Vec<(Shadow, Shadow)>;

impl QFormer {
    /// The memory of [`Self::prepare`].
    #[must_use]
    pub fn trace_prepare(&self, tokens: &Shadow) -> Shadow {
        self.image_norm.as_ref().map_or_else(|| tokens.clone(), |norm| norm.trace(tokens))
    }

    /// The memory of [`Self::look`].
    pub fn trace_look(&self, image: &Shadow, pass: &Pass) -> Result<Shadow> {
        self.trace_gaze(image, pass, |_| ())
    }

    fn trace_gaze(
        &self,
        image: &Shadow,
        pass: &Pass,
        mut keep: impl FnMut((Shadow, Shadow)),
    ) -> Result<Shadow> {
        let mut x = self.trace_queries(image, pass);
        for layer in &self.layers {
            let keys = layer.trace_keys(&x)?;
            x = layer.trace_queries(&x, &keys, image, pass)?;
            keep(keys);
        }
        Ok(x)
    }

    /// The memory of [`Self::read`] for (B, T) tokens.
    pub fn trace_read(&self, words: [usize; 2], account: &Account, pass: &Pass) -> Result<Shadow> {
        let mut x = self.trace_words(words, account, pass);
        for layer in &self.layers {
            x = layer.trace_text(&x, &layer.trace_keys(&x)?, pass)?;
        }
        Ok(x)
    }

    /// The memory of [`Self::meet`] for `count` tokens beside each image.
    pub fn trace_meet(&self, image: &Shadow, count: usize, pass: &Pass) -> Result<Shadow> {
        let mut x = self.trace_queries(image, pass);
        let mut text = self.trace_words([image.dims()[0], count], image.account(), pass);
        for (i, layer) in self.layers.iter().enumerate() {
            let keys = both(&layer.trace_keys(&x)?, &layer.trace_keys(&text)?);
            x = layer.trace_queries(&x, &keys, image, pass)?;
            if i + 1 < self.layers.len() {
                text = layer.trace_text(&text, &keys, pass)?;
            }
        }
        Ok(x)
    }

    fn trace_tell(
        &self,
        queries: &Keys,
        words: [usize; 2],
        account: &Account,
        pass: &Pass,
    ) -> Result<Shadow> {
        let mut x = self.trace_words(words, account, pass);
        for (layer, queries) in self.layers.iter().zip(queries) {
            let keys = both(queries, &layer.trace_keys(&x)?);
            x = layer.trace_text(&x, &keys, pass)?;
        }
        Ok(x)
    }

    /// The memory of [`Self::embed_image`].
    #[must_use]
    pub fn trace_embed_image(&self, queries: &Shadow) -> Shadow {
        trace_unit(&self.vision_proj.trace(queries, false, None))
    }

    /// The memory of [`Self::embed_text`].
    #[must_use]
    pub fn trace_embed_text(&self, first: &Shadow) -> Shadow {
        trace_unit(&self.text_proj.trace(first, false, None))
    }

    /// The memory of [`Self::losses`] for texts of `count` tokens.
    pub fn trace_losses(&self, tokens: &Shadow, count: usize, pass: &Pass) -> Result<Shadow> {
        let account = tokens.account();
        let &[batch, places, dim] = tokens.dims() else { return Ok(tokens.clone()) };
        let image = self.trace_prepare(tokens);
        let mut keys = Vec::new();
        let queries = self.trace_gaze(&image, pass, |own| keys.push(own))?;
        let told = self.trace_tell(&keys, [batch, count.saturating_sub(1)], account, pass)?;
        let caption = self.trace_next_words(&told);
        let read = self.trace_read([batch, count], account, pass)?;
        let first = Shadow::made(&[batch, read.dims()[2]], &[&read], Work::default());
        let (images, texts) = (self.trace_embed_image(&queries), self.trace_embed_text(&first));
        let contrast = trace_similarity(&images, &texts);
        let triples = Shadow::made(&[3 * batch, places, dim], &[&image], Work::default());
        let met = self.trace_meet(&triples, count, pass)?;
        let matching = self.itm_head.trace(&met, false, None);
        Ok(Shadow::made(&[1], &[&caption, &contrast, &matching], Work::default()))
    }

    fn trace_next_words(&self, states: &Shadow) -> Shadow {
        let account = states.account();
        let head = &self.head;
        let states = head.norm.trace(&head.dense.trace(states, true, None));
        let counted = Shadow::shared(states.dims(), &[&states]);
        let (table, bias) = (account.weight(self.words.weight()), account.weight(&head.bias));
        Shadow::made(&[1], &[&counted, &table, &bias], Work::default())
    }

    fn trace_queries(&self, image: &Shadow, pass: &Pass) -> Shadow {
        let queries = self.norm.trace(&image.account().weight(&self.query_tokens));
        let dims = [&image.dims()[..1], &queries.dims()[1..]].concat();
        self.dropout.trace(&Shadow::shared(&dims, &[&queries.view(&dims)]), pass)
    }

    fn trace_words(&self, words: [usize; 2], account: &Account, pass: &Pass) -> Shadow {
        let words = self.words.trace(&words, account);
        let places = account.weight(self.places.weight());
        let x = Shadow::shared(words.dims(), &[&words, &places]);
        self.dropout.trace(&self.norm.trace(&x), pass)
    }
}

fn both(first: &(Shadow, Shadow), second: &(Shadow, Shadow)) -> (Shadow, Shadow) {
    (trace_join(&first.0, &second.0), trace_join(&first.1, &second.1))
}
