//! The types of four- and five-bit codes, for panels in the order of `weights::layout::codes`. The roundings are those of
//! `kernels::decoded`.

use std::arch::x86_64::*;

use super::avx2::{self, Rows};
use super::avx512;
use crate::weights::layout::codes::{Codes, Head, NIBBLES};

/// Scales and minima of a block as bytes: (four sub-blocks, panel, sub-block, row).
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Small<const P: usize> {
    scales: [[[u8; 32]; P]; 2],
    mins: [[[u8; 32]; P]; 2],
}

impl<const P: usize> Small<P> {
    pub(super) const ZERO: Self = Self { scales: [[[0; 32]; P]; 2], mins: [[[0; 32]; P]; 2] };

    /// Where those of sub-block `sub` begin in panel `p`.
    fn at(of: &[[[u8; 32]; P]; 2], p: usize, sub: usize) -> *const u8 {
        of[sub / 4][p][8 * (sub % 4)..].as_ptr()
    }

    /// Reads the head of a block to place `p`. Halves and powers have nothing to read.
    ///
    /// # Safety
    /// AVX2; the block's head exists.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    pub(super) unsafe fn read<T: Codes>(&mut self, p: usize, block: *const u8) {
        let (four, high) = (_mm256_set1_epi8(15), _mm256_set1_epi8(0x30));
        let low = |v: __m256i| _mm256_and_si256(v, four);
        let upper = |v: __m256i| low(_mm256_srli_epi16(v, 4));
        let put = |to: &mut [u8; 32], v: __m256i| {
            // SAFETY: 32 bytes.
            unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), v) };
        };
        // SAFETY: the heads of these types reach so far.
        unsafe {
            match T::HEAD {
                Head::SixBits => {
                    let [a, b, c] = [32, 64, 96].map(|at| avx2::load(block.add(at)));
                    let six = _mm256_set1_epi8(63);
                    let top = |v: __m256i| _mm256_and_si256(_mm256_srli_epi16(v, 2), high);
                    put(&mut self.scales[0][p], _mm256_and_si256(a, six));
                    put(&mut self.mins[0][p], _mm256_and_si256(b, six));
                    put(&mut self.scales[1][p], _mm256_or_si256(low(c), top(a)));
                    put(&mut self.mins[1][p], _mm256_or_si256(upper(c), top(b)));
                }
                Head::Signed => {
                    let pairs = _mm256_broadcastsi128_si256(_mm_loadu_si128(block.add(16).cast()));
                    // Bits 0 and 1, then 2 and 3 of each row; four higher those of the last four sub-blocks.
                    let pairs = _mm256_srlv_epi32(pairs, _mm256_setr_epi32(0, 0, 0, 0, 2, 2, 2, 2));
                    let codes = avx2::load(block.add(32));
                    let offset = _mm256_set1_epi8(32);
                    let first = _mm256_and_si256(_mm256_slli_epi16(pairs, 4), high);
                    put(&mut self.scales[0][p], _mm256_sub_epi8(_mm256_or_si256(low(codes), first), offset));
                    let last = _mm256_and_si256(pairs, high);
                    put(&mut self.scales[1][p], _mm256_sub_epi8(_mm256_or_si256(upper(codes), last), offset));
                }
                Head::Halves | Head::Powers => {}
            }
        }
    }
}

/// `2^(e - 128)` of eight exponents.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn powers(e: __m256i) -> __m256 {
    let small = _mm256_sllv_epi32(_mm256_set1_epi32(0x0020_0000), e);
    let bits = _mm256_slli_epi32(_mm256_sub_epi32(e, _mm256_set1_epi32(1)), 23);
    _mm256_castsi256_ps(_mm256_blendv_epi8(bits, small, _mm256_cmpgt_epi32(_mm256_set1_epi32(2), e)))
}

