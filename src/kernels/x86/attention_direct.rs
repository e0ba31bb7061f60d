//! Attention straight from the cache: half-precision rows come to single precision in registers, and eight-bit keys meet
//! eight-bit queries as whole numbers. The order of every product and sum is `scalar`'s, so the sets agree to the bit.

use std::arch::x86_64::*;

use super::super::{ByteQueries, KV_BLOCK, KvRows};
use super::attention::{KEYS, QUAD, WIDEST, fold_quad, put, put_scores};

/// Pairs of keys in four registers.
const PAIRS: usize = KEYS / 2;
/// Blocks in the widest row.
const BLOCKS: usize = WIDEST / KV_BLOCK;
/// Value rows that go by while the sums stay in registers.
const MIXED: usize = 4 * KEYS;

/// Calls `$f::<R>` with the constant that `$n` is.
macro_rules! by_rows {
    ($n:expr, $f:ident $args:tt) => {
        match $n {
            5 => $f::<5> $args,
            4 => $f::<4> $args,
            3 => $f::<3> $args,
            2 => $f::<2> $args,
            _ => $f::<1> $args,
        }
    };
}

/// Query rows that share a pass over the cache: five where they come in fives, as in Llama 4's groups.
fn rows_at_once(rows: usize) -> usize {
    if rows.is_multiple_of(5) { 5 } else { 4 }
}

/// Scales of rows of eight-bit values in single precision, `(rows, blocks)`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn single_scales(scales: &[u16], out: &mut [f32]) {
    let mut at = 0;
    while let (Some(eight), Some(out)) = (scales.get(at..at + 8), out.get_mut(at..at + 8)) {
        // SAFETY: eight values each.
        unsafe { _mm256_storeu_ps(out.as_mut_ptr(), _mm256_cvtph_ps(_mm_loadu_si128(eight.as_ptr().cast()))) };
        at += 8;
    }
    for (out, bits) in out[at..].iter_mut().zip(&scales[at..]) {
        *out = half::f16::from_bits(*bits).to_f32();
    }
}

/// `Kernels::attn_scores` from half-precision rows of whole eights; says whether they were.
///
/// # Safety
/// AVX-512 F and what AVX2's set needs; `attn_shape` has checked the lengths and gave `n`; `width <= WIDEST`.
#[target_feature(enable = "avx512f,avx2,fma,f16c")]
pub(super) unsafe fn half_scores_avx512(
    q: &[f32],
    width: usize,
    keys: KvRows<'_>,
    n: usize,
    scores: &mut [f32],
    stride: usize,
) -> bool {
    let KvRows::F16(keys) = keys else { return false };
    if !width.is_multiple_of(8) {
        return false;
    }
    let at_once = rows_at_once(q.len() / width);
    for (q, scores) in q.chunks(at_once * width).zip(scores.chunks_mut(at_once * stride)) {
        // SAFETY: the caller's promises, for fewer rows.
        unsafe { by_rows!(q.len() / width, half_scores(q, width, keys, n, scores, stride)) };
    }
    true
}

/// `Kernels::attn_scores_q8`.
///
/// # Safety
/// AVX-512 F, BW, VNNI and what AVX2's set needs; `q8_shape` has checked the lengths and gave `n`; `width <= WIDEST`.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni,avx2,fma,f16c")]
pub(super) unsafe fn byte_scores_avx512(
    q: ByteQueries<'_>,
    keys: &[i8],
    scales: &[u16],
    n: usize,
    scores: &mut [f32],
    stride: usize,
) {
    let at_once = rows_at_once(q.rows());
    for first in (0..q.rows()).step_by(at_once) {
        let some = at_once.min(q.rows() - first);
        let (q, scores) = (q.part(first, some), &mut scores[first * stride..]);
        // SAFETY: the caller's promises, for fewer rows.
        unsafe { by_rows!(some, byte_scores(q, keys, scales, n, scores, stride)) };
    }
}

