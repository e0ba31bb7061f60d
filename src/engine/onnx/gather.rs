//! `GatherElements` along the last axis, the step that disentangled attention spends its time in.
//!
//! Exporters spread the table of relative positions over every head before they gather with it. Here one row of indices
//! serves all of them, so the table is never spread. The values are the ones tract's own operator gives.

use tract_onnx::pb::NodeProto;
use tract_onnx::tract_core::ops::EvalOp;
use tract_onnx::tract_core::ops::array::{GatherElements, MultiBroadcastTo};
use tract_onnx::tract_core::ops::cast::cast;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::ops::expandable::expand;

/// The operator for a node.
pub(super) fn build(node: &NodeProto) -> TractResult<Box<dyn InferenceOp>> {
    Ok(expand(Gather { axis: node.get_attr_opt("axis")?.unwrap_or(0) }))
}

/// As the file has it: any axis, any type.
#[derive(Debug, Clone)]
struct Gather {
    axis: i64,
}

impl Expansion for Gather {
    fn name(&self) -> StaticName {
        "GatherElements".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_input_arity(inputs, 2)?;
        check_output_arity(outputs, 1)?;
        s.equals(&outputs[0].datum_type, &inputs[0].datum_type)?;
        s.equals(&inputs[0].rank, &inputs[1].rank)?;
        s.equals(&outputs[0].shape, &inputs[1].shape)
    }

    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        let [data, indices] = *inputs else { bail!("GatherElements has {} inputs", inputs.len()) };
        let (data_fact, index_fact) = (model.outlet_fact(data)?.clone(), model.outlet_fact(indices)?.clone());
        let rank = data_fact.rank();
        let axis = usize::try_from(if self.axis < 0 { self.axis + rank.to_i64()? } else { self.axis });
        let axis = axis.ok().filter(|a| *a < rank).with_context(|| format!("axis {} of rank {rank}", self.axis))?;
        let rows = |f: &TypedFact| f.shape.dims().get(..rank - 1).map(<[TDim]>::to_vec);
        if axis + 1 != rank || rows(&data_fact) != rows(&index_fact) || data_fact.datum_type != f32::datum_type() {
            return model.wire_node(prefix, GatherElements { axis }, inputs);
        }
        let mut indices = before_broadcast(model, indices, rank)?;
        if model.outlet_fact(indices)?.datum_type != i64::datum_type() {
            indices = model.wire_node(format!("{prefix}.index"), cast(i64::datum_type()), &[indices])?[0];
        }
        model.wire_node(prefix, GatherRows, &[data, indices])
    }
}

/// The indices before they were spread over axes other than the last.
fn before_broadcast(model: &TypedModel, indices: OutletId, rank: usize) -> TractResult<OutletId> {
    let node = model.node(indices.node);
    let (Some(_), [input]) = (node.op_as::<MultiBroadcastTo>(), &node.inputs[..]) else { return Ok(indices) };
    let (narrow, wide) = (model.outlet_fact(*input)?, model.outlet_fact(indices)?);
    let same_row = narrow.rank() == rank && narrow.shape.dims().last() == wide.shape.dims().last();
    Ok(if same_row { *input } else { indices })
}

/// `data` (…, k), `indices` (…, t) with leading dimensions equal to those of `data` or 1 → (…, t).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct GatherRows;

impl Op for GatherRows {
    fn name(&self) -> StaticName {
        "GatherRows".into()
    }

    op_as_typed_op!();
}

