//! Matmul for F32, F16 and BF16.

use super::super::scalar::matmul_shape;
use super::super::{ActRows, Panels};
use super::by_tokens;
use super::lanes::Floats;
use crate::quant::BlockType;
use crate::weights::layout::PANEL_ROWS;

/// Panels that share a pass when there is one token: enough independent sums to hide the latency of a fused multiply-add.
const PANELS: usize = 4;

/// `Kernels::matmul` for the float types.
pub(super) fn matmul(w: Panels<'_>, x: ActRows<'_>, out: &mut [f32]) {
    let (panel, tokens) = matmul_shape(w, x, out);
    if tokens == 1 {
        for (bytes, out) in w.bytes.chunks(PANELS * panel).zip(out.chunks_mut(PANELS * PANEL_ROWS)) {
            // SAFETY: whole panels of `cols` columns, eight outputs for each, as `matmul_shape` has checked.
            unsafe { by_tokens!(bytes.len() / panel, P => panels_by_token::<P>(w, bytes, x.values(), out)) };
        }
        return;
    }
    for (bytes, out) in w.bytes.chunks_exact(panel).zip(out.chunks_exact_mut((tokens * PANEL_ROWS).max(1))) {
        let mut t = 0;
        while t < tokens {
            let (x, out) = (&x.values()[t * w.cols..], &mut out[t * PANEL_ROWS..]);
            // SAFETY: a whole panel; the tile's tokens have activations and outputs, as `matmul_shape` has checked.
            t += unsafe { by_tokens!(tokens - t, N => panel_by_tokens::<N>(w, bytes, x, out)) };
        }
    }
}

/// Eight weights: one column of a panel.
///
/// # Safety
/// They exist.
#[inline(always)]
unsafe fn weights(ty: BlockType, p: *const u8) -> Floats {
    // SAFETY: the caller's promise.
    unsafe {
        match ty {
            BlockType::F32 => Floats::load(p.cast()),
            BlockType::F16 => Floats::halves(p),
            _ => Floats::upper_halves(p),
        }
    }
}

/// # Safety
/// `panels` are `P` panels of `w.cols` columns; as many activations, `8 P` outputs.
unsafe fn panels_by_token<const P: usize>(w: Panels<'_>, panels: &[u8], x: &[f32], out: &mut [f32]) {
    let (size, step) = (panels.len() / P, panels.len() / P / w.cols);
    let mut acc = [Floats::splat(0.0); P];
    // SAFETY: the caller's promises.
    unsafe {
        for k in 0..w.cols {
            let value = Floats::splat(*x.as_ptr().add(k));
            for (p, acc) in acc.iter_mut().enumerate() {
                *acc = acc.plus_product(weights(w.ty, panels.as_ptr().add(p * size + k * step)), value);
            }
        }
        for (p, acc) in acc.iter().enumerate() {
            acc.store(out.as_mut_ptr().add(p * PANEL_ROWS));
        }
    }
}

/// # Safety
/// `panel` is a panel of `w.cols` columns; `N` rows of as many activations, `8 N` outputs.
unsafe fn panel_by_tokens<const N: usize>(w: Panels<'_>, panel: &[u8], x: &[f32], out: &mut [f32]) {
    let step = panel.len() / w.cols;
    let mut acc = [Floats::splat(0.0); N];
    // SAFETY: the caller's promises.
    unsafe {
        for k in 0..w.cols {
            let weights = weights(w.ty, panel.as_ptr().add(k * step));
            for (t, acc) in acc.iter_mut().enumerate() {
                *acc = acc.plus_product(weights, Floats::splat(*x.as_ptr().add(t * w.cols + k)));
            }
        }
        for (t, acc) in acc.iter().enumerate() {
            acc.store(out.as_mut_ptr().add(t * PANEL_ROWS));
        }
    }
}
