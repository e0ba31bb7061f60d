//! Q2_K and Q3_K without a detour through scratch, for panels in the order of `weights::layout::pairs`. The roundings are
//! those of `kernels::decoded`.

use std::arch::x86_64::*;

use super::avx2::{self, PLAIN, Rows, dpbusd};
use super::{avx512, common};
use crate::quant::{q2_k, q3_k};
use crate::weights::layout::PANEL_ROWS;
use crate::weights::layout::pairs::{Q2_K_CHUNKS, Q2_K_SCALES, Q3_K_CHUNKS, Q3_K_SCALES};

const Q2_K: usize = PANEL_ROWS * q2_k::BYTES;
const Q3_K: usize = PANEL_ROWS * q3_k::BYTES;

/// Where group `g` of a Q3_K block has its scale: (byte of the four low bits, shift, byte of the two high bits, shift).
#[inline]
fn six_bits(g: usize) -> (usize, i32, usize, i32) {
    let at = |byte: usize| Q3_K_SCALES + PANEL_ROWS * byte;
    (at(g % 8), if g < 8 { 0 } else { 4 }, at(8 + g % 4), 2 * (g / 4) as i32)
}

/// Eight bytes as whole numbers.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn widened(p: *const u8) -> __m256i {
    // SAFETY: the caller points at eight bytes inside a panel.
    _mm256_cvtepu8_epi32(unsafe { _mm_loadl_epi64(p.cast()) })
}

/// Sums of products of four quads of weights up to 7 with half `h` of block `at` of each row: 7 · 127 · 2,
/// four times, is 7,112.
#[inline(always)]
unsafe fn half_dots<const V: u8, const N: usize>(w: [__m256i; 4], rows: &Rows<N>, at: usize, h: usize) -> [__m256i; N] {
    // SAFETY: block `at` of each row exists; the caller's promise about the instructions.
    unsafe {
        let mut acc = [_mm256_setzero_si256(); N];
        for (f, w) in w.into_iter().enumerate() {
            for i in 0..N {
                let quad = avx2::quad(rows.q(i, at), 16 * h + 4 * f);
                acc[i] = if V != PLAIN {
                    dpbusd::<V>(acc[i], w, quad)
                } else {
                    _mm256_add_epi16(acc[i], _mm256_maddubs_epi16(w, quad))
                };
            }
        }
        if V == PLAIN {
            for a in &mut acc {
                *a = _mm256_madd_epi16(*a, _mm256_set1_epi16(1));
            }
        }
        acc
    }
}

/// The four quads of two bits in a chunk.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn two_bits(chunk: __m256i) -> [__m256i; 4] {
    let three = _mm256_set1_epi8(3);
    [
        _mm256_and_si256(chunk, three),
        _mm256_and_si256(_mm256_srli_epi16(chunk, 2), three),
        _mm256_and_si256(_mm256_srli_epi16(chunk, 4), three),
        _mm256_and_si256(_mm256_srli_epi16(chunk, 6), three),
    ]
}

#[inline(always)]
pub(super) unsafe fn q2_k_avx2<const V: u8, const N: usize>(
    panel: *const u8,
    blocks: usize,
    rows: &Rows<N>,
) -> [__m256; N] {
    // SAFETY: block `b` of the panel exists and has eight sub-blocks; so has each row.
    unsafe {
        let mut acc = [_mm256_setzero_ps(); N];
        for b in 0..blocks {
            let block = panel.add(Q2_K * b);
            let (d, dmin) = (avx2::scales(block), avx2::scales(block.add(16)));
            for sub in 0..8 {
                let at = 8 * b + sub;
                let codes = [0, 1].map(|h| widened(block.add(Q2_K_SCALES + 8 * (2 * sub + h))));
                let fifteen = _mm256_set1_epi32(15);
                let scale = codes.map(|c| _mm256_mul_ps(d, _mm256_cvtepi32_ps(_mm256_and_si256(c, fifteen))));
                let min = codes.map(|c| _mm256_mul_ps(dmin, _mm256_cvtepi32_ps(_mm256_srli_epi32(c, 4))));
                let mut dots = [[_mm256_setzero_si256(); N]; 2];
                for h in 0..2 {
                    let chunk = avx2::load(block.add(Q2_K_CHUNKS + 64 * sub + 32 * h));
                    dots[h] = half_dots::<V, N>(two_bits(chunk), rows, at, h);
                }
                for i in 0..N {
                    let sum = |h: usize| _mm256_set1_ps(rows.sum(i, at, h) as f32);
                    let share = _mm256_mul_ps(scale[0], _mm256_cvtepi32_ps(dots[0][i]));
                    let share = _mm256_fmadd_ps(scale[1], _mm256_cvtepi32_ps(dots[1][i]), share);
                    let share = _mm256_fnmadd_ps(min[0], sum(0), share);
                    let share = _mm256_fnmadd_ps(min[1], sum(1), share);
                    acc[i] = _mm256_fmadd_ps(share, _mm256_set1_ps(rows.scale(i, at)), acc[i]);
                }
            }
        }
        acc
    }
}

