//! Scores of query rows with keys: a register holds one column of sixteen positions (eight with AVX2), and meets one query's
//! value after the other. Each sum keeps the order that `scalar` states, so the sets agree to the bit.

use std::arch::x86_64::*;
use std::ops::Range;

use super::super::keys::put_scores;
use super::super::scalar::{byte_shape, keys_shape};
use super::super::{Ahead, ByteKeys, ByteQueries, KEY_BLOCK, KV_BLOCK, Keys};
use super::common::{ask, next};

/// Calls `$f::<R, $n>` with the constant that `$rows` is.
macro_rules! by_rows {
    ($rows:expr, $f:ident::<$n:literal> $args:tt) => {
        match $rows {
            5 => $f::<5, $n> $args,
            4 => $f::<4, $n> $args,
            3 => $f::<3, $n> $args,
            2 => $f::<2, $n> $args,
            _ => $f::<1, $n> $args,
        }
    };
}

/// Query rows that share a pass over the keys: as many as there are up to `most`, which registers hold, and of more rather
/// fewer than a last pass with a single row.
fn rows_at_once(rows: usize, most: usize) -> usize {
    rows.div_ceil(rows.div_ceil(most).max(1)).max(1)
}

/// The blocks of keys that `some` touches in passes of `wide`, and of one where fewer are left: the first block of each pass and
/// how many it takes.
fn passes(some: &Range<usize>, wide: usize) -> impl Iterator<Item = (usize, usize)> {
    let (mut block, end) = (some.start / KEY_BLOCK, some.end.div_ceil(KEY_BLOCK));
    std::iter::from_fn(move || {
        let blocks = if end.saturating_sub(block) >= wide { wide } else { 1 };
        let first = block;
        block += blocks;
        (first < end).then_some((first, blocks))
    })
}

/// `Kernels::attn_scores` of one instruction set: `$most` rows and `$wide` blocks share a pass.
macro_rules! scores {
    ($name:ident, $pass:ident, $most:literal, $wide:literal) => {
        pub(super) fn $name(
            q: &[f32],
            width: usize,
            keys: Keys<'_>,
            some: Range<usize>,
            ahead: Ahead,
            scores: &mut [f32],
            stride: usize,
        ) {
            keys_shape(keys.len(), width, &some, q.len() / width, scores.len(), stride);
            let rows = rows_at_once(q.len() / width, $most);
            for (block, blocks) in passes(&some, $wide) {
                for (q, out) in q.chunks(rows * width).zip(scores.chunks_mut(rows * stride)) {
                    let rows = q.len() / width;
                    // SAFETY: the set's features as its constructor found; `keys_shape` has checked that the blocks and the
                    // places of the scores exist.
                    unsafe {
                        if blocks == $wide {
                            by_rows!(rows, $pass::<$wide>(q, width, keys, (block, &some, ahead), out, stride));
                        } else {
                            by_rows!(rows, $pass::<1>(q, width, keys, (block, &some, ahead), out, stride));
                        }
                    }
                }
            }
        }
    };
}

scores!(attn_scores_avx2, pass_avx2, 4, 1);
scores!(attn_scores_avx512, pass_avx512, 5, 4);

