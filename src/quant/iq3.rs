//! IQ3_XXS and IQ3_S: groups of four values are points of a grid of eight levels, with signs.
//!
//! | bytes of IQ3_XXS | field |
//! |---|---|
//! | 0..2 | `d`, f16 |
//! | 2..66 | 64 places in the grid of 256 |
//! | 66..98 | for each 32 values a u32: four times seven sign bits, a scale of four |
//!
//! | bytes of IQ3_S | field |
//! |---|---|
//! | 0..2 | `d`, f16 |
//! | 2..66 | the low eight bits of 64 places in the grid of 512 |
//! | 66..74 | the ninth bits |
//! | 74..106 | sign bits, one a value |
//! | 106..110 | scales of four bits, one for each 32 values |
//!
//! IQ3_XXS: `x[i] = (d * (1/2 + sc) / 2) * ±grid[i]`, of seven sign bits the eighth is the parity. IQ3_S:
//! `x[i] = (d * (1 + 2 sc)) * ±grid[i]`.

use super::QK_K;
use super::grids::{IQ3_S, IQ3_XXS};
use super::points::{self, Points, RUNS, Signs};
use super::runs::{Bytes, Run, Runs, half_at, word};

/// Bytes of an IQ3_XXS block.
pub const XXS_BYTES: usize = 98;
/// Bytes of an IQ3_S block.
pub const S_BYTES: usize = 110;

/// 256 values as points of a grid of 256 with signs, in 8 groups with four-bit scales.
#[derive(Debug)]
pub struct Iq3Xxs;
/// 256 values as points of a grid of 512 with signs, in 8 groups with four-bit scales.
#[derive(Debug)]
pub struct Iq3S;

/// Two points side by side.
#[inline(always)]
fn pair(first: u32, second: u32) -> u64 {
    u64::from(first) | u64::from(second) << 32
}

impl Runs for Iq3Xxs {
    const LEN: usize = QK_K;
    const BYTES: usize = XXS_BYTES;
    const SIGNS: bool = true;

    #[inline(always)]
    fn factors(block: &[u8]) -> [u16; 2] {
        [half_at(block, 0), 0]
    }

    #[inline(always)]
    fn runs(block: &[u8], factors: [f32; 2], out: &mut [Run]) {
        points::runs::<Self>(block, factors, out);
    }
}

impl Runs for Iq3S {
    const LEN: usize = QK_K;
    const BYTES: usize = S_BYTES;
    const SIGNS: bool = true;

    #[inline(always)]
    fn factors(block: &[u8]) -> [u16; 2] {
        [half_at(block, 0), 0]
    }

    #[inline(always)]
    fn runs(block: &[u8], factors: [f32; 2], out: &mut [Run]) {
        points::runs::<Self>(block, factors, out);
    }
}

impl Points for Iq3Xxs {
    type Block = [u8; XXS_BYTES];
    const KEPT: Signs = Signs::Packed;

    #[inline(always)]
    fn block(bytes: &[u8]) -> Option<&Self::Block> {
        bytes.first_chunk()
    }

    #[inline(always)]
    fn points(block: &Self::Block, r: usize) -> Bytes {
        let point = |k: usize| IQ3_XXS[usize::from(block[2 + 8 * r + k])];
        Bytes(std::array::from_fn(|k| pair(point(2 * k), point(2 * k + 1))))
    }

    #[inline(always)]
    fn signs(block: &Self::Block) -> [u32; RUNS] {
        std::array::from_fn(|r| word(block, 66 + 4 * r))
    }

    #[inline(always)]
    fn scales(block: &Self::Block, d: f32) -> [[f32; RUNS]; 2] {
        [std::array::from_fn(|r| d * (0.5 + (word(block, 66 + 4 * r) >> 28) as f32) * 0.5); 2]
    }
}

impl Points for Iq3S {
    type Block = [u8; S_BYTES];
    const KEPT: Signs = Signs::Bits;

    #[inline(always)]
    fn block(bytes: &[u8]) -> Option<&Self::Block> {
        bytes.first_chunk()
    }

    #[inline(always)]
    fn points(block: &Self::Block, r: usize) -> Bytes {
        let high = usize::from(block[66 + r]) << 8;
        let point = |k: usize| IQ3_S[usize::from(block[2 + 8 * r + k]) | high >> k & 256];
        Bytes(std::array::from_fn(|k| pair(point(2 * k), point(2 * k + 1))))
    }

    #[inline(always)]
    fn signs(block: &Self::Block) -> [u32; RUNS] {
        std::array::from_fn(|r| word(block, 74 + 4 * r))
    }

    #[inline(always)]
    fn scales(block: &Self::Block, d: f32) -> [[f32; RUNS]; 2] {
        let codes = word(block, 106);
        [std::array::from_fn(|r| d * (1 + 2 * (codes >> (4 * r) & 15)) as f32); 2]
    }
}
