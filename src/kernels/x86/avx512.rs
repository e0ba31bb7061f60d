//! AVX-512 with VNNI: two panels (sixteen rows) at a time, eight tokens a tile. Same integers and same roundings as AVX2.

use std::arch::x86_64::*;

use super::super::scalar::matmul_shape;
use super::super::{Acts, Kernels, Panels};
use super::avx2::{self, Rows};
use super::avx512;
use super::{attention, common, decoded, pairs};
use crate::quant::{BlockType, runs};
use crate::weights::layout::{PANEL_ROWS, panel_block};

/// The set, when the processor has AVX-512 F, BW, VL and VNNI.
pub(in super::super) fn kernels() -> Option<Kernels> {
    let wide = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512vnni");
    let base = avx2::kernels()?;
    wide.then_some(Kernels {
        name: "avx512vnni",
        matmul,
        attn_scores: attention::attn_scores_avx512,
        attn_mix: attention::attn_mix_avx512,
        ..base
    })
}

/// Tokens whose activations stay in the second-level cache while panels go by.
const TOKEN_BLOCK: usize = 64;

fn matmul(w: Panels<'_>, x: &Acts, out: &mut [f32]) {
    if matches!(w.ty, BlockType::Q2K | BlockType::Q3K) {
        return matmul_panels(w, x, out);
    }
    runs::with_runs!(
        w.ty,
        // SAFETY: this table is only handed out when the processor has what it uses.
        T => unsafe { decoded::matmul_avx512::<T>(w, x, out) },
        _ => matmul_panels(w, x, out)
    );
}

fn matmul_panels(w: Panels<'_>, x: &Acts, out: &mut [f32]) {
    let (panel, tokens) = matmul_shape(w, x, out);
    if panel_block(w.ty).0 == 1 {
        return common::matmul_float(w, x, out);
    }
    for first in (0..tokens).step_by(TOKEN_BLOCK) {
        let last = (first + TOKEN_BLOCK).min(tokens);
        for (bytes, out) in w.bytes.chunks(2 * panel).zip(out.chunks_mut(2 * tokens * PANEL_ROWS)) {
            let mut t = first;
            while t < last {
                // SAFETY: this table is only handed out when the processor has what it uses; `matmul_shape` has checked
                // that `x` is quantized and as wide as the panels; the tile's tokens exist.
                t += unsafe {
                    match last - t {
                        8.. => pair::<8>(w.ty, bytes, panel, x, t, out),
                        4.. => pair::<4>(w.ty, bytes, panel, x, t, out),
                        2.. => pair::<2>(w.ty, bytes, panel, x, t, out),
                        _ => pair::<1>(w.ty, bytes, panel, x, t, out),
                    }
                };
            }
        }
    }
}

/// One or two panels times `N` tokens from `t` on; `out` is `(1 or 2, tokens, 8)`. Returns `N`.
///
/// # Safety
/// The set's features; `bytes` is one or two whole panels of `panel` bytes; `x` is quantized; `t + N` rows exist.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
unsafe fn pair<const N: usize>(
    ty: BlockType,
    bytes: &[u8],
    panel: usize,
    x: &Acts,
    t: usize,
    out: &mut [f32],
) -> usize {
    if bytes.len() == panel {
        let out = &mut out[t * PANEL_ROWS..(t + N) * PANEL_ROWS];
        // SAFETY: one whole panel, the caller's other promises.
        unsafe { avx2::tile::<N>(ty, bytes, x, t, out) };
        return N;
    }
    let rows = Rows::<N>::new(x, t);
    let blocks = panel / panel_block(ty).1;
    let (a, b) = (bytes.as_ptr(), bytes[panel..].as_ptr());
    // SAFETY: two whole panels of `blocks` blocks, `N` rows as wide.
    let acc = unsafe {
        match ty {
            BlockType::Q8_0 => q8_0(a, b, blocks, &rows),
            BlockType::Q4_0 => q4_0(a, b, blocks, &rows),
            BlockType::Q4K => q4_k(a, b, blocks, &rows),
            BlockType::Q2K => pairs::q2_k_avx512(a, b, blocks, &rows),
            BlockType::Q3K => pairs::q3_k_avx512(a, b, blocks, &rows),
            _ => q6_k(a, b, blocks, &rows),
        }
    };
    let (first, second) = out.split_at_mut(x.q_rows() * PANEL_ROWS);
    for (i, acc) in acc.iter().enumerate() {
        let at = (t + i) * PANEL_ROWS;
        let (low, high) = (&mut first[at..at + PANEL_ROWS], &mut second[at..at + PANEL_ROWS]);
        // SAFETY: eight values each.
        unsafe {
            _mm256_storeu_ps(low.as_mut_ptr(), _mm512_castps512_ps256(*acc));
            _mm256_storeu_ps(high.as_mut_ptr(), _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(*acc), 1)));
        }
    }
    N
}

