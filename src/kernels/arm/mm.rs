//! `i8mm`: tiles of four tokens, two tokens by two rows an instruction. `smmla` takes eight neighbouring columns of a row where
//! a chunk has four, so chunks are zipped, for nibbles before they are taken apart, and sums are unzipped once a block. Counted
//! for Q4_0, a block of four tokens takes 48 vector instructions where `sdot` takes 64. The roundings are those of `blocks`
//! and `codes`.

use std::arch::aarch64::*;
use std::arch::asm;
use std::marker::PhantomData;

use super::blocks::Rows;
use super::codes;
use super::lanes::{Floats, Ints, four, two};
use crate::quant::BlockType;
use crate::weights::layout::codes::{Codes, NIBBLES, with_codes};

/// Tokens of a tile.
pub(super) const TOKENS: usize = 4;

/// A block type as a tile takes it: one scale (and minimum) for each 32 columns of a row.
trait Form {
    /// Bytes of a panel block.
    const BYTES: usize;
    /// Runs of 32 columns in a block.
    const SUBS: usize = 1;
    /// How much less the integers are than what [`Form::weights`] answers.
    const LESS: i32 = 0;
    /// Whether there are minima.
    const MINS: bool = false;
    /// Whether a row's scale meets the activations' before the integers.
    const SCALES_FIRST: bool = false;

    /// Columns `8 k` to `8 k + 7` of run `sub` of each pair of rows, then columns `8 k + 16` to `8 k + 23`; `k` is 0 or 1.
    ///
    /// # Safety
    /// The block exists.
    unsafe fn weights(block: *const u8, sub: usize, k: usize) -> [[int8x16_t; 4]; 2];

    /// Scales and minima of run `sub`.
    ///
    /// # Safety
    /// The block exists.
    unsafe fn factors(block: *const u8, sub: usize) -> (Floats, Floats);
}

struct Q4_0;
struct Q8_0;
struct Q4K;
struct Coded<T>(PhantomData<T>);

/// Two neighbouring chunks as eight columns of each pair of rows.
///
/// # Safety
/// The 64 bytes exist.
#[inline(always)]
unsafe fn zipped(p: *const u8) -> [uint8x16_t; 4] {
    // SAFETY: the caller's promise; NEON.
    unsafe {
        let quads = four(|i| vreinterpretq_u32_u8(vld1q_u8(p.add(16 * i))));
        let [first, first2, second, second2] = quads;
        [
            vreinterpretq_u8_u32(vzip1q_u32(first, second)),
            vreinterpretq_u8_u32(vzip2q_u32(first, second)),
            vreinterpretq_u8_u32(vzip1q_u32(first2, second2)),
            vreinterpretq_u8_u32(vzip2q_u32(first2, second2)),
        ]
    }
}

/// Low nibbles and high ones of two neighbouring chunks.
///
/// # Safety
/// As [`zipped`].
#[inline(always)]
unsafe fn nibbles(p: *const u8) -> [[uint8x16_t; 4]; 2] {
    // SAFETY: the caller's promise; NEON.
    unsafe {
        let bytes = zipped(p);
        [four(|r| vandq_u8(bytes[r], vdupq_n_u8(15))), four(|r| vshrq_n_u8::<4>(bytes[r]))]
    }
}

#[inline(always)]
fn signed(w: [[uint8x16_t; 4]; 2]) -> [[int8x16_t; 4]; 2] {
    // SAFETY: NEON, which every AArch64 with a standard library has.
    unsafe { two(|h| four(|r| vreinterpretq_s8_u8(w[h][r]))) }
}

impl Form for Q4_0 {
    const BYTES: usize = 144;
    const LESS: i32 = 8;
    const SCALES_FIRST: bool = true;

    #[inline(always)]
    unsafe fn weights(block: *const u8, _: usize, k: usize) -> [[int8x16_t; 4]; 2] {
        // SAFETY: four chunks behind the scales.
        signed(unsafe { nibbles(block.add(16 + 64 * k)) })
    }

