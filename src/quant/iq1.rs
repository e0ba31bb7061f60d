//! IQ1_S and IQ1_M: groups of eight values are points of a grid of 2048 with levels -1, 0, 1, shifted by an eighth.
//!
//! | bytes of IQ1_S | field |
//! |---|---|
//! | 0..2 | `d`, f16 |
//! | 2..34 | the low eight bits of the 32 places in the grid |
//! | 34..50 | eight u16, one for each 32 values: `3k..3k + 3` high bits of place `k`, 12..15 scale, 15 sign of the shift |
//!
//! | bytes of IQ1_M | field |
//! |---|---|
//! | 0..32 | the low eight bits of the 32 places |
//! | 32..48 | half `k % 2` of byte `k / 2`: three high bits of place `k` and the sign of its shift |
//! | 48..56 | four u16: bits `3k..3k + 3` of number `j` are scale `4j + k`, for 16 values; 12..16 a quarter of `d`, f16 |
//!
//! `x[i] = (d * (2 * sc + 1)) * (grid[i] ± 1/8)`; the integers are eight times the brackets.

use super::QK_K;
use super::grids::IQ1;
use super::points::{self, Points, RUNS};
use super::runs::{Bytes, Run, Runs, eight, half_at, word};

/// Bytes of an IQ1_S block.
pub const S_BYTES: usize = 50;
/// Bytes of an IQ1_M block.
pub const M_BYTES: usize = 56;

/// 256 values as points of a grid with three levels, in 8 groups with three-bit scales.
#[derive(Debug)]
pub struct Iq1S;
/// As [`Iq1S`] in 16 groups.
#[derive(Debug)]
pub struct Iq1M;

/// Eight points of the grid, whose bytes are 16 too high, shifted by one up, or with `down` (0 or 1) down.
#[inline(always)]
fn shifted(point: u64, down: u64) -> u64 {
    // No byte leaves 7 to 25.
    point.wrapping_add(eight(1)).wrapping_sub(down * eight(2))
}

/// The scale of a group, with the eighth that the integers leave out.
#[inline(always)]
fn group_scale(d: f32, code: u16) -> f32 {
    d * f32::from(2 * (code & 7) + 1) * 0.125
}

impl Runs for Iq1S {
    const LEN: usize = QK_K;
    const BYTES: usize = S_BYTES;

    #[inline(always)]
    fn factors(block: &[u8]) -> [u16; 2] {
        [half_at(block, 0), 0]
    }

    #[inline(always)]
    fn runs(block: &[u8], factors: [f32; 2], out: &mut [Run]) {
        points::runs::<Self>(block, factors, out);
    }
}

impl Runs for Iq1M {
    const LEN: usize = QK_K;
    const BYTES: usize = M_BYTES;
    const HALVES: bool = true;

    #[inline(always)]
    fn factors(block: &[u8]) -> [u16; 2] {
        [(0..4).fold(0, |d, j| d | half_at(block, 48 + 2 * j) >> 12 << (4 * j)), 0]
    }

    #[inline(always)]
    fn runs(block: &[u8], factors: [f32; 2], out: &mut [Run]) {
        points::runs::<Self>(block, factors, out);
    }
}

impl Points for Iq1S {
    type Block = [u8; S_BYTES];
    const MORE: u8 = 16;

    #[inline(always)]
    fn block(bytes: &[u8]) -> Option<&Self::Block> {
        bytes.first_chunk()
    }

    #[inline(always)]
    fn points(block: &Self::Block, r: usize) -> Bytes {
        let (low, high) = (word(block, 2 + 4 * r), u32::from(half_at(block, 34 + 2 * r)));
        let place = |k: usize| (low >> (8 * k) & 255 | (high >> (3 * k) & 7) << 8) as usize;
        Bytes(std::array::from_fn(|k| shifted(IQ1[place(k)], u64::from(high >> 15))))
    }

    #[inline(always)]
    fn scales(block: &Self::Block, d: f32) -> [[f32; RUNS]; 2] {
        [std::array::from_fn(|r| group_scale(d, half_at(block, 34 + 2 * r) >> 12)); 2]
    }
}

impl Points for Iq1M {
    type Block = [u8; M_BYTES];
    const MORE: u8 = 16;

    #[inline(always)]
    fn block(bytes: &[u8]) -> Option<&Self::Block> {
        bytes.first_chunk()
    }

    #[inline(always)]
    fn points(block: &Self::Block, r: usize) -> Bytes {
        let (low, high) = (word(block, 4 * r), u32::from(half_at(block, 32 + 2 * r)));
        Bytes(std::array::from_fn(|k| {
            let high = high >> (4 * k);
            let place = (low >> (8 * k) & 255 | (high & 7) << 8) as usize;
            shifted(IQ1[place], u64::from(high >> 3 & 1))
        }))
    }

    #[inline(always)]
    fn scales(block: &Self::Block, d: f32) -> [[f32; RUNS]; 2] {
        let code = |r: usize| half_at(block, 48 + r / 2 * 2) >> (6 * (r % 2));
        [std::array::from_fn(|r| group_scale(d, code(r))), std::array::from_fn(|r| group_scale(d, code(r) >> 3))]
    }
}
