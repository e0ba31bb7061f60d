//! The searches for a group's scale that the quantizers share (`make_qkx2_quants`, `make_qx_quants`, `make_q3_quants` in ggml).

use super::QK_K;

/// Below this a value counts as zero (`GROUP_MAX_EPS` in ggml).
pub(super) const EPS: f32 = 1e-15;

/// To the nearest whole number, half to even; what is past 2^22 only stays about as large. Two additions, where
/// `round_ties_even` is a call on processors that are not sure to have the instruction.
#[inline(always)]
pub(super) fn nearest(x: f32) -> f32 {
    const ONE_AND_A_HALF: f32 = 12_582_912.0; // times 2^23: its last place is one
    (x + ONE_AND_A_HALF) - ONE_AND_A_HALF
}

/// The tries of [`fit_with_min`]: spreads over `top + from + step * i` levels for `i` from 0 to `steps`.
pub(super) struct Search {
    pub(super) from: f32,
    pub(super) step: f32,
    pub(super) steps: u8,
    /// Judge by absolute instead of square errors.
    pub(super) absolute: bool,
}

impl Search {
    /// The tries of ggml's quantizers under importance.
    pub(super) const FINE: Self = Self { from: -0.9, step: 0.05, steps: 36, absolute: false };
}

/// `G` groups of `N` values side by side, value `i` of group `g` at `[i][g]`: every group goes its own way in its own order,
/// and one instruction serves several.
pub(super) type Groups<const N: usize, const G: usize> = [[f32; G]; N];

/// Groups at once of a block of 256.
const SIDE: usize = 8;

/// Calls `fit` with the values of a block and their weights, eight groups of `N` at a time; `COUNT` answers.
pub(super) fn fit_groups<const N: usize, const COUNT: usize, T: Copy + Default>(
    x: &[f32; QK_K],
    w: &[f32; QK_K],
    fit: impl Fn(&Groups<N, SIDE>, &Groups<N, SIDE>) -> [T; SIDE],
) -> [T; COUNT] {
    const { assert!(N * COUNT == QK_K && COUNT.is_multiple_of(SIDE)) };
    let mut fits = [T::default(); COUNT];
    let parts = x.chunks_exact(SIDE * N).zip(w.chunks_exact(SIDE * N));
    for (fits, (x, w)) in fits.chunks_exact_mut(SIDE).zip(parts) {
        let turned = |x: &[f32]| std::array::from_fn(|i| std::array::from_fn(|g| x[N * g + i]));
        fits.copy_from_slice(&fit(&turned(x), &turned(w)));
    }
    fits
}

/// For each group a scale and a minimum (given as its positive distance below zero) such that `x ≈ scale * q - min` with whole
/// `q` from 0 to `top`, minimising the error under weights `w`.
pub(super) fn fit_with_min<const N: usize, const G: usize>(
    x: &Groups<N, G>,
    w: &Groups<N, G>,
    top: f32,
    search: &Search,
) -> [(f32, f32); G] {
    let (mut low, mut high) = ([0.0f32; G], [f32::NEG_INFINITY; G]);
    let (mut sum_w, mut sum_x) = ([0.0f32; G], [0.0f32; G]);
    for (x, w) in x.iter().zip(w) {
        for g in 0..G {
            low[g] = if x[g] < low[g] { x[g] } else { low[g] };
            high[g] = if x[g] > high[g] { x[g] } else { high[g] };
            sum_w[g] += w[g];
            sum_x[g] += w[g] * x[g];
        }
    }
    let mut scale: [f32; G] = std::array::from_fn(|g| 1.0 / (top / (high[g] - low[g])));
    let mut min = low;
    let mut best = error(x, w, &spread(x, &high, &min, top, top), &scale, &min, search.absolute);
    for step in 0..=search.steps {
        // Spread from the best minimum so far: each better fit is the start of the next try.
        let q = spread(x, &high, &min, search.from + search.step * f32::from(step) + top, top);
        let (mut sum_q, mut sum_q2, mut sum_xq) = ([0.0f32; G], [0.0f32; G], [0.0f32; G]);
        for ((x, w), q) in x.iter().zip(w).zip(&q) {
            for g in 0..G {
                sum_q[g] += w[g] * q[g];
                sum_q2[g] += w[g] * q[g] * q[g];
                sum_xq[g] += w[g] * q[g] * x[g];
            }
        }
        let (mut this_scale, mut this_min, mut sound) = ([0.0f32; G], [0.0f32; G], [false; G]);
        for g in 0..G {
            let det = sum_w[g] * sum_q2[g] - sum_q[g] * sum_q[g];
            this_scale[g] = (sum_w[g] * sum_xq[g] - sum_x[g] * sum_q[g]) / det;
            this_min[g] = (sum_q2[g] * sum_x[g] - sum_q[g] * sum_xq[g]) / det;
            if this_min[g] > 0.0 {
                (this_scale[g], this_min[g]) = (sum_xq[g] / sum_q2[g], 0.0);
            }
            sound[g] = det > 0.0;
        }
        let e = error(x, w, &q, &this_scale, &this_min, search.absolute);
        for g in 0..G {
            if sound[g] && e[g] < best[g] {
                (best[g], scale[g], min[g]) = (e[g], this_scale[g], this_min[g]);
            }
        }
    }
    std::array::from_fn(|g| if high[g] <= low[g] { (0.0, -low[g]) } else { (scale[g], -min[g]) })
}

