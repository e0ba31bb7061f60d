//! Layer norm over the last dimension as one operation, rows over the threads of the pool.

use std::sync::Arc;

use rayon::prelude::*;
use tract_onnx::tract_core::ops::math::{Add, Mul, Sub};
use tract_onnx::tract_core::ops::nn::{Reduce, Reducer, RmsNorm};
use tract_onnx::tract_hir::internal::*;

use super::recognize::binary;
use crate::engine::ops::identity;
use crate::kernels::Kernels;

/// Values that are worth a task of their own.
const TASK: usize = 1 << 14;

/// `scale ⊙ (x − mean x) / √(variance x + eps) + shift` for each row.
#[derive(Debug)]
pub(super) struct Norm {
    kernels: Kernels,
    eps: f32,
    /// `(columns)`
    scale: Vec<f32>,
    /// `(columns)`; empty for none.
    shift: Vec<f32>,
}

impl Norm {
    pub(super) fn columns(&self) -> usize {
        self.scale.len()
    }

    /// One row of [`Norm::columns`] values; `x` is left without its mean.
    pub(super) fn row(&self, x: &mut [f32], out: &mut [f32]) {
        let mean = sum(x) / x.len() as f32;
        x.iter_mut().for_each(|x| *x -= mean);
        (self.kernels.rms_norm)(x, Some(&self.scale), self.eps, out);
        if !self.shift.is_empty() {
            (self.kernels.add)(out, &self.shift);
        }
    }
}

/// The sum over sixteen columns at a time, always in the same order.
fn sum(x: &[f32]) -> f32 {
    let (chunks, rest) = x.as_chunks::<16>();
    let mut lanes = [0.0f32; 16];
    for chunk in chunks {
        lanes.iter_mut().zip(chunk).for_each(|(l, x)| *l += x);
    }
    lanes.iter().chain(rest).sum()
}

/// A norm of a graph: the nodes between the outlet that is normed and the outlet with the result.
pub(super) struct Found {
    pub(super) norm: Norm,
    pub(super) out: OutletId,
    /// Whether anything else reads what is normed.
    pub(super) shared: bool,
}

/// The norm of `x`, as tract writes it: the sum of a row times 1/n, the difference from it, and an RMS norm of that.
pub(super) fn find(model: &TypedModel, x: OutletId, kernels: Kernels) -> Option<Found> {
    let fact = model.outlet_fact(x).ok()?;
    let last = fact.rank().checked_sub(1)?;
    let columns = fact.shape.dims().last()?.to_usize().ok()?;
    let readers = &model.node(x.node).outputs.get(x.slot)?.successors;
    let summed = readers
        .iter()
        .map(|i| model.node(i.node))
        .find(|n| n.op_as::<Reduce>().is_some_and(|r| r.axes[..] == [last] && r.reducer == Reducer::Sum))?;
    let mean = only_reader(model, OutletId::new(summed.id, 0))?;
    let by = other_input(binary::<Mul>(mean)?, OutletId::new(summed.id, 0))?;
    let by = model.outlet_fact(by).ok()?.uniform.as_ref()?.cast_to_scalar::<f32>().ok()?;
    let centred = only_reader(model, OutletId::new(mean.id, 0))?;
    let apart = binary::<Sub>(centred)? == [x, OutletId::new(mean.id, 0)];
    let normed = only_reader(model, OutletId::new(centred.id, 0))?;
    let rms = normed.op_as::<RmsNorm>().filter(|n| n.axis == last)?;
    let eps = rms.eps.cast_to_scalar::<f32>().ok()?;
    let single = fact.datum_type == f32::datum_type() && normed.outputs.first()?.fact.shape == fact.shape;
    if !single || !apart || (by * columns as f32 - 1.0).abs() > 1e-6 || columns == 0 {
        return None;
    }
    let (mut out, mut scale, mut shift) = (OutletId::new(normed.id, 0), vec![1.0; columns], Vec::new());
    if let Some((values, next)) = by_column::<Mul>(model, out, columns) {
        (scale, out) = (values, next);
    }
    if let Some((values, next)) = by_column::<Add>(model, out, columns) {
        (shift, out) = (values, next);
    }
    let outputs = model.output_outlets().ok()?;
    let shared = readers.iter().any(|i| i.node != summed.id && i.node != centred.id) || outputs.contains(&x);
    Some(Found { norm: Norm { kernels, eps, scale, shift }, out, shared })
}

