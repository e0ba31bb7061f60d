//! Scores of query rows with keys: registers hold one column of sixteen positions, which meets one query's value after the
//! other. Each sum keeps the order that `scalar` states.

use std::arch::aarch64::*;
use std::ops::Range;

use super::super::keys::put_scores;
use super::super::scalar::{byte_shape, keys_shape};
use super::super::{Ahead, ByteKeys, ByteQueries, KEY_BLOCK, KV_BLOCK, Keys};
use super::by_tokens;
use super::dot::{Dot, Half};
use super::lanes::{Floats, Ints, four, two};

/// The lanes of sixteen scores.
fn sixteen(lanes: [Floats; 2]) -> [f32; KEY_BLOCK] {
    let mut sixteen = [0.0; KEY_BLOCK];
    for (eight, lanes) in sixteen.as_chunks_mut::<8>().0.iter_mut().zip(lanes) {
        *eight = lanes.array();
    }
    sixteen
}

/// `Kernels::attn_scores`.
pub(super) fn attn_scores(
    q: &[f32],
    width: usize,
    keys: Keys<'_>,
    some: Range<usize>,
    _: Ahead,
    scores: &mut [f32],
    stride: usize,
) {
    let rows = q.len() / width;
    keys_shape(keys.len(), width, &some, rows, scores.len(), stride);
    for block in some.start / KEY_BLOCK..some.end.div_ceil(KEY_BLOCK) {
        let mut r = 0;
        while r < rows {
            let (q, out) = (&q[r * width..], &mut scores[r * stride..]);
            // SAFETY: `keys_shape` has checked that the block exists; the rows are among those of `q`.
            r += unsafe { by_tokens!(rows - r, R => pass::<R>(q, width, keys, block, &some, out, stride)) };
        }
    }
}

/// `R` rows with a block of keys.
///
/// # Safety
/// `R` rows of `width` values in `q`; the block exists.
unsafe fn pass<const R: usize>(
    q: &[f32],
    width: usize,
    keys: Keys<'_>,
    block: usize,
    some: &Range<usize>,
    scores: &mut [f32],
    stride: usize,
) {
    let (q, at) = (q.as_ptr(), block * width * KEY_BLOCK);
    let mut acc = [[Floats::splat(0.0); 2]; R];
    for c in 0..width {
        let column = at + c * KEY_BLOCK;
        // SAFETY: sixteen values of every column of the block, one of every column of the rows.
        unsafe {
            let k = match keys {
                Keys::F32(x) => two(|half| Floats::load(x.as_ptr().add(column + 8 * half))),
                Keys::F16(x) => two(|half| Floats::halves(x.as_ptr().add(column + 8 * half).cast())),
            };
            for (r, acc) in acc.iter_mut().enumerate() {
                let q = Floats::splat(*q.add(r * width + c));
                *acc = two(|half| acc[half].plus_product(q, k[half]));
            }
        }
    }
    for (acc, row) in acc.iter().zip(scores.chunks_mut(stride)) {
        put_scores(&sixteen(*acc), block, some, row);
    }
}

/// `Kernels::attn_scores_q8`.
pub(super) fn attn_scores_q8<D: Dot>(
    q: ByteQueries<'_>,
    keys: ByteKeys<'_>,
    some: Range<usize>,
    _: Ahead,
    scores: &mut [f32],
    stride: usize,
) {
    byte_shape(q, keys, &some, scores.len(), stride);
    for block in some.start / KEY_BLOCK..some.end.div_ceil(KEY_BLOCK) {
        for (r, row) in scores.chunks_mut(stride.max(1)).enumerate().take(q.rows()) {
            // SAFETY: the set's features as its constructor found; `byte_shape` has checked that the block exists.
            let lanes = unsafe { D::byte_scores(q.part(r, 1), keys, block) };
            put_scores(&sixteen(lanes), block, &some, row);
        }
    }
}

/// One query row with a block of keys.
///
/// # Safety
/// The set's features; the block exists.
#[inline(always)]
pub(super) unsafe fn byte_scores<D: Dot>(q: ByteQueries<'_>, keys: ByteKeys<'_>, block: usize) -> [Floats; 2] {
    let (width, blocks) = (q.width, q.width / KV_BLOCK);
    let mut acc = [Floats::splat(0.0); 2];
    for n in 0..blocks {
        let mut dots = [Ints::splat(0); 2];
        // SAFETY: the columns of the block and of the row, and their scales.
        unsafe {
            for c in [n * KV_BLOCK, n * KV_BLOCK + KV_BLOCK / 2] {
                let q = vld1q_s8(q.q.as_ptr().add(c));
                let at = keys.q.as_ptr().add((block * width + c) * KEY_BLOCK);
                dots = two(|half| {
                    // Quads lie sixteen positions apart; eight positions are two registers of four.
                    let quads = |rows: usize| four(|f| vld1q_s8(at.add(64 * f + 32 * half + 16 * rows)));
                    let w: Half = two(quads);
                    D::dot::<8>(dots[half], w, q)
                });
            }
            let own = Floats::splat(*q.scales.as_ptr().add(n));
            let scales = keys.scales.as_ptr().add((block * blocks + n) * KEY_BLOCK);
            acc = two(|half| {
                let scale = Floats::halves(scales.add(8 * half).cast()).times(own);
                acc[half].plus_product(dots[half].to_floats(), scale)
            });
        }
    }
    acc
}
