//! Single precision with AVX-512: matmul over single and half precision, two panels (sixteen rows) by twelve tokens, and
//! exponentials. Every sum keeps the order of the other sets.

use std::arch::x86_64::*;

use super::super::{ActRows, Panels};
use super::common;
use crate::quant::BlockType;
use crate::weights::layout::PANEL_ROWS;

/// `out` is `(panels, tokens, 8)`; the shapes were checked by `matmul_shape`.
pub(super) fn matmul(w: Panels<'_>, x: ActRows<'_>, out: &mut [f32]) {
    let (tokens, cols) = (x.tokens(), w.cols);
    if tokens < 2 {
        return common::matmul_float(w, x, out);
    }
    let size = w.bytes.len() / (out.len() / (tokens * PANEL_ROWS)).max(1);
    for (bytes, out) in w.bytes.chunks(2 * size).zip(out.chunks_mut(2 * tokens * PANEL_ROWS)) {
        if bytes.len() == size {
            common::matmul_float(Panels { bytes, ..w }, x, out);
            continue;
        }
        let (a, b) = bytes.split_at(size);
        let mut t = 0;
        while t < tokens {
            // SAFETY: the set's features as its constructor found; two whole panels, and the tile's tokens exist.
            t += unsafe {
                match tokens - t {
                    12.. => tile::<12>(w.ty, a, b, cols, &x.values()[t * cols..], t, out),
                    8.. => tile::<8>(w.ty, a, b, cols, &x.values()[t * cols..], t, out),
                    4.. => tile::<4>(w.ty, a, b, cols, &x.values()[t * cols..], t, out),
                    2.. => tile::<2>(w.ty, a, b, cols, &x.values()[t * cols..], t, out),
                    _ => tile::<1>(w.ty, a, b, cols, &x.values()[t * cols..], t, out),
                }
            };
        }
    }
}

/// Two panels times `N` tokens; `x` begins with the first of them, `out` is `(2, tokens, 8)`. Returns `N`.
///
/// # Safety
/// AVX-512 F, AVX2, FMA and F16C; panels of `cols` columns of type `ty`; `N` rows of `cols` values; tokens from `t` on in `out`.
#[target_feature(enable = "avx512f,avx2,fma,f16c")]
unsafe fn tile<const N: usize>(
    ty: BlockType,
    a: &[u8],
    b: &[u8],
    cols: usize,
    x: &[f32],
    t: usize,
    out: &mut [f32],
) -> usize {
    let (a, b, x) = (a.as_ptr(), b.as_ptr(), x.as_ptr());
    let wide = |low: __m256i, high: __m256i| _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
    let mut acc = [_mm512_setzero_ps(); N];
    // SAFETY: column `k` of each panel, value `k` of each row.
    unsafe {
        macro_rules! columns {
            ($k:ident, $weights:expr) => {
                for $k in 0..cols {
                    let w: __m512 = $weights;
                    for (i, acc) in acc.iter_mut().enumerate() {
                        *acc = _mm512_fmadd_ps(w, _mm512_set1_ps(*x.add(i * cols + $k)), *acc);
                    }
                }
            };
        }
        let halves =
            |k: usize| _mm256_set_m128i(_mm_loadu_si128(b.add(16 * k).cast()), _mm_loadu_si128(a.add(16 * k).cast()));
        match ty {
            BlockType::F32 => columns!(k, {
                let (low, high) = (_mm256_loadu_si256(a.add(32 * k).cast()), _mm256_loadu_si256(b.add(32 * k).cast()));
                _mm512_castsi512_ps(wide(low, high))
            }),
            BlockType::F16 => columns!(k, _mm512_cvtph_ps(halves(k))),
            _ => columns!(k, _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves(k)), 16))),
        }
    }
    let (first, second) = out.split_at_mut(out.len() / 2);
    for (i, acc) in acc.iter().enumerate() {
        let at = (t + i) * PANEL_ROWS;
        let (low, high) = (&mut first[at..at + PANEL_ROWS], &mut second[at..at + PANEL_ROWS]);
        let upper = _mm512_extractf64x4_pd(_mm512_castps_pd(*acc), 1);
        // SAFETY: eight values each.
        unsafe {
            _mm256_storeu_ps(low.as_mut_ptr(), _mm512_castps512_ps256(*acc));
            _mm256_storeu_ps(high.as_mut_ptr(), _mm256_castpd_ps(upper));
        }
    }
    N
}

