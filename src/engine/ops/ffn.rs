//! The feed-forward layer: dense, or a shared expert beside routed ones.

use std::sync::Arc;

use rayon::prelude::*;
use tract_onnx::tract_hir::internal::*;

use super::{acts, added, identity, rows_like, tensors};
use crate::engine::importance::Watch;
use crate::engine::linear::{Product, linear_all};
use crate::engine::scratch;
use crate::error::Result;
use crate::kernels::{ActRows, Acts, Kernels, Precision};
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
        tensors::give(x);
        let y = self.run(acts.rows())?;
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

/// Values of one product of several experts: more would leave the caches before the next matrix reads them.
const TOGETHER: usize = 1 << 19;

/// The tokens that one expert gets, and the scale of each. The shared expert, which has no number, gets all of them.
struct Group<'a> {
    w: &'a Mlp,
    expert: Option<usize>,
    tokens: Vec<usize>,
    scales: Vec<f32>,
}

/// The experts that the router's `logits`, `(S, experts)`, choose for any token, in ascending order.
fn by_expert<'a>(logits: &[f32], routed: &'a Routed) -> Vec<Group<'a>> {
    let group = |(e, w)| Group { w, expert: Some(e), tokens: Vec::new(), scales: Vec::new() };
    let mut groups: Vec<_> = routed.experts.iter().enumerate().map(group).collect();
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

/// Cuts the groups into stretches that go over the threads together: `alone`, or as many as the caches hold.
fn stretches<'a, 'b>(mut groups: &'b [Group<'a>], alone: bool) -> Vec<&'b [Group<'a>]> {
    let mut stretches = Vec::new();
    while !groups.is_empty() {
        let mut values = 0;
        let more = groups.iter().take_while(|group| {
            values += group.tokens.len() * group.w.gate.rows();
            values <= TOGETHER
        });
        let count = if alone { 1 } else { more.count().max(1) };
        let (own, others) = groups.split_at(count);
        stretches.push(own);
        groups = others;
    }
    stretches
}

/// The first `n` of `rest`, which loses them.
fn cut<'a>(rest: &mut &'a mut [f32], n: usize) -> &'a mut [f32] {
    let (own, others) = std::mem::take(rest).split_at_mut(n);
    *rest = others;
    own
}

/// What the groups' last matrices meet, `(rows, ffn)`: the rows of one group after those of the other.
struct Hidden<'a> {
    groups: &'a [Group<'a>],
    acts: Acts,
}

impl Hidden<'_> {
    /// Each group with its rows.
    fn by_group(&self) -> impl Iterator<Item = (&Group<'_>, ActRows<'_>)> {
        let ends = self.groups.iter().scan(0, |end, group| {
            *end += group.tokens.len();
            Some(*end)
        });
        self.groups.iter().zip(ends).map(|(g, end)| (g, self.acts.rows().part(end - g.tokens.len()..end)))
    }
}

impl FeedForward {
    /// The dense layer, or the shared expert and the routed ones in ascending order, `(S, width)`.
    fn run(&self, x: ActRows<'_>) -> Result<Vec<f32>> {
        let (tokens, shared) = (x.tokens(), &self.weights.shared);
        let mut y = scratch::take(tokens * shared.down.rows());
        let all = [Group { w: shared, expert: None, tokens: (0..tokens).collect(), scales: vec![1.0; tokens] }];
        let Some(routed) = &self.weights.routed else {
            let hidden = self.hidden(&all, x, None)?;
            self.down(Some(hidden), None, &mut y)?;
            return Ok(y);
        };
        // The router goes over the threads with the shared expert's first matrices, which do not wait for it.
        let mut logits = scratch::take(tokens * routed.router.rows());
        let mut shared = Some(self.hidden(&all, x, Some(Product { w: &routed.router, x, y: &mut logits }))?);
        let groups = by_expert(&logits, routed);
        scratch::give(logits);
        // Paged experts of several tokens come one by one: together all would be held at once, and a small budget would read a
        // page again for the down matrix.
        let alone = tokens > 1 && routed.experts.iter().any(|expert| expert.down.is_paged());
        for groups in stretches(&groups, alone) {
            let hidden = self.hidden(groups, x, None)?;
            self.down(shared.take(), Some(hidden), &mut y)?;
        }
        Ok(y)
    }