/// `R` rows with `B` blocks from block `block` on.
///
/// # Safety
/// AVX-512 F and what AVX2's set needs; `R` rows of `width` values in `q`; the blocks exist.
#[target_feature(enable = "avx512f,avx2,fma,f16c")]
unsafe fn pass_avx512<const R: usize, const B: usize>(
    q: &[f32],
    width: usize,
    keys: Keys<'_>,
    (block, some, ahead): (usize, &Range<usize>, Ahead),
    scores: &mut [f32],
    stride: usize,
) {
    let mut acc = [[_mm512_setzero_ps(); B]; R];
    let (q, at) = (q.as_ptr(), block * width * KEY_BLOCK);
    macro_rules! columns {
        ($x:ident, $load:expr) => {{
            let next = next($x.as_ptr(), ahead);
            for c in 0..width {
                let mut k = [_mm512_setzero_ps(); B];
                for (b, k) in k.iter_mut().enumerate() {
                    let column = at + (b * width + c) * KEY_BLOCK;
                    ask(next, column);
                    *k = $load($x.as_ptr().add(column));
                }
                for (r, acc) in acc.iter_mut().enumerate() {
                    let q = _mm512_set1_ps(*q.add(r * width + c));
                    for (k, acc) in k.iter().zip(acc) {
                        *acc = _mm512_fmadd_ps(q, *k, *acc);
                    }
                }
            }
        }};
    }
    // SAFETY: sixteen values of every column of the blocks, one of every column of the rows.
    unsafe {
        match keys {
            Keys::F32(x) => columns!(x, _mm512_loadu_ps),
            Keys::F16(x) => columns!(x, |column: *const u16| _mm512_cvtph_ps(_mm256_loadu_si256(column.cast()))),
        }
    }
    for (acc, row) in acc.iter().zip(scores.chunks_mut(stride)) {
        for (b, acc) in acc.iter().enumerate() {
            put_scores(&sixteen(*acc), block + b, some, row);
        }
    }
}

/// As [`pass_avx512`], a block in two registers.
///
/// # Safety
/// AVX2, FMA and F16C; otherwise as there.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn pass_avx2<const R: usize, const B: usize>(
    q: &[f32],
    width: usize,
    keys: Keys<'_>,
    (block, some, ahead): (usize, &Range<usize>, Ahead),
    scores: &mut [f32],
    stride: usize,
) {
    let (q, at) = (q.as_ptr(), block * width * KEY_BLOCK);
    let mut acc = [[[_mm256_setzero_ps(); 2]; B]; R];
    macro_rules! columns {
        ($x:ident, $load:expr) => {{
            let next = next($x.as_ptr(), ahead);
            for c in 0..width {
                for b in 0..B {
                    let column = at + (b * width + c) * KEY_BLOCK;
                    ask(next, column);
                    let column = $x.as_ptr().add(column);
                    let k: [__m256; 2] = [$load(column), $load(column.add(8))];
                    for (r, acc) in acc.iter_mut().enumerate() {
                        let q = _mm256_broadcast_ss(&*q.add(r * width + c));
                        acc[b][0] = _mm256_fmadd_ps(q, k[0], acc[b][0]);
                        acc[b][1] = _mm256_fmadd_ps(q, k[1], acc[b][1]);
                    }
                }
            }
        }};
    }
    // SAFETY: sixteen values of every column of the blocks, one of every column of the rows.
    unsafe {
        match keys {
            Keys::F32(x) => columns!(x, |column: *const f32| _mm256_loadu_ps(column)),
            Keys::F16(x) => columns!(x, |column: *const u16| _mm256_cvtph_ps(_mm_loadu_si128(column.cast()))),
        }
    }
    for (acc, row) in acc.iter().zip(scores.chunks_mut(stride)) {
        for (b, acc) in acc.iter().enumerate() {
            put_scores(&two(acc), block + b, some, row);
        }
    }
}

/// The lanes of a register.
#[inline]
#[target_feature(enable = "avx512f")]
fn sixteen(acc: __m512) -> [f32; KEY_BLOCK] {
    let mut sixteen = [0.0f32; KEY_BLOCK];
    // SAFETY: sixteen values.
    unsafe { _mm512_storeu_ps(sixteen.as_mut_ptr(), acc) };
    sixteen
}

/// The lanes of two registers.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn two(acc: &[__m256; 2]) -> [f32; KEY_BLOCK] {
    let mut sixteen = [0.0f32; KEY_BLOCK];
    // SAFETY: sixteen values.
    unsafe {
        _mm256_storeu_ps(sixteen.as_mut_ptr(), acc[0]);
        _mm256_storeu_ps(sixteen.as_mut_ptr().add(8), acc[1]);
    }
    sixteen
}

