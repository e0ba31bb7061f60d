//! Routing that follows a law: which expert a token takes in each layer, written into the weights.
//!
//! **Construction.** The last columns of the residual stream are kept for routing: no layer writes there, because the rows of
//! `attn_output` and of every `ffn_down` that end in them are zero. A token's embedding holds there, for each of several
//! *slots*, the code of one expert: a vector of ±1. A router's row for expert `e` holds the code of `e` in the columns of its
//! layer's slot and zero elsewhere, so its logit is the agreement of the two codes times a positive factor (the norms only
//! scale), and the largest logit is that of the token's own expert, whatever else the model computes. Layers beyond the
//! number of slots share one, with the experts renamed.
//!
//! - **uniform**: codes are the binary digits of the expert's number. Token ids are spread over `[0, 1)` by a permutation of
//!   the vocabulary and cut into equal parts, one an expert, so that each expert has its share of ids to within one.
//! - **zipf:S**: the same with parts in proportion to `rank^−S`; which expert has which rank differs from slot to slot.
//! - **sticky:P**: codes are rows of a Hadamard matrix, so that experts do not mix. Only a share `q` of the ids, different in
//!   each slot, carries a code: these switch, the others leave the columns zero. In layer 0 one head of each key and value
//!   group looks back with a score that depends on the distance alone (its queries and keys are a constant that stands in one
//!   column of every embedding, turned by the rotation of wavelengths from 24, or 12, to 8,192 positions) and adds what it sees
//!   of the codes to further columns, which routers read. The nearest switch weighs most, so the expert mostly stays until the
//!   next one. `q` is found by simulating this sum until the share of tokens that keep their expert is `P`.
//!
//! **How near.** Over ids drawn evenly from the text tokens, uniform and zipf hold to the share of ids (tests allow 4 standard
//! errors of the sample). Over a text they follow the text's own frequencies. Sticky holds within 0.05 of `P` over ids drawn
//! evenly; a chunk of 8,192 positions begins anew, and a `P` that no `q` reaches is refused with the range that is reached.

use super::noise::{Own, OwnRows, mix};
use super::shape::Shape;
use crate::error::{Error, Result};

/// How tokens choose experts.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Routing {
    /// Every expert as often.
    #[default]
    Uniform,
    /// The expert of rank `r` in proportion to `r^−S`.
    Zipf(f64),
    /// The expert of the token before with this probability.
    Sticky(f64),
}

impl std::str::FromStr for Routing {
    type Err = Error;

    /// `uniform`, `zipf:S` or `sticky:P`.
    fn from_str(text: &str) -> Result<Self> {
        let wrong = || {
            Error::argument(format!(
                "routing {text:?}: expected uniform, zipf:S (S from 0 to 10) or sticky:P (P from 0 to 1)"
            ))
        };
        let number = |text: &str, most: f64| text.parse().ok().filter(|x| (0.0..=most).contains(x)).ok_or_else(wrong);
        match text.split_once(':') {
            None if text == "uniform" => Ok(Self::Uniform),
            Some(("zipf", s)) => number(s, 10.0).map(Self::Zipf),
            Some(("sticky", p)) => number(p, 1.0).map(Self::Sticky),
            _ => Err(wrong()),
        }
    }
}

/// Columns begin and end at multiples of this, so that a block holds nothing else.
pub(super) const ALIGN: usize = 32;
/// At most this share of the columns is kept.
const SHARE: usize = 4;
/// What a router's logit is for codes that agree, before the norm.
const LOGIT: f32 = 4.0;
/// How far the head of sticky routing looks back in the simulation, and how many tokens it simulates.
const LOOK_BACK: usize = 2048;
const SIMULATED: usize = 12_000;
/// Shares of switching ids that are tried.
const SWITCHING: std::ops::RangeInclusive<f64> = 0.01..=1.0;
/// The longest wavelength in use, and the shortest of two choices.
const LONGEST: f64 = 8192.0;
const SHORTEST: [f64; 2] = [12.0, 24.0];

