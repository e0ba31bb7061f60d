//! Softmax along an axis that is not the last one, as pooling over tokens has it: column by column with our kernel.

use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::nn::{Softmax, SoftmaxKind};
use tract_onnx::tract_hir::internal::*;

use crate::kernels::Kernels;

/// Softmax along one axis.
#[derive(Debug, Clone)]
struct Columns {
    kernels: Kernels,
    axis: usize,
}

impl PartialEq for Columns {
    fn eq(&self, other: &Self) -> bool {
        (self.kernels.name, self.axis) == (other.kernels.name, other.axis)
    }
}

impl Eq for Columns {}

impl std::hash::Hash for Columns {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (self.kernels.name, self.axis).hash(state);
    }
}

impl Op for Columns {
    fn name(&self) -> StaticName {
        "SoftmaxColumns".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Columns {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let mut x = args_1!(inputs).into_tensor();
        let n = *x.shape().get(self.axis).context("axis")?;
        let inner: usize = x.shape().iter().skip(self.axis + 1).product();
        if x.len() == 0 {
            return Ok(tvec!(x.into_tvalue()));
        }
        let mut column = vec![0.0f32; n];
        let mut plain = x.try_as_plain_ram_mut()?;
        for block in plain.as_slice_mut::<f32>()?.chunks_exact_mut(n * inner) {
            for at in 0..inner {
                column.iter_mut().zip(block.iter().skip(at).step_by(inner)).for_each(|(to, x)| *to = *x);
                self.kernels.softmax(&mut column);
                block.iter_mut().skip(at).step_by(inner).zip(&column).for_each(|(x, from)| *x = *from);
            }
        }
        Ok(tvec!(x.into_tvalue()))
    }
}

impl TypedOp for Columns {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(f32::fact(inputs.first().context("no input")?.shape.clone())))
    }

    as_op!();
}

/// Replaces every softmax of single precision along one axis before the last.
pub(super) fn rewrite(model: &mut TypedModel, kernels: Kernels) -> TractResult<()> {
    for id in 0..model.nodes().len() {
        let node = model.node(id);
        let Some(softmax) = node.op_as::<Softmax>() else { continue };
        let (Some(output), &[axis]) = (node.outputs.first(), &softmax.axes[..]) else { continue };
        let single = output.fact.datum_type == f32::datum_type() && softmax.quant_output_dt.is_none();
        if !single || softmax.kind != SoftmaxKind::Softmax || axis + 1 == output.fact.rank() {
            continue;
        }
        let op = Columns { kernels, axis };
        let patch = TypedModelPatch::replace_single_op(model, node, &node.inputs, op)?;
        patch.apply(model)?;
    }
    Ok(())
}
