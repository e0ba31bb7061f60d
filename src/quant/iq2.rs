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
use super::runs::{Bytes, Run, Runs, half_at};

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

/// Each byte's seven low bits and as its eighth their parity.
#[inline(always)]
pub(super) fn with_parity(signs: u32) -> u32 {
    let signs = signs & 0x7f7f_7f7f;
    let folded = signs ^ signs >> 4;
    let folded = folded ^ folded >> 2;
    signs | ((folded ^ folded >> 1) & 0x0101_0101) << 7
}

/// Four times seven bits, each to a byte of its own.
#[inline(always)]
pub(super) fn spread(signs: u32) -> u32 {
    signs & 0x7f | signs << 1 & 0x7f00 | signs << 2 & 0x007f_0000 | signs << 3 & 0x7f00_0000
}

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
    fn runs(block: &[u8], [d, _]: [f32; 2], out: &mut [Run]) {
        let Some(block) = block.first_chunk::<XXS_BYTES>() else { return };
        for (run, group) in out.iter_mut().zip(block[2..].as_chunks::<8>().0) {
            let [places, signs] = group.as_chunks::<4>().0 else { return };
            let signs = u32::from_le_bytes(*signs);
            let q = Bytes(places.map(|place| IQ2_XXS[usize::from(place)]));
            let scale = [group_scale(d, signs >> 28); 2];
            *run = Run { q, scale, signs: with_parity(spread(signs)), ..Run::ZERO };
        }
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
    fn runs(block: &[u8], [d, _]: [f32; 2], out: &mut [Run]) {
        let Some(block) = block.first_chunk::<XS_BYTES>() else { return };
        for ((run, group), sc) in out.iter_mut().zip(block[2..66].as_chunks::<8>().0).zip(&block[66..]) {
            let codes = u64::from_le_bytes(*group);
            let point = |k: usize| IQ2_XS[(codes >> (16 * k)) as usize & 511];
            let q = Bytes([point(0), point(1), point(2), point(3)]);
            // The seven bits of each code's upper end, brought together.
            let signs = codes >> 9 & 0x007f_007f_007f_007f;
            let signs = signs | signs >> 8;
            let signs = (signs & 0xffff | signs >> 16 & 0xffff_0000) as u32;
            let scale = [group_scale(d, u32::from(*sc)), group_scale(d, u32::from(sc >> 4))];
            *run = Run { q, scale, signs: with_parity(signs), ..Run::ZERO };
        }
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
    fn runs(block: &[u8], [d, _]: [f32; 2], out: &mut [Run]) {
        let Some(block) = block.first_chunk::<S_BYTES>() else { return };
        let (places, signs) = (block[2..34].as_chunks::<4>().0, block[34..66].as_chunks::<4>().0);
        let codes = places.iter().zip(signs).zip(block[66..74].iter().zip(&block[74..]));
        for (run, ((places, signs), (high, sc))) in out.iter_mut().zip(codes) {
            let point = |k: usize| IQ2_S[usize::from(places[k]) | usize::from(high >> (2 * k) & 3) << 8];
            let q = Bytes([point(0), point(1), point(2), point(3)]);
            let scale = [group_scale(d, u32::from(*sc)), group_scale(d, u32::from(sc >> 4))];
            *run = Run { q, scale, signs: u32::from_le_bytes(*signs), ..Run::ZERO };
        }
    }
}