/// # Safety
/// As [`byte_scores_avx512`]; `R` query rows, `n` keys.
#[target_feature(enable = "avx512f,avx2,fma,f16c")]
unsafe fn half_scores<const R: usize>(
    q: &[f32],
    width: usize,
    keys: &[u16],
    n: usize,
    scores: &mut [f32],
    stride: usize,
) {
    let q = q.as_ptr();
    for first in (0..n).step_by(KEYS) {
        let some = KEYS.min(n - first);
        let mut acc = [[_mm512_setzero_ps(); PAIRS]; R];
        // SAFETY: keys past the last are the last one again; eight columns at a time of rows of whole eights.
        unsafe {
            let row = |j: usize| keys.as_ptr().add((first + j.min(some - 1)) * width);
            let rows = [(row(0), row(4)), (row(1), row(5)), (row(2), row(6)), (row(3), row(7))];
            for c in (0..width).step_by(8) {
                ask_ahead(keys.as_ptr().wrapping_add(first * width + KEYS * c), KEYS * 8);
                let mut k = [_mm512_setzero_ps(); PAIRS];
                for ((low, high), k) in rows.iter().zip(&mut k) {
                    let low = _mm256_castsi128_si256(_mm_loadu_si128(low.add(c).cast()));
                    *k = _mm512_cvtph_ps(_mm256_inserti128_si256(low, _mm_loadu_si128(high.add(c).cast()), 1));
                }
                for (r, acc) in acc.iter_mut().enumerate() {
                    let q = _mm512_castpd_ps(_mm512_broadcast_f64x4(_mm256_loadu_pd(q.add(r * width + c).cast())));
                    for (k, acc) in k.iter().zip(acc) {
                        *acc = _mm512_fmadd_ps(q, *k, *acc);
                    }
                }
            }
        }
        put_scores(&acc, scores, stride, (first, some));
    }
}

/// The instruction multiplies unsigned by signed bytes: keys are moved up by 128, and each lane starts with what that adds.
///
/// # Safety
/// As [`byte_scores_avx512`]; `R` query rows, `n` keys.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni,avx2,fma,f16c")]
unsafe fn byte_scores<const R: usize>(
    q: ByteQueries<'_>,
    keys: &[i8],
    scales: &[u16],
    n: usize,
    scores: &mut [f32],
    stride: usize,
) {
    let (width, blocks) = (q.width, q.width / KV_BLOCK);
    let up = _mm512_set1_epi8(-128);
    let mut start = [[_mm256_setzero_si256(); BLOCKS]; R];
    for (r, start) in start.iter_mut().enumerate() {
        for (b, start) in start.iter_mut().enumerate().take(blocks) {
            // SAFETY: block `b` of row `r`.
            let q = unsafe { _mm256_loadu_si256(q.q.as_ptr().add(r * width + b * KV_BLOCK).cast()) };
            let sums = _mm512_dpbusd_epi32(_mm512_setzero_si512(), up, _mm512_castsi256_si512(q));
            *start = _mm256_sub_epi32(_mm256_setzero_si256(), _mm512_castsi512_si256(sums));
        }
    }
    let mut singles = [0.0f32; KEYS * BLOCKS];
    for first in (0..n).step_by(KEYS) {
        let some = KEYS.min(n - first);
        single_scales(&scales[first * blocks..(first + some) * blocks], &mut singles);
        let mut acc = [[_mm512_setzero_ps(); PAIRS]; R];
        // SAFETY: keys past the last are the last one again; whole blocks of rows that exist.
        unsafe {
            let last = |j: usize| j.min(some - 1);
            let row = |j: usize| keys.as_ptr().add((first + last(j)) * width);
            for b in 0..blocks {
                let c = b * KV_BLOCK;
                ask_ahead(keys.as_ptr().wrapping_add(first * width + KEYS * c), KEYS * KV_BLOCK);
                let (mut k, mut scale) = ([_mm512_setzero_si512(); PAIRS], [_mm512_setzero_ps(); PAIRS]);
                for (j, (k, scale)) in k.iter_mut().zip(&mut scale).enumerate() {
                    let low = _mm512_castsi256_si512(_mm256_loadu_si256(row(j).add(c).cast()));
                    let high = _mm256_loadu_si256(row(j + PAIRS).add(c).cast());
                    *k = _mm512_xor_si512(_mm512_inserti64x4(low, high, 1), up);
                    let one = |j: usize| _mm_load_ss(singles.as_ptr().add(last(j) * blocks + b));
                    *scale = _mm512_mask_broadcastss_ps(_mm512_broadcastss_ps(one(j)), 0xff00, one(j + PAIRS));
                }
                for (r, acc) in acc.iter_mut().enumerate() {
                    let eight = _mm256_loadu_si256(q.q.as_ptr().add(r * width + c).cast());
                    let (eight, start) = (_mm512_broadcast_i64x4(eight), _mm512_broadcast_i64x4(start[r][b]));
                    let own = _mm512_set1_ps(*q.scales.as_ptr().add(r * blocks + b));
                    for ((k, scale), acc) in k.iter().zip(&scale).zip(acc) {
                        let dots = _mm512_cvtepi32_ps(_mm512_dpbusd_epi32(start, *k, eight));
                        *acc = _mm512_fmadd_ps(dots, _mm512_mul_ps(*scale, own), *acc);
                    }
                }
            }
        }
        put_scores(&acc, scores, stride, (first, some));
    }
}

