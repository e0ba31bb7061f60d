//! The feed-forward layer: dense, or a shared expert beside routed ones.

use std::sync::Arc;

use rayon::prelude::*;
use tract_onnx::tract_hir::internal::*;

use super::{acts, added, identity, rows_like};
use crate::engine::importance::Watch;
use crate::engine::linear::{linear, linear_all};
use crate::engine::scratch;
use crate::error::Result;
use crate::kernels::{Acts, Kernels, Precision};
use crate::weights::Matrix;

/// `W_down(silu(W_gate z) ⊙ (W_up z))`.
#[derive(Clone, Debug)]
pub(in super::super) struct Mlp {
    /// `(ffn, width)`
    pub(in super::super) gate: Matrix,
    /// `(ffn, width)`
    pub(in super::super) up: Matrix,
    /// `(width, ffn)`
    pub(in super::super) down: Matrix,
}

/// The weights of one feed-forward layer.
#[derive(Debug)]
pub(in super::super) struct FeedForwardWeights {
    /// The dense layer, or the shared expert.
    pub(in super::super) shared: Mlp,
    /// Routed experts.
    pub(in super::super) routed: Option<Routed>,
}

/// Routed experts and what chooses among them.
#[derive(Debug)]
pub(in super::super) struct Routed {
    /// `(experts, width)`
    pub(in super::super) router: Matrix,
    pub(in super::super) experts: Vec<Mlp>,
    /// Experts that a token uses.
    pub(in super::super) used: usize,
}

/// Normed input `(S, width)` and residual `(S, width)` → residual plus the layer's output.
#[derive(Clone, Debug)]
pub(in super::super) struct FeedForward {
    pub(in super::super) kernels: Kernels,
    pub(in super::super) precision: Precision,
    pub(in super::super) weights: Arc<FeedForwardWeights>,
    /// Told of what its matrices meet, where somebody asked.
    pub(in super::super) watch: Option<Watch>,
}

identity!(FeedForward, weights);

impl Op for FeedForward {
    fn name(&self) -> StaticName {
        "FeedForward".into()
    }
    op_as_typed_op!();
}

impl EvalOp for FeedForward {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let (x, residual) = args_2!(inputs);
        let width = *x.shape().last().context("no columns")?;
        let acts = acts(&x, width, &self.kernels, self.precision)?;
        let y = self.run(&acts)?;
        scratch::give(acts.into_values());
        Ok(tvec!(added(&self.kernels, residual, y)?))
    }
}

impl TypedOp for FeedForward {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(rows_like(inputs[0], self.weights.shared.down.rows())))
    }
    as_op!();
}

/// Tokens up to which all experts run side by side: more would keep the products of all of them in memory at once.
const TOGETHER: usize = 16;

/// One of a layer's experts; the shared one has no number.
#[derive(Clone, Copy)]
struct Part<'a> {
    w: &'a Mlp,
    expert: Option<usize>,
}

/// The tokens that one expert gets, and the scale of each.
struct Group<'a> {
    part: Part<'a>,
    tokens: Vec<usize>,
    scales: Vec<f32>,
}

impl Group<'_> {
    /// Its rows of `x`; `None` when it gets all of them.
    fn gather(&self, x: &Acts) -> Option<Acts> {
        (self.tokens.len() < x.tokens()).then(|| x.gather(&self.tokens))
    }
}

/// The experts that the router's `logits`, `(S, experts)`, choose for any token, in ascending order.
fn by_expert<'a>(logits: &[f32], routed: &'a Routed) -> Vec<Group<'a>> {
    let part = |(e, w)| Part { w, expert: Some(e) };
    let experts = routed.experts.iter().enumerate().map(part);
    let mut groups: Vec<_> = experts.map(|part| Group { part, tokens: Vec::new(), scales: Vec::new() }).collect();
    for (t, row) in logits.chunks_exact(routed.router.rows()).enumerate() {
        for (e, scale) in route(row, routed.used) {
            if let Some(group) = groups.get_mut(e) {
                group.tokens.push(t);
                group.scales.push(scale);
            }
        }
    }
    groups.retain(|group| !group.tokens.is_empty());
    groups
}

impl FeedForward {
    /// Shared expert plus routed experts, `(S, width)`; routed ones are added in ascending order.
    fn run(&self, x: &Acts) -> Result<Vec<f32>> {
        let shared = Part { w: &self.weights.shared, expert: None };
        let Some(routed) = &self.weights.routed else { return self.mlp(shared, x, None) };
        // Paged experts of several tokens come one by one: side by side all would be held at once, and a small budget would
        // read a page again for the down matrix.
        let paged = routed.experts.iter().any(|expert| expert.down.is_paged());
        if x.tokens() == 1 || (x.tokens() <= TOGETHER && !paged) {
            return self.side_by_side(shared, routed, x);
        }
        let logits = linear(&self.kernels, &routed.router, x)?; // (S, experts)
        let groups = by_expert(&logits, routed);
        scratch::give(logits);
        let mut y = self.mlp(shared, x, None)?;
        for group in &groups {
            let routed = match group.gather(x) {
                Some(own) => self.mlp(group.part, &own, Some(&group.scales))?,
                None => self.mlp(group.part, x, Some(&group.scales))?,
            };
            self.add_rows(&mut y, &group.tokens, &routed);
            scratch::give(routed);
        }
        Ok(y)
    }

    /// Adds `rows` to those of `y` that `tokens` names.
    fn add_rows(&self, y: &mut [f32], tokens: &[usize], rows: &[f32]) {
        let width = self.weights.shared.down.rows();
        for (t, row) in tokens.iter().zip(rows.chunks_exact(width)) {
            (self.kernels.add)(&mut y[t * width..(t + 1) * width], row);
        }
    }

