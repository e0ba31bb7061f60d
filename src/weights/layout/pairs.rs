//! Q2_K and Q3_K panels: two bits a value in chunks of sixteen columns, and back to the blocks of the file.
//!
//! Half `h` of sub-block `s` (columns `32s + 16h … + 15`) has one chunk, whose byte `4·row + i` holds the two low bits of
//! columns `4f + i` of that half in its bits `2f, 2f+1`. A Q3_K chunk of third bits serves a sub-block: bit `f` of byte
//! `4·row + i` belongs to column `4f + i`.

use super::PANEL_ROWS;
use crate::quant::{q2_k, q3_k};

/// Where a panel block of Q2_K has its scales and minima, (group, row), and its chunks.
pub const Q2_K_SCALES: usize = 32;
/// See [`Q2_K_SCALES`]; 64 bytes a sub-block.
pub const Q2_K_CHUNKS: usize = 160;
/// Where a panel block of Q3_K has its packed scales, (byte, row), and its chunks.
pub const Q3_K_SCALES: usize = 16;
/// See [`Q3_K_SCALES`]; a sub-block has 64 bytes of low bits and 32 of third bits.
pub const Q3_K_CHUNKS: usize = 112;
const _: () = assert!(Q2_K_CHUNKS + 8 * 64 == PANEL_ROWS * q2_k::BYTES);
const _: () = assert!(Q3_K_CHUNKS + 8 * 96 == PANEL_ROWS * q3_k::BYTES);

/// Where column `col` has its two bits: (byte of the file's 64, byte of the panel block's chunks, shift there, shift here),
/// for sub-blocks of `width` bytes.
fn pair(col: usize, row: usize, width: usize) -> (usize, usize, usize, usize) {
    let (sub, h, f, i) = (col / 32, col % 32 / 16, col % 16 / 4, col % 4);
    (32 * (col / 128) + col % 32, width * sub + 32 * h + 4 * row + i, 2 * (col % 128 / 32), 2 * f)
}

pub(super) fn pack_q2_k(src: &[u8], row: usize, dst: &mut [u8]) {
    for i in 0..2 {
        dst[2 * row + i] = src[80 + i];
        dst[16 + 2 * row + i] = src[82 + i];
    }
    for g in 0..16 {
        dst[Q2_K_SCALES + 8 * g + row] = src[g];
    }
    for col in 0..256 {
        let (from, to, shift, place) = pair(col, row, 64);
        dst[Q2_K_CHUNKS + to] |= (src[16 + from] >> shift & 3) << place;
    }
}

/// The inverse of [`pack_q2_k`], `out` being zero.
pub(super) fn unpack_q2_k(block: &[u8], row: usize, out: &mut [u8]) {
    for i in 0..2 {
        out[80 + i] = block[2 * row + i];
        out[82 + i] = block[16 + 2 * row + i];
    }
    for g in 0..16 {
        out[g] = block[Q2_K_SCALES + 8 * g + row];
    }
    for col in 0..256 {
        let (to, from, place, shift) = pair(col, row, 64);
        out[16 + to] |= (block[Q2_K_CHUNKS + from] >> shift & 3) << place;
    }
}

/// Where column `col` has its third bit: byte of the panel block's chunks and bit.
fn third(col: usize, row: usize) -> (usize, usize) {
    (96 * (col / 32) + 64 + 4 * row + col % 4, col % 32 / 4)
}

pub(super) fn pack_q3_k(src: &[u8], row: usize, dst: &mut [u8]) {
    for i in 0..2 {
        dst[2 * row + i] = src[108 + i];
    }
    for j in 0..12 {
        dst[Q3_K_SCALES + 8 * j + row] = src[96 + j];
    }
    for col in 0..256 {
        let (from, to, shift, place) = pair(col, row, 96);
        dst[Q3_K_CHUNKS + to] |= (src[32 + from] >> shift & 3) << place;
        let (to, bit) = third(col, row);
        dst[Q3_K_CHUNKS + to] |= (src[col % 32] >> (col / 32) & 1) << bit;
    }
}

/// The inverse of [`pack_q3_k`], `out` being zero.
pub(super) fn unpack_q3_k(block: &[u8], row: usize, out: &mut [u8]) {
    for i in 0..2 {
        out[108 + i] = block[2 * row + i];
    }
    for j in 0..12 {
        out[96 + j] = block[Q3_K_SCALES + 8 * j + row];
    }
    for col in 0..256 {
        let (to, from, place, shift) = pair(col, row, 96);
        out[32 + to] |= (block[Q3_K_CHUNKS + from] >> shift & 3) << place;
        let (from, bit) = third(col, row);
        out[col % 32] |= (block[Q3_K_CHUNKS + from] >> bit & 1) << (col / 32);
    }
}