    #[inline(always)]
    unsafe fn factors(block: *const u8, _: usize) -> (Floats, Floats) {
        // SAFETY: eight scales.
        (unsafe { Floats::halves(block) }, Floats::splat(0.0))
    }
}

impl Form for Q8_0 {
    const BYTES: usize = 272;
    const SCALES_FIRST: bool = true;

    #[inline(always)]
    unsafe fn weights(block: *const u8, _: usize, k: usize) -> [[int8x16_t; 4]; 2] {
        // SAFETY: eight chunks behind the scales.
        signed(unsafe { [zipped(block.add(16 + 64 * k)), zipped(block.add(144 + 64 * k))] })
    }

    #[inline(always)]
    unsafe fn factors(block: *const u8, _: usize) -> (Floats, Floats) {
        // SAFETY: eight scales.
        (unsafe { Floats::halves(block) }, Floats::splat(0.0))
    }
}

impl Form for Q4K {
    const BYTES: usize = 1184;
    const SUBS: usize = 8;
    const MINS: bool = true;

    #[inline(always)]
    unsafe fn weights(block: *const u8, sub: usize, k: usize) -> [[int8x16_t; 4]; 2] {
        // SAFETY: four chunks for each of eight runs.
        signed(unsafe { nibbles(block.add(160 + 128 * sub + 64 * k)) })
    }

    #[inline(always)]
    unsafe fn factors(block: *const u8, sub: usize) -> (Floats, Floats) {
        // SAFETY: the factors of both, and eight bytes of each for each of eight runs.
        unsafe {
            let scale = Floats::halves(block).times(Ints::bytes(block.add(32 + 8 * sub)).to_floats());
            (scale, Floats::halves(block.add(16)).times(Ints::bytes(block.add(96 + 8 * sub)).to_floats()))
        }
    }
}

impl<T: Codes> Form for Coded<T> {
    const BYTES: usize = T::PANEL;
    const SUBS: usize = T::SUBS;
    const LESS: i32 = T::LESS as i32;
    const MINS: bool = T::MINS;

    #[inline(always)]
    unsafe fn weights(block: *const u8, sub: usize, k: usize) -> [[int8x16_t; 4]; 2] {
        // SAFETY: the chunks of each run; a table has sixteen bytes; NEON.
        unsafe {
            let chunks = block.add(T::CHUNKS + T::STEP * sub);
            let low = nibbles(chunks.add(64 * k));
            if let Some(table) = T::TABLE {
                let table = vld1q_s8(table.as_ptr());
                return two(|h| four(|r| vqtbl1q_s8(table, low[h][r])));
            }
            if !T::FIFTH {
                return signed(low);
            }
            let bits = two(|r| vld1q_u8(chunks.add(NIBBLES + 16 * r)));
            // The fifth bits of quads `2 k` and `2 k + 1`, four more for the high nibbles, at bit 4 of their bytes.
            signed(two(|h| {
                let at = |r: usize, q: usize| {
                    let moved = vshlq_u8(bits[r], vdupq_n_s8(4 - (4 * h + 2 * k + q) as i8));
                    vreinterpretq_u32_u8(vandq_u8(moved, vdupq_n_u8(16)))
                };
                let pair = |r: usize| match r % 2 {
                    0 => vreinterpretq_u8_u32(vzip1q_u32(at(r / 2, 0), at(r / 2, 1))),
                    _ => vreinterpretq_u8_u32(vzip2q_u32(at(r / 2, 0), at(r / 2, 1))),
                };
                four(|r| vorrq_u8(low[h][r], pair(r)))
            }))
        }
    }

    #[inline(always)]
    unsafe fn factors(block: *const u8, sub: usize) -> (Floats, Floats) {
        // SAFETY: the block's head exists.
        unsafe { codes::factors::<T>(block, sub) }
    }
}

