//! The types that are decoded in the kernel: panels to scratch in the order of the dot-product instructions, then integers.

use std::arch::x86_64::*;
use std::marker::PhantomData;

use super::super::decoded::{self, RUNS, SEGMENT, blocks_of, decode};
use super::super::scalar::matmul_shape;
use super::super::{ActRows, Panels};
use super::avx2::{EVEX, PLAIN, Rows, VEX};
use super::avx512;
use super::forms::Meaning;
use super::strips::{Laid, add_run};
use crate::quant::runs::{RUN, Run, Runs};
use crate::weights::layout::PANEL_ROWS;

/// A segment of `P` panels side by side: integers in chunks of four columns by `8 P` rows, as in `weights::layout`, factors
/// one for each half of a run and row.
#[repr(C, align(64))]
pub(super) struct Scratch<const P: usize> {
    pub(super) q: [[[[u8; 32]; P]; 8]; RUNS],
    pub(super) scale: [[[[f32; PANEL_ROWS]; P]; 2]; RUNS],
    pub(super) min: [[[[f32; PANEL_ROWS]; P]; 2]; RUNS],
}

impl<const P: usize> Scratch<P> {
    pub(super) const ZERO: Self = Self {
        q: [[[[0; 32]; P]; 8]; RUNS],
        scale: [[[[0.0; PANEL_ROWS]; P]; 2]; RUNS],
        min: [[[[0.0; PANEL_ROWS]; P]; 2]; RUNS],
    };

    /// Decodes the segment `blocks` of a panel to place `p` and answers the number of runs. The integers are flipped by `flip`.
    ///
    /// # Safety
    /// AVX2, FMA and F16C.
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn fill<T: Runs>(&mut self, p: usize, blocks: &[u8], flip: u8, rows: &mut decoded::Rows) -> usize {
        decode::<T>(blocks, rows, |bits| singles(bits));
        let runs = blocks.len() / (PANEL_ROWS * T::BYTES) * (T::LEN / RUN);
        for r in 0..runs.min(RUNS) {
            let row = |row: usize| &rows[row][r];
            let table = T::TABLE.map(|table| {
                // SAFETY: sixteen bytes.
                _mm256_broadcastsi128_si256(unsafe { _mm_loadu_si128(table.as_ptr().cast()) })
            });
            let flip = _mm256_set1_epi8(flip.cast_signed());
            let q: [__m256i; 8] = std::array::from_fn(|i| {
                // SAFETY: a run has 32 integers.
                let q = unsafe { _mm256_loadu_si256(row(i).q.0.as_ptr().cast()) };
                let q = table.map_or(q, |table| _mm256_shuffle_epi8(table, q));
                _mm256_xor_si256(if T::SIGNS { signed(q, row(i).signs) } else { q }, flip)
            });
            for (chunk, q) in self.q[r].iter_mut().zip(transposed(q)) {
                // SAFETY: 32 bytes.
                unsafe { _mm256_storeu_si256(chunk[p].as_mut_ptr().cast(), q) };
            }
            let factors: [__m128; 8] = std::array::from_fn(|i| {
                // SAFETY: `scale` and `min` are four values side by side, as `Run` is laid out.
                unsafe { _mm_loadu_ps((&raw const row(i).scale).cast()) }
            });
            let [scale0, scale1, min0, min1] = columns(factors);
            let put = |to: &mut [f32; PANEL_ROWS], v: __m256| {
                // SAFETY: eight values.
                unsafe { _mm256_storeu_ps(to.as_mut_ptr(), v) };
            };
            put(&mut self.scale[r][0][p], scale0);
            if T::HALVES {
                put(&mut self.scale[r][1][p], scale1);
            }
            if T::MINS {
                put(&mut self.min[r][0][p], min0);
            }
            if T::MINS && T::HALVES {
                put(&mut self.min[r][1][p], min1);
            }
        }
        runs
    }
}

/// Eight halves in single precision.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn singles(bits: [u16; 8]) -> [f32; 8] {
    let mut singles = [0.0; 8];
    // SAFETY: eight halves, eight singles.
    unsafe { _mm256_storeu_ps(singles.as_mut_ptr(), _mm256_cvtph_ps(_mm_loadu_si128(bits.as_ptr().cast()))) };
    singles
}