/// As [`byte_scores_avx512`].
///
/// # Safety
/// AVX2, FMA and F16C; otherwise as there.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn byte_scores_avx2(
    q: ByteQueries<'_>,
    keys: &[i8],
    scales: &[u16],
    n: usize,
    scores: &mut [f32],
    stride: usize,
) {
    let (width, blocks, ones) = (q.width, q.width / KV_BLOCK, _mm256_set1_epi16(1));
    let mut singles = [0.0f32; KEYS * BLOCKS];
    for first in (0..n).step_by(QUAD) {
        let some = QUAD.min(n - first);
        single_scales(&scales[first * blocks..(first + some) * blocks], &mut singles);
        for r in 0..q.rows() {
            let mut acc = [_mm256_setzero_ps(); QUAD];
            // SAFETY: keys past the last are the last one again; whole blocks of rows that exist.
            unsafe {
                for b in 0..blocks {
                    let own = _mm256_loadu_si256(q.q.as_ptr().add(r * width + b * KV_BLOCK).cast());
                    let (size, scale) = (_mm256_abs_epi8(own), *q.scales.as_ptr().add(r * blocks + b));
                    for (j, acc) in acc.iter_mut().enumerate() {
                        let j = j.min(some - 1);
                        let k = _mm256_loadu_si256(keys.as_ptr().add((first + j) * width + b * KV_BLOCK).cast());
                        // Bytes lie in −127 … 127, so that two products fit sixteen bits.
                        let twos = _mm256_maddubs_epi16(size, _mm256_sign_epi8(k, own));
                        let dots = _mm256_cvtepi32_ps(_mm256_madd_epi16(twos, ones));
                        let scale = _mm256_set1_ps(*singles.as_ptr().add(j * blocks + b) * scale);
                        *acc = _mm256_fmadd_ps(dots, scale, *acc);
                    }
                }
            }
            put(&fold_quad(acc), &mut scores[r * stride + first..], some);
        }
    }
}

/// AVX2's set has no direct way from half precision: registers are too few.
///
/// # Safety
/// None is needed.
pub(super) unsafe fn no_scores(_: &[f32], _: usize, _: KvRows<'_>, _: usize, _: &mut [f32], _: usize) -> bool {
    false
}

/// As [`no_scores`].
///
/// # Safety
/// None is needed.
pub(super) unsafe fn no_mix(_: &[f32], _: usize, _: KvRows<'_>, _: usize, _: usize, _: &mut [f32]) -> bool {
    false
}

