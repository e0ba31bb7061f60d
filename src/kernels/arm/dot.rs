//! How integer products become sums: the one thing in which the sets differ.

use std::arch::aarch64::*;
use std::arch::asm;

use super::super::{ActRows, ByteKeys, ByteQueries};
use super::lanes::{Floats, Ints, two};
use super::{blocks, decoded, mm, scores};
use crate::quant::BlockType;
use crate::quant::runs::Runs;
use crate::weights::layout::{PANEL_ROWS, panel_block};

/// Sixteen columns of eight rows, as a panel has them: byte `4 · row + i` of `[rows][quad]` is column `4 · quad + i`, the first
/// four rows before the last.
pub(super) type Half = [[int8x16_t; 4]; 2];

/// The integer instructions of a set, and the kernels compiled for them.
///
/// Kernels are `#[inline(always)]` functions over a `Dot`; the entries here carry the set's features, so that everything
/// below them is compiled with these.
pub(super) trait Dot {
    /// `acc[row] + Σ w[row][col] · q[col]` over sixteen columns; weights less than `2^BITS` in size (8 means any).
    ///
    /// # Safety
    /// The processor has the set's features.
    unsafe fn dot<const BITS: u32>(acc: Ints, w: Half, q: int8x16_t) -> Ints;

    /// [`blocks::tile`].
    ///
    /// # Safety
    /// As there, and the processor has the set's features.
    unsafe fn tile<const N: usize>(ty: BlockType, panel: &[u8], x: ActRows<'_>, t: usize, out: &mut [f32]);

    /// [`decoded::panel`].
    ///
    /// # Safety
    /// As there, and the processor has the set's features.
    unsafe fn panel<T: Runs>(bytes: &[u8], x: ActRows<'_>, out: &mut [f32]);

    /// [`scores::byte_scores`].
    ///
    /// # Safety
    /// As there, and the processor has the set's features.
    unsafe fn byte_scores(q: ByteQueries<'_>, keys: ByteKeys<'_>, block: usize) -> [Floats; 2];
}

/// NEON alone.
pub(super) struct Neon;

impl Dot for Neon {
    #[inline(always)]
    unsafe fn dot<const BITS: u32>(acc: Ints, w: Half, q: int8x16_t) -> Ints {
        // SAFETY: NEON, which every AArch64 has.
        unsafe {
            let q = vreinterpretq_s32_s8(q);
            let quads = [
                vreinterpretq_s8_s32(vdupq_laneq_s32::<0>(q)),
                vreinterpretq_s8_s32(vdupq_laneq_s32::<1>(q)),
                vreinterpretq_s8_s32(vdupq_laneq_s32::<2>(q)),
                vreinterpretq_s8_s32(vdupq_laneq_s32::<3>(q)),
            ];
            Ints([four_rows::<BITS>(acc.0[0], w[0], quads), four_rows::<BITS>(acc.0[1], w[1], quads)])
        }
    }

    unsafe fn tile<const N: usize>(ty: BlockType, panel: &[u8], x: ActRows<'_>, t: usize, out: &mut [f32]) {
        // SAFETY: the caller's promises, passed on.
        unsafe { blocks::tile::<Self, N>(ty, panel, x, t, out) }
    }

    unsafe fn panel<T: Runs>(bytes: &[u8], x: ActRows<'_>, out: &mut [f32]) {
        // SAFETY: the caller's promises, passed on.
        unsafe { decoded::panel::<T, Self>(bytes, x, out) }
    }

    unsafe fn byte_scores(q: ByteQueries<'_>, keys: ByteKeys<'_>, block: usize) -> [Floats; 2] {
        // SAFETY: the caller's promises, passed on.
        unsafe { scores::byte_scores::<Self>(q, keys, block) }
    }
}

/// [`Dot::dot`] for four of the eight rows; a quad of activations is repeated in each of `quads`.
#[inline(always)]
fn four_rows<const BITS: u32>(acc: int32x4_t, w: [int8x16_t; 4], quads: [int8x16_t; 4]) -> int32x4_t {
    // SAFETY: NEON, which every AArch64 has.
    unsafe {
        if BITS > 6 {
            let (mut low, mut high) = (vdupq_n_s32(0), vdupq_n_s32(0));
            for f in 0..4 {
                low = vpadalq_s16(low, vmull_s8(vget_low_s8(w[f]), vget_low_s8(quads[f])));
                high = vpadalq_s16(high, vmull_high_s8(w[f], quads[f]));
            }
            return vaddq_s32(acc, vpaddq_s32(low, high));
        }
        // 63 · 128, four times, is 32,256: sixteen bits hold it.
        let mut low = vmull_s8(vget_low_s8(w[0]), vget_low_s8(quads[0]));
        let mut high = vmull_high_s8(w[0], quads[0]);
        for f in 1..4 {
            low = vmlal_s8(low, vget_low_s8(w[f]), vget_low_s8(quads[f]));
            high = vmlal_high_s8(high, w[f], quads[f]);
        }
        if BITS > 4 {
            return vaddq_s32(acc, vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high)));
        }
        // 15 · 128, eight times, is 15,360.
        vpadalq_s16(acc, vpaddq_s16(low, high))
    }
}

