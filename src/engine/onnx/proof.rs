//! Parts of a graph run by themselves, on small values, before something else is put in their place.

use std::collections::{HashMap, HashSet};

use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

/// What the nodes between `inputs` and `output` give for `values`.
pub(super) fn run(
    model: &TypedModel,
    inputs: &[OutletId],
    output: OutletId,
    values: TVec<TValue>,
) -> TractResult<TValue> {
    let mut out = part(model, inputs, output)?.into_runnable()?.run(values)?;
    out.pop().context("no output")
}

/// What an operation gives that `wire` puts after sources of these values.
pub(super) fn wired(
    inputs: TVec<TValue>,
    wire: impl FnOnce(&mut TypedModel, &[OutletId]) -> TractResult<OutletId>,
) -> TractResult<Tensor> {
    let mut ours = TypedModel::default();
    let sources = inputs.iter().enumerate().map(|(i, t)| {
        let fact = t.datum_type().fact(t.shape());
        ours.add_source(format!("input-{i}"), fact)
    });
    let sources = sources.collect::<TractResult<Vec<_>>>()?;
    let out = wire(&mut ours, &sources)?;
    ours.select_output_outlets(&[out])?;
    Ok(ours.into_runnable()?.run(inputs)?.pop().context("no output")?.into_tensor())
}

/// The largest difference between two tensors over the largest value of the first.
pub(super) fn difference(theirs: &Tensor, ours: &Tensor) -> TractResult<f32> {
    ensure!(theirs.shape() == ours.shape() && theirs.len() > 0, "{:?} for {:?}", ours.shape(), theirs.shape());
    let (theirs, ours) = (theirs.try_as_plain_ram()?, ours.try_as_plain_ram()?);
    let (theirs, ours) = (theirs.as_slice::<f32>()?, ours.as_slice::<f32>()?);
    ensure!(theirs.iter().chain(ours).all(|x| x.is_finite()), "no finite values");
    let largest = theirs.iter().fold(1e-3f32, |m, x| m.max(x.abs()));
    let far = theirs.iter().zip(ours).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
    Ok(far / largest)
}

/// Values that look random and are the same each time.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new() -> Self {
        Self(1)
    }

    /// Of 24 bits.
    pub(super) fn next(&mut self) -> i64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as i64
    }

    /// Values between -1 and 1.
    pub(super) fn tensor(&mut self, shape: &[usize]) -> TractResult<TValue> {
        let n = shape.iter().product();
        let values: Vec<f32> = (0..n).map(|_| self.next() as f32 / (1 << 23) as f32 - 1.0).collect();
        Ok(Tensor::from_shape(shape, &values)?.into_tvalue())
    }
}

/// The nodes between `inputs` and `output` as a model.
fn part(model: &TypedModel, inputs: &[OutletId], output: OutletId) -> TractResult<TypedModel> {
    let mut part = TypedModel { symbols: model.symbols.clone(), ..TypedModel::default() };
    let mut wires = HashMap::new();
    for (i, input) in inputs.iter().enumerate() {
        wires.insert(*input, part.add_source(format!("input-{i}"), model.outlet_fact(*input)?.without_value())?);
    }
    let (mut open, mut needed) = (vec![output], HashSet::new());
    while let Some(outlet) = open.pop() {
        if !wires.contains_key(&outlet) && needed.insert(outlet.node) {
            open.extend(&model.node(outlet.node).inputs);
        }
    }
    for id in model.eval_order()?.into_iter().filter(|id| needed.contains(id)) {
        let node = model.node(id);
        let from = node.inputs.iter().map(|o| wires.get(o).copied());
        let from = from.collect::<Option<TVec<_>>>().context("a value from outside")?;
        for (slot, wire) in part.wire_node(&node.name, node.op.clone(), &from)?.into_iter().enumerate() {
            wires.insert(OutletId::new(id, slot), wire);
        }
    }
    part.select_output_outlets(&[*wires.get(&output).context("no output")?])?;
    Ok(part)
}
