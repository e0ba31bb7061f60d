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
    /// What is left in id order, where `dense` is false.
    kept: Vec<Candidate>,
    /// What is left where many are: every id's mass, zero for those that went, and the sum of each block.
    masses: Vec<f32>,
    sums: Vec<f64>,
    dense: bool,
    scratch: Vec<Candidate>,
    /// Mass by distance from the best logit.
    buckets: Vec<f64>,
}

/// The least mass that top-p looks at first; each further look goes this factor lower.
const GLANCE: f32 = 1.0 / 256.0;

/// How many logits are looked over at once.
const BLOCK: usize = 32;

/// How many masses are summed at once.
const SUMMED: usize = 256;

/// When more than this part of the vocabulary is left, masses are kept for all of it.
const SPARSE: usize = 16;

const BUCKETS: usize = 2048;

/// Buckets for each unit of (best logit − logit) / temperature.
const BUCKETS_A_UNIT: f32 = 64.0;

impl Filter {
    /// Runs the filters over `logits`, of which `best` is the greatest.
    pub(super) fn apply(&mut self, logits: &[f32], best: f32, options: &SamplerOptions) {
        let scale = Scale::new(best, options.temperature);
        self.dense = false;
        if (1..logits.len()).contains(&(options.top_k as usize)) {
            self.keep_top_k(logits, options.top_k as usize);
            self.kept.iter_mut().for_each(|candidate| candidate.mass = scale.mass(candidate.logit));
            if options.top_p < 1.0 {
                let target = f64::from(options.top_p) * self.kept.iter().map(|c| f64::from(c.mass)).sum::<f64>();
                self.cut_at_mass(target);
            }
        } else if options.top_p < 1.0 {
            self.weigh(logits, scale);
            let target = f64::from(options.top_p) * self.sums.iter().sum::<f64>();
            if !self.keep_top_p(logits, scale, target) {
                self.keep_top_p_of_many(logits, scale, target, options.min_p);
            }
        } else if options.min_p == 0.0 || !self.collect(logits, scale, scale.below(options.min_p)) {
            self.weigh(logits, scale);
            self.drop_below(options.min_p);
        }
        self.kept.retain(|candidate| candidate.mass >= options.min_p);
    }

    /// The id at `fraction` (0 to 1, without 1) of the mass that is left, counted in id order.
    pub(super) fn draw(&self, fraction: f64) -> Option<u32> {
        if !self.dense {
            let total: f64 = self.kept.iter().map(|candidate| f64::from(candidate.mass)).sum();
            let tokens = self.kept.iter().map(|candidate| (candidate.id, candidate.mass));
            return at_mass(tokens, fraction * total);
        }
        let mut left = fraction * self.sums.iter().sum::<f64>();
        let block = self.sums.iter().position(|sum| {
            let here = left < *sum;
            left -= if here { 0.0 } else { *sum };
            here
        });
        if block.is_none() {
            left = f64::INFINITY;
        }
        // Where rounding leaves a remainder past the end, the last id is in the last block with any mass.
        let first = block.or_else(|| self.sums.iter().rposition(|sum| *sum > 0.0))? * SUMMED;
        at_mass((u32::try_from(first).ok()?..).zip(self.masses.iter().skip(first).take(SUMMED).copied()), left)
    }

    /// Keeps the `k` best in one pass: what cannot be among them is passed over, and when twice as many have
    /// gathered the worse half goes.
    fn keep_top_k(&mut self, logits: &[f32], k: usize) {
        let gathered = &mut self.scratch;
        gathered.clear();
        let mut bar = f32::NEG_INFINITY;
        for (block, first) in logits.chunks(BLOCK).zip((0..).step_by(BLOCK)) {
            if !any(block, |logit| logit > bar) {
                continue;
            }
            for (id, &logit) in (first..).zip(block) {
                // A later id with the bar's own logit is worse than what set the bar.
                if logit > bar {
                    gathered.push(Candidate { logit, id, mass: 0.0 });
                    if gathered.len() >= k.saturating_mul(2).max(64) {
                        bar = halve(gathered, k).unwrap_or(bar);
                    }
                }
            }
        }
        if gathered.len() > k {
            halve(gathered, k);
        }
        self.kept.clear();
        self.kept.extend_from_slice(gathered);
        self.kept.sort_unstable_by_key(|candidate| candidate.id);
    }