/// Bytes, negated where a bit of `signs` is set.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn signed(q: __m256i, signs: u32) -> __m256i {
    let spread = _mm256_setr_epi64x(0, eight(1), eight(2), eight(3));
    let bit = _mm256_set1_epi64x(0x8040_2010_0804_0201u64.cast_signed());
    let bytes = _mm256_shuffle_epi8(_mm256_set1_epi32(signs.cast_signed()), spread);
    let mask = _mm256_cmpeq_epi8(_mm256_and_si256(bytes, bit), bit);
    _mm256_sub_epi8(_mm256_xor_si256(q, mask), mask)
}

/// A byte repeated eight times.
const fn eight(byte: i64) -> i64 {
    byte * 0x0101_0101_0101_0101
}

/// Eight rows of eight quads to eight quads of eight rows.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn transposed(rows: [__m256i; 8]) -> [__m256i; 8] {
    let [a, b, c, d, e, f, g, h] = rows;
    let (ab, ab2) = (_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
    let (cd, cd2) = (_mm256_unpacklo_epi32(c, d), _mm256_unpackhi_epi32(c, d));
    let (ef, ef2) = (_mm256_unpacklo_epi32(e, f), _mm256_unpackhi_epi32(e, f));
    let (gh, gh2) = (_mm256_unpacklo_epi32(g, h), _mm256_unpackhi_epi32(g, h));
    // Quads i and i + 4 of the rows a to d, and of e to h.
    let first = [
        _mm256_unpacklo_epi64(ab, cd),
        _mm256_unpackhi_epi64(ab, cd),
        _mm256_unpacklo_epi64(ab2, cd2),
        _mm256_unpackhi_epi64(ab2, cd2),
    ];
    let second = [
        _mm256_unpacklo_epi64(ef, gh),
        _mm256_unpackhi_epi64(ef, gh),
        _mm256_unpacklo_epi64(ef2, gh2),
        _mm256_unpackhi_epi64(ef2, gh2),
    ];
    std::array::from_fn(|i| {
        let (x, y) = (first[i % 4], second[i % 4]);
        if i < 4 { _mm256_permute2x128_si256::<0x20>(x, y) } else { _mm256_permute2x128_si256::<0x31>(x, y) }
    })
}

/// Eight rows of four to four columns of eight.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn columns(rows: [__m128; 8]) -> [__m256; 4] {
    let [a, b, c, d, e, f, g, h] = rows;
    let wide = [_mm256_set_m128(e, a), _mm256_set_m128(f, b), _mm256_set_m128(g, c), _mm256_set_m128(h, d)];
    let (ab, ab2) = (_mm256_unpacklo_ps(wide[0], wide[1]), _mm256_unpackhi_ps(wide[0], wide[1]));
    let (cd, cd2) = (_mm256_unpacklo_ps(wide[2], wide[3]), _mm256_unpackhi_ps(wide[2], wide[3]));
    [
        _mm256_shuffle_ps::<0b01_00_01_00>(ab, cd),
        _mm256_shuffle_ps::<0b11_10_11_10>(ab, cd),
        _mm256_shuffle_ps::<0b01_00_01_00>(ab2, cd2),
        _mm256_shuffle_ps::<0b11_10_11_10>(ab2, cd2),
    ]
}

/// Tokens that share one pass over a segment.
const TILE: usize = 4;

/// `Kernels::matmul` with AVX2, one panel at a time.
///
/// # Safety
/// AVX2, FMA and F16C, and what `V` names; not EVEX, whose matmul is [`matmul_avx512`].
pub(super) unsafe fn matmul_avx2<T: Runs, const V: u8>(w: Panels<'_>, x: ActRows<'_>, out: &mut [f32]) {
    // SAFETY: the caller's promise, passed on.
    unsafe { if V == PLAIN { matmul_plain::<T>(w, x, out) } else { matmul_vex::<T>(w, x, out) } }
}

/// [`products_avx2`] in a function that has the instructions of `V`.
macro_rules! matmul_with {
    ($name:ident, $v:expr, $features:literal) => {
        #[target_feature(enable = $features)]
        unsafe fn $name<T: Runs>(w: Panels<'_>, x: ActRows<'_>, out: &mut [f32]) {
            // SAFETY: the caller's promise, passed on.
            unsafe { products_avx2::<T, { $v }>(w, x, out) }
        }
    };
}
matmul_with!(matmul_plain, PLAIN, "avx2,fma,f16c");
matmul_with!(matmul_vex, VEX, "avxvnni,avx2,fma,f16c");

#[inline(always)]
unsafe fn products_avx2<T: Runs, const V: u8>(w: Panels<'_>, x: ActRows<'_>, out: &mut [f32]) {
    let (panel, tokens) = matmul_shape(w, x, out);
    out.fill(0.0);
    for (bytes, out) in w.bytes.chunks_exact(panel).zip(out.chunks_exact_mut((tokens * PANEL_ROWS).max(1))) {
        // SAFETY: this function's promise.
        unsafe { panel_avx2::<T, V>(bytes, x, out) };
    }
}

