//! Q2_K and Q3_K without a detour through scratch, for panels in the order of `weights::layout::pairs`. The roundings are
//! those of `kernels::decoded`.

use std::arch::x86_64::*;

use super::avx2::Rows;
use super::forms::six_bits;
use super::{avx512, common};
use crate::quant::{q2_k, q3_k};
use crate::weights::layout::PANEL_ROWS;
use crate::weights::layout::pairs::{Q2_K_CHUNKS, Q2_K_SCALES, Q3_K_CHUNKS};

const Q2_K: usize = PANEL_ROWS * q2_k::BYTES;
const Q3_K: usize = PANEL_ROWS * q3_k::BYTES;

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
