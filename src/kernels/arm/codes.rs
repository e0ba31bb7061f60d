//! The types of four- and five-bit codes, for panels in the order of `weights::layout::codes`. The roundings are those of
//! `kernels::decoded`.

use std::arch::aarch64::*;

use super::blocks::{Bytes, Rows, add_dots, chunks, nibbles, signed};
use super::dot::{Dot, Half};
use super::lanes::{Floats, Ints, four, two};
use crate::weights::layout::PANEL_ROWS;
use crate::weights::layout::codes::{Codes, Head, NIBBLES, signed_scale};

/// # Safety
/// The features of `D`; `blocks` blocks of the panel and of each row exist.
#[inline(always)]
pub(super) unsafe fn codes<T: Codes, D: Dot, const N: usize>(
    panel: *const u8,
    blocks: usize,
    rows: &Rows<N>,
) -> [Floats; N] {
    let mut acc = [Floats::splat(0.0); N];
    for b in 0..blocks {
        // SAFETY: block `b` of the panel exists and has its sub-blocks; so has each row.
        unsafe {
            let block = panel.add(T::PANEL * b);
            for sub in 0..T::SUBS {
                let (at, p) = (T::SUBS * b + sub, block.add(T::CHUNKS + T::STEP * sub));
                let mut dots = [Ints::splat(0); N];
                let bytes = chunks(p);
                add_half::<T, D, 0, N>(&mut dots, nibbles::<0>(bytes), p, rows, at);
                add_half::<T, D, 1, N>(&mut dots, nibbles::<1>(bytes), p, rows, at);
                let (scale, min) = factors::<T>(block, sub);
                for i in 0..N {
                    let sum = rows.sum(i, at);
                    let mut dot = dots[i];
                    if T::LESS != 0 {
                        dot = dot.minus(Ints::splat(i32::from(T::LESS) * sum));
                    }
                    let mut share = scale.times(dot.to_floats());
                    if T::MINS {
                        share = share.minus_product(min, Floats::splat(sum as f32));
                    }
                    acc[i] = acc[i].plus_product(share, Floats::splat(rows.scale(i, at)));
                }
            }
        }
    }
    acc
}

/// Adds the products of half `H` of a sub-block, whose nibbles are `low` and whose chunks begin at `p`.
///
/// # Safety
/// The features of `D`; the chunks and block `at` of each row exist.
#[inline(always)]
unsafe fn add_half<T: Codes, D: Dot, const H: usize, const N: usize>(
    dots: &mut [Ints; N],
    low: Bytes,
    p: *const u8,
    rows: &Rows<N>,
    at: usize,
) {
    // SAFETY: the caller's promises; NEON.
    unsafe {
        if let Some(table) = T::TABLE {
            let table = vld1q_s8(table.as_ptr());
            let w: Half = two(|r| four(|c| vqtbl1q_s8(table, low[r][c])));
            add_dots::<D, 8, N>(dots, w, rows, at, H);
        } else if T::FIFTH {
            let w = two(|r| {
                let bits = vld1q_u8(p.add(NIBBLES + 16 * r));
                four(|c| {
                    // The fifth bit of quad `4 H + c`, to bit 4 of its byte.
                    let high = vshlq_u8(bits, vdupq_n_s8(4 - (4 * H + c) as i8));
                    vorrq_u8(low[r][c], vandq_u8(high, vdupq_n_u8(16)))
                })
            });
            add_dots::<D, 6, N>(dots, signed(w), rows, at, H);
        } else {
            add_dots::<D, 4, N>(dots, signed(low), rows, at, H);
        }
    }
}

/// Scales and minima of sub-block `sub`.
///
/// # Safety
/// The block's head exists.
#[inline(always)]
pub(super) unsafe fn factors<T: Codes>(block: *const u8, sub: usize) -> (Floats, Floats) {
    let zero = Floats::splat(0.0);
    // The bits of eight bytes from bit `shift` on that `mask` has.
    let bits = |at: usize, shift: usize, mask: i32| {
        // SAFETY: the heads of these types reach so far.
        let bytes = unsafe { Ints::bytes(block.add(at)) };
        bytes.moved(Ints::splat(-(shift as i32))).and(Ints::splat(mask))
    };
    // SAFETY: the heads of these types reach so far.
    unsafe {
        match T::HEAD {
            Head::Halves if T::MINS => (Floats::halves(block), Floats::halves(block.add(16)).negated()),
            Head::Halves => (Floats::halves(block), zero),
            Head::Powers => {
                let e = Ints::bytes(block);
                let small = Ints::splat(0x0020_0000).moved(e).to_array();
                let large = e.minus(Ints::splat(1)).moved(Ints::splat(23)).to_array();
                let e = e.to_array();
                let pick = std::array::from_fn(|i| if e[i] < 2 { small[i] } else { large[i] });
                (Ints::from_array(pick).as_floats(), zero)
            }
            Head::Signed => {
                let (high, shift, low, low_shift) = signed_scale(sub);
                let high = bits(high, shift, 3).moved(Ints::splat(4));
                let code = bits(low, low_shift, 15).or(high).minus(Ints::splat(32));
                (Floats::halves(block).times(code.to_floats()), zero)
            }
            Head::SixBits => {
                let byte = |j: usize| 32 + PANEL_ROWS * j;
                let (scale, min) = if sub < 4 {
                    (bits(byte(sub), 0, 63), bits(byte(sub + 4), 0, 63))
                } else {
                    let top = |j: usize| bits(byte(j), 6, 3).moved(Ints::splat(4));
                    let low = |shift: usize| bits(byte(sub + 4), shift, 15);
                    (low(0).or(top(sub - 4)), low(4).or(top(sub)))
                };
                let (d, dmin) = (Floats::halves(block), Floats::halves(block.add(16)));
                (d.times(scale.to_floats()), dmin.times(min.to_floats()))
            }
        }
    }
}