/// One panel times all rows of `x`; `out` is `(rows, 8)` and zero.
///
/// # Safety
/// AVX2, FMA and F16C, and what `V` names; `bytes` is a whole panel as wide as `x`, which is quantized and has a row for each eight of `out`.
#[inline(always)]
unsafe fn panel_avx2<T: Runs, const V: u8>(bytes: &[u8], x: ActRows<'_>, out: &mut [f32]) {
    let (mut rows, mut scratch) = ([[Run::ZERO; RUNS]; PANEL_ROWS], Scratch::<1>::ZERO);
    for (s, blocks) in bytes.chunks(blocks_of::<T>() * PANEL_ROWS * T::BYTES).enumerate() {
        // SAFETY: the caller's promises; a segment's runs exist in each row of `x`.
        unsafe {
            let runs = scratch.fill::<T>(0, blocks, if V != PLAIN { 128 } else { 0 }, &mut rows);
            for (tile, out) in out.chunks_mut(TILE * PANEL_ROWS).enumerate() {
                let t = tile * TILE;
                match out.len() / PANEL_ROWS {
                    4 => dots_avx2::<T, V, 4>(&scratch, runs, s * SEGMENT / RUN, &Rows::new(x, t), out),
                    3 => dots_avx2::<T, V, 3>(&scratch, runs, s * SEGMENT / RUN, &Rows::new(x, t), out),
                    2 => dots_avx2::<T, V, 2>(&scratch, runs, s * SEGMENT / RUN, &Rows::new(x, t), out),
                    _ => dots_avx2::<T, V, 1>(&scratch, runs, s * SEGMENT / RUN, &Rows::new(x, t), out),
                }
            }
        }
    }
}

/// What a type's runs mean once they are decoded.
struct Decoded<T>(PhantomData<T>);

impl<T: Runs> Meaning for Decoded<T> {
    const BITS: usize = 8;
    const HALVES: bool = T::HALVES;
    const MINS: bool = T::MINS;
}

/// Adds the products of a segment, whose first run is run `first` of each row, to `out`, `(N, 8)`.
#[inline(always)]
unsafe fn dots_avx2<T: Runs, const V: u8, const N: usize>(
    w: &Scratch<1>,
    runs: usize,
    first: usize,
    rows: &Rows<N>,
    out: &mut [f32],
) {
    // SAFETY: `N` times eight outputs; run `first + r` of each row exists.
    unsafe {
        let mut acc = [[_mm256_setzero_ps(); N]];
        for i in 0..N {
            acc[0][i] = _mm256_loadu_ps(out.as_ptr().add(PANEL_ROWS * i));
        }
        for r in 0..runs.min(RUNS) {
            add_run::<Decoded<T>, V, N, 1>(&Laid::run(w, r), rows, first + r, &mut acc);
        }
        for i in 0..N {
            _mm256_storeu_ps(out.as_mut_ptr().add(PANEL_ROWS * i), acc[0][i]);
        }
    }
}

/// `Kernels::matmul` with AVX-512 and VNNI, two panels at a time.
///
/// # Safety
/// AVX-512 F, BW, VL and VNNI, AVX2, FMA and F16C.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
pub(super) unsafe fn matmul_avx512<T: Runs>(w: Panels<'_>, x: ActRows<'_>, out: &mut [f32]) {
    let (panel, tokens) = matmul_shape(w, x, out);
    out.fill(0.0);
    for (bytes, out) in w.bytes.chunks(2 * panel).zip(out.chunks_mut((2 * tokens * PANEL_ROWS).max(1))) {
        // SAFETY: this function's promise; `matmul_shape` has checked that panels, rows and outputs belong together.
        unsafe {
            if bytes.len() == panel {
                panel_avx2::<T, EVEX>(bytes, x, out);
            } else {
                pair_avx512::<T>(bytes.split_at(panel), x, out);
            }
        }
    }
}

