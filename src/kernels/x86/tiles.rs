//! AVX-512 with VNNI for several tokens: four panels at a time share each activation that is loaded, since two loads a cycle
//! would otherwise hold back two dot products. Same integers and same roundings as the kernels for one token.

use std::arch::x86_64::*;
use std::marker::PhantomData;

use super::avx2::Rows;
use super::avx512;
use super::codes::{self, Small};
use super::common::ask_group;
use crate::quant::BlockType;
use crate::weights::layout::codes::{Codes, with_codes};

/// A block type as a tile takes it: one scale (and minimum) for each 32 columns of a row. Its functions become part of the
/// kernel, which has the features; called, they would pass vectors through memory.
trait Form {
    /// Bytes of a panel block.
    const BYTES: usize;
    /// Runs of 32 columns in a block.
    const SUBS: usize = 1;
    /// The bytes that [`Form::quads`] answers are `2^SHIFT` more than the integers; 0 where they are equal.
    const SHIFT: i32;
    /// Whether there are minima.
    const MINS: bool = false;
    /// Whether a row's scale meets the activations' before the integers.
    const SCALES_FIRST: bool = false;
    /// What is read once a block.
    type Head;

    /// # Safety
    /// The set's features; the block exists in both panels.
    unsafe fn head(a: *const u8, b: *const u8) -> Self::Head;

    /// Quads `c` and `c + 4` of run `sub`, `c` being below 4.
    ///
    /// # Safety
    /// As [`Form::head`].
    unsafe fn quads(a: *const u8, b: *const u8, sub: usize, c: usize) -> [__m512i; 2];

    /// Scales and minima of run `sub`.
    ///
    /// # Safety
    /// As [`Form::head`].
    unsafe fn factors(a: *const u8, b: *const u8, head: &Self::Head, sub: usize) -> (__m512, __m512);
}

struct Q4_0;
struct Q8_0;
struct Q4K;
struct Coded<T>(PhantomData<T>);

/// The low nibbles and the high ones of chunk `c`.
///
/// # Safety
/// The set's features; the chunk exists in both panels.
#[inline(always)]
unsafe fn halves(a: *const u8, b: *const u8, c: usize) -> [__m512i; 2] {
    // SAFETY: the caller's promises.
    unsafe {
        let (bytes, low) = (avx512::load(a.add(32 * c), b.add(32 * c)), _mm512_set1_epi8(15));
        [_mm512_and_si512(bytes, low), _mm512_and_si512(_mm512_srli_epi16(bytes, 4), low)]
    }
}

impl Form for Q4_0 {
    const BYTES: usize = avx512::Q4_0;
    const SHIFT: i32 = 3;
    const SCALES_FIRST: bool = true;
    type Head = ();

    #[inline(always)]
    unsafe fn head(_: *const u8, _: *const u8) {}

    #[inline(always)]
    unsafe fn quads(a: *const u8, b: *const u8, _: usize, c: usize) -> [__m512i; 2] {
        // SAFETY: four chunks behind the scales.
        unsafe { halves(a.add(16), b.add(16), c) }
    }

    #[inline(always)]
    unsafe fn factors(a: *const u8, b: *const u8, (): &(), _: usize) -> (__m512, __m512) {
        // SAFETY: eight scales of each panel.
        unsafe { (avx512::scales(a, b), _mm512_setzero_ps()) }
    }
}

impl Form for Q8_0 {
    const BYTES: usize = avx512::Q8_0;
    const SHIFT: i32 = 7;
    const SCALES_FIRST: bool = true;
    type Head = ();

    #[inline(always)]
    unsafe fn head(_: *const u8, _: *const u8) {}

    #[inline(always)]
    unsafe fn quads(a: *const u8, b: *const u8, _: usize, c: usize) -> [__m512i; 2] {
        let (at, at2) = (16 + 32 * c, 144 + 32 * c);
        // SAFETY: eight chunks behind the scales.
        unsafe {
            let flip = _mm512_set1_epi8(-128);
            let (first, second) = (avx512::load(a.add(at), b.add(at)), avx512::load(a.add(at2), b.add(at2)));
            [_mm512_xor_si512(first, flip), _mm512_xor_si512(second, flip)]
        }
    }

    #[inline(always)]
    unsafe fn factors(a: *const u8, b: *const u8, (): &(), _: usize) -> (__m512, __m512) {
        // SAFETY: eight scales of each panel.
        unsafe { (avx512::scales(a, b), _mm512_setzero_ps()) }
    }
}

impl Form for Q4K {
    const BYTES: usize = avx512::Q4_K;
    const SUBS: usize = 8;
    const SHIFT: i32 = 0;
    const MINS: bool = true;
    type Head = [__m512; 2];

    #[inline(always)]
    unsafe fn head(a: *const u8, b: *const u8) -> [__m512; 2] {
        // SAFETY: the scales of scales and of minima.
        unsafe { [avx512::scales(a, b), avx512::scales(a.add(16), b.add(16))] }
    }

    #[inline(always)]
    unsafe fn quads(a: *const u8, b: *const u8, sub: usize, c: usize) -> [__m512i; 2] {
        let at = 160 + 128 * sub;
        // SAFETY: four chunks for each of eight runs.
        unsafe { halves(a.add(at), b.add(at), c) }
    }

