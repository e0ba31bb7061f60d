//! Q2_K and Q3_K, for panels in the order of `weights::layout::pairs`. The roundings are those of `kernels::decoded`.

use std::arch::aarch64::*;

use super::blocks::{Rows, signed};
use super::dot::Dot;
use super::lanes::{Floats, Ints};
use crate::quant::{q2_k, q3_k};
use crate::weights::layout::PANEL_ROWS;
use crate::weights::layout::pairs::{Q2_K_CHUNKS, Q2_K_SCALES, Q3_K_CHUNKS, Q3_K_SCALES};

const Q2_K: usize = PANEL_ROWS * q2_k::BYTES;
const Q3_K: usize = PANEL_ROWS * q3_k::BYTES;

/// Where group `g` of a Q3_K block has its scale: (byte of the four low bits, shift, byte of the two high bits, shift).
fn six_bits(g: usize) -> (usize, i32, usize, i32) {
    let at = |byte: usize| Q3_K_SCALES + PANEL_ROWS * byte;
    (at(g % 8), if g < 8 { 0 } else { 4 }, at(8 + g % 4), 2 * (g / 4) as i32)
}

/// The four quads of two bits in half a chunk.
#[inline(always)]
fn two_bits(chunk: uint8x16_t) -> [uint8x16_t; 4] {
    // SAFETY: NEON, which every AArch64 with a standard library has.
    unsafe {
        let three = vdupq_n_u8(3);
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
                let codes = [0, 1].map(|h| Ints::bytes(block.add(Q2_K_SCALES + 8 * (2 * sub + h))));
                let scale = codes.map(|c| d.times(c.and(Ints::splat(15)).to_floats()));
                let min = codes.map(|c| dmin.times(c.moved(Ints::splat(-4)).to_floats()));
                let mut dots = [[Ints::splat(0); 2]; N];
                for h in 0..2 {
                    for r in 0..2 {
                        let chunk = vld1q_u8(block.add(Q2_K_CHUNKS + 64 * sub + 32 * h + 16 * r));
                        let w = signed(two_bits(chunk));
                        for (i, dots) in dots.iter_mut().enumerate() {
                            dots[h].0[r] = D::dot::<4>(dots[h].0[r], w, rows.half(i, at, h));
                        }
                    }
                }
                for i in 0..N {
                    let sum = |h: usize| Floats::splat(rows.half_sum(i, at, h) as f32);
                    let share = scale[0].times(dots[i][0].to_floats());
                    let share = share.plus_product(scale[1], dots[i][1].to_floats());
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
                let scale = [0, 1].map(|h| {
                    let (low, shift, high, shift2) = six_bits(2 * sub + h);
                    let low = Ints::bytes(block.add(low)).moved(Ints::splat(-shift)).and(Ints::splat(15));
                    let high = Ints::bytes(block.add(high)).moved(Ints::splat(-shift2)).and(Ints::splat(3));
                    let code = low.or(high.moved(Ints::splat(4))).minus(Ints::splat(32));
                    d.times(code.to_floats())
                });
                let mut dots = [[Ints::splat(0); 2]; N];
                for r in 0..2 {
                    let third = vld1q_u8(chunks.add(64 + 16 * r));
                    for h in 0..2 {
                        let mut w = two_bits(vld1q_u8(chunks.add(32 * h + 16 * r)));
                        for (f, w) in w.iter_mut().enumerate() {
                            // The third bit of quad `4h + f`, to bit 2 of its byte.
                            let third = vshlq_u8(third, vdupq_n_s8(2 - (4 * h + f) as i8));
                            *w = vorrq_u8(*w, vandq_u8(third, vdupq_n_u8(4)));
                        }
                        let w = signed(w);
                        for (i, dots) in dots.iter_mut().enumerate() {
                            dots[h].0[r] = D::dot::<4>(dots[h].0[r], w, rows.half(i, at, h));
                        }
                    }
                }
                for i in 0..N {
                    let dot = |h: usize| dots[i][h].minus(Ints::splat(4 * rows.half_sum(i, at, h))).to_floats();
                    let share = scale[0].times(dot(0)).plus_product(scale[1], dot(1));
                    acc[i] = acc[i].plus_product(share, Floats::splat(rows.scale(i, at)));
                }
            }
        }
    }
    acc
}
