//! What both x86-64 sets share: quantization of activations, norms, exponentials, in AVX2 + FMA + F16C.

use std::arch::x86_64::*;

use super::super::scalar;
use super::super::{Ahead, Pair};

/// Whether the processor has what every function here needs.
pub(super) fn supported() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c")
}

/// What is asked for while the values at `own` are read: what comes next, or where nobody knows, what is being read.
#[inline(always)]
pub(super) fn next<T>(own: *const T, ahead: Ahead) -> *const T {
    ahead.0.map_or(own, |next| next.cast())
}

/// Asks for the line of value `at` behind `next`, only as far as the second-level cache: the first level waits for too few lines
/// at once to keep memory busy.
#[inline(always)]
pub(super) fn ask<T>(next: *const T, at: usize) {
    // SAFETY: asking for a line touches nothing, wherever it lies.
    unsafe { _mm_prefetch::<_MM_HINT_T1>(next.wrapping_add(at).cast()) };
}

/// Asks for a part of the panels behind those at `panels`, in the order of memory, while run `at` of `runs` of their columns is
/// computed: `bytes` are a run's in all panels. A few lines at a time: behind more, what is computed would have to wait.
#[inline(always)]
pub(super) fn ask_group(panels: *const u8, bytes: usize, at: usize, runs: usize) {
    // As many lines for every run, so that no loop is left of this: where runs end within a line, it is asked for twice.
    (0..bytes).step_by(64).for_each(|line| ask(panels, (runs + at) * bytes + line));
}

pub(super) fn quantize(x: &[f32], q: &mut [i8], scales: &mut [f32], sums: &mut [Pair]) {
    assert!(x.len().is_multiple_of(32) && q.len() == x.len(), "blocks of 32");
    assert!(scales.len() == x.len() / 32 && sums.len() == x.len() / 16, "one scale and two sums a block");
    // SAFETY: this table is only handed out when the processor has AVX2; the lengths were checked.
    unsafe { quantize_avx2(x, q, scales, sums) }
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn quantize_avx2(x: &[f32], q: &mut [i8], scales: &mut [f32], sums: &mut [Pair]) {
    let positive = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fff_ffff));
    let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    for b in 0..scales.len() {
        // SAFETY: block `b` of each slice exists.
        unsafe {
            let v: [__m256; 4] = std::array::from_fn(|i| _mm256_loadu_ps(x.as_ptr().add(32 * b + 8 * i)));
            let abs = v.map(|v| _mm256_and_ps(v, positive));
            let strange = v.map(|v| _mm256_cmp_ps::<_CMP_UNORD_Q>(v, v));
            let strange = _mm256_or_ps(_mm256_or_ps(strange[0], strange[1]), _mm256_or_ps(strange[2], strange[3]));
            let max = _mm256_max_ps(_mm256_max_ps(abs[0], abs[1]), _mm256_max_ps(abs[2], abs[3]));
            let max = _mm_max_ps(_mm256_castps256_ps128(max), _mm256_extractf128_ps(max, 1));
            let max = _mm_max_ps(max, _mm_movehl_ps(max, max));
            let max = _mm_cvtss_f32(_mm_max_ss(max, _mm_movehdup_ps(max)));
            // Below 3.7e-37 the inverse is infinite: there too the scalar set says what comes out.
            let endless = max > 0.0 && !(127.0 / max).is_finite();
            if !max.is_finite() || endless || _mm256_movemask_ps(strange) != 0 {
                scalar::quantize(
                    &x[32 * b..][..32],
                    &mut q[32 * b..][..32],
                    &mut scales[b..=b],
                    &mut sums[2 * b..][..2],
                );
                continue;
            }
            let inverse = _mm256_set1_ps(if max > 0.0 { 127.0 / max } else { 0.0 });
            scales[b] = max / 127.0;
            let r = v.map(|v| _mm256_cvtps_epi32(_mm256_mul_ps(v, inverse)));
            let halves = _mm256_packs_epi16(_mm256_packs_epi32(r[0], r[1]), _mm256_packs_epi32(r[2], r[3]));
            _mm256_storeu_si256(q.as_mut_ptr().add(32 * b).cast(), _mm256_permutevar8x32_epi32(halves, order));
            // Of each half what stands at one place of the quads, then places two by two.
            let places = [_mm256_add_epi32(r[0], r[1]), _mm256_add_epi32(r[2], r[3])]
                .map(|s| _mm_add_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1)));
            let pairs = _mm_hadd_epi32(places[0], places[1]);
            _mm_storel_epi64(sums.as_mut_ptr().add(2 * b).cast(), _mm_packs_epi32(pairs, pairs));
        }
    }
}

/// Sums eight lanes in the scalar set's order.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn fold(v: __m256) -> f32 {
    let v = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    let v = _mm_add_ps(v, _mm_movehl_ps(v, v));
    _mm_cvtss_f32(_mm_add_ss(v, _mm_movehdup_ps(v)))
}

/// Up to eight values, the missing ones `fill`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn tail(x: &[f32], fill: f32) -> __m256 {
    let mut lanes = [fill; 8];
    lanes[..x.len()].copy_from_slice(x);
    // SAFETY: eight values.
    unsafe { _mm256_loadu_ps(lanes.as_ptr()) }
}

pub(super) fn rms_norm(x: &[f32], w: Option<&[f32]>, eps: f32, out: &mut [f32]) {
    assert!(out.len() == x.len() && w.is_none_or(|w| w.len() == x.len()), "one weight and one output a value");
    // SAFETY: AVX2 as this table's constructor found.
    unsafe {
        let factor = 1.0 / (squares(x) / x.len() as f32 + eps).sqrt();
        scaled(x, w, factor, out);
    }
}

