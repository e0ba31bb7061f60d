//! Attention over rows of keys and values: a few positions are brought to single precision at a time and serve every query
//! row of the call. Each product and sum keeps the order that `scalar` states, so the sets agree to the bit.

use std::arch::x86_64::*;
use std::mem::MaybeUninit;

use super::super::scalar::{self, attn_shape, q8_shape};
use super::super::{ByteQueries, KV_BLOCK, KvRows};
use super::attention_direct as direct;

/// Widest head; larger ones take the scalar set's loops.
pub(super) const WIDEST: usize = 512;
/// Positions in single precision at a time.
pub(super) const KEYS: usize = 8;
/// Query rows that share a pass over them.
const ROWS: usize = 4;

/// Positions in single precision, `(KEYS, width)`. Zeroing it for every call would cost a fifth of a decode step.
#[repr(C, align(64))]
struct Block(MaybeUninit<[f32; KEYS * WIDEST]>);

impl Block {
    fn as_ptr(&self) -> *const f32 {
        self.0.as_ptr().cast()
    }
}

/// Where `KEYS` rows from row `first` on lie in single precision, of which `n` are asked for: where they are, or in `block`.
///
/// # Safety
/// As [`unpack`].
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn singles(rows: KvRows<'_>, first: usize, n: usize, width: usize, block: &mut Block) -> *const f32 {
    match rows {
        KvRows::F32(x) if n == KEYS => x[first * width..][..KEYS * width].as_ptr(),
        _ => {
            // SAFETY: the caller's promise.
            unsafe { unpack(rows, first, n, width, block) };
            block.as_ptr()
        }
    }
}

/// Brings `n` rows from row `first` on to single precision; the rest of the `KEYS` rows become zero.
///
/// # Safety
/// AVX2, FMA and F16C; `n <= KEYS` rows from `first` on exist and are `width <= WIDEST` values wide.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn unpack(rows: KvRows<'_>, first: usize, n: usize, width: usize, out: &mut Block) {
    let (start, all) = (first * width, n * width);
    let whole = all / 8 * 8;
    let out: *mut f32 = out.0.as_mut_ptr().cast();
    // SAFETY: `all` values from `start` on exist in the rows and fit `out`; eight are touched where eight are left.
    unsafe {
        out.add(all).write_bytes(0, KEYS * width - all);
        match rows {
            KvRows::F32(x) => std::ptr::copy_nonoverlapping(x.as_ptr().add(start), out, all),
            KvRows::F16(x) => {
                for i in (0..whole).step_by(8) {
                    _mm256_storeu_ps(out.add(i), _mm256_cvtph_ps(_mm_loadu_si128(x.as_ptr().add(start + i).cast())));
                }
                for i in whole..all {
                    *out.add(i) = half::f16::from_bits(*x.as_ptr().add(start + i)).to_f32();
                }
            }
            KvRows::Q8 { q, scales } => {
                // Whole blocks of 32, as `attn_shape` checked.
                for i in (0..all).step_by(KV_BLOCK) {
                    let scale = i32::from(*scales.as_ptr().add((start + i) / KV_BLOCK));
                    let scale = _mm256_broadcastss_ps(_mm_cvtph_ps(_mm_cvtsi32_si128(scale)));
                    for j in (i..i + KV_BLOCK).step_by(8) {
                        let q = _mm256_cvtepi8_epi32(_mm_loadl_epi64(q.as_ptr().add(start + j).cast()));
                        _mm256_storeu_ps(out.add(j), _mm256_mul_ps(scale, _mm256_cvtepi32_ps(q)));
                    }
                }
            }
        }
    }
}

/// The first `n` values; as a rule all of them, without a call.
#[inline]
pub(super) fn put<const N: usize>(values: &[f32; N], out: &mut [f32], n: usize) {
    match out.first_chunk_mut::<N>() {
        Some(out) if n == N => *out = *values,
        _ => out[..n].copy_from_slice(&values[..n]),
    }
}

