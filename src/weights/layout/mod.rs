//! Kernel order: eight rows side by side ("a panel"), so that one load serves eight rows.
//!
//! A panel holds rows `8p … 8p+7` of a matrix over all its columns, block after block. Rows past the end of the matrix are
//! zero. Inside a block the columns go in groups of four ("quads"): byte `4·row + i` of a 32-byte chunk belongs to column
//! `4·quad + i` of that row, which is the operand order of the 8-bit dot-product instructions.
//!
//! | type | columns | one block of a panel |
//! |---|---|---|
//! | F32, F16, BF16 | 1 | eight values, one a row |
//! | Q8_0 | 32 | 8 scales f16 · 8 chunks, chunk q = quad q |
//! | Q4_0 | 32 | 8 scales f16 · 4 chunks, chunk c = quad c in the low nibbles, quad c+4 in the high ones |
//! | Q4_K | 256 | 8 d f16 · 8 dmin f16 · 8×8 scales u8 · 8×8 mins u8 (sub-block major) · 8 sub-blocks of 4 chunks as in Q4_0 |
//! | Q6_K | 256 | 8 d f16 · 16×8 scales i8 (sub-block major) · 8 × (4 chunks as in Q4_0 · 2 chunks of high bits) |
//! | Q4_1, Q5_0, Q5_1, Q5_K, IQ4_NL, IQ4_XS, MXFP4 | 32 or 256 | scales · sub-blocks of 4 chunks as in Q4_0 and at most one of fifth bits, see `codes.rs` |
//! | Q2_K | 256 | 8 d f16 · 8 dmin f16 · 16×8 scales and minima in nibbles (group major) · 16 chunks, see `pairs.rs` |
//! | Q3_K | 256 | 8 d f16 · 12×8 bytes of packed scales (byte major) · 8 × (2 chunks of low bits · 1 of third bits) |
//! | the others | as in the file | the rows' eight blocks as the file has them; the kernels decode them |
//!
//! In a Q6_K high-bit chunk `h`, bits `2f, 2f+1` of a byte are bits 4 and 5 of quad `4h + f`. All sizes equal the file's but
//! Q4_K's, which spends 4 bytes more a block and row (2.8 %) to have its six-bit scales as bytes.

pub mod codes;
pub mod pairs;

use half::{bf16, f16};

use crate::error::{Error, Result};
use crate::quant::{BlockType, runs};

/// Rows in a panel.
pub const PANEL_ROWS: usize = 8;

/// Version of a type's panels: one more whenever a byte of them moves, so that packed files of the old order are refused.
fn version(_ty: BlockType) -> u32 {
    1
}

/// The name under which packed files keep panels of this type. All kernel sets read the same panels.
#[must_use]
pub fn layout_name(ty: BlockType) -> String {
    format!("rows8.{}/{}", ty.name().to_lowercase(), version(ty))
}

/// Columns and bytes of one block of a panel.
#[must_use]
pub fn panel_block(ty: BlockType) -> (usize, usize) {
    match ty {
        BlockType::F32 => (1, 32),
        BlockType::F16 | BlockType::Bf16 => (1, 16),
        BlockType::Q8_0 => (32, 272),
        BlockType::Q4_0 => (32, 144),
        BlockType::Q4K => (256, 1184),
        BlockType::Q6K => (256, 1680),
        _ => (ty.block_len(), PANEL_ROWS * ty.block_bytes()),
    }
}

/// Bytes of one panel of a matrix with `cols` columns.
///
/// # Errors
/// [`crate::error::Kind::Corrupt`] when `cols` is no multiple of the type's block, [`crate::error::Kind::Limit`] when the
/// size does not fit the address space.
pub fn panel_bytes(ty: BlockType, cols: usize) -> Result<usize> {
    let (width, bytes) = panel_block(ty);
    if !cols.is_multiple_of(width) {
        return Err(Error::corrupt(format!("{ty} rows of {cols} columns: expected a multiple of {width}")));
    }
    (cols / width).checked_mul(bytes).ok_or_else(|| Error::limit(format!("{ty} rows of {cols} columns are too long")))
}

/// Number of panels that hold `rows` rows.
#[must_use]
pub fn panels_for(rows: usize) -> usize {
    rows.div_ceil(PANEL_ROWS)
}

