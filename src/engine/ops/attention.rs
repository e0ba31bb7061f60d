//! Attention with its past: rotation or temperature, norm of heads, append, causal or chunked attention over grouped heads.

use std::sync::Arc;

use rayon::prelude::*;
use tract_onnx::tract_hir::internal::*;

use super::{Turn, filled, identity, rows_like, values};
use crate::engine::kv::{KvType, LayerCache};
use crate::engine::scratch;
use crate::kernels::{ByteQueries, KV_BLOCK, Kernels, KvRows};

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
        let (mut q, mut k) = (q.into_tensor(), k.into_tensor());
        let (mut q, mut k) = (q.try_as_plain_ram_mut()?, k.try_as_plain_ram_mut()?);
        let (q, k) = (q.as_slice_mut()?, k.as_slice_mut()?);
        prepare(&self.plan, turn, q, k);
        self.append(turn, k, values(&v)?)?;
        let width = self.plan.heads * self.plan.head_dim;
        filled(q.len() / width, width, |out| {
            self.attend(turn, q, out);
            Ok(())
        })
    }

    fn reset_lanes(&mut self, _: &[LaneId]) -> TractResult<()> {
        bail!("one conversation to a state")
    }
}

/// Neighbouring rows of one conversation that go over its past together.
struct Tile<'a> {
    cache: &'a LayerCache,
    /// Position of the first row.
    first: usize,
    /// `(tokens, heads, d)`
    q: &'a [f32],
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

    /// Softmax attention of every query over what it may see, `(S, heads · d)`. Neighbouring tokens go together: what all of
    /// them see is read once. The order of every sum is that of the positions, so the tiles change no bit.
    fn attend(&self, turn: &Turn, q: &[f32], out: &mut [f32]) {
        let p = &self.plan;
        let group = p.heads / p.kv_heads;
        let (row, part) = (p.heads * p.head_dim, group * p.head_dim);
        let tile = (TILE_ROWS / group).max(1);
        let mut tiles: Vec<Tile<'_>> = Vec::with_capacity(turn.sequences.len() + q.len() / (tile * row));
        let mut rest = q;
        for (cache, sequence) in self.seats.iter().zip(&turn.sequences) {
            let (own, others) = rest.split_at(sequence.rows * row);
            rest = others;
            tiles.extend(own.chunks(tile * row).enumerate().map(|(t, q)| Tile {
                cache,
                first: sequence.past + t * tile,
                q,
            }));
        }
        if tiles.iter().all(|tile| tile.q.len() == row) {
            // One row each: what a task computes lies together in the output.
            out.par_chunks_mut(part).enumerate().with_max_len(1).for_each(|(i, out)| {
                let (tile, head) = (&tiles[i / p.kv_heads], i % p.kv_heads);
                attend_tile(p, tile, head, &tile.q[head * part..(head + 1) * part], out);
            });
            return;
        }
        let parts: Vec<Vec<f32>> = (0..tiles.len() * p.kv_heads)
            .into_par_iter()
            .map(|i| {
                let (tile, head) = (&tiles[i / p.kv_heads], i % p.kv_heads);
                let mut mine = scratch::take(tile.q.len() / p.kv_heads);
                for (mine, token) in mine.chunks_exact_mut(part).zip(tile.q.chunks_exact(row)) {
                    mine.copy_from_slice(&token[head * part..(head + 1) * part]);
                }
                let mut mixed = scratch::take(mine.len());
                attend_tile(p, tile, head, &mine, &mut mixed);
                scratch::give(mine);
                mixed
            })
            .collect();
        let mut rows = out.chunks_exact_mut(row);
        for (tile, parts) in tiles.iter().zip(parts.chunks(p.kv_heads)) {
            for (t, out) in rows.by_ref().take(tile.q.len() / row).enumerate() {
                for (out, mixed) in out.chunks_exact_mut(part).zip(parts) {
                    out.copy_from_slice(&mixed[t * part..(t + 1) * part]);
                }
            }
        }
        parts.into_iter().for_each(scratch::give);
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

/// The queries `q`, `(tokens, group, d)`, of one key head of a tile; all lie in one chunk. `out` is laid out as they are.
fn attend_tile(p: &AttentionPlan, tile: &Tile<'_>, head: usize, q: &[f32], out: &mut [f32]) {
    let (d, group, first) = (p.head_dim, p.heads / p.kv_heads, tile.first);
    let (part, tokens) = (group * d, q.len() / (group * d));
    let from = p.chunk.map_or(0, |c| first / c * c);
    // Every token sees `common` positions, and those of the tile up to its own.
    let common = first + 1 - from;
    let stride = common + tokens - 1;
    let mut scores = scratch::take(tokens * group * stride);
    let queries = Queries::new(p, q);
    for (at, keys, _) in tile.cache.runs(head, from, first + 1) {
        queries.scores(p, 0, tokens * group, keys, &mut scores[at..], stride);
    }
    for t in 0..tokens {
        let scores = &mut scores[t * group * stride..(t + 1) * group * stride];
        for (at, keys, _) in tile.cache.runs(head, first + 1, first + 1 + t) {
            queries.scores(p, t * group, group, keys, &mut scores[common + at..], stride);
        }
        scores.chunks_exact_mut(stride).for_each(|s| (p.kernels.softmax)(&mut s[..common + t]));
    }
    out.fill(0.0);
    for (at, _, values) in tile.cache.runs(head, from, first + 1) {
        (p.kernels.attn_mix)(&scores[at..], stride, values, d, out);
    }
    for (t, out) in out.chunks_exact_mut(part).enumerate() {
        let scores = &scores[t * group * stride..(t + 1) * group * stride];
        for (at, _, values) in tile.cache.runs(head, first + 1, first + 1 + t) {
            (p.kernels.attn_mix)(&scores[common + at..], stride, values, d, out);
        }
    }
    scratch::give(scores);
}

/// Query rows, in eight bits too where they meet eight-bit keys.
struct Queries<'a> {
    values: &'a [f32],
    q: Vec<i8>,
    scales: Vec<f32>,
}

impl<'a> Queries<'a> {
    fn new(p: &AttentionPlan, values: &'a [f32]) -> Self {
        let n = if p.kv == KvType::Q8_0 { values.len() } else { 0 };
        let (mut q, mut scales) = (vec![0; n], vec![0.0; n / KV_BLOCK]);
        if n > 0 {
            (p.kernels.quantize)(values, &mut q, &mut scales, &mut vec![0; n / 16]);
        }
        Self { values, q, scales }
    }

    /// Scores of `n` rows from row `first` on.
    fn scores(&self, p: &AttentionPlan, first: usize, n: usize, keys: KvRows<'_>, out: &mut [f32], stride: usize) {
        let d = p.head_dim;
        match keys {
            KvRows::Q8 { q, scales } => {
                let queries = ByteQueries { width: d, q: &self.q, scales: &self.scales };
                (p.kernels.attn_scores_q8)(queries.part(first, n), q, scales, out, stride);
            }
            _ => (p.kernels.attn_scores)(&self.values[first * d..][..n * d], d, keys, out, stride),
        }
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
