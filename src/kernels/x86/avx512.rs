//! AVX-512 with VNNI: two panels (sixteen rows) at a time, eight tokens a tile; one token goes panel by panel on 256 bits. Same
//! integers and same roundings as AVX2.

use std::arch::x86_64::*;
use std::ops::Range;

use super::super::scalar::matmul_shape;
use super::super::{ActRows, Kernels, Panels};
use super::avx2::{self, EVEX, Rows};
use super::avx512;
use super::{by_rows, codes, common, decoded, float256, float512, mix, pairs, scores, tiles};
use crate::quant::{BlockType, runs};
use crate::weights::layout::codes::with_codes;
use crate::weights::layout::{PANEL_ROWS, is_reordered, panel_block};

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
        attn_scores: scores::attn_scores_avx512,
        attn_scores_q8: scores::attn_scores_q8_avx512,
        attn_mix: mix::attn_mix_avx512,
        exps: float512::exps,
        silu_mul: float512::silu_mul,
        ..base
    })
}

/// Bytes of a block of a panel.
pub(super) const Q4_0: usize = 144;
pub(super) const Q8_0: usize = 272;
pub(super) const Q4_K: usize = 1184;
const Q6_K: usize = 1680;

/// Tokens that are few.
const FEW: usize = 4;
/// Tokens whose activations stay in the second-level cache while panels go by.
const TOKEN_BLOCK: usize = 64;

fn matmul(w: Panels<'_>, x: ActRows<'_>, out: &mut [f32]) {
    if is_reordered(w.ty) {
        return matmul_panels(w, x, out);
    }
    // SAFETY: this table is only handed out when the processor has what it uses.
    if unsafe { by_rows::matmul::<{ EVEX }>(w, x, out) } {
        return;
    }
    runs::with_runs!(
        w.ty,
        // SAFETY: as above.
        T => unsafe { decoded::matmul_avx512::<T>(w, x, out) },
        _ => matmul_panels(w, x, out)
    );
}

fn matmul_panels(w: Panels<'_>, x: ActRows<'_>, out: &mut [f32]) {
    let (panel, tokens) = matmul_shape(w, x, out);
    if panel_block(w.ty).0 == 1 {
        // On 256 bits: many processors do two multiply-adds of as many a cycle, or one of 512.
        return float256::matmul(w, x, out);
    }
    if tokens == 1 {
        // One panel after the other on 256 bits: memory gives one long stretch half as fast again as several side by side, and
        // there is little to compute meanwhile.
        // SAFETY: this table is only handed out when the processor has what it uses; `matmul_shape` has checked that `x` is
        // quantized and as wide as the panels.
        unsafe { avx2::tile::<EVEX, 1>(w, x, 0, out) };
        return;
    }
    if tokens > FEW && w.ty == BlockType::Q3K {
        // Their third bits are put in their places once for all tokens.
        // SAFETY: as above.
        return unsafe { avx2::strips::<EVEX>(w, x, out) };
    }
    // What shares a pass: four panels where the type has tiles of them, otherwise two.
    let share = if tiles::has(w.ty) { 4 } else { 2 };
    for first in (0..tokens).step_by(TOKEN_BLOCK) {
        let last = (first + TOKEN_BLOCK).min(tokens);
        for (bytes, out) in w.bytes.chunks(share * panel).zip(out.chunks_mut(share * tokens * PANEL_ROWS)) {
            if bytes.len() == 4 * panel {
                // SAFETY: as above; four panels of a type that has tiles, and the tokens exist.
                unsafe { four(w.ty, bytes, panel, x, first..last, out) };
                continue;
            }
            for (bytes, out) in bytes.chunks(2 * panel).zip(out.chunks_mut(2 * tokens * PANEL_ROWS)) {
                // SAFETY: as above, with one or two whole panels.
                unsafe { two(w.ty, bytes, panel, x, first..last, out) };
            }
        }
    }
}

