//! The types that are decoded in the kernel: panels to scratch in the order of the dot products, then integers.

use std::arch::aarch64::*;

use super::super::decoded::{RUNS, Rows as Decoded, SEGMENT, blocks_of, decode};
use super::super::scalar::matmul_shape;
use super::super::{ActRows, Panels};
use super::blocks::{Rows, add_dots};
use super::by_tokens;
use super::dot::Dot;
use super::lanes::{Floats, Ints, four, two};
use crate::quant::runs::{RUN, Run, Runs};
use crate::weights::layout::PANEL_ROWS;

/// `Kernels::matmul` for the types that have runs.
pub(super) fn matmul<T: Runs, D: Dot>(w: Panels<'_>, x: ActRows<'_>, out: &mut [f32]) {
    let (panel, tokens) = matmul_shape(w, x, out);
    out.fill(0.0);
    for (bytes, out) in w.bytes.chunks_exact(panel).zip(out.chunks_exact_mut((tokens * PANEL_ROWS).max(1))) {
        // SAFETY: a set is only handed out when the processor has what it uses; `matmul_shape` has checked that panels, rows
        // and outputs belong together.
        unsafe { D::panel::<T>(bytes, x, out) };
    }
}

/// One panel times all rows of `x`; `out` is `(rows, 8)` and zero.
///
/// # Safety
/// The features of `D`; `bytes` is a whole panel as wide as `x`, which is quantized and has a row for each eight of `out`.
#[inline(always)]
pub(super) unsafe fn panel<T: Runs, D: Dot>(bytes: &[u8], x: ActRows<'_>, out: &mut [f32]) {
    let (mut rows, mut scratch) = ([[Run::ZERO; RUNS]; PANEL_ROWS], Scratch::ZERO);
    let tokens = out.len() / PANEL_ROWS;
    for (s, blocks) in bytes.chunks(blocks_of::<T>() * PANEL_ROWS * T::BYTES).enumerate() {
        let runs = scratch.fill::<T>(blocks, &mut rows);
        let mut t = 0;
        while t < tokens {
            let (first, out) = (s * SEGMENT / RUN, &mut out[t * PANEL_ROWS..]);
            // SAFETY: the caller's promises; a segment's runs exist in each row of `x`.
            t += unsafe { by_tokens!(tokens - t, N => dots::<T, D, N>(&scratch, runs, first, &Rows::new(x, t), out)) };
        }
    }
}

/// A segment of a panel: integers as quads of four rows, (run, half, rows, quad), and factors one for each half of a run and
/// row.
#[repr(C, align(64))]
struct Scratch {
    q: [[[[[i8; 16]; 4]; 2]; 2]; RUNS],
    scale: [[[f32; PANEL_ROWS]; 2]; RUNS],
    min: [[[f32; PANEL_ROWS]; 2]; RUNS],
}

impl Scratch {
    const ZERO: Self = Self {
        q: [[[[[0; 16]; 4]; 2]; 2]; RUNS],
        scale: [[[0.0; PANEL_ROWS]; 2]; RUNS],
        min: [[[0.0; PANEL_ROWS]; 2]; RUNS],
    };

    /// Decodes the segment `blocks` of a panel and answers the number of runs.
    #[inline(always)]
    fn fill<T: Runs>(&mut self, blocks: &[u8], rows: &mut Decoded) -> usize {
        // SAFETY: eight halves.
        decode::<T>(blocks, rows, |bits| unsafe { Floats::halves(bits.as_ptr().cast()) }.array());
        let runs = blocks.len() / (PANEL_ROWS * T::BYTES) * (T::LEN / RUN);
        for r in 0..runs.min(RUNS) {
            for (part, four_rows) in rows.as_chunks::<4>().0.iter().enumerate() {
                let run = |row: usize| &four_rows[row][r];
                let ints = four(|row| ints::<T>(run(row)));
                for (h, to) in self.q[r].iter_mut().enumerate() {
                    // SAFETY: NEON; the same sixteen bytes.
                    let words = unsafe { transposed(four(|row| vreinterpretq_u32_s8(ints[row][h]))) };
                    for (quad, to) in to[part].iter_mut().enumerate() {
                        // SAFETY: NEON; sixteen bytes.
                        unsafe { vst1q_s8(to.as_mut_ptr(), vreinterpretq_s8_u32(words[quad])) };
                    }
                }
                // SAFETY: `scale` and `min` are four values side by side, as `Run` is laid out.
                let factors = four(|row| unsafe { vld1q_u32((&raw const run(row).scale).cast()) });
                let [scale0, scale1, min0, min1] = transposed(factors);
                let put = |to: &mut [f32; PANEL_ROWS], v: uint32x4_t| {
                    // SAFETY: four of the eight values, `part` being 0 or 1.
                    unsafe { vst1q_f32(to.as_mut_ptr().add(4 * part), vreinterpretq_f32_u32(v)) };
                };
                put(&mut self.scale[r][0], scale0);
                if T::HALVES {
                    put(&mut self.scale[r][1], scale1);
                }
                if T::MINS {
                    put(&mut self.min[r][0], min0);
                }
                if T::MINS && T::HALVES {
                    put(&mut self.min[r][1], min1);
                }
            }
        }
        runs
    }
}

