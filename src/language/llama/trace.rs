//! The memory of reading tokens, from sizes alone.

use super::{Layer, Llama};
use crate::Result;
use crate::nn::{Account, Kind, Pass, Shadow, Work, room_for};

/// The memory of a [`Cache`](super::Cache); empty at first.
#[derive(Debug, Default)]
pub(crate) struct CacheTrace {
    layers: Vec<Shadow>,
    len: usize,
    room: usize,
}

impl CacheTrace {
    /// The tokens that can be read before more room is needed.
    pub(crate) fn left(&self) -> usize {
        self.room - self.len
    }

    /// Reads tokens whose memory is known.
    pub(crate) fn skip(&mut self, tokens: usize) {
        self.len += tokens;
    }

    /// The memory of [`Cache::choose`](super::Cache::choose) of `rows` texts.
    pub(crate) fn choose(&mut self, rows: usize, account: &Account) {
        for layer in &mut self.layers {
            let &[_, room, kept] = layer.dims() else { return };
            *layer = account.input(Kind::Cache, &[rows, room, kept]);
        }
    }
}

impl Llama {
    /// The memory of [`Self::forward_after`] for `x` (B, N, D), or of [`Self::forward`] where
    /// nothing is kept.
    pub(crate) fn trace(&self, x: &Shadow, mut cache: Option<&mut CacheTrace>) -> Shadow {
        let mut x = x.clone();
        let (rows, tokens) = (x.dims()[0], x.dims()[1]);
        let room = cache.as_mut().map_or(0, |cache| {
            let before = cache.len;
            cache.len += tokens;
            if cache.room < cache.len {
                cache.room = room_for(before, cache.len);
            }
            cache.room
        });
        for (i, layer) in self.layers.iter().enumerate() {
            if let Some(cache) = &mut cache {
                let dims = [rows, room, layer.self_attn.kept()];
                if i == cache.layers.len() {
                    cache.layers.push(x.account().input(Kind::Cache, &dims));
                } else if cache.layers[i].dims() != dims {
                    cache.layers[i] = x.account().input(Kind::Cache, &dims); // old beside new
                }
            }
            x = layer.trace(&x);
        }
        self.norm.trace(&x)
    }

    /// The memory of [`Self::forward`] in a pass that trains.
    pub(crate) fn trace_learning(&self, x: &Shadow, pass: &Pass) -> Result<Shadow> {
        let mut x = x.clone();
        for layer in &self.layers {
            let layer = layer.clone();
            x = x.block(pass, move |x, _| Ok(layer.trace(x)))?;
        }
        Ok(self.norm.trace(&x))
    }

    /// The memory of [`Self::loss`] where `counted` targets count.
    pub(crate) fn trace_loss(&self, states: &Shadow, counted: usize) -> Shadow {
        let states = Shadow::shared(&[counted, self.config.dim], &[states]);
        // An untied head is not laid out: the loss multiplies blocks of it as they lie.
        let table = self.lm_head.weight().map(|table| states.account().weight(table));
        match table {
            Ok(table) => Shadow::made(&[1], &[&states, &table], Work::default()),
            Err(_) => Shadow::made(&[1], &[&states], Work::default()),
        }
    }

    /// The memory of looking up tokens (B, N).
    pub(crate) fn trace_embed(&self, ids: [usize; 2], account: &Account) -> Shadow {
        self.embed_tokens.trace(&ids, account)
    }

    /// The memory of [`Self::logits`].
    pub(crate) fn trace_logits(&self, states: &Shadow) -> Shadow {
        self.lm_head.trace(states, false, None)
    }
}

impl Layer {
    fn trace(&self, x: &Shadow) -> Shadow {
        let x = self.self_attn.trace_after(&self.input_layernorm.trace(x), x);
        self.mlp.trace(&self.post_attention_layernorm.trace(&x), Some(&x))
    }
}
