//! Matmul for the types whose panels need no decoding: some tokens at a time against one panel.

use std::arch::aarch64::*;

use super::super::acts::ActBlock;
use super::super::scalar::matmul_shape;
use super::super::{ActRows, BLOCK, Panels};
use super::dot::{Dot, Half};
use super::lanes::{Floats, Ints, four, two};
use super::{by_tokens, codes, pairs};
use crate::quant::BlockType;
use crate::weights::layout::codes::with_codes;
use crate::weights::layout::{PANEL_ROWS, panel_block};

/// Tokens whose activations stay in the second-level cache while panels go by.
const TOKEN_BLOCK: usize = 64;

/// `Kernels::matmul` for Q8_0, Q4_0, Q4_K, Q6_K and the types whose panels have an order of their own.
pub(super) fn matmul<D: Dot>(w: Panels<'_>, x: ActRows<'_>, out: &mut [f32]) {
    let (panel, tokens) = matmul_shape(w, x, out);
    for first in (0..tokens).step_by(TOKEN_BLOCK) {
        let last = (first + TOKEN_BLOCK).min(tokens);
        for (bytes, out) in w.bytes.chunks_exact(panel).zip(out.chunks_exact_mut(tokens * PANEL_ROWS)) {
            let mut t = first;
            while t < last {
                let out = &mut out[t * PANEL_ROWS..];
                // SAFETY: a set is only handed out when the processor has what it uses; `matmul_shape` has checked that `x`
                // is quantized and as wide as the panel; the tile's tokens exist.
                t += unsafe { by_tokens!(last - t, N => D::tile::<N>(w.ty, bytes, x, t, &mut out[..N * PANEL_ROWS])) };
            }
        }
    }
}

/// One panel times `N` tokens from token `t` on; `out` is `(N, 8)`.
///
/// # Safety
/// The features of `D`; `panel` is a whole panel of type `ty`, one that [`matmul`] names, and `x.cols()` columns; `x` is
/// quantized; `t + N` rows exist; `out` holds `8 N` values.
#[inline(always)]
pub(super) unsafe fn tile<D: Dot, const N: usize>(
    ty: BlockType,
    panel: &[u8],
    x: ActRows<'_>,
    t: usize,
    out: &mut [f32],
) {
    let rows = Rows::<N>::new(x, t);
    let blocks = panel.len() / panel_block(ty).1;
    // SAFETY: the caller's promises, passed on.
    let acc = unsafe {
        match ty {
            BlockType::Q8_0 => q8_0::<D, N>(panel.as_ptr(), blocks, &rows),
            BlockType::Q4_0 => q4_0::<D, N>(panel.as_ptr(), blocks, &rows),
            BlockType::Q4K => q4_k::<D, N>(panel.as_ptr(), blocks, &rows),
            BlockType::Q2K => pairs::q2_k::<D, N>(panel.as_ptr(), blocks, &rows),
            BlockType::Q3K => pairs::q3_k::<D, N>(panel.as_ptr(), blocks, &rows),
            _ => with_codes!(
                ty,
                T => codes::codes::<T, D, N>(panel.as_ptr(), blocks, &rows),
                _ => q6_k::<D, N>(panel.as_ptr(), blocks, &rows)
            ),
        }
    };
    for (acc, out) in acc.iter().zip(out.chunks_exact_mut(PANEL_ROWS)) {
        // SAFETY: `out` is eight values.
        unsafe { acc.store(out.as_mut_ptr()) };
    }
}

/// Where the quantized rows of `N` neighbouring tokens begin.
pub(super) struct Rows<const N: usize> {
    blocks: [*const ActBlock; N],
}

impl<const N: usize> Rows<N> {
    pub(super) fn new(x: ActRows<'_>, t: usize) -> Self {
        let blocks = x.cols() / BLOCK;
        Self { blocks: std::array::from_fn(|i| x.blocks[(t + i) * blocks..].as_ptr()) }
    }

    /// Half `h` of block `b` of token `i`: sixteen activations.
    ///
    /// # Safety
    /// The block exists.
    #[inline(always)]
    pub(super) unsafe fn half(&self, i: usize, b: usize, h: usize) -> int8x16_t {
        // SAFETY: the caller's promise; NEON.
        unsafe { vld1q_s8(self.block(i, b).add(16 * h)) }
    }

