//! Attention with its past: rotation or temperature, norm of heads, append, causal or chunked attention over grouped heads.

use std::sync::Arc;

use rayon::prelude::*;
use tract_onnx::tract_hir::internal::*;

use super::{Turn, identity, rows_like, tensor, values};
use crate::engine::kv::{KvType, LayerCache};
use crate::kernels::Kernels;

/// What does not change in one attention layer.
#[derive(Clone, Debug)]
pub(in super::super) struct AttentionPlan {
    pub(in super::super) kernels: Kernels,
    pub(in super::super) heads: usize,
    pub(in super::super) kv_heads: usize,
    pub(in super::super) head_dim: usize,
    /// Rotate queries and keys; a layer that does not scales its queries by the temperature instead.
    pub(in super::super) rope: bool,
    /// Epsilon of the weightless norm of each head after the rotation.
    pub(in super::super) qk_norm: Option<f32>,
    /// See only positions of the same chunk.
    pub(in super::super) chunk: Option<usize>,
    pub(in super::super) kv: KvType,
}

/// `(S, heads·d)`, `(S, kv·d)`, `(S, kv·d)` → `(S, heads·d)`; the past lives in the state.
#[derive(Clone, Debug)]
pub(in super::super) struct Attention {
    pub(in super::super) plan: Arc<AttentionPlan>,
}

identity!(Attention, plan);

impl Op for Attention {
    fn name(&self) -> StaticName {
        "Attention".into()
    }
    op_as_typed_op!();
}

impl EvalOp for Attention {
    not_out_of_plan!();

    fn state(&self, _: &EvalContext) -> TractResult<Option<Box<dyn OpState>>> {
        let p = &self.plan;
        let cache = LayerCache::new(p.kv, p.kv_heads, p.head_dim);
        Ok(Some(Box::new(AttentionState { plan: Arc::clone(p), cache })))
    }
}

impl TypedOp for Attention {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(rows_like(inputs[0], self.plan.heads * self.plan.head_dim)))
    }
    as_op!();
}

/// One layer's past in one conversation.
#[derive(Clone, Debug)]
pub(in super::super) struct AttentionState {
    plan: Arc<AttentionPlan>,
    pub(in super::super) cache: LayerCache,
}

impl OpState for AttentionState {
    fn eval(&mut self, ctx: &EvalContext, _: &dyn Op, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let turn = Turn::of(ctx)?;
        let (q, k, v) = args_3!(inputs);
        let (mut q, mut k) = (values(&q)?.to_vec(), values(&k)?.to_vec());
        ensure!(self.cache.len() == turn.past, "the past holds {} positions, expected {}", self.cache.len(), turn.past);
        if let Some(chunk) = self.plan.chunk {
            self.cache.drop_before(turn.past / chunk * chunk);
        }
        self.prepare(&turn, &mut q, &mut k);
        let width = self.plan.kv_heads * self.plan.head_dim;
        for (k, v) in k.chunks_exact(width).zip(values(&v)?.chunks_exact(width)) {
            self.cache.push(k, v)?;
        }
        Ok(tvec!(tensor(self.attend(turn.past, &q), self.plan.heads * self.plan.head_dim)?))
    }

    fn reset_lanes(&mut self, _: &[LaneId]) -> TractResult<()> {
        bail!("one conversation to a state")
    }
}

impl AttentionState {
    /// Rotates and norms the heads of `q` and `k`, and scales `q` by 1/√d and the temperature.
    fn prepare(&self, turn: &Turn, q: &mut [f32], k: &mut [f32]) {
        let p = &self.plan;
        let (d, pairs) = (p.head_dim, p.head_dim / 2);
        let scale = 1.0 / (d as f32).sqrt();
        let each = |t: usize, head: &mut [f32]| {
            if p.rope {
                let angles = t * pairs..(t + 1) * pairs;
                rotate(head, &turn.cos[angles.clone()], &turn.sin[angles]);
                if let Some(eps) = p.qk_norm {
                    let bare = head.to_vec();
                    (p.kernels.rms_norm)(&bare, None, eps, head);
                }
            }
        };
        q.par_chunks_mut(p.heads * d).enumerate().for_each(|(t, q)| {
            let scale = if p.rope { scale } else { scale * turn.temperature[t] };
            for head in q.chunks_exact_mut(d) {
                each(t, head);
                head.iter_mut().for_each(|x| *x *= scale);
            }
        });
        k.par_chunks_mut(p.kv_heads * d).enumerate().for_each(|(t, k)| {
            k.chunks_exact_mut(d).for_each(|head| each(t, head));
        });
    }

    /// Softmax attention of every query over what it may see; the order of every sum is that of the positions.
    fn attend(&self, past: usize, q: &[f32]) -> Vec<f32> {
        let p = &self.plan;
        let d = p.head_dim;
        let group = p.heads / p.kv_heads;
        let mut out = vec![0.0f32; q.len()];
        // (S, kv_heads, group · d): query heads that share a key head lie together.
        out.par_chunks_mut(group * d).zip(q.par_chunks(group * d)).enumerate().for_each_init(
            Vec::new,
            |scores: &mut Vec<f32>, (i, (out, q))| {
                let (position, head) = (past + i / p.kv_heads, i % p.kv_heads);
                let from = p.chunk.map_or(0, |c| position / c * c);
                let n = position + 1 - from;
                scores.clear();
                scores.resize(group * n, 0.0);
                for (at, keys, _) in self.cache.runs(head, from, position + 1) {
                    (p.kernels.attn_scores)(q, d, keys, &mut scores[at..], n);
                }
                scores.chunks_exact_mut(n).for_each(|s| (p.kernels.softmax)(s));
                for (at, _, values) in self.cache.runs(head, from, position + 1) {
                    (p.kernels.attn_mix)(&scores[at..], n, values, d, out);
                }
            },
        );
        out
    }
}

/// Turns each adjacent pair of `head` by its angle.
fn rotate(head: &mut [f32], cos: &[f32], sin: &[f32]) {
    for ((pair, cos), sin) in head.chunks_exact_mut(2).zip(cos).zip(sin) {
        if let [x, y] = pair {
            (*x, *y) = (*x * cos - *y * sin, *x * sin + *y * cos);
        }
    }
}
