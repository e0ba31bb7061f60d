//! Panels of the types whose values are codes of four or five bits, one scale (and minimum) for 32 of them, and back to the
//! blocks of the file.
//!
//! A sub-block of 32 columns has four chunks of nibbles as in Q4_0 and, where codes have five bits, one chunk of fifth bits:
//! bit `q` of byte `4·row + i` belongs to column `4q + i`. In front of the sub-blocks:
//!
//! | type | head of a panel block |
//! |---|---|
//! | Q5_0, IQ4_NL | 8 d f16 |
//! | Q4_1, Q5_1 | 8 d f16 · 8 m f16 |
//! | MXFP4 | 8 exponents |
//! | Q5_K | 8 d f16 · 8 dmin f16 · 12×8 bytes of packed scales and minima (byte major) |
//! | IQ4_XS | 8 d f16 · 2×8 bytes of high bits · 4×8 bytes of low bits: scale `g` has its two high bits from bit `2·(g / 2)` on in byte `g % 2`, its low four in half `g / 4` of byte `g % 4` |

use super::PANEL_ROWS;
use super::pairs::{ONE_BIT, put_word, word};
use crate::quant::runs::Runs;
use crate::quant::{BlockType, iq4, legacy, q5_k};

/// Bytes of nibbles in a sub-block.
pub const NIBBLES: usize = 128;

const FOUR_BITS: u32 = 0x0f0f_0f0f;

/// What stands in the head of a panel block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// Scales, and for types with minima these negated.
    Halves,
    /// The powers of two of MXFP4.
    Powers,
    /// Scales and minima of Q5_K.
    SixBits,
    /// Scales of IQ4_XS.
    Signed,
}

/// A type whose panels have the form of this file.
pub trait Codes: Runs {
    /// What the head holds.
    const HEAD: Head;
    /// Bytes of the head.
    const CHUNKS: usize;
    /// Whether codes have a fifth bit.
    const FIFTH: bool = false;
    /// How much less the integers are than the codes.
    const LESS: u8 = 0;
    /// Sub-blocks in a block.
    const SUBS: usize = Self::LEN / 32;
    /// Bytes of a sub-block.
    const STEP: usize = if Self::FIFTH { NIBBLES + 32 } else { NIBBLES };
    /// Bytes of a block of eight rows.
    const PANEL: usize = PANEL_ROWS * Self::BYTES;
}

impl Codes for legacy::Q4_1 {
    const HEAD: Head = Head::Halves;
    const CHUNKS: usize = 32;
}

impl Codes for legacy::Q5_0 {
    const HEAD: Head = Head::Halves;
    const CHUNKS: usize = 16;
    const FIFTH: bool = true;
    const LESS: u8 = 16;
}

impl Codes for legacy::Q5_1 {
    const HEAD: Head = Head::Halves;
    const CHUNKS: usize = 32;
    const FIFTH: bool = true;
}

impl Codes for q5_k::Q5K {
    const HEAD: Head = Head::SixBits;
    const CHUNKS: usize = 128;
    const FIFTH: bool = true;
}

impl Codes for iq4::Iq4Nl {
    const HEAD: Head = Head::Halves;
    const CHUNKS: usize = 16;
}

impl Codes for iq4::Iq4Xs {
    const HEAD: Head = Head::Signed;
    const CHUNKS: usize = 64;
}

impl Codes for iq4::Mxfp4 {
    const HEAD: Head = Head::Powers;
    const CHUNKS: usize = 8;
}

const fn fills<T: Codes>() -> bool {
    T::CHUNKS + T::SUBS * T::STEP == T::PANEL
}
const _: () = assert!(fills::<legacy::Q4_1>() && fills::<legacy::Q5_0>() && fills::<legacy::Q5_1>());
const _: () = assert!(fills::<q5_k::Q5K>() && fills::<iq4::Iq4Nl>() && fills::<iq4::Iq4Xs>() && fills::<iq4::Mxfp4>());

/// `$then` with `$t` naming the [`Codes`] of a block type that has this form, `$otherwise` for the others.
macro_rules! with_codes {
    ($ty:expr, $t:ident => $then:expr, _ => $otherwise:expr) => {
        $crate::weights::layout::codes::with_codes!(@ $ty, $t, $then, $otherwise,
            Q4_1 legacy::Q4_1, Q5_0 legacy::Q5_0, Q5_1 legacy::Q5_1, Q5K q5_k::Q5K,
            Iq4Nl iq4::Iq4Nl, Iq4Xs iq4::Iq4Xs, Mxfp4 iq4::Mxfp4)
    };
    (@ $ty:expr, $t:ident, $then:expr, $otherwise:expr, $($variant:ident $module:ident::$marker:ident),*) => {
        match $ty {
            $($crate::quant::BlockType::$variant => {
                type $t = $crate::quant::$module::$marker;
                $then
            })*
            _ => $otherwise,
        }
    };
}
pub(crate) use with_codes;

/// Whether a type's panels have the form of this file.
#[must_use]
pub fn has_codes(ty: BlockType) -> bool {
    with_codes!(ty, T => T::SUBS > 0, _ => false)
}

/// One block of the file to row `row` of a panel block, which is zero there.
pub(super) fn pack(ty: BlockType, src: &[u8], row: usize, dst: &mut [u8]) {
    with_codes!(ty, T => pack_block::<T>(src, row, dst), _ => {});
}

