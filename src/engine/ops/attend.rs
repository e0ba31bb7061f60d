//! Causal or chunked softmax attention over grouped heads, a part of the past at a time.
//!
//! The past of a row is read in parts of [`PART`] positions, counted from the first that the layer sees. Each part gives a maximum,
//! a sum of exponentials and a mix of values; parts are joined in order (online softmax, Milakov and Gimelshein 2018). Where a
//! part begins depends on the position alone, so that neither the rows that go together nor the threads change a bit.

use std::ops::Range;

use rayon::prelude::*;

use super::Turn;
use super::attention::AttentionPlan;
use crate::engine::awake::each;
use crate::engine::kv::{CachedKeys, KvType, LayerCache, PAGE, Run};
use crate::engine::scratch;
use crate::kernels::{self, Ahead, ByteQueries, KV_BLOCK, Pair};

/// Query rows that go over keys and values together.
const TILE_ROWS: usize = 32;
/// Positions of a part.
const PART: usize = 4 * PAGE;
/// Tasks for each thread from which on a task takes all heads of its part: they lie side by side in memory, and memory likes
/// long stretches.
const ENOUGH: usize = 3;

/// Values that one thread joins before it shares the work.
const JOINED: usize = 1 << 14;

/// Neighbouring rows of one conversation that go over its past together.
struct Tile<'a> {
    cache: &'a LayerCache,
    /// Position of the first row.
    first: usize,
    /// The first position that the rows see; all lie in one chunk.
    from: usize,
    /// `(tokens, heads, d)`
    q: &'a [f32],
}

/// Softmax attention of every query over what it may see, `(S, heads · d)`.
pub(super) fn attend(p: &AttentionPlan, seats: &[LayerCache], turn: &Turn, q: &[f32], out: &mut [f32]) {
    let row = p.heads * p.head_dim;
    let tokens = (TILE_ROWS / (p.heads / p.kv_heads)).max(1);
    let mut tiles: Vec<Tile<'_>> = Vec::with_capacity(seats.len() + q.len() / (tokens * row));
    let mut rest = q;
    for (cache, sequence) in seats.iter().zip(&turn.sequences) {
        let (own, others) = rest.split_at(sequence.rows * row);
        rest = others;
        tiles.extend(own.chunks(tokens * row).enumerate().map(|(t, q)| {
            let first = sequence.past + t * tokens;
            Tile { cache, first, from: p.chunk.map_or(0, |c| first / c * c), q }
        }));
    }
    if tiles.iter().all(|tile| tile.q.len() == row) {
        rows_by_parts(p, &tiles, out);
    } else {
        tiles_by_heads(p, &tiles, out);
    }
}

