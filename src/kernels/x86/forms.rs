//! Block types as 256-bit kernels take them: the integers and factors of 32 columns of a panel, and what they mean.

use std::arch::x86_64::*;
use std::marker::PhantomData;

use super::avx2::{load, scales};
use super::codes::{self, Small};
use crate::quant::{q2_k, q3_k};
use crate::weights::layout::PANEL_ROWS;
use crate::weights::layout::codes::{Codes, NIBBLES};
use crate::weights::layout::pairs::{Q2_K_CHUNKS, Q2_K_SCALES, Q3_K_CHUNKS, Q3_K_SCALES};

/// What the integers of a run are multiplied by, for each half of it and each row of the panel.
#[derive(Clone, Copy)]
pub(super) struct Factors {
    pub(super) scale: [__m256; 2],
    pub(super) min: [__m256; 2],
}

/// What is multiplied first where a run joins the sum of a row, which decides what is rounded. `s` is the scale of the activations.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// `dot · (scale · s)`
    Scales,
    /// `(scale · dot − min · sum) · s`, for halves one after the other.
    Share,
    /// `(scale₀ · dot₀ + scale₁ · dot₁) · (min₀ · s)`, the scales being whole numbers and the sum of products exact.
    Whole,
}

/// What the bytes and factors of a run mean.
pub(super) trait Meaning {
    /// Bits of the bytes; eight are signed.
    const BITS: usize;
    /// Those bytes are `2^SHIFT` more than the integers; 0 where they are equal.
    const SHIFT: i32 = 0;
    /// Whether each half of a run has factors of its own.
    const HALVES: bool = false;
    /// Whether there are minima.
    const MINS: bool = false;
    const ORDER: Order = Order::Share;
}

/// A type whose panels need no decoding. Its functions become part of the kernel, which has the features; called, they would pass
/// vectors through memory.
pub(super) trait Form: Meaning {
    /// Bytes of a panel block.
    const BYTES: usize;
    /// Runs of 32 columns in a block.
    const RUNS: usize = 8;
    /// What is read once a block.
    type Head: Copy;

    /// # Safety
    /// AVX2, FMA and F16C; the block exists.
    unsafe fn head(block: *const u8) -> Self::Head;

    /// The eight quads of run `r`.
    ///
    /// # Safety
    /// As [`Form::head`]; `r` is below [`Form::RUNS`].
    unsafe fn quads(block: *const u8, r: usize) -> [__m256i; 8];

    /// The factors of run `r`; those of a second half, and minima, only where there are any.
    ///
    /// # Safety
    /// As [`Form::quads`].
    unsafe fn factors(block: *const u8, head: &Self::Head, r: usize) -> Factors;
}

pub(super) struct Q4_0;
pub(super) struct Q8_0;
pub(super) struct Q4K;
pub(super) struct Q6K;
pub(super) struct Q2K;
pub(super) struct Q3K;
pub(super) struct Coded<T>(PhantomData<T>);

const ZERO: Factors = {
    // SAFETY: any bytes are numbers.
    unsafe { std::mem::zeroed() }
};

/// The low nibbles of four chunks, then the high ones.
///
/// # Safety
/// AVX2; the chunks exist.
#[inline(always)]
unsafe fn nibbles(chunks: *const u8) -> [__m256i; 8] {
    // SAFETY: the caller's promises.
    unsafe {
        let low = _mm256_set1_epi8(15);
        let [a, b, c, d] = [0, 32, 64, 96].map(|at| load(chunks.add(at)));
        let [e, f, g, h] = [a, b, c, d].map(|v| _mm256_srli_epi16(v, 4));
        [a, b, c, d, e, f, g, h].map(|v| _mm256_and_si256(v, low))
    }
}

/// The bits of `low`, and of `high` those of `mask`.
///
/// # Safety
/// AVX2.
#[inline(always)]
unsafe fn joined(mut low: [__m256i; 8], high: [__m256i; 8], mask: __m256i) -> [__m256i; 8] {
    for i in 0..8 {
        // SAFETY: the caller's promise.
        low[i] = unsafe { _mm256_or_si256(low[i], _mm256_and_si256(high[i], mask)) };
    }
    low
}

