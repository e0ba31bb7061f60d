//! The float types: F32, F16 and BF16, one value per block.

use half::f16;
use half::slice::HalfFloatSliceExt;

/// Values converted at a time, so that the processor's own half-float instructions are used.
const CHUNK: usize = 64;

pub(super) fn dequantize_f32(bytes: &[u8], out: &mut [f32]) {
    for (b, x) in bytes.as_chunks().0.iter().zip(out) {
        *x = f32::from_le_bytes(*b);
    }
}

pub(super) fn dequantize_f16(bytes: &[u8], out: &mut [f32]) {
    let mut halves = [f16::ZERO; CHUNK];
    for (bytes, out) in bytes.chunks(2 * CHUNK).zip(out.chunks_mut(CHUNK)) {
        let halves = halves.get_mut(..out.len()).unwrap_or_default();
        for (b, h) in bytes.as_chunks().0.iter().zip(halves.iter_mut()) {
            *h = f16::from_le_bytes(*b);
        }
        halves.convert_to_f32_slice(out);
    }
}

/// A shift, as in ggml: the bits of a NaN stay as they are.
pub(super) fn dequantize_bf16(bytes: &[u8], out: &mut [f32]) {
    for (b, x) in bytes.as_chunks().0.iter().zip(out) {
        *x = f32::from_bits(u32::from(u16::from_le_bytes(*b)) << 16);
    }
}

pub(super) fn quantize_f32(values: &[f32], out: &mut Vec<u8>) {
    out.extend(values.iter().flat_map(|x| x.to_le_bytes()));
}

/// Rounds to nearest even; what is too large becomes infinite.
pub(super) fn quantize_f16(values: &[f32], out: &mut Vec<u8>) {
    let mut halves = [f16::ZERO; CHUNK];
    for values in values.chunks(CHUNK) {
        let halves = halves.get_mut(..values.len()).unwrap_or_default();
        halves.convert_from_f32_slice(values);
        out.extend(halves.iter().flat_map(|h| h.to_le_bytes()));
    }
}

/// Rounds to nearest even and makes a NaN quiet, as ggml does.
pub(super) fn quantize_bf16(values: &[f32], out: &mut Vec<u8>) {
    out.extend(values.iter().flat_map(|x| half::bf16::from_f32(*x).to_le_bytes()));
}