/// The lanes of the last `n` values of a row.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn lanes(n: usize) -> __m256i {
    _mm256_cmpgt_epi32(_mm256_set1_epi32(n as i32), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7))
}

/// Calls `$f::<R>` with the constant that `$n` is.
macro_rules! by_rows {
    ($n:expr, $f:ident $args:tt) => {
        match $n {
            4 => $f::<4> $args,
            3 => $f::<3> $args,
            2 => $f::<2> $args,
            _ => $f::<1> $args,
        }
    };
}

/// `Kernels::attn_scores` and `Kernels::attn_mix` of one instruction set.
macro_rules! attention {
    ($scores:ident, $mix:ident, $bytes:ident, $dots:ident, $add:ident, $direct_scores:path, $direct_mix:path, $direct_bytes:path) => {
        pub(super) fn $bytes(q: ByteQueries<'_>, keys: &[i8], scales: &[u16], scores: &mut [f32], stride: usize) {
            let n = q8_shape(q, keys, scales, scores.len(), stride);
            if q.width > WIDEST {
                return scalar::attn_scores_q8(q, keys, scales, scores, stride);
            }
            // SAFETY: the set's features as its constructor found; `q8_shape` has checked the lengths.
            unsafe { $direct_bytes(q, keys, scales, n, scores, stride) }
        }

        pub(super) fn $scores(q: &[f32], width: usize, keys: KvRows<'_>, scores: &mut [f32], stride: usize) {
            let n = attn_shape(keys, width, q.len() / width, scores.len(), stride);
            if width > WIDEST {
                return scalar::attn_scores(q, width, keys, scores, stride);
            }
            // SAFETY: the set's features as its constructor found; `attn_shape` has checked the lengths.
            if unsafe { $direct_scores(q, width, keys, n, scores, stride) } {
                return;
            }
            let mut block = Block(MaybeUninit::uninit());
            for first in (0..n).step_by(KEYS) {
                let some = KEYS.min(n - first);
                // SAFETY: the set's features as its constructor found; these keys exist.
                let keys = unsafe { singles(keys, first, some, width, &mut block) };
                for (q, out) in q.chunks(ROWS * width).zip(scores.chunks_mut(ROWS * stride)) {
                    // SAFETY: as above; `attn_shape` has checked that `n` scores fit each row's stride.
                    unsafe { by_rows!(q.len() / width, $dots(q, width, keys, some, &mut out[first..], stride)) };
                }
            }
        }

        pub(super) fn $mix(p: &[f32], stride: usize, values: KvRows<'_>, width: usize, out: &mut [f32]) {
            let n = attn_shape(values, width, out.len() / width, p.len(), stride);
            if width > WIDEST {
                return scalar::attn_mix(p, stride, values, width, out);
            }
            // SAFETY: the set's features as its constructor found; `attn_shape` has checked the lengths.
            if unsafe { $direct_mix(p, stride, values, n, width, out) } {
                return;
            }
            let mut block = Block(MaybeUninit::uninit());
            for first in (0..n).step_by(KEYS) {
                let some = KEYS.min(n - first);
                // SAFETY: the set's features as its constructor found; these values exist.
                let values = unsafe { singles(values, first, some, width, &mut block) };
                for (p, out) in p.chunks(ROWS * stride).zip(out.chunks_mut(ROWS * width)) {
                    // SAFETY: as above; `attn_shape` has checked that `n` weights fit each row's stride.
                    unsafe { by_rows!(out.len() / width, $add(&p[first..], stride, values, some, width, out)) };
                }
            }
        }
    };
}

attention!(
    attn_scores_avx2,
    attn_mix_avx2,
    attn_scores_q8_avx2,
    dots_avx2,
    add_avx2,
    direct::no_scores,
    direct::no_mix,
    direct::byte_scores_avx2
);
attention!(
    attn_scores_avx512,
    attn_mix_avx512,
    attn_scores_q8_avx512,
    dots_avx512,
    add_avx512,
    direct::half_scores_avx512,
    direct::mix_avx512,
    direct::byte_scores_avx512
);

