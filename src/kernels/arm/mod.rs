//! AArch64: NEON alone, NEON with the dot products of `dotprod`, and with the matrix products of `i8mm`. A set is a
//! constructor that may decline.
//!
//! NEON is part of every AArch64 that has a standard library; only `sdot` and `smmla` ask for more. Every kernel is therefore
//! written once, over [`dot::Dot`]: what differs is how products become sums. `mm` has tiles for `smmla`, which pays for
//! several tokens alone.
#![expect(unsafe_code, reason = "vector intrinsics; every function's proof stands in front of it")]

mod blocks;
mod codes;
mod decoded;
mod dot;
mod float;
mod lanes;
mod mix;
mod mm;
mod pairs;
mod scores;
mod vectors;

use std::arch::is_aarch64_feature_detected;

use self::dot::{Dot, DotProd, I8mm, Neon};
use super::{ActRows, Kernels, Panels, scalar};
use crate::quant::runs;
use crate::weights::layout::{is_reordered, panel_block};

/// The set that every AArch64 runs.
pub(super) fn neon() -> Option<Kernels> {
    is_aarch64_feature_detected!("neon").then_some(set::<Neon>("neon"))
}

/// The set for processors with `sdot`: most since ARMv8.2, all since ARMv8.4.
pub(super) fn dotprod() -> Option<Kernels> {
    let both = is_aarch64_feature_detected!("neon") && is_aarch64_feature_detected!("dotprod");
    both.then_some(set::<DotProd>("dotprod"))
}

/// The set for processors with `smmla` too: since ARMv8.6, and several before.
pub(super) fn i8mm() -> Option<Kernels> {
    dotprod().filter(|_| is_aarch64_feature_detected!("i8mm")).map(|_| set::<I8mm>("i8mm"))
}

fn set<D: Dot>(name: &'static str) -> Kernels {
    Kernels {
        name,
        matmul: matmul::<D>,
        quantize: vectors::quantize,
        rms_norm: vectors::rms_norm,
        silu_mul: vectors::silu_mul,
        // The compiler makes vectors of the plain loop, as it may use NEON everywhere.
        add: scalar::add,
        attn_scores: scores::attn_scores,
        attn_scores_q8: scores::attn_scores_q8::<D>,
        attn_mix: mix::attn_mix,
        exps: vectors::exps,
    }
}

/// `$then` with the constant `$n`: the largest tile that `$left` tokens, at least one, fill. Answers `$n`.
macro_rules! by_tokens {
    ($left:expr, $n:ident => $then:expr) => {
        match $left {
            4.. => by_tokens!(@ 4, $n, $then),
            3 => by_tokens!(@ 3, $n, $then),
            2 => by_tokens!(@ 2, $n, $then),
            _ => by_tokens!(@ 1, $n, $then),
        }
    };
    (@ $tile:literal, $n:ident, $then:expr) => {{
        const $n: usize = $tile;
        $then;
        $n
    }};
}
use by_tokens;

fn matmul<D: Dot>(w: Panels<'_>, x: ActRows<'_>, out: &mut [f32]) {
    if panel_block(w.ty).0 == 1 {
        return float::matmul(w, x, out);
    }
    // These have runs, but their panels need no decoding.
    if is_reordered(w.ty) {
        return blocks::matmul::<D>(w, x, out);
    }
    runs::with_runs!(w.ty, T => decoded::matmul::<T, D>(w, x, out), _ => blocks::matmul::<D>(w, x, out));
}