/// Eight times `bits`, bit `i` of each byte standing at place `at` in vector `i`, among others.
///
/// # Safety
/// AVX2.
#[inline(always)]
unsafe fn spread(bits: __m256i, at: i32) -> [__m256i; 8] {
    let mut all = [bits; 8];
    for i in 0..8 {
        let by = at - i as i32;
        // SAFETY: the caller's promise.
        all[i] = unsafe {
            let (up, down) = (_mm_cvtsi32_si128(by), _mm_cvtsi32_si128(-by));
            if by > 0 { _mm256_sll_epi16(bits, up) } else { _mm256_srl_epi16(bits, down) }
        };
    }
    all
}

/// Eight bytes as whole numbers.
///
/// # Safety
/// AVX2; the bytes exist.
#[inline(always)]
unsafe fn bytes(p: *const u8) -> __m256i {
    // SAFETY: the caller's promises.
    unsafe { _mm256_cvtepu8_epi32(_mm_loadl_epi64(p.cast())) }
}

impl Meaning for Q4_0 {
    const BITS: usize = 4;
    const SHIFT: i32 = 3;
    const ORDER: Order = Order::Scales;
}

impl Form for Q4_0 {
    const BYTES: usize = 144;
    const RUNS: usize = 1;
    type Head = ();

    #[inline(always)]
    unsafe fn head(_: *const u8) {}

    #[inline(always)]
    unsafe fn quads(block: *const u8, _: usize) -> [__m256i; 8] {
        // SAFETY: four chunks behind the scales.
        unsafe { nibbles(block.add(16)) }
    }

    #[inline(always)]
    unsafe fn factors(block: *const u8, (): &(), _: usize) -> Factors {
        // SAFETY: eight scales.
        unsafe { Factors { scale: [scales(block); 2], ..ZERO } }
    }
}

impl Meaning for Q8_0 {
    const BITS: usize = 8;
    const ORDER: Order = Order::Scales;
}

impl Form for Q8_0 {
    const BYTES: usize = 272;
    const RUNS: usize = 1;
    type Head = ();

    #[inline(always)]
    unsafe fn head(_: *const u8) {}

    #[inline(always)]
    unsafe fn quads(block: *const u8, _: usize) -> [__m256i; 8] {
        // SAFETY: eight chunks behind the scales.
        unsafe { [0, 1, 2, 3, 4, 5, 6, 7].map(|c| load(block.add(16 + 32 * c))) }
    }

    #[inline(always)]
    unsafe fn factors(block: *const u8, (): &(), _: usize) -> Factors {
        // SAFETY: eight scales.
        unsafe { Factors { scale: [scales(block); 2], ..ZERO } }
    }
}

impl Meaning for Q4K {
    const BITS: usize = 4;
    const MINS: bool = true;
}

impl Form for Q4K {
    const BYTES: usize = 1184;
    type Head = [__m256; 2];

    #[inline(always)]
    unsafe fn head(block: *const u8) -> [__m256; 2] {
        // SAFETY: the scales of scales and of minima.
        unsafe { [scales(block), scales(block.add(16))] }
    }

    #[inline(always)]
    unsafe fn quads(block: *const u8, r: usize) -> [__m256i; 8] {
        // SAFETY: four chunks for each of eight runs.
        unsafe { nibbles(block.add(160 + 128 * r)) }
    }

    #[inline(always)]
    unsafe fn factors(block: *const u8, head: &[__m256; 2], r: usize) -> Factors {
        // SAFETY: eight bytes of scales and of minima for each of eight runs.
        unsafe {
            let scale = _mm256_mul_ps(head[0], _mm256_cvtepi32_ps(bytes(block.add(32 + 8 * r))));
            let min = _mm256_mul_ps(head[1], _mm256_cvtepi32_ps(bytes(block.add(96 + 8 * r))));
            Factors { scale: [scale; 2], min: [min; 2] }
        }
    }
}

