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
use super::runs::{Bytes, MASKS, Run, Runs, eight, half_at};

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

/// Eight positive bytes, negated where a bit of `signs` is set.
#[inline(always)]
pub(super) fn signed(bytes: u64, signs: u8) -> u64 {
    let mask = MASKS[usize::from(signs)];
    // A negated byte is its complement and one; the complement of a positive byte never carries.
    (bytes ^ mask).wrapping_add(mask & eight(1))
}

/// Seven sign bits and their parity.
#[inline(always)]
pub(super) fn with_parity(signs: u32) -> u8 {
    let signs = (signs & 127) as u8;
    signs | (signs.count_ones() as u8 & 1) << 7
}

#[inline(always)]
fn group_scale(d: f32, code: u32) -> f32 {
    d * (0.5 + (code & 15) as f32) * 0.25
}

impl Runs for Iq2Xxs {
    const LEN: usize = QK_K;
    const BYTES: usize = XXS_BYTES;

    #[inline(always)]
    fn factors(block: &[u8]) -> [u16; 2] {
        [half_at(block, 0), 0]
    }

    #[inline(always)]
    fn runs(block: &[u8], [d, _]: [f32; 2], out: &mut [Run]) {
        let Some(block) = block.first_chunk::<XXS_BYTES>() else { return };
        for (run, group) in out.iter_mut().zip(block[2..].as_chunks::<8>().0) {
            let [p0, p1, p2, p3, s0, s1, s2, s3] = group;
            let places = [*p0, *p1, *p2, *p3];
            let signs = u32::from_le_bytes([*s0, *s1, *s2, *s3]);
            let point = |k: usize| signed(IQ2_XXS[usize::from(places[k])], with_parity(signs >> (7 * k)));
            let q = Bytes([point(0), point(1), point(2), point(3)]);
            *run = Run { q, scale: [group_scale(d, signs >> 28); 2], min: [0.0; 2] };
        }
    }
}

impl Runs for Iq2Xs {
    const LEN: usize = QK_K;
    const BYTES: usize = XS_BYTES;
    const HALVES: bool = true;

    #[inline(always)]
    fn factors(block: &[u8]) -> [u16; 2] {
        [half_at(block, 0), 0]
    }

    #[inline(always)]
    fn runs(block: &[u8], [d, _]: [f32; 2], out: &mut [Run]) {
        let Some(block) = block.first_chunk::<XS_BYTES>() else { return };
        for ((run, group), sc) in out.iter_mut().zip(block[2..66].as_chunks::<8>().0).zip(&block[66..]) {
            let [a, b, c, d2, e, f, g, h] = *group;
            let point = |code: [u8; 2]| {
                let code = u16::from_le_bytes(code);
                signed(IQ2_XS[usize::from(code & 511)], with_parity(u32::from(code >> 9)))
            };
            let q = Bytes([point([a, b]), point([c, d2]), point([e, f]), point([g, h])]);
            let scale = [group_scale(d, u32::from(*sc)), group_scale(d, u32::from(sc >> 4))];
            *run = Run { q, scale, min: [0.0; 2] };
        }
    }
}

impl Runs for Iq2S {
    const LEN: usize = QK_K;
    const BYTES: usize = S_BYTES;
    const HALVES: bool = true;

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
            let point = |k: usize| {
                let place = usize::from(places[k]) | usize::from(high >> (2 * k) & 3) << 8;
                signed(IQ2_S[place], signs[k])
            };
            let q = Bytes([point(0), point(1), point(2), point(3)]);
            let scale = [group_scale(d, u32::from(*sc)), group_scale(d, u32::from(sc >> 4))];
            *run = Run { q, scale, min: [0.0; 2] };
        }
    }
}