/// Four panels times the tokens `tokens`; `out` is `(4, all tokens, 8)`.
///
/// # Safety
/// The set's features; `bytes` is four whole panels of `panel` bytes, of a type that has tiles; `x` is quantized and has the
/// tokens.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
unsafe fn four(ty: BlockType, bytes: &[u8], panel: usize, x: ActRows<'_>, tokens: Range<usize>, out: &mut [f32]) {
    let mut t = tokens.start;
    while t < tokens.end {
        // SAFETY: the caller's promises; the tile's tokens exist.
        t += unsafe {
            match tokens.end - t {
                // Seven are three and four, eight and nine are four twice: a token alone would pay for all weights.
                7 => strip::<3, 2>(ty, bytes, panel, x, t, out),
                4 | 8 | 9 => strip::<4, 2>(ty, bytes, panel, x, t, out),
                5 => strip::<5, 2>(ty, bytes, panel, x, t, out),
                6.. => strip::<6, 2>(ty, bytes, panel, x, t, out),
                3 => strip::<3, 2>(ty, bytes, panel, x, t, out),
                2 => strip::<2, 2>(ty, bytes, panel, x, t, out),
                _ => strip::<1, 2>(ty, bytes, panel, x, t, out),
            }
        };
    }
}

/// One or two panels times the tokens `tokens`; `out` is `(1 or 2, all tokens, 8)`.
///
/// # Safety
/// The set's features; `bytes` is one or two whole panels of `panel` bytes; `x` is quantized and has the tokens.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
unsafe fn two(ty: BlockType, bytes: &[u8], panel: usize, x: ActRows<'_>, tokens: Range<usize>, out: &mut [f32]) {
    let mut t = tokens.start;
    while t < tokens.end {
        // SAFETY: the caller's promises; the tile's tokens exist.
        t += unsafe {
            match tokens.end - t {
                8.. => pair::<8>(ty, bytes, panel, x, t, out),
                6 => pair::<6>(ty, bytes, panel, x, t, out),
                5 => pair::<5>(ty, bytes, panel, x, t, out),
                4 | 7 => pair::<4>(ty, bytes, panel, x, t, out),
                3 => pair::<3>(ty, bytes, panel, x, t, out),
                2 => pair::<2>(ty, bytes, panel, x, t, out),
                _ => pair::<1>(ty, bytes, panel, x, t, out),
            }
        };
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
    x: ActRows<'_>,
    t: usize,
    out: &mut [f32],
) -> usize {
    // SAFETY: the caller's promises.
    unsafe {
        if bytes.len() == panel {
            avx2::tile::<EVEX, N>(Panels { ty, cols: x.cols(), bytes }, x, t, out);
        } else {
            strip::<N, 1>(ty, bytes, panel, x, t, out);
        }
    }
    N
}

/// `2 P` panels times `N` tokens from `t` on; `out` is `(2 P, tokens, 8)`. Returns `N`.
///
/// # Safety
/// The set's features; `bytes` is `2 P` whole panels of `panel` bytes; `x` is quantized; `t + N` rows exist.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
unsafe fn strip<const N: usize, const P: usize>(
    ty: BlockType,
    bytes: &[u8],
    panel: usize,
    x: ActRows<'_>,
    t: usize,
    out: &mut [f32],
) -> usize {
    let rows = Rows::<N>::new(x, t);
    let blocks = panel / panel_block(ty).1;
    let panels: [[*const u8; 2]; P] = std::array::from_fn(|p| [2 * p, 2 * p + 1].map(|i| bytes[i * panel..].as_ptr()));
    // SAFETY: whole panels of `blocks` blocks, `N` rows as wide.
    let acc = unsafe {
        match ty {
            _ if N > 1 && P == 2 && tiles::has(ty) => tiles::tile(ty, &panels, blocks, &rows),
            BlockType::Q8_0 => q8_0(&panels, blocks, &rows),
            BlockType::Q4_0 => q4_0(&panels, blocks, &rows),
            BlockType::Q4K => q4_k(&panels, blocks, &rows),
            BlockType::Q2K => pairs::q2_k_avx512(&panels, blocks, &rows),
            BlockType::Q3K => pairs::q3_k_avx512(&panels, blocks, &rows),
            _ => {
                with_codes!(ty, T => codes::wide::<T, N, P>(&panels, blocks, &rows), _ => q6_k(&panels, blocks, &rows))
            }
        }
    };
    for (acc, out) in acc.iter().zip(out.chunks_exact_mut(2 * x.q_rows() * PANEL_ROWS)) {
        let (first, second) = out.split_at_mut(x.q_rows() * PANEL_ROWS);
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

/// A kernel over `P` pairs of panels, block by block: `$body` adds block `$n` at `$a` and `$b` to `$acc`,
/// and calls `$ask` for each of its runs.
macro_rules! by_blocks {
    ($(#[$doc:meta])* $name:ident, $bytes:expr, |$a:ident, $b:ident, $n:ident, $rows:ident, $acc:ident, $ask:ident| $body:block) => {
        $(#[$doc])*
        ///
        /// # Safety
        /// The set's features; whole panels of `blocks` blocks; each of the `N` rows is as wide.
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
        pub(super) unsafe fn $name<const N: usize, const P: usize>(
            panels: &[[*const u8; 2]; P],
            blocks: usize,
            $rows: &Rows<N>,
        ) -> [[__m512; N]; P] {
            let mut acc = [[_mm512_setzero_ps(); N]; P];
            for $n in 0..blocks {
                for p in 0..P {
                    // SAFETY: block `n` of each panel and of each row exist.
                    unsafe {
                        let ($a, $b) = (panels[p][0].add($bytes * $n), panels[p][1].add($bytes * $n));
                        let $acc = &mut acc[p];
                        // While run `sub` of the block's `subs` is computed.
                        let $ask = |sub: usize, subs: usize| {
                            let at = (P * $n + p) * subs + sub;
                            common::ask_group(panels[0][0], 2 * $bytes / subs, at, P * subs * blocks);
                        };
                        $body
                    }
                }
            }
            acc
        }
    };
}
pub(super) use by_blocks;

/// Integer dot products of one block of 32 columns with each of `N` rows, its two halves apart: `[[__m512i; 2]; N]`. `w` are
/// unsigned bytes, quad by quad. A macro, because as a function its result would travel through memory.
macro_rules! dots {
    ($n:ident, $w:expr, $rows:expr, $at:expr) => {{
        let (w, rows, at): (&[__m512i; 8], &Rows<$n>, usize) = (&$w, $rows, $at);
        let mut acc = [[_mm512_setzero_si512(); 2]; $n];
        for i in 0..$n {
            for c in 0..4 {
                acc[i][0] = _mm512_dpbusd_epi32(acc[i][0], w[c], avx512::quad(rows.q(i, at), 4 * c));
                acc[i][1] = _mm512_dpbusd_epi32(acc[i][1], w[c + 4], avx512::quad(rows.q(i, at), 16 + 4 * c));
            }
        }
        acc
    }};
}
pub(super) use dots;

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
pub(super) unsafe fn nibbles(a: *const u8, b: *const u8) -> [__m512i; 8] {
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

by_blocks!(q4_0, Q4_0, |a, b, n, rows, acc, ask| {
    ask(0, 1);
    let d = scales(a, b);
    let dots = dots!(N, nibbles(a.add(16), b.add(16)), rows, n);
    for i in 0..N {
        let less = _mm512_set1_epi32(8 * rows.less(i, n));
        let dot = _mm512_add_epi32(_mm512_add_epi32(dots[i][0], dots[i][1]), less);
        let scale = _mm512_mul_ps(d, _mm512_set1_ps(rows.scale(i, n)));
        acc[i] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot), scale, acc[i]);
    }
});

by_blocks!(q8_0, Q8_0, |a, b, n, rows, acc, ask| {
    ask(0, 1);
    let d = scales(a, b);
    // w + 128 is unsigned; 128 times the block's sum comes off below.
    let mut w = [_mm512_setzero_si512(); 8];
    for (c, w) in w.iter_mut().enumerate() {
        *w = _mm512_xor_si512(load(a.add(16 + 32 * c), b.add(16 + 32 * c)), _mm512_set1_epi8(-128));
    }
    let dots = dots!(N, w, rows, n);
    for i in 0..N {
        let less = _mm512_set1_epi32(128 * rows.less(i, n));
        let dot = _mm512_add_epi32(_mm512_add_epi32(dots[i][0], dots[i][1]), less);
        let scale = _mm512_mul_ps(d, _mm512_set1_ps(rows.scale(i, n)));
        acc[i] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot), scale, acc[i]);
    }
});

/// Scales and minima of sub-block `sub` of Q4_K blocks, whose factors of both are `head`.
///
/// # Safety
/// The set's features; the blocks exist.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
pub(super) unsafe fn q4_k_factors(a: *const u8, b: *const u8, head: [__m512; 2], sub: usize) -> (__m512, __m512) {
    let small = |at: usize| {
        // SAFETY: eight bytes of each block.
        let bytes = unsafe { bytes(a.add(at + 8 * sub), b.add(at + 8 * sub)) };
        _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes))
    };
    (_mm512_mul_ps(head[0], small(32)), _mm512_mul_ps(head[1], small(96)))
}