impl Meaning for Q6K {
    const BITS: usize = 6;
    const SHIFT: i32 = 5;
    const HALVES: bool = true;
    const ORDER: Order = Order::Whole;
}

impl Form for Q6K {
    const BYTES: usize = 1680;
    type Head = __m256;

    #[inline(always)]
    unsafe fn head(block: *const u8) -> __m256 {
        // SAFETY: eight scales.
        unsafe { scales(block) }
    }

    #[inline(always)]
    unsafe fn quads(block: *const u8, r: usize) -> [__m256i; 8] {
        // SAFETY: 192 bytes for each of eight runs.
        unsafe {
            let chunks = block.add(144 + 192 * r);
            let two = _mm256_set1_epi8(0x30);
            // Every byte once, in the order of memory.
            let low = nibbles(chunks);
            let [a, b] = [128, 160].map(|at| load(chunks.add(at)));
            let high = [
                _mm256_slli_epi16(a, 4),
                _mm256_slli_epi16(a, 2),
                a,
                _mm256_srli_epi16(a, 2),
                _mm256_slli_epi16(b, 4),
                _mm256_slli_epi16(b, 2),
                b,
                _mm256_srli_epi16(b, 2),
            ];
            joined(low, high, two)
        }
    }

    #[inline(always)]
    unsafe fn factors(block: *const u8, head: &__m256, r: usize) -> Factors {
        // SAFETY: eight bytes of scales for each of sixteen halves.
        unsafe {
            let scale = [0, 1].map(|h| {
                _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(block.add(16 + 8 * (2 * r + h)).cast())))
            });
            Factors { scale, min: [*head; 2] }
        }
    }
}

/// The four quads of two bits in a chunk.
///
/// # Safety
/// AVX2.
#[inline(always)]
unsafe fn two_bits(chunk: __m256i) -> [__m256i; 4] {
    // SAFETY: the caller's promise.
    unsafe {
        let three = _mm256_set1_epi8(3);
        [chunk, _mm256_srli_epi16(chunk, 2), _mm256_srli_epi16(chunk, 4), _mm256_srli_epi16(chunk, 6)]
            .map(|v| _mm256_and_si256(v, three))
    }
}

impl Meaning for Q2K {
    const BITS: usize = 4;
    const HALVES: bool = true;
    const MINS: bool = true;
}

impl Form for Q2K {
    const BYTES: usize = PANEL_ROWS * q2_k::BYTES;
    type Head = [__m256; 2];

    #[inline(always)]
    unsafe fn head(block: *const u8) -> [__m256; 2] {
        // SAFETY: the scales of scales and of minima.
        unsafe { [scales(block), scales(block.add(16))] }
    }

    #[inline(always)]
    unsafe fn quads(block: *const u8, r: usize) -> [__m256i; 8] {
        // SAFETY: two chunks for each of eight runs.
        unsafe {
            let chunks = block.add(Q2_K_CHUNKS + 64 * r);
            let ([a, b, c, d], [e, f, g, h]) = (two_bits(load(chunks)), two_bits(load(chunks.add(32))));
            [a, b, c, d, e, f, g, h]
        }
    }

    #[inline(always)]
    unsafe fn factors(block: *const u8, head: &[__m256; 2], r: usize) -> Factors {
        // SAFETY: eight bytes for each of sixteen halves.
        unsafe {
            let codes = [0, 1].map(|h| bytes(block.add(Q2_K_SCALES + 8 * (2 * r + h))));
            let fifteen = _mm256_set1_epi32(15);
            let scale = codes.map(|c| _mm256_mul_ps(head[0], _mm256_cvtepi32_ps(_mm256_and_si256(c, fifteen))));
            let min = codes.map(|c| _mm256_mul_ps(head[1], _mm256_cvtepi32_ps(_mm256_srli_epi32(c, 4))));
            Factors { scale, min }
        }
    }
}

/// Where group `g` of a Q3_K block has its scale: (byte of the four low bits, shift, byte of the two high bits, shift).
#[inline]
pub(super) fn six_bits(g: usize) -> (usize, i32, usize, i32) {
    let at = |byte: usize| Q3_K_SCALES + PANEL_ROWS * byte;
    (at(g % 8), if g < 8 { 0 } else { 4 }, at(8 + g % 4), 2 * (g / 4) as i32)
}