/// The inverse of [`pack`]; `out` is zero.
pub(super) fn unpack(ty: BlockType, block: &[u8], row: usize, out: &mut [u8]) {
    with_codes!(ty, T => unpack_block::<T>(block, row, out), _ => {});
}

/// Bytes of the file's block in front of its nibbles, and where among them the fifth bits are.
const fn file_head<T: Codes>() -> (usize, usize) {
    let nibbles = T::BYTES - T::LEN / 2;
    (nibbles, if T::FIFTH { nibbles - T::LEN / 8 } else { nibbles })
}

/// Where the file has quad `q` of sub-block `sub`: (word among the nibbles, shift).
const fn nibble<T: Codes>(sub: usize, q: usize) -> (usize, usize) {
    match T::HEAD {
        Head::SixBits => (8 * (sub / 2) + q, 4 * (sub % 2)),
        _ => (4 * sub + q % 4, 4 * (q / 4)),
    }
}

/// Where a panel block has scale `g` of IQ4_XS: (byte of the high bits, shift, byte of the low bits, shift).
#[must_use]
pub const fn signed_scale(g: usize) -> (usize, usize, usize, usize) {
    (16 + PANEL_ROWS * (g % 2), 2 * (g / 2), 32 + PANEL_ROWS * (g % 4), 4 * (g / 4))
}

fn pack_block<T: Codes>(src: &[u8], row: usize, dst: &mut [u8]) {
    match T::HEAD {
        Head::Powers => dst[row] = src[0],
        Head::Signed => {
            dst[2 * row..2 * row + 2].copy_from_slice(&src[..2]);
            for g in 0..8 {
                let (high, shift, low, low_shift) = signed_scale(g);
                dst[high + row] |= (src[2 + g / 4] >> (2 * (g % 4)) & 3) << shift;
                dst[low + row] |= (src[4 + g / 2] >> (4 * (g % 2)) & 15) << low_shift;
            }
        }
        Head::Halves | Head::SixBits => {
            dst[2 * row..2 * row + 2].copy_from_slice(&src[..2]);
            if T::MINS {
                dst[16 + 2 * row..18 + 2 * row].copy_from_slice(&src[2..4]);
            }
            if T::HEAD == Head::SixBits {
                (0..12).for_each(|j| dst[32 + PANEL_ROWS * j + row] = src[4 + j]);
            }
        }
    }
    let (nibbles, fifths) = file_head::<T>();
    for (sub, chunks) in dst[T::CHUNKS..].chunks_exact_mut(T::STEP).enumerate() {
        let quad = |q: usize| {
            let (at, shift) = nibble::<T>(sub, q);
            word(&src[nibbles..], at) >> shift & FOUR_BITS
        };
        for q in 0..4 {
            put_word(chunks, 8 * q + row, quad(q) | quad(q + 4) << 4);
        }
        if T::FIFTH {
            let bits = |q: usize| match T::HEAD {
                Head::SixBits => word(&src[fifths..], q) >> sub & ONE_BIT,
                // Four neighbouring bits, each to a byte of its own.
                _ => (word(&src[fifths..], 0) >> (4 * q) & 15).wrapping_mul(0x0020_4081) & ONE_BIT,
            };
            put_word(&mut chunks[NIBBLES..], row, (0..8).fold(0, |all, q| all | bits(q) << q));
        }
    }
}

fn unpack_block<T: Codes>(block: &[u8], row: usize, out: &mut [u8]) {
    match T::HEAD {
        Head::Powers => out[0] = block[row],
        Head::Signed => {
            out[..2].copy_from_slice(&block[2 * row..2 * row + 2]);
            for g in 0..8 {
                let (high, shift, low, low_shift) = signed_scale(g);
                out[2 + g / 4] |= (block[high + row] >> shift & 3) << (2 * (g % 4));
                out[4 + g / 2] |= (block[low + row] >> low_shift & 15) << (4 * (g % 2));
            }
        }
        Head::Halves | Head::SixBits => {
            out[..2].copy_from_slice(&block[2 * row..2 * row + 2]);
            if T::MINS {
                out[2..4].copy_from_slice(&block[16 + 2 * row..18 + 2 * row]);
            }
            if T::HEAD == Head::SixBits {
                (0..12).for_each(|j| out[4 + j] = block[32 + PANEL_ROWS * j + row]);
            }
        }
    }
    let (nibbles, fifths) = file_head::<T>();
    let add = |out: &mut [u8], at: usize, bits: u32| put_word(out, at, word(out, at) | bits);
    for (sub, chunks) in block[T::CHUNKS..].chunks_exact(T::STEP).enumerate() {
        for q in 0..8 {
            let (at, shift) = nibble::<T>(sub, q);
            let quad = word(chunks, 8 * (q % 4) + row) >> (4 * (q / 4)) & FOUR_BITS;
            add(&mut out[nibbles..], at, quad << shift);
            if T::FIFTH {
                let bits = word(&chunks[NIBBLES..], row) >> q & ONE_BIT;
                match T::HEAD {
                    Head::SixBits => add(&mut out[fifths..], q, bits << sub),
                    _ => add(&mut out[fifths..], 0, (bits.wrapping_mul(0x0102_0408) >> 24 & 15) << (4 * q)),
                }
            }
        }
    }
}
