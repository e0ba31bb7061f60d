//! AVX2 matmul: four tokens at a time against one panel. Integer dot products in 16 bits where the range allows, or, where a
//! kernel's `V` says so, by `vpdpbusd` on 256 bits.

use std::arch::asm;
use std::arch::x86_64::*;

use super::super::scalar::matmul_shape;
use super::super::{Acts, BLOCK, Kernels, Panels};
use super::{attention, codes, common, decoded, pairs};
use crate::quant::{BlockType, runs};
use crate::weights::layout::codes::with_codes;
use crate::weights::layout::{PANEL_ROWS, is_reordered, panel_block};

/// The set, when the processor has AVX2, FMA and F16C.
pub(in super::super) fn kernels() -> Option<Kernels> {
    common::supported().then_some(Kernels {
        name: "avx2",
        matmul: matmul::<PLAIN>,
        quantize: common::quantize,
        rms_norm: common::rms_norm,
        silu_mul: common::silu_mul,
        add: common::add,
        attn_scores: attention::attn_scores_avx2,
        attn_scores_q8: attention::attn_scores_q8_avx2,
        attn_mix: attention::attn_mix_avx2,
        exps: common::exps,
    })
}

/// The set with dot products on 256 bits, when the processor has AVX-VNNI too.
pub(in super::super) fn with_vnni() -> Option<Kernels> {
    let base = kernels()?;
    is_x86_feature_detected!("avxvnni").then_some(Kernels { name: "avxvnni", matmul: matmul::<VEX>, ..base })
}

/// How four products of bytes come together: two by two in plain AVX2.
pub(super) const PLAIN: u8 = 0;
/// By `vpdpbusd` as AVX-VNNI encodes it.
const VEX: u8 = 1;
/// By `vpdpbusd` as AVX-512 VNNI and VL encode it.
pub(super) const EVEX: u8 = 2;

/// Tokens that share one pass over a panel.
const TILE: usize = 4;
/// Tokens whose activations stay in the second-level cache while panels go by.
const TOKEN_BLOCK: usize = 64;

fn matmul<const V: u8>(w: Panels<'_>, x: &Acts, out: &mut [f32]) {
    if is_reordered(w.ty) {
        return matmul_panels::<V>(w, x, out);
    }
    runs::with_runs!(
        w.ty,
        // SAFETY: this table is only handed out when the processor has what it uses.
        T => unsafe { decoded::matmul_avx2::<T, V>(w, x, out) },
        _ => matmul_panels::<V>(w, x, out)
    );
}

fn matmul_panels<const V: u8>(w: Panels<'_>, x: &Acts, out: &mut [f32]) {
    let (panel, tokens) = matmul_shape(w, x, out);
    if panel_block(w.ty).0 == 1 {
        return common::matmul_float(w, x, out);
    }
    for first in (0..tokens).step_by(TOKEN_BLOCK) {
        let last = (first + TOKEN_BLOCK).min(tokens);
        for (bytes, out) in w.bytes.chunks_exact(panel).zip(out.chunks_exact_mut(tokens * PANEL_ROWS)) {
            let mut t = first;
            while t < last {
                let n = (last - t).min(TILE);
                let out = &mut out[t * PANEL_ROWS..(t + n) * PANEL_ROWS];
                // SAFETY: this table is only handed out after `common::supported`, after what `V` names was found too;
                // `matmul_shape` has checked that `x` is quantized and as wide as the panel, and `t + n <= tokens`.
                unsafe {
                    match n {
                        4 => tile::<V, 4>(w.ty, bytes, x, t, out),
                        3 => tile::<V, 3>(w.ty, bytes, x, t, out),
                        2 => tile::<V, 2>(w.ty, bytes, x, t, out),
                        _ => tile::<V, 1>(w.ty, bytes, x, t, out),
                    }
                }
                t += n;
            }
        }
    }
}