/// Scales and minima of sub-block `sub` of a panel.
///
/// # Safety
/// AVX2, FMA and F16C; the block's head exists and is read to `small`.
#[inline(always)]
pub(super) unsafe fn short_factors<T: Codes>(block: *const u8, small: &Small<1>, sub: usize) -> (__m256, __m256) {
    // SAFETY: the caller's promises; eight bytes in `small`.
    unsafe {
        let bytes = |of| _mm_loadl_epi64(Small::<1>::at(of, 0, sub).cast());
        let zero = _mm256_setzero_ps();
        match T::HEAD {
            Head::Halves if T::MINS => (avx2::scales(block), _mm256_sub_ps(zero, avx2::scales(block.add(16)))),
            Head::Halves => (avx2::scales(block), zero),
            Head::Powers => (powers(_mm256_cvtepu8_epi32(_mm_loadl_epi64(block.cast()))), zero),
            Head::Signed => {
                let codes = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes(&small.scales)));
                (_mm256_mul_ps(avx2::scales(block), codes), zero)
            }
            Head::SixBits => {
                let scale = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes(&small.scales)));
                let min = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes(&small.mins)));
                let (d, dmin) = (avx2::scales(block), avx2::scales(block.add(16)));
                (_mm256_mul_ps(d, scale), _mm256_mul_ps(dmin, min))
            }
        }
    }
}

/// The kernels' bytes are `2^shift` more than the integers; 0 where they are equal.
pub(super) const fn shift<T: Codes>() -> i32 {
    if T::TABLE.is_some() {
        7
    } else if T::LESS == 0 {
        0
    } else {
        T::LESS.ilog2() as i32
    }
}

/// Quads `c` and `c + 4` of a sub-block of two panels, `c` being below 4.
///
/// # Safety
/// The set's features; the sub-block's chunks exist in each panel.
#[inline(always)]
pub(super) unsafe fn two_quads<T: Codes>(a: *const u8, b: *const u8, c: usize) -> [__m512i; 2] {
    // SAFETY: the caller's promises; sixteen bytes of a table.
    unsafe {
        let (bytes, low) = (avx512::load(a.add(32 * c), b.add(32 * c)), _mm512_set1_epi8(15));
        let mut first = _mm512_and_si512(bytes, low);
        let mut second = _mm512_and_si512(_mm512_srli_epi16(bytes, 4), low);
        if T::FIFTH {
            let (bits, one) = (avx512::load(a.add(NIBBLES), b.add(NIBBLES)), _mm512_set1_epi8(16));
            let up = _mm512_sll_epi16(bits, _mm_cvtsi32_si128(4 - c as i32));
            let down = _mm512_srl_epi16(bits, _mm_cvtsi32_si128(c as i32));
            first = _mm512_or_si512(first, _mm512_and_si512(up, one));
            second = _mm512_or_si512(second, _mm512_and_si512(down, one));
        }
        if T::TABLE.is_some() {
            let levels = const { table_bits::<T>() };
            let levels = _mm512_broadcast_i32x4(_mm_set_epi64x(levels[1], levels[0]));
            first = _mm512_shuffle_epi8(levels, first);
            second = _mm512_shuffle_epi8(levels, second);
        }
        [first, second]
    }
}

/// What the codes stand for where they are places in a table, 128 more, the first lowest.
const fn table_bits<T: Codes>() -> [i64; 2] {
    let mut bits = [0; 2];
    if let Some(table) = T::TABLE {
        let mut i = 0;
        while i < 16 {
            bits[i / 8] |= ((table[i] as u8 ^ 128) as i64) << (8 * (i % 8));
            i += 1;
        }
    }
    bits
}

/// The eight quads of a sub-block of two panels.
///
/// # Safety
/// As [`two_quads`].
#[inline(always)]
unsafe fn quads<T: Codes>(a: *const u8, b: *const u8) -> [__m512i; 8] {
    // SAFETY: the caller's promises.
    unsafe {
        let ([w0, w4], [w1, w5]) = (two_quads::<T>(a, b, 0), two_quads::<T>(a, b, 1));
        let ([w2, w6], [w3, w7]) = (two_quads::<T>(a, b, 2), two_quads::<T>(a, b, 3));
        [w0, w1, w2, w3, w4, w5, w6, w7]
    }
}

