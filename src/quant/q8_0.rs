//! Q8_0: 32 signed bytes under one scale.
//!
//! | bytes | field |
//! |---|---|
//! | 0..2 | `d`, f16 |
//! | 2..34 | `q[32]`, i8 |
//!
//! `x[i] = d * q[i]`.

use super::{scale, scale_bytes};

/// Values in a block.
pub const LEN: usize = 32;
/// Bytes of a block.
pub const BYTES: usize = 34;
const _: () = assert!(BYTES == 2 + LEN);

/// The values of a block.
pub fn dequantize_block(block: &[u8; BYTES], out: &mut [f32; LEN]) {
    let [d0, d1, qs @ ..] = block;
    let d = scale([*d0, *d1]);
    for (x, q) in out.iter_mut().zip(qs) {
        *x = d * f32::from(q.cast_signed());
    }
}

/// The block of these values, rounded as ggml's reference does (`quantize_row_q8_0_ref`): half away from zero, by the
/// unrounded scale. `None` when a value is not finite or the scale does not fit an f16.
#[must_use]
pub fn quantize_block(x: &[f32; LEN]) -> Option<[u8; BYTES]> {
    if !x.iter().all(|x| x.is_finite()) {
        return None;
    }
    let d = x.iter().fold(0.0f32, |m, x| m.max(x.abs())) / 127.0;
    let id = if d == 0.0 { 0.0 } else { 1.0 / d };
    let mut block = [0; BYTES];
    let [d0, d1, qs @ ..] = &mut block;
    [*d0, *d1] = scale_bytes(d)?;
    for (q, x) in qs.iter_mut().zip(x) {
        *q = ((x * id).round() as i8).cast_unsigned();
    }
    Some(block)
}