    /// The masses of all ids and their sums.
    fn weigh(&mut self, logits: &[f32], scale: Scale) {
        self.kept.clear();
        self.dense = true;
        self.masses.resize(logits.len(), 0.0);
        self.sums.clear();
        for (masses, logits) in self.masses.chunks_mut(SUMMED).zip(logits.chunks(SUMMED)) {
            masses.iter_mut().zip(logits).for_each(|(mass, &logit)| *mass = scale.mass(logit));
            self.sums.push(sum(masses));
        }
    }

    /// Keeps the fewest best whose masses reach `target`. Looks at the few great masses first, because they nearly always
    /// suffice; `false` when too many are needed.
    fn keep_top_p(&mut self, logits: &[f32], scale: Scale, target: f64) -> bool {
        let mut least = GLANCE;
        loop {
            if !self.collect(logits, scale, scale.below(least)) {
                return false;
            }
            let reached: f64 = self.kept.iter().map(|candidate| f64::from(candidate.mass)).sum();
            if reached >= target || least == 0.0 {
                break;
            }
            least = if least > 1e-30 { least * GLANCE } else { 0.0 };
        }
        self.cut_at_mass(target);
        true
    }

    /// As [`Filter::keep_top_p`] on masses of all ids: they are summed by distance from the best, and only the bucket with
    /// the cut is put in order.
    fn keep_top_p_of_many(&mut self, logits: &[f32], scale: Scale, target: f64, min_p: f32) {
        let bucket = |logit: f32| scale.distance(logit).min((BUCKETS - 1) as f32);
        self.buckets.clear();
        self.buckets.resize(BUCKETS, 0.0);
        for (&logit, &mass) in logits.iter().zip(&self.masses) {
            if let Some(sum) = self.buckets.get_mut(bucket(logit) as usize) {
                *sum += f64::from(mass);
            }
        }
        let mut left = target;
        let found = self.buckets.iter().position(|sum| {
            let here = *sum >= left;
            left -= if here { 0.0 } else { *sum };
            here
        });
        let number = found.unwrap_or(BUCKETS - 1) as f32;
        let inside = |logit: f32| bucket(logit) >= number && bucket(logit) < number + 1.0;
        self.scratch.clear();
        let blocks = logits.chunks(BLOCK).zip(self.masses.chunks(BLOCK));
        for ((logits, masses), first) in blocks.zip((0..).step_by(BLOCK)) {
            if any(logits, inside) {
                let tokens = (first..).zip(logits.iter().zip(masses)).filter(|(_, (logit, _))| inside(**logit));
                self.scratch.extend(tokens.map(|(id, (&logit, &mass))| Candidate { logit, id, mass }));
            }
        }
        if let Some(cut) = find_cut(&mut self.scratch, left) {
            self.drop_after(logits, cut);
        }
        self.drop_below(min_p);
    }

    /// All tokens whose logit is at least `bar` and whose mass is not zero. Gives up with `false` when they are many.
    fn collect(&mut self, logits: &[f32], scale: Scale, bar: f32) -> bool {
        self.kept.clear();
        self.dense = false;
        for (block, first) in logits.chunks(BLOCK).zip((0..).step_by(BLOCK)) {
            // Most blocks hold nothing great, and a look without an early exit is a few vector instructions.
            if any(block, |logit| logit >= bar) {
                let great = (first..).zip(block).filter(|(_, logit)| **logit >= bar);
                let candidates = great.map(|(id, &logit)| Candidate { logit, id, mass: scale.mass(logit) });
                self.kept.extend(candidates.filter(|candidate| candidate.mass > 0.0));
                if self.kept.len() > (logits.len() / SPARSE).max(1024) {
                    self.kept.clear();
                    self.dense = true;
                    return false;
                }
            }
        }
        true
    }

    /// Of what is kept, keeps the fewest best whose masses reach `target`; all, if together they do not.
    fn cut_at_mass(&mut self, target: f64) {
        self.scratch.clear();
        self.scratch.extend_from_slice(&self.kept);
        if let Some(cut) = find_cut(&mut self.scratch, target) {
            self.kept.retain(|candidate| by_rank(candidate, &cut) != Ordering::Greater);
        }
    }

