//! Integers of the graph that tract took for sizes: computed as plain integers again.
//!
//! The reader makes tract's symbolic sizes of integers that it meets beside sizes. A table of relative positions then costs
//! hundreds of times what its arithmetic costs, and even where the length is known is not computed ahead.

use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::cast::Cast;
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_core::ops::math::{Add, Max, Min, Mul, Neg, Sub};
use tract_onnx::tract_hir::internal::*;

/// Nodes between a number that becomes a size and the size that becomes a number.
const MOST_NODES: usize = 16;

/// Rewires every number that becomes a size, goes through arithmetic with plain numbers and becomes an integer.
pub(super) fn rewrite(mut model: TypedModel) -> TractResult<TypedModel> {
    for id in 0..model.nodes().len() {
        let node = model.node(id);
        let back = node.op_as::<Cast>().is_some_and(|c| c.to == i64::datum_type());
        let &[size] = &node.inputs[..] else { continue };
        if !back || model.outlet_fact(size)?.datum_type != TDim::datum_type() {
            continue;
        }
        let mut patch = TypedModelPatch::new("integers");
        let name = format!("{}.integers", node.name);
        let mut nodes = 0;
        if let Some(out) = wire(&model, &mut patch, &name, size, &mut nodes)? {
            if patch.outlet_fact(out)?.shape != model.outlet_fact(id.into())?.shape {
                continue;
            }
            patch.shunt_outside(&model, id.into(), out)?;
            patch.apply(&mut model)?;
        }
    }
    Ok(model)
}

/// The value of `size` as an integer; nothing where it is anything but numbers.
fn wire(
    model: &TypedModel,
    patch: &mut TypedModelPatch,
    name: &str,
    size: OutletId,
    nodes: &mut usize,
) -> TractResult<Option<OutletId>> {
    *nodes += 1;
    if *nodes > MOST_NODES {
        return Ok(None);
    }
    let name = format!("{name}.{nodes}");
    if let Some(constant) = &model.outlet_fact(size)?.konst {
        let plain = constant.try_as_plain_ram()?;
        let all: Option<Vec<i64>> = plain.as_slice::<TDim>()?.iter().map(|d| d.to_i64().ok()).collect();
        let Some(all) = all else { return Ok(None) };
        return Ok(Some(patch.add_const(name, Tensor::from_shape(constant.shape(), &all)?)?));
    }
    let node = model.node(size.node);
    if node.op_is::<Cast>() {
        let tap = patch.tap_model(model, *node.inputs.first().context("no input")?)?;
        return Ok(Some(patch.wire_node(name, Cast { to: i64::datum_type() }, &[tap])?[0]));
    }
    let arithmetic = node.op_as::<TypedBinOp>().is_some_and(|op| {
        let op1 = op.1.is_none();
        op1 && (op.0.is::<Add>() || op.0.is::<Sub>() || op.0.is::<Mul>() || op.0.is::<Max>() || op.0.is::<Min>())
    });
    let negated = node.op_as::<ElementWiseOp>().is_some_and(|op| op.0.is::<Neg>() && op.1.is_none());
    if !arithmetic && !negated && !node.op_is::<AxisOp>() {
        return Ok(None);
    }
    let mut inputs: TVec<OutletId> = tvec!();
    for input in &node.inputs {
        match wire(model, patch, &name, *input, nodes)? {
            Some(input) => inputs.push(input),
            None => return Ok(None),
        }
    }
    Ok(Some(patch.wire_node(name, node.op.clone(), &inputs)?[0]))
}