impl EvalOp for GatherRows {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let (data, indices) = args_2!(inputs);
        let (Some((k, lead)), Some((t, index_lead))) = (data.shape().split_last(), indices.shape().split_last()) else {
            bail!("GatherElements of a scalar");
        };
        let fits = lead.len() == index_lead.len() && lead.iter().zip(index_lead).all(|(d, i)| *i == 1 || i == d);
        ensure!(fits, "GatherElements of {:?} by {:?}", data.shape(), indices.shape());
        let shape: TVec<usize> = lead.iter().chain([t]).copied().collect();
        let mut out = Tensor::zero::<f32>(&shape)?;
        if out.len() == 0 {
            return Ok(tvec!(out.into_tvalue()));
        }
        ensure!(*k > 0, "GatherElements from an empty axis");
        let (data_plain, index_plain) = (data.try_as_plain_ram()?, indices.try_as_plain_ram()?);
        let (values, table) = (data_plain.as_slice::<f32>()?, index_plain.as_slice::<i64>()?);
        let mut out_plain = out.try_as_plain_ram_mut()?;
        let rows = out_plain.as_slice_mut::<f32>()?.chunks_exact_mut(*t);
        for ((row, out), values) in rows.enumerate().zip(values.chunks_exact(*k)) {
            let at = index_row(row, lead, index_lead).saturating_mul(*t);
            gather_row(values, table.get(at..at.saturating_add(*t)).unwrap_or_default(), out)?;
        }
        Ok(tvec!(out.into_tvalue()))
    }
}

/// Which row of the indices serves row `row` of the data.
fn index_row(row: usize, lead: &[usize], index_lead: &[usize]) -> usize {
    let (mut rest, mut at, mut step) = (row, 0, 1);
    for (d, i) in lead.iter().zip(index_lead).rev() {
        if *i != 1 {
            at += (rest % d) * step;
        }
        rest /= d;
        step *= i;
    }
    at
}

fn gather_row(values: &[f32], indices: &[i64], out: &mut [f32]) -> TractResult<()> {
    ensure!(indices.len() == out.len(), "GatherElements: {} indices for {} values", indices.len(), out.len());
    let k = values.len() as i64;
    for (to, index) in out.iter_mut().zip(indices) {
        let at = if *index < 0 { index.saturating_add(k) } else { *index };
        let value = usize::try_from(at).ok().and_then(|at| values.get(at));
        *to = *value.with_context(|| format!("GatherElements: index {index} of {k}"))?;
    }
    Ok(())
}

impl TypedOp for GatherRows {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let [data, indices] = *inputs else { bail!("GatherRows has {} inputs", inputs.len()) };
        let mut shape: TVec<TDim> = data.shape.dims().into();
        let (Some(last), Some(t)) = (shape.last_mut(), indices.shape.dims().last()) else {
            bail!("GatherElements of a scalar");
        };
        *last = t.clone();
        Ok(tvec!(f32::fact(&*shape)))
    }

    as_op!();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both(data: &[usize], narrow: &[usize], wide: &[usize]) {
        let n = |shape: &[usize]| shape.iter().product::<usize>();
        let k = *data.last().unwrap() as i64;
        let values: Vec<f32> = (0..n(data)).map(|i| (i * 31 % 997) as f32 - 400.0).collect();
        let index: Vec<i64> = (0..n(narrow)).map(|i| (i as i64 * 7) % (2 * k) - k).collect();
        let data = Tensor::from_shape(data, &values).unwrap().into_tvalue();
        let index = Tensor::from_shape(narrow, &index).unwrap();
        let spread = index.broadcast_to_shape(wide).unwrap().into_tvalue();
        let context = EvalContext::out_of_plan();
        let ours = GatherRows.eval(&context, tvec!(data.clone(), index.into_tvalue())).unwrap();
        let axis = data.rank() - 1;
        let theirs = GatherElements { axis }.eval(&context, tvec!(data, spread)).unwrap();
        assert_eq!(ours, theirs);
    }

    #[test]
    fn the_values_are_those_of_the_operator_it_stands_for() {
        both(&[6, 5, 9], &[1, 5, 7], &[6, 5, 7]);
        both(&[2, 3, 4, 8], &[1, 3, 1, 3], &[2, 3, 4, 3]);
        both(&[3, 4], &[3, 4], &[3, 4]);
        both(&[1, 1, 1], &[1, 1, 2], &[1, 1, 2]);
    }

    #[test]
    fn an_index_outside_is_an_error() {
        for index in [4i64, -5, i64::MIN, i64::MAX] {
            let data = Tensor::zero::<f32>(&[2, 4]).unwrap().into_tvalue();
            let index = Tensor::from_shape(&[1, 1], &[index]).unwrap().into_tvalue();
            assert!(GatherRows.eval(&EvalContext::out_of_plan(), tvec!(data, index)).is_err());
        }
    }
}
