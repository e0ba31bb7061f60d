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

/// Four neighbouring columns: byte `i` of the answer is column `4·at + i`.
pub(super) fn word(bytes: &[u8], at: usize) -> u32 {
    bytes[4 * at..].first_chunk().map_or(0, |b| u32::from_le_bytes(*b))
}

/// The inverse of [`word`].
pub(super) fn put_word(bytes: &mut [u8], at: usize, word: u32) {
    bytes[4 * at..4 * at + 4].copy_from_slice(&word.to_le_bytes());
}

/// The low two bits of four bytes.
pub(super) const TWO_BITS: u32 = 0x0303_0303;
pub(super) const ONE_BIT: u32 = 0x0101_0101;

/// Two bits a value from the file's order, 32 columns under one shift, to chunks, `width` bytes a sub-block.
fn pack_pairs(src: &[u8], row: usize, width: usize, chunks: &mut [u8]) {
    for (sub, chunks) in chunks.chunks_exact_mut(width).enumerate() {
        for h in 0..2 {
            let quad = |f: usize| word(src, 8 * (sub / 4) + 4 * h + f) >> (2 * (sub % 4)) & TWO_BITS;
            put_word(chunks, 8 * h + row, quad(0) | quad(1) << 2 | quad(2) << 4 | quad(3) << 6);
        }
    }
}

/// The inverse of [`pack_pairs`]; `out` is zero.
fn unpack_pairs(chunks: &[u8], row: usize, width: usize, out: &mut [u8]) {
    for (sub, chunks) in chunks.chunks_exact(width).enumerate() {
        for at in 0..8 {
            let quad = word(chunks, 8 * (at / 4) + row) >> (2 * (at % 4)) & TWO_BITS;
            let to = 8 * (sub / 4) + at;
            put_word(out, to, word(out, to) | quad << (2 * (sub % 4)));
        }
    }
}

pub(super) fn pack_q2_k(src: &[u8], row: usize, dst: &mut [u8]) {
    dst[2 * row..2 * row + 2].copy_from_slice(&src[80..82]);
    dst[16 + 2 * row..18 + 2 * row].copy_from_slice(&src[82..84]);
    for g in 0..16 {
        dst[Q2_K_SCALES + 8 * g + row] = src[g];
    }
    pack_pairs(&src[16..80], row, 64, &mut dst[Q2_K_CHUNKS..]);
}

/// The inverse of [`pack_q2_k`]; `out` is zero.
pub(super) fn unpack_q2_k(block: &[u8], row: usize, out: &mut [u8]) {
    out[80..82].copy_from_slice(&block[2 * row..2 * row + 2]);
    out[82..84].copy_from_slice(&block[16 + 2 * row..18 + 2 * row]);
    for g in 0..16 {
        out[g] = block[Q2_K_SCALES + 8 * g + row];
    }
    unpack_pairs(&block[Q2_K_CHUNKS..], row, 64, &mut out[16..80]);
}

pub(super) fn pack_q3_k(src: &[u8], row: usize, dst: &mut [u8]) {
    dst[2 * row..2 * row + 2].copy_from_slice(&src[108..110]);
    for j in 0..12 {
        dst[Q3_K_SCALES + 8 * j + row] = src[96 + j];
    }
    pack_pairs(&src[32..96], row, 96, &mut dst[Q3_K_CHUNKS..]);
    for (sub, chunks) in dst[Q3_K_CHUNKS..].chunks_exact_mut(96).enumerate() {
        let third = (0..8).fold(0, |third, f| third | (word(src, f) >> sub & ONE_BIT) << f);
        put_word(chunks, 16 + row, third);
    }
}

/// The inverse of [`pack_q3_k`]; `out` is zero.
pub(super) fn unpack_q3_k(block: &[u8], row: usize, out: &mut [u8]) {
    out[108..110].copy_from_slice(&block[2 * row..2 * row + 2]);
    for j in 0..12 {
        out[96 + j] = block[Q3_K_SCALES + 8 * j + row];
    }
    unpack_pairs(&block[Q3_K_CHUNKS..], row, 96, &mut out[32..96]);
    for (sub, chunks) in block[Q3_K_CHUNKS..].chunks_exact(96).enumerate() {
        for f in 0..8 {
            put_word(out, f, word(out, f) | (word(chunks, 16 + row) >> f & ONE_BIT) << sub);
        }
    }
}