/// Lays up to eight rows of file order out as one panel. `rows` holds the rows back to back, each `row_bytes` long.
///
/// # Errors
/// [`crate::error::Kind::Internal`] when the lengths do not belong together.
pub fn pack_panel(ty: BlockType, rows: &[u8], row_bytes: usize, cols: usize, panel: &mut [u8]) -> Result<()> {
    let count = rows.len().checked_div(row_bytes).unwrap_or(0);
    if count == 0 || count > PANEL_ROWS || rows.len() != count * row_bytes || row_bytes != ty.row_bytes(cols)? {
        return Err(Error::internal(format!("packing {} bytes of {ty} rows of {row_bytes} bytes", rows.len())));
    }
    if panel.len() != panel_bytes(ty, cols)? {
        return Err(Error::internal(format!("a {ty} panel of {} bytes", panel.len())));
    }
    panel.fill(0);
    let (_, block) = panel_block(ty);
    let file_block = ty.block_bytes();
    for (r, row) in rows.chunks_exact(row_bytes).enumerate() {
        for (src, dst) in row.chunks_exact(file_block).zip(panel.chunks_exact_mut(block)) {
            match ty {
                BlockType::Q8_0 => pack_q8_0(src, r, dst),
                BlockType::Q4_0 => {
                    put(dst, 2 * r, &src[..2]);
                    put_quads(&mut dst[16..], r, &src[2..18]);
                }
                BlockType::Q4K => pack_q4_k(src, r, dst),
                BlockType::Q6K => pack_q6_k(src, r, dst),
                BlockType::Q2K => pairs::pack_q2_k(src, r, dst),
                BlockType::Q3K => pairs::pack_q3_k(src, r, dst),
                _ if codes::has_codes(ty) => codes::pack(ty, src, r, dst),
                _ => put(dst, r * file_block, src),
            }
        }
    }
    Ok(())
}

fn put(dst: &mut [u8], at: usize, src: &[u8]) {
    dst[at..at + src.len()].copy_from_slice(src);
}

/// Spreads a row's bytes over chunks of 32, four bytes to each.
fn put_quads(chunks: &mut [u8], row: usize, bytes: &[u8]) {
    let (words, _) = chunks.as_chunks_mut::<4>();
    let (quads, _) = bytes.as_chunks::<4>();
    // Words of a length known here are moves; slices of four would be calls.
    for (word, quad) in words.iter_mut().skip(row).step_by(PANEL_ROWS).zip(quads) {
        *word = *quad;
    }
}

fn pack_q8_0(src: &[u8], row: usize, dst: &mut [u8]) {
    put(dst, 2 * row, &src[..2]);
    put_quads(&mut dst[16..], row, &src[2..34]);
}

// File order of a Q4_K block: d, dmin, 12 bytes of six-bit scales and mins, 128 bytes of nibbles, where 32 bytes carry
// one sub-block in their low and the next in their high nibbles.
fn pack_q4_k(src: &[u8], row: usize, dst: &mut [u8]) {
    put(dst, 2 * row, &src[..2]);
    put(dst, 16 + 2 * row, &src[2..4]);
    let packed = &src[4..16];
    for sub in 0..8 {
        let (scale, min) = q4_k_scale(packed, sub);
        dst[32 + 8 * sub + row] = scale;
        dst[96 + 8 * sub + row] = min;
    }
    // Four columns at a time: 32 bytes carry eight quads of one sub-block below and of the next above.
    for (pair, chunks) in dst[160..].chunks_exact_mut(256).enumerate() {
        let quad = |i: usize| pairs::word(&src[16 + 32 * pair..], i);
        let (even, odd) = chunks.split_at_mut(128);
        for c in 0..4 {
            let (a, b) = (quad(c), quad(c + 4));
            pairs::put_word(even, 8 * c + row, a & NIBBLES | (b & NIBBLES) << 4);
            pairs::put_word(odd, 8 * c + row, a >> 4 & NIBBLES | b & !NIBBLES);
        }
    }
}

/// The low nibbles of four bytes.
const NIBBLES: u32 = 0x0f0f_0f0f;

/// The six-bit scale and min of sub-block `sub`, which cross byte borders in the file.
fn q4_k_scale(packed: &[u8], sub: usize) -> (u8, u8) {
    if sub < 4 {
        (packed[sub] & 63, packed[sub + 4] & 63)
    } else {
        let low = packed[sub + 4];
        ((low & 15) | (packed[sub - 4] >> 6) << 4, (low >> 4) | (packed[sub] >> 6) << 4)
    }
}