/// `scalar::exp` on sixteen lanes.
#[inline]
#[target_feature(enable = "avx512f,avx2,fma,f16c")]
fn exp(x: __m512) -> __m512 {
    // With a NaN in the second operand these two give the NaN back.
    let x = _mm512_min_ps(_mm512_set1_ps(88.0), _mm512_max_ps(_mm512_set1_ps(-87.0), x));
    let n = _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(_mm512_mul_ps(
        x,
        _mm512_set1_ps(std::f32::consts::LOG2_E),
    ));
    let r = _mm512_fmadd_ps(n, _mm512_set1_ps(-0.693_359_4), x);
    let r = _mm512_fmadd_ps(n, _mm512_set1_ps(2.121_944_4e-4), r);
    let mut p = _mm512_set1_ps(1.388_888_9e-3);
    for c in [8.333_334e-3, 4.166_666_8e-2, 1.666_666_7e-1, 0.5, 1.0, 1.0] {
        p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(c));
    }
    let power = _mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127)), 23);
    _mm512_mul_ps(p, _mm512_castsi512_ps(power))
}

/// `Kernels::exps`.
pub(super) fn exps(x: &mut [f32]) -> (f32, f32) {
    // SAFETY: the set's features as its constructor found.
    unsafe { exps_avx512(x) }
}

#[target_feature(enable = "avx512f,avx2,fma,f16c")]
unsafe fn exps_avx512(x: &mut [f32]) -> (f32, f32) {
    let (chunks, rest) = x.as_chunks_mut::<16>();
    let some: __mmask16 = (1 << rest.len()) - 1;
    // SAFETY: the lanes of the values that are left.
    let last = unsafe { _mm512_mask_loadu_ps(_mm512_set1_ps(f32::NEG_INFINITY), some, rest.as_ptr()) };
    let mut max = _mm512_max_ps(last, _mm512_set1_ps(f32::NEG_INFINITY));
    for c in chunks.iter() {
        // The second operand where the first is no number: such values are passed over, as `f32::max` does.
        // SAFETY: sixteen values.
        max = _mm512_max_ps(unsafe { _mm512_loadu_ps(c.as_ptr()) }, max);
    }
    let most = _mm512_reduce_max_ps(max);
    let (shift, mut sum) = (_mm512_set1_ps(most), _mm512_setzero_ps());
    for c in chunks {
        // SAFETY: sixteen values.
        unsafe {
            let e = exp(_mm512_sub_ps(_mm512_loadu_ps(c.as_ptr()), shift));
            _mm512_storeu_ps(c.as_mut_ptr(), e);
            sum = _mm512_add_ps(sum, e);
        }
    }
    let e = exp(_mm512_sub_ps(last, shift));
    // SAFETY: as for `last`.
    unsafe { _mm512_mask_storeu_ps(rest.as_mut_ptr(), some, e) };
    // A lane that holds no value adds nothing.
    sum = _mm512_mask_add_ps(sum, some, sum, e);
    let high = _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(sum), 1));
    (most, common::fold(_mm256_add_ps(_mm512_castps512_ps256(sum), high)))
}

/// `Kernels::silu_mul`.
pub(super) fn silu_mul(gate: &mut [f32], up: &[f32], scale: f32) {
    assert_eq!(gate.len(), up.len(), "one up value a gate value");
    // SAFETY: the set's features as its constructor found; equal lengths.
    unsafe { silu_mul_avx512(gate, up, scale) }
}

#[target_feature(enable = "avx512f,avx2,fma,f16c")]
unsafe fn silu_mul_avx512(gate: &mut [f32], up: &[f32], scale: f32) {
    let (s, one) = (_mm512_set1_ps(scale), _mm512_set1_ps(1.0));
    for (g, u) in gate.chunks_mut(16).zip(up.chunks(16)) {
        let some = __mmask16::MAX >> (16 - g.len());
        // SAFETY: the lanes of the values that are there.
        unsafe {
            let x = _mm512_mul_ps(_mm512_maskz_loadu_ps(some, g.as_ptr()), s);
            let up = _mm512_mul_ps(_mm512_maskz_loadu_ps(some, u.as_ptr()), s);
            let minus = _mm512_castsi512_ps(_mm512_xor_si512(_mm512_castps_si512(x), _mm512_set1_epi32(i32::MIN)));
            let silu = _mm512_div_ps(x, _mm512_add_ps(one, exp(minus)));
            _mm512_mask_storeu_ps(g.as_mut_ptr(), some, _mm512_mul_ps(silu, up));
        }
    }
}