/// The one node that reads a value.
fn only_reader(model: &TypedModel, o: OutletId) -> Option<&TypedNode> {
    let &[next] = &model.node(o.node).outputs.get(o.slot)?.successors[..] else { return None };
    (!model.output_outlets().ok()?.contains(&o)).then(|| model.node(next.node))
}

fn other_input(both: [OutletId; 2], one: OutletId) -> Option<OutletId> {
    match both {
        [a, b] if a == one && b != one => Some(b),
        [a, b] if b == one && a != one => Some(a),
        _ => None,
    }
}

/// A constant for each column that the only reader of `x` combines with it, and that reader's output.
pub(super) fn by_column<T: tract_onnx::tract_core::ops::binary::BinMiniOp>(
    model: &TypedModel,
    x: OutletId,
    columns: usize,
) -> Option<(Vec<f32>, OutletId)> {
    let node = only_reader(model, x)?;
    let constant = model.outlet_fact(other_input(binary::<T>(node)?, x)?).ok()?.konst.clone()?;
    let fact = model.outlet_fact(x).ok()?;
    let wide = constant.len() == columns && constant.shape().last() == Some(&columns) && constant.rank() <= fact.rank();
    let alike = node.outputs.first()?.fact.shape == fact.shape;
    let values = constant.try_as_plain_ram().ok()?.as_slice::<f32>().ok()?.to_vec();
    (wide && alike).then_some((values, OutletId::new(node.id, 0)))
}

/// The sum of `x` and another value of its shape, when only that sum reads `x`: the other value and the sum.
pub(super) fn residual(model: &TypedModel, x: OutletId) -> Option<(OutletId, OutletId)> {
    let node = only_reader(model, x)?;
    let other = other_input(binary::<Add>(node)?, x)?;
    let (fact, other_fact) = (model.outlet_fact(x).ok()?, model.outlet_fact(other).ok()?);
    let alike = other_fact.shape == fact.shape && other_fact.datum_type == fact.datum_type;
    (alike && other_fact.konst.is_none()).then(|| (other, OutletId::new(node.id, 0)))
}

/// `(…, columns)` → the same, normed.
#[derive(Debug, Clone)]
pub(super) struct LayerNorm {
    norm: Arc<Norm>,
}

identity!(LayerNorm, norm);

impl LayerNorm {
    /// Puts the operation in the place of the nodes that were found.
    pub(super) fn replace(model: &mut TypedModel, x: OutletId, found: Found) -> TractResult<()> {
        let mut patch = TypedModelPatch::new("layer norm");
        let tap = patch.tap_model(model, x)?;
        let name = format!("{}.norm", model.node(found.out.node).name);
        let out = patch.wire_node(name, Self { norm: Arc::new(found.norm) }, &[tap])?;
        patch.shunt_outside(model, found.out, out[0])?;
        patch.apply(model)
    }
}

impl Op for LayerNorm {
    fn name(&self) -> StaticName {
        "LayerNorm".into()
    }

    op_as_typed_op!();
}

impl EvalOp for LayerNorm {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let mut x = args_1!(inputs).into_tensor();
        let columns = self.norm.columns();
        ensure!(x.shape().last() == Some(&columns), "{columns} columns of {:?}", x.shape());
        let mut out = Tensor::zero::<f32>(x.shape())?;
        let group = (TASK / columns).max(1) * columns;
        let (mut x, mut plain) = (x.try_as_plain_ram_mut()?, out.try_as_plain_ram_mut()?);
        let rows = x.as_slice_mut::<f32>()?.par_chunks_mut(group);
        rows.zip(plain.as_slice_mut::<f32>()?.par_chunks_mut(group)).for_each(|(x, out)| {
            let rows = x.chunks_exact_mut(columns).zip(out.chunks_exact_mut(columns));
            rows.for_each(|(x, out)| self.norm.row(x, out));
        });
        Ok(tvec!(out.into_tvalue()))
    }
}

impl TypedOp for LayerNorm {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let x = inputs.first().context("no input")?;
        Ok(tvec!(f32::fact(x.shape.clone())))
    }

    as_op!();
}