    /// Where block `b` of token `i` begins.
    ///
    /// # Safety
    /// As [`Rows::half`].
    #[inline(always)]
    pub(super) unsafe fn block(&self, i: usize, b: usize) -> *const i8 {
        // SAFETY: the caller's promise.
        unsafe { self.blocks[i].add(b).cast() }
    }

    /// The block's scale.
    ///
    /// # Safety
    /// As [`Rows::half`].
    #[inline(always)]
    pub(super) unsafe fn scale(&self, i: usize, b: usize) -> f32 {
        // SAFETY: the caller's promise.
        unsafe { (*self.blocks[i].add(b)).scale }
    }

    /// The sum of a half.
    ///
    /// # Safety
    /// As [`Rows::half`].
    #[inline(always)]
    pub(super) unsafe fn half_sum(&self, i: usize, b: usize, h: usize) -> i32 {
        // SAFETY: the caller's promise.
        unsafe { (*self.blocks[i].add(b)).sum(h) }
    }

    /// The sum of the block.
    ///
    /// # Safety
    /// As [`Rows::half`].
    #[inline(always)]
    pub(super) unsafe fn sum(&self, i: usize, b: usize) -> i32 {
        // SAFETY: the caller's promise.
        unsafe { -(*self.blocks[i].add(b)).less }
    }
}

/// Unsigned bytes in the order of [`Half`].
pub(super) type Bytes = [[uint8x16_t; 4]; 2];

/// Four neighbouring chunks.
///
/// # Safety
/// They exist.
#[inline(always)]
pub(super) unsafe fn chunks(p: *const u8) -> Bytes {
    // SAFETY: the caller's promise; NEON.
    unsafe { two(|rows| four(|c| vld1q_u8(p.add(32 * c + 16 * rows)))) }
}

/// Weights as the dot products take them.
#[inline(always)]
pub(super) fn signed(w: Bytes) -> Half {
    // SAFETY: NEON, which every AArch64 with a standard library has.
    unsafe { two(|rows| four(|c| vreinterpretq_s8_u8(w[rows][c]))) }
}

/// The low nibbles, or where `HIGH` is 1, the high ones.
#[inline(always)]
pub(super) fn nibbles<const HIGH: usize>(bytes: Bytes) -> Bytes {
    // SAFETY: NEON, which every AArch64 with a standard library has.
    unsafe {
        let low = vdupq_n_u8(15);
        two(|rows| {
            four(|c| {
                let bytes = bytes[rows][c];
                if HIGH == 1 { vshrq_n_u8::<4>(bytes) } else { vandq_u8(bytes, low) }
            })
        })
    }
}

/// Adds the products of half `h` of block `b` of each token.
///
/// # Safety
/// The features of `D`; the blocks exist; weights are less than `2^BITS` in size.
#[inline(always)]
pub(super) unsafe fn add_dots<D: Dot, const BITS: u32, const N: usize>(
    dots: &mut [Ints; N],
    w: Half,
    rows: &Rows<N>,
    b: usize,
    h: usize,
) {
    for (i, dots) in dots.iter_mut().enumerate() {
        // SAFETY: the caller's promises.
        *dots = unsafe { D::dot::<BITS>(*dots, w, rows.half(i, b, h)) };
    }
}

/// Dot products of a block of nibbles with block `b` of each token.
///
/// # Safety
/// The features of `D`; four chunks and the blocks exist.
#[inline(always)]
unsafe fn nibble_dots<D: Dot, const N: usize>(p: *const u8, rows: &Rows<N>, b: usize) -> [Ints; N] {
    let mut dots = [Ints::splat(0); N];
    // SAFETY: the caller's promises.
    unsafe {
        let bytes = chunks(p);
        add_dots::<D, 4, N>(&mut dots, signed(nibbles::<0>(bytes)), rows, b, 0);
        add_dots::<D, 4, N>(&mut dots, signed(nibbles::<1>(bytes)), rows, b, 1);
    }
    dots
}

#[inline(always)]
unsafe fn q4_0<D: Dot, const N: usize>(panel: *const u8, blocks: usize, rows: &Rows<N>) -> [Floats; N] {
    let mut acc = [Floats::splat(0.0); N];
    for b in 0..blocks {
        // SAFETY: block `b` of the panel and of each row exist.
        unsafe {
            let block = panel.add(144 * b);
            let d = Floats::halves(block);
            let dots = nibble_dots::<D, N>(block.add(16), rows, b);
            for i in 0..N {
                let dot = dots[i].minus(Ints::splat(8 * rows.sum(i, b)));
                acc[i] = acc[i].plus_product(dot.to_floats(), d.times(Floats::splat(rows.scale(i, b))));
            }
        }
    }
    acc
}