#[inline(always)]
pub(super) unsafe fn q3_k_avx2<const V: u8, const N: usize>(
    panel: *const u8,
    blocks: usize,
    rows: &Rows<N>,
) -> [__m256; N] {
    // SAFETY: block `b` of the panel exists and has eight sub-blocks of 96 bytes; so has each row.
    unsafe {
        let mut acc = [_mm256_setzero_ps(); N];
        let four = _mm256_set1_epi8(4);
        for b in 0..blocks {
            let block = panel.add(Q3_K * b);
            let d = avx2::scales(block);
            for sub in 0..8 {
                let (at, chunks) = (8 * b + sub, block.add(Q3_K_CHUNKS + 96 * sub));
                let scale = |h: usize| {
                    let (low, shift, high, shift2) = six_bits(2 * sub + h);
                    let low = _mm256_srlv_epi32(widened(block.add(low)), _mm256_set1_epi32(shift));
                    let high = _mm256_srlv_epi32(widened(block.add(high)), _mm256_set1_epi32(shift2));
                    let low = _mm256_and_si256(low, _mm256_set1_epi32(15));
                    let high = _mm256_slli_epi32(_mm256_and_si256(high, _mm256_set1_epi32(3)), 4);
                    let code = _mm256_sub_epi32(_mm256_or_si256(low, high), _mm256_set1_epi32(32));
                    _mm256_mul_ps(d, _mm256_cvtepi32_ps(code))
                };
                let scale = [scale(0), scale(1)];
                let third = avx2::load(chunks.add(64));
                // The third bits of each half's quads, at bit 2 of their bytes.
                let thirds = [
                    [_mm256_slli_epi16(third, 2), _mm256_slli_epi16(third, 1), third, _mm256_srli_epi16(third, 1)],
                    [
                        _mm256_srli_epi16(third, 2),
                        _mm256_srli_epi16(third, 3),
                        _mm256_srli_epi16(third, 4),
                        _mm256_srli_epi16(third, 5),
                    ],
                ];
                let mut dots = [[_mm256_setzero_si256(); N]; 2];
                for h in 0..2 {
                    let mut w = two_bits(avx2::load(chunks.add(32 * h)));
                    for (w, third) in w.iter_mut().zip(thirds[h]) {
                        *w = _mm256_or_si256(*w, _mm256_and_si256(third, four));
                    }
                    dots[h] = half_dots::<V, N>(w, rows, at, h);
                }
                for i in 0..N {
                    let dot = |h: usize| {
                        let offset = _mm256_set1_epi32(4 * rows.sum(i, at, h));
                        _mm256_cvtepi32_ps(_mm256_sub_epi32(dots[h][i], offset))
                    };
                    let share = _mm256_fmadd_ps(scale[1], dot(1), _mm256_mul_ps(scale[0], dot(0)));
                    acc[i] = _mm256_fmadd_ps(share, _mm256_set1_ps(rows.scale(i, at)), acc[i]);
                }
            }
        }
        acc
    }
}

/// Eight bytes of each panel as whole numbers.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
unsafe fn widened_pair(a: *const u8, b: *const u8) -> __m512i {
    // SAFETY: the caller points at eight bytes inside each panel.
    _mm512_cvtepu8_epi32(unsafe { avx512::bytes(a, b) })
}

/// The eight quads of two bits in the two chunks of a sub-block.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
unsafe fn two_bits_pair(a: *const u8, b: *const u8) -> [__m512i; 8] {
    let three = _mm512_set1_epi8(3);
    let mut w = [_mm512_setzero_si512(); 8];
    for h in 0..2 {
        // SAFETY: the caller points at two chunks inside each panel.
        let chunk = unsafe { avx512::load(a.add(32 * h), b.add(32 * h)) };
        w[4 * h] = _mm512_and_si512(chunk, three);
        w[4 * h + 1] = _mm512_and_si512(_mm512_srli_epi16(chunk, 2), three);
        w[4 * h + 2] = _mm512_and_si512(_mm512_srli_epi16(chunk, 4), three);
        w[4 * h + 3] = _mm512_and_si512(_mm512_srli_epi16(chunk, 6), three);
    }
    w
}

