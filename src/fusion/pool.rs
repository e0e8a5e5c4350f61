//! Attention pooling: any number of tokens in, as many as there are learned queries out.
//!
//! Source: Lee et al. 2019, "Set Transformer", arXiv:1810.00825 (pooling by attention); the head
//! of Zhai et al. 2022, "Scaling Vision Transformers", arXiv:2106.04560, is the case of one query
//! without the norms.

use candle::Tensor;
use candle_nn::{Init, VarBuilder};

use crate::nn::{
    Activation, Attention, AttentionConfig, AttentionInput, AttentionLayout, LayerNorm, Mlp,
    MlpConfig, Shadow,
};
use crate::{Error, Result};

/// The sizes of an [`AttentionPool`].
#[derive(Clone, Debug)]
pub struct AttentionPoolConfig {
    /// Features of tokens, queries and output.
    pub dim: usize,
    /// Attention heads, a divisor of `dim`.
    pub heads: usize,
    /// Learned queries.
    pub queries: usize,
    /// Features of the tokens when they are not `dim`.
    pub token_dim: Option<usize>,
    /// Whether queries and tokens are normalised before they meet.
    pub pre_norm: bool,
    /// Features inside the residual feed-forward branch; no branch when absent.
    pub mlp_dim: Option<usize>,
    /// The nonlinearity of that branch.
    pub activation: Activation,
    /// Added to the variance in the norms.
    pub norm_eps: f64,
}

impl AttentionPoolConfig {
    /// Pre-norm attention with a feed-forward branch four times as wide.
    pub fn new(dim: usize, heads: usize, queries: usize) -> Self {
        Self {
            dim,
            heads,
            queries,
            token_dim: None,
            pre_norm: true,
            mlp_dim: Some(4 * dim),
            activation: Activation::Gelu,
            norm_eps: 1e-6,
        }
    }
}

/// Learned queries that attend to tokens; parameters `latent` (1, Q, D), `q`, `k`, `v`, `proj`,
/// `norm` and `mlp` as in timm, and `norm_q`, `norm_kv`.
#[derive(Clone, Debug)]
pub struct AttentionPool {
    latent: Tensor,
    norms: Option<(LayerNorm, LayerNorm)>,
    attention: Attention,
    mlp: Option<(LayerNorm, Mlp)>,
    token_dim: usize,
}

impl AttentionPool {
    /// Pre-norm pooling to `queries` tokens, with a feed-forward branch.
    pub fn new(dim: usize, heads: usize, queries: usize, vb: VarBuilder) -> Result<Self> {
        Self::with(&AttentionPoolConfig::new(dim, heads, queries), vb)
    }

    /// Pooling as `config` says.
    pub fn with(config: &AttentionPoolConfig, vb: VarBuilder) -> Result<Self> {
        let &AttentionPoolConfig { dim, heads, queries, norm_eps, .. } = config;
        if queries == 0 {
            return Err(Error::config("queries", "found 0, expected at least 1"));
        }
        let token_dim = config.token_dim.unwrap_or(dim);
        let attention = AttentionConfig {
            context_dim: config.token_dim,
            layout: AttentionLayout::split("q", "k", "v", "proj"),
            ..AttentionConfig::new(dim, heads)
        };
        let norm = |dim, name| LayerNorm::new(dim, norm_eps, vb.pp(name));
        let norms = if config.pre_norm {
            Some((norm(dim, "norm_q")?, norm(token_dim, "norm_kv")?))
        } else {
            None
        };
        let mlp = |hidden| {
            let config = MlpConfig {
                dim,
                hidden,
                activation: config.activation,
                bias: crate::nn::Bias::With,
            };
            Ok::<_, Error>((norm(dim, "norm")?, Mlp::new(&config, ["fc1", "fc2"], vb.pp("mlp"))?))
        };
        let init = Init::Randn { mean: 0.0, stdev: (dim as f64).powf(-0.5) };
        Ok(Self {
            latent: vb.get_with_hints((1, queries, dim), "latent", init)?,
            norms,
            attention: Attention::new(&attention, vb.clone())?,
            mlp: config.mlp_dim.map(mlp).transpose()?,
            token_dim,
        })
    }

    /// The memory of [`Self::forward`].
    #[must_use]
    pub fn trace(&self, tokens: &Shadow) -> Shadow {
        let latent = tokens.account().weight(&self.latent);
        let (queries, context) = match &self.norms {
            Some((q, kv)) => (q.trace(&latent), kv.trace(tokens)),
            None => (latent, tokens.clone()),
        };
        let dims = [&tokens.dims()[..1], &queries.dims()[1..]].concat();
        let queries = Shadow::shared(&dims, &[&queries.view(&dims)]);
        let pooled = self.attention.trace(&queries, Some(&context), None);
        match &self.mlp {
            None => pooled,
            Some((norm, mlp)) => {
                let fed = mlp.trace(&norm.trace(&pooled), None);
                Shadow::shared(pooled.dims(), &[&pooled, &fed])
            }
        }
    }

