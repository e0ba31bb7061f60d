//! The searches for a group's scale that the K types' quantizers share (`make_qkx2_quants` and `make_qx_quants` in ggml).

/// To the nearest whole number, half to even.
pub(super) fn nearest(x: f32) -> f32 {
    x.round_ties_even()
}

/// The tries of [`fit_with_min`]: spreads over `top + from + step * i` levels for `i` from 0 to `steps`.
pub(super) struct Search {
    pub(super) from: f32,
    pub(super) step: f32,
    pub(super) steps: u8,
    /// Judge by absolute instead of square errors.
    pub(super) absolute: bool,
}

/// A scale and a minimum (given as its positive distance below zero) such that `x ≈ scale * q - min` with whole `q` from 0
/// to `top`, minimising the error under weights `w`.
pub(super) fn fit_with_min<const N: usize>(x: &[f32; N], w: &[f32; N], top: f32, search: &Search) -> (f32, f32) {
    let low = x.iter().copied().fold(0.0, f32::min);
    let high = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if high <= low {
        return (0.0, -low);
    }
    let (mut sum_w, mut sum_x) = (0.0, 0.0);
    for (x, w) in x.iter().zip(w) {
        sum_w += w;
        sum_x += w * x;
    }
    let error = |scale: f32, min: f32, q: &[f32; N]| -> f32 {
        let judged = |e: f32| if search.absolute { e.abs() } else { e * e };
        x.iter().zip(w).zip(q).map(|((x, w), q)| w * judged(scale * q + min - x)).sum()
    };
    let spread = |levels: f32, min: f32| x.map(|x| nearest(levels / (high - min) * (x - min)).clamp(0.0, top));

    let (mut scale, mut min) = (1.0 / (top / (high - low)), low);
    let mut best = error(scale, min, &spread(top, low));
    for step in 0..=search.steps {
        // Spread from the best minimum so far: each better fit is the start of the next try.
        let q = spread(search.from + search.step * f32::from(step) + top, min);
        let (mut sum_q, mut sum_q2, mut sum_xq) = (0.0, 0.0, 0.0);
        for ((x, w), q) in x.iter().zip(w).zip(&q) {
            sum_q += w * q;
            sum_q2 += w * q * q;
            sum_xq += w * q * x;
        }
        let det = sum_w * sum_q2 - sum_q * sum_q;
        if det <= 0.0 {
            continue;
        }
        let mut this = ((sum_w * sum_xq - sum_x * sum_q) / det, (sum_q2 * sum_x - sum_q * sum_xq) / det);
        if this.1 > 0.0 {
            this = (sum_xq / sum_q2, 0.0);
        }
        let e = error(this.0, this.1, &q);
        if e < best {
            best = e;
            (scale, min) = this;
        }
    }
    (scale, -min)
}

/// A scale such that `x ≈ scale * q` with whole `q` from `-top` to `top - 1`, minimising the square error under weights `w`.
pub(super) fn fit_symmetric<const N: usize>(x: &[f32; N], w: &[f32; N], top: f32) -> f32 {
    let far = x.iter().fold(0.0f32, |far, &x| if x.abs() > far.abs() { x } else { far });
    if far.abs() < 1e-15 {
        return 0.0;
    }
    let sums = |levels: f32| {
        x.iter().zip(w).fold((0.0, 0.0), |(xq, q2), (&x, &w)| {
            let q = nearest(-levels / far * x).clamp(-top, top - 1.0);
            (xq + w * x * q, q2 + w * q * q)
        })
    };
    let (xq, q2) = sums(top);
    let mut scale = if q2 > 0.0 { xq / q2 } else { 0.0 };
    let mut best = scale * xq;
    for step in (-9..=9).filter(|step| *step != 0) {
        let (xq, q2) = sums(top + 0.1 * step as f32);
        if q2 > 0.0 && xq * xq > best * q2 {
            scale = xq / q2;
            best = scale * xq;
        }
    }
    scale
}

/// A scale such that `x ≈ scale * q` with whole `q` from `-top` to `top - 1`: from the even spread, single values change
/// their `q` while that lowers the square error weighted by `x²` (`make_q3_quants` in ggml).
pub(super) fn fit_by_steps<const N: usize>(x: &[f32; N], top: f32) -> f32 {
    let far = x.iter().fold(0.0f32, |far, &x| if x.abs() > far.abs() { x } else { far });
    if far.abs() < 1e-15 {
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

/// Weights of the square errors of a block whose values have this importance: as in ggml, large values count for more. No
/// weight is zero, so that values without importance are still rounded sensibly.
pub(super) fn weights<const N: usize>(x: &[f32; N], importance: &[f32; N]) -> [f32; N] {
    let mean = importance.iter().map(|w| f64::from(*w)).sum::<f64>() / N as f64;
    let variance = x.iter().map(|x| x * x).sum::<f32>() / N as f32;
    let relative = |w: f32| if mean > 0.0 { (f64::from(w) / mean) as f32 + 1e-3 } else { 1.0 };
    std::array::from_fn(|i| relative(importance[i]) * (variance + x[i] * x[i]).sqrt())
}
