//! AVX2 matmul: four tokens at a time against one panel. Integer dot products in 16 bits where the range allows, or, where a
//! kernel's `V` says so, by `vpdpbusd` on 256 bits. Such kernels are always inlined, into one function for each value of `V`
//! that has the instructions: so the compiler may use all of them, and the registers that come with them, in the rest too.

use std::arch::x86_64::*;

use super::super::acts::ActBlock;
use super::super::scalar::matmul_shape;
use super::super::{ActRows, BLOCK, Kernels, Panels};
use super::{by_rows, codes, common, decoded, mix, pairs, scores};
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
        attn_scores: scores::attn_scores_avx2,
        attn_scores_q8: scores::attn_scores_q8_avx2,
        attn_mix: mix::attn_mix_avx2,
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
pub(super) const VEX: u8 = 1;
/// By `vpdpbusd` as AVX-512 VNNI and VL encode it.
pub(super) const EVEX: u8 = 2;

/// Tokens that share one pass over a panel.
const TILE: usize = 4;
/// Tokens whose activations stay in the second-level cache while panels go by.
const TOKEN_BLOCK: usize = 64;

fn matmul<const V: u8>(w: Panels<'_>, x: ActRows<'_>, out: &mut [f32]) {
    if is_reordered(w.ty) {
        return matmul_panels::<V>(w, x, out);
    }
    // SAFETY: this table is only handed out when the processor has what it uses.
    if unsafe { by_rows::matmul::<{ V }>(w, x, out) } {
        return;
    }
    runs::with_runs!(
        w.ty,
        // SAFETY: as above.
        T => unsafe { decoded::matmul_avx2::<T, V>(w, x, out) },
        _ => matmul_panels::<V>(w, x, out)
    );
}

fn matmul_panels<const V: u8>(w: Panels<'_>, x: ActRows<'_>, out: &mut [f32]) {
    let (panel, tokens) = matmul_shape(w, x, out);
    if panel_block(w.ty).0 == 1 {
        return common::matmul_float(w, x, out);
    }
    // A few tokens go over all panels at once; of many, the tiles of a block one after the other over each panel.
    let step = if tokens <= TILE { w.bytes.len().max(panel) } else { panel };
    for first in (0..tokens).step_by(TOKEN_BLOCK) {
        let last = (first + TOKEN_BLOCK).min(tokens);
        for (bytes, out) in w.bytes.chunks(step).zip(out.chunks_mut(step / panel * tokens * PANEL_ROWS)) {
            let w = Panels { bytes, ..w };
            let mut t = first;
            while t < last {
                // SAFETY: this table is only handed out after `common::supported`, after what `V` names was found too;
                // `matmul_shape` has checked that `x` is quantized and as wide as the panels; the tile's tokens exist.
                t += unsafe {
                    match last - t {
                        TILE.. => tile::<V, TILE>(w, x, t, out),
                        3 => tile::<V, 3>(w, x, t, out),
                        2 => tile::<V, 2>(w, x, t, out),
                        _ => tile::<V, 1>(w, x, t, out),
                    }
                };
            }
        }
    }
}

/// [`products`] in a function that has the instructions of `V`.
macro_rules! tile_with {
    ($name:ident, $v:expr, $features:literal) => {
        #[target_feature(enable = $features)]
        unsafe fn $name<const N: usize>(w: Panels<'_>, x: ActRows<'_>, t: usize, out: &mut [f32]) {
            // SAFETY: the caller's promises, passed on.
            unsafe { products::<{ $v }, N>(w, x, t, out) }
        }
    };
}
tile_with!(tile_plain, PLAIN, "avx2,fma,f16c");
tile_with!(tile_vex, VEX, "avxvnni,avx2,fma,f16c");
tile_with!(tile_evex, EVEX, "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c");