    /// Maps `tokens` (B, N, C) to (B, Q, D); `mask` (B, N) says which tokens are real.
    pub fn forward(&self, tokens: &Tensor, mask: Option<&Tensor>) -> Result<Tensor> {
        let wrong = || {
            let expected = format!("(B, N, {})", self.token_dim);
            Error::shape("attention pool tokens", expected, tokens.dims())
        };
        let (batch, _, dim) = tokens.dims3().map_err(|_| wrong())?;
        if dim != self.token_dim {
            return Err(wrong());
        }
        let (queries, context) = match &self.norms {
            Some((q, kv)) => (q.forward(&self.latent)?, kv.forward(tokens)?),
            None => (self.latent.clone(), tokens.clone()),
        };
        let (_, count, width) = queries.dims3()?;
        let queries = queries.broadcast_as((batch, count, width))?.contiguous()?; // (B, Q, D)
        let input = AttentionInput { context: Some(&context), mask, ..AttentionInput::default() };
        let pooled = self.attention.forward(&queries, &input)?;
        match &self.mlp {
            None => Ok(pooled),
            Some((norm, mlp)) => Ok((&pooled + mlp.forward(&norm.forward(&pooled)?)?)?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::Parameters;
    use candle::Device;

    fn tokens(batch: usize, n: usize) -> Tensor {
        let values: Vec<f32> = (0..batch * n * 8).map(|i| (i as f32 * 0.7).sin()).collect();
        Tensor::from_vec(values, (batch, n, 8), &Device::Cpu).unwrap()
    }

    #[test]
    fn the_order_of_tokens_and_masked_tokens_do_not_matter() {
        let pool = AttentionPool::new(8, 2, 3, Parameters::new(0, &Device::Cpu).builder()).unwrap();
        let x = tokens(1, 4);
        let flat = |x: Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let all = flat(pool.forward(&x, None).unwrap());
        assert_eq!(all.len(), 3 * 8);
        let order = Tensor::new(&[2u32, 0, 3, 1], &Device::Cpu).unwrap();
        let mixed = flat(pool.forward(&x.index_select(&order, 1).unwrap(), None).unwrap());
        assert!(all.iter().zip(&mixed).all(|(a, b)| (a - b).abs() < 1e-5));
        let longer = Tensor::cat(&[&x, &tokens(1, 2)], 1).unwrap();
        let mask = Tensor::new(&[[1u32, 1, 1, 1, 0, 0]], &Device::Cpu).unwrap();
        let masked = flat(pool.forward(&longer, Some(&mask)).unwrap());
        assert!(all.iter().zip(&masked).all(|(a, b)| (a - b).abs() < 1e-5));
    }

    #[test]
    fn every_parameter_of_every_variant_receives_a_finite_gradient() {
        for (pre_norm, mlp_dim) in [(true, Some(16)), (false, None)] {
            let parameters = Parameters::new(0, &Device::Cpu);
            let config =
                AttentionPoolConfig { pre_norm, mlp_dim, ..AttentionPoolConfig::new(8, 2, 3) };
            let pool = AttentionPool::with(&config, parameters.builder()).unwrap();
            let out = pool.forward(&tokens(2, 5), None).unwrap();
            let gradients = out.sqr().unwrap().sum_all().unwrap().backward().unwrap();
            for (name, var) in parameters.trainable() {
                let gradient = gradients.get(&var).unwrap_or_else(|| panic!("{name}: none"));
                let sum = gradient.abs().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap();
                assert!(sum.is_finite(), "{name}: {sum}");
            }
        }
    }

    #[test]
    fn wrong_tokens_and_no_queries_are_named() {
        let parameters = Parameters::new(0, &Device::Cpu);
        let pool = AttentionPool::new(8, 2, 3, parameters.builder()).unwrap();
        let x = tokens(1, 4).reshape((1, 8, 4)).unwrap();
        let error = pool.forward(&x, None).unwrap_err().to_string();
        assert_eq!(error, "attention pool tokens: expected shape (B, N, 8), got [1, 8, 4]");
        let error = AttentionPool::new(8, 2, 0, parameters.builder()).unwrap_err().to_string();
        assert_eq!(error, "config field `queries`: found 0, expected at least 1");
    }
}