    /// The groups up to their last matrices. `router` goes over the threads with their first ones.
    fn hidden<'a>(&self, groups: &'a [Group<'a>], x: ActRows<'_>, router: Option<Product<'_>>) -> Result<Hidden<'a>> {
        let tokens: Vec<usize> = groups.iter().flat_map(|group| &group.tokens).copied().collect();
        let gathered = (!tokens.iter().copied().eq(0..x.tokens())).then(|| {
            let float = |group: &Group<'_>| group.w.gate.ty().block_len() == 1 || group.w.up.ty().block_len() == 1;
            x.gather(&tokens, self.watch.is_some() || groups.iter().any(float))
        });
        let x = gathered.as_ref().map_or(x, Acts::rows);
        let ffn = groups.first().map_or(0, |group| group.w.gate.rows());
        let (mut gate, mut up) = (scratch::take(tokens.len() * ffn), scratch::take(tokens.len() * ffn));
        let (mut gates, mut ups) = (gate.as_mut_slice(), up.as_mut_slice());
        let mut products: Vec<_> = router.into_iter().collect();
        let mut first = 0;
        for group in groups {
            let n = group.tokens.len();
            let x = x.part(first..first + n);
            first += n;
            self.watch(&["gate", "up"], group, x, Some(&group.scales));
            products.push(Product { w: &group.w.gate, x, y: cut(&mut gates, n * ffn) });
            products.push(Product { w: &group.w.up, x, y: cut(&mut ups, n * ffn) });
        }
        linear_all(&self.kernels, &mut products)?;
        // Scaling both products of the scaled input, `silu(σ·W_gate x) ⊙ (σ·W_up x)`, is the same as scaling the input and
        // leaves it to be shared.
        let scales: Vec<f32> = groups.iter().flat_map(|group| &group.scales).copied().collect();
        gate.par_chunks_mut(ffn).zip(up.par_chunks(ffn)).zip(scales).for_each(|((gate, up), scale)| {
            (self.kernels.silu_mul)(gate, up, scale);
        });
        scratch::give(up);
        let mut hidden = Hidden { groups, acts: Acts::new(gate, ffn) };
        hidden.by_group().for_each(|(group, x)| self.watch(&["down"], group, x, None));
        hidden.acts.quantize(&self.kernels, self.precision);
        Ok(hidden)
    }

    /// The last matrices: the shared expert's products go to `y`, `(S, width)`, and those of routed ones are added.
    fn down(&self, shared: Option<Hidden<'_>>, routed: Option<Hidden<'_>>, y: &mut [f32]) -> Result<()> {
        let width = self.weights.shared.down.rows();
        let mut rows = scratch::take(routed.iter().map(|hidden| hidden.acts.rows().tokens() * width).sum());
        let mut products = Vec::new();
        for (hidden, mut rest) in [(&shared, &mut *y), (&routed, rows.as_mut_slice())] {
            for (group, x) in hidden.iter().flat_map(Hidden::by_group) {
                products.push(Product { w: &group.w.down, x, y: cut(&mut rest, x.tokens() * width) });
            }
        }
        linear_all(&self.kernels, &mut products)?;
        // In the order of tokens, those of one token in the order of experts.
        let tokens = routed.iter().flat_map(|hidden| hidden.groups).flat_map(|group| &group.tokens);
        let mut added: Vec<(usize, &[f32])> = tokens.copied().zip(rows.chunks_exact(width)).collect();
        added.sort_by_key(|(token, _)| *token);
        y.par_chunks_mut(width).enumerate().for_each(|(token, y)| {
            let own =
                added.partition_point(|(other, _)| *other < token)..added.partition_point(|(other, _)| *other <= token);
            added[own].iter().for_each(|(_, row)| (self.kernels.add)(y, row));
        });
        scratch::give(rows);
        shared.into_iter().chain(routed).for_each(|hidden| scratch::give(hidden.acts.into_values()));
        Ok(())
    }

    fn watch(&self, parts: &[&str], group: &Group<'_>, x: ActRows<'_>, scales: Option<&[f32]>) {
        let Some(watch) = &self.watch else { return };
        let routed = self.weights.routed.as_ref();
        let expert = group.expert.zip(routed.map(|r| r.experts.len()));
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
    use super::{Group, Mlp, TOGETHER, route, stretches};
    use crate::weights::Matrix;

    #[test]
    fn groups_go_together_as_far_as_the_caches_hold_them() {
        let w = Matrix::from_values(&[0.0; 8], 1).unwrap();
        let w = Mlp { gate: w.clone(), up: w.clone(), down: w };
        let group = |tokens| Group { w: &w, expert: Some(0), tokens: vec![0; tokens], scales: vec![1.0; tokens] };
        let groups = [TOGETHER / 8, 1, 1, TOGETHER / 8 + 5, 2].map(group);
        let counts = |alone| stretches(&groups, alone).iter().map(|groups| groups.len()).collect::<Vec<_>>();
        assert_eq!(counts(false), [1, 2, 1, 1]);
        assert_eq!(counts(true), [1; 5]);
        assert!(stretches(&[], false).is_empty());
    }

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
