//! Q4_K: 256 four-bit values in 8 groups of 32, each with a six-bit scale and a six-bit minimum.
//!
//! | bytes | field |
//! |---|---|
//! | 0..2 | `d`, f16: the scale of the scales |
//! | 2..4 | `dmin`, f16: the scale of the minima |
//! | 4..16 | eight scales and eight minima of six bits, see [`scales`] |
//! | 16..144 | four runs of 32 bytes; run `r` holds group `2r` in the low halves and group `2r + 1` in the high halves |
//!
//! `x[g][i] = (d * sc[g]) * q[g][i] - dmin * m[g]`.

use super::search::{fit_with_min, nearest};
use super::{QK_K, scale, scale_bytes};

/// Bytes of a block.
pub const BYTES: usize = 144;
const _: () = assert!(BYTES == 2 + 2 + 12 + QK_K / 2);

/// Values in a group.
const GROUP: usize = 32;
/// Groups in a block.
const GROUPS: usize = QK_K / GROUP;

/// Unpacks the 12 bytes of scales into (scales, minima), each six bits.
///
/// Bytes 0..4 hold the low six bits of scales 0..4, bytes 4..8 those of minima 0..4. Bytes 8..12 hold the low four bits of
/// scales 4..8 (low half) and minima 4..8 (high half); their upper two bits are the upper two of bytes 0..4 and 4..8.
#[must_use]
pub fn scales(packed: &[u8; 12]) -> ([u8; GROUPS], [u8; GROUPS]) {
    let (mut sc, mut m) = ([0; GROUPS], [0; GROUPS]);
    for i in 0..4 {
        sc[i] = packed[i] & 63;
        m[i] = packed[i + 4] & 63;
        sc[i + 4] = (packed[i + 8] & 15) | (packed[i] >> 6) << 4;
        m[i + 4] = packed[i + 8] >> 4 | (packed[i + 4] >> 6) << 4;
    }
    (sc, m)
}

/// The inverse of [`scales`]; values must be below 64.
fn pack_scales(sc: &[u8; GROUPS], m: &[u8; GROUPS]) -> [u8; 12] {
    let mut packed = [0; 12];
    for i in 0..4 {
        packed[i] = sc[i] | (sc[i + 4] >> 4) << 6;
        packed[i + 4] = m[i] | (m[i + 4] >> 4) << 6;
        packed[i + 8] = (sc[i + 4] & 15) | (m[i + 4] & 15) << 4;
    }
    packed
}

/// The values of a block.
pub fn dequantize_block(block: &[u8; BYTES], out: &mut [f32; QK_K]) {
    let [d0, d1, m0, m1, rest @ ..] = block;
    let (d, dmin) = (scale([*d0, *d1]), scale([*m0, *m1]));
    let Some((packed, qs)) = rest.split_first_chunk::<12>() else { return };
    let (sc, m) = scales(packed);
    for (g, out) in out.as_chunks_mut::<GROUP>().0.iter_mut().enumerate() {
        let (d, min) = (d * f32::from(sc[g]), dmin * f32::from(m[g]));
        let run = &qs[g / 2 * GROUP..][..GROUP];
        let shift = g % 2 * 4;
        for (x, q) in out.iter_mut().zip(run) {
            *x = d * f32::from(q >> shift & 15) - min;
        }
    }
}

/// The block of these values: for each group the scale and minimum with the least weighted square error, found by the search
/// of ggml's reference (`quantize_row_q4_K_ref`). `w` replaces the reference's own weights. `None` when a value is not finite or a scale does not fit an f16.
#[must_use]
pub fn quantize_block(x: &[f32; QK_K], w: Option<&[f32; QK_K]>) -> Option<[u8; BYTES]> {
    if !x.iter().all(|x| x.is_finite()) {
        return None;
    }
    let groups = x.as_chunks::<GROUP>().0;
    let (mut fits, mut top, mut top_min) = ([(0.0f32, 0.0f32); GROUPS], 0.0f32, 0.0f32);
    for (g, (fit, group)) in fits.iter_mut().zip(groups).enumerate() {
        let rms = (group.iter().map(|x| x * x).sum::<f32>() / GROUP as f32).sqrt();
        let own = group.map(|x| rms + x.abs());
        let w = w.and_then(|w| w.as_chunks::<GROUP>().0.get(g)).unwrap_or(&own);
        *fit = fit_with_min(group, w, 15.0);
        top = top.max(fit.0);
        top_min = top_min.max(fit.1);
    }
    let per = |top: f32| if top > 0.0 { 63.0 / top } else { 0.0 };
    let sc = fits.map(|fit| nearest(per(top) * fit.0).clamp(0.0, 63.0) as u8);
    let m = fits.map(|fit| nearest(per(top_min) * fit.1).clamp(0.0, 63.0) as u8);

    let mut block = [0; BYTES];
    let [d0, d1, m0, m1, rest @ ..] = &mut block;
    [*d0, *d1] = scale_bytes(top / 63.0)?;
    [*m0, *m1] = scale_bytes(top_min / 63.0)?;
    let (d, dmin) = (scale([*d0, *d1]), scale([*m0, *m1]));
    let (packed, qs) = rest.split_first_chunk_mut::<12>()?;
    *packed = pack_scales(&sc, &m);
    for (g, group) in groups.iter().enumerate() {
        let (d, min) = (d * f32::from(sc[g]), dmin * f32::from(m[g]));
        if d == 0.0 {
            continue;
        }
        let run = &mut qs[g / 2 * GROUP..][..GROUP];
        let shift = g % 2 * 4;
        for (b, x) in run.iter_mut().zip(group) {
            *b |= (nearest((x + min) / d).clamp(0.0, 15.0) as u8) << shift;
        }
    }
    Some(block)
}
