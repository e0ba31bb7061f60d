//! Q6_K: 256 six-bit values in 16 groups of 16, each with an eight-bit scale.
//!
//! | bytes | field |
//! |---|---|
//! | 0..128 | `ql`: the low four bits, two runs of 64 bytes |
//! | 128..192 | `qh`: the high two bits, two runs of 32 bytes |
//! | 192..208 | `sc[16]`, i8 |
//! | 208..210 | `d`, f16 |
//!
//! Each run stands for 128 values in four quarters of 32. Quarter `k`'s value `i` has its low bits in `ql[32 * (k % 2) + i]`
//! (low half for quarters 0 and 1, high half for 2 and 3) and its high bits in bits `2k..2k + 2` of `qh[i]`.
//!
//! `x[g][i] = (d * sc[g]) * (q[g][i] - 32)`.

use super::search::{EPS, fit_groups, fit_symmetric, group_error, nearest, settle_scale};
use super::{QK_K, scale, scale_bytes};

/// Bytes of a block.
pub const BYTES: usize = 210;
const _: () = assert!(BYTES == QK_K / 2 + QK_K / 4 + GROUPS + 2);

/// Values in a group.
const GROUP: usize = 16;
/// Groups in a block.
const GROUPS: usize = QK_K / GROUP;
/// Values in a quarter of a run.
const QUARTER: usize = 32;

/// The values of a block.
pub fn dequantize_block(block: &[u8; BYTES], out: &mut [f32; QK_K]) {
    let (ql, rest) = block.split_at(QK_K / 2);
    let (qh, rest) = rest.split_at(QK_K / 4);
    let (sc, d) = rest.split_at(GROUPS);
    let d = scale([d[0], d[1]]);
    for (c, out) in out.as_chunks_mut::<QUARTER>().0.iter_mut().enumerate() {
        let (run, k) = (c / 4, c % 4);
        let ql = &ql[64 * run + QUARTER * (k % 2)..][..QUARTER];
        let qh = &qh[QUARTER * run..][..QUARTER];
        for (i, x) in out.iter_mut().enumerate() {
            let q = (ql[i] >> (k / 2 * 4) & 15) | (qh[i] >> (2 * k) & 3) << 4;
            let sc = sc[2 * c + i / GROUP].cast_signed();
            *x = (d * f32::from(sc)) * (f32::from(q) - 32.0);
        }
    }
}

/// The block of these values: for each group the scale with the least weighted square error, found by the search of ggml's
/// reference (`quantize_row_q6_K_ref`). `w` replaces the reference's own weights, the squares. `None` when a value is not
/// finite or the scale does not fit an f16.
#[must_use]
pub fn quantize_block(x: &[f32; QK_K], w: Option<&[f32; QK_K]>) -> Option<[u8; BYTES]> {
    if !x.iter().all(|x| x.is_finite()) {
        return None;
    }
    let mut block = [0; BYTES];
    let groups = x.as_chunks::<GROUP>().0;
    let important = w.is_some();
    let w = w.copied().unwrap_or_else(|| x.map(|x| x * x));
    let fits: [f32; GROUPS] = fit_groups::<GROUP, GROUPS, _>(x, &w, |x, w| fit_symmetric(x, w, 32.0));
    if !fits.iter().all(|fit| fit.is_finite()) {
        return None;
    }
    let top = fits.iter().fold(0.0f32, |top, fit| if fit.abs() > top.abs() { *fit } else { top });
    if top.abs() < EPS {
        return Some(block);
    }
    let per = -128.0 / top;
    let mut sc = fits.map(|fit| nearest(per * fit).clamp(-128.0, 127.0) as i8);
    let d_bytes = scale_bytes(1.0 / per)?;
    let d = scale(d_bytes);
    for (g, w) in w.as_chunks::<GROUP>().0.iter().enumerate().filter(|_| important) {
        let error = |sc| group_error(&groups[g], w, (d * f32::from(sc), 0.0), (-32.0, 31.0));
        sc[g] = settle_scale(sc[g], (-128, 127), error);
    }

    let mut q = [32u8; QK_K];
    for (g, (q, group)) in q.as_chunks_mut::<GROUP>().0.iter_mut().zip(groups).enumerate() {
        let d = d * f32::from(sc[g]);
        if d == 0.0 {
            continue;
        }
        for (q, x) in q.iter_mut().zip(group) {
            *q = (nearest(x / d).clamp(-32.0, 31.0) + 32.0) as u8;
        }
    }
    let (ql, rest) = block.split_at_mut(QK_K / 2);
    let (qh, rest) = rest.split_at_mut(QK_K / 4);
    let (sc_out, d_out) = rest.split_at_mut(GROUPS);
    for (c, q) in q.as_chunks::<QUARTER>().0.iter().enumerate() {
        let (run, k) = (c / 4, c % 4);
        for (i, q) in q.iter().enumerate() {
            ql[64 * run + QUARTER * (k % 2) + i] |= (q & 15) << (k / 2 * 4);
            qh[QUARTER * run + i] |= (q >> 4) << (2 * k);
        }
    }
    sc_out.copy_from_slice(&sc.map(i8::cast_unsigned));
    d_out.copy_from_slice(&d_bytes);
    Some(block)
}
