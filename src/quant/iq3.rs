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
use super::iq2::{spread, with_parity};
use super::runs::{Bytes, Run, Runs, half_at};

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
    fn runs(block: &[u8], [d, _]: [f32; 2], out: &mut [Run]) {
        let Some(block) = block.first_chunk::<XXS_BYTES>() else { return };
        let groups = block[2..66].as_chunks::<8>().0.iter().zip(block[66..].as_chunks::<4>().0);
        for (run, (places, signs)) in out.iter_mut().zip(groups) {
            let signs = u32::from_le_bytes(*signs);
            let point = |k: usize| IQ3_XXS[usize::from(places[k])];
            let points = |k: usize| pair(point(2 * k), point(2 * k + 1));
            let q = Bytes([points(0), points(1), points(2), points(3)]);
            let scale = [d * (0.5 + (signs >> 28) as f32) * 0.5; 2];
            *run = Run { q, scale, signs: with_parity(spread(signs)), ..Run::ZERO };
        }
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
    fn runs(block: &[u8], [d, _]: [f32; 2], out: &mut [Run]) {
        let Some(block) = block.first_chunk::<S_BYTES>() else { return };
        let (places, highs) = (block[2..66].as_chunks::<8>().0, &block[66..74]);
        let (signs, scales) = (block[74..106].as_chunks::<4>().0, &block[106..]);
        for (r, (run, ((places, high), signs))) in out.iter_mut().zip(places.iter().zip(highs).zip(signs)).enumerate() {
            let sc = scales[r / 2] >> (4 * (r % 2)) & 15;
            let point = |k: usize| IQ3_S[usize::from(places[k]) | (usize::from(*high) >> k & 1) << 8];
            let points = |k: usize| pair(point(2 * k), point(2 * k + 1));
            let q = Bytes([points(0), points(1), points(2), points(3)]);
            let (scale, signs) = ([d * f32::from(1 + 2 * sc); 2], u32::from_le_bytes(*signs));
            *run = Run { q, scale, signs, ..Run::ZERO };
        }
    }
}
