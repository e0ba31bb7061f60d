//! Matmul over single and half precision with AVX-512: two panels (sixteen rows) by twelve tokens. Every sum goes over the columns
//! in order, as in the other sets.

use std::arch::x86_64::*;

use super::super::{Acts, Panels};
use super::common;
use crate::quant::BlockType;
use crate::weights::layout::PANEL_ROWS;

/// `out` is `(panels, tokens, 8)`; the shapes were checked by `matmul_shape`.
pub(super) fn matmul(w: Panels<'_>, x: &Acts, out: &mut [f32]) {
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