/// One panel times `N` tokens from token `t` on; `out` is `(N, 8)`.
///
/// # Safety
/// AVX2, FMA and F16C, and what `V` names; `panel` is a whole panel of type `ty` and `x.cols()` columns; `x` is quantized;
/// `t + N` rows exist; `out` holds `8 N` values.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn tile<const V: u8, const N: usize>(
    ty: BlockType,
    panel: &[u8],
    x: &Acts,
    t: usize,
    out: &mut [f32],
) {
    let rows = Rows::<N>::new(x, t);
    let (blocks, panel) = (panel.len() / panel_block(ty).1, panel.as_ptr());
    // SAFETY: the caller's promises, passed on.
    let acc = unsafe {
        match ty {
            BlockType::Q8_0 => q8_0::<V, N>(panel, blocks, &rows),
            BlockType::Q4_0 => q4_0::<V, N>(panel, blocks, &rows),
            BlockType::Q4K => q4_k::<V, N>(panel, blocks, &rows),
            BlockType::Q2K => pairs::q2_k_avx2::<V, N>(panel, blocks, &rows),
            BlockType::Q3K => pairs::q3_k_avx2::<V, N>(panel, blocks, &rows),
            _ => with_codes!(
                ty,
                T => codes::short::<T, V, N>(panel, blocks, &rows),
                _ => q6_k::<V, N>(panel, blocks, &rows)
            ),
        }
    };
    for (acc, out) in acc.iter().zip(out.chunks_exact_mut(PANEL_ROWS)) {
        // SAFETY: `out` is eight values.
        unsafe { _mm256_storeu_ps(out.as_mut_ptr(), *acc) };
    }
}

/// Where the quantized rows of `N` neighbouring tokens begin.
pub(super) struct Rows<const N: usize> {
    pub(super) q: [*const i8; N],
    pub(super) scales: [*const f32; N],
    pub(super) sums: [*const i32; N],
    /// Sums of blocks, negated.
    pub(super) less: [*const i32; N],
}

impl<const N: usize> Rows<N> {
    pub(super) fn new(x: &Acts, t: usize) -> Self {
        let cols = x.cols();
        Self {
            q: std::array::from_fn(|i| x.q[(t + i) * cols..].as_ptr()),
            scales: std::array::from_fn(|i| x.scales[(t + i) * (cols / BLOCK)..].as_ptr()),
            sums: std::array::from_fn(|i| x.sums[(t + i) * (cols / 16)..].as_ptr()),
            less: std::array::from_fn(|i| x.less[(t + i) * (cols / BLOCK)..].as_ptr()),
        }
    }
}

/// Eight half-precision scales.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn scales(p: *const u8) -> __m256 {
    // SAFETY: the caller points at sixteen bytes inside a panel.
    unsafe { _mm256_cvtph_ps(_mm_loadu_si128(p.cast())) }
}

/// Four activations, the same in every lane.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn quad(q: *const i8, at: usize) -> __m256i {
    // SAFETY: the caller keeps `at + 4` inside the row; the read needs no alignment.
    _mm256_set1_epi32(unsafe { q.add(at).cast::<i32>().read_unaligned() })
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn load(p: *const u8) -> __m256i {
    // SAFETY: the caller points at 32 bytes inside a panel.
    unsafe { _mm256_loadu_si256(p.cast()) }
}

/// `acc + Σ w · q` over the four bytes of each lane, `w` unsigned. The instruction is written out so that the kernels that
/// may use it can be compiled together with those that may not.
///
/// # Safety
/// What `V` names.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn dpbusd<const V: u8>(mut acc: __m256i, w: __m256i, q: __m256i) -> __m256i {
    macro_rules! one {
        ($text:literal) => {
            // SAFETY: touches nothing but the registers named; the caller's promise.
            unsafe {
                asm!(
                    $text,
                    acc = inout(ymm_reg) acc,
                    w = in(ymm_reg) w,
                    q = in(ymm_reg) q,
                    options(pure, nomem, nostack, preserves_flags)
                );
            }
        };
    }
    if V == EVEX {
        one!("{{evex}} vpdpbusd {acc}, {w}, {q}");
    } else {
        one!("{{vex}} vpdpbusd {acc}, {w}, {q}");
    }
    acc
}

