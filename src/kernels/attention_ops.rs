//! Attention as candle operations: of three tensors, and of one that packs all three.

use candle::{CpuStorage, CustomOp1, CustomOp3, Layout, Result, Shape, Storage, Tensor};

use super::attention::{Heads, Plan, Scores, backward, forward};
use super::buffer::{filled, read, slice, tensor};
use super::tape::{apply1, apply3};

/// Attention of `q` (B, H, N, D) over `k` (B, Hkv, M, D) and `v` (B, Hkv, M, E): (B, N, H, E).
///
/// The caller has checked the shapes; `scores` was made for (B, H, N, M).
pub(crate) fn attend(q: &Tensor, k: &Tensor, v: &Tensor, scores: Scores) -> Result<Tensor> {
    let (batch, heads, queries, dim) = q.dims4()?;
    let (_, kv_heads, keys, value_dim) = v.dims4()?;
    let plan = Plan { batch, heads, kv_heads, queries, keys, dim, value_dim, scores };
    apply3(&aligned(q)?, &aligned(k)?, &aligned(v)?, Attend(plan))
}

/// Self-attention of `qkv` (B, N, (H + 2 Hkv) D), which holds queries, then keys, then values:
/// (B, N, H·D).
pub(crate) fn attend_packed(
    qkv: &Tensor,
    heads: usize,
    kv_heads: usize,
    scores: Scores,
) -> Result<Tensor> {
    let (batch, tokens, width) = qkv.dims3()?;
    let dim = width / (heads + 2 * kv_heads);
    let plan =
        Plan { batch, heads, kv_heads, queries: tokens, keys: tokens, dim, value_dim: dim, scores };
    apply1(&qkv.contiguous()?, Packed(plan))
}

/// The tensor, copied only if the features of a token are not neighbours.
fn aligned(x: &Tensor) -> Result<Tensor> {
    if x.stride().last() == Some(&1) { Ok(x.clone()) } else { x.contiguous() }
}

fn heads<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<Heads<'a>> {
    let (CpuStorage::F32(values), &[batch, head, row, 1]) = (storage, layout.stride()) else {
        candle::bail!("attention was given another type than f32, or features out of order")
    };
    let data = values.get(layout.start_offset()..).unwrap_or_default();
    Ok(Heads { data, batch, head, row })
}

/// Runs `work` on the heads of `x` (B, H, N, D) where they lie.
fn read_heads<R>(x: &Tensor, work: impl FnOnce(Heads) -> R) -> Result<R> {
    let (storage, layout) = x.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => Ok(work(heads(storage, layout)?)),
        _ => candle::bail!("a CPU kernel was given a tensor on another device"),
    }
}

struct Attend(Plan);

impl CustomOp3 for Attend {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(
        &self,
        q: &CpuStorage,
        q_layout: &Layout,
        k: &CpuStorage,
        k_layout: &Layout,
        v: &CpuStorage,
        v_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let plan = &self.0;
        let out = forward(plan, heads(q, q_layout)?, heads(k, k_layout)?, heads(v, v_layout)?);
        let shape = (plan.batch, plan.queries, plan.heads, plan.value_dim);
        Ok((CpuStorage::F32(out), Shape::from(shape)))
    }

    fn bwd(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let run = |g: &[f32]| {
            read_heads(q, |q| read_heads(k, |k| read_heads(v, |v| backward(&self.0, (q, k, v), g))))
        };
        let [dq, dk, dv] = read(grad, run)????;
        Ok((Some(tensor(dq, q)?), Some(tensor(dk, k)?), Some(tensor(dv, v)?)))
    }
}

struct Packed(Plan);

impl Packed {
    fn parts<'a>(&self, qkv: &'a [f32]) -> (Heads<'a>, Heads<'a>, Heads<'a>) {
        let plan = &self.0;
        let row = self.width();
        let part = |head: usize| Heads {
            data: qkv.get(head * plan.dim..).unwrap_or_default(),
            batch: plan.queries * row,
            head: plan.dim,
            row,
        };
        (part(0), part(plan.heads), part(plan.heads + plan.kv_heads))
    }

    fn width(&self) -> usize {
        (self.0.heads + 2 * self.0.kv_heads) * self.0.dim
    }
}

impl CustomOp1 for Packed {
    fn name(&self) -> &'static str {
        "attention-packed"
    }

    fn cpu_fwd(&self, qkv: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let plan = &self.0;
        let (q, k, v) = self.parts(slice(qkv, layout)?);
        let out = forward(plan, q, k, v);
        let shape = (plan.batch, plan.queries, plan.heads * plan.value_dim);
        Ok((CpuStorage::F32(out), Shape::from(shape)))
    }

    fn bwd(&self, qkv: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let plan = &self.0;
        let parts = read(qkv, |qkv| read(grad, |g| backward(plan, self.parts(qkv), g)))??;
        let counts = [plan.heads, plan.kv_heads, plan.kv_heads];
        let (tokens, dim, width) = (plan.queries, plan.dim, self.width());
        // From (B, H, N, D) three times to (B, N, (H + 2 Hkv) D).
        let packed = filled(qkv.elem_count(), width, |i, out| {
            let (b, token) = (i / tokens, i % tokens);
            let mut places = out.chunks_exact_mut(dim);
            for (part, count) in parts.iter().zip(counts) {
                for head in 0..count {
                    let start = ((b * count + head) * tokens + token) * dim;
                    if let Some(place) = places.next() {
                        place.copy_from_slice(&part[start..start + dim]);
                    }
                }
            }
        });
        Ok(Some(tensor(packed, qkv)?))
    }
}
