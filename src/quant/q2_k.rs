//! Q2_K: 256 two-bit values in 16 groups of 16, each with a four-bit scale and a four-bit minimum.
//!
//! | bytes | field |
//! |---|---|
//! | 0..16 | group `g`: its scale in the low half of byte `g`, its minimum in the high half |
//! | 16..80 | two stretches of 32 bytes; bits `2k, 2k + 1` of byte `i` of stretch `s` are value `128s + 32k + i` |
//! | 80..82 | `d`, f16: the scale of the scales |
//! | 82..84 | `dmin`, f16: the scale of the minima |
//!
//! `x[g][i] = (d * sc[g]) * q[g][i] - dmin * m[g]`.

use super::runs::{Bytes, Run, Runs, half_at};
use super::search::{Search, fit_groups, fit_with_min, group_error, nearest, settle};
use super::{QK_K, scale, scale_bytes};

/// Bytes of a block.
pub const BYTES: usize = 84;
const _: () = assert!(BYTES == GROUPS + QK_K / 4 + 2 + 2);

/// Values in a group.
const GROUP: usize = 16;
/// Groups in a block.
const GROUPS: usize = QK_K / GROUP;

/// 256 two-bit values in 16 groups with four-bit scales and minima.
#[derive(Debug)]
pub struct Q2K;

impl Runs for Q2K {
    const LEN: usize = QK_K;
    const BYTES: usize = BYTES;
    const MINS: bool = true;
    const HALVES: bool = true;

    #[inline(always)]
    fn factors(block: &[u8]) -> [u16; 2] {
        [half_at(block, 80), half_at(block, 82)]
    }

    #[inline(always)]
    fn runs(block: &[u8], [d, dmin]: [f32; 2], out: &mut [Run]) {
        let Some(block) = block.first_chunk::<BYTES>() else { return };
        let (groups, qs) = (block[..GROUPS].as_chunks::<2>().0, block[GROUPS..80].as_chunks::<32>().0);
        for (r, (run, groups)) in out.iter_mut().zip(groups).enumerate() {
            *run = Run {
                q: Bytes::load(&qs[r / 4 % 2]).bits(2 * (r % 4), 3),
                scale: groups.map(|b| d * f32::from(b & 15)),
                min: groups.map(|b| dmin * f32::from(b >> 4)),
                ..Run::ZERO
            };
        }
    }
}

/// Packs values below four as the bytes 16..80 of a block.
pub(super) fn pack_pairs(q: &[u8; QK_K]) -> [u8; QK_K / 4] {
    let value = |at: usize| q.get(at).copied().unwrap_or(0) & 3;
    std::array::from_fn(|at| {
        let first = 128 * (at / 32) + at % 32;
        (0..4).fold(0, |byte, k| byte | value(first + 32 * k) << (2 * k))
    })
}

/// The block of these values: for each group the scale and minimum with the least weighted absolute error, found by the search
/// of ggml's reference (`quantize_row_q2_K_ref`); with weights `w` those with the least weighted square error. `None` when a
/// value is not finite or a scale does not fit an f16.
#[must_use]
pub fn quantize_block(x: &[f32; QK_K], w: Option<&[f32; QK_K]>) -> Option<[u8; BYTES]> {
    if !x.iter().all(|x| x.is_finite()) {
        return None;
    }
    let groups = x.as_chunks::<GROUP>().0;
    let search = match w {
        Some(_) => Search::FINE,
        None => Search { from: -0.5, step: 0.1, steps: 15, absolute: true },
    };
    let important = w.is_some();
    let w = w.copied().unwrap_or_else(|| x.map(f32::abs));
    let fits: [_; GROUPS] = fit_groups::<GROUP, GROUPS, _>(x, &w, |x, w| fit_with_min(x, w, 3.0, &search));
    let top = fits.iter().fold(0.0f32, |top, fit| top.max(fit.0));
    let top_min = fits.iter().fold(0.0f32, |top, fit| top.max(fit.1));
    let per = |top: f32| if top > 0.0 { 15.0 / top } else { 0.0 };
    let mut sc = fits.map(|fit| nearest(per(top) * fit.0).clamp(0.0, 15.0) as u8);
    let mut m = fits.map(|fit| nearest(per(top_min) * fit.1).clamp(0.0, 15.0) as u8);
    let (d_bytes, min_bytes) = (scale_bytes(top / 15.0)?, scale_bytes(top_min / 15.0)?);
    let (d, dmin) = (scale(d_bytes), scale(min_bytes));
    if important {
        let weighted = groups.iter().zip(w.as_chunks::<GROUP>().0);
        for ((x, w), (sc, m)) in weighted.zip(sc.iter_mut().zip(&mut m)) {
            let error = |sc, m| group_error(x, w, (d * f32::from(sc), dmin * f32::from(m)), (0.0, 3.0));
            (*sc, *m) = settle((*sc, *m), 15, error);
        }
    }

    let mut q = [0u8; QK_K];
    for (g, (q, group)) in q.as_chunks_mut::<GROUP>().0.iter_mut().zip(groups).enumerate() {
        let (d, min) = (d * f32::from(sc[g]), dmin * f32::from(m[g]));
        if d == 0.0 {
            continue;
        }
        *q = group.map(|x| nearest((x + min) / d).clamp(0.0, 3.0) as u8);
    }
    let mut block = [0; BYTES];
    for (b, (sc, m)) in block.iter_mut().zip(sc.iter().zip(&m)) {
        *b = sc | m << 4;
    }
    block[GROUPS..80].copy_from_slice(&pack_pairs(&q));
    block[80..82].copy_from_slice(&d_bytes);
    block[82..].copy_from_slice(&min_bytes);
    Some(block)
}