/// Tiles of one row each: a task takes one part of the past.
fn rows_by_parts(p: &AttentionPlan, tiles: &[Tile<'_>], out: &mut [f32]) {
    let (d, group, row) = (p.head_dim, p.heads / p.kv_heads, p.heads * p.head_dim);
    let queries: Vec<Queries<'_>> = tiles.iter().map(|tile| Queries::new(p, tile.q)).collect();
    let parts: Vec<usize> = tiles.iter().map(|tile| (tile.first + 1 - tile.from).div_ceil(PART)).collect();
    let units: Vec<(usize, usize)> =
        parts.iter().enumerate().flat_map(|(tile, parts)| (0..*parts).map(move |part| (tile, part))).collect();
    // Key heads of a task.
    let wide = if units.len() >= ENOUGH * rayon::current_num_threads() { p.kv_heads } else { 1 };
    let mut mixed = scratch::take(units.len() * row);
    let mut sums = vec![Sum::default(); units.len() * p.heads];
    let tasks = mixed.chunks_mut(wide * group * d).zip(sums.chunks_mut(wide * group)).enumerate();
    each(tasks.collect(), |(i, (mixed, sums))| {
        let Some(&(tile, part)) = units.get(i * wide / p.kv_heads) else { return };
        let heads = i * wide % p.kv_heads;
        part_of_row(p, &queries[tile], &tiles[tile], part, heads..heads + wide, (mixed, sums));
    });
    let first: Vec<usize> = parts.iter().scan(0, |sum, n| Some(std::mem::replace(sum, *sum + n))).collect();
    // Fewer values are joined before another thread has taken them over.
    let least = JOINED * tiles.len() / (units.len() * group * d).max(1);
    let heads = out.par_chunks_mut(d).enumerate().with_min_len(group * least.max(1));
    heads.for_each(|(i, out)| {
        let (tile, head) = (i / p.heads, i % p.heads);
        let mut sum = Sum::default();
        for part in first[tile]..first[tile] + parts[tile] {
            sum.join(out, sums[part * p.heads + head], &mixed[part * row + head * d..][..d]);
        }
        sum.divide(out);
    });
    scratch::give(mixed);
}

/// Part number `part` of a row's past for the key heads `heads`: what their queries mix, `(heads, group, d)`, and the sums.
fn part_of_row(
    p: &AttentionPlan,
    queries: &Queries<'_>,
    tile: &Tile<'_>,
    part: usize,
    heads: Range<usize>,
    (mixed, sums): (&mut [f32], &mut [Sum]),
) {
    let (d, group) = (p.head_dim, p.heads / p.kv_heads);
    let from = tile.from + part * PART;
    let to = (from + PART).min(tile.first + 1);
    let n = to - from;
    let mut scores = scratch::take(heads.len() * group * n);
    let runs: Vec<Run<'_>> = tile.cache.runs(from, to).collect();
    // In the order of memory: the heads of a page, then the next page.
    let places: Vec<(&Run<'_>, usize)> =
        runs.iter().flat_map(|run| heads.clone().map(move |head| (run, head))).collect();
    let next = |place: usize| places.get(place + 1).copied();
    let values = || places.first().map_or(Ahead::NONE, |(run, head)| Ahead::rows(run.values(*head)));
    for (place, &(run, head)) in places.iter().enumerate() {
        let ahead = next(place).map_or_else(values, |(run, head)| run.keys_ahead(head));
        let at = (head - heads.start) * group * n + run.at;
        queries.scores(p, (head * group, group), (run, head), ahead, (&mut scores[at..], n));
    }
    for (scores, sum) in scores.chunks_exact_mut(n).zip(sums) {
        *sum = Sum::of((p.kernels.exps)(scores));
    }
    mixed.fill(0.0);
    // Whoever goes on with the next part begins with its keys.
    let after = tile.cache.runs(to, (to + PART).min(tile.first + 1)).next();
    let keys = || after.as_ref().map_or(Ahead::NONE, |run| run.keys_ahead(heads.start));
    for (place, &(run, head)) in places.iter().enumerate() {
        let ahead = next(place).map_or_else(keys, |(run, head)| Ahead::rows(run.values(head)));
        let own = head - heads.start;
        let (scores, mixed) = (&scores[own * group * n..][..group * n], &mut mixed[own * group * d..][..group * d]);
        (p.kernels.attn_mix)(&scores[run.at..], n, run.values(head), ahead, d, mixed);
    }
    scratch::give(scores);
}

/// Tiles of several rows: a task takes one key head of a tile.
fn tiles_by_heads(p: &AttentionPlan, tiles: &[Tile<'_>], out: &mut [f32]) {
    let (row, part) = (p.heads * p.head_dim, p.heads / p.kv_heads * p.head_dim);
    let heads: Vec<Vec<f32>> = (0..tiles.len() * p.kv_heads)
        .into_par_iter()
        .map(|i| {
            let (tile, head) = (&tiles[i / p.kv_heads], i % p.kv_heads);
            let mut mine = scratch::take(tile.q.len() / p.kv_heads);
            for (mine, token) in mine.chunks_exact_mut(part).zip(tile.q.chunks_exact(row)) {
                mine.copy_from_slice(&token[head * part..(head + 1) * part]);
            }
            let mut out = scratch::take(mine.len());
            head_of_tile(p, tile, head, &mine, &mut out);
            scratch::give(mine);
            out
        })
        .collect();
    let mut rows = out.chunks_exact_mut(row);
    for (tile, heads) in tiles.iter().zip(heads.chunks(p.kv_heads)) {
        for (t, out) in rows.by_ref().take(tile.q.len() / row).enumerate() {
            for (out, mixed) in out.chunks_exact_mut(part).zip(heads) {
                out.copy_from_slice(&mixed[t * part..(t + 1) * part]);
            }
        }
    }
    heads.into_iter().for_each(scratch::give);
}

/// The queries `q`, `(tokens, group, d)`, of one key head of a tile. `out` is laid out as they are.
fn head_of_tile(p: &AttentionPlan, tile: &Tile<'_>, head: usize, q: &[f32], out: &mut [f32]) {
    let (d, group) = (p.head_dim, p.heads / p.kv_heads);
    let (part, tokens) = (group * d, q.len() / (group * d));
    let end = tile.first + tokens;
    let queries = Queries::new(p, q);
    let mut mixed = scratch::take(q.len());
    let mut scores = scratch::take(tokens * group * PART.min(end - tile.from));
    let mut sums = vec![Sum::default(); tokens * group];
    for from in (tile.from..end).step_by(PART) {
        let to = (from + PART).min(end);
        // Every token sees the part up to `common`, and those of the tile up to its own.
        let (n, common) = (to - from, (tile.first + 1).clamp(from, to));
        let seen = |t: usize| (tile.first + 1 + t).clamp(from, to);
        for run in tile.cache.runs(from, common) {
            queries.scores(p, (0, tokens * group), (&run, head), Ahead::NONE, (&mut scores[run.at..], n));
        }
        mixed.fill(0.0);
        for t in 0..tokens {
            let scores = &mut scores[t * group * n..(t + 1) * group * n];
            for run in tile.cache.runs(common, seen(t)) {
                let scores = &mut scores[common - from + run.at..];
                queries.scores(p, (t * group, group), (&run, head), Ahead::NONE, (scores, n));
            }
        }
        let mut own = vec![Sum::default(); tokens * group];
        for (r, (scores, own)) in scores.chunks_exact_mut(n).zip(&mut own).enumerate() {
            *own = Sum::of((p.kernels.exps)(&mut scores[..seen(r / group) - from]));
        }
        for run in tile.cache.runs(from, common) {
            (p.kernels.attn_mix)(&scores[run.at..], n, run.values(head), Ahead::NONE, d, &mut mixed);
        }
        for (t, mixed) in mixed.chunks_exact_mut(part).enumerate() {
            let scores = &scores[t * group * n..(t + 1) * group * n];
            for run in tile.cache.runs(common, seen(t)) {
                (p.kernels.attn_mix)(&scores[common - from + run.at..], n, run.values(head), Ahead::NONE, d, mixed);
            }
        }
        let rows = sums.iter_mut().zip(own).zip(out.chunks_exact_mut(d).zip(mixed.chunks_exact(d))).enumerate();
        for (_, ((sum, own), (out, mixed))) in rows.filter(|(r, _)| seen(r / group) > from) {
            sum.join(out, own, mixed);
        }
    }
    sums.iter().zip(out.chunks_exact_mut(d)).for_each(|(sum, out)| sum.divide(out));
    scratch::give(mixed);
    scratch::give(scores);
}

/// What the exponentials of one row's scores so far are measured from, and what they sum to.
#[derive(Clone, Copy, Default)]
struct Sum(Option<(f32, f32)>);

impl Sum {
    fn of(exps: (f32, f32)) -> Self {
        Self(Some(exps))
    }

    /// Takes in a further part and its mix of values.
    fn join(&mut self, out: &mut [f32], part: Self, mixed: &[f32]) {
        let Some((part_max, part_sum)) = part.0 else { return };
        let Some((max, sum)) = self.0 else {
            *self = part;
            return out.copy_from_slice(mixed);
        };
        let most = max.max(part_max);
        let (old, new) = (kernels::exp(max - most), kernels::exp(part_max - most));
        out.iter_mut().zip(mixed).for_each(|(out, mixed)| *out = *out * old + mixed * new);
        self.0 = Some((most, sum * old + part_sum * new));
    }

    /// Ends the row.
    fn divide(self, out: &mut [f32]) {
        let factor = 1.0 / self.0.map_or(1.0, |(_, sum)| sum);
        out.iter_mut().for_each(|x| *x *= factor);
    }
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
            (p.kernels.quantize)(values, &mut q, &mut scales, &mut vec![Pair::default(); n / 16]);
        }
        Self { values, q, scales }
    }

    /// Scores of `n` rows from row `first` on with a run's keys of one head, `stride` from row to row.
    fn scores(
        &self,
        p: &AttentionPlan,
        (first, n): (usize, usize),
        (run, head): (&Run<'_>, usize),
        ahead: Ahead,
        (out, stride): (&mut [f32], usize),
    ) {
        let d = p.head_dim;
        let (keys, some) = run.keys(head);
        match keys {
            CachedKeys::Bytes(keys) => {
                let queries = ByteQueries { width: d, q: &self.q, scales: &self.scales };
                (p.kernels.attn_scores_q8)(queries.part(first, n), keys, some, ahead, out, stride);
            }
            CachedKeys::Values(keys) => {
                (p.kernels.attn_scores)(&self.values[first * d..][..n * d], d, keys, some, ahead, out, stride);
            }
        }
    }
}