    /// Takes away the masses of all that is worse than `cut`.
    fn drop_after(&mut self, logits: &[f32], cut: Candidate) {
        // Equals of the cut stay up to its own id.
        let equals = (cut.id as usize + 1).min(logits.len());
        let (head, tail) = self.masses.split_at_mut(equals);
        for (mass, logit) in head.iter_mut().zip(logits) {
            *mass = if *logit >= cut.logit { *mass } else { 0.0 };
        }
        for (mass, logit) in tail.iter_mut().zip(logits.iter().skip(equals)) {
            *mass = if *logit > cut.logit { *mass } else { 0.0 };
        }
        self.sum_up();
    }

    /// Takes away the masses below `min_p`.
    fn drop_below(&mut self, min_p: f32) {
        if min_p > 0.0 {
            self.masses.iter_mut().for_each(|mass| *mass = if *mass >= min_p { *mass } else { 0.0 });
            self.sum_up();
        }
    }

    fn sum_up(&mut self) {
        self.sums.iter_mut().zip(self.masses.chunks(SUMMED)).for_each(|(slot, masses)| *slot = sum(masses));
    }

    #[cfg(test)]
    pub(super) fn kept(&self) -> Vec<(u32, f32)> {
        if self.dense {
            return (0..).zip(self.masses.iter().copied()).filter(|(_, mass)| *mass > 0.0).collect();
        }
        self.kept.iter().map(|candidate| (candidate.id, candidate.mass)).collect()
    }
}

/// From logits to masses.
#[derive(Clone, Copy, Debug)]
struct Scale {
    best: f32,
    temperature: f32,
    inverse: f32,
}

impl Scale {
    fn new(best: f32, temperature: f32) -> Self {
        // Bounded, because zero times infinity is no number.
        Scale { best, temperature, inverse: (1.0 / temperature).min(f32::MAX) }
    }

    /// Probability relative to the best token's.
    #[inline]
    fn mass(self, logit: f32) -> f32 {
        exp((logit - self.best) * self.inverse)
    }

    /// Below the logit of every token whose mass is at least `mass`, but not far; minus infinity for 0.
    fn below(self, mass: f32) -> f32 {
        // A hundredth is much more than what the logarithm, the products and `exp` can be off.
        self.best + self.temperature * (mass.ln() - 0.01)
    }

    /// Distance from the best logit in buckets.
    #[inline]
    fn distance(self, logit: f32) -> f32 {
        (self.best - logit) * self.inverse * BUCKETS_A_UNIT
    }
}

/// Whether `what` holds for one of `logits`, without an early exit.
#[inline]
fn any(logits: &[f32], what: impl Fn(f32) -> bool) -> bool {
    logits.iter().fold(false, |held, &logit| held | what(logit))
}

/// The first id at which the masses of `tokens`, added up, exceed `mass`; the last with any mass, if they do not.
fn at_mass(tokens: impl Iterator<Item = (u32, f32)>, mass: f64) -> Option<u32> {
    let (mut left, mut last) = (mass, None);
    for (id, mass) in tokens.filter(|token| token.1 > 0.0) {
        last = Some(id);
        left -= f64::from(mass);
        if left < 0.0 {
            break;
        }
    }
    last
}

/// The last of the fewest best candidates whose masses reach `target`; the worst of all, if together they do not.
fn find_cut(candidates: &mut [Candidate], target: f64) -> Option<Candidate> {
    let (mut low, mut high, mut left) = (0, candidates.len(), target);
    // Selection by mass: of two halves only the one with the cut is looked into.
    while high - low > 32 {
        let middle = (high - low) / 2;
        let (better, _, _) = candidates.get_mut(low..high)?.select_nth_unstable_by(middle, by_rank);
        let mass: f64 = better.iter().map(|candidate| f64::from(candidate.mass)).sum();
        if mass >= left {
            high = low + middle;
        } else {
            left -= mass;
            low += middle;
        }
    }
    let span = candidates.get_mut(low..high)?;
    span.sort_unstable_by(by_rank);
    let cut = span.iter().find(|candidate| {
        left -= f64::from(candidate.mass);
        left <= 0.0
    });
    cut.or(span.last()).copied()
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