// File order of a Q6_K block: 128 bytes of low nibbles, 64 of high bit pairs, 16 scales, d; two halves of 128 columns, in
// each of which byte l of the nibbles serves columns l and l+64, byte l+32 columns l+32 and l+96, and byte l of the pairs
// all four.
fn pack_q6_k(src: &[u8], row: usize, dst: &mut [u8]) {
    let (low, high, scales) = (&src[..128], &src[128..192], &src[192..208]);
    put(dst, 2 * row, &src[208..210]);
    for (sub, &scale) in scales.iter().enumerate() {
        dst[16 + 8 * sub + row] = scale;
    }
    // Quad `q` of sub-block `sub`: four nibbles and four pairs of bits.
    let nibbles = |sub: usize, q: usize| {
        let (half, group) = (sub / 4, sub % 4);
        pairs::word(low, 16 * half + 8 * (group % 2) + q) >> (4 * (group / 2)) & NIBBLES
    };
    let bits = |sub: usize, q: usize| pairs::word(high, 8 * (sub / 4) + q) >> (2 * (sub % 4)) & pairs::TWO_BITS;
    for (sub, chunks) in dst[144..].chunks_exact_mut(192).enumerate() {
        for c in 0..4 {
            pairs::put_word(chunks, 8 * c + row, nibbles(sub, c) | nibbles(sub, c + 4) << 4);
        }
        for h in 0..2 {
            let all = (0..4).fold(0, |all, f| all | bits(sub, 4 * h + f) << (2 * f));
            pairs::put_word(chunks, 32 + 8 * h + row, all);
        }
    }
}

/// Row `row` of a panel in single precision, with the same roundings as dequantizing the file's row.
pub fn unpack_row(ty: BlockType, panel: &[u8], row: usize, out: &mut [f32]) {
    let (width, block) = panel_block(ty);
    for (bytes, out) in panel.chunks_exact(block).zip(out.chunks_exact_mut(width)) {
        runs::with_runs!(
            ty,
            T => {
                let mut room = [0; LARGEST];
                runs::dequantize::<T>(file_block(ty, bytes, row, &mut room), out);
            },
            _ => unpack_reordered(ty, bytes, row, out)
        );
    }
}

/// Bytes of the largest block that [`file_block`] puts together.
pub const LARGEST: usize = 176;

/// Whether a type that the kernels know in the form of [`crate::quant::runs::Runs`] has panels in an order of its own.
#[must_use]
pub fn is_reordered(ty: BlockType) -> bool {
    matches!(ty, BlockType::Q2K | BlockType::Q3K) || codes::has_codes(ty)
}

/// Row `row` of a panel block as the file has it, for the types that the kernels know in the form of
/// [`crate::quant::runs::Runs`]; put together in `room` where the panel has an order of its own.
pub fn file_block<'a>(ty: BlockType, block: &'a [u8], row: usize, room: &'a mut [u8; LARGEST]) -> &'a [u8] {
    let bytes = ty.block_bytes();
    if !is_reordered(ty) {
        return &block[bytes * row..][..bytes];
    }
    room.fill(0);
    let room = &mut room[..bytes];
    match ty {
        BlockType::Q2K => pairs::unpack_q2_k(block, row, room),
        BlockType::Q3K => pairs::unpack_q3_k(block, row, room),
        _ => codes::unpack(ty, block, row, room),
    }
    room
}

/// One block of a row of a type whose panels have an order of their own.
fn unpack_reordered(ty: BlockType, bytes: &[u8], row: usize, out: &mut [f32]) {
    let half = |bytes: &[u8], i: usize| f16::from_le_bytes([bytes[2 * i], bytes[2 * i + 1]]).to_f32();
    let nibble = |chunks: &[u8], j: usize| {
        let byte = chunks[32 * (j % 16 / 4) + 4 * row + j % 4];
        if j < 16 { byte & 15 } else { byte >> 4 }
    };
    for (col, out) in out.iter_mut().enumerate() {
        let (sub, j) = (col / 32, col % 32);
        *out = match ty {
            BlockType::F32 => f32::from_le_bytes(std::array::from_fn(|i| bytes[4 * row + i])),
            BlockType::F16 => half(bytes, row),
            BlockType::Bf16 => bf16::from_le_bytes([bytes[2 * row], bytes[2 * row + 1]]).to_f32(),
            BlockType::Q8_0 => {
                let q = bytes[16 + 32 * (j / 4) + 4 * row + j % 4].cast_signed();
                half(bytes, row) * f32::from(q)
            }
            BlockType::Q4_0 => half(bytes, row) * (f32::from(nibble(&bytes[16..], j)) - 8.0),
            BlockType::Q4K => {
                let (scale, min) = (f32::from(bytes[32 + 8 * sub + row]), f32::from(bytes[96 + 8 * sub + row]));
                let q = f32::from(nibble(&bytes[160 + 128 * sub..], j));
                half(bytes, row) * scale * q - half(&bytes[16..], row) * min
            }
            _ => {
                let chunks = &bytes[144 + 192 * sub..];
                let pairs = chunks[128 + 32 * (j / 16) + 4 * row + j % 4] >> (2 * (j % 16 / 4)) & 3;
                let q = f32::from(nibble(chunks, j) | pairs << 4) - 32.0;
                half(bytes, row) * f32::from(bytes[16 + 8 * (2 * sub + j / 16) + row].cast_signed()) * q
            }
        };
    }
}
