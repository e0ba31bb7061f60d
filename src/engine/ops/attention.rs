//! Attention with its past: rotation or temperature, norm of heads, append, causal or chunked attention over grouped heads.

use std::sync::Arc;

use rayon::prelude::*;
use tract_onnx::tract_hir::internal::*;

use super::{Turn, identity, rows_like, tensor, values};
use crate::engine::kv::{KvType, LayerCache};
use crate::kernels::Kernels;

/// Query rows that go over keys and values together.
const TILE_ROWS: usize = 32;

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
            let last = turn.past + q.len() / (self.plan.heads * self.plan.head_dim) - 1;
            ensure!(turn.past / chunk == last / chunk, "a run over the border of a chunk at {last}");
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

    /// Softmax attention of every query over what it may see, `(S, heads · d)`. Neighbouring tokens go together: what all of
    /// them see is read once. The order of every sum is that of the positions, so the tiles change no bit.
    fn attend(&self, past: usize, q: &[f32]) -> Vec<f32> {
        let p = &self.plan;
        let group = p.heads / p.kv_heads;
        let (row, part) = (p.heads * p.head_dim, group * p.head_dim);
        let tile = (TILE_ROWS / group).max(1);
        let tiles: Vec<&[f32]> = q.chunks(tile * row).collect();
        let parts: Vec<Vec<f32>> = (0..tiles.len() * p.kv_heads)
            .into_par_iter()
            .map_init(Vec::new, |scores, i| {
                let (t, head) = (i / p.kv_heads, i % p.kv_heads);
                let mine = tiles[t].chunks_exact(row).flat_map(|token| &token[head * part..(head + 1) * part]);
                self.attend_tile(past + t * tile, head, &mine.copied().collect::<Vec<f32>>(), scores)
            })
            .collect();
        let mut out = vec![0.0f32; q.len()];
        for (out, parts) in out.chunks_mut(tile * row).zip(parts.chunks(p.kv_heads)) {
            for (t, out) in out.chunks_exact_mut(row).enumerate() {
                for (out, mixed) in out.chunks_exact_mut(part).zip(parts) {
                    out.copy_from_slice(&mixed[t * part..(t + 1) * part]);
                }
            }
        }
        out
    }

    /// The queries `q`, `(tokens, group, d)`, of one key head, the first at position `first`; all lie in one chunk.
    fn attend_tile(&self, first: usize, head: usize, q: &[f32], scores: &mut Vec<f32>) -> Vec<f32> {
        let p = &self.plan;
        let (d, group) = (p.head_dim, p.heads / p.kv_heads);
        let (part, tokens) = (group * d, q.len() / (group * d));
        let from = p.chunk.map_or(0, |c| first / c * c);
        // Every token sees `common` positions, and those of the tile up to its own.
        let common = first + 1 - from;
        let stride = common + tokens - 1;
        scores.clear();
        scores.resize(tokens * group * stride, 0.0);
        for (at, keys, _) in self.cache.runs(head, from, first + 1) {
            (p.kernels.attn_scores)(q, d, keys, &mut scores[at..], stride);
        }
        for (t, q) in q.chunks_exact(part).enumerate() {
            let scores = &mut scores[t * group * stride..(t + 1) * group * stride];
            for (at, keys, _) in self.cache.runs(head, first + 1, first + 1 + t) {
                (p.kernels.attn_scores)(q, d, keys, &mut scores[common + at..], stride);
            }
            scores.chunks_exact_mut(stride).for_each(|s| (p.kernels.softmax)(&mut s[..common + t]));
        }
        let mut out = vec![0.0f32; q.len()];
        for (at, _, values) in self.cache.runs(head, from, first + 1) {
            (p.kernels.attn_mix)(&scores[at..], stride, values, d, &mut out);
        }
        for (t, out) in out.chunks_exact_mut(part).enumerate() {
            let scores = &scores[t * group * stride..(t + 1) * group * stride];
            for (at, _, values) in self.cache.runs(head, first + 1, first + 1 + t) {
                (p.kernels.attn_mix)(&scores[common + at..], stride, values, d, out);
            }
        }
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
