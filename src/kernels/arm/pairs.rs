//! Q2_K and Q3_K, for panels in the order of `weights::layout::pairs`. The roundings are those of `kernels::decoded`.

use std::arch::aarch64::*;

use super::blocks::{Rows, add_dots, signed};
use super::dot::Dot;
use super::lanes::{Floats, Ints, four, two};
use crate::quant::{q2_k, q3_k};
use crate::weights::layout::PANEL_ROWS;
use crate::weights::layout::pairs::{Q2_K_CHUNKS, Q2_K_SCALES, Q3_K_CHUNKS, Q3_K_SCALES};

const Q2_K: usize = PANEL_ROWS * q2_k::BYTES;
const Q3_K: usize = PANEL_ROWS * q3_k::BYTES;

/// Where group `g` of a Q3_K block has its scale: (byte of the four low bits, shift, byte of the two high bits, shift).
#[inline]
fn six_bits(g: usize) -> (usize, i32, usize, i32) {
    let at = |byte: usize| Q3_K_SCALES + PANEL_ROWS * byte;
    (at(g % 8), if g < 8 { 0 } else { 4 }, at(8 + g % 4), 2 * (g / 4) as i32)
}

/// The four quads of two bits in a chunk, of four rows.
///
/// # Safety
/// The sixteen bytes exist.
#[inline(always)]
unsafe fn two_bits(p: *const u8) -> [uint8x16_t; 4] {
    // SAFETY: the caller's promise; NEON.
    unsafe {
        let (chunk, three) = (vld1q_u8(p), vdupq_n_u8(3));
        let (second, third) = (vshrq_n_u8::<2>(chunk), vshrq_n_u8::<4>(chunk));
        [vandq_u8(chunk, three), vandq_u8(second, three), vandq_u8(third, three), vshrq_n_u8::<6>(chunk)]
    }
}

/// # Safety
/// The features of `D`; `blocks` blocks of the panel and of each row exist.
#[inline(always)]
pub(super) unsafe fn q2_k<D: Dot, const N: usize>(panel: *const u8, blocks: usize, rows: &Rows<N>) -> [Floats; N] {
    let mut acc = [Floats::splat(0.0); N];
    for b in 0..blocks {
        // SAFETY: block `b` of the panel exists and has eight sub-blocks; so has each row.
        unsafe {
            let block = panel.add(Q2_K * b);
            let (d, dmin) = (Floats::halves(block), Floats::halves(block.add(16)));
            for sub in 0..8 {
                let at = 8 * b + sub;
                let codes = two(|h| Ints::bytes(block.add(Q2_K_SCALES + 8 * (2 * sub + h))));
                let scale = two(|h| d.times(codes[h].and(Ints::splat(15)).to_floats()));
                let min = two(|h| dmin.times(codes[h].moved(Ints::splat(-4)).to_floats()));
                let mut dots = [[Ints::splat(0); N]; 2];
                for (h, dots) in dots.iter_mut().enumerate() {
                    let chunk = block.add(Q2_K_CHUNKS + 64 * sub + 32 * h);
                    let w = signed(two(|r| two_bits(chunk.add(16 * r))));
                    add_dots::<D, 4, N>(dots, w, rows, at, h);
                }
                for i in 0..N {
                    let sum = |h: usize| Floats::splat(rows.half_sum(i, at, h) as f32);
                    let share = scale[0].times(dots[0][i].to_floats());
                    let share = share.plus_product(scale[1], dots[1][i].to_floats());
                    let share = share.minus_product(min[0], sum(0)).minus_product(min[1], sum(1));
                    acc[i] = acc[i].plus_product(share, Floats::splat(rows.scale(i, at)));
                }
            }
        }
    }
    acc
}

/// # Safety
/// As [`q2_k`].
#[inline(always)]
pub(super) unsafe fn q3_k<D: Dot, const N: usize>(panel: *const u8, blocks: usize, rows: &Rows<N>) -> [Floats; N] {
    let mut acc = [Floats::splat(0.0); N];
    for b in 0..blocks {
        // SAFETY: block `b` of the panel exists and has eight sub-blocks of 96 bytes; so has each row.
        unsafe {
            let block = panel.add(Q3_K * b);
            let d = Floats::halves(block);
            for sub in 0..8 {
                let (at, chunks) = (8 * b + sub, block.add(Q3_K_CHUNKS + 96 * sub));
                let scale = two(|h| {
                    let (low, shift, high, shift2) = six_bits(2 * sub + h);
                    let low = Ints::bytes(block.add(low)).moved(Ints::splat(-shift)).and(Ints::splat(15));
                    let high = Ints::bytes(block.add(high)).moved(Ints::splat(-shift2)).and(Ints::splat(3));
                    let code = low.or(high.moved(Ints::splat(4))).minus(Ints::splat(32));
                    d.times(code.to_floats())
                });
                let mut dots = [[Ints::splat(0); N]; 2];
                for (h, dots) in dots.iter_mut().enumerate() {
                    let w = signed(two(|r| three_bits(chunks.add(16 * r), h)));
                    add_dots::<D, 4, N>(dots, w, rows, at, h);
                }
                for i in 0..N {
                    let dot = |h: usize| dots[h][i].minus(Ints::splat(4 * rows.half_sum(i, at, h))).to_floats();
                    let share = scale[0].times(dot(0)).plus_product(scale[1], dot(1));
                    acc[i] = acc[i].plus_product(share, Floats::splat(rows.scale(i, at)));
                }
            }
        }
    }
    acc
}

/// The four quads of half `h` of a Q3_K sub-block, of four rows; `p` points at their low bits.
///
/// # Safety
/// The sub-block's three chunks exist.
#[inline(always)]
unsafe fn three_bits(p: *const u8, h: usize) -> [uint8x16_t; 4] {
    // SAFETY: the caller's promise; NEON.
    unsafe {
        let (low, third) = (two_bits(p.add(32 * h)), vld1q_u8(p.add(64)));
        four(|f| {
            // The third bit of quad `4h + f`, to bit 2 of its byte.
            let third = vshlq_u8(third, vdupq_n_s8(2 - (4 * h + f) as i8));
            vorrq_u8(low[f], vandq_u8(third, vdupq_n_u8(4)))
        })
    }
}
