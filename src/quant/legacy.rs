//! Q4_1, Q5_0 and Q5_1: 32 values of four or five bits under one scale, with or without a minimum.
//!
//! | field | Q4_1 | Q5_0 | Q5_1 |
//! |---|---|---|---|
//! | `d`, f16 | 0..2 | 0..2 | 0..2 |
//! | `m`, f16 | 2..4 | | 2..4 |
//! | `qh`, u32: bit `i` is the fifth bit of `q[i]` | | 2..6 | 4..8 |
//! | 16 bytes; the low half of byte `i` is in `q[i]`, the high half in `q[i + 16]` | 4..20 | 6..22 | 8..24 |
//!
//! Q4_1 and Q5_1: `x[i] = d * q[i] + m`. Q5_0: `x[i] = d * (q[i] - 16)`.

use super::runs::{Bytes, MASKS, Run, Runs, eight, half_at};
use super::scale_bytes;
use super::search::{Search, fit_symmetric, fit_with_min};

/// Values in a block.
pub const LEN: usize = 32;
/// Bytes of a Q4_1 block.
pub const Q4_1_BYTES: usize = 20;
/// Bytes of a Q5_0 block.
pub const Q5_0_BYTES: usize = 22;
/// Bytes of a Q5_1 block.
pub const Q5_1_BYTES: usize = 24;

/// 32 four-bit values under one scale and one minimum.
#[derive(Debug)]
pub struct Q4_1;
/// 32 five-bit values under one scale.
#[derive(Debug)]
pub struct Q5_0;
/// 32 five-bit values under one scale and one minimum.
#[derive(Debug)]
pub struct Q5_1;

impl Runs for Q4_1 {
    const LEN: usize = LEN;
    const BYTES: usize = Q4_1_BYTES;
    const MINS: bool = true;

    #[inline(always)]
    fn factors(block: &[u8]) -> [u16; 2] {
        [half_at(block, 0), half_at(block, 2)]
    }

    #[inline(always)]
    fn runs(block: &[u8], [d, m]: [f32; 2], out: &mut [Run]) {
        let (Some([_, _, _, _, qs @ ..]), [run, ..]) = (block.first_chunk::<Q4_1_BYTES>(), out) else { return };
        *run = Run { q: Bytes::nibbles(qs), scale: [d; 2], min: [-m; 2], ..Run::ZERO };
    }
}

impl Runs for Q5_0 {
    const LEN: usize = LEN;
    const BYTES: usize = Q5_0_BYTES;

    #[inline(always)]
    fn factors(block: &[u8]) -> [u16; 2] {
        [half_at(block, 0), 0]
    }

    #[inline(always)]
    fn runs(block: &[u8], [d, _]: [f32; 2], out: &mut [Run]) {
        let (Some([_, _, h0, h1, h2, h3, qs @ ..]), [run, ..]) = (block.first_chunk::<Q5_0_BYTES>(), out) else {
            return;
        };
        // A fifth bit of zero means 16 less, which in two's complement sets the four bits above the nibble.
        let high = [h0, h1, h2, h3].map(|high| !MASKS[usize::from(*high)] & eight(0xf0));
        *run = Run { q: Bytes::nibbles(qs).or(Bytes(high), 0), scale: [d; 2], ..Run::ZERO };
    }
}

impl Runs for Q5_1 {
    const LEN: usize = LEN;
    const BYTES: usize = Q5_1_BYTES;
    const MINS: bool = true;

    #[inline(always)]
    fn factors(block: &[u8]) -> [u16; 2] {
        [half_at(block, 0), half_at(block, 2)]
    }

    #[inline(always)]
    fn runs(block: &[u8], [d, m]: [f32; 2], out: &mut [Run]) {
        let Some([_, _, _, _, h0, h1, h2, h3, qs @ ..]) = block.first_chunk::<Q5_1_BYTES>() else { return };
        let [run, ..] = out else { return };
        let high = [h0, h1, h2, h3].map(|high| MASKS[usize::from(*high)] & eight(0x10));
        *run = Run { q: Bytes::nibbles(qs).or(Bytes(high), 0), scale: [d; 2], min: [-m; 2], ..Run::ZERO };
    }
}