/// Panels times `N` tokens from token `t` on; `out` is `(panels, all tokens, 8)`. Returns `N`.
///
/// # Safety
/// AVX2, FMA and F16C, and what `V` names; `w` is whole panels of a type in the kernels' order, as wide as `x`, which is
/// quantized; `t + N` rows exist.
pub(super) unsafe fn tile<const V: u8, const N: usize>(
    w: Panels<'_>,
    x: ActRows<'_>,
    t: usize,
    out: &mut [f32],
) -> usize {
    // SAFETY: the caller's promises, passed on.
    unsafe {
        match V {
            PLAIN => tile_plain::<N>(w, x, t, out),
            VEX => tile_vex::<N>(w, x, t, out),
            _ => tile_evex::<N>(w, x, t, out),
        }
    }
    N
}

/// As [`tile`], for a function that has the instructions. What a panel needs besides its bytes stays in registers from panel
/// to panel: by the end of a wide one everything else has left the first-level cache.
///
/// # Safety
/// As there.
#[inline(always)]
unsafe fn products<const V: u8, const N: usize>(w: Panels<'_>, x: ActRows<'_>, t: usize, out: &mut [f32]) {
    let rows = Rows::<N>::new(x, t);
    let (width, bytes) = panel_block(w.ty);
    let blocks = w.cols / width;
    let places = out.chunks_exact_mut(x.q_rows() * PANEL_ROWS).map(|out| &mut out[t * PANEL_ROWS..][..N * PANEL_ROWS]);
    let panels = w.bytes.chunks_exact(blocks * bytes).map(<[u8]>::as_ptr).zip(places);
    macro_rules! each {
        ($panel:ident => $kernel:expr) => {
            for ($panel, out) in panels {
                // SAFETY: the caller's promises; a whole panel, eight values for each token.
                unsafe {
                    for (acc, out) in $kernel.iter().zip(out.chunks_exact_mut(PANEL_ROWS)) {
                        _mm256_storeu_ps(out.as_mut_ptr(), *acc);
                    }
                }
            }
        };
    }
    match w.ty {
        BlockType::Q8_0 => each!(p => q8_0::<V, N>(p, blocks, &rows)),
        BlockType::Q4_0 => each!(p => q4_0::<V, N>(p, blocks, &rows)),
        BlockType::Q4K => each!(p => q4_k::<V, N>(p, blocks, &rows)),
        BlockType::Q2K => each!(p => pairs::q2_k_avx2::<V, N>(p, blocks, &rows)),
        BlockType::Q3K => each!(p => pairs::q3_k_avx2::<V, N>(p, blocks, &rows)),
        _ => with_codes!(
            w.ty,
            T => each!(p => codes::short::<T, V, N>(p, blocks, &rows)),
            _ => each!(p => q6_k::<V, N>(p, blocks, &rows))
        ),
    }
}

/// Where the quantized rows of `N` neighbouring tokens begin.
pub(super) struct Rows<const N: usize> {
    blocks: [*const ActBlock; N],
}

impl<const N: usize> Rows<N> {
    pub(super) fn new(x: ActRows<'_>, t: usize) -> Self {
        let blocks = x.cols() / BLOCK;
        Self { blocks: std::array::from_fn(|i| x.blocks[(t + i) * blocks..].as_ptr()) }
    }

    /// Where the bytes of block `b` of token `i` begin.
    ///
    /// # Safety
    /// The block exists.
    #[inline(always)]
    pub(super) unsafe fn q(&self, i: usize, b: usize) -> *const i8 {
        // SAFETY: the caller's promise; the bytes come first.
        unsafe { self.blocks[i].add(b).cast() }
    }

    /// The block's scale.
    ///
    /// # Safety
    /// As [`Rows::q`].
    #[inline(always)]
    pub(super) unsafe fn scale(&self, i: usize, b: usize) -> f32 {
        // SAFETY: the caller's promise.
        unsafe { (*self.blocks[i].add(b)).scale }
    }

    /// The sum of the block, negated.
    ///
    /// # Safety
    /// As [`Rows::q`].
    #[inline(always)]
    pub(super) unsafe fn less(&self, i: usize, b: usize) -> i32 {
        // SAFETY: the caller's promise.
        unsafe { (*self.blocks[i].add(b)).less }
    }

