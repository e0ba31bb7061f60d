//! Quantization of activations, norms, SiLU, exponentials.

use std::arch::aarch64::*;

use super::super::{Pair, scalar};
use super::lanes::{Floats, Ints};

/// `Kernels::quantize`.
pub(super) fn quantize(x: &[f32], q: &mut [i8], scales: &mut [f32], sums: &mut [Pair]) {
    assert!(x.len().is_multiple_of(32) && q.len() == x.len(), "blocks of 32");
    assert!(scales.len() == x.len() / 32 && sums.len() == x.len() / 16, "one scale and two sums a block");
    let blocks = x.as_chunks::<32>().0.iter().zip(q.as_chunks_mut::<32>().0);
    for (((x, q), scale), sums) in blocks.zip(scales).zip(sums.as_chunks_mut::<2>().0) {
        // SAFETY: 32 values.
        let v = [0, 8, 16, 24].map(|at| unsafe { Floats::load(x.as_ptr().add(at)) });
        let [a, b, c, d] = v.map(Floats::size);
        let most = a.at_least(b).at_least(c.at_least(d));
        // SAFETY: NEON, which every AArch64 with a standard library has.
        let max = unsafe { vmaxvq_f32(vmaxq_f32(most.0[0], most.0[1])) };
        // What is not a number reaches `max`.
        if !max.is_finite() {
            scalar::quantize(x, q, std::slice::from_mut(scale), sums);
            continue;
        }
        let inverse = Floats::splat(if max > 0.0 { 127.0 / max } else { 0.0 });
        *scale = max / 127.0;
        let ints = v.map(|v| v.times(inverse).to_ints());
        for h in 0..2 {
            // SAFETY: NEON; sixteen of the 32 integers, `h` being 0 or 1.
            unsafe {
                let eight = |v: Ints| vqmovn_s16(vcombine_s16(vqmovn_s32(v.0[0]), vqmovn_s32(v.0[1])));
                let bytes = vmaxq_s8(vcombine_s8(eight(ints[2 * h]), eight(ints[2 * h + 1])), vdupq_n_s8(-127));
                vst1q_s8(q.as_mut_ptr().add(16 * h), bytes);
                let pairs = vpaddlq_s8(bytes);
                let (low, high) = (vget_low_s16(pairs), vget_high_s16(pairs));
                sums[h] = [vaddv_s16(vuzp1_s16(low, high)), vaddv_s16(vuzp2_s16(low, high))];
            }
        }
    }
}

/// `Kernels::rms_norm`.
pub(super) fn rms_norm(x: &[f32], w: Option<&[f32]>, eps: f32, out: &mut [f32]) {
    assert!(out.len() == x.len() && w.is_none_or(|w| w.len() == x.len()), "one weight and one output a value");
    let (chunks, rest) = x.as_chunks::<8>();
    let mut squares = Floats::splat(0.0);
    for c in chunks {
        // SAFETY: eight values.
        let v = unsafe { Floats::load(c.as_ptr()) };
        squares = squares.plus_product(v, v);
    }
    let last = Floats::some(rest, 0.0);
    let factor = 1.0 / (squares.plus_product(last, last).fold() / x.len() as f32 + eps).sqrt();
    match w {
        Some(w) => out.iter_mut().zip(x).zip(w).for_each(|((o, x), w)| *o = x * factor * w),
        None => out.iter_mut().zip(x).for_each(|(o, x)| *o = x * factor),
    }
}

/// `scalar::exp` on eight lanes.
#[inline(always)]
fn exp(x: Floats) -> Floats {
    let x = x.at_least(Floats::splat(-87.0)).at_most(Floats::splat(88.0));
    let n = x.times(Floats::splat(std::f32::consts::LOG2_E)).rounded();
    let r = x.plus_product(n, Floats::splat(-0.693_359_4)).plus_product(n, Floats::splat(2.121_944_4e-4));
    let mut p = Floats::splat(1.388_888_9e-3);
    for c in [8.333_334e-3, 4.166_666_8e-2, 1.666_666_7e-1, 0.5, 1.0, 1.0] {
        p = Floats::splat(c).plus_product(p, r);
    }
    p.times(n.to_ints().plus(Ints::splat(127)).moved(Ints::splat(23)).as_floats())
}

/// `Kernels::silu_mul`.
pub(super) fn silu_mul(gate: &mut [f32], up: &[f32], scale: f32) {
    assert_eq!(gate.len(), up.len(), "one up value a gate value");
    let scale = Floats::splat(scale);
    let product = |g: Floats, u: Floats| {
        let x = g.times(scale);
        let silu = x.over(Floats::splat(1.0).plus(exp(x.negated())));
        silu.times(u.times(scale))
    };
    let (gates, rest) = gate.as_chunks_mut::<8>();
    let (ups, last) = up.as_chunks::<8>();
    for (g, u) in gates.iter_mut().zip(ups) {
        // SAFETY: eight values each.
        unsafe { product(Floats::load(g.as_ptr()), Floats::load(u.as_ptr())).store(g.as_mut_ptr()) };
    }
    let lanes = product(Floats::some(rest, 0.0), Floats::some(last, 0.0)).array();
    rest.iter_mut().zip(lanes).for_each(|(g, lane)| *g = lane);
}

/// `Kernels::exps`.
pub(super) fn exps(x: &mut [f32]) -> (f32, f32) {
    let (chunks, rest) = x.as_chunks_mut::<8>();
    let mut max = Floats::some(rest, f32::NEG_INFINITY);
    for c in chunks.iter() {
        // SAFETY: eight values.
        max = max.max_number(unsafe { Floats::load(c.as_ptr()) });
    }
    let most = max.array().into_iter().fold(f32::NEG_INFINITY, f32::max);
    // Chunks go to the two sums in turn: the next one's is always the first of the pair.
    let (max, mut sums) = (Floats::splat(most), [Floats::splat(0.0); 2]);
    for c in chunks {
        // SAFETY: eight values.
        unsafe {
            let e = exp(Floats::load(c.as_ptr()).minus(max));
            e.store(c.as_mut_ptr());
            sums = [sums[1], sums[0].plus(e)];
        }
    }
    let lanes = exp(Floats::some(rest, f32::NEG_INFINITY).minus(max)).array();
    rest.iter_mut().zip(lanes).for_each(|(x, lane)| *x = lane);
    // A lane that holds no value adds nothing.
    (most, sums[0].plus(Floats::some(rest, 0.0)).plus(sums[1]).fold())
}
