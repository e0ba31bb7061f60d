//! Attention with its past: rotation or temperature, norm of heads, append; what the queries then do is in `attend`.

use std::sync::Arc;

use rayon::prelude::*;
use tract_onnx::tract_hir::internal::*;

use super::attend::attend;
use super::{Turn, filled, identity, rows_like, tensors, values};
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

/// `(S, heads·d)`, `(S, kv·d)`, `(S, kv·d)` → `(S, heads·d)`; the pasts are seated in the state.
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
        Ok(Some(Box::new(AttentionState { plan: Arc::clone(&self.plan), seats: Vec::new() })))
    }
}

impl TypedOp for Attention {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(rows_like(inputs[0], self.plan.heads * self.plan.head_dim)))
    }
    as_op!();
}

/// One layer's past of each conversation of a run.
#[derive(Clone, Debug)]
pub(in super::super) struct AttentionState {
    plan: Arc<AttentionPlan>,
    /// In the order of the turn's sequences.
    pub(in super::super) seats: Vec<LayerCache>,
}

impl OpState for AttentionState {
    fn eval(&mut self, ctx: &EvalContext, _: &dyn Op, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let turn = Turn::of(ctx)?;
        let (q, k, v) = args_3!(inputs);
        // Without a copy where nobody else holds the value.
        let (mut queries, mut keys) = (q.into_tensor(), k.into_tensor());
        let (mut q, mut k) = (queries.try_as_plain_ram_mut()?, keys.try_as_plain_ram_mut()?);
        let (q, k) = (q.as_slice_mut()?, k.as_slice_mut()?);
        prepare(&self.plan, turn, q, k);
        self.append(turn, k, values(&v)?)?;
        let width = self.plan.heads * self.plan.head_dim;
        let mixed = filled(q.len() / width, width, |out| {
            attend(&self.plan, &self.seats, turn, q, out);
            Ok(())
        });
        [queries, keys].into_iter().for_each(tensors::give_tensor);
        tensors::give(v);
        mixed
    }

    fn reset_lanes(&mut self, _: &[LaneId]) -> TractResult<()> {
        bail!("one conversation to a state")
    }
}

impl AttentionState {
    /// Adds the rows of each conversation to its past.
    fn append(&mut self, turn: &Turn, k: &[f32], v: &[f32]) -> TractResult<()> {
        let width = self.plan.kv_heads * self.plan.head_dim;
        ensure!(self.seats.len() == turn.sequences.len(), "as many pasts as conversations");
        let mut rows = k.chunks_exact(width).zip(v.chunks_exact(width));
        for (cache, sequence) in self.seats.iter_mut().zip(&turn.sequences) {
            let past = sequence.past;
            ensure!(cache.len() == past, "the past holds {} positions, expected {past}", cache.len());
            if let Some(chunk) = self.plan.chunk {
                let last = (past + sequence.rows).saturating_sub(1);
                ensure!(past / chunk == last / chunk, "a run over the border of a chunk at {last}");
                cache.drop_before(past / chunk * chunk);
            }
            for (k, v) in rows.by_ref().take(sequence.rows) {
                cache.push(k, v)?;
            }
        }
        Ok(())
    }
}

/// Rotates and norms the heads of `q` and `k`, and scales `q` by 1/√d and the temperature.
fn prepare(p: &AttentionPlan, turn: &Turn, q: &mut [f32], k: &mut [f32]) {
    let (d, pairs) = (p.head_dim, p.head_dim / 2);
    let scale = 1.0 / (d as f32).sqrt();
    let each = |t: usize, head: &mut [f32], bare: &mut Vec<f32>| {
        if p.rope {
            let angles = t * pairs..(t + 1) * pairs;
            rotate(head, &turn.cos[angles.clone()], &turn.sin[angles]);
            if let Some(eps) = p.qk_norm {
                bare.clear();
                bare.extend_from_slice(head);
                (p.kernels.rms_norm)(bare, None, eps, head);
            }
        }
    };
    q.par_chunks_mut(p.heads * d).enumerate().for_each_init(Vec::new, |bare, (t, q)| {
        let scale = if p.rope { scale } else { scale * turn.temperature[t] };
        for head in q.chunks_exact_mut(d) {
            each(t, head, bare);
            head.iter_mut().for_each(|x| *x *= scale);
        }
    });
    k.par_chunks_mut(p.kv_heads * d).enumerate().for_each_init(Vec::new, |bare, (t, k)| {
        k.chunks_exact_mut(d).for_each(|head| each(t, head, bare));
    });
}

/// Turns each adjacent pair of `head` by its angle.
fn rotate(head: &mut [f32], cos: &[f32], sin: &[f32]) {
    for ((pair, cos), sin) in head.chunks_exact_mut(2).zip(cos).zip(sin) {
        if let [x, y] = pair {
            (*x, *y) = (*x * cos - *y * sin, *x * sin + *y * cos);
        }
    }
}