/// Keys in one pass of [`dots_avx2`].
pub(super) const QUAD: usize = 4;

/// `out[r · stride + j] = q[r] · key[j]`: eight running sums over every eighth column, folded at the end.
///
/// # Safety
/// AVX2, FMA and F16C; `R` rows of `width` values in `q`, `KEYS` in `keys`, room for `some <= KEYS` scores a row.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn dots_avx2<const R: usize>(
    q: &[f32],
    width: usize,
    keys: *const f32,
    some: usize,
    out: &mut [f32],
    stride: usize,
) {
    let (q, whole) = (q.as_ptr(), width / 8 * 8);
    let last = lanes(width - whole);
    for first in (0..some).step_by(QUAD) {
        for r in 0..R {
            let mut acc = [_mm256_setzero_ps(); QUAD];
            // SAFETY: the block holds `KEYS` rows, so a quad never leaves it; columns past the last are masked.
            unsafe {
                let row = |j: usize| keys.add((first + j) * width);
                for c in (0..whole).step_by(8) {
                    let q = _mm256_loadu_ps(q.add(r * width + c));
                    for (j, acc) in acc.iter_mut().enumerate() {
                        *acc = _mm256_fmadd_ps(q, _mm256_loadu_ps(row(j).add(c)), *acc);
                    }
                }
                if whole < width {
                    let q = _mm256_maskload_ps(q.add(r * width + whole), last);
                    for (j, acc) in acc.iter_mut().enumerate() {
                        *acc = _mm256_fmadd_ps(q, _mm256_maskload_ps(row(j).add(whole), last), *acc);
                    }
                }
            }
            put(&fold_quad(acc), &mut out[r * stride + first..], QUAD.min(some - first));
        }
    }
}

/// As [`dots_avx2`], two keys in a register, all rows and keys at once.
///
/// # Safety
/// As there, and AVX-512 F.
#[target_feature(enable = "avx512f,avx2,fma,f16c")]
unsafe fn dots_avx512<const R: usize>(
    q: &[f32],
    width: usize,
    keys: *const f32,
    some: usize,
    out: &mut [f32],
    stride: usize,
) {
    const PAIRS: usize = KEYS / 2;
    let (q, whole) = (q.as_ptr(), width / 8 * 8);
    let last = lanes(width - whole);
    let mut acc = [[_mm512_setzero_ps(); PAIRS]; R];
    let pair = |a: __m256, b: __m256| {
        _mm512_castpd_ps(_mm512_insertf64x4(_mm512_castpd256_pd512(_mm256_castps_pd(a)), _mm256_castps_pd(b), 1))
    };
    // SAFETY: the block holds `KEYS` rows; columns past the last are masked.
    unsafe {
        let row = |j: usize| keys.add(j * width);
        for c in (0..whole).step_by(8) {
            let k: [__m512; PAIRS] =
                std::array::from_fn(|j| pair(_mm256_loadu_ps(row(j).add(c)), _mm256_loadu_ps(row(j + PAIRS).add(c))));
            for (r, acc) in acc.iter_mut().enumerate() {
                let q = _mm512_castpd_ps(_mm512_broadcast_f64x4(_mm256_loadu_pd(q.add(r * width + c).cast())));
                for (k, acc) in k.iter().zip(acc) {
                    *acc = _mm512_fmadd_ps(q, *k, *acc);
                }
            }
        }
        if whole < width {
            let k: [__m512; PAIRS] = std::array::from_fn(|j| {
                pair(_mm256_maskload_ps(row(j).add(whole), last), _mm256_maskload_ps(row(j + PAIRS).add(whole), last))
            });
            for (r, acc) in acc.iter_mut().enumerate() {
                let q = _mm256_maskload_ps(q.add(r * width + whole), last);
                for (k, acc) in k.iter().zip(acc) {
                    *acc = _mm512_fmadd_ps(pair(q, q), *k, *acc);
                }
            }
        }
    }
    put_scores(&acc, out, stride, (0, some));
}

