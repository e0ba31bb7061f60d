//! IQ4_NL, IQ4_XS and MXFP4: four-bit places in a table of sixteen integers.
//!
//! | bytes of IQ4_NL | field |
//! |---|---|
//! | 0..2 | `d`, f16 |
//! | 2..18 | 16 bytes; the low half of byte `i` is `q[i]`, the high half `q[i + 16]` |
//!
//! | bytes of IQ4_XS | field |
//! |---|---|
//! | 0..2 | `d`, f16 |
//! | 2..4 | u16; bits `2g, 2g + 1` are the upper two of scale `g` |
//! | 4..8 | the low four bits of scale `g` in half `g % 2` of byte `g / 2` |
//! | 8..136 | eight groups of 32 values, each 16 bytes as in IQ4_NL |
//!
//! | bytes of MXFP4 | field |
//! |---|---|
//! | 0 | `e`: the scale is 2^(e - 128) |
//! | 1..17 | as in IQ4_NL; a code is a sign and a float of two exponent bits and one of mantissa, which the table doubles |
//!
//! IQ4_NL: `x[i] = d * T[q[i]]`. IQ4_XS: `x[g][i] = (d * (sc[g] - 32)) * T[q[g][i]]`.

use super::runs::{Bytes, Run, Runs, half_at};
use super::search::nearest;
use super::{QK_K, scale, scale_bytes};

/// Values in an IQ4_NL block.
pub const NL_LEN: usize = 32;
/// Bytes of an IQ4_NL block.
pub const NL_BYTES: usize = 18;
/// Bytes of an IQ4_XS block.
pub const XS_BYTES: usize = 136;
/// Values in an MXFP4 block.
pub const MXFP4_LEN: usize = 32;
/// Bytes of an MXFP4 block.
pub const MXFP4_BYTES: usize = 17;
const _: () = assert!(XS_BYTES == 2 + 2 + QK_K / 64 + QK_K / 2);

/// The levels of the IQ4 types.
pub static LEVELS: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];
/// The levels of MXFP4, doubled.
static FLOATS: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// Values in a group.
const GROUP: usize = 32;
/// Groups in an IQ4_XS block.
const GROUPS: usize = QK_K / GROUP;
/// Below this a value counts as zero (`GROUP_MAX_EPS` in ggml).
const EPS: f32 = 1e-15;

/// 32 values from a table of 16 under one scale.
#[derive(Debug)]
pub struct Iq4Nl;
/// 256 values from a table of 16 in 8 groups with six-bit scales.
#[derive(Debug)]
pub struct Iq4Xs;
/// 32 four-bit floats under a power of two.
#[derive(Debug)]
pub struct Mxfp4;

impl Runs for Iq4Nl {
    const LEN: usize = NL_LEN;
    const BYTES: usize = NL_BYTES;
    const TABLE: Option<&'static [i8; 16]> = Some(&LEVELS);

    #[inline(always)]
    fn factors(block: &[u8]) -> [u16; 2] {
        [half_at(block, 0), 0]
    }

    #[inline(always)]
    fn runs(block: &[u8], [d, _]: [f32; 2], out: &mut [Run]) {
        let (Some([_, _, qs @ ..]), [run, ..]) = (block.first_chunk::<NL_BYTES>(), out) else { return };
        *run = Run { q: Bytes::nibbles(qs), scale: [d; 2], ..Run::ZERO };
    }
}

impl Runs for Iq4Xs {
    const LEN: usize = QK_K;
    const BYTES: usize = XS_BYTES;
    const TABLE: Option<&'static [i8; 16]> = Some(&LEVELS);

    #[inline(always)]
    fn factors(block: &[u8]) -> [u16; 2] {
        [half_at(block, 0), 0]
    }

    #[inline(always)]
    fn runs(block: &[u8], [d, _]: [f32; 2], out: &mut [Run]) {
        let Some(block) = block.first_chunk::<XS_BYTES>() else { return };
        let (high, low) = (u16::from_le_bytes([block[2], block[3]]), [block[4], block[5], block[6], block[7]]);
        for (g, (run, qs)) in out.iter_mut().zip(block[8..].as_chunks::<16>().0).enumerate() {
            let sc = (low[g / 2 % 4] >> (4 * (g % 2)) & 15) | (((high >> (2 * g)) & 3) as u8) << 4;
            *run = Run { q: Bytes::nibbles(qs), scale: [d * f32::from(sc.cast_signed() - 32); 2], ..Run::ZERO };
        }
    }
}

impl Runs for Mxfp4 {
    const LEN: usize = MXFP4_LEN;
    const BYTES: usize = MXFP4_BYTES;
    const TABLE: Option<&'static [i8; 16]> = Some(&FLOATS);

    #[inline(always)]
    fn factors(_: &[u8]) -> [u16; 2] {
        [0; 2]
    }

    #[inline(always)]
    fn runs(block: &[u8], _: [f32; 2], out: &mut [Run]) {
        let (Some([e, qs @ ..]), [run, ..]) = (block.first_chunk::<MXFP4_BYTES>(), out) else { return };
        let e = u32::from(*e);
        // Exponents 0 and 1 give the subnormal 2^-128 and 2^-127.
        let bits = if e < 2 { 0x0020_0000 << e } else { (e - 1) << 23 };
        *run = Run { q: Bytes::nibbles(qs), scale: [f32::from_bits(bits); 2], ..Run::ZERO };
    }
}

