//! Two encoders side by side: queries that pool an image, and a text encoder.

use candle::Tensor;
use candle_nn::{Init, VarBuilder};

use super::elixr::ElixrConfig;
use crate::Result;
use crate::fusion::AttentionPool;
use crate::language::{TextBody, TextPooling};
use crate::nn::{Account, Bias, Linear, Pass, Shadow, trace_unit, unit, wide};

/// An attention pool over image tokens and a text encoder, which meet in a space of their own; parameters
/// `pool`, `image_proj`, `text`, `text_proj` and `logit_scale`.
#[derive(Clone, Debug)]
pub(super) struct Towers {
    pool: AttentionPool,
    image_proj: Linear,
    text: TextBody,
    text_pooling: TextPooling,
    text_proj: Linear,
    logit_scale: Tensor,
}

impl Towers {
    pub(super) fn new(config: &ElixrConfig, vb: &VarBuilder) -> Result<Self> {
        let (dim, embedding) = (config.image.dim(), config.embedding);
        // exp(2.66) = 1 / 0.07, CLIP's start.
        let scale = Init::Const((1f64 / 0.07).ln());
        Ok(Self {
            pool: AttentionPool::new(dim, config.pool_heads, config.queries, vb.pp("pool"))?,
            image_proj: Linear::new(dim, embedding, Bias::Without, vb.pp("image_proj"))?,
            text: TextBody::new(&config.text, vb.pp("text"))?,
            text_pooling: config.text_pooling,
            text_proj: Linear::new(
                config.text.dim(),
                embedding,
                Bias::Without,
                vb.pp("text_proj"),
            )?,
            logit_scale: vb.get_with_hints(1, "logit_scale", scale)?,
        })
    }

    /// What the queries gather (B, Q, D) of image tokens (B, N, D).
    pub(super) fn gather(&self, tokens: &Tensor) -> Result<Tensor> {
        wide(&self.pool.forward(tokens, None)?)
    }

    /// Unit embeddings (B, Q, E) of what the queries gathered.
    pub(super) fn embed_image(&self, queries: &Tensor) -> Result<Tensor> {
        unit(&self.image_proj.forward(queries)?)
    }

    /// One vector (T, D) for each text of `ids` (T, N).
    pub(super) fn encode_text(&self, ids: &Tensor, mask: &Tensor, pass: &Pass) -> Result<Tensor> {
        self.text.encode((ids, mask), self.text_pooling, pass)
    }

    /// Unit embeddings (T, E) of the vectors that [`Self::encode_text`] gives.
    pub(super) fn project_text(&self, states: &Tensor) -> Result<Tensor> {
        unit(&self.text_proj.forward(states)?)
    }

    /// What similarities are multiplied by (1).
    pub(super) fn scale(&self) -> Result<Tensor> {
        capped(&self.logit_scale)
    }
}

/// What a logarithm of a scale stands for, at most 100: CLIP's cap keeps the softmax from freezing.
/// Beyond it the scale still learns.
fn capped(logarithm: &Tensor) -> Result<Tensor> {
    let held = logarithm.clamp(-5f32, 100f32.ln())?;
    let beyond = (held - logarithm)?.detach();
    Ok((logarithm + beyond)?.exp()?)
}

/// The memory of each function of the same name.
impl Towers {
    pub(super) fn trace_gather(&self, tokens: &Shadow) -> Shadow {
        self.pool.trace(tokens)
    }

    pub(super) fn trace_embed(&self, queries: &Shadow) -> Shadow {
        trace_unit(&self.image_proj.trace(queries, false, None))
    }

    pub(super) fn trace_text(
        &self,
        tokens: [usize; 2],
        account: &Account,
        pass: &Pass,
    ) -> Result<Shadow> {
        self.text.trace(tokens, self.text_pooling, (account, pass))
    }

    pub(super) fn trace_project(&self, states: &Shadow) -> Shadow {
        trace_unit(&self.text_proj.trace(states, false, None))
    }
}

#[cfg(test)]
mod tests {
    use candle::{Device, Var};

    use super::*;

    #[test]
    fn a_scale_beyond_the_cap_still_learns() {
        for (logarithm, scale) in [(4.7, 100.0), (1.0, 1f32.exp()), (-9.0, (-5f32).exp())] {
            let var = Var::new(&[logarithm as f32], &Device::Cpu).unwrap();
            let out = capped(&var).unwrap();
            let gradients = out.sum_all().unwrap().backward().unwrap();
            let of = |x: &Tensor| x.to_vec1::<f32>().unwrap()[0] / scale;
            assert!((of(&out) - 1.0).abs() < 1e-5);
            assert!((of(gradients.get(&var).unwrap()) - 1.0).abs() < 1e-5);
        }
    }
}
