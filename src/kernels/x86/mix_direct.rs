//! Mixes straight from the cache: value rows come to single precision in registers. The order of every product and sum is
//! `scalar`'s, so the sets agree to the bit.

use std::arch::x86_64::*;

use super::super::{Ahead, KV_BLOCK, KvRows};
use super::common::{ask, next};
use super::mix::{KEYS, WIDEST};

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

/// AVX2's set has no direct way from half precision: registers are too few.
///
/// # Safety
/// None is needed.
pub(super) unsafe fn no_mix(_: &[f32], _: usize, _: KvRows<'_>, _: (usize, Ahead), _: usize, _: &mut [f32]) -> bool {
    false
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
    /// Asks for what lies in `ahead` where `columns` columns from `c` on of row `row` lie here.
    fn ask(self, ahead: Ahead, row: usize, c: usize, columns: usize);
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
    fn ask(self, ahead: Ahead, row: usize, c: usize, columns: usize) {
        let next = next(self.0.as_ptr(), ahead);
        (0..columns).step_by(32).for_each(|i| ask(next, row * self.1 + c + i));
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
    fn ask(self, ahead: Ahead, row: usize, c: usize, columns: usize) {
        let next = next(self.0.as_ptr(), ahead);
        (0..columns).step_by(64).for_each(|i| ask(next, row * self.2 + c + i));
    }
}

/// `Kernels::attn_mix` from rows of whole registers in half precision or eight bits; says whether they were.
///
/// # Safety
/// AVX-512 F and what AVX2's set needs; `mix_shape` has checked the lengths and gave `n`; `width <= WIDEST`.
#[target_feature(enable = "avx512f,avx2,fma,f16c")]
pub(super) unsafe fn mix_avx512(
    p: &[f32],
    stride: usize,
    values: KvRows<'_>,
    (n, ahead): (usize, Ahead),
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
                KvRows::F16(x) => by_rows!(some, mix_rows(p, stride, Halves(x, width), (n, ahead), width, out)),
                KvRows::Q8 { q, scales } => {
                    by_rows!(some, mix_rows(p, stride, Bytes(q, scales, width), (n, ahead), width, out))
                }
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
    (n, ahead): (usize, Ahead),
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
                columns::<R, 4>(p, stride, values, (first, some, ahead), c, width, out, &singles);
                c += 64;
            }
            while c < width {
                columns::<R, 1>(p, stride, values, (first, some, ahead), c, width, out, &singles);
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
    (first, some, ahead): (usize, usize, Ahead),
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
            values.ask(ahead, first + j, c, 16 * C);
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