/// (scale, offset) such that `x ≈ scale * q + offset` with `q` from 0 to `top`.
fn fit(x: &[f32; LEN], w: Option<&[f32; LEN]>, top: f32) -> (f32, f32) {
    let (low, high) = x.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), x| (l.min(*x), h.max(*x)));
    let Some(w) = w else { return ((high - low) / top, low) };
    // The search wants offsets that are not positive.
    let shift = low.max(0.0);
    let [(scale, min)] = fit_with_min(&x.map(|x| [x - shift]), &w.map(|w| [w]), top, &Search::FINE);
    (scale, shift - min)
}

/// Writes the codes `q` below 32: nibbles to `qs`, the fifth bits into the answer.
fn put_codes(q: &[u8; LEN], qs: &mut [u8; 16]) -> [u8; 4] {
    let (low, high) = q.split_at(16);
    for (b, (l, h)) in qs.iter_mut().zip(low.iter().zip(high)) {
        *b = (l & 15) | (h & 15) << 4;
    }
    std::array::from_fn(|k| (0..8).fold(0, |bits, i| bits | (q[8 * k + i] >> 4) << i))
}

/// Scale, offset and codes of a block with a minimum, rounded as ggml's reference does: by the unrounded scale, half up.
fn with_min(x: &[f32; LEN], w: Option<&[f32; LEN]>, top: u8) -> Option<([u8; 2], [u8; 2], [u8; LEN])> {
    if !x.iter().all(|x| x.is_finite()) {
        return None;
    }
    let (mut d, mut m) = fit(x, w, f32::from(top));
    let (d_bytes, m_bytes) = (scale_bytes(d)?, scale_bytes(m)?);
    if w.is_some() {
        (d, m) = (super::scale(d_bytes), super::scale(m_bytes));
    }
    let id = if d == 0.0 { 0.0 } else { 1.0 / d };
    Some((d_bytes, m_bytes, x.map(|x| (((x - m) * id + 0.5) as u8).min(top))))
}

/// The Q4_1 block of these values, as ggml's reference makes it (`quantize_row_q4_1_ref`); with weights `w` of the square
/// errors, the scale and minimum of a search. `None` when a value is not finite or a scale does not fit an f16.
#[must_use]
pub fn quantize_q4_1(x: &[f32; LEN], w: Option<&[f32; LEN]>) -> Option<[u8; Q4_1_BYTES]> {
    let mut block = [0; Q4_1_BYTES];
    let [d0, d1, m0, m1, qs @ ..] = &mut block;
    let q;
    ([*d0, *d1], [*m0, *m1], q) = with_min(x, w, 15)?;
    put_codes(&q, qs);
    Some(block)
}

/// The Q5_1 block of these values; otherwise as [`quantize_q4_1`].
#[must_use]
pub fn quantize_q5_1(x: &[f32; LEN], w: Option<&[f32; LEN]>) -> Option<[u8; Q5_1_BYTES]> {
    let mut block = [0; Q5_1_BYTES];
    let [d0, d1, m0, m1, h0, h1, h2, h3, qs @ ..] = &mut block;
    let q;
    ([*d0, *d1], [*m0, *m1], q) = with_min(x, w, 31)?;
    [*h0, *h1, *h2, *h3] = put_codes(&q, qs);
    Some(block)
}

/// The Q5_0 block of these values, as ggml's reference makes it (`quantize_row_q5_0_ref`): the value farthest from zero
/// becomes -16. Otherwise as [`quantize_q4_1`].
#[must_use]
pub fn quantize_q5_0(x: &[f32; LEN], w: Option<&[f32; LEN]>) -> Option<[u8; Q5_0_BYTES]> {
    if !x.iter().all(|x| x.is_finite()) {
        return None;
    }
    let far = x.iter().fold(0.0f32, |far, &x| if x.abs() > far.abs() { x } else { far });
    let d = w.map_or(far / -16.0, |w| fit_symmetric(&x.map(|x| [x]), &w.map(|w| [w]), 16.0)[0]);
    let mut block = [0; Q5_0_BYTES];
    let [d0, d1, h0, h1, h2, h3, qs @ ..] = &mut block;
    [*d0, *d1] = scale_bytes(d)?;
    let d = if w.is_some() { super::scale([*d0, *d1]) } else { d };
    let id = if d == 0.0 { 0.0 } else { 1.0 / d };
    [*h0, *h1, *h2, *h3] = put_codes(&x.map(|x| ((x * id + 16.5) as u8).min(31)), qs);
    Some(block)
}
