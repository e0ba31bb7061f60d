//! Temperature, top-k, top-p and min-p, and the draw from what they leave; no sort of the whole vocabulary.
//!
//! In the order "greater logit first, then lower id" each filter keeps a beginning. So a filter is a cut, the last
//! candidate that stays, and finding a cut takes selection, not sorting.

use std::cmp::Ordering;

use super::SamplerOptions;

/// A token and its probability relative to the best token's.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    logit: f32,
    id: u32,
    mass: f32,
}

/// The better one is less: a greater logit, or among equals a lower id.
fn by_rank(a: &Candidate, b: &Candidate) -> Ordering {
    b.logit.total_cmp(&a.logit).then(a.id.cmp(&b.id))
}

/// What is left, and the scratch to find it.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter {
    kept: Vec<Candidate>,
    masses: Vec<f32>,
    scratch: Vec<Candidate>,
}

/// The least mass that top-p looks at first; each further look goes this factor lower.
const GLANCE: f32 = 1.0 / 256.0;

/// How many masses are looked over at once.
const BLOCK: usize = 32;

impl Filter {
    /// Runs the filters over `logits`, of which `best` is the greatest. What stays is in id order.
    pub(super) fn apply(&mut self, logits: &[f32], best: f32, options: &SamplerOptions) {
        let mass = |logit: f32| exp((logit - best) / options.temperature);
        self.kept.clear();
        if (1..logits.len()).contains(&(options.top_k as usize)) {
            self.keep_top_k(logits, options.top_k as usize);
            self.kept.iter_mut().for_each(|candidate| candidate.mass = mass(candidate.logit));
            if options.top_p < 1.0 {
                let target = f64::from(options.top_p) * self.kept.iter().map(|c| f64::from(c.mass)).sum::<f64>();
                self.cut_at_mass(target);
            }
            self.kept.retain(|candidate| candidate.mass >= options.min_p);
            return;
        }
        self.masses.resize(logits.len(), 0.0);
        self.masses.iter_mut().zip(logits).for_each(|(slot, &logit)| *slot = mass(logit));
        if options.top_p < 1.0 {
            self.keep_top_p(logits, f64::from(options.top_p) * sum(&self.masses), options.min_p);
        } else {
            self.collect(logits, options.min_p);
        }
    }

    /// The id at `fraction` (0 to 1, without 1) of the mass that is left, counted in id order.
    pub(super) fn draw(&self, fraction: f64) -> Option<u32> {
        let total: f64 = self.kept.iter().map(|candidate| f64::from(candidate.mass)).sum();
        let mut left = fraction * total;
        let mut last = None;
        for candidate in self.kept.iter().filter(|candidate| candidate.mass > 0.0) {
            last = Some(candidate.id);
            left -= f64::from(candidate.mass);
            if left < 0.0 {
                break;
            }
        }
        last
    }

    /// Keeps the `k` best in one pass: what cannot be among them is passed over, and when twice as many have
    /// gathered the worse half goes.
    fn keep_top_k(&mut self, logits: &[f32], k: usize) {
        let gathered = &mut self.scratch;
        gathered.clear();
        let mut bar = f32::NEG_INFINITY;
        for (id, &logit) in (0..).zip(logits) {
            // A later id with the bar's own logit is worse than what set the bar.
            if logit > bar {
                gathered.push(Candidate { logit, id, mass: 0.0 });
                if gathered.len() >= k.saturating_mul(2).max(64) {
                    bar = halve(gathered, k).unwrap_or(bar);
                }
            }
        }
        if gathered.len() > k {
            halve(gathered, k);
        }
        self.kept.extend_from_slice(gathered);
        self.kept.sort_unstable_by_key(|candidate| candidate.id);
    }

    /// Keeps the fewest best whose masses reach `target`, and of those the ones that reach `min_p`. Looks at the few
    /// great masses first, because they nearly always suffice.
    fn keep_top_p(&mut self, logits: &[f32], target: f64, min_p: f32) {
        let mut least = GLANCE;
        loop {
            self.collect(logits, least);
            let reached: f64 = self.kept.iter().map(|candidate| f64::from(candidate.mass)).sum();
            if reached >= target || least == 0.0 {
                break;
            }
            least = if least > 1e-30 { least * GLANCE } else { 0.0 };
        }
        self.cut_at_mass(target);
        self.kept.retain(|candidate| candidate.mass >= min_p);
    }