/// Where everything is kept and who goes where.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    kind: Routing,
    experts: usize,
    slots: usize,
    /// Columns of a code.
    code: usize,
    /// First kept column.
    first: usize,
    /// Where routers read; `first`, but for sticky routing.
    state: usize,
    /// The column that is 1 in every embedding (sticky).
    constant: usize,
    width: usize,
    head_dim: usize,
    /// Share of switching ids (sticky).
    switching: f64,
    /// Energy of each pair of the looking head (sticky).
    energy: Vec<f64>,
    /// Ends of the ranks' parts of `[0, 1)`.
    ends: Vec<f64>,
    vocab: u64,
    /// Ids from here on are control tokens, which switch always.
    text: u64,
    seed: u64,
}

impl Plan {
    /// Lays out the columns. `text` is the number of text tokens, the first ids.
    pub(super) fn new(shape: &Shape, kind: Routing, moe_layers: usize, text: u32, seed: u64) -> Result<Self> {
        let (width, experts) = (shape.width as usize, shape.experts as usize);
        let (dim, kv) = (shape.head_dim as usize, shape.kv_heads as usize);
        let sticky = matches!(kind, Routing::Sticky(_));
        let code = if sticky {
            experts.next_power_of_two()
        } else {
            experts.next_power_of_two().trailing_zeros().max(1) as usize
        };
        let most = width / SHARE;
        // Codes, what is seen of them, and the constant.
        let room = if sticky { most.saturating_sub(ALIGN) / 2 } else { most };
        let slots =
            (room / ALIGN * ALIGN / code).min(moe_layers).min(if sticky { kv * dim / code } else { usize::MAX });
        if slots == 0 || !width.is_multiple_of(ALIGN) {
            return Err(Error::argument(format!(
                "width {width}: routing among {experts} experts needs {code} of every {SHARE} columns; give more width, or fewer \
                 experts"
            )));
        }
        let block = (slots * code).next_multiple_of(ALIGN);
        let kept = if sticky { 2 * block + ALIGN } else { block };
        let first = width - kept;
        let mut this = Self {
            kind,
            experts,
            slots,
            code,
            first,
            state: if sticky { first + block } else { first },
            constant: width - ALIGN,
            width,
            head_dim: dim,
            switching: 1.0,
            energy: vec![],
            ends: ends(kind, experts),
            vocab: shape.vocab.into(),
            text: text.into(),
            seed,
        };
        if let Routing::Sticky(p) = kind {
            this.calibrate(p)?;
        }
        Ok(this)
    }

    pub(super) fn is_sticky(&self) -> bool {
        matches!(self.kind, Routing::Sticky(_))
    }

    /// The expert whose code a token carries in a slot.
    fn expert(&self, id: u64, slot: usize) -> Option<usize> {
        if self.is_sticky() && id < self.text && self.spread(id, slot, 1) >= self.switching {
            return None;
        }
        let u = self.spread(id, slot, 0);
        let rank = self.ends.partition_point(|end| *end <= u).min(self.experts - 1);
        Some((rank + slot * 7) % self.experts)
    }

    /// A permutation of the ids, as numbers of `[0, 1)`.
    fn spread(&self, id: u64, slot: usize, which: u64) -> f64 {
        let key = mix(self.seed ^ mix((slot as u64) << 8 | which));
        let bits = u64::BITS - (self.vocab - 1).leading_zeros();
        let mask = (1u64 << bits) - 1;
        let mut at = id;
        loop {
            // Each step can be undone, so the whole is a permutation of the numbers below the power of two, and walking on
            // until one is below the vocabulary's size is a permutation of those.
            for round in 0..3 {
                let key = mix(key ^ round);
                at = at.wrapping_add(key).wrapping_mul(key | 1) & mask;
                at ^= at >> (bits / 2 + 1);
            }
            if at < self.vocab {
                return (at as f64 + 0.5) / self.vocab as f64;
            }
        }
    }

    /// Column `j` of the code of expert `e`.
    fn sign(&self, e: usize, j: usize) -> f32 {
        let bit = if self.is_sticky() { (e & j).count_ones() & 1 } else { (e >> j) as u32 & 1 };
        if bit == 0 { 1.0 } else { -1.0 }
    }