    /// The sum of half `h` of the block.
    ///
    /// # Safety
    /// As [`Rows::q`]; `h` is 0 or 1.
    #[inline(always)]
    pub(super) unsafe fn sum(&self, i: usize, b: usize, h: usize) -> i32 {
        // SAFETY: the caller's promises.
        unsafe { *(*self.blocks[i].add(b)).sums.as_ptr().add(h) }
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

/// `acc + Σ w · q` over the four bytes of each lane, `w` unsigned.
///
/// # Safety
/// What `V` names, which is not [`PLAIN`].
#[inline(always)]
pub(super) unsafe fn dpbusd<const V: u8>(acc: __m256i, w: __m256i, q: __m256i) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe { if V == EVEX { _mm256_dpbusd_epi32(acc, w, q) } else { _mm256_dpbusd_avx_epi32(acc, w, q) } }
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
    ($v:ident, $n:ident, $chunks:expr, $rows:expr, $at:expr) => {{
        let (chunks, rows, at): (*const u8, &Rows<$n>, usize) = ($chunks, $rows, $at);
        let low = _mm256_set1_epi8(15);
        let mut acc = [_mm256_setzero_si256(); $n];
        for c in 0..4 {
            let bytes = load(chunks.add(32 * c));
            let (a, b) = (_mm256_and_si256(bytes, low), _mm256_and_si256(_mm256_srli_epi16(bytes, 4), low));
            for i in 0..$n {
                let (p, q) = (quad(rows.q(i, at), 4 * c), quad(rows.q(i, at), 16 + 4 * c));
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

#[inline(always)]
unsafe fn q4_0<const V: u8, const N: usize>(panel: *const u8, blocks: usize, rows: &Rows<N>) -> [__m256; N] {
    // SAFETY: block `b` of the panel and of each row exist.
    unsafe {
        let mut acc = [_mm256_setzero_ps(); N];
        for b in 0..blocks {
            let block = panel.add(144 * b);
            let d = scales(block);
            let dots = nibble_dots!(V, N, block.add(16), rows, b);
            for i in 0..N {
                let dot = _mm256_add_epi32(dots[i], _mm256_slli_epi32(_mm256_set1_epi32(rows.less(i, b)), 3));
                let scale = _mm256_mul_ps(d, _mm256_set1_ps(rows.scale(i, b)));
                acc[i] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot), scale, acc[i]);
            }
        }
        acc
    }
}

#[inline(always)]
unsafe fn q8_0<const V: u8, const N: usize>(panel: *const u8, blocks: usize, rows: &Rows<N>) -> [__m256; N] {
    // SAFETY: block `b` of the panel and of each row exist.
    unsafe {
        let mut acc = [_mm256_setzero_ps(); N];
        for b in 0..blocks {
            let block = panel.add(272 * b);
            let d = scales(block);
            let mut dots = [_mm256_setzero_si256(); N];
            for c in 0..8 {
                let w = load(block.add(16 + 32 * c));
                // w + 128 is unsigned; 128 times the block's sum comes off below.
                let size = if V != PLAIN { _mm256_xor_si256(w, _mm256_set1_epi8(-128)) } else { _mm256_abs_epi8(w) };
                for i in 0..N {
                    let quad = quad(rows.q(i, b), 4 * c);
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
                    let less = _mm256_slli_epi32(_mm256_set1_epi32(rows.less(i, b)), 7);
                    dots[i] = _mm256_add_epi32(dots[i], less);
                }
                let scale = _mm256_mul_ps(d, _mm256_set1_ps(rows.scale(i, b)));
                acc[i] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dots[i]), scale, acc[i]);
            }
        }
        acc
    }
}

#[inline(always)]
unsafe fn q4_k<const V: u8, const N: usize>(panel: *const u8, blocks: usize, rows: &Rows<N>) -> [__m256; N] {
    // SAFETY: block `b` of the panel exists and has eight sub-blocks; so has each row.
    unsafe {
        let mut acc = [_mm256_setzero_ps(); N];
        for b in 0..blocks {
            let block = panel.add(1184 * b);
            let (d, dmin) = (scales(block), scales(block.add(16)));
            for sub in 0..8 {
                let at = 8 * b + sub;
                let dots = nibble_dots!(V, N, block.add(160 + 128 * sub), rows, at);
                let scale = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(block.add(32 + 8 * sub).cast())));
                let min = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(block.add(96 + 8 * sub).cast())));
                let (scale, min) = (_mm256_mul_ps(d, scale), _mm256_mul_ps(dmin, min));
                for i in 0..N {
                    let less = _mm256_cvtepi32_ps(_mm256_set1_epi32(rows.less(i, at)));
                    let share = _mm256_mul_ps(scale, _mm256_cvtepi32_ps(dots[i]));
                    let share = _mm256_fmadd_ps(min, less, share);
                    acc[i] = _mm256_fmadd_ps(share, _mm256_set1_ps(rows.scale(i, at)), acc[i]);
                }
            }
        }
        acc
    }
}

