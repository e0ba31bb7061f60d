//! The feed-forward layer: dense, or a shared expert beside routed ones.

use std::sync::Arc;

use rayon::prelude::*;
use tract_onnx::tract_hir::internal::*;

use super::{identity, rows_like, tensor, values};
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
        let mut acts = Acts::new(values(&x)?.to_vec(), width);
        acts.quantize(&self.kernels, self.precision);
        let mut y = self.run(&acts)?;
        (self.kernels.add)(&mut y, values(&residual)?);
        Ok(tvec!(tensor(y, width)?))
    }
}

impl TypedOp for FeedForward {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(rows_like(inputs[0], self.weights.shared.down.rows())))
    }
    as_op!();
}

/// One of a layer's experts; the shared one has no number.
#[derive(Clone, Copy)]
struct Part<'a> {
    w: &'a Mlp,
    expert: Option<usize>,
}

impl FeedForward {
    /// Shared expert plus routed experts, `(S, width)`; routed ones are added in ascending order.
    fn run(&self, x: &Acts) -> Result<Vec<f32>> {
        let shared = Part { w: &self.weights.shared, expert: None };
        let Some(routed) = &self.weights.routed else { return self.mlp(shared, x, None) };
        let logits = linear(&self.kernels, &routed.router, x)?; // (S, experts)
        let rows = logits.chunks_exact(routed.router.rows());
        let mut chosen: Vec<Vec<(usize, f32)>> = rows.map(|row| route(row, routed.used)).collect();
        let experts = routed.experts.iter().enumerate().map(|(e, w)| Part { w, expert: Some(e) });
        if let [one] = chosen.as_mut_slice() {
            one.sort_by_key(|(e, _)| *e);
            let scale = |part: &Part<'_>| one.iter().find(|(e, _)| Some(*e) == part.expert).map(|(_, s)| *s);
            let parts = experts.filter_map(|part| Some((scale(&part)?, part)));
            return self.one_token(std::iter::once((1.0, shared)).chain(parts).collect(), x);
        }
        let mut y = self.mlp(shared, x, None)?;
        let width = self.weights.shared.down.rows();
        for part in experts {
            let scale = |t: usize| chosen[t].iter().find(|(e, _)| Some(*e) == part.expert).map(|(_, scale)| *scale);
            let (tokens, scales): (Vec<usize>, Vec<f32>) =
                (0..chosen.len()).filter_map(|t| Some((t, scale(t)?))).unzip();
            if tokens.is_empty() {
                continue;
            }
            let routed = if tokens.len() == x.tokens() {
                self.mlp(part, x, Some(&scales))?
            } else {
                self.mlp(part, &x.gather(&tokens), Some(&scales))?
            };
            for (t, sum) in tokens.iter().zip(routed.chunks_exact(width)) {
                (self.kernels.add)(&mut y[t * width..(t + 1) * width], sum);
            }
            scratch::give(routed);
        }
        Ok(y)
    }

    /// One expert over all tokens of `x`; its input is scaled by `scales`. Scaling both products of the scaled input,
    /// `silu(σ·W_gate x) ⊙ (σ·W_up x)`, is the same and leaves the quantized input to be shared.
    fn mlp(&self, part: Part<'_>, x: &Acts, scales: Option<&[f32]>) -> Result<Vec<f32>> {
        self.watch(&["gate", "up"], part.expert, x, scales);
        let mut both = linear_all(&self.kernels, &[(&part.w.gate, x), (&part.w.up, x)])?.into_iter();
        let (mut hidden, up) = (both.next().unwrap_or_default(), both.next().unwrap_or_default()); // (S, ffn)
        let ffn = part.w.gate.rows();
        hidden.par_chunks_mut(ffn).zip(up.par_chunks(ffn)).enumerate().for_each(|(t, (gate, up))| {
            (self.kernels.silu_mul)(gate, up, scales.map_or(1.0, |s| s[t]));
        });
        scratch::give(up);
        let mut hidden = Acts::new(hidden, ffn);
        self.watch(&["down"], part.expert, &hidden, None);
        hidden.quantize(&self.kernels, self.precision);
        let y = linear(&self.kernels, &part.w.down, &hidden);
        scratch::give(hidden.into_values());
        y
    }

    /// The shared expert and the chosen ones over one token, side by side: two goes over the threads instead of two each.
    fn one_token(&self, parts: Vec<(f32, Part<'_>)>, x: &Acts) -> Result<Vec<f32>> {
        let jobs: Vec<_> = parts.iter().flat_map(|(_, part)| [(&part.w.gate, x), (&part.w.up, x)]).collect();
        let mut products = linear_all(&self.kernels, &jobs)?.into_iter();
        let mut hidden = Vec::with_capacity(parts.len());
        for (scale, part) in &parts {
            self.watch(&["gate", "up"], part.expert, x, Some(&[*scale]));
            let (mut gate, up) = (products.next().unwrap_or_default(), products.next().unwrap_or_default());
            (self.kernels.silu_mul)(&mut gate, &up, *scale);
            let mut acts = Acts::new(gate, part.w.gate.rows());
            self.watch(&["down"], part.expert, &acts, None);
            acts.quantize(&self.kernels, self.precision);
            hidden.push(acts);
        }
        let jobs: Vec<_> = parts.iter().zip(&hidden).map(|((_, part), hidden)| (&part.w.down, hidden)).collect();
        let mut downs = linear_all(&self.kernels, &jobs)?.into_iter();
        let mut y = downs.next().unwrap_or_default();
        downs.for_each(|routed| (self.kernels.add)(&mut y, &routed));
        Ok(y)
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