/// 32 bytes of each panel, side by side.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
pub(super) unsafe fn load(a: *const u8, b: *const u8) -> __m512i {
    // SAFETY: the caller points at 32 bytes inside each panel.
    unsafe { _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_loadu_si256(a.cast())), _mm256_loadu_si256(b.cast()), 1) }
}

/// Eight half-precision scales of each panel.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
pub(super) unsafe fn scales(a: *const u8, b: *const u8) -> __m512 {
    // SAFETY: the caller points at sixteen bytes inside each panel.
    unsafe { _mm512_cvtph_ps(_mm256_set_m128i(_mm_loadu_si128(b.cast()), _mm_loadu_si128(a.cast()))) }
}

/// Eight bytes of each panel.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
pub(super) unsafe fn bytes(a: *const u8, b: *const u8) -> __m128i {
    // SAFETY: the caller points at eight bytes inside each panel.
    unsafe { _mm_unpacklo_epi64(_mm_loadl_epi64(a.cast()), _mm_loadl_epi64(b.cast())) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
pub(super) unsafe fn quad(q: *const i8, at: usize) -> __m512i {
    // SAFETY: the caller keeps `at + 4` inside the row; the read needs no alignment.
    _mm512_set1_epi32(unsafe { q.add(at).cast::<i32>().read_unaligned() })
}

/// Integer dot products of one block of 32 columns with each of `N` rows, its two halves apart: `[[__m512i; 2]; N]`. `w` are
/// unsigned bytes, quad by quad. A macro, because as a function its result would travel through memory.
macro_rules! dots {
    ($n:ident, $w:expr, $rows:expr, $col:expr) => {{
        let (w, rows, col): (&[__m512i; 8], &Rows<$n>, usize) = (&$w, $rows, $col);
        let mut acc = [[_mm512_setzero_si512(); 2]; $n];
        for i in 0..$n {
            for c in 0..4 {
                acc[i][0] = _mm512_dpbusd_epi32(acc[i][0], w[c], avx512::quad(rows.q[i], col + 4 * c));
                acc[i][1] = _mm512_dpbusd_epi32(acc[i][1], w[c + 4], avx512::quad(rows.q[i], col + 16 + 4 * c));
            }
        }
        acc
    }};
}
pub(super) use dots;

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
unsafe fn nibbles(a: *const u8, b: *const u8) -> [__m512i; 8] {
    let low = _mm512_set1_epi8(15);
    let mut w = [_mm512_setzero_si512(); 8];
    for c in 0..4 {
        // SAFETY: four chunks of 32 bytes in each panel.
        let bytes = unsafe { load(a.add(32 * c), b.add(32 * c)) };
        w[c] = _mm512_and_si512(bytes, low);
        w[c + 4] = _mm512_and_si512(_mm512_srli_epi16(bytes, 4), low);
    }
    w
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
unsafe fn q4_0<const N: usize>(a: *const u8, b: *const u8, blocks: usize, rows: &Rows<N>) -> [__m512; N] {
    let mut acc = [_mm512_setzero_ps(); N];
    for n in 0..blocks {
        // SAFETY: block `n` of each panel and of each row exist.
        unsafe {
            let (a, b) = (a.add(144 * n), b.add(144 * n));
            let d = scales(a, b);
            let dots = dots!(N, nibbles(a.add(16), b.add(16)), rows, 32 * n);
            for i in 0..N {
                let sum = *rows.sums[i].add(2 * n) + *rows.sums[i].add(2 * n + 1);
                let dot = _mm512_sub_epi32(_mm512_add_epi32(dots[i][0], dots[i][1]), _mm512_set1_epi32(8 * sum));
                let scale = _mm512_mul_ps(d, _mm512_set1_ps(*rows.scales[i].add(n)));
                acc[i] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot), scale, acc[i]);
            }
        }
    }
    acc
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
unsafe fn q8_0<const N: usize>(a: *const u8, b: *const u8, blocks: usize, rows: &Rows<N>) -> [__m512; N] {
    let flip = _mm512_set1_epi8(-128);
    let mut acc = [_mm512_setzero_ps(); N];
    for n in 0..blocks {
        // SAFETY: block `n` of each panel and of each row exist.
        unsafe {
            let (a, b) = (a.add(272 * n), b.add(272 * n));
            let d = scales(a, b);
            // w + 128 is unsigned; 128 times the block's sum comes off below.
            let mut w = [_mm512_setzero_si512(); 8];
            for (c, w) in w.iter_mut().enumerate() {
                *w = _mm512_xor_si512(load(a.add(16 + 32 * c), b.add(16 + 32 * c)), flip);
            }
            let dots = dots!(N, w, rows, 32 * n);
            for i in 0..N {
                let sum = *rows.sums[i].add(2 * n) + *rows.sums[i].add(2 * n + 1);
                let dot = _mm512_sub_epi32(_mm512_add_epi32(dots[i][0], dots[i][1]), _mm512_set1_epi32(128 * sum));
                let scale = _mm512_mul_ps(d, _mm512_set1_ps(*rows.scales[i].add(n)));
                acc[i] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot), scale, acc[i]);
            }
        }
    }
    acc
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
unsafe fn q4_k<const N: usize>(a: *const u8, b: *const u8, blocks: usize, rows: &Rows<N>) -> [__m512; N] {
    let mut acc = [_mm512_setzero_ps(); N];
    for n in 0..blocks {
        // SAFETY: block `n` of each panel exists and has eight sub-blocks; so has each row.
        unsafe {
            let (a, b) = (a.add(1184 * n), b.add(1184 * n));
            let (d, dmin) = (scales(a, b), scales(a.add(16), b.add(16)));
            for sub in 0..8 {
                let (at, small) = (8 * n + sub, 8 * sub);
                let dots = dots!(N, nibbles(a.add(160 + 128 * sub), b.add(160 + 128 * sub)), rows, 32 * at);
                // Six bits times a block's sum stays below 2^24: the products are exact in single precision.
                let scale = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes(a.add(32 + small), b.add(32 + small))));
                let min = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes(a.add(96 + small), b.add(96 + small))));
                for i in 0..N {
                    let s = _mm512_set1_ps(*rows.scales[i].add(at));
                    let sum = _mm512_set1_ps((*rows.sums[i].add(2 * at) + *rows.sums[i].add(2 * at + 1)) as f32);
                    let scaled = _mm512_mul_ps(scale, _mm512_cvtepi32_ps(_mm512_add_epi32(dots[i][0], dots[i][1])));
                    acc[i] = _mm512_fmadd_ps(scaled, _mm512_mul_ps(d, s), acc[i]);
                    acc[i] = _mm512_fnmadd_ps(_mm512_mul_ps(min, sum), _mm512_mul_ps(dmin, s), acc[i]);
                }
            }
        }
    }
    acc
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
unsafe fn six_bits(a: *const u8, b: *const u8) -> [__m512i; 8] {
    let two = _mm512_set1_epi8(0x30);
    // SAFETY: the four chunks of nibbles and two of high bits of one sub-block in each panel.
    let (mut w, pairs) = unsafe { (nibbles(a, b), [128, 160].map(|at| load(a.add(at), b.add(at)))) };
    for (half, pairs) in pairs.into_iter().enumerate() {
        let high = [_mm512_slli_epi16(pairs, 4), _mm512_slli_epi16(pairs, 2), pairs, _mm512_srli_epi16(pairs, 2)];
        for (c, high) in high.into_iter().enumerate() {
            w[4 * half + c] = _mm512_or_si512(w[4 * half + c], _mm512_and_si512(high, two));
        }
    }
    w
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
unsafe fn q6_k<const N: usize>(a: *const u8, b: *const u8, blocks: usize, rows: &Rows<N>) -> [__m512; N] {
    let mut acc = [_mm512_setzero_ps(); N];
    for n in 0..blocks {
        // SAFETY: block `n` of each panel exists and has eight sub-blocks of 192 bytes; so has each row.
        unsafe {
            let (a, b) = (a.add(1680 * n), b.add(1680 * n));
            let d = scales(a, b);
            for sub in 0..8 {
                let (at, chunks) = (8 * n + sub, 144 + 192 * sub);
                let dots = dots!(N, six_bits(a.add(chunks), b.add(chunks)), rows, 32 * at);
                // 128 · 16 · 32 · 127, twice, stays below 2^24: exact in single precision.
                let scale = [0, 1].map(|h| {
                    let small = 16 + 8 * (2 * sub + h);
                    _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes(a.add(small), b.add(small))))
                });
                for i in 0..N {
                    let half = |h: usize| {
                        let offset = _mm512_set1_epi32(32 * *rows.sums[i].add(2 * at + h));
                        _mm512_mul_ps(scale[h], _mm512_cvtepi32_ps(_mm512_sub_epi32(dots[i][h], offset)))
                    };
                    let dot = _mm512_add_ps(half(0), half(1));
                    acc[i] = _mm512_fmadd_ps(dot, _mm512_mul_ps(d, _mm512_set1_ps(*rows.scales[i].add(at))), acc[i]);
                }
            }
        }
    }
    acc
}
