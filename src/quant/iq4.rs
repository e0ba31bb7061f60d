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
use super::search::{EPS, Groups, farthest, fit_groups, nearest, settle_scale};
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

/// The place of the level nearest to `x`, of two equally near ones the higher, and the level.
#[inline(always)]
fn nearest_level(x: f32) -> (u8, f32) {
    let (mut code, mut level) = (0, f32::from(LEVELS[0]));
    for pair in LEVELS.windows(2) {
        let (low, high) = (f32::from(pair[0]), f32::from(pair[1]));
        let above = x - low >= high - x;
        code += u8::from(above);
        level = if above { high } else { level };
    }
    (code, level)
}

/// For each group a scale such that `x ≈ scale * level`, minimising the square error under weights `w`: from the value
/// farthest from zero on the first level, and then, with `search`, the levels spread a little wider or narrower.
fn fit<const G: usize>(x: &Groups<GROUP, G>, w: &Groups<GROUP, G>, search: bool) -> [f32; G] {
    let far = farthest(x);
    let first = f32::from(LEVELS[0]);
    let sums = |id: [f32; G]| {
        let (mut xq, mut q2) = ([0.0f32; G], [0.0f32; G]);
        for (x, w) in x.iter().zip(w) {
            for g in 0..G {
                let (_, q) = nearest_level(id[g] * x[g]);
                xq[g] += w[g] * q * x[g];
                q2[g] += w[g] * q * q;
            }
        }
        (xq, q2)
    };
    let (xq, q2) = sums(far.map(|far| 1.0 / if search { -far / first } else { far / first }));
    let mut scale: [f32; G] = std::array::from_fn(|g| if q2[g] > 0.0 { xq[g] / q2[g] } else { 0.0 });
    let mut best: [f32; G] = std::array::from_fn(|g| scale[g] * xq[g]);
    for step in (-7i8..=7).filter(|_| search) {
        let (xq, q2) = sums(far.map(|far| (f32::from(step) + first) / far));
        for g in 0..G {
            if q2[g] > 0.0 && xq[g] * xq[g] > best[g] * q2[g] {
                scale[g] = xq[g] / q2[g];
                best[g] = scale[g] * xq[g];
            }
        }
    }
    std::array::from_fn(|g| if far[g].abs() < EPS { 0.0 } else { scale[g] })
}

/// The weighted square error of a group under a scale.
fn group_error(x: &[f32; GROUP], w: &[f32], scale: f32) -> f32 {
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    x.iter().zip(w).map(|(x, w)| w * (scale * nearest_level(x * inverse).1 - x).powi(2)).sum()
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
    let values = x.map(|x| [x]);
    let own = x.map(|x| [x * x]);
    let [d] = fit(&values, &w.map_or(own, |w| w.map(|w| [w])), w.is_some());
    let d = scale_bytes(d)?;
    // The codes of the first try, or with a search those under the scale found.
    let step = if w.is_some() { scale(d) } else { farthest(&values)[0] / f32::from(LEVELS[0]) };
    let codes = if scale(d) == 0.0 { [0; NL_LEN] } else { x.map(|x| nearest_level(1.0 / step * x).0) };
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
    let important = w.is_some();
    let w = w.copied().unwrap_or_else(|| x.map(|x| x * x));
    let fits: [f32; GROUPS] = fit_groups::<GROUP, GROUPS, _>(x, &w, |x, w| fit(x, w, true));
    if !fits.iter().all(|fit| fit.is_finite()) {
        return None;
    }
    let top = fits.iter().fold(0.0f32, |top, fit| if fit.abs() > top.abs() { *fit } else { top });
    let d = -top / 32.0;
    let inverse = |d: f32| if d == 0.0 { 0.0 } else { 1.0 / d };
    let mut block = [0; XS_BYTES];
    let d_bytes = scale_bytes(d)?;
    block[..2].copy_from_slice(&d_bytes);
    for (g, (this, group)) in fits.iter().zip(x.as_chunks::<GROUP>().0).enumerate() {
        let mut sc = nearest(inverse(d) * this).clamp(-32.0, 31.0) as i8;
        if important {
            let d = scale(d_bytes);
            sc = settle_scale(sc, (-32, 31), |sc| group_error(group, &w[GROUP * g..], d * f32::from(sc)));
        }
        let id = inverse(d * f32::from(sc));
        let code = (sc + 32).cast_unsigned();
        block[2 + g / 4] |= (code >> 4) << (2 * (g % 4));
        block[4 + g / 2] |= (code & 15) << (4 * (g % 2));
        block[8 + 16 * g..][..16].copy_from_slice(&pack(&group.map(|x| nearest_level(id * x).0)));
    }
    Some(block)
}