#[inline(always)]
unsafe fn q8_0<D: Dot, const N: usize>(panel: *const u8, blocks: usize, rows: &Rows<N>) -> [Floats; N] {
    let mut acc = [Floats::splat(0.0); N];
    for b in 0..blocks {
        // SAFETY: block `b` of the panel and of each row exist.
        unsafe {
            let block = panel.add(272 * b);
            let d = Floats::halves(block);
            let mut dots = [Ints::splat(0); N];
            for h in 0..2 {
                add_dots::<D, 8, N>(&mut dots, signed(chunks(block.add(16 + 128 * h))), rows, b, h);
            }
            for i in 0..N {
                acc[i] = acc[i].plus_product(dots[i].to_floats(), d.times(Floats::splat(rows.scale(i, b))));
            }
        }
    }
    acc
}

#[inline(always)]
unsafe fn q4_k<D: Dot, const N: usize>(panel: *const u8, blocks: usize, rows: &Rows<N>) -> [Floats; N] {
    let mut acc = [Floats::splat(0.0); N];
    for b in 0..blocks {
        // SAFETY: block `b` of the panel exists and has eight sub-blocks; so has each row.
        unsafe {
            let block = panel.add(1184 * b);
            let (d, dmin) = (Floats::halves(block), Floats::halves(block.add(16)));
            for sub in 0..8 {
                let at = 8 * b + sub;
                let dots = nibble_dots::<D, N>(block.add(160 + 128 * sub), rows, at);
                let scale = d.times(Ints::bytes(block.add(32 + 8 * sub)).to_floats());
                let min = dmin.times(Ints::bytes(block.add(96 + 8 * sub)).to_floats());
                for i in 0..N {
                    let share = scale.times(dots[i].to_floats());
                    let share = share.minus_product(min, Floats::splat(rows.sum(i, at) as f32));
                    acc[i] = acc[i].plus_product(share, Floats::splat(rows.scale(i, at)));
                }
            }
        }
    }
    acc
}

#[inline(always)]
unsafe fn q6_k<D: Dot, const N: usize>(panel: *const u8, blocks: usize, rows: &Rows<N>) -> [Floats; N] {
    let mut acc = [Floats::splat(0.0); N];
    for b in 0..blocks {
        // SAFETY: block `b` of the panel exists and has eight sub-blocks of 192 bytes; so has each row.
        unsafe {
            let block = panel.add(1680 * b);
            let d = Floats::halves(block);
            for sub in 0..8 {
                let (at, p) = (8 * b + sub, block.add(144 + 192 * sub));
                let scale = two(|h| Ints::signed_bytes(block.add(16 + 8 * (2 * sub + h)).cast()));
                let mut dots = [[Ints::splat(0); N]; 2];
                add_dots::<D, 6, N>(&mut dots[0], six_bits::<0>(p), rows, at, 0);
                add_dots::<D, 6, N>(&mut dots[1], six_bits::<1>(p), rows, at, 1);
                for i in 0..N {
                    let half = |h: usize| dots[h][i].minus(Ints::splat(32 * rows.half_sum(i, at, h)));
                    // 128 · 16 · 32 · 128, twice, is 2^24: the sum is exact in single precision.
                    let dot = scale[0].times(half(0)).plus_product(scale[1], half(1));
                    acc[i] = acc[i].plus_product(dot.to_floats(), d.times(Floats::splat(rows.scale(i, at))));
                }
            }
        }
    }
    acc
}

/// Half `HIGH` of the columns of a Q6_K sub-block.
///
/// # Safety
/// Its six chunks exist.
#[inline(always)]
unsafe fn six_bits<const HIGH: usize>(p: *const u8) -> Half {
    // SAFETY: the caller's promise; NEON.
    unsafe {
        let low = nibbles::<HIGH>(chunks(p));
        signed(two(|rows| {
            let high = vld1q_u8(p.add(128 + 32 * HIGH + 16 * rows));
            let high = [vshlq_n_u8::<4>(high), vshlq_n_u8::<2>(high), high, vshrq_n_u8::<2>(high)];
            four(|c| vorrq_u8(low[rows][c], vandq_u8(high[c], vdupq_n_u8(0x30))))
        }))
    }
}