/// The scores of two query rows, a half of the register each, from their sums over every eighth column: two keys in a
/// register, `KEYS / 2` apart. Folded in the order of `scalar`: the lower halves' first.
#[inline]
#[target_feature(enable = "avx512f,avx2,fma,f16c")]
fn fold_two(a: &[__m512; KEYS / 2], b: &[__m512; KEYS / 2]) -> __m512 {
    let mut half = [_mm512_setzero_ps(); KEYS / 2];
    for ((a, b), half) in a.iter().zip(b).zip(&mut half) {
        let low = _mm512_shuffle_f32x4(*a, *b, 0b10_00_10_00);
        *half = _mm512_add_ps(low, _mm512_shuffle_f32x4(*a, *b, 0b11_01_11_01));
    }
    let ab = _mm512_add_ps(_mm512_unpacklo_ps(half[0], half[1]), _mm512_unpackhi_ps(half[0], half[1]));
    let cd = _mm512_add_ps(_mm512_unpacklo_ps(half[2], half[3]), _mm512_unpackhi_ps(half[2], half[3]));
    _mm512_add_ps(_mm512_shuffle_ps(ab, cd, 0b01_00_01_00), _mm512_shuffle_ps(ab, cd, 0b11_10_11_10))
}

/// Puts the scores of `R` rows for `some <= KEYS` keys from number `first` on in their places. It is small so that it stands in
/// its caller: a call would send all sums over memory.
#[inline]
#[target_feature(enable = "avx512f,avx2,fma,f16c")]
pub(super) fn put_scores<const R: usize>(
    acc: &[[__m512; KEYS / 2]; R],
    scores: &mut [f32],
    stride: usize,
    (first, some): (usize, usize),
) {
    let (out, lanes) = (&mut scores[first..(R - 1) * stride + first + some], 0xff >> (KEYS - some));
    for r in (0..R).step_by(2) {
        let two = fold_two(&acc[r], &acc[(r + 1).min(R - 1)]);
        // SAFETY: `some` values of the row, which end where `out` does or before.
        unsafe { _mm512_mask_storeu_ps(out.as_mut_ptr().add(r * stride), lanes, two) };
        if r + 1 < R {
            let two = _mm512_shuffle_f32x4(two, two, 0b11_10_11_10);
            // SAFETY: as above.
            unsafe { _mm512_mask_storeu_ps(out.as_mut_ptr().add((r + 1) * stride), lanes, two) };
        }
    }
}

/// The sums of eight lanes of four keys, in the order of `scalar`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn fold_quad(acc: [__m256; QUAD]) -> [f32; QUAD] {
    let half = acc.map(|a| _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1)));
    let ab = _mm_add_ps(_mm_unpacklo_ps(half[0], half[1]), _mm_unpackhi_ps(half[0], half[1]));
    let cd = _mm_add_ps(_mm_unpacklo_ps(half[2], half[3]), _mm_unpackhi_ps(half[2], half[3]));
    let sums = _mm_add_ps(_mm_movelh_ps(ab, cd), _mm_movehl_ps(cd, ab));
    let mut four = [0.0f32; QUAD];
    // SAFETY: four values.
    unsafe { _mm_storeu_ps(four.as_mut_ptr(), sums) };
    four
}

