//! TQ1_0 and TQ2_0: 256 values of three levels under one scale.
//!
//! | bytes of TQ1_0 | field |
//! |---|---|
//! | 0..32 | byte `m` holds values `32n + m` for `n` from 0 to 4 |
//! | 32..48 | byte `m` holds values `160 + 16n + m` for `n` from 0 to 4 |
//! | 48..52 | byte `m` holds values `240 + 4n + m` for `n` from 0 to 3 |
//! | 52..54 | `d`, f16 |
//!
//! Such a byte is a fraction of 256 in base three: digit `n` is the whole part of three times what is left of it after `n`
//! multiplications by three.
//!
//! | bytes of TQ2_0 | field |
//! |---|---|
//! | 0..64 | two bits a value, as in Q2_K |
//! | 64..66 | `d`, f16 |
//!
//! `x[i] = d * (q[i] - 1)`.

use super::q2_k::pack_pairs;
use super::runs::{Bytes, Run, Runs, half_at, words};
use super::{QK_K, scale_bytes};

/// Bytes of a TQ1_0 block.
pub const TQ1_0_BYTES: usize = 54;
/// Bytes of a TQ2_0 block.
pub const TQ2_0_BYTES: usize = 66;

/// 256 values of -1, 0 or 1 in base three under one scale.
#[derive(Debug)]
pub struct Tq1_0;
/// 256 values from -1 to 2 in two bits under one scale.
#[derive(Debug)]
pub struct Tq2_0;

/// Digit `n` of each of eight bytes: in two steps, for the bytes at even and odd places, with room for the products.
#[inline(always)]
fn digits_of(bytes: u64, n: u32) -> u64 {
    const EVEN: u64 = 0x00ff_00ff_00ff_00ff;
    let power = 3u64.pow(n);
    let digits = |bytes: u64| ((((bytes * power) & EVEN) * 3) >> 8) & EVEN;
    digits(bytes & EVEN) | digits(bytes >> 8 & EVEN) << 8
}

impl Runs for Tq1_0 {
    const LEN: usize = QK_K;
    const BYTES: usize = TQ1_0_BYTES;

    #[inline(always)]
    fn factors(block: &[u8]) -> [u16; 2] {
        [half_at(block, 52), 0]
    }

    #[inline(always)]
    fn runs(block: &[u8], [d, _]: [f32; 2], out: &mut [Run]) {
        let Some((long, rest)) = block.split_first_chunk::<32>() else { return };
        let Some((middle, rest)) = rest.split_first_chunk::<16>() else { return };
        let Some(short) = rest.first_chunk::<4>() else { return };
        let Bytes([a, b, c, d2]) = Bytes::load(long);
        let [e, f] = words(middle);
        let short = u64::from(u32::from_le_bytes(*short));
        // Two digits of four bytes.
        let pair = |n: u32| digits_of(short, n) | digits_of(short, n + 1) << 32;
        let word = |r: u32, k: usize| match (r, k) {
            (0..5, _) => digits_of([a, b, c, d2][k], r),
            (7, 2..) => pair(2 * (k as u32 - 2)),
            _ => digits_of([e, f][k % 2], 2 * (r - 5) + k as u32 / 2),
        };
        for (r, run) in (0..8).zip(out.iter_mut()) {
            let q = Bytes([word(r, 0), word(r, 1), word(r, 2), word(r, 3)]).less(1);
            *run = Run { q, scale: [d; 2], ..Run::ZERO };
        }
    }
}

impl Runs for Tq2_0 {
    const LEN: usize = QK_K;
    const BYTES: usize = TQ2_0_BYTES;

    #[inline(always)]
    fn factors(block: &[u8]) -> [u16; 2] {
        [half_at(block, 64), 0]
    }

    #[inline(always)]
    fn runs(block: &[u8], [d, _]: [f32; 2], out: &mut [Run]) {
        let Some(block) = block.first_chunk::<TQ2_0_BYTES>() else { return };
        let qs = block[..64].as_chunks::<32>().0;
        for (r, run) in out.iter_mut().enumerate().take(QK_K / 32) {
            let q = Bytes::load(&qs[r / 4 % 2]).bits(2 * (r % 4), 3).less(1);
            *run = Run { q, scale: [d; 2], ..Run::ZERO };
        }
    }
}

/// The scale, which is the largest magnitude, and the digits.
fn digits(x: &[f32; QK_K]) -> Option<([u8; 2], [u8; QK_K])> {
    if !x.iter().all(|x| x.is_finite()) {
        return None;
    }
    let d = x.iter().fold(0.0f32, |m, x| m.max(x.abs()));
    let id = if d == 0.0 { 0.0 } else { 1.0 / d };
    Some((scale_bytes(d)?, x.map(|x| ((x * id).round() + 1.0) as u8)))
}

/// The TQ1_0 block of these values, as ggml's reference makes it (`quantize_row_tq1_0_ref`). `None` when a value is not finite
/// or the scale does not fit an f16.
#[must_use]
pub fn quantize_tq1_0(x: &[f32; QK_K]) -> Option<[u8; TQ1_0_BYTES]> {
    let (d, q) = digits(x)?;
    let byte = |first: usize, stride: usize, count: usize| {
        let digits = (0..5).map(|n| if n < count { q.get(first + n * stride).copied().unwrap_or(0) } else { 0 });
        let number = digits.fold(0u16, |number, digit| 3 * number + u16::from(digit));
        // Rounded up, so that multiplying by three brings the digits back.
        (number * 256).div_ceil(243) as u8
    };
    let mut block = [0; TQ1_0_BYTES];
    for (at, b) in block.iter_mut().take(52).enumerate() {
        *b = match at {
            0..32 => byte(at, 32, 5),
            32..48 => byte(160 + at - 32, 16, 5),
            _ => byte(240 + at - 48, 4, 4),
        };
    }
    block[52..].copy_from_slice(&d);
    Some(block)
}

/// The TQ2_0 block of these values, as ggml's reference makes it (`quantize_row_tq2_0_ref`). `None` when a value is not finite
/// or the scale does not fit an f16.
#[must_use]
pub fn quantize_tq2_0(x: &[f32; QK_K]) -> Option<[u8; TQ2_0_BYTES]> {
    let (d, q) = digits(x)?;
    let mut block = [0; TQ2_0_BYTES];
    block[..64].copy_from_slice(&pack_pairs(&q));
    block[64..].copy_from_slice(&d);
    Some(block)
}