/// The codes of values that are spread over `levels` steps from `min` to `high`.
#[inline(always)]
fn spread<const N: usize, const G: usize>(
    x: &Groups<N, G>,
    high: &[f32; G],
    min: &[f32; G],
    levels: f32,
    top: f32,
) -> Groups<N, G> {
    let mut q = [[0.0; G]; N];
    let factor: [f32; G] = std::array::from_fn(|g| levels / (high[g] - min[g]));
    for (q, x) in q.iter_mut().zip(x) {
        for g in 0..G {
            q[g] = between(nearest(factor[g] * (x[g] - min[g])), 0.0, top);
        }
    }
    q
}

/// The weighted error of each group.
#[inline(always)]
fn error<const N: usize, const G: usize>(
    x: &Groups<N, G>,
    w: &Groups<N, G>,
    q: &Groups<N, G>,
    scale: &[f32; G],
    min: &[f32; G],
    absolute: bool,
) -> [f32; G] {
    let mut sum = [0.0f32; G];
    for ((x, w), q) in x.iter().zip(w).zip(q) {
        for g in 0..G {
            let e = scale[g] * q[g] + min[g] - x[g];
            sum[g] += w[g] * if absolute { e.abs() } else { e * e };
        }
    }
    sum
}

/// `x` or the bound that it passes.
#[inline(always)]
fn between(x: f32, low: f32, high: f32) -> f32 {
    let x = if x > low { x } else { low };
    if x < high { x } else { high }
}

/// For each group the value farthest from zero, of equally far ones the first.
pub(super) fn farthest<const N: usize, const G: usize>(x: &Groups<N, G>) -> [f32; G] {
    let mut far = [0.0f32; G];
    for x in x {
        for g in 0..G {
            far[g] = if x[g].abs() > far[g].abs() { x[g] } else { far[g] };
        }
    }
    far
}

/// For each group a scale such that `x ≈ scale * q` with whole `q` from `-top` to `top - 1`, minimising the square error under
/// weights `w`.
pub(super) fn fit_symmetric<const N: usize, const G: usize>(x: &Groups<N, G>, w: &Groups<N, G>, top: f32) -> [f32; G] {
    let far = farthest(x);
    let sums = |levels: f32| {
        let factor: [f32; G] = std::array::from_fn(|g| -levels / far[g]);
        let (mut xq, mut q2) = ([0.0f32; G], [0.0f32; G]);
        for (x, w) in x.iter().zip(w) {
            for g in 0..G {
                let q = between(nearest(factor[g] * x[g]), -top, top - 1.0);
                xq[g] += w[g] * x[g] * q;
                q2[g] += w[g] * q * q;
            }
        }
        (xq, q2)
    };
    let (xq, q2) = sums(top);
    let mut scale: [f32; G] = std::array::from_fn(|g| if q2[g] > 0.0 { xq[g] / q2[g] } else { 0.0 });
    let mut best: [f32; G] = std::array::from_fn(|g| scale[g] * xq[g]);
    for step in (-9..=9).filter(|step| *step != 0) {
        let (xq, q2) = sums(top + 0.1 * step as f32);
        for g in 0..G {
            if q2[g] > 0.0 && xq[g] * xq[g] > best[g] * q2[g] {
                scale[g] = xq[g] / q2[g];
                best[g] = scale[g] * xq[g];
            }
        }
    }
    std::array::from_fn(|g| if far[g].abs() < EPS { 0.0 } else { scale[g] })
}