    /// One expert over all tokens of `x`; its input is scaled by `scales`. Scaling both products of the scaled input,
    /// `silu(σ·W_gate x) ⊙ (σ·W_up x)`, is the same and leaves the quantized input to be shared.
    fn mlp(&self, part: Part<'_>, x: &Acts, scales: Option<&[f32]>) -> Result<Vec<f32>> {
        self.watch(&["gate", "up"], part.expert, x, scales);
        let mut both = linear_all(&self.kernels, &[(&part.w.gate, x), (&part.w.up, x)])?.into_iter();
        let (gate, up) = (both.next().unwrap_or_default(), both.next().unwrap_or_default()); // (S, ffn)
        let hidden = self.hidden(part, gate, up, scales);
        let y = linear(&self.kernels, &part.w.down, &hidden);
        scratch::give(hidden.into_values());
        y
    }

    /// The shared expert and the chosen ones over a few tokens, in three goes over the threads: the router with what does not
    /// wait for it, the chosen experts' first matrices, and the last matrices of all.
    fn side_by_side(&self, shared: Part<'_>, routed: &Routed, x: &Acts) -> Result<Vec<f32>> {
        let first = [(&routed.router, x), (&shared.w.gate, x), (&shared.w.up, x)];
        let mut products = linear_all(&self.kernels, &first)?.into_iter();
        let mut next = || products.next().unwrap_or_default();
        let (logits, gate, up) = (next(), next(), next());
        let groups = by_expert(&logits, routed);
        scratch::give(logits);
        self.watch(&["gate", "up"], None, x, None);
        let mut hidden = vec![self.hidden(shared, gate, up, None)];
        let gathered: Vec<Option<Acts>> = groups.iter().map(|group| group.gather(x)).collect();
        let own = || groups.iter().zip(&gathered).map(|(group, own)| (group, own.as_ref().unwrap_or(x)));
        let jobs: Vec<_> = own().flat_map(|(g, x)| [(&g.part.w.gate, x), (&g.part.w.up, x)]).collect();
        let mut products = linear_all(&self.kernels, &jobs)?.into_iter();
        for (group, x) in own() {
            self.watch(&["gate", "up"], group.part.expert, x, Some(&group.scales));
            let (gate, up) = (products.next().unwrap_or_default(), products.next().unwrap_or_default());
            hidden.push(self.hidden(group.part, gate, up, Some(&group.scales)));
        }
        let parts = std::iter::once(shared).chain(groups.iter().map(|group| group.part));
        let jobs: Vec<_> = parts.zip(&hidden).map(|(part, hidden)| (&part.w.down, hidden)).collect();
        let mut downs = linear_all(&self.kernels, &jobs)?.into_iter();
        let mut y = downs.next().unwrap_or_default();
        for (group, routed) in groups.iter().zip(downs) {
            self.add_rows(&mut y, &group.tokens, &routed);
            scratch::give(routed);
        }
        hidden.into_iter().for_each(|acts| scratch::give(acts.into_values()));
        Ok(y)
    }

    /// `silu(σ gate) ⊙ (σ up)`, ready for the down matrix.
    fn hidden(&self, part: Part<'_>, mut gate: Vec<f32>, up: Vec<f32>, scales: Option<&[f32]>) -> Acts {
        let ffn = part.w.gate.rows();
        gate.par_chunks_mut(ffn).zip(up.par_chunks(ffn)).enumerate().for_each(|(t, (gate, up))| {
            (self.kernels.silu_mul)(gate, up, scales.map_or(1.0, |s| s[t]));
        });
        scratch::give(up);
        let mut hidden = Acts::new(gate, ffn);
        self.watch(&["down"], part.expert, &hidden, None);
        hidden.quantize(&self.kernels, self.precision);
        hidden
    }

    fn watch(&self, parts: &[&str], expert: Option<usize>, x: &Acts, scales: Option<&[f32]>) {
        let Some(watch) = &self.watch else { return };
        let routed = self.weights.routed.as_ref();
        let expert = expert.zip(routed.map(|r| r.experts.len()));
        for part in parts {
            watch.part(part, routed.is_some(), expert, (x.values(), x.cols()), scales);
        }
    }
}

/// The `used` experts with the largest raw logits, each with the sigmoid of its logit; among equals the lowest index.
/// Raw logits decide because the sigmoid of large ones is the same number.
fn route(logits: &[f32], used: usize) -> Vec<(usize, f32)> {
    let mut chosen: Vec<(usize, f32)> = Vec::with_capacity(used + 1);
    for (e, &logit) in logits.iter().enumerate() {
        // Strictly greater: an equal one that came before stays before.
        let at = chosen.iter().position(|(_, other)| logit > *other).unwrap_or(chosen.len());
        if at < used {
            chosen.insert(at, (e, logit));
            chosen.truncate(used);
        }
    }
    chosen.iter().map(|(e, logit)| (*e, 1.0 / (1.0 + (-logit).exp()))).collect()
}

#[cfg(test)]
mod tests {
    use super::route;

    #[test]
    fn equal_logits_route_to_the_lowest_expert() {
        assert_eq!(route(&[1.0, 3.0, 3.0], 1)[0].0, 1);
        assert_eq!(route(&[100.0, 200.0], 1), [(1, 1.0)], "where sigmoids tie, logits do not");
    }

    #[test]
    fn the_largest_logits_are_chosen_whatever_their_order() {
        let experts = |used| route(&[0.5, -1.0, 2.0, 2.0, 1.0], used).iter().map(|c| c.0).collect::<Vec<_>>();
        assert_eq!(experts(1), [2]);
        assert_eq!(experts(3), [2, 3, 4]);
        assert_eq!(experts(5), [2, 3, 4, 0, 1]);
    }
}
