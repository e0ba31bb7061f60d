//! DeBERTa's disentangled attention as one operation: scores, relative positions, mask, softmax and values, head by head.

use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;
use tract_onnx::tract_hir::internal::*;

use super::over_heads::{Head, TILE, over_heads};
use crate::engine::ops::identity;
use crate::engine::scratch;
use crate::kernels::{Ahead, KEY_BLOCK, Kernels, Keys, KvRows, key_values, lay_keys};

/// What does not change in one layer's attention.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) kernels: Kernels,
    pub(super) heads: usize,
    /// Values in a head.
    pub(super) width: usize,
    /// Relative positions that are told apart.
    pub(super) places: usize,
    /// Relative positions as queries see them, scaled, each head's laid out as keys.
    pub(super) for_queries: Vec<f32>,
    /// Relative positions as keys see them, likewise.
    pub(super) for_keys: Vec<f32>,
    /// Factor of query · key in a score.
    pub(super) factor: f32,
    /// The score of a masked pair.
    pub(super) masked: f32,
}

/// Queries, keys and values `(batch, seq, heads · width)`, mask `(batch, 1, seq, seq)` that is true where a pair is left out,
/// the [`Places`] of queries and of keys → `(batch, seq, heads · width)`. For query `i` and key `j` of a head the score is
/// `factor q[i]·k[j] + q[i]·p[places[i, j]] + k[j]·p'[places'[i, j]]`.
#[derive(Debug, Clone)]
pub(super) struct DisentangledAttention {
    pub(super) plan: Arc<Plan>,
}

identity!(DisentangledAttention, plan);

impl Op for DisentangledAttention {
    fn name(&self) -> StaticName {
        "DisentangledAttention".into()
    }

    op_as_typed_op!();
}

impl EvalOp for DisentangledAttention {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let [q, k, v, mask, places, key_places] = &inputs[..] else { bail!("attention over {} inputs", inputs.len()) };
        let plan = &*self.plan;
        let &[batch, seq, _] = q.shape() else { bail!("queries of shape {:?}", q.shape()) };
        let square =
            mask.shape() == [batch, 1, seq, seq] && [places, key_places].iter().all(|t| t.shape() == [seq, seq]);
        ensure!(square, "attention over {inputs:?}");
        let (mask, places, key_places) =
            (mask.try_as_plain_ram()?, places.try_as_plain_ram()?, key_places.try_as_plain_ram()?);
        let mask = mask.as_slice::<bool>()?;
        let pairs = Pairs::new(places.as_slice()?, key_places.as_slice()?, seq);
        let out = over_heads([q, k, v], plan.heads, plan.width, |row, head, columns, out| {
            plan.attend(head, columns, mask.get(row * seq * seq..).unwrap_or_default(), &pairs, out);
        })?;
        Ok(tvec!(out))
    }
}

impl TypedOp for DisentangledAttention {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let q = inputs.first().context("no queries")?;
        Ok(tvec!(f32::fact(q.shape.clone())))
    }

    as_op!();
}

/// Where each pair of query and key finds its relative position.
struct Pairs<'a> {
    seq: usize,
    places: &'a [u32],
    key_places: &'a [u32],
    /// Of each tile of queries, first place and one past the last.
    spans: Vec<(usize, usize)>,
    key_span: (usize, usize),
}

impl<'a> Pairs<'a> {
    fn new(places: &'a [u32], key_places: &'a [u32], seq: usize) -> Self {
        let spans = places.chunks((TILE * seq).max(1)).map(span).collect();
        Self { seq, places, key_places, spans, key_span: span(key_places) }
    }
}

fn span(places: &[u32]) -> (usize, usize) {
    let (low, high) = places.iter().fold((u32::MAX, 0), |(low, high), p| (low.min(*p), high.max(*p)));
    (low as usize, high as usize + 1)
}