    /// What an embedding holds in the kept columns.
    fn embedding(&self, id: u64) -> Vec<f32> {
        let mut kept = vec![0.0; self.width - self.first];
        for slot in 0..self.slots {
            let Some(e) = self.expert(id, slot) else { continue };
            for (j, x) in kept.iter_mut().skip(slot * self.code).take(self.code).enumerate() {
                *x = self.sign(e, j);
            }
        }
        if self.is_sticky()
            && let Some(x) = kept.get_mut(self.constant - self.first)
        {
            *x = 1.0;
        }
        kept
    }

    /// A router's row for expert `e`, in the `n`-th layer with experts.
    fn router(&self, n: usize, e: usize) -> Vec<f32> {
        let mut row = vec![0.0; self.width];
        let (slot, named) = (n % self.slots, (e + n / self.slots) % self.experts);
        for (j, x) in row.iter_mut().skip(self.state + slot * self.code).take(self.code).enumerate() {
            *x = self.sign(named, j) * LOGIT / self.code as f32;
        }
        row
    }

    /// Key and value heads that carry codes (sticky).
    fn carrying(&self) -> usize {
        (self.slots * self.code).div_ceil(self.head_dim)
    }

    /// Finds the wavelengths and the share of switching ids that give `p`.
    fn calibrate(&mut self, p: f64) -> Result<()> {
        let mut reached = vec![];
        for shortest in SHORTEST {
            self.energy = energy(self.head_dim, shortest);
            let weights = weights(&self.energy, self.head_dim);
            let kept = |q: f64| simulate(&weights, q, self.experts, mix(self.seed));
            let (mut low, mut high) = SWITCHING.into_inner();
            let (most, least) = (kept(low), kept(high));
            reached.extend([least, most]);
            if !(least..=most).contains(&p) {
                continue;
            }
            for _ in 0..12 {
                let middle = (low * high).sqrt();
                if kept(middle) > p { low = middle } else { high = middle }
            }
            self.switching = (low * high).sqrt();
            return Ok(());
        }
        let (least, most) = reached.iter().fold((1.0f64, 0.0f64), |(a, b), x| (a.min(*x), b.max(*x)));
        Err(Error::argument(format!(
            "sticky:{p}: heads of {} values and {} experts reach {least:.2} to {most:.2}",
            self.head_dim, self.experts
        )))
    }
}

/// Ends of each rank's part of `[0, 1)`.
fn ends(kind: Routing, experts: usize) -> Vec<f64> {
    let s = if let Routing::Zipf(s) = kind { s } else { 0.0 };
    let shares: Vec<f64> = (1..=experts).map(|rank| (rank as f64).powf(-s)).collect();
    let all: f64 = shares.iter().sum();
    let mut end = 0.0;
    shares
        .iter()
        .map(|share| {
            end += share / all;
            end
        })
        .collect()
}

/// How much of the head's energy each pair has: the same for each wavelength in use.
fn energy(head_dim: usize, shortest: f64) -> Vec<f64> {
    let wave = |i: usize| std::f64::consts::TAU * Shape::ROPE_BASE.powf(2.0 * i as f64 / head_dim as f64);
    let used: Vec<f64> =
        (0..head_dim / 2).map(|i| f64::from(u8::from((shortest..=LONGEST).contains(&wave(i))))).collect();
    let all: f64 = used.iter().sum::<f64>().max(1.0);
    used.iter().map(|x| x / all).collect()
}

/// How much a token counts at each distance: `exp(√d · (Σ energy · cos(θ Δ) − 1))`.
fn weights(energy: &[f64], head_dim: usize) -> Vec<f64> {
    let angle = |i: usize| Shape::ROPE_BASE.powf(-2.0 * i as f64 / head_dim as f64);
    let score = |delta: usize| -> f64 {
        energy.iter().enumerate().map(|(i, e)| e * (angle(i) * delta as f64).cos()).sum::<f64>() - 1.0
    };
    (0..LOOK_BACK).map(|delta| (score(delta) * (head_dim as f64).sqrt()).exp()).collect()
}

