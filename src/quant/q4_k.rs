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

use super::search::{Search, fit_groups, fit_with_min, group_error, nearest, settle};
use super::{QK_K, scale, scale_bytes};

/// Bytes of a block.
pub const BYTES: usize = 144;
const _: () = assert!(BYTES == 2 + 2 + 12 + QK_K / 2);

/// Values in a group.
pub(super) const GROUP: usize = 32;
/// Groups in a block.
pub(super) const GROUPS: usize = QK_K / GROUP;

/// Unpacks the 12 bytes of scales into (scales, minima), each six bits.
///
/// Bytes 0..4 hold the low six bits of scales 0..4, bytes 4..8 those of minima 0..4. Bytes 8..12 hold the low four bits of
/// scales 4..8 (low half) and minima 4..8 (high half); their upper two bits are the upper two of bytes 0..4 and 4..8.
#[must_use]
#[inline(always)]
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

/// The weights of ggml's reference: magnitudes and their root mean square in the group.
fn own_weights(x: &[f32; QK_K]) -> [f32; QK_K] {
    let mut w = *x;
    for group in w.as_chunks_mut::<GROUP>().0 {
        let rms = (group.iter().map(|x| x * x).sum::<f32>() / GROUP as f32).sqrt();
        *group = group.map(|x| rms + x.abs());
    }
    w
}

/// The 16 bytes that open a block of Q4_K and Q5_K.
pub(super) struct Header {
    d: [u8; 2],
    dmin: [u8; 2],
    sc: [u8; GROUPS],
    m: [u8; GROUPS],
}

impl Header {
    /// For each group the scale and minimum with the least weighted square error for codes from 0 to `top`. `w` replaces the
    /// weights of ggml's reference and its `search`, and the codes of scale and minimum are settled together. `None` when a
    /// value is not finite or a scale does not fit an f16.
    pub(super) fn fit(x: &[f32; QK_K], w: Option<&[f32; QK_K]>, top: f32, search: &Search) -> Option<Self> {
        if !x.iter().all(|x| x.is_finite()) {
            return None;
        }
        let important = w.is_some();
        let search = if important { &Search::FINE } else { search };
        let w = w.copied().unwrap_or_else(|| own_weights(x));
        let fits: [_; GROUPS] = fit_groups::<GROUP, GROUPS, _>(x, &w, |x, w| fit_with_min(x, w, top, search));
        let most = fits.iter().fold(0.0f32, |most, fit| most.max(fit.0));
        let most_min = fits.iter().fold(0.0f32, |most, fit| most.max(fit.1));
        let per = |most: f32| if most > 0.0 { 63.0 / most } else { 0.0 };
        let mut header = Self {
            d: scale_bytes(most / 63.0)?,
            dmin: scale_bytes(most_min / 63.0)?,
            sc: fits.map(|fit| nearest(per(most) * fit.0).clamp(0.0, 63.0) as u8),
            m: fits.map(|fit| nearest(per(most_min) * fit.1).clamp(0.0, 63.0) as u8),
        };
        if important {
            let (d, dmin) = (scale(header.d), scale(header.dmin));
            let groups = x.as_chunks::<GROUP>().0.iter().zip(w.as_chunks::<GROUP>().0);
            for ((x, w), (sc, m)) in groups.zip(header.sc.iter_mut().zip(&mut header.m)) {
                let error = |sc, m| group_error(x, w, (d * f32::from(sc), dmin * f32::from(m)), (0.0, top));
                (*sc, *m) = settle((*sc, *m), 63, error);
            }
        }
        Some(header)
    }

    pub(super) fn bytes(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        let [d0, d1, m0, m1, packed @ ..] = &mut bytes;
        ([*d0, *d1], [*m0, *m1]) = (self.d, self.dmin);
        *packed = pack_scales(&self.sc, &self.m);
        bytes
    }

    /// Scale and minimum of group `g` as the block will give them back.
    pub(super) fn group(&self, g: usize) -> (f32, f32) {
        (scale(self.d) * f32::from(self.sc[g]), scale(self.dmin) * f32::from(self.m[g]))
    }
}

/// The block of these values: for each group the scale and minimum with the least weighted square error, found by the search
/// of ggml's reference (`quantize_row_q4_K_ref`). `w` replaces the reference's own weights. `None` when a value is not finite
/// or a scale does not fit an f16.
#[must_use]
pub fn quantize_block(x: &[f32; QK_K], w: Option<&[f32; QK_K]>) -> Option<[u8; BYTES]> {
    let header = Header::fit(x, w, 15.0, &Search { from: -1.0, step: 0.1, steps: 20, absolute: false })?;
    let mut block = [0; BYTES];
    block[..16].copy_from_slice(&header.bytes());
    for (g, group) in x.as_chunks::<GROUP>().0.iter().enumerate() {
        let (d, min) = header.group(g);
        if d == 0.0 {
            continue;
        }
        let run = &mut block[16 + g / 2 * GROUP..][..GROUP];
        for (b, x) in run.iter_mut().zip(group) {
            *b |= (nearest((x + min) / d).clamp(0.0, 15.0) as u8) << (g % 2 * 4);
        }
    }
    Some(block)
}