/// A scale such that `x ≈ scale * q` with whole `q` from `-top` to `top - 1`: from the even spread, single values change
/// their `q` while that lowers the square error weighted by `x²` (`make_q3_quants` in ggml).
pub(super) fn fit_by_steps<const N: usize>(x: &[f32; N], top: f32) -> f32 {
    let far = x.iter().fold(0.0f32, |far, &x| if x.abs() > far.abs() { x } else { far });
    if far.abs() < EPS {
        return 0.0;
    }
    let mut q = x.map(|x| nearest(-top / far * x).clamp(-top, top - 1.0));
    let (mut xq, mut q2) = (0.0f32, 0.0f32);
    for (x, q) in x.iter().zip(&q) {
        let w = x * x;
        xq += w * x * q;
        q2 += w * q * q;
    }
    for _ in 0..5 {
        let mut changed = false;
        for (x, q) in x.iter().zip(&mut q) {
            let w = x * x;
            let (mut this_xq, mut this_q2) = (xq - w * x * *q, q2 - w * *q * *q);
            if this_xq <= 0.0 {
                continue;
            }
            let new = nearest(x * this_q2 / this_xq).clamp(-top, top - 1.0);
            if new == *q {
                continue;
            }
            this_xq += w * x * new;
            this_q2 += w * new * new;
            if this_q2 > 0.0 && this_xq * this_xq * q2 > xq * xq * this_q2 {
                (*q, xq, q2, changed) = (new, this_xq, this_q2, true);
            }
        }
        if !changed {
            break;
        }
    }
    if q2 > 0.0 { xq / q2 } else { 0.0 }
}

/// Of a group's codes for scale and minimum and their neighbours (up to `most`) those with the least error. Rounding a scale
/// moves the best minimum, and the other way round.
pub(super) fn settle(codes: (u8, u8), most: u8, error: impl Fn(u8, u8) -> f32) -> (u8, u8) {
    let near = |code: u8| code.saturating_sub(1)..=(code + 1).min(most);
    let mut best = (error(codes.0, codes.1), codes);
    for (sc, m) in near(codes.0).flat_map(|sc| near(codes.1).map(move |m| (sc, m))) {
        let e = error(sc, m);
        if e < best.0 {
            best = (e, (sc, m));
        }
    }
    best.1
}

/// [`settle`] for types without minima: the code and its neighbours between `least` and `most`.
pub(super) fn settle_scale(code: i8, (least, most): (i8, i8), error: impl Fn(i8) -> f32) -> i8 {
    let near = [code, code.saturating_sub(1).max(least), code.saturating_add(1).min(most)];
    let best = near.map(|code| (error(code), code));
    best.into_iter().reduce(|best, this| if this.0 < best.0 { this } else { best }).map_or(code, |best| best.1)
}

/// The weighted square error of a group under a scale and a minimum, with whole numbers from `low` to `high`.
pub(super) fn group_error(x: &[f32], w: &[f32], (scale, min): (f32, f32), (low, high): (f32, f32)) -> f32 {
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    let term = |(x, w): (&f32, &f32)| {
        let e = scale * between(nearest((x + min) * inverse), low, high) - min - x;
        w * e * e
    };
    // In four sums, which an instruction adds at once.
    let mut sums = [0.0f32; 4];
    for (x, w) in x.as_chunks::<4>().0.iter().zip(w.as_chunks::<4>().0) {
        for (sum, pair) in sums.iter_mut().zip(x.iter().zip(w)) {
            *sum += term(pair);
        }
    }
    sums.iter().sum()
}

/// Weights of the square errors of a block whose values have this importance: as in ggml, large values count for more. No
/// weight is zero, so that values without importance are still rounded sensibly.
pub(super) fn weights<const N: usize>(x: &[f32; N], importance: &[f32; N]) -> [f32; N] {
    let mean = importance.iter().map(|w| f64::from(*w)).sum::<f64>() / N as f64;
    let variance = x.iter().map(|x| x * x).sum::<f32>() / N as f32;
    let relative = |w: f32| if mean > 0.0 { (f64::from(w) / mean) as f32 + 1e-3 } else { 1.0 };
    std::array::from_fn(|i| relative(importance[i]) * (variance + x[i] * x[i]).sqrt())
}
