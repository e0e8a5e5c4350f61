//! How much memory a decoder will take to write or to score texts, before it does.

use crate::Result;
use crate::language::{CacheTrace, Decoder, Generation, Llama, LlamaConfig, SCORED};
use crate::nn::{Account, Kind, Outline, Precision, Shadow};

use super::Plan;

/// Bytes of a number.
const NUMBER: usize = size_of::<f32>();

/// A decoder without numbers.
#[derive(Debug)]
pub struct DecoderSketch {
    model: Llama,
    weights: usize,
}

impl DecoderSketch {
    /// The decoder of these options whose matrices are multiplied in `precision`.
    pub fn new(config: &LlamaConfig, precision: Precision) -> Result<Self> {
        Self::built(config, precision, !precision.is_single())
    }

    /// The sketch of an open decoder.
    pub fn of(decoder: &Decoder) -> Result<Self> {
        Self::built(decoder.config(), decoder.precision(), decoder.parameters().is_none())
    }

    fn built(config: &LlamaConfig, precision: Precision, sealed: bool) -> Result<Self> {
        let outline = Outline::default();
        let model = Llama::new(config, outline.builder(false, precision))?;
        // Of a sealed one only what is looked up or added stays beside the laid-out matrices.
        let stays = |name: &str| !sealed || name.contains("embed_tokens");
        let shapes = outline.shapes().into_iter();
        let held = shapes.filter(|(name, shape)| shape.len() < 2 || stays(name));
        let weights =
            NUMBER * held.map(|(_, shape)| shape.iter().product::<usize>()).sum::<usize>();
        Ok(Self { model, weights })
    }

    /// The plan of writing after `batch` prompts of at most `tokens` tokens at a time.
    pub fn write(&self, batch: usize, tokens: usize, options: &Generation) -> Result<Plan> {
        options.validate()?;
        let account = self.account();
        let prompts = self.model.trace_embed([batch, tokens], &account);
        trace_writing(&self.model, &prompts, options);
        Ok(Plan::new("generate", batch, &[tokens], account.peak()))
    }

    /// The plan of scoring `batch` texts of at most `tokens` tokens at a time.
    pub fn score(&self, batch: usize, tokens: usize) -> Plan {
        let account = self.account();
        let texts = self.model.trace_embed([batch, tokens], &account);
        let states = self.model.trace(&texts, None);
        let at_once = (SCORED / self.model.config().vocab_size).clamp(1, tokens.max(1));
        let rows = account.input(Kind::Activations, &[at_once, states.dims()[2]]);
        let logits = self.model.trace_logits(&rows);
        let _as_rows = account.input(Kind::Activations, logits.dims());
        Plan::new("score", batch, &[tokens], account.peak())
    }

    fn account(&self) -> Account {
        let account = Account::default();
        account.keep(Kind::Weights, self.weights);
        account
    }
}

/// The memory of writing after `prompts` (B, T, D).
pub(super) fn trace_writing(model: &Llama, prompts: &Shadow, options: &Generation) {
    let (account, mut cache) = (prompts.account(), CacheTrace::default());
    let mut scores = last_logits(model, &model.trace(prompts, Some(&mut cache)));
    let rows = prompts.dims()[0].saturating_mul(options.beams);
    if options.beams > 1 {
        cache.choose(rows, account);
    }
    // The last token written is not read again.
    let mut left = options.max_new_tokens.saturating_sub(1);
    while left > 0 {
        let skipped = cache.left().min(left - 1);
        cache.skip(skipped); // as large as the step that follows, or smaller
        left -= skipped + 1;
        let next = model.trace_embed([rows, 1], account);
        let states = model.trace(&next, Some(&mut cache));
        let new = last_logits(model, &states);
        scores = new;
        if options.beams > 1 {
            cache.choose(rows, account);
        }
    }
    drop(scores);
}

/// The memory of the logits after the last token of each text: as they come, and twice in
/// float64.
fn last_logits(model: &Llama, states: &Shadow) -> Shadow {
    let &[rows, _, dim] = states.dims() else { return states.clone() };
    let account = states.account();
    let last = account.input(Kind::Activations, &[rows, dim]);
    let logits = model.trace_logits(&last);
    let wide = account.input(Kind::Activations, &[2 * rows, model.config().vocab_size]);
    let scores = account.input(Kind::Activations, &[2 * rows, model.config().vocab_size]);
    drop((logits, wide));
    scores
}

/// Fails when writing after prompts of at most `tokens` tokens will not fit in memory.
pub fn check_writing(
    decoder: &Decoder,
    batch: usize,
    tokens: usize,
    options: &Generation,
) -> Result<()> {
    check(decoder, |sketch| sketch.write(batch, tokens, options))
}

/// Fails when scoring texts of at most `tokens` tokens will not fit in memory.
pub fn check_scoring(decoder: &Decoder, batch: usize, tokens: usize) -> Result<()> {
    check(decoder, |sketch| Ok(sketch.score(batch, tokens)))
}

fn check(decoder: &Decoder, plan: impl FnOnce(&DecoderSketch) -> Result<Plan>) -> Result<()> {
    if !decoder.model().device().is_cpu() {
        return Ok(());
    }
    let plan = plan(&DecoderSketch::of(decoder)?)?;
    let sealed = decoder.parameters().is_none();
    let laid_out = if sealed { plan.of(Kind::Packed) } else { 0 };
    plan.fit(plan.of(Kind::Weights) + laid_out, " or with fewer new tokens")
}
