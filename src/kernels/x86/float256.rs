//! Matmul over single and half precision with AVX2 and FMA: two panels by six tokens, or four panels by one. Every sum keeps the
//! order of the other sets.

use std::arch::x86_64::*;
use std::ops::Range;

use super::super::{ActRows, Panels};
use crate::quant::BlockType;
use crate::weights::layout::PANEL_ROWS;

/// Tokens whose activations stay in the second-level cache while panels go by.
const TOKEN_BLOCK: usize = 64;

/// What the values of a panel are, as kernels are told.
const SINGLE: u8 = 0;
const HALF: u8 = 1;
const BRAIN: u8 = 2;

/// Bytes of a value.
const fn bytes_of<const T: u8>() -> usize {
    if T == SINGLE { 4 } else { 2 }
}

/// `out` is `(panels, tokens, 8)`; the shapes were checked by `matmul_shape`.
pub(super) fn matmul(w: Panels<'_>, x: ActRows<'_>, out: &mut [f32]) {
    for first in (0..x.tokens()).step_by(TOKEN_BLOCK) {
        let tokens = first..(first + TOKEN_BLOCK).min(x.tokens());
        match w.ty {
            BlockType::F32 => panels::<SINGLE>(w, x, tokens, out),
            BlockType::F16 => panels::<HALF>(w, x, tokens, out),
            _ => panels::<BRAIN>(w, x, tokens, out),
        }
    }
}

/// Eight values of a panel.
///
/// # Safety
/// AVX2 and F16C; `p` points at them.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn weights<const T: u8>(p: *const u8) -> __m256 {
    // SAFETY: the caller's promise.
    unsafe {
        match T {
            SINGLE => _mm256_loadu_ps(p.cast()),
            HALF => _mm256_cvtph_ps(_mm_loadu_si128(p.cast())),
            _ => {
                let bits = _mm256_cvtepu16_epi32(_mm_loadu_si128(p.cast()));
                _mm256_castsi256_ps(_mm256_slli_epi32(bits, 16))
            }
        }
    }
}

/// All panels times the tokens `tokens`.
fn panels<const T: u8>(w: Panels<'_>, x: ActRows<'_>, tokens: Range<usize>, out: &mut [f32]) {
    let panel = w.cols * PANEL_ROWS * bytes_of::<T>();
    // For one token as many panels as hide the latency of a fused multiply-add.
    let share = if x.tokens() == 1 { 4 } else { 2 };
    for (bytes, out) in w.bytes.chunks(share * panel).zip(out.chunks_mut(share * x.tokens() * PANEL_ROWS)) {
        let mut t = tokens.start;
        while t < tokens.end {
            // SAFETY: AVX2, FMA and F16C as this table's constructor found; whole panels, and the tile's tokens exist.
            t += unsafe {
                match (bytes.len() / panel, tokens.end - t) {
                    (4, _) => tile::<T, 4, 1>(bytes, x, t, out),
                    (3, _) => tile::<T, 3, 1>(bytes, x, t, out),
                    (2, 6..) => tile::<T, 2, 6>(bytes, x, t, out),
                    (2, 4..) => tile::<T, 2, 4>(bytes, x, t, out),
                    (2, 2..) => tile::<T, 2, 2>(bytes, x, t, out),
                    (2, _) => tile::<T, 2, 1>(bytes, x, t, out),
                    (_, 6..) => tile::<T, 1, 6>(bytes, x, t, out),
                    (_, 2..) => tile::<T, 1, 2>(bytes, x, t, out),
                    _ => tile::<T, 1, 1>(bytes, x, t, out),
                }
            };
        }
    }
}

/// `P` panels times `N` tokens from token `t` on; `out` is `(P, all tokens, 8)`. Answers `N`.
///
/// # Safety
/// AVX2, FMA and F16C; whole panels as wide as `x`; the tokens exist.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn tile<const T: u8, const P: usize, const N: usize>(
    panels: &[u8],
    x: ActRows<'_>,
    t: usize,
    out: &mut [f32],
) -> usize {
    let (cols, size) = (x.cols(), panels.len() / P);
    let step = PANEL_ROWS * bytes_of::<T>();
    let (panels, values) = (panels.as_ptr(), x.values()[t * cols..(t + N) * cols].as_ptr());
    let mut acc = [[_mm256_setzero_ps(); N]; P];
    for k in 0..cols {
        // SAFETY: column `k` of each panel, value `k` of each row.
        unsafe {
            let mut w = [_mm256_setzero_ps(); P];
            for p in 0..P {
                w[p] = weights::<T>(panels.add(p * size + k * step));
            }
            for i in 0..N {
                let value = _mm256_set1_ps(*values.add(i * cols + k));
                for p in 0..P {
                    acc[p][i] = _mm256_fmadd_ps(w[p], value, acc[p][i]);
                }
            }
        }
    }
    for (acc, out) in acc.iter().zip(out.chunks_exact_mut(x.tokens() * PANEL_ROWS)) {
        for (acc, out) in acc.iter().zip(out[t * PANEL_ROWS..].chunks_exact_mut(PANEL_ROWS)) {
            // SAFETY: eight values.
            unsafe { _mm256_storeu_ps(out.as_mut_ptr(), *acc) };
        }
    }
    N
}