/// The same in plain AVX2, where two products fit sixteen bits.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn add_products(acc: __m256i, w: __m256i, q: __m256i) -> __m256i {
    _mm256_add_epi32(acc, _mm256_madd_epi16(_mm256_maddubs_epi16(w, q), _mm256_set1_epi16(1)))
}

/// Integer dot products of one block of nibbles with each of `N` rows: `[__m256i; N]`. 15 · 127 · 2 products, eight times, is
/// 30,480: sixteen bits hold the sum of a whole block. A macro, because as a function its result would travel through memory.
macro_rules! nibble_dots {
    ($v:ident, $n:ident, $chunks:expr, $rows:expr, $col:expr) => {{
        let (chunks, rows, col): (*const u8, &Rows<$n>, usize) = ($chunks, $rows, $col);
        let low = _mm256_set1_epi8(15);
        let mut acc = [_mm256_setzero_si256(); $n];
        for c in 0..4 {
            let bytes = load(chunks.add(32 * c));
            let (a, b) = (_mm256_and_si256(bytes, low), _mm256_and_si256(_mm256_srli_epi16(bytes, 4), low));
            for i in 0..$n {
                let (p, q) = (quad(rows.q[i], col + 4 * c), quad(rows.q[i], col + 16 + 4 * c));
                acc[i] = if $v != PLAIN {
                    dpbusd::<$v>(dpbusd::<$v>(acc[i], a, p), b, q)
                } else {
                    let sum = _mm256_add_epi16(_mm256_maddubs_epi16(a, p), _mm256_maddubs_epi16(b, q));
                    _mm256_add_epi16(acc[i], sum)
                };
            }
        }
        if $v == PLAIN {
            for a in &mut acc {
                *a = _mm256_madd_epi16(*a, _mm256_set1_epi16(1));
            }
        }
        acc
    }};
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn q4_0<const V: u8, const N: usize>(panel: *const u8, blocks: usize, rows: &Rows<N>) -> [__m256; N] {
    let mut acc = [_mm256_setzero_ps(); N];
    for b in 0..blocks {
        // SAFETY: block `b` of the panel and of each row exist.
        unsafe {
            let block = panel.add(144 * b);
            let d = scales(block);
            let dots = nibble_dots!(V, N, block.add(16), rows, 32 * b);
            for i in 0..N {
                let sum = *rows.sums[i].add(2 * b) + *rows.sums[i].add(2 * b + 1);
                let dot = _mm256_sub_epi32(dots[i], _mm256_set1_epi32(8 * sum));
                let scale = _mm256_mul_ps(d, _mm256_set1_ps(*rows.scales[i].add(b)));
                acc[i] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot), scale, acc[i]);
            }
        }
    }
    acc
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn q8_0<const V: u8, const N: usize>(panel: *const u8, blocks: usize, rows: &Rows<N>) -> [__m256; N] {
    let mut acc = [_mm256_setzero_ps(); N];
    for b in 0..blocks {
        // SAFETY: block `b` of the panel and of each row exist.
        unsafe {
            let block = panel.add(272 * b);
            let d = scales(block);
            let mut dots = [_mm256_setzero_si256(); N];
            for c in 0..8 {
                let w = load(block.add(16 + 32 * c));
                // w + 128 is unsigned; 128 times the block's sum comes off below.
                let size = if V != PLAIN { _mm256_xor_si256(w, _mm256_set1_epi8(-128)) } else { _mm256_abs_epi8(w) };
                for i in 0..N {
                    let quad = quad(rows.q[i], 32 * b + 4 * c);
                    dots[i] = if V != PLAIN {
                        dpbusd::<V>(dots[i], size, quad)
                    } else {
                        // |w| · ±q: 128 · 127 · 2 = 32,512 fits sixteen bits.
                        add_products(dots[i], size, _mm256_sign_epi8(quad, w))
                    };
                }
            }
            for i in 0..N {
                if V != PLAIN {
                    let sum = *rows.sums[i].add(2 * b) + *rows.sums[i].add(2 * b + 1);
                    dots[i] = _mm256_sub_epi32(dots[i], _mm256_set1_epi32(128 * sum));
                }
                let scale = _mm256_mul_ps(d, _mm256_set1_ps(*rows.scales[i].add(b)));
                acc[i] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dots[i]), scale, acc[i]);
            }
        }
    }
    acc
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn q4_k<const V: u8, const N: usize>(panel: *const u8, blocks: usize, rows: &Rows<N>) -> [__m256; N] {
    let mut acc = [_mm256_setzero_ps(); N];
    for b in 0..blocks {
        // SAFETY: block `b` of the panel exists and has eight sub-blocks; so has each row.
        unsafe {
            let block = panel.add(1184 * b);
            let (d, dmin) = (scales(block), scales(block.add(16)));
            for sub in 0..8 {
                let at = 8 * b + sub;
                let dots = nibble_dots!(V, N, block.add(160 + 128 * sub), rows, 32 * at);
                let scale = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(block.add(32 + 8 * sub).cast())));
                let min = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(block.add(96 + 8 * sub).cast())));
                let (scale, min) = (_mm256_mul_ps(d, scale), _mm256_mul_ps(dmin, min));
                for i in 0..N {
                    let less = _mm256_cvtepi32_ps(_mm256_set1_epi32(*rows.less[i].add(at)));
                    let share = _mm256_mul_ps(scale, _mm256_cvtepi32_ps(dots[i]));
                    let share = _mm256_fmadd_ps(min, less, share);
                    acc[i] = _mm256_fmadd_ps(share, _mm256_set1_ps(*rows.scales[i].add(at)), acc[i]);
                }
            }
        }
    }
    acc
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn q6_k<const V: u8, const N: usize>(panel: *const u8, blocks: usize, rows: &Rows<N>) -> [__m256; N] {
    let (low, two) = (_mm256_set1_epi8(15), _mm256_set1_epi8(0x30));
    let mut acc = [_mm256_setzero_ps(); N];
    for b in 0..blocks {
        // SAFETY: block `b` of the panel exists and has eight sub-blocks of 192 bytes; so has each row.
        unsafe {
            let block = panel.add(1680 * b);
            let d = scales(block);
            for sub in 0..8 {
                let (at, chunks) = (8 * b + sub, block.add(144 + 192 * sub));
                // 128 · 16 · 32 · 127, twice, stays below 2^24: exact in single precision.
                let scale = [0, 1].map(|h| {
                    _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(block.add(16 + 8 * (2 * sub + h)).cast())))
                });
                let mut dots = [[_mm256_setzero_si256(); 2]; N];
                for h in 0..2 {
                    let pairs = load(chunks.add(128 + 32 * h));
                    for c in 0..4 {
                        let bytes = load(chunks.add(32 * c));
                        let nibble = _mm256_and_si256(if h == 0 { bytes } else { _mm256_srli_epi16(bytes, 4) }, low);
                        let high = match c {
                            0 => _mm256_slli_epi16(pairs, 4),
                            1 => _mm256_slli_epi16(pairs, 2),
                            2 => pairs,
                            _ => _mm256_srli_epi16(pairs, 2),
                        };
                        let w = _mm256_or_si256(nibble, _mm256_and_si256(high, two));
                        for i in 0..N {
                            // 63 · 127 · 2 = 16,002: two of them fit sixteen bits, four do not.
                            let quad = quad(rows.q[i], 32 * at + 16 * h + 4 * c);
                            dots[i][h] = if V != PLAIN {
                                dpbusd::<V>(dots[i][h], w, quad)
                            } else {
                                add_products(dots[i][h], w, quad)
                            };
                        }
                    }
                }
                for i in 0..N {
                    let half = |h: usize| {
                        let offset = _mm256_set1_epi32(32 * *rows.sums[i].add(2 * at + h));
                        _mm256_mul_ps(scale[h], _mm256_cvtepi32_ps(_mm256_sub_epi32(dots[i][h], offset)))
                    };
                    let dot = _mm256_add_ps(half(0), half(1));
                    acc[i] = _mm256_fmadd_ps(dot, _mm256_mul_ps(d, _mm256_set1_ps(*rows.scales[i].add(at))), acc[i]);
                }
            }
        }
    }
    acc
}