impl Meaning for Q3K {
    const BITS: usize = 4;
    const SHIFT: i32 = 2;
    const HALVES: bool = true;
}

impl Form for Q3K {
    const BYTES: usize = PANEL_ROWS * q3_k::BYTES;
    type Head = __m256;

    #[inline(always)]
    unsafe fn head(block: *const u8) -> __m256 {
        // SAFETY: eight scales.
        unsafe { scales(block) }
    }

    #[inline(always)]
    unsafe fn quads(block: *const u8, r: usize) -> [__m256i; 8] {
        // SAFETY: 96 bytes for each of eight runs.
        unsafe {
            let (chunks, four) = (block.add(Q3_K_CHUNKS + 96 * r), _mm256_set1_epi8(4));
            let ([a, b, c, d], [e, f, g, h]) = (two_bits(load(chunks)), two_bits(load(chunks.add(32))));
            joined([a, b, c, d, e, f, g, h], spread(load(chunks.add(64)), 2), four)
        }
    }

    #[inline(always)]
    unsafe fn factors(block: *const u8, head: &__m256, r: usize) -> Factors {
        // SAFETY: the bytes of each of sixteen halves.
        unsafe {
            let mut scale = [*head; 2];
            for h in 0..2 {
                let (low, shift, high, shift2) = six_bits(2 * r + h);
                let low = _mm256_srlv_epi32(bytes(block.add(low)), _mm256_set1_epi32(shift));
                let high = _mm256_srlv_epi32(bytes(block.add(high)), _mm256_set1_epi32(shift2));
                let low = _mm256_and_si256(low, _mm256_set1_epi32(15));
                let high = _mm256_slli_epi32(_mm256_and_si256(high, _mm256_set1_epi32(3)), 4);
                let code = _mm256_sub_epi32(_mm256_or_si256(low, high), _mm256_set1_epi32(32));
                scale[h] = _mm256_mul_ps(*head, _mm256_cvtepi32_ps(code));
            }
            Factors { scale, ..ZERO }
        }
    }
}

impl<T: Codes> Meaning for Coded<T> {
    const BITS: usize = if T::TABLE.is_some() {
        8
    } else if T::FIFTH {
        5
    } else {
        4
    };
    const SHIFT: i32 = if T::TABLE.is_some() || T::LESS == 0 { 0 } else { T::LESS.ilog2() as i32 };
    const MINS: bool = T::MINS;
}

impl<T: Codes> Form for Coded<T> {
    const BYTES: usize = T::PANEL;
    const RUNS: usize = T::SUBS;
    type Head = Small<1>;

    #[inline(always)]
    unsafe fn head(block: *const u8) -> Small<1> {
        let mut small = Small::ZERO;
        // SAFETY: the block's head exists.
        unsafe { small.read::<T>(0, block) };
        small
    }

    #[inline(always)]
    unsafe fn quads(block: *const u8, r: usize) -> [__m256i; 8] {
        // SAFETY: the chunks of each run; sixteen bytes of a table.
        unsafe {
            let chunks = block.add(T::CHUNKS + T::STEP * r);
            let mut w = nibbles(chunks);
            if T::FIFTH {
                w = joined(w, spread(load(chunks.add(NIBBLES)), 4), _mm256_set1_epi8(16));
            }
            if let Some(table) = T::TABLE {
                let table = _mm256_broadcastsi128_si256(_mm_loadu_si128(table.as_ptr().cast()));
                w = w.map(|w| _mm256_shuffle_epi8(table, w));
            }
            w
        }
    }

    #[inline(always)]
    unsafe fn factors(block: *const u8, head: &Small<1>, r: usize) -> Factors {
        // SAFETY: the block's head exists.
        let (scale, min) = unsafe { codes::short_factors::<T>(block, head, r) };
        Factors { scale: [scale; 2], min: [min; 2] }
    }
}