by_blocks!(q4_k, Q4_K, |a, b, n, rows, acc, ask| {
    let head = [scales(a, b), scales(a.add(16), b.add(16))];
    for sub in 0..8 {
        ask(sub, 8);
        let at = 8 * n + sub;
        let dots = dots!(N, nibbles(a.add(160 + 128 * sub), b.add(160 + 128 * sub)), rows, at);
        let (scale, min) = q4_k_factors(a, b, head, sub);
        for i in 0..N {
            let less = _mm512_cvtepi32_ps(_mm512_set1_epi32(rows.less(i, at)));
            let share = _mm512_mul_ps(scale, _mm512_cvtepi32_ps(_mm512_add_epi32(dots[i][0], dots[i][1])));
            let share = _mm512_fmadd_ps(min, less, share);
            acc[i] = _mm512_fmadd_ps(share, _mm512_set1_ps(rows.scale(i, at)), acc[i]);
        }
    }
});

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

by_blocks!(q6_k, Q6_K, |a, b, n, rows, acc, ask| {
    let d = scales(a, b);
    for sub in 0..8 {
        ask(sub, 8);
        let (at, chunks) = (8 * n + sub, 144 + 192 * sub);
        let w = six_bits(a.add(chunks), b.add(chunks));
        let scale = [0, 1].map(|h| {
            let small = 16 + 8 * (2 * sub + h);
            _mm512_cvtepi8_epi32(bytes(a.add(small), b.add(small)))
        });
        for i in 0..N {
            let mut dots = [0, 1].map(|h| _mm512_set1_epi32(-32 * rows.sum(i, at, h)));
            for c in 0..4 {
                for h in 0..2 {
                    dots[h] = _mm512_dpbusd_epi32(dots[h], w[c + 4 * h], avx512::quad(rows.q(i, at), 16 * h + 4 * c));
                }
            }
            // 128 · 16 · 32 · 127, twice, stays below 2^24: in single precision every step would be exact too.
            let dot = _mm512_add_epi32(_mm512_mullo_epi32(scale[0], dots[0]), _mm512_mullo_epi32(scale[1], dots[1]));
            let scale = _mm512_mul_ps(d, _mm512_set1_ps(rows.scale(i, at)));
            acc[i] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot), scale, acc[i]);
        }
    }
});
