//! Exponentials and what is made of them with AVX-512. Every sum keeps the order of the other sets.

use std::arch::x86_64::*;

use super::common;

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
