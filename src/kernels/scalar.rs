//! What each kernel means, in plain loops. The other sets perform the same roundings in the same order, so that they agree
//! with this one to the bit wherever their test says so.

use std::ops::Range;

use half::{bf16, f16};

use super::acts::{ActBlock, pair};
use super::{
    ActRows, Ahead, BLOCK, ByteKeys, ByteQueries, KEY_BLOCK, KV_BLOCK, Kernels, Keys, KvRows, Pair, Panels,
    byte_key_at, decoded, key_at,
};
use crate::quant::{BlockType, runs};
use crate::weights::layout::{PANEL_ROWS, panel_block};

pub(super) fn kernels() -> Kernels {
    Kernels { name: "scalar", matmul, quantize, rms_norm, silu_mul, add, attn_scores, attn_scores_q8, attn_mix, exps }
}

/// Shape checks that every set's `matmul` makes first: returns (bytes of a panel, rows of activations).
pub(super) fn matmul_shape(w: Panels<'_>, x: ActRows<'_>, out: &[f32]) -> (usize, usize) {
    let (width, block) = panel_block(w.ty);
    assert!(w.cols > 0 && w.cols == x.cols() && w.cols.is_multiple_of(width), "{} columns of {}", w.cols, w.ty);
    let panel = w.cols / width * block;
    assert!(w.bytes.len().is_multiple_of(panel), "whole panels");
    let panels = w.bytes.len() / panel;
    let rows = if width == 1 { x.tokens() } else { x.q_rows() };
    assert!(width == 1 || x.is_quantized(), "{} needs eight-bit activations", w.ty);
    assert!(width > 1 || x.values().len() == rows * w.cols, "{} needs single-precision activations", w.ty);
    assert_eq!(out.len(), panels * rows * PANEL_ROWS, "output of {panels} panels, {rows} rows");
    (panel, rows)
}

fn matmul(w: Panels<'_>, x: ActRows<'_>, out: &mut [f32]) {
    runs::with_runs!(w.ty, T => decoded::matmul::<T>(w, x, out), _ => matmul_panels(w, x, out));
}

fn matmul_panels(w: Panels<'_>, x: ActRows<'_>, out: &mut [f32]) {
    let (panel, rows) = matmul_shape(w, x, out);
    if rows == 0 {
        return;
    }
    for (bytes, out) in w.bytes.chunks_exact(panel).zip(out.chunks_exact_mut(rows * PANEL_ROWS)) {
        for (t, out) in out.chunks_exact_mut(PANEL_ROWS).enumerate() {
            for (row, out) in out.iter_mut().enumerate() {
                *out = row_dot(w.ty, bytes, row, x, t);
            }
        }
    }
}

fn f16_at(bytes: &[u8], i: usize) -> f32 {
    f16::from_le_bytes([bytes[2 * i], bytes[2 * i + 1]]).to_f32()
}

/// One row of one panel times one token: blocks in ascending order, each fused into a single accumulator.
fn row_dot(ty: BlockType, panel: &[u8], row: usize, x: ActRows<'_>, token: usize) -> f32 {
    let (width, block) = panel_block(ty);
    let mut acc = 0.0f32;
    for (b, bytes) in panel.chunks_exact(block).enumerate() {
        if width == 1 {
            let value = x.values()[token * x.cols() + b];
            acc = float_at(ty, bytes, row).mul_add(value, acc);
            continue;
        }
        for sub in 0..width / BLOCK {
            let at = (token * x.cols() + b * width) / BLOCK + sub;
            let block = &x.blocks[at];
            let ActBlock { q, scale: s, less, .. } = block;
            acc = match ty {
                BlockType::Q8_0 => {
                    let dot = dot(q, |j| i32::from(bytes[16 + 32 * (j / 4) + 4 * row + j % 4].cast_signed()));
                    (dot as f32).mul_add(f16_at(bytes, row) * *s, acc)
                }
                BlockType::Q4_0 => {
                    let dot = dot(q, |j| nibble(&bytes[16..], row, j)) + 8 * less;
                    (dot as f32).mul_add(f16_at(bytes, row) * *s, acc)
                }
                BlockType::Q4K => {
                    let dot = dot(q, |j| nibble(&bytes[160 + 128 * sub..], row, j));
                    let scale = f16_at(bytes, row) * f32::from(bytes[32 + 8 * sub + row]);
                    let min = f16_at(&bytes[16..], row) * f32::from(bytes[96 + 8 * sub + row]);
                    let share = min.mul_add(*less as f32, scale * dot as f32);
                    share.mul_add(*s, acc)
                }
                _ => {
                    let chunks = &bytes[144 + 192 * sub..];
                    let half = |h: usize| {
                        let dot =
                            dot(&q[16 * h..16 * h + 16], |j| six_bits(chunks, row, 16 * h + j)) - 32 * block.sum(h);
                        i32::from(bytes[16 + 8 * (2 * sub + h) + row].cast_signed()) * dot
                    };
                    ((half(0) + half(1)) as f32).mul_add(f16_at(bytes, row) * *s, acc)
                }
            };
        }
    }
    acc
}