/// Bytes between what is read and what is asked for. Keys are read eight rows at a time, in steps that the processor does not
/// foresee; and what comes after a head's rows in a page are the next head's, which are read next. A few lines at a time, and
/// only as far as the second-level cache: the first level waits for too few lines at once to keep memory busy.
const AHEAD: usize = 4096;

/// Asks for what lies [`AHEAD`] bytes behind `values` values from `at` on.
#[inline(always)]
fn ask_ahead<T>(at: *const T, values: usize) {
    for line in (0..values * size_of::<T>()).step_by(64) {
        // SAFETY: asking for a line touches nothing, wherever it lies.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast::<i8>().wrapping_add(AHEAD + line)) };
    }
}

/// How sixteen columns of a row come to single precision.
trait Sixteen: Copy {
    /// Makes ready `MIXED` rows, or as many as there are, from row `first` on.
    ///
    /// # Safety
    /// AVX-512 F; `n <= MIXED` such rows exist.
    unsafe fn ready(self, first: usize, n: usize, singles: &mut [f32; MIXED * BLOCKS]);
    /// Columns `c … c + 16` of row `first + j`.
    ///
    /// # Safety
    /// AVX-512 F; [`Sixteen::ready`] was called for `first`; the columns exist.
    unsafe fn at(self, first: usize, j: usize, c: usize, singles: &[f32; MIXED * BLOCKS]) -> __m512;
    /// Asks for `columns` columns from `c` on of a row behind row `row`.
    fn ask(self, row: usize, c: usize, columns: usize);
}

#[derive(Clone, Copy)]
struct Halves<'a>(&'a [u16], usize);

impl Sixteen for Halves<'_> {
    #[inline]
    #[target_feature(enable = "avx512f,avx2,fma,f16c")]
    unsafe fn ready(self, _: usize, _: usize, _: &mut [f32; MIXED * BLOCKS]) {}

    #[inline]
    #[target_feature(enable = "avx512f,avx2,fma,f16c")]
    unsafe fn at(self, first: usize, j: usize, c: usize, _: &[f32; MIXED * BLOCKS]) -> __m512 {
        // SAFETY: the caller's promise.
        _mm512_cvtph_ps(unsafe { _mm256_loadu_si256(self.0.as_ptr().add((first + j) * self.1 + c).cast()) })
    }

    #[inline(always)]
    fn ask(self, row: usize, c: usize, columns: usize) {
        ask_ahead(self.0.as_ptr().wrapping_add(row * self.1 + c), columns);
    }
}

#[derive(Clone, Copy)]
struct Bytes<'a>(&'a [i8], &'a [u16], usize);

impl Sixteen for Bytes<'_> {
    #[inline]
    #[target_feature(enable = "avx512f,avx2,fma,f16c")]
    unsafe fn ready(self, first: usize, n: usize, singles: &mut [f32; MIXED * BLOCKS]) {
        let blocks = self.2 / KV_BLOCK;
        single_scales(&self.1[first * blocks..(first + n) * blocks], singles);
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx2,fma,f16c")]
    unsafe fn at(self, first: usize, j: usize, c: usize, singles: &[f32; MIXED * BLOCKS]) -> __m512 {
        // SAFETY: the caller's promise; a scale for every block of the row.
        let (bytes, scale) = unsafe {
            let bytes = _mm_loadu_si128(self.0.as_ptr().add((first + j) * self.2 + c).cast());
            (bytes, *singles.as_ptr().add(j * (self.2 / KV_BLOCK) + c / KV_BLOCK))
        };
        _mm512_mul_ps(_mm512_set1_ps(scale), _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes)))
    }

    #[inline(always)]
    fn ask(self, row: usize, c: usize, columns: usize) {
        ask_ahead(self.0.as_ptr().wrapping_add(row * self.2 + c), columns);
    }
}