/// NEON with `sdot`.
pub(super) struct DotProd;

impl Dot for DotProd {
    #[inline(always)]
    unsafe fn dot<const BITS: u32>(acc: Ints, w: Half, q: int8x16_t) -> Ints {
        Ints(two(|rows| {
            let (acc, w) = (acc.0[rows], w[rows]);
            // SAFETY: the caller's promise.
            unsafe { sdot::<3>(sdot::<2>(sdot::<1>(sdot::<0>(acc, w[0], q), w[1], q), w[2], q), w[3], q) }
        }))
    }

    #[target_feature(enable = "neon,dotprod")]
    unsafe fn tile<const N: usize>(ty: BlockType, panel: &[u8], x: ActRows<'_>, t: usize, out: &mut [f32]) {
        // SAFETY: the caller's promises, passed on.
        unsafe { blocks::tile::<Self, N>(ty, panel, x, t, out) }
    }

    #[target_feature(enable = "neon,dotprod")]
    unsafe fn panel<T: Runs>(bytes: &[u8], x: ActRows<'_>, out: &mut [f32]) {
        // SAFETY: the caller's promises, passed on.
        unsafe { decoded::panel::<T, Self>(bytes, x, out) }
    }

    #[target_feature(enable = "neon,dotprod")]
    unsafe fn byte_scores(q: ByteQueries<'_>, keys: ByteKeys<'_>, block: usize) -> [Floats; 2] {
        // SAFETY: the caller's promises, passed on.
        unsafe { scores::byte_scores::<Self>(q, keys, block) }
    }
}

/// NEON with `sdot`, and `smmla` for tiles of four tokens of the types that `mm` knows.
pub(super) struct I8mm;

impl Dot for I8mm {
    #[inline(always)]
    unsafe fn dot<const BITS: u32>(acc: Ints, w: Half, q: int8x16_t) -> Ints {
        // SAFETY: the caller's promise.
        unsafe { DotProd::dot::<BITS>(acc, w, q) }
    }

    #[target_feature(enable = "neon,dotprod,i8mm")]
    unsafe fn tile<const N: usize>(ty: BlockType, panel: &[u8], x: ActRows<'_>, t: usize, out: &mut [f32]) {
        if N != mm::TOKENS || !mm::has(ty) {
            // SAFETY: the caller's promises, passed on.
            return unsafe { blocks::tile::<Self, N>(ty, panel, x, t, out) };
        }
        let (rows, blocks) = (blocks::Rows::new(x, t), panel.len() / panel_block(ty).1);
        // SAFETY: the caller's promises; four tokens from `t` on, `N` being four.
        let acc = unsafe { mm::tile(ty, panel.as_ptr(), blocks, &rows) };
        for (acc, out) in acc.iter().zip(out.chunks_exact_mut(PANEL_ROWS)) {
            // SAFETY: `out` is eight values.
            unsafe { acc.store(out.as_mut_ptr()) };
        }
    }

    #[target_feature(enable = "neon,dotprod,i8mm")]
    unsafe fn panel<T: Runs>(bytes: &[u8], x: ActRows<'_>, out: &mut [f32]) {
        // SAFETY: the caller's promises, passed on.
        unsafe { decoded::panel::<T, Self>(bytes, x, out) }
    }

    #[target_feature(enable = "neon,dotprod,i8mm")]
    unsafe fn byte_scores(q: ByteQueries<'_>, keys: ByteKeys<'_>, block: usize) -> [Floats; 2] {
        // SAFETY: the caller's promises, passed on.
        unsafe { scores::byte_scores::<Self>(q, keys, block) }
    }
}

/// `acc[row] + Σ w[4 · row + i] · q[4 · QUAD + i]`. The standard library's intrinsic is not stable.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn sdot<const QUAD: usize>(mut acc: int32x4_t, w: int8x16_t, q: int8x16_t) -> int32x4_t {
    // SAFETY: touches nothing but the registers named.
    unsafe {
        asm!(
            "sdot {acc:v}.4s, {w:v}.16b, {q:v}.4b[{quad}]",
            acc = inout(vreg) acc,
            w = in(vreg) w,
            q = in(vreg) q,
            quad = const QUAD,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    acc
}