fn float_at(ty: BlockType, bytes: &[u8], row: usize) -> f32 {
    match ty {
        BlockType::F32 => {
            f32::from_le_bytes([bytes[4 * row], bytes[4 * row + 1], bytes[4 * row + 2], bytes[4 * row + 3]])
        }
        BlockType::Bf16 => bf16::from_le_bytes([bytes[2 * row], bytes[2 * row + 1]]).to_f32(),
        _ => f16_at(bytes, row),
    }
}

fn dot(q: &[i8], weight: impl Fn(usize) -> i32) -> i32 {
    q.iter().enumerate().map(|(j, &a)| weight(j) * i32::from(a)).sum()
}

fn nibble(chunks: &[u8], row: usize, j: usize) -> i32 {
    let byte = chunks[32 * (j % 16 / 4) + 4 * row + j % 4];
    i32::from(if j < 16 { byte & 15 } else { byte >> 4 })
}

fn six_bits(chunks: &[u8], row: usize, j: usize) -> i32 {
    let pairs = chunks[128 + 32 * (j / 16) + 4 * row + j % 4] >> (2 * (j % 16 / 4)) & 3;
    nibble(chunks, row, j) | i32::from(pairs) << 4
}

pub(super) fn quantize(x: &[f32], q: &mut [i8], scales: &mut [f32], sums: &mut [Pair]) {
    let blocks = x.chunks_exact(BLOCK).zip(q.chunks_exact_mut(BLOCK));
    for (((x, q), scale), sums) in blocks.zip(scales).zip(sums.chunks_exact_mut(2)) {
        let max = x.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        let inverse = if max > 0.0 { 127.0 / max } else { 0.0 };
        *scale = if x.iter().any(|v| v.is_nan()) { f32::NAN } else { max / 127.0 };
        for (q, v) in q.iter_mut().zip(x) {
            // Below 3.7e-37 the inverse is infinite.
            *q = (v * inverse).round_ties_even().max(-127.0) as i8;
        }
        for (sum, q) in sums.iter_mut().zip(q.chunks_exact(16)) {
            *sum = pair(q);
        }
    }
}

/// Sums eight lanes the way a vector register is folded in half three times.
fn fold(lanes: [f32; 8]) -> f32 {
    let [a, b, c, d, e, f, g, h] = lanes;
    ((a + e) + (c + g)) + ((b + f) + (d + h))
}

pub(super) fn rms_norm(x: &[f32], w: Option<&[f32]>, eps: f32, out: &mut [f32]) {
    let mut lanes = [0.0f32; 8];
    for (i, v) in x.iter().enumerate() {
        lanes[i % 8] = v.mul_add(*v, lanes[i % 8]);
    }
    let factor = 1.0 / (fold(lanes) / x.len() as f32 + eps).sqrt();
    match w {
        Some(w) => out.iter_mut().zip(x).zip(w).for_each(|((o, x), w)| *o = x * factor * w),
        None => out.iter_mut().zip(x).for_each(|(o, x)| *o = x * factor),
    }
}

/// e^x to about one unit in the last place: 2^n times a degree-6 polynomial on [−ln2/2, ln2/2].
pub(crate) fn exp(x: f32) -> f32 {
    let x = x.clamp(-87.0, 88.0);
    let n = (x * std::f32::consts::LOG2_E).round_ties_even();
    let r = n.mul_add(-0.693_359_4, x);
    let r = n.mul_add(2.121_944_4e-4, r);
    let mut p = 1.388_888_9e-3f32;
    for c in [8.333_334e-3, 4.166_666_8e-2, 1.666_666_7e-1, 0.5, 1.0, 1.0] {
        p = p.mul_add(r, c);
    }
    p * f32::from_bits(((n as i32 + 127) << 23).cast_unsigned())
}

pub(super) fn silu_mul(gate: &mut [f32], up: &[f32], scale: f32) {
    for (g, u) in gate.iter_mut().zip(up) {
        let x = *g * scale;
        *g = x / (1.0 + exp(-x)) * (u * scale);
    }
}

pub(super) fn add(acc: &mut [f32], x: &[f32]) {
    acc.iter_mut().zip(x).for_each(|(a, x)| *a += x);
}

fn kv_at(rows: KvRows<'_>, i: usize) -> f32 {
    match rows {
        KvRows::F32(x) => x[i],
        KvRows::F16(x) => f16::from_bits(x[i]).to_f32(),
        KvRows::Q8 { q, scales } => f16::from_bits(scales[i / KV_BLOCK]).to_f32() * f32::from(q[i]),
    }
}