impl Plan {
    /// A head's relative positions `span`: whole blocks of them, and which of those are asked for.
    fn positions<'a>(&self, all: &'a [f32], head: usize, (low, high): (usize, usize)) -> (Keys<'a>, Range<usize>) {
        let first = low / KEY_BLOCK * KEY_BLOCK;
        let (at, end) = (head * key_values(self.width, self.places), high.next_multiple_of(KEY_BLOCK));
        let keys = all.get(at + first * self.width..at + end * self.width).unwrap_or_default();
        (Keys::F32(keys), low - first..high - first)
    }

    /// One head; `out` is `(seq, width)`.
    fn attend(&self, head: usize, [q, k, v]: Head<'_>, mask: &[bool], pairs: &Pairs<'_>, out: &mut [f32]) {
        let (kernels, width, seq) = (&self.kernels, self.width, pairs.seq);
        let (key_low, key_high) = pairs.key_span;
        // Rows an odd number of cache lines apart: a query reads down a column, which must not fall on few lines.
        let key_wide = ((key_high - key_low) / 32 * 2 + 3) * 16;
        let mut by_key = scratch::take(seq * key_wide);
        let (positions, some) = self.positions(&self.for_keys, head, pairs.key_span);
        let rows = by_key.par_chunks_mut(TILE * key_wide).zip(k.par_chunks(TILE * width));
        rows.for_each(|(out, k)| (kernels.attn_scores)(k, width, positions, some.clone(), Ahead::NONE, out, key_wide));
        let mut keys = scratch::take(key_values(width, seq));
        lay_keys(k, width, &mut keys);
        let tiles = out.par_chunks_mut(TILE * width).zip(q.par_chunks(TILE * width)).zip(&pairs.spans).enumerate();
        tiles.for_each(|(tile, ((out, q), &(low, high)))| {
            let (rows, wide) = (q.len() / width, high - low);
            let (mut scores, mut by_place) = (vec![0.0f32; rows * seq], vec![0.0f32; rows * wide]);
            let scaled: Vec<f32> = q.iter().map(|x| x * self.factor).collect();
            (kernels.attn_scores)(&scaled, width, Keys::F32(&keys), 0..seq, Ahead::NONE, &mut scores, seq);
            let (positions, some) = self.positions(&self.for_queries, head, (low, high));
            (kernels.attn_scores)(q, width, positions, some, Ahead::NONE, &mut by_place, wide);
            for (r, (scores, by_place)) in scores.chunks_exact_mut(seq).zip(by_place.chunks_exact(wide)).enumerate() {
                let at = (tile * TILE + r) * seq;
                let row = at..at + seq;
                let places = pairs.places.get(row.clone()).unwrap_or_default();
                let key_places = pairs.key_places.get(row.clone()).unwrap_or_default();
                let mask = mask.get(row).unwrap_or_default();
                for ((score, place), masked) in scores.iter_mut().zip(places).zip(mask) {
                    let by_place = by_place.get(*place as usize - low).copied().unwrap_or(f32::NAN);
                    *score = if *masked { self.masked } else { *score + by_place };
                }
                for ((score, place), (by_key, masked)) in
                    scores.iter_mut().zip(key_places).zip(by_key.chunks_exact(key_wide).zip(mask))
                {
                    let by_key = by_key.get(*place as usize - key_low).copied().unwrap_or(f32::NAN);
                    *score += if *masked { 0.0 } else { by_key };
                }
                kernels.softmax(scores);
            }
            (kernels.attn_mix)(&scores, seq, KvRows::F32(v), Ahead::NONE, width, out);
        });
        scratch::give(keys);
        scratch::give(by_key);
    }
}

/// Indices `(1, seq, seq)` into `count` relative positions, negative ones from the end → `(seq, seq)`, all of them in range;
/// `turned` swaps rows and columns.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Places {
    pub(super) count: usize,
    pub(super) turned: bool,
}

impl Op for Places {
    fn name(&self) -> StaticName {
        "Places".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Places {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let index = args_1!(inputs);
        let &[1, rows, columns] = index.shape() else { bail!("relative positions of shape {:?}", index.shape()) };
        let plain = index.try_as_plain_ram()?;
        let all = plain.as_slice::<i64>()?;
        let count = i64::try_from(self.count)?;
        let place = |row: usize, column: usize| {
            let index = all.get(row * columns + column).copied().unwrap_or(i64::MAX);
            let place = if index < 0 { index.saturating_add(count) } else { index };
            let place = u32::try_from(place).ok().filter(|p| (*p as usize) < self.count);
            place.with_context(|| format!("relative position {index} of {count}"))
        };
        let (rows, columns) = if self.turned { (columns, rows) } else { (rows, columns) };
        let each = (0..rows).flat_map(|r| (0..columns).map(move |c| if self.turned { (c, r) } else { (r, c) }));
        let places = each.map(|(r, c)| place(r, c)).collect::<TractResult<Vec<u32>>>()?;
        Ok(tvec!(Tensor::from_shape(&[rows, columns], &places)?.into_tvalue()))
    }
}

impl TypedOp for Places {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let [_, rows, columns] = inputs.first().context("no relative positions")?.shape.dims() else {
            bail!("relative positions of {inputs:?}");
        };
        let (rows, columns) = if self.turned { (columns, rows) } else { (rows, columns) };
        Ok(tvec!(u32::fact(&[rows.clone(), columns.clone()])))
    }

    as_op!();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(index: &[i64], turned: bool) -> TractResult<Vec<u32>> {
        let index = Tensor::from_shape(&[1, 2, 2], index)?.into_tvalue();
        let out = Places { count: 4, turned }.eval(&EvalContext::out_of_plan(), tvec!(index))?;
        Ok(out[0].try_as_plain_ram()?.as_slice::<u32>()?.to_vec())
    }

    #[test]
    fn places_count_from_either_end_and_turn() {
        assert_eq!(places(&[0, -1, 2, -4], false).unwrap(), [0, 3, 2, 0]);
        assert_eq!(places(&[0, -1, 2, -4], true).unwrap(), [0, 2, 3, 0]);
    }

    #[test]
    fn a_place_outside_is_an_error() {
        for index in [4i64, -5, i64::MIN, i64::MAX] {
            assert!(places(&[0, 0, 0, index], false).is_err(), "{index}");
        }
    }
}