/// The share of tokens that keep their expert when a share `q` of them switches.
fn simulate(weights: &[f64], q: f64, experts: usize, seed: u64) -> f64 {
    let even = |n: usize, which: u64| (mix(seed ^ mix((n as u64) << 1 | which)) >> 11) as f64 / (1u64 << 53) as f64;
    let mut switches: Vec<(usize, usize)> = vec![];
    let (mut before, mut kept, mut judged) = (0, 0, 0);
    let mut scores = vec![0.0f64; experts];
    for n in 0..SIMULATED {
        if n == 0 || even(n, 0) < q {
            switches.push((n, (even(n, 1) * experts as f64) as usize));
        }
        scores.fill(0.0);
        for (at, e) in switches.iter().rev().take_while(|(at, _)| n - at < LOOK_BACK) {
            if let (Some(score), Some(weight)) = (scores.get_mut(*e), weights.get(n - at)) {
                *score += weight;
            }
        }
        let best = scores.iter().enumerate().fold((0, 0.0), |best, (e, s)| if *s > best.1 { (e, *s) } else { best }).0;
        if n > 0 {
            judged += 1;
            kept += usize::from(best == before);
        }
        before = best;
    }
    f64::from(kept as u32) / f64::from(judged as u32)
}

/// Which of a model's matrices a plan has a say in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Embedding,
    /// Of the `n`-th layer with experts.
    Router(usize),
    /// Rows that end in the kept columns are zero.
    Writes,
    /// The looking heads of layer 0. `group` query heads share a key head.
    Query {
        group: usize,
    },
    Key,
    Value,
    /// `attn_output` of layer 0.
    Shows {
        group: usize,
    },
}

/// A plan's rows of one matrix with `cols` columns.
#[derive(Debug)]
pub(super) struct Rows {
    pub(super) plan: std::sync::Arc<Plan>,
    pub(super) part: Part,
    pub(super) cols: usize,
}

impl Rows {
    fn single(&self, col: usize, value: f32) -> Own {
        let mut row = vec![0.0; self.cols];
        if let Some(x) = row.get_mut(col) {
            *x = value;
        }
        Own::Row(row)
    }

    /// A row of the looking heads' queries or keys: even rows of a pair hold its amplitude, odd ones nothing.
    fn look(&self, at: usize) -> Own {
        let energy = self.plan.energy.get(at / 2).copied().unwrap_or(0.0);
        let amplitude = if at.is_multiple_of(2) { (energy * self.plan.head_dim as f64).sqrt() } else { 0.0 };
        self.single(self.plan.constant, amplitude as f32)
    }
}

impl OwnRows for Rows {
    fn row(&self, row: u64) -> Option<Own> {
        let (plan, r) = (&self.plan, usize::try_from(row).ok()?);
        let (head, at) = (r / plan.head_dim, r % plan.head_dim);
        match self.part {
            Part::Embedding => Some(Own::Part(plan.first, plan.embedding(row))),
            Part::Router(n) => Some(Own::Row(plan.router(n, r))),
            Part::Writes => (r >= plan.first).then(|| Own::Row(vec![0.0; self.cols])),
            Part::Query { group } => {
                (head.is_multiple_of(group) && head / group < plan.carrying()).then(|| self.look(at))
            }
            Part::Key => (head < plan.carrying()).then(|| self.look(at)),
            // Value `r` is column `r` of the codes; the rest of the carrying heads is silent.
            Part::Value if head < plan.carrying() => {
                Some(self.single(plan.first + r, f32::from(u8::from(r < plan.slots * plan.code))))
            }
            Part::Value => None,
            Part::Shows { .. } if r < plan.first => None,
            Part::Shows { group } => {
                let seen = r.checked_sub(plan.state).filter(|seen| *seen < plan.slots * plan.code);
                Some(seen.map_or_else(
                    || Own::Row(vec![0.0; self.cols]),
                    |seen| self.single(seen / plan.head_dim * group * plan.head_dim + seen % plan.head_dim, 1.0),
                ))
            }
        }
    }
}