    /// All tokens whose mass is at least `least` and not zero.
    fn collect(&mut self, logits: &[f32], least: f32) {
        self.kept.clear();
        let blocks = logits.chunks(BLOCK).zip(self.masses.chunks(BLOCK));
        for ((logits, masses), first) in blocks.zip((0..).step_by(BLOCK)) {
            // Most blocks hold nothing great, and a look without an early exit is a few vector instructions.
            if !masses.iter().fold(false, |held, mass| held | (*mass >= least)) {
                continue;
            }
            let tokens = (first..).zip(logits).zip(masses);
            let great = tokens.filter(|(_, mass)| **mass >= least && **mass > 0.0);
            self.kept.extend(great.map(|((id, &logit), &mass)| Candidate { logit, id, mass }));
        }
    }

    /// Of what is kept, keeps the fewest best whose masses reach `target`; all, if together they do not.
    fn cut_at_mass(&mut self, target: f64) {
        self.scratch.clear();
        self.scratch.extend_from_slice(&self.kept);
        let (mut low, mut high, mut left) = (0, self.scratch.len(), target);
        // Selection by mass: of two halves only the one with the cut is looked into.
        while high - low > 32 {
            let middle = (high - low) / 2;
            let Some(span) = self.scratch.get_mut(low..high) else { return };
            let (better, _, _) = span.select_nth_unstable_by(middle, by_rank);
            let mass: f64 = better.iter().map(|candidate| f64::from(candidate.mass)).sum();
            if mass >= left {
                high = low + middle;
            } else {
                left -= mass;
                low += middle;
            }
        }
        let Some(span) = self.scratch.get_mut(low..high) else { return };
        span.sort_unstable_by(by_rank);
        let cut = span.iter().find(|candidate| {
            left -= f64::from(candidate.mass);
            left <= 0.0
        });
        if let Some(cut) = cut.copied() {
            self.kept.retain(|candidate| by_rank(candidate, &cut) != Ordering::Greater);
        }
    }

    #[cfg(test)]
    pub(super) fn kept(&self) -> Vec<(u32, f32)> {
        self.kept.iter().map(|candidate| (candidate.id, candidate.mass)).collect()
    }
}

/// Keeps the `k` best of more than `k`; the logit of the worst that stays.
fn halve(gathered: &mut Vec<Candidate>, k: usize) -> Option<f32> {
    let last = k.checked_sub(1)?;
    let (_, worst, _) = gathered.select_nth_unstable_by(last, by_rank);
    let bar = worst.logit;
    gathered.truncate(k);
    Some(bar)
}

/// Sum in eight lanes, so that its order is fixed and a compiler can keep it in vectors.
fn sum(masses: &[f32]) -> f64 {
    let (chunks, rest) = masses.as_chunks::<8>();
    let mut lanes = [0.0_f64; 8];
    for chunk in chunks {
        lanes.iter_mut().zip(chunk).for_each(|(lane, mass)| *lane += f64::from(*mass));
    }
    lanes.iter().sum::<f64>() + rest.iter().map(|mass| f64::from(*mass)).sum::<f64>()
}

/// e to the power of `x` for `x` at most 0, with a relative error below 3e-7; 0 below -87. Only additions and
/// multiplications: the same bits on every machine.
#[inline]
fn exp(x: f32) -> f32 {
    // 1.5 * 2^23: adding it rounds to an integer and leaves that integer in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let bounded = if x < -87.0 { -87.0 } else { x };
    let shifted = bounded * std::f32::consts::LOG2_E + ROUND;
    let whole = shifted - ROUND;
    // ln 2 in two parts, so that the remainder keeps its bits (Cody and Waite).
    let r = (bounded - whole * (355.0 / 512.0)) - whole * -2.121_944_4e-4;
    // Taylor's series to the sixth power; |r| is at most 0.35.
    let p =
        1.0 + r * (1.0 + r * (1.0 / 2.0 + r * (1.0 / 6.0 + r * (1.0 / 24.0 + r * (1.0 / 120.0 + r * (1.0 / 720.0))))));
    let power = f32::from_bits(shifted.to_bits().wrapping_add(127) << 23);
    if x < -87.0 { 0.0 } else { p * power }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_close_to_the_true_value() {
        let mut worst = 0.0_f64;
        for step in 0..870_000 {
            let x = -step as f32 * 1e-4;
            let truth = f64::from(x).exp();
            worst = worst.max((f64::from(exp(x)) - truth).abs() / truth);
        }
        assert!(worst < 3e-7, "{worst}");
        assert_eq!((exp(0.0), exp(-87.1), exp(f32::NEG_INFINITY)), (1.0, 0.0, 0.0));
    }
}