/// Whether a type has tiles.
pub(super) fn has(ty: BlockType) -> bool {
    matches!(ty, BlockType::Q4_0 | BlockType::Q8_0 | BlockType::Q4K) || with_codes!(ty, T => T::SUBS > 0, _ => false)
}

/// One panel of `blocks` blocks of a type that [`has`] names, times four tokens.
///
/// # Safety
/// NEON and `i8mm`; a whole panel; each row is as wide.
#[target_feature(enable = "neon,dotprod,i8mm")]
pub(super) unsafe fn tile(ty: BlockType, panel: *const u8, blocks: usize, rows: &Rows<TOKENS>) -> [Floats; TOKENS] {
    // SAFETY: the caller's promises.
    unsafe {
        match ty {
            BlockType::Q8_0 => products::<Q8_0>(panel, blocks, rows),
            BlockType::Q4K => products::<Q4K>(panel, blocks, rows),
            _ => with_codes!(
                ty,
                T => products::<Coded<T>>(panel, blocks, rows),
                _ => products::<Q4_0>(panel, blocks, rows)
            ),
        }
    }
}

/// # Safety
/// As [`tile`].
#[inline]
#[target_feature(enable = "neon,dotprod,i8mm")]
unsafe fn products<F: Form>(panel: *const u8, blocks: usize, rows: &Rows<TOKENS>) -> [Floats; TOKENS] {
    let mut acc = [Floats::splat(0.0); TOKENS];
    for b in 0..blocks {
        // SAFETY: block `b` of the panel and of each row exist.
        unsafe {
            let block = panel.add(F::BYTES * b);
            for sub in 0..F::SUBS {
                let at = F::SUBS * b + sub;
                // For each pair of tokens and of rows: both tokens of the first row, then of the second.
                let mut sums = [[vdupq_n_s32(0); 4]; TOKENS / 2];
                for k in 0..2 {
                    let w = F::weights(block, sub, k);
                    for (pair, sums) in sums.iter_mut().enumerate() {
                        let (first, second) = (rows.block(2 * pair, at), rows.block(2 * pair + 1, at));
                        for (h, w) in w.iter().enumerate() {
                            let col = 16 * h + 8 * k;
                            let q = vcombine_s8(vld1_s8(first.add(col)), vld1_s8(second.add(col)));
                            for (sum, w) in sums.iter_mut().zip(w) {
                                *sum = smmla(*sum, *w, q);
                            }
                        }
                    }
                }
                let (scale, min) = F::factors(block, sub);
                for (i, acc) in acc.iter_mut().enumerate() {
                    let [a, b, c, d] = sums[i / 2];
                    let mut dot = match i % 2 {
                        0 => Ints([vuzp1q_s32(a, b), vuzp1q_s32(c, d)]),
                        _ => Ints([vuzp2q_s32(a, b), vuzp2q_s32(c, d)]),
                    };
                    let (sum, s) = (rows.sum(i, at), Floats::splat(rows.scale(i, at)));
                    if F::LESS != 0 {
                        dot = dot.minus(Ints::splat(F::LESS * sum));
                    }
                    if F::SCALES_FIRST {
                        *acc = acc.plus_product(dot.to_floats(), scale.times(s));
                        continue;
                    }
                    let mut share = scale.times(dot.to_floats());
                    if F::MINS {
                        share = share.minus_product(min, Floats::splat(sum as f32));
                    }
                    *acc = acc.plus_product(share, s);
                }
            }
        }
    }
    acc
}

/// `acc[2 r + t] + Σ w[8 r + i] · q[8 t + i]`. The standard library's intrinsic is not stable.
#[inline]
#[target_feature(enable = "neon,i8mm")]
fn smmla(mut acc: int32x4_t, w: int8x16_t, q: int8x16_t) -> int32x4_t {
    // SAFETY: touches nothing but the registers named.
    unsafe {
        asm!(
            "smmla {acc:v}.4s, {w:v}.16b, {q:v}.16b",
            acc = inout(vreg) acc,
            w = in(vreg) w,
            q = in(vreg) q,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    acc
}
