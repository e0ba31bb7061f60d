//! Matmul for the types that the kernels decode: what a run means, and a panel's blocks turned into runs.
//!
//! A panel of such a type holds its rows' blocks as the file has them; Q2_K and Q3_K have an order of their own, and vector
//! kernels that need no decoding and give the same bits. A kernel decodes up to [`SEGMENT`] columns of a panel at a time and
//! lets all tokens of the call go by before the next ones; an output collects its segments in order.

use super::scalar::matmul_shape;
use super::{ActRows, BLOCK, Panels};
use crate::quant::runs::{RUN, Run, Runs};
use crate::weights::layout::{LARGEST, PANEL_ROWS, file_block};

/// Columns that are decoded at a time.
pub(super) const SEGMENT: usize = 256;
/// Runs of a segment.
pub(super) const RUNS: usize = SEGMENT / RUN;

/// A segment of a panel: for each row its runs.
pub(super) type Rows = [[Run; RUNS]; PANEL_ROWS];

/// Blocks of one row that make a segment.
pub(super) const fn blocks_of<T: Runs>() -> usize {
    SEGMENT / T::LEN
}

/// Decodes a segment of a panel in the order of the file: `blocks` holds up to [`blocks_of`] panel blocks, `to_single` turns
/// eight halves into single precision.
#[inline(always)]
pub(super) fn decode<T: Runs>(blocks: &[u8], rows: &mut Rows, to_single: impl Fn([u16; 8]) -> [f32; 8]) {
    for (b, block) in blocks.chunks_exact(PANEL_ROWS * T::BYTES).enumerate().take(blocks_of::<T>()) {
        let mut bits = [[0; PANEL_ROWS]; 2];
        for (row, block) in block.chunks_exact(T::BYTES).enumerate() {
            [bits[0][row], bits[1][row]] = T::factors(block);
        }
        let d = to_single(bits[0]);
        let min = if T::MINS { to_single(bits[1]) } else { [0.0; PANEL_ROWS] };
        let at = b * (T::LEN / RUN);
        for (row, (block, runs)) in block.chunks_exact(T::BYTES).zip(rows.iter_mut()).enumerate() {
            T::runs(block, [d[row], min[row]], &mut runs[at..at + T::LEN / RUN]);
        }
    }
}

/// What the sets' products mean: a run's share joins the sum of the row.
fn add_run<T: Runs>(run: &Run, ints: &[i8; RUN], q: &[i8], scale: f32, sums: [i32; 2], acc: f32) -> f32 {
    let dot = |h: usize| -> i32 {
        let pairs = ints[16 * h..16 * h + 16].iter().zip(&q[16 * h..16 * h + 16]);
        pairs.map(|(w, a)| i32::from(*w) * i32::from(*a)).sum()
    };
    let mut share = if T::HALVES {
        run.scale[1].mul_add(dot(1) as f32, run.scale[0] * dot(0) as f32)
    } else {
        run.scale[0] * (dot(0) + dot(1)) as f32
    };
    if T::MINS && T::HALVES {
        share = (-run.min[0]).mul_add(sums[0] as f32, share);
        share = (-run.min[1]).mul_add(sums[1] as f32, share);
    } else if T::MINS {
        share = (-run.min[0]).mul_add((sums[0] + sums[1]) as f32, share);
    }
    share.mul_add(scale, acc)
}

/// `Kernels::matmul` in plain loops.
pub(super) fn matmul<T: Runs>(w: Panels<'_>, x: ActRows<'_>, out: &mut [f32]) {
    let (panel, tokens) = matmul_shape(w, x, out);
    let (mut rows, mut ints) = ([[Run::ZERO; RUNS]; PANEL_ROWS], [[[0; RUN]; RUNS]; PANEL_ROWS]);
    let step = blocks_of::<T>() * PANEL_ROWS * T::BYTES;
    out.fill(0.0);
    for (bytes, out) in w.bytes.chunks_exact(panel).zip(out.chunks_exact_mut((tokens * PANEL_ROWS).max(1))) {
        for (s, blocks) in bytes.chunks(step).enumerate() {
            let runs = blocks.len() / (PANEL_ROWS * T::BYTES) * (T::LEN / RUN);
            for (b, block) in blocks.chunks_exact(PANEL_ROWS * T::BYTES).enumerate() {
                for (row, runs) in rows.iter_mut().enumerate() {
                    let mut room = [0; LARGEST];
                    let block = file_block(w.ty, block, row, &mut room);
                    let factors = T::factors(block).map(|bits| half::f16::from_bits(bits).to_f32());
                    T::runs(block, factors, &mut runs[b * (T::LEN / RUN)..][..T::LEN / RUN]);
                }
            }
            for (row, ints) in rows.iter().zip(&mut ints) {
                *ints = row.map(|run| run.ints::<T>());
            }
            for (t, out) in out.chunks_exact_mut(PANEL_ROWS).enumerate() {
                for ((row, ints), acc) in rows.iter().zip(&ints).zip(out) {
                    for (r, (run, ints)) in row[..runs].iter().zip(ints).enumerate() {
                        let at = (t * x.cols() + s * SEGMENT) / BLOCK + r;
                        let block = &x.blocks[at];
                        *acc = add_run::<T>(run, ints, &block.q, block.scale, [0, 1].map(|h| block.sum(h)), *acc);
                    }
                }
            }
        }
    }
}
