//! Q3_K: 256 three-bit values in 16 groups of 16, each with a six-bit scale.
//!
//! | bytes | field |
//! |---|---|
//! | 0..32 | bit `r` of byte `i` is the third bit of value `32r + i` |
//! | 32..96 | the low two bits, as in Q2_K |
//! | 96..108 | sixteen six-bit scales, see [`scales`] |
//! | 108..110 | `d`, f16 |
//!
//! `x[g][i] = (d * (sc[g] - 32)) * (q[g][i] - 4)`.

use super::q2_k::pack_pairs;
use super::runs::{Bytes, Run, Runs, half_at};
use super::search::{fit_by_steps, fit_groups, fit_symmetric, group_error, nearest, settle_scale};
use super::{QK_K, scale, scale_bytes};

/// Bytes of a block.
pub const BYTES: usize = 110;
const _: () = assert!(BYTES == QK_K / 8 + QK_K / 4 + 12 + 2);

/// Values in a group.
const GROUP: usize = 16;
/// Groups in a block.
const GROUPS: usize = QK_K / GROUP;

/// 256 three-bit values in 16 groups with six-bit scales.
#[derive(Debug)]
pub struct Q3K;

/// Unpacks the 12 bytes of scales, less their offset of 32.
///
/// Bytes 0..8 hold the low four bits of scales 0..8 (low half) and 8..16 (high half); bits `2k, 2k + 1` of byte `8 + i` are
/// the upper two of scale `4k + i`.
#[inline(always)]
fn scales(packed: &[u8]) -> [i8; GROUPS] {
    let Some(packed) = packed.first_chunk::<12>() else { return [0; GROUPS] };
    std::array::from_fn(|g| {
        let low = if g < 8 { packed[g] & 15 } else { packed[g - 8] >> 4 };
        (low | (packed[8 + g % 4] >> (2 * (g / 4)) & 3) << 4).cast_signed() - 32
    })
}

impl Runs for Q3K {
    const LEN: usize = QK_K;
    const BYTES: usize = BYTES;
    const HALVES: bool = true;

    #[inline(always)]
    fn factors(block: &[u8]) -> [u16; 2] {
        [half_at(block, 108), 0]
    }

    #[inline(always)]
    fn runs(block: &[u8], [d, _]: [f32; 2], out: &mut [Run]) {
        let Some(block) = block.first_chunk::<BYTES>() else { return };
        let [high, low @ ..] = block[..96].as_chunks::<32>().0 else { return };
        let high = Bytes::load(high);
        for (r, (run, scales)) in out.iter_mut().zip(scales(&block[96..108]).as_chunks::<2>().0).enumerate() {
            let low = Bytes::load(&low[r / 4 % 2]).bits(2 * (r % 4), 3);
            *run =
                Run { q: low.or(high.bits(r, 1), 2).less(4), scale: scales.map(|sc| d * f32::from(sc)), ..Run::ZERO };
        }
    }
}

/// The block of these values: for each group the scale with the least weighted square error, found step by step as in ggml's
/// reference (`quantize_row_q3_K_ref`); with weights `w` by a search over scales. `None` when a value is not finite or the
/// scale does not fit an f16.
#[must_use]
pub fn quantize_block(x: &[f32; QK_K], w: Option<&[f32; QK_K]>) -> Option<[u8; BYTES]> {
    if !x.iter().all(|x| x.is_finite()) {
        return None;
    }
    let mut block = [0; BYTES];
    let groups = x.as_chunks::<GROUP>().0;
    let mut fits = [0.0f32; GROUPS];
    match w {
        Some(w) => fits = fit_groups::<GROUP, GROUPS, _>(x, w, |x, w| fit_symmetric(x, w, 4.0)),
        None => fits.iter_mut().zip(groups).for_each(|(fit, group)| *fit = fit_by_steps(group, 4.0)),
    }
    if !fits.iter().all(|fit| fit.is_finite()) {
        return None;
    }
    let top = fits.iter().fold(0.0f32, |top, fit| if fit.abs() > top.abs() { *fit } else { top });
    if top == 0.0 {
        return Some(block);
    }
    let per = -32.0 / top;
    let mut sc = fits.map(|fit| nearest(per * fit).clamp(-32.0, 31.0) as i8);
    let d_bytes = scale_bytes(1.0 / per)?;
    let d = scale(d_bytes);
    for (g, w) in w.iter().flat_map(|w| w.as_chunks::<GROUP>().0).enumerate() {
        let error = |sc| group_error(&groups[g], w, (d * f32::from(sc), 0.0), (-4.0, 3.0));
        sc[g] = settle_scale(sc[g], (-32, 31), error);
    }

    let mut q = [4u8; QK_K];
    for (g, (q, group)) in q.as_chunks_mut::<GROUP>().0.iter_mut().zip(groups).enumerate() {
        let d = d * f32::from(sc[g]);
        if d != 0.0 {
            *q = group.map(|x| (nearest(x / d).clamp(-4.0, 3.0) + 4.0) as u8);
        }
    }
    for (at, q) in q.iter().enumerate() {
        block[at % 32] |= (q >> 2) << (at / 32);
    }
    block[32..96].copy_from_slice(&pack_pairs(&q));
    for (g, sc) in sc.iter().enumerate() {
        let sc = (sc + 32).cast_unsigned();
        block[96 + g % 8] |= (sc & 15) << (g / 8 * 4);
        block[104 + g % 4] |= (sc >> 4) << (2 * (g / 4));
    }
    block[108..].copy_from_slice(&d_bytes);
    Some(block)
}
