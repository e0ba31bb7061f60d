//! Keys in the order in which scores are made: sixteen positions side by side, column after column. A register then holds one
//! column of as many positions, a score is one lane, and no sum ever crosses lanes.

use std::ops::Range;

/// Positions that lie side by side.
pub const KEY_BLOCK: usize = 16;

/// Columns whose bytes lie side by side in eight-bit keys, as dot products of bytes take them.
const QUAD: usize = 4;

/// Keys of one head, whole blocks of [`KEY_BLOCK`] positions: `(blocks, width, 16)`.
#[derive(Clone, Copy, Debug)]
pub enum Keys<'a> {
    /// Single precision.
    F32(&'a [f32]),
    /// Half precision, as bits.
    F16(&'a [u16]),
}

impl Keys<'_> {
    /// Number of values.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::F32(x) => x.len(),
            Self::F16(x) => x.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Eight-bit keys of one head, whole blocks of [`KEY_BLOCK`] positions.
#[derive(Clone, Copy, Debug)]
pub struct ByteKeys<'a> {
    /// `(blocks, width / 4, 16, 4)`
    pub q: &'a [i8],
    /// `(blocks, width / 32, 16)`, half precision as bits.
    pub scales: &'a [u16],
}

/// Where column `column` of position `position` lies among keys that are `width` columns wide, or scales that are as many
/// blocks wide.
#[must_use]
pub fn key_at(width: usize, position: usize, column: usize) -> usize {
    (position / KEY_BLOCK * width + column) * KEY_BLOCK + position % KEY_BLOCK
}

/// As [`key_at`] for the bytes of eight-bit keys, which are whole quads wide.
#[must_use]
pub fn byte_key_at(width: usize, position: usize, column: usize) -> usize {
    key_at(width / QUAD, position, column / QUAD) * QUAD + column % QUAD
}

/// Values that the keys of `positions` positions take.
#[must_use]
pub fn key_values(width: usize, positions: usize) -> usize {
    positions.next_multiple_of(KEY_BLOCK) * width
}

/// Lays `rows`, `(positions, width)`, out as keys. `out` holds [`key_values`]; positions past the last become zero.
pub fn lay_keys(rows: &[f32], width: usize, out: &mut [f32]) {
    for (rows, block) in rows.chunks(KEY_BLOCK * width).zip(out.chunks_exact_mut(KEY_BLOCK * width)) {
        for (c, column) in block.as_chunks_mut::<KEY_BLOCK>().0.iter_mut().enumerate() {
            *column = [0.0; KEY_BLOCK];
            column.iter_mut().zip(rows.iter().skip(c).step_by(width)).for_each(|(to, x)| *to = *x);
        }
    }
}

/// Puts the sixteen scores of block `block` in their places of a row of scores of the positions `some`.
#[inline(always)]
#[cfg_attr(
    not(any(target_arch = "x86_64", all(target_arch = "aarch64", target_endian = "little"))),
    expect(dead_code, reason = "the scalar set has no lanes")
)]
pub(super) fn put_scores(sixteen: &[f32; KEY_BLOCK], block: usize, some: &Range<usize>, row: &mut [f32]) {
    let first = block * KEY_BLOCK;
    let (from, to) = (some.start.max(first), some.end.min(first + KEY_BLOCK));
    let row = &mut row[from - some.start..to - some.start];
    match row.first_chunk_mut::<KEY_BLOCK>() {
        Some(whole) => *whole = *sixteen,
        None => row.copy_from_slice(&sixteen[from - first..to - first]),
    }
}