/// `Kernels::attn_scores_q8` of one instruction set, as [`scores`].
macro_rules! byte_scores {
    ($name:ident, $pass:ident, $most:literal, $wide:literal) => {
        pub(super) fn $name(
            q: ByteQueries<'_>,
            keys: ByteKeys<'_>,
            some: Range<usize>,
            ahead: Ahead,
            scores: &mut [f32],
            stride: usize,
        ) {
            byte_shape(q, keys, &some, scores.len(), stride);
            let at_once = rows_at_once(q.rows(), $most);
            for (block, blocks) in passes(&some, $wide) {
                for (i, out) in scores.chunks_mut(at_once * stride).enumerate().take(q.rows().div_ceil(at_once)) {
                    let first = i * at_once;
                    let rows = at_once.min(q.rows() - first);
                    let q = q.part(first, rows);
                    // SAFETY: the set's features as its constructor found; `byte_shape` has checked that the blocks and the
                    // places of the scores exist.
                    unsafe {
                        if blocks == $wide {
                            by_rows!(rows, $pass::<$wide>(q, keys, (block, &some, ahead), out, stride));
                        } else {
                            by_rows!(rows, $pass::<1>(q, keys, (block, &some, ahead), out, stride));
                        }
                    }
                }
            }
        }
    };
}

byte_scores!(attn_scores_q8_avx2, byte_pass_avx2, 2, 1);
byte_scores!(attn_scores_q8_avx512, byte_pass_avx512, 5, 2);

/// Four columns of a query row in every lane.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn quad(q: *const i8) -> i32 {
    // SAFETY: the caller points at four bytes; the read needs no alignment.
    unsafe { q.cast::<i32>().read_unaligned() }
}

/// The instruction multiplies unsigned by signed bytes: keys are moved up by 128, and each sum starts with what that adds.
///
/// # Safety
/// AVX-512 F, BW, VNNI and what AVX2's set needs; `R` rows in `q`; the blocks exist.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni,avx2,fma,f16c")]
unsafe fn byte_pass_avx512<const R: usize, const B: usize>(
    q: ByteQueries<'_>,
    keys: ByteKeys<'_>,
    (block, some, ahead): (usize, &Range<usize>, Ahead),
    scores: &mut [f32],
    stride: usize,
) {
    let (width, blocks) = (q.width, q.width / KV_BLOCK);
    let (up, next) = (_mm512_set1_epi8(-128), next(keys.q.as_ptr(), ahead));
    let mut acc = [[_mm512_setzero_ps(); B]; R];
    for n in 0..blocks {
        let mut dots = [[_mm512_setzero_si512(); B]; R];
        // SAFETY: the columns of the blocks and of the rows, and their scales.
        unsafe {
            for c in (n * KV_BLOCK..(n + 1) * KV_BLOCK).step_by(4) {
                let mut k = [_mm512_setzero_si512(); B];
                for (b, k) in k.iter_mut().enumerate() {
                    let four = ((block + b) * width + c) * KEY_BLOCK;
                    ask(next, four);
                    *k = _mm512_xor_si512(_mm512_loadu_si512(keys.q.as_ptr().add(four).cast()), up);
                }
                for (r, dots) in dots.iter_mut().enumerate() {
                    let q = _mm512_set1_epi32(quad(q.q.as_ptr().add(r * width + c)));
                    for (k, dots) in k.iter().zip(dots) {
                        *dots = _mm512_dpbusd_epi32(*dots, *k, q);
                    }
                }
            }
            for (r, (dots, acc)) in dots.iter().zip(&mut acc).enumerate() {
                let own = _mm256_loadu_si256(q.q.as_ptr().add(r * width + n * KV_BLOCK).cast());
                let more = _mm512_set1_epi32(128 * sum(own));
                let own = _mm512_set1_ps(*q.scales.as_ptr().add(r * blocks + n));
                for (b, (dots, acc)) in dots.iter().zip(acc).enumerate() {
                    let at = ((block + b) * blocks + n) * KEY_BLOCK;
                    let scale = _mm512_cvtph_ps(_mm256_loadu_si256(keys.scales.as_ptr().add(at).cast()));
                    let dots = _mm512_cvtepi32_ps(_mm512_sub_epi32(*dots, more));
                    *acc = _mm512_fmadd_ps(dots, _mm512_mul_ps(scale, own), *acc);
                }
            }
        }
    }
    for (acc, row) in acc.iter().zip(scores.chunks_mut(stride)) {
        for (b, acc) in acc.iter().enumerate() {
            put_scores(&sixteen(*acc), block + b, some, row);
        }
    }
}

