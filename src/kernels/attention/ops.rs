//! Attention as candle operations: of three tensors, and of one that packs all three.

use std::sync::OnceLock;

use candle::{CpuStorage, CustomOp1, CustomOp3, Layout, Result, Shape, Storage, Tensor};

use super::super::buffer::{read, slice, tensor};
use super::super::product::Cells;
use super::super::tape::{apply1, apply3};
use super::backward::{Given, Target, backward};
use super::forward::forward;
use super::{Heads, Places, Plan, Scores, Share};

/// Attention of `q` (B, H, N, D) over `k` (B, Hkv, M, D) and `v` (B, Hkv, M, E): (B, N, H, E).
///
/// The caller has checked the shapes; `scores` was made for (B, H, N, M).
pub(crate) fn attend(q: &Tensor, k: &Tensor, v: &Tensor, scores: Scores) -> Result<Tensor> {
    let (batch, heads, queries, dim) = q.dims4()?;
    let (_, kv_heads, keys, value_dim) = v.dims4()?;
    let plan = Plan { batch, heads, kv_heads, queries, keys, dim, value_dim, scores };
    apply3(&aligned(q)?, &aligned(k)?, &aligned(v)?, Attend { plan, shares: OnceLock::new() })
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
    apply1(&qkv.contiguous()?, Packed { plan, shares: OnceLock::new() })
}

/// The tensor, copied only if the features of a token are not neighbours.
fn aligned(x: &Tensor) -> Result<Tensor> {
    if x.stride().last() == Some(&1) { Ok(x.clone()) } else { x.contiguous() }
}

/// Heads of the numbers behind `layout`, whose last axis lies in order.
fn heads<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<Heads<'a>> {
    let (CpuStorage::F32(values), &[batch, head, row, 1]) = (storage, layout.stride()) else {
        candle::bail!("attention was given another type than f32, or features out of order")
    };
    let data = values.get(layout.start_offset()..).unwrap_or_default();
    Ok(Heads { data, at: Places { batch, head, row } })
}

/// Runs `work` on the heads of `x` (B, H, N, D) where they lie.
fn read_heads<R>(x: &Tensor, work: impl FnOnce(Heads) -> R) -> Result<R> {
    let (storage, layout) = x.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => Ok(work(heads(storage, layout)?)),
        _ => candle::bail!("a CPU kernel was given a tensor on another device"),
    }
}

/// Writes the gradients of queries, keys and values.
///
/// # Safety
/// As [`backward`].
#[allow(unsafe_code)]
pub(super) unsafe fn gradients(
    plan: &Plan,
    (q, k, v): (Heads, Heads, Heads),
    (out, g): (&[f32], &[f32]),
    shares: &OnceLock<Vec<Share>>,
    targets: [Target; 3],
) {
    let (row, head) = (plan.heads * plan.value_dim, plan.value_dim);
    let given = |data| Heads { data, at: Places { batch: plan.queries * row, head, row } };
    let shares = shares.get_or_init(|| forward(plan, q, k, v).1);
    let given = Given { q, k, v, out: given(out), shares, g: given(g) };
    // SAFETY: as the caller promises.
    unsafe { backward(plan, given, targets) };
}

struct Attend {
    plan: Plan,
    /// What the backward needs of the forward, beside its result.
    shares: OnceLock<Vec<Share>>,
}

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
        let plan = &self.plan;
        let (q, k, v) = (heads(q, q_layout)?, heads(k, k_layout)?, heads(v, v_layout)?);
        let (out, shares) = forward(plan, q, k, v);
        self.shares.get_or_init(|| shares);
        let shape = (plan.batch, plan.queries, plan.heads, plan.value_dim);
        Ok((CpuStorage::F32(out), Shape::from(shape)))
    }

    #[allow(unsafe_code)]
    fn bwd(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        out: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        // (B, H, N, D), (B, Hkv, M, D) and (B, Hkv, M, E).
        let mut all = [q, k, v].map(|x| Vec::with_capacity(x.elem_count()));
        let mut target = |i: usize, x: &Tensor| -> Result<Target> {
            let (_, heads, rows, row) = x.dims4()?;
            let at = Places { batch: heads * rows * row, head: rows * row, row };
            Ok(Target { cells: Cells(all[i].as_mut_ptr()), first: 0, at })
        };
        let targets = [target(0, q)?, target(1, k)?, target(2, v)?];
        let run = |out: &[f32], g: &[f32]| {
            read_heads(q, |q| {
                read_heads(k, |k| {
                    read_heads(v, |v| {
                        // SAFETY: each has room for all that is written to it.
                        unsafe {
                            gradients(&self.plan, (q, k, v), (out, g), &self.shares, targets);
                        }
                    })
                })
            })
        };
        read(out, |out| read(grad, |g| run(out, g)))?????;
        for (values, x) in all.iter_mut().zip([q, k, v]) {
            // SAFETY: there is room, and all of it has been written.
            unsafe { values.set_len(x.elem_count()) };
        }
        let [dq, dk, dv] = all;
        Ok((Some(tensor(dq, q)?), Some(tensor(dk, k)?), Some(tensor(dv, v)?)))
    }
}

struct Packed {
    plan: Plan,
    /// As [`Attend::shares`].
    shares: OnceLock<Vec<Share>>,
}

impl Packed {
    fn width(&self) -> usize {
        (self.plan.heads + 2 * self.plan.kv_heads) * self.plan.dim
    }

    /// Where queries, keys and values begin, and how they lie.
    fn places(&self) -> [(usize, Places); 3] {
        let (plan, row) = (&self.plan, self.width());
        let at = Places { batch: plan.queries * row, head: plan.dim, row };
        [0, plan.heads, plan.heads + plan.kv_heads].map(|head| (head * plan.dim, at))
    }

    fn parts<'a>(&self, qkv: &'a [f32]) -> (Heads<'a>, Heads<'a>, Heads<'a>) {
        let part = |(first, at)| Heads { data: qkv.get(first..).unwrap_or_default(), at };
        self.places().map(part).into()
    }
}

impl CustomOp1 for Packed {
    fn name(&self) -> &'static str {
        "attention-packed"
    }

    fn cpu_fwd(&self, qkv: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let plan = &self.plan;
        let (q, k, v) = self.parts(slice(qkv, layout)?);
        let (out, shares) = forward(plan, q, k, v);
        self.shares.get_or_init(|| shares);
        let shape = (plan.batch, plan.queries, plan.heads * plan.value_dim);
        Ok((CpuStorage::F32(out), Shape::from(shape)))
    }

    #[allow(unsafe_code)]
    fn bwd(&self, qkv: &Tensor, out: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let mut all = Vec::with_capacity(qkv.elem_count());
        let cells = Cells(all.as_mut_ptr());
        let run = |qkv: &[f32], out: &[f32], g: &[f32]| {
            let targets = self.places().map(|(first, at)| Target { cells, first, at });
            // SAFETY: the three share the rows of the result between them.
            unsafe { gradients(&self.plan, self.parts(qkv), (out, g), &self.shares, targets) };
        };
        read(qkv, |qkv| read(out, |out| read(grad, |g| run(qkv, out, g))))???;
        // SAFETY: queries, keys and values of all heads fill each row.
        unsafe { all.set_len(qkv.elem_count()) };
        Ok(Some(tensor(all, qkv)?))
    }
}