avx512::by_blocks!(q2_k_avx512, Q2_K, |a, b, n, rows, acc, ask| {
    let (d, dmin) = (avx512::scales(a, b), avx512::scales(a.add(16), b.add(16)));
    for sub in 0..8 {
        ask(sub, 8);
        let (at, chunks) = (8 * n + sub, Q2_K_CHUNKS + 64 * sub);
        let codes = [0, 1].map(|h| {
            let small = Q2_K_SCALES + 8 * (2 * sub + h);
            widened_pair(a.add(small), b.add(small))
        });
        let fifteen = _mm512_set1_epi32(15);
        let scale = codes.map(|c| _mm512_mul_ps(d, _mm512_cvtepi32_ps(_mm512_and_si512(c, fifteen))));
        let min = codes.map(|c| _mm512_mul_ps(dmin, _mm512_cvtepi32_ps(_mm512_srli_epi32(c, 4))));
        let dots = avx512::dots!(N, two_bits_pair(a.add(chunks), b.add(chunks)), rows, at);
        for i in 0..N {
            let sum = |h: usize| _mm512_set1_ps(rows.sum(i, at, h) as f32);
            let share = _mm512_mul_ps(scale[0], _mm512_cvtepi32_ps(dots[i][0]));
            let share = _mm512_fmadd_ps(scale[1], _mm512_cvtepi32_ps(dots[i][1]), share);
            let share = _mm512_fnmadd_ps(min[0], sum(0), share);
            let share = _mm512_fnmadd_ps(min[1], sum(1), share);
            acc[i] = _mm512_fmadd_ps(share, _mm512_set1_ps(rows.scale(i, at)), acc[i]);
        }
    }
});

avx512::by_blocks!(q3_k_avx512, Q3_K, |a, b, n, rows, acc, ask| {
    let four = _mm512_set1_epi8(4);
    let d = avx512::scales(a, b);
    for sub in 0..8 {
        ask(sub, 8);
        let (at, chunks) = (8 * n + sub, Q3_K_CHUNKS + 96 * sub);
        let scale = |h: usize| {
            let (low, shift, high, shift2) = six_bits(2 * sub + h);
            let low = _mm512_srlv_epi32(widened_pair(a.add(low), b.add(low)), _mm512_set1_epi32(shift));
            let high = _mm512_srlv_epi32(widened_pair(a.add(high), b.add(high)), _mm512_set1_epi32(shift2));
            let low = _mm512_and_si512(low, _mm512_set1_epi32(15));
            let high = _mm512_slli_epi32(_mm512_and_si512(high, _mm512_set1_epi32(3)), 4);
            let code = _mm512_sub_epi32(_mm512_or_si512(low, high), _mm512_set1_epi32(32));
            _mm512_mul_ps(d, _mm512_cvtepi32_ps(code))
        };
        let scale = [scale(0), scale(1)];
        let third = avx512::load(a.add(chunks + 64), b.add(chunks + 64));
        // The third bits of the quads, at bit 2 of their bytes.
        let thirds = [
            _mm512_slli_epi16(third, 2),
            _mm512_slli_epi16(third, 1),
            third,
            _mm512_srli_epi16(third, 1),
            _mm512_srli_epi16(third, 2),
            _mm512_srli_epi16(third, 3),
            _mm512_srli_epi16(third, 4),
            _mm512_srli_epi16(third, 5),
        ];
        let mut w = two_bits_pair(a.add(chunks), b.add(chunks));
        for (w, third) in w.iter_mut().zip(thirds) {
            *w = _mm512_or_si512(*w, _mm512_and_si512(third, four));
        }
        let dots = avx512::dots!(N, w, rows, at);
        for i in 0..N {
            let dot = |h: usize| {
                let offset = _mm512_set1_epi32(4 * rows.sum(i, at, h));
                _mm512_cvtepi32_ps(_mm512_sub_epi32(dots[i][h], offset))
            };
            let share = _mm512_fmadd_ps(scale[1], dot(1), _mm512_mul_ps(scale[0], dot(0)));
            acc[i] = _mm512_fmadd_ps(share, _mm512_set1_ps(rows.scale(i, at)), acc[i]);
        }
    }
});
