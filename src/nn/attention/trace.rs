//! The memory of attention, from sizes alone.

use super::{Attention, Projections, needs_split};
use crate::Result;
use crate::kernels::attention_workspace;
use crate::nn::{Shadow, Work};

impl Attention {
    /// The memory of [`Self::forward`] or [`Self::forward_onto`], without rotary positions.
    #[must_use]
    pub fn trace(&self, x: &Shadow, context: Option<&Shadow>, residual: Option<&Shadow>) -> Shadow {
        let dims = x.dims_to(self.heads * self.head_dim);
        let attended = match &self.projections {
            Projections::Fused(qkv) => {
                let qkv = qkv.trace(x, false, None); // (B, N, (H + 2 Hkv) D)
                Shadow::made(&dims, &[&qkv], self.work(x, x))
            }
            Projections::Split { query, key, value } => {
                let context = context.unwrap_or(x);
                let parts = [(query, x), (key, context), (value, context)];
                let [q, k, v] = parts.map(|(map, from)| self.heads(&map.trace(from, false, None)));
                Shadow::made(&dims, &[&q, &k, &v], self.work(x, context))
            }
        };
        self.out.trace(&attended, false, residual)
    }

    /// The memory of [`Self::forward`] or [`Self::forward_onto`] with a bias (1, H, N, N) that may
    /// learn, when each layer makes queries, keys and values by a map each.
    #[must_use]
    pub fn trace_biased(&self, x: &Shadow, bias: &Shadow, residual: Option<&Shadow>) -> Shadow {
        let Projections::Split { query, key, value } = &self.projections else {
            return self.trace(x, None, residual);
        };
        let dims = x.dims_to(self.heads * self.head_dim);
        let [q, k, v] = [query, key, value].map(|map| self.heads(&map.trace(x, false, None)));
        let work = if bias.learns() {
            // Scores, their softmax and its gradient, made again on the way back.
            let scores = size_of::<f32>() * x.dims()[0] * bias.dims().iter().product::<usize>();
            Work { forward: 3 * scores, backward: 6 * scores }
        } else {
            self.work(x, x)
        };
        let attended = Shadow::made(&dims, &[&q, &k, &v, bias], work);
        self.out.trace(&attended, false, residual)
    }

    /// The memory of [`Self::forward_after`], with rotary positions. Keys and values that are kept
    /// are counted by who keeps them.
    #[must_use]
    pub fn trace_after(&self, x: &Shadow, residual: &Shadow) -> Shadow {
        let [q, k, v] = match &self.projections {
            Projections::Fused(qkv) => {
                let qkv = qkv.trace(x, false, None);
                let widths = [self.heads, self.kv_heads, self.kv_heads];
                widths.map(|heads| qkv.view(&x.dims_to(heads * self.head_dim)))
            }
            Projections::Split { query, key, value } => {
                [query, key, value].map(|map| map.trace(x, false, None))
            }
        };
        let again = |part: &Shadow| Shadow::made(part.dims(), &[part], Work::default());
        let (q, k) = (again(&q), again(&k)); // turned by their places
        drop(again(&v)); // in order, to be kept
        let dims = x.dims_to(self.heads * self.head_dim);
        let attended = Shadow::made(&dims, &[&q, &k, &v], Work::default());
        self.out.trace(&attended, false, Some(residual))
    }

    /// The memory of [`Self::keys_values`].
    pub fn trace_keys_values(&self, context: &Shadow) -> Result<(Shadow, Shadow)> {
        let Projections::Split { key, value, .. } = &self.projections else {
            return Err(needs_split());
        };
        Ok((key.trace(context, false, None), value.trace(context, false, None)))
    }

    /// The memory of [`Self::forward_over`].
    pub fn trace_over(
        &self,
        x: &Shadow,
        (keys, values): (&Shadow, &Shadow),
        residual: Option<&Shadow>,
    ) -> Result<Shadow> {
        let Projections::Split { query, .. } = &self.projections else {
            return Err(needs_split());
        };
        let q = query.trace(x, false, None);
        let [q, k, v] = [&q, keys, values].map(|part| self.heads(part));
        let dims = x.dims_to(self.heads * self.head_dim);
        let attended = Shadow::made(&dims, &[&q, &k, &v], Work::default());
        Ok(self.out.trace(&attended, false, residual))
    }

    /// What the kernel needs for queries of `x` (B, N, C) and keys of `context` (B, M, C).
    fn work(&self, x: &Shadow, context: &Shadow) -> Work {
        let keys = [x.dims()[0], self.kv_heads, context.dims()[1], self.head_dim];
        Work { backward: attention_workspace(x.dims()[1], keys), ..Work::default() }
    }

    /// The memory of [`Self::part`].
    fn heads(&self, part: &Shadow) -> Shadow {
        let &[batch, tokens, width] = part.dims() else { return part.clone() };
        let heads = [batch, tokens, width / self.head_dim, self.head_dim];
        part.view(&heads).turned(&[batch, heads[2], tokens, self.head_dim])
    }
}