/// `P` pairs of panels.
///
/// # Safety
/// The set's features; whole panels of `blocks` blocks; each of the `N` rows is as wide.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
pub(super) unsafe fn wide<T: Codes, const N: usize, const P: usize>(
    panels: &[[*const u8; 2]; P],
    blocks: usize,
    rows: &Rows<N>,
) -> [[__m512; N]; P] {
    let mut small = Small::<2>::ZERO;
    let mut acc = [[_mm512_setzero_ps(); N]; P];
    for n in 0..blocks {
        for p in 0..P {
            // SAFETY: block `n` of each panel and of each row exist, with their sub-blocks.
            unsafe {
                let (a, b) = (panels[p][0].add(T::PANEL * n), panels[p][1].add(T::PANEL * n));
                small.read::<T>(0, a);
                small.read::<T>(1, b);
                for sub in 0..T::SUBS {
                    let (at, chunks) = (T::SUBS * n + sub, T::CHUNKS + T::STEP * sub);
                    let dots = avx512::dots!(N, quads::<T>(a.add(chunks), b.add(chunks)), rows, at);
                    let (scale, min) = factors::<T>(a, b, &small, sub);
                    for i in 0..N {
                        let less = rows.less(i, at);
                        let mut dot = _mm512_add_epi32(dots[i][0], dots[i][1]);
                        if shift::<T>() != 0 {
                            dot = _mm512_add_epi32(dot, _mm512_set1_epi32(less << shift::<T>()));
                        }
                        let mut share = _mm512_mul_ps(scale, _mm512_cvtepi32_ps(dot));
                        if T::MINS {
                            share = _mm512_fmadd_ps(min, _mm512_set1_ps(less as f32), share);
                        }
                        acc[p][i] = _mm512_fmadd_ps(share, _mm512_set1_ps(rows.scale(i, at)), acc[p][i]);
                    }
                }
            }
        }
    }
    acc
}

/// Scales and minima of sub-block `sub` of two panels.
///
/// # Safety
/// The set's features; the blocks' heads exist and are read to `small`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
pub(super) unsafe fn factors<T: Codes>(a: *const u8, b: *const u8, small: &Small<2>, sub: usize) -> (__m512, __m512) {
    let zero = _mm512_setzero_ps();
    // SAFETY: the caller's promise; eight bytes of each panel in `small`.
    unsafe {
        let bytes = |of| avx512::bytes(Small::<2>::at(of, 0, sub), Small::<2>::at(of, 1, sub));
        match T::HEAD {
            Head::Halves if T::MINS => {
                (avx512::scales(a, b), _mm512_sub_ps(zero, avx512::scales(a.add(16), b.add(16))))
            }
            Head::Halves => (avx512::scales(a, b), zero),
            Head::Powers => {
                let [a, b] = [a, b].map(|p| powers(_mm256_cvtepu8_epi32(_mm_loadl_epi64(p.cast()))));
                let low = _mm512_castps_pd(_mm512_castps256_ps512(a));
                (_mm512_castpd_ps(_mm512_insertf64x4(low, _mm256_castps_pd(b), 1)), zero)
            }
            Head::Signed => {
                let codes = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes(&small.scales)));
                (_mm512_mul_ps(avx512::scales(a, b), codes), zero)
            }
            Head::SixBits => {
                let scale = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes(&small.scales)));
                let min = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes(&small.mins)));
                let (d, dmin) = (avx512::scales(a, b), avx512::scales(a.add(16), b.add(16)));
                (_mm512_mul_ps(d, scale), _mm512_mul_ps(dmin, min))
            }
        }
    }
}