/// `Kernels::attn_mix` from rows of whole registers in half precision or eight bits; says whether they were.
///
/// # Safety
/// AVX-512 F and what AVX2's set needs; `attn_shape` has checked the lengths and gave `n`; `width <= WIDEST`.
#[target_feature(enable = "avx512f,avx2,fma,f16c")]
pub(super) unsafe fn mix_avx512(
    p: &[f32],
    stride: usize,
    values: KvRows<'_>,
    n: usize,
    width: usize,
    out: &mut [f32],
) -> bool {
    if !width.is_multiple_of(16) {
        return false;
    }
    let at_once = rows_at_once(out.len() / width);
    for (r, out) in out.chunks_mut(at_once * width).enumerate() {
        let (p, some) = (&p[r * at_once * stride..], out.len() / width);
        // SAFETY: the caller's promises, for fewer rows.
        unsafe {
            match values {
                KvRows::F16(x) => by_rows!(some, mix_rows(p, stride, Halves(x, width), n, width, out)),
                KvRows::Q8 { q, scales } => by_rows!(some, mix_rows(p, stride, Bytes(q, scales, width), n, width, out)),
                KvRows::F32(_) => return false,
            }
        }
    }
    true
}

/// # Safety
/// As [`mix_avx512`]; `R` rows in `out`.
#[target_feature(enable = "avx512f,avx2,fma,f16c")]
unsafe fn mix_rows<const R: usize>(
    p: &[f32],
    stride: usize,
    values: impl Sixteen,
    n: usize,
    width: usize,
    out: &mut [f32],
) {
    let mut singles = [0.0f32; MIXED * BLOCKS];
    for first in (0..n).step_by(MIXED) {
        let some = MIXED.min(n - first);
        // SAFETY: these rows exist; sixteen columns at a time of rows of whole sixteens; a weight for every row.
        unsafe {
            values.ready(first, some, &mut singles);
            let mut c = 0;
            while c + 64 <= width {
                columns::<R, 4>(p, stride, values, (first, some), c, width, out, &singles);
                c += 64;
            }
            while c < width {
                columns::<R, 1>(p, stride, values, (first, some), c, width, out, &singles);
                c += 16;
            }
        }
    }
}

/// `16 C` columns from column `c` on, position after position.
///
/// # Safety
/// As [`mix_rows`], for `some` rows from `first` on.
#[inline]
#[target_feature(enable = "avx512f,avx2,fma,f16c")]
#[expect(clippy::too_many_arguments, reason = "the arguments of the pass and which part of it")]
unsafe fn columns<const R: usize, const C: usize>(
    p: &[f32],
    stride: usize,
    values: impl Sixteen,
    (first, some): (usize, usize),
    c: usize,
    width: usize,
    out: &mut [f32],
    singles: &[f32; MIXED * BLOCKS],
) {
    let (p, out) = (p.as_ptr(), out.as_mut_ptr());
    // SAFETY: the caller's promises.
    unsafe {
        let mut acc = [[_mm512_setzero_ps(); C]; R];
        for (r, acc) in acc.iter_mut().enumerate() {
            for (i, acc) in acc.iter_mut().enumerate() {
                *acc = _mm512_loadu_ps(out.add(r * width + c + 16 * i));
            }
        }
        for j in 0..some {
            values.ask(first + j, c, 16 * C);
            let mut v = [_mm512_setzero_ps(); C];
            for (i, v) in v.iter_mut().enumerate() {
                *v = values.at(first, j, c + 16 * i, singles);
            }
            for (r, acc) in acc.iter_mut().enumerate() {
                let p = _mm512_set1_ps(*p.add(r * stride + first + j));
                for (v, acc) in v.iter().zip(acc) {
                    *acc = _mm512_fmadd_ps(p, *v, *acc);
                }
            }
        }
        for (r, acc) in acc.iter().enumerate() {
            for (i, acc) in acc.iter().enumerate() {
                _mm512_storeu_ps(out.add(r * width + c + 16 * i), *acc);
            }
        }
    }
}