#[inline(always)]
unsafe fn q6_k<const V: u8, const N: usize>(panel: *const u8, blocks: usize, rows: &Rows<N>) -> [__m256; N] {
    // SAFETY: block `b` of the panel exists and has eight sub-blocks of 192 bytes; so has each row.
    unsafe {
        let (low, two) = (_mm256_set1_epi8(15), _mm256_set1_epi8(0x30));
        let mut acc = [_mm256_setzero_ps(); N];
        for b in 0..blocks {
            let block = panel.add(1680 * b);
            let d = scales(block);
            for sub in 0..8 {
                let (at, chunks) = (8 * b + sub, block.add(144 + 192 * sub));
                let mut dots = [[_mm256_setzero_si256(); 2]; N];
                // Every byte once, in the order of memory.
                let nibbles = [0, 1, 2, 3].map(|c| load(chunks.add(32 * c)));
                let pairs = [0, 1].map(|h| load(chunks.add(128 + 32 * h)));
                for h in 0..2 {
                    for c in 0..4 {
                        let nibble =
                            _mm256_and_si256(if h == 0 { nibbles[c] } else { _mm256_srli_epi16(nibbles[c], 4) }, low);
                        let high = match c {
                            0 => _mm256_slli_epi16(pairs[h], 4),
                            1 => _mm256_slli_epi16(pairs[h], 2),
                            2 => pairs[h],
                            _ => _mm256_srli_epi16(pairs[h], 2),
                        };
                        let w = _mm256_or_si256(nibble, _mm256_and_si256(high, two));
                        for i in 0..N {
                            // 63 · 127 · 2 = 16,002: two of them fit sixteen bits, four do not.
                            let quad = quad(rows.q(i, at), 16 * h + 4 * c);
                            dots[i][h] = if V != PLAIN {
                                dpbusd::<V>(dots[i][h], w, quad)
                            } else {
                                add_products(dots[i][h], w, quad)
                            };
                        }
                    }
                }
                // 128 · 16 · 32 · 127, twice, stays below 2^24: exact in single precision.
                let scale = [0, 1].map(|h| {
                    _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(block.add(16 + 8 * (2 * sub + h)).cast())))
                });
                for i in 0..N {
                    let half = |h: usize| {
                        let offset = _mm256_slli_epi32(_mm256_set1_epi32(rows.sum(i, at, h)), 5);
                        _mm256_mul_ps(scale[h], _mm256_cvtepi32_ps(_mm256_sub_epi32(dots[i][h], offset)))
                    };
                    let dot = _mm256_add_ps(half(0), half(1));
                    acc[i] = _mm256_fmadd_ps(dot, _mm256_mul_ps(d, _mm256_set1_ps(rows.scale(i, at))), acc[i]);
                }
            }
        }
        acc
    }
}
