//! Block types whose values are points of a grid, eight or four values each: the same block in three parts, so that kernels can
//! work on what is alike at once.

use super::QK_K;
use super::runs::{Bytes, RUN, Run, Runs};

/// Runs in a block.
pub const RUNS: usize = QK_K / RUN;

/// How a block keeps the signs of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signs {
    /// Not at all.
    None,
    /// As [`Run::signs`].
    Bits,
    /// As bytes of seven, the eighth being their parity.
    Bytes,
    /// As four times seven bits in a row, below others; of each seven the eighth is the parity.
    Packed,
}

impl Signs {
    /// A run's signs as in [`Run::signs`].
    #[inline(always)]
    pub(super) fn bits(self, kept: u32) -> u32 {
        match self {
            Self::None => 0,
            Self::Bits => kept,
            Self::Bytes => with_parity(kept),
            Self::Packed => with_parity(spread(kept)),
        }
    }
}

/// Each byte's seven low bits and as its eighth their parity.
#[inline(always)]
fn with_parity(signs: u32) -> u32 {
    let folded = signs ^ signs >> 4;
    let folded = folded ^ folded >> 2;
    signs | ((folded ^ folded >> 1) & 0x0101_0101) << 7
}

/// Four times seven bits, each to a byte of its own.
#[inline(always)]
fn spread(signs: u32) -> u32 {
    signs & 0x7f | signs << 1 & 0x7f00 | signs << 2 & 0x007f_0000 | signs << 3 & 0x7f00_0000
}

/// A block type of 256 values as points of a grid.
///
/// As those of [`Runs`], the functions are compiled anew inside each instruction set's kernels.
pub trait Points: Runs {
    /// A whole block.
    type Block;
    /// How much more than the integers the bytes of the points are.
    const MORE: u8 = 0;
    /// How the signs are kept.
    const KEPT: Signs = Signs::None;

    /// The block in `bytes`, if it is whole.
    fn block(bytes: &[u8]) -> Option<&Self::Block>;

    /// The bytes of the points of run `r < RUNS`, without signs.
    fn points(block: &Self::Block, r: usize) -> Bytes;

    /// For each run its signs as they are kept.
    fn signs(_: &Self::Block) -> [u32; RUNS] {
        [0; RUNS]
    }

    /// Scales of the first halves of the runs, and of the second.
    fn scales(block: &Self::Block, d: f32) -> [[f32; RUNS]; 2];
}

/// [`Runs::runs`] of such a type.
#[inline(always)]
pub(super) fn runs<T: Points>(block: &[u8], [d, _]: [f32; 2], out: &mut [Run]) {
    let Some(block) = T::block(block) else { return };
    let (signs, [first, second]) = (T::signs(block), T::scales(block, d));
    for (r, (run, signs)) in out.iter_mut().zip(signs).enumerate() {
        let (q, signs) = (T::points(block, r).less(T::MORE), T::KEPT.bits(signs));
        *run = Run { q, scale: [first[r], second[r]], signs, ..Run::ZERO };
    }
}