    #[inline(always)]
    unsafe fn factors(a: *const u8, b: *const u8, head: &[__m512; 2], sub: usize) -> (__m512, __m512) {
        // SAFETY: eight bytes of scales and of minima for each of eight runs.
        unsafe { avx512::q4_k_factors(a, b, *head, sub) }
    }
}

impl<T: Codes> Form for Coded<T> {
    const BYTES: usize = T::PANEL;
    const SUBS: usize = T::SUBS;
    const SHIFT: i32 = codes::shift::<T>();
    const MINS: bool = T::MINS;
    type Head = Small<2>;

    #[inline(always)]
    unsafe fn head(a: *const u8, b: *const u8) -> Small<2> {
        let mut small = Small::ZERO;
        // SAFETY: the blocks' heads exist.
        unsafe {
            small.read::<T>(0, a);
            small.read::<T>(1, b);
        }
        small
    }

    #[inline(always)]
    unsafe fn quads(a: *const u8, b: *const u8, sub: usize, c: usize) -> [__m512i; 2] {
        let at = T::CHUNKS + T::STEP * sub;
        // SAFETY: the chunks of each run.
        unsafe { codes::two_quads::<T>(a.add(at), b.add(at), c) }
    }

    #[inline(always)]
    unsafe fn factors(a: *const u8, b: *const u8, head: &Small<2>, sub: usize) -> (__m512, __m512) {
        // SAFETY: the blocks' heads exist.
        unsafe { codes::factors::<T>(a, b, head, sub) }
    }
}

/// Whether a type has tiles.
pub(super) fn has(ty: BlockType) -> bool {
    matches!(ty, BlockType::Q4_0 | BlockType::Q8_0 | BlockType::Q4K) || with_codes!(ty, T => T::SUBS > 0, _ => false)
}

/// `P` pairs of panels of `blocks` blocks of a type that [`has`] names, times `N` rows.
///
/// # Safety
/// The set's features; whole panels; each row is as wide.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
pub(super) unsafe fn tile<const N: usize, const P: usize>(
    ty: BlockType,
    panels: &[[*const u8; 2]; P],
    blocks: usize,
    rows: &Rows<N>,
) -> [[__m512; N]; P] {
    // SAFETY: the caller's promises.
    unsafe {
        match ty {
            BlockType::Q8_0 => products::<Q8_0, N, P>(panels, blocks, rows),
            BlockType::Q4K => products::<Q4K, N, P>(panels, blocks, rows),
            _ => with_codes!(
                ty,
                T => products::<Coded<T>, N, P>(panels, blocks, rows),
                _ => products::<Q4_0, N, P>(panels, blocks, rows)
            ),
        }
    }
}

/// # Safety
/// As [`tile`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
unsafe fn products<F: Form, const N: usize, const P: usize>(
    panels: &[[*const u8; 2]; P],
    blocks: usize,
    rows: &Rows<N>,
) -> [[__m512; N]; P] {
    let shift = _mm_cvtsi32_si128(F::SHIFT);
    let mut acc = [[_mm512_setzero_ps(); N]; P];
    for n in 0..blocks {
        // SAFETY: block `n` of each panel and of each row exist.
        unsafe {
            let mut block = *panels;
            for p in 0..P {
                block[p] = [panels[p][0].add(F::BYTES * n), panels[p][1].add(F::BYTES * n)];
            }
            let heads: [F::Head; P] = std::array::from_fn(|p| F::head(block[p][0], block[p][1]));
            for sub in 0..F::SUBS {
                let at = F::SUBS * n + sub;
                ask_group(panels[0][0], 2 * P * F::BYTES / F::SUBS, at, F::SUBS * blocks);
                let mut dots = [[_mm512_setzero_si512(); N]; P];
                if F::SHIFT != 0 {
                    for i in 0..N {
                        let less = _mm512_sll_epi32(_mm512_set1_epi32(rows.less(i, at)), shift);
                        for p in 0..P {
                            dots[p][i] = less;
                        }
                    }
                }
                for c in 0..4 {
                    let mut w = [[_mm512_setzero_si512(); 2]; P];
                    for p in 0..P {
                        w[p] = F::quads(block[p][0], block[p][1], sub, c);
                    }
                    for i in 0..N {
                        for h in 0..2 {
                            let quad = avx512::quad(rows.q(i, at), 16 * h + 4 * c);
                            for p in 0..P {
                                dots[p][i] = _mm512_dpbusd_epi32(dots[p][i], w[p][h], quad);
                            }
                        }
                    }
                }
                for p in 0..P {
                    let (scale, min) = F::factors(block[p][0], block[p][1], &heads[p], sub);
                    for i in 0..N {
                        let (dot, s) = (_mm512_cvtepi32_ps(dots[p][i]), _mm512_set1_ps(rows.scale(i, at)));
                        if F::SCALES_FIRST {
                            acc[p][i] = _mm512_fmadd_ps(dot, _mm512_mul_ps(scale, s), acc[p][i]);
                            continue;
                        }
                        let mut share = _mm512_mul_ps(scale, dot);
                        if F::MINS {
                            let less = _mm512_cvtepi32_ps(_mm512_set1_epi32(rows.less(i, at)));
                            share = _mm512_fmadd_ps(min, less, share);
                        }
                        acc[p][i] = _mm512_fmadd_ps(share, s, acc[p][i]);
                    }
                }
            }
        }
    }
    acc
}
