//! Q4_0: 32 four-bit values under one scale.
//!
//! | bytes | field |
//! |---|---|
//! | 0..2 | `d`, f16 |
//! | 2..18 | 16 bytes; the low half of byte `i` is `q[i]`, the high half `q[i + 16]` |
//!
//! `x[i] = d * (q[i] - 8)`.

use super::search::fit_symmetric;
use super::{scale, scale_bytes};

/// Values in a block.
pub const LEN: usize = 32;
/// Bytes of a block.
pub const BYTES: usize = 18;
const _: () = assert!(BYTES == 2 + LEN / 2);

/// The values of a block.
pub fn dequantize_block(block: &[u8; BYTES], out: &mut [f32; LEN]) {
    let [d0, d1, qs @ ..] = block;
    let d = scale([*d0, *d1]);
    let (low, high) = out.split_at_mut(LEN / 2);
    for ((l, h), q) in low.iter_mut().zip(high).zip(qs) {
        *l = d * (f32::from(q & 15) - 8.0);
        *h = d * (f32::from(q >> 4) - 8.0);
    }
}

/// The block of these values, rounded as ggml's reference does (`quantize_row_q4_0_ref`): the value farthest from zero
/// becomes -8. With weights `w` of the square errors, the scale that makes their sum least. `None` when a value is not finite
/// or the scale does not fit an f16.
#[must_use]
pub fn quantize_block(x: &[f32; LEN], w: Option<&[f32; LEN]>) -> Option<[u8; BYTES]> {
    if !x.iter().all(|x| x.is_finite()) {
        return None;
    }
    let far = x.iter().fold(0.0f32, |far, &x| if x.abs() > far.abs() { x } else { far });
    let d = w.map_or(far / -8.0, |w| fit_symmetric(&x.map(|x| [x]), &w.map(|w| [w]), 8.0)[0]);
    let mut block = [0; BYTES];
    let [d0, d1, qs @ ..] = &mut block;
    [*d0, *d1] = scale_bytes(d)?;
    let d = if w.is_some() { scale([*d0, *d1]) } else { d };
    let id = if d == 0.0 { 0.0 } else { 1.0 / d };
    let q = |x: f32| ((x * id + 8.5) as u8).min(15);
    let (low, high) = x.split_at(LEN / 2);
    for (b, (&l, &h)) in qs.iter_mut().zip(low.iter().zip(high)) {
        *b = q(l) | q(h) << 4;
    }
    Some(block)
}