/// Plain loops, which the compiler makes vectors of.
#[target_feature(enable = "avx2,fma,f16c")]
fn scaled(x: &[f32], w: Option<&[f32]>, factor: f32, out: &mut [f32]) {
    match w {
        Some(w) => out.iter_mut().zip(x).zip(w).for_each(|((o, x), w)| *o = x * factor * w),
        None => out.iter_mut().zip(x).for_each(|(o, x)| *o = x * factor),
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn squares(x: &[f32]) -> f32 {
    let mut acc = _mm256_setzero_ps();
    let chunks = x.chunks_exact(8);
    let rest = tail(chunks.remainder(), 0.0);
    for c in chunks {
        // SAFETY: `c` is eight values.
        let v = unsafe { _mm256_loadu_ps(c.as_ptr()) };
        acc = _mm256_fmadd_ps(v, v, acc);
    }
    fold(_mm256_fmadd_ps(rest, rest, acc))
}

/// `scalar::exp` on eight lanes.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn exp(x: __m256) -> __m256 {
    // With a NaN in the second operand these two give the NaN back.
    let x = _mm256_min_ps(_mm256_set1_ps(88.0), _mm256_max_ps(_mm256_set1_ps(-87.0), x));
    let n = _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(_mm256_mul_ps(
        x,
        _mm256_set1_ps(std::f32::consts::LOG2_E),
    ));
    let r = _mm256_fmadd_ps(n, _mm256_set1_ps(-0.693_359_4), x);
    let r = _mm256_fmadd_ps(n, _mm256_set1_ps(2.121_944_4e-4), r);
    let mut p = _mm256_set1_ps(1.388_888_9e-3);
    for c in [8.333_334e-3, 4.166_666_8e-2, 1.666_666_7e-1, 0.5, 1.0, 1.0] {
        p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(c));
    }
    let power = _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
    _mm256_mul_ps(p, _mm256_castsi256_ps(power))
}

pub(super) fn silu_mul(gate: &mut [f32], up: &[f32], scale: f32) {
    assert_eq!(gate.len(), up.len(), "one up value a gate value");
    // SAFETY: AVX2 as this table's constructor found; equal lengths.
    unsafe { silu_mul_avx2(gate, up, scale) }
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn silu_mul_avx2(gate: &mut [f32], up: &[f32], scale: f32) {
    let s = _mm256_set1_ps(scale);
    let product = |g: __m256, u: __m256| {
        let x = _mm256_mul_ps(g, s);
        let minus = _mm256_xor_ps(x, _mm256_set1_ps(-0.0));
        let silu = _mm256_div_ps(x, _mm256_add_ps(_mm256_set1_ps(1.0), exp(minus)));
        _mm256_mul_ps(silu, _mm256_mul_ps(u, s))
    };
    let (gates, rest) = gate.as_chunks_mut::<8>();
    let (ups, last) = up.as_chunks::<8>();
    for (g, u) in gates.iter_mut().zip(ups) {
        // SAFETY: eight values each.
        unsafe { _mm256_storeu_ps(g.as_mut_ptr(), product(_mm256_loadu_ps(g.as_ptr()), _mm256_loadu_ps(u.as_ptr()))) };
    }
    store_some(product(tail(rest, 0.0), tail(last, 0.0)), rest);
}

/// The first lanes of `v` to up to eight values.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn store_some(v: __m256, out: &mut [f32]) {
    let mut lanes = [0.0f32; 8];
    // SAFETY: eight values.
    unsafe { _mm256_storeu_ps(lanes.as_mut_ptr(), v) };
    let n = out.len();
    out.copy_from_slice(&lanes[..n]);
}

pub(super) fn add(acc: &mut [f32], x: &[f32]) {
    assert_eq!(acc.len(), x.len(), "one addend a value");
    // SAFETY: AVX2 as this table's constructor found.
    unsafe { add_avx2(acc, x) }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn add_avx2(acc: &mut [f32], x: &[f32]) {
    acc.iter_mut().zip(x).for_each(|(a, x)| *a += x);
}

pub(super) fn exps(x: &mut [f32]) -> (f32, f32) {
    // SAFETY: AVX2 as this table's constructor found.
    unsafe { exps_avx2(x) }
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn exps_avx2(x: &mut [f32]) -> (f32, f32) {
    let (chunks, rest) = x.as_chunks_mut::<8>();
    let mut max = tail(rest, f32::NEG_INFINITY);
    for c in chunks.iter() {
        // The second operand where the first is no number: such values are passed over, as `f32::max` does.
        // SAFETY: eight values.
        max = _mm256_max_ps(unsafe { _mm256_loadu_ps(c.as_ptr()) }, max);
    }
    let mut eight = [0.0f32; 8];
    store_some(max, &mut eight);
    let max = eight.iter().fold(f32::NEG_INFINITY, |m, v| m.max(*v));
    let shift = _mm256_set1_ps(max);
    // Chunks go to the two sums in turn: the next one's is always the first of the pair.
    let mut sums = [_mm256_setzero_ps(); 2];
    for c in chunks {
        // SAFETY: eight values.
        unsafe {
            let e = exp(_mm256_sub_ps(_mm256_loadu_ps(c.as_ptr()), shift));
            _mm256_storeu_ps(c.as_mut_ptr(), e);
            sums[0] = _mm256_add_ps(sums[0], e);
        }
        sums.swap(0, 1);
    }
    store_some(exp(_mm256_sub_ps(tail(rest, f32::NEG_INFINITY), shift)), rest);
    // A lane that holds no value adds nothing.
    sums[0] = _mm256_add_ps(sums[0], tail(rest, 0.0));
    (max, fold(_mm256_add_ps(sums[0], sums[1])))
}
