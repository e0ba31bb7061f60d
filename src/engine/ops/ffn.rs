//! The feed-forward layer: dense, or a shared expert beside routed ones.

use std::sync::Arc;

use rayon::prelude::*;
use tract_onnx::tract_hir::internal::*;

use super::{identity, rows_like, tensor, values};
use crate::engine::linear::linear;
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
    /// Router `(experts, width)` and the routed experts.
    pub(in super::super) routed: Option<(Matrix, Vec<Mlp>)>,
}

/// Normed input `(S, width)` and residual `(S, width)` → residual plus the layer's output.
#[derive(Clone, Debug)]
pub(in super::super) struct FeedForward {
    pub(in super::super) kernels: Kernels,
    pub(in super::super) precision: Precision,
    pub(in super::super) weights: Arc<FeedForwardWeights>,
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
        let mut out = values(&residual)?.to_vec();
        let y = self.run(&acts)?;
        (self.kernels.add)(&mut out, &y);
        Ok(tvec!(tensor(out, width)?))
    }
}

impl TypedOp for FeedForward {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(rows_like(inputs[0], self.weights.shared.down.rows())))
    }
    as_op!();
}

impl FeedForward {
    /// Shared expert plus routed expert, `(S, width)`.
    fn run(&self, x: &Acts) -> Result<Vec<f32>> {
        let mut y = self.mlp(&self.weights.shared, x, None)?;
        let Some((router, experts)) = &self.weights.routed else { return Ok(y) };
        let logits = linear(&self.kernels, router, x)?; // (S, experts)
        let chosen: Vec<(usize, f32)> = logits.chunks_exact(router.rows()).map(route).collect();
        let width = self.weights.shared.down.rows();
        for (e, expert) in experts.iter().enumerate() {
            let tokens: Vec<usize> = (0..chosen.len()).filter(|t| chosen[*t].0 == e).collect();
            if tokens.is_empty() {
                continue;
            }
            let scales: Vec<f32> = tokens.iter().map(|t| chosen[*t].1).collect();
            let routed = if tokens.len() == x.tokens() {
                self.mlp(expert, x, Some(&scales))?
            } else {
                self.mlp(expert, &x.gather(&tokens), Some(&scales))?
            };
            for (t, routed) in tokens.iter().zip(routed.chunks_exact(width)) {
                (self.kernels.add)(&mut y[t * width..(t + 1) * width], routed);
            }
        }
        Ok(y)
    }

    /// One expert over all tokens of `x`; its input is scaled by `scales`. Scaling both products of the scaled input,
    /// `silu(σ·W_gate x) ⊙ (σ·W_up x)`, is the same and leaves the quantized input to be shared.
    fn mlp(&self, w: &Mlp, x: &Acts, scales: Option<&[f32]>) -> Result<Vec<f32>> {
        let mut hidden = linear(&self.kernels, &w.gate, x)?; // (S, ffn)
        let up = linear(&self.kernels, &w.up, x)?; // (S, ffn)
        let ffn = w.gate.rows();
        hidden.par_chunks_mut(ffn).zip(up.par_chunks(ffn)).enumerate().for_each(|(t, (gate, up))| {
            (self.kernels.silu_mul)(gate, up, scales.map_or(1.0, |s| s[t]));
        });
        let mut hidden = Acts::new(hidden, ffn);
        hidden.quantize(&self.kernels, self.precision);
        linear(&self.kernels, &w.down, &hidden)
    }
}

/// The expert with the largest raw logit (the lowest index among equals) and the sigmoid of that logit.
fn route(logits: &[f32]) -> (usize, f32) {
    let mut best = 0;
    for (e, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = e;
        }
    }
    (best, 1.0 / (1.0 + (-logits[best]).exp()))
}

#[cfg(test)]
mod tests {
    use super::route;

    #[test]
    fn equal_logits_route_to_the_lowest_expert() {
        assert_eq!(route(&[1.0, 3.0, 3.0]).0, 1);
        assert_eq!(route(&[100.0, 200.0]), (1, 1.0));
    }
}