/// The integers that a run stands for, as `Run::ints`.
#[inline(always)]
fn ints<T: Runs>(run: &Run) -> [int8x16_t; 2] {
    let q: *const i8 = run.q.0.as_ptr().cast();
    // SAFETY: NEON; a run has 32 integers, a table sixteen.
    unsafe {
        let mut q = [vld1q_s8(q), vld1q_s8(q.add(16))];
        if let Some(table) = T::TABLE {
            let table = vld1q_s8(table.as_ptr());
            q = two(|h| vqtbl1q_s8(table, vreinterpretq_u8_s8(q[h])));
        }
        if T::SIGNS {
            let bit = vreinterpretq_u8_u64(vdupq_n_u64(0x8040_2010_0804_0201));
            let signs = run.signs.to_le_bytes();
            q = two(|h| {
                let bytes = vcombine_u8(vdup_n_u8(signs[2 * h]), vdup_n_u8(signs[2 * h + 1]));
                let mask = vreinterpretq_s8_u8(vtstq_u8(bytes, bit));
                vsubq_s8(veorq_s8(q[h], mask), mask)
            });
        }
        q
    }
}

/// Rows to columns.
#[inline(always)]
fn transposed(rows: [uint32x4_t; 4]) -> [uint32x4_t; 4] {
    let [a, b, c, d] = rows;
    // SAFETY: NEON, which every AArch64 with a standard library has.
    unsafe {
        let pair = |x: uint32x4_t, y: uint32x4_t| [vreinterpretq_u64_u32(x), vreinterpretq_u64_u32(y)];
        let [ab, ab2] = pair(vtrn1q_u32(a, b), vtrn2q_u32(a, b));
        let [cd, cd2] = pair(vtrn1q_u32(c, d), vtrn2q_u32(c, d));
        let columns = [vtrn1q_u64(ab, cd), vtrn1q_u64(ab2, cd2), vtrn2q_u64(ab, cd), vtrn2q_u64(ab2, cd2)];
        four(|i| vreinterpretq_u32_u64(columns[i]))
    }
}

/// Adds the products of a segment, whose first run is run `first` of each row, to the first `N` rows of `out`.
///
/// # Safety
/// The features of `D`; `out` has `N` rows of eight; run `first + runs - 1` of each row exists.
#[inline(always)]
unsafe fn dots<T: Runs, D: Dot, const N: usize>(
    w: &Scratch,
    runs: usize,
    first: usize,
    rows: &Rows<N>,
    out: &mut [f32],
) {
    // SAFETY: the caller's promises.
    unsafe {
        let mut acc: [Floats; N] = std::array::from_fn(|i| Floats::load(out.as_ptr().add(PANEL_ROWS * i)));
        for r in 0..runs.min(RUNS) {
            let at = first + r;
            let mut dots = [[Ints::splat(0); N]; 2];
            for (h, w) in w.q[r].iter().enumerate() {
                let w = two(|rows| four(|quad| vld1q_s8(w[rows][quad].as_ptr())));
                add_dots::<D, 8, N>(&mut dots[if T::HALVES { h } else { 0 }], w, rows, at, h);
            }
            let factor = |of: &[[f32; PANEL_ROWS]; 2], h: usize| Floats::load(of[h].as_ptr());
            for i in 0..N {
                let sum = |h: usize| Floats::splat(rows.half_sum(i, at, h) as f32);
                let mut share = factor(&w.scale[r], 0).times(dots[0][i].to_floats());
                if T::HALVES {
                    share = share.plus_product(factor(&w.scale[r], 1), dots[1][i].to_floats());
                }
                if T::MINS && T::HALVES {
                    share = share.minus_product(factor(&w.min[r], 0), sum(0));
                    share = share.minus_product(factor(&w.min[r], 1), sum(1));
                } else if T::MINS {
                    share = share.minus_product(factor(&w.min[r], 0), Floats::splat(rows.sum(i, at) as f32));
                }
                acc[i] = acc[i].plus_product(share, Floats::splat(rows.scale(i, at)));
            }
        }
        for (i, acc) in acc.iter().enumerate() {
            acc.store(out.as_mut_ptr().add(PANEL_ROWS * i));
        }
    }
}