/// The place of the level nearest to `x`, of two equally near ones the higher.
fn nearest_level(x: f32) -> u8 {
    let above = LEVELS.iter().position(|level| x < f32::from(*level)).unwrap_or(LEVELS.len());
    let level = |at: usize| f32::from(LEVELS[at]);
    match above {
        0 => 0,
        16 => 15,
        _ if x - level(above - 1) < level(above) - x => above as u8 - 1,
        _ => above as u8,
    }
}

/// A scale such that `x ≈ scale * level`, minimising the square error under weights `w`, and the codes of the first try:
/// the value farthest from zero on the first level, then (with `search`) the levels spread a little wider or narrower.
fn fit(x: &[f32; GROUP], w: &[f32; GROUP], search: bool) -> (f32, [u8; GROUP]) {
    let far = x.iter().fold(0.0f32, |far, &x| if x.abs() > far.abs() { x } else { far });
    let first = f32::from(LEVELS[0]);
    if far.abs() < EPS {
        return (0.0, [0; GROUP]);
    }
    let sums = |id: f32| {
        let codes = x.map(|x| nearest_level(id * x));
        let (mut xq, mut q2) = (0.0f32, 0.0f32);
        for ((x, w), code) in x.iter().zip(w).zip(&codes) {
            let q = f32::from(LEVELS[usize::from(*code)]);
            xq += w * q * x;
            q2 += w * q * q;
        }
        (xq, q2, codes)
    };
    let (xq, q2, codes) = sums(1.0 / if search { -far / first } else { far / first });
    let mut scale = if q2 > 0.0 { xq / q2 } else { 0.0 };
    let mut best = scale * xq;
    for step in (-7i8..=7).filter(|_| search) {
        let (xq, q2, _) = sums((f32::from(step) + first) / far);
        if q2 > 0.0 && xq * xq > best * q2 {
            scale = xq / q2;
            best = scale * xq;
        }
    }
    (scale, codes)
}

fn pack(codes: &[u8; GROUP]) -> [u8; GROUP / 2] {
    std::array::from_fn(|i| codes[i] | codes[i + GROUP / 2] << 4)
}

/// The IQ4_NL block of these values: the first try's codes under the scale that suits them best, as in ggml's reference
/// (`quantize_row_iq4_nl_ref`); with weights `w` of the square errors, the best scale of a search. `None` when a value is not
/// finite or the scale does not fit an f16.
#[must_use]
pub fn quantize_nl(x: &[f32; NL_LEN], w: Option<&[f32; NL_LEN]>) -> Option<[u8; NL_BYTES]> {
    if !x.iter().all(|x| x.is_finite()) {
        return None;
    }
    let own = x.map(|x| x * x);
    let (d, mut codes) = fit(x, w.unwrap_or(&own), w.is_some());
    let d = scale_bytes(d)?;
    if w.is_some() {
        let id = if scale(d) == 0.0 { 0.0 } else { 1.0 / scale(d) };
        codes = x.map(|x| nearest_level(id * x));
    }
    let mut block = [0; NL_BYTES];
    block[..2].copy_from_slice(&d);
    block[2..].copy_from_slice(&pack(&codes));
    Some(block)
}

/// The IQ4_XS block of these values: for each group the scale with the least weighted square error, found by the search of
/// ggml's reference (`quantize_row_iq4_xs_ref`). `w` replaces the reference's own weights, the squares. `None` when a value
/// is not finite or the scale does not fit an f16.
#[must_use]
pub fn quantize_xs(x: &[f32; QK_K], w: Option<&[f32; QK_K]>) -> Option<[u8; XS_BYTES]> {
    if !x.iter().all(|x| x.is_finite()) {
        return None;
    }
    let groups = x.as_chunks::<GROUP>().0;
    let (mut fits, mut top) = ([0.0f32; GROUPS], 0.0f32);
    for (g, (this, group)) in fits.iter_mut().zip(groups).enumerate() {
        let own = group.map(|x| x * x);
        *this = fit(group, w.and_then(|w| w.as_chunks::<GROUP>().0.get(g)).unwrap_or(&own), true).0;
        if !this.is_finite() {
            return None;
        }
        if this.abs() > top.abs() {
            top = *this;
        }
    }
    let d = -top / 32.0;
    let inverse = |d: f32| if d == 0.0 { 0.0 } else { 1.0 / d };
    let mut block = [0; XS_BYTES];
    block[..2].copy_from_slice(&scale_bytes(d)?);
    for (g, (this, group)) in fits.iter().zip(groups).enumerate() {
        let sc = nearest(inverse(d) * this).clamp(-32.0, 31.0);
        let id = inverse(d * sc);
        let code = (sc + 32.0) as u8;
        block[2 + g / 4] |= (code >> 4) << (2 * (g % 4));
        block[4 + g / 2] |= (code & 15) << (4 * (g % 2));
        block[8 + 16 * g..][..16].copy_from_slice(&pack(&group.map(|x| nearest_level(id * x))));
    }
    Some(block)
}