/// One column block of `out[r] += Σ_j p[r · stride + j] · value[j]`, position after position.
macro_rules! column_block {
    ($lanes:expr, $regs:expr, $zero:expr, $load:ident, $store:ident, $splat:ident, $fma:ident,
     $r:ident, $c:expr, $p:ident, $stride:ident, $values:ident, $some:ident, $width:ident, $out:ident) => {{
        let mut acc = [[$zero; $regs]; $r];
        for (r, acc) in acc.iter_mut().enumerate() {
            for (i, acc) in acc.iter_mut().enumerate() {
                *acc = $load($out.add(r * $width + $c + $lanes * i));
            }
        }
        for j in 0..$some {
            let v: [_; $regs] = std::array::from_fn(|i| $load($values.add(j * $width + $c + $lanes * i)));
            for (r, acc) in acc.iter_mut().enumerate() {
                let p = $splat(*$p.add(r * $stride + j));
                for (v, acc) in v.iter().zip(acc) {
                    *acc = $fma(p, *v, *acc);
                }
            }
        }
        for (r, acc) in acc.iter().enumerate() {
            for (i, acc) in acc.iter().enumerate() {
                $store($out.add(r * $width + $c + $lanes * i), *acc);
            }
        }
    }};
}

/// Columns from `c` on that fill no register.
macro_rules! column_tail {
    ($r:ident, $c:expr, $p:ident, $stride:ident, $values:ident, $some:ident, $width:ident, $out:ident) => {
        for r in 0..$r {
            for c in $c..$width {
                let mut acc = *$out.add(r * $width + c);
                for j in 0..$some {
                    acc = (*$p.add(r * $stride + j)).mul_add(*$values.add(j * $width + c), acc);
                }
                *$out.add(r * $width + c) = acc;
            }
        }
    };
}

/// `out[r] += Σ_j p[r · stride + j] · value[j]`.
///
/// # Safety
/// AVX2, FMA and F16C; `R` rows of `width` values in `out`, `some <= KEYS` in `values`, a weight for each.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn add_avx2<const R: usize>(
    p: &[f32],
    stride: usize,
    values: *const f32,
    some: usize,
    width: usize,
    out: &mut [f32],
) {
    let (p, out) = (p.as_ptr(), out.as_mut_ptr());
    let zero = _mm256_setzero_ps();
    // SAFETY: columns below `width` of rows that exist.
    unsafe {
        let mut c = 0;
        while c + 16 <= width {
            column_block!(
                8,
                2,
                zero,
                _mm256_loadu_ps,
                _mm256_storeu_ps,
                _mm256_set1_ps,
                _mm256_fmadd_ps,
                R,
                c,
                p,
                stride,
                values,
                some,
                width,
                out
            );
            c += 16;
        }
        while c + 8 <= width {
            column_block!(
                8,
                1,
                zero,
                _mm256_loadu_ps,
                _mm256_storeu_ps,
                _mm256_set1_ps,
                _mm256_fmadd_ps,
                R,
                c,
                p,
                stride,
                values,
                some,
                width,
                out
            );
            c += 8;
        }
        column_tail!(R, c, p, stride, values, some, width, out);
    }
}

/// As [`add_avx2`].
///
/// # Safety
/// As there, and AVX-512 F.
#[target_feature(enable = "avx512f,avx2,fma,f16c")]
unsafe fn add_avx512<const R: usize>(
    p: &[f32],
    stride: usize,
    values: *const f32,
    some: usize,
    width: usize,
    out: &mut [f32],
) {
    let (p, out) = (p.as_ptr(), out.as_mut_ptr());
    let zero = _mm512_setzero_ps();
    // SAFETY: columns below `width` of rows that exist.
    unsafe {
        let mut c = 0;
        while c + 64 <= width {
            column_block!(
                16,
                4,
                zero,
                _mm512_loadu_ps,
                _mm512_storeu_ps,
                _mm512_set1_ps,
                _mm512_fmadd_ps,
                R,
                c,
                p,
                stride,
                values,
                some,
                width,
                out
            );
            c += 64;
        }
        while c + 16 <= width {
            column_block!(
                16,
                1,
                zero,
                _mm512_loadu_ps,
                _mm512_storeu_ps,
                _mm512_set1_ps,
                _mm512_fmadd_ps,
                R,
                c,
                p,
                stride,
                values,
                some,
                width,
                out
            );
            c += 16;
        }
        column_tail!(R, c, p, stride, values, some, width, out);
    }
}