/// Two panels times all rows of `x`; `out` is `(2, rows, 8)` and zero.
///
/// # Safety
/// As [`matmul_avx512`]; whole panels as wide as `x`, which is quantized and has a row for each sixteen of `out`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
unsafe fn pair_avx512<T: Runs>((a, b): (&[u8], &[u8]), x: ActRows<'_>, out: &mut [f32]) {
    let (mut rows, mut scratch) = ([[Run::ZERO; RUNS]; PANEL_ROWS], Scratch::<2>::ZERO);
    let step = blocks_of::<T>() * PANEL_ROWS * T::BYTES;
    let (low, high) = out.split_at_mut(out.len() / 2);
    for (s, (a, b)) in a.chunks(step).zip(b.chunks(step)).enumerate() {
        let first = s * SEGMENT / RUN;
        // SAFETY: the caller's promises; a segment's runs exist in each row of `x`.
        unsafe {
            scratch.fill::<T>(0, a, 128, &mut rows);
            let runs = scratch.fill::<T>(1, b, 128, &mut rows);
            let mut t = 0;
            while t < x.q_rows() {
                let (low, high) = (&mut low[t * PANEL_ROWS..], &mut high[t * PANEL_ROWS..]);
                t += match x.q_rows() - t {
                    8.. => dots_avx512::<T, 8>(&scratch, runs, first, &Rows::new(x, t), low, high),
                    4.. => dots_avx512::<T, 4>(&scratch, runs, first, &Rows::new(x, t), low, high),
                    2.. => dots_avx512::<T, 2>(&scratch, runs, first, &Rows::new(x, t), low, high),
                    _ => dots_avx512::<T, 1>(&scratch, runs, first, &Rows::new(x, t), low, high),
                };
            }
        }
    }
}

/// Adds the products of a segment, whose first run is run `first` of each row, to the outputs of both panels; answers `N`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
unsafe fn dots_avx512<T: Runs, const N: usize>(
    w: &Scratch<2>,
    runs: usize,
    first: usize,
    rows: &Rows<N>,
    low: &mut [f32],
    high: &mut [f32],
) -> usize {
    // SAFETY: `N` times eight outputs of each panel; run `first + r` of each row exists.
    unsafe {
        let mut acc: [__m512; N] = std::array::from_fn(|i| {
            let (a, b) = (low.as_ptr().add(PANEL_ROWS * i), high.as_ptr().add(PANEL_ROWS * i));
            let low = _mm512_castps_pd(_mm512_castps256_ps512(_mm256_loadu_ps(a)));
            _mm512_castpd_ps(_mm512_insertf64x4(low, _mm256_castps_pd(_mm256_loadu_ps(b)), 1))
        });
        for r in 0..runs.min(RUNS) {
            let at = first + r;
            let mut quads = [_mm512_setzero_si512(); 8];
            for c in 0..8 {
                quads[c] = _mm512_loadu_si512(w.q[r][c].as_ptr().cast());
            }
            let dots = avx512::dots!(N, quads, rows, at);
            let factor = |of: &[[[f32; PANEL_ROWS]; 2]; 2], h: usize| _mm512_loadu_ps(of[h].as_ptr().cast());
            for i in 0..N {
                let sums = [rows.sum(i, at, 0), rows.sum(i, at, 1)];
                // The flipped integers are 128 more than they should be.
                let dot = |d: __m512i, sum: i32| _mm512_cvtepi32_ps(_mm512_sub_epi32(d, _mm512_set1_epi32(128 * sum)));
                let mut share;
                if T::HALVES {
                    share = _mm512_mul_ps(factor(&w.scale[r], 0), dot(dots[i][0], sums[0]));
                    share = _mm512_fmadd_ps(factor(&w.scale[r], 1), dot(dots[i][1], sums[1]), share);
                } else {
                    let both = _mm512_add_epi32(dots[i][0], dots[i][1]);
                    share = _mm512_mul_ps(factor(&w.scale[r], 0), dot(both, sums[0] + sums[1]));
                }
                if T::MINS && T::HALVES {
                    share = _mm512_fnmadd_ps(factor(&w.min[r], 0), _mm512_set1_ps(sums[0] as f32), share);
                    share = _mm512_fnmadd_ps(factor(&w.min[r], 1), _mm512_set1_ps(sums[1] as f32), share);
                } else if T::MINS {
                    let sum = _mm512_set1_ps((sums[0] + sums[1]) as f32);
                    share = _mm512_fnmadd_ps(factor(&w.min[r], 0), sum, share);
                }
                acc[i] = _mm512_fmadd_ps(share, _mm512_set1_ps(rows.scale(i, at)), acc[i]);
            }
        }
        for (i, acc) in acc.iter().enumerate() {
            let (a, b) = (low.as_mut_ptr().add(PANEL_ROWS * i), high.as_mut_ptr().add(PANEL_ROWS * i));
            _mm256_storeu_ps(a, _mm512_castps512_ps256(*acc));
            _mm256_storeu_ps(b, _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(*acc), 1)));
        }
    }
    N
}
