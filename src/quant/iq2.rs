//! IQ2_XXS, IQ2_XS and IQ2_S: groups of eight values are points of a grid with levels 8, 25, 43, and signs.
//!
//! | bytes of IQ2_XXS | field |
//! |---|---|
//! | 0..2 | `d`, f16 |
//! | 2..66 | for each 32 values: four places in the grid of 256, then a u32 of four times seven sign bits and a scale of four |
//!
//! | bytes of IQ2_XS | field |
//! |---|---|
//! | 0..2 | `d`, f16 |
//! | 2..66 | 32 u16: nine bits of place in the grid of 512, seven sign bits |
//! | 66..74 | scales of four bits, one for each 16 values |
//!
//! | bytes of IQ2_S | field |
//! |---|---|
//! | 0..2 | `d`, f16 |
//! | 2..34 | the low eight bits of 32 places in the grid of 1024 |
//! | 34..66 | eight sign bits for each place |
//! | 66..74 | the high two bits of four places a byte |
//! | 74..82 | scales of four bits, one for each 16 values |
//!
//! Of seven sign bits the eighth is the parity. `x[i] = (d * (1/2 + sc) / 4) * ±grid[i]`.

use super::QK_K;
use super::grids::{IQ2_S, IQ2_XS, IQ2_XXS};
use super::points::{self, Points, RUNS, Signs};
use super::runs::{Bytes, Run, Runs, half_at, word};

/// Bytes of an IQ2_XXS block.
pub const XXS_BYTES: usize = 66;
/// Bytes of an IQ2_XS block.
pub const XS_BYTES: usize = 74;
/// Bytes of an IQ2_S block.
pub const S_BYTES: usize = 82;

/// 256 values as points of a grid of 256 with signs, in 8 groups with four-bit scales.
#[derive(Debug)]
pub struct Iq2Xxs;
/// 256 values as points of a grid of 512 with signs, in 16 groups with four-bit scales.
#[derive(Debug)]
pub struct Iq2Xs;
/// 256 values as points of a grid of 1024 with signs, in 16 groups with four-bit scales.
#[derive(Debug)]
pub struct Iq2S;

#[inline(always)]
fn group_scale(d: f32, code: u32) -> f32 {
    d * (0.5 + (code & 15) as f32) * 0.25
}

impl Runs for Iq2Xxs {
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

impl Runs for Iq2Xs {
    const LEN: usize = QK_K;
    const BYTES: usize = XS_BYTES;
    const HALVES: bool = true;
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

impl Runs for Iq2S {
    const LEN: usize = QK_K;
    const BYTES: usize = S_BYTES;
    const HALVES: bool = true;
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

impl Points for Iq2Xxs {
    type Block = [u8; XXS_BYTES];
    const KEPT: Signs = Signs::Packed;

    #[inline(always)]
    fn block(bytes: &[u8]) -> Option<&Self::Block> {
        bytes.first_chunk()
    }

    #[inline(always)]
    fn points(block: &Self::Block, r: usize) -> Bytes {
        let places = word(block, 2 + 8 * r);
        Bytes(places.to_le_bytes().map(|place| IQ2_XXS[usize::from(place)]))
    }

    #[inline(always)]
    fn signs(block: &Self::Block) -> [u32; RUNS] {
        std::array::from_fn(|r| word(block, 6 + 8 * r))
    }

    #[inline(always)]
    fn scales(block: &Self::Block, d: f32) -> [[f32; RUNS]; 2] {
        [std::array::from_fn(|r| group_scale(d, word(block, 6 + 8 * r) >> 28)); 2]
    }
}

impl Points for Iq2Xs {
    type Block = [u8; XS_BYTES];
    const KEPT: Signs = Signs::Bytes;

    #[inline(always)]
    fn block(bytes: &[u8]) -> Option<&Self::Block> {
        bytes.first_chunk()
    }

    #[inline(always)]
    fn points(block: &Self::Block, r: usize) -> Bytes {
        let codes = [word(block, 2 + 8 * r), word(block, 6 + 8 * r)];
        Bytes(std::array::from_fn(|k| IQ2_XS[(codes[k / 2] >> (16 * (k % 2))) as usize & 511]))
    }

    #[inline(always)]
    fn signs(block: &Self::Block) -> [u32; RUNS] {
        std::array::from_fn(|r| {
            // The seven bits of each code's upper end, brought together.
            let two = |at: usize| {
                let codes = word(block, at) >> 9 & 0x007f_007f;
                (codes | codes >> 8) & 0x7f7f
            };
            two(2 + 8 * r) | two(6 + 8 * r) << 16
        })
    }

    #[inline(always)]
    fn scales(block: &Self::Block, d: f32) -> [[f32; RUNS]; 2] {
        half_scales(block, XS_BYTES - RUNS, d)
    }
}

impl Points for Iq2S {
    type Block = [u8; S_BYTES];
    const KEPT: Signs = Signs::Bits;

    #[inline(always)]
    fn block(bytes: &[u8]) -> Option<&Self::Block> {
        bytes.first_chunk()
    }

    #[inline(always)]
    fn points(block: &Self::Block, r: usize) -> Bytes {
        let (low, high) = (word(block, 2 + 4 * r), u32::from(block[66 + r]));
        let place = |k: usize| (low >> (8 * k) & 255 | (high >> (2 * k) & 3) << 8) as usize;
        Bytes(std::array::from_fn(|k| IQ2_S[place(k)]))
    }

    #[inline(always)]
    fn signs(block: &Self::Block) -> [u32; RUNS] {
        std::array::from_fn(|r| word(block, 34 + 4 * r))
    }

    #[inline(always)]
    fn scales(block: &Self::Block, d: f32) -> [[f32; RUNS]; 2] {
        half_scales(block, S_BYTES - RUNS, d)
    }
}

/// Scales of sixteen values each, two a byte from byte `at` on.
#[inline(always)]
fn half_scales(block: &[u8], at: usize, d: f32) -> [[f32; RUNS]; 2] {
    let codes: [u8; RUNS] = block.get(at..).and_then(|b| b.first_chunk()).copied().unwrap_or_default();
    [codes.map(|c| group_scale(d, u32::from(c))), codes.map(|c| group_scale(d, u32::from(c >> 4)))]
}