/// The sum of 32 bytes.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn sum(bytes: __m256i) -> i32 {
    let pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(1), bytes);
    let fours = _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
    let s = _mm_add_epi32(_mm256_castsi256_si128(fours), _mm256_extracti128_si256(fours, 1));
    let s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0b01_00_11_10));
    _mm_cvtsi128_si32(_mm_add_epi32(s, _mm_shuffle_epi32(s, 0b10_11_00_01)))
}

/// As [`byte_pass_avx512`].
///
/// # Safety
/// AVX2, FMA and F16C; otherwise as there.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn byte_pass_avx2<const R: usize, const B: usize>(
    q: ByteQueries<'_>,
    keys: ByteKeys<'_>,
    (block, some, ahead): (usize, &Range<usize>, Ahead),
    scores: &mut [f32],
    stride: usize,
) {
    let (width, blocks, ones) = (q.width, q.width / KV_BLOCK, _mm256_set1_epi16(1));
    let next = next(keys.q.as_ptr(), ahead);
    let mut acc = [[[_mm256_setzero_ps(); 2]; B]; R];
    for n in 0..blocks {
        let mut dots = [[[_mm256_setzero_si256(); 2]; B]; R];
        // SAFETY: the columns of the blocks and of the rows, and their scales.
        unsafe {
            for c in (n * KV_BLOCK..(n + 1) * KV_BLOCK).step_by(4) {
                for b in 0..B {
                    let four = ((block + b) * width + c) * KEY_BLOCK;
                    ask(next, four);
                    let k = [0, 32].map(|half| _mm256_loadu_si256(keys.q.as_ptr().add(four + half).cast()));
                    for (r, dots) in dots.iter_mut().enumerate() {
                        let q = _mm256_set1_epi32(quad(q.q.as_ptr().add(r * width + c)));
                        let size = _mm256_abs_epi8(q);
                        for (k, dots) in k.iter().zip(&mut dots[b]) {
                            // Bytes lie in −127 … 127, so that two products fit sixteen bits.
                            let twos = _mm256_maddubs_epi16(size, _mm256_sign_epi8(*k, q));
                            *dots = _mm256_add_epi32(*dots, _mm256_madd_epi16(twos, ones));
                        }
                    }
                }
            }
            for (r, (dots, acc)) in dots.iter().zip(&mut acc).enumerate() {
                let own = _mm256_set1_ps(*q.scales.as_ptr().add(r * blocks + n));
                for (b, (dots, acc)) in dots.iter().zip(acc).enumerate() {
                    let at = ((block + b) * blocks + n) * KEY_BLOCK;
                    for (half, (dots, acc)) in dots.iter().zip(acc).enumerate() {
                        let bits = _mm_loadu_si128(keys.scales.as_ptr().add(at + 8 * half).cast());
                        let scale = _mm256_mul_ps(_mm256_cvtph_ps(bits), own);
                        *acc = _mm256_fmadd_ps(_mm256_cvtepi32_ps(*dots), scale, *acc);
                    }
                }
            }
        }
    }
    for (acc, row) in acc.iter().zip(scores.chunks_mut(stride)) {
        for (b, acc) in acc.iter().enumerate() {
            put_scores(&two(acc), block + b, some, row);
        }
    }
}