/// Shape checks of kernels over value rows: returns the number of rows.
pub(super) fn mix_shape(rows: KvRows<'_>, width: usize, heads: usize, weights: usize, stride: usize) -> usize {
    assert!(width > 0 && rows.len().is_multiple_of(width), "whole rows");
    if let KvRows::Q8 { q, scales } = rows {
        assert!(width.is_multiple_of(KV_BLOCK) && scales.len() * KV_BLOCK == q.len(), "whole blocks");
    }
    let n = rows.len() / width;
    assert_fits(n, heads, weights, stride);
    n
}

/// `heads` rows of `n` scores, `stride` apart, end inside `scores`.
fn assert_fits(n: usize, heads: usize, scores: usize, stride: usize) {
    assert!(heads == 0 || (n <= stride && (heads - 1) * stride + n <= scores), "{heads} heads of {n} scores");
}

/// Shape checks of kernels over keys, of which there are `values` values.
pub(super) fn keys_shape(values: usize, width: usize, some: &Range<usize>, heads: usize, scores: usize, stride: usize) {
    assert!(width > 0 && values.is_multiple_of(width * KEY_BLOCK), "whole blocks of keys");
    assert!(some.start <= some.end && some.end * width <= values, "positions {some:?} of {values} values");
    assert_fits(some.len(), heads, scores, stride);
}

/// A sum goes over the columns in order.
pub(super) fn attn_scores(
    q: &[f32],
    width: usize,
    keys: Keys<'_>,
    some: Range<usize>,
    _: Ahead,
    scores: &mut [f32],
    stride: usize,
) {
    keys_shape(keys.len(), width, &some, q.len() / width, scores.len(), stride);
    for (h, q) in q.chunks_exact(width).enumerate() {
        for (j, position) in some.clone().enumerate() {
            let product = |sum: f32, (c, q): (usize, &f32)| {
                let at = key_at(width, position, c);
                let key = match keys {
                    Keys::F32(x) => x[at],
                    Keys::F16(x) => f16::from_bits(x[at]).to_f32(),
                };
                q.mul_add(key, sum)
            };
            scores[h * stride + j] = q.iter().enumerate().fold(0.0, product);
        }
    }
}

/// Shape checks of `attn_scores_q8`.
pub(super) fn byte_shape(q: ByteQueries<'_>, keys: ByteKeys<'_>, some: &Range<usize>, scores: usize, stride: usize) {
    assert!(q.width.is_multiple_of(KV_BLOCK) && q.q.len().is_multiple_of(q.width), "whole blocks of queries");
    assert!(q.scales.len() * KV_BLOCK == q.q.len() && keys.scales.len() * KV_BLOCK == keys.q.len(), "whole scales");
    keys_shape(keys.q.len(), q.width, some, q.rows(), scores, stride);
}

/// A sum goes over the blocks of columns in order; inside one it is exact.
pub(super) fn attn_scores_q8(
    q: ByteQueries<'_>,
    keys: ByteKeys<'_>,
    some: Range<usize>,
    _: Ahead,
    scores: &mut [f32],
    stride: usize,
) {
    byte_shape(q, keys, &some, scores.len(), stride);
    let (width, blocks) = (q.width, q.width / KV_BLOCK);
    let rows = q.q.chunks_exact(width).zip(q.scales.chunks_exact(blocks)).zip(scores.chunks_mut(stride.max(1)));
    for ((q, q_scales), scores) in rows {
        for (position, score) in some.clone().zip(scores) {
            let block = |sum: f32, (b, q): (usize, &[i8])| {
                let key = |c: usize| i32::from(keys.q[byte_key_at(width, position, b * KV_BLOCK + c)]);
                let dot: i32 = q.iter().enumerate().map(|(c, q)| i32::from(*q) * key(c)).sum();
                let scale = f16::from_bits(keys.scales[key_at(blocks, position, b)]).to_f32() * q_scales[b];
                (dot as f32).mul_add(scale, sum)
            };
            *score = q.chunks_exact(KV_BLOCK).enumerate().fold(0.0, block);
        }
    }
}

pub(super) fn attn_mix(p: &[f32], stride: usize, values: KvRows<'_>, _: Ahead, width: usize, out: &mut [f32]) {
    let n = mix_shape(values, width, out.len() / width, p.len(), stride);
    for (h, out) in out.chunks_exact_mut(width).enumerate() {
        for j in 0..n {
            let p = p[h * stride + j];
            for (c, o) in out.iter_mut().enumerate() {
                *o = p.mul_add(kv_at(values, j * width + c), *o);
            }
        }
    }
}

/// Lane `l` of sixteen sums every sixteenth value; the upper eight are added to the lower ones before these are folded.
pub(super) fn exps(x: &mut [f32]) -> (f32, f32) {
    let max = x.iter().fold(f32::NEG_INFINITY, |m, v| m.max(*v));
    let mut lanes = [[0.0f32; 8]; 2];
    for (i, v) in x.iter_mut().enumerate() {
        *v = exp(*v - max);
        lanes[i / 8 % 2][i % 8] += *v;
    }
    let [low, high] = lanes;
    (max, fold(std::array::from_fn(|i| low[i] + high[i])))
}
