//! A product with constant weights, and what is added to each row, over our kernels and the threads of the pool.

use std::collections::HashSet;
use std::sync::Arc;

use rayon::prelude::*;
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_core::ops::math::Add;
use tract_onnx::tract_hir::internal::*;

use super::recognize::{binary, product};
use crate::engine::linear::linear;
use crate::engine::ops::identity;
use crate::kernels::{Acts, Kernels};
use crate::weights::Matrix;

/// Values of an output that are worth a task of their own.
const TASK: usize = 1 << 14;

/// The weights of one product.
#[derive(Debug)]
pub(super) struct Weights {
    pub(super) kernels: Kernels,
    pub(super) matrix: Matrix,
    /// What is added to every row; empty for nothing.
    pub(super) bias: Vec<f32>,
}

/// `(…, k…)` → `(…, n)`: the last `folded` dimensions are the columns of the weights.
#[derive(Debug, Clone)]
pub(super) struct Linear {
    pub(super) weights: Arc<Weights>,
    pub(super) folded: usize,
}

identity!(Linear, weights);

impl Op for Linear {
    fn name(&self) -> StaticName {
        "Linear".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Linear {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let x = args_1!(inputs);
        let w = &*self.weights;
        let (cols, rows) = (w.matrix.cols(), w.matrix.rows());
        let (lead, columns) =
            x.rank().checked_sub(self.folded).and_then(|n| x.shape().split_at_checked(n)).context("rank")?;
        ensure!(columns.iter().product::<usize>() == cols, "a row of {columns:?} for {cols} columns");
        let shape: TVec<usize> = lead.iter().copied().chain([rows]).collect();
        if x.len() == 0 {
            return Ok(tvec!(Tensor::zero::<f32>(&shape)?.into_tvalue()));
        }
        let values = x.try_as_plain_ram()?.as_slice::<f32>()?.to_vec();
        let mut out = linear(&w.kernels, &w.matrix, &Acts::new(values, cols)).map_err(TractError::new)?;
        if !w.bias.is_empty() {
            out.par_chunks_mut((TASK / rows).max(1) * rows).for_each(|rows| {
                rows.chunks_exact_mut(w.bias.len()).for_each(|row| (w.kernels.add)(row, &w.bias));
            });
        }
        Ok(tvec!(Tensor::from_shape(&shape, &out)?.into_tvalue()))
    }
}

impl TypedOp for Linear {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let dims = inputs.first().context("no input")?.shape.dims();
        let lead = dims.len().checked_sub(self.folded).and_then(|n| dims.get(..n)).context("rank")?;
        let shape: TVec<TDim> = lead.iter().cloned().chain([self.weights.matrix.rows().to_dim()]).collect();
        Ok(tvec!(f32::fact(&*shape)))
    }

    as_op!();
}

/// A product of a graph that [`Linear`] can give.
pub(super) struct Product {
    op: Linear,
    x: OutletId,
    out: OutletId,
}

impl Product {
    /// The product of a node with constant weights: its columns stand last in the input, its rows last in the output.
    pub(super) fn find(model: &TypedModel, node: &TypedNode, kernels: Kernels) -> Option<Self> {
        let op = node.op_as::<EinSum>()?;
        let inputs = product(node)?;
        let constant = |o: &OutletId| model.outlet_fact(*o).is_ok_and(|f| f.konst.is_some());
        let w = inputs.iter().position(constant)?;
        let (from, to) = op.axes.to_strs();
        let [x, w_axes, out] = [from.get(1 - w)?, from.get(w)?, to.first()?].map(|s| s.chars().collect::<Vec<char>>());
        let (lead, row) = out.split_at_checked(out.len().checked_sub(1)?)?;
        let columns = x.strip_prefix(lead)?;
        let order: Vec<char> = row.iter().chain(columns).copied().collect();
        let places: Option<Vec<usize>> = order.iter().map(|c| w_axes.iter().position(|a| a == c)).collect();
        let apart = lead.iter().chain(&order).collect::<HashSet<_>>().len() == lead.len() + order.len();
        if columns.is_empty() || order.len() != w_axes.len() || !apart {
            return None;
        }
        let x = *inputs.get(1 - w)?;
        let weights = model.outlet_fact(*inputs.get(w)?).ok()?.konst.clone()?;
        let same = |o: OutletId| model.outlet_fact(o).is_ok_and(|f| f.datum_type == f32::datum_type());
        if !same(x) || weights.datum_type() != f32::datum_type() {
            return None;
        }
        let weights = weights.into_tensor().permute_axes(&places?).ok()?;
        let cols = weights.shape().get(1..)?.iter().product();
        let matrix = Matrix::from_values(weights.try_as_plain_ram().ok()?.as_slice().ok()?, cols).ok()?;
        let (bias, out) = bias(model, node, matrix.rows()).unwrap_or((Vec::new(), OutletId::new(node.id, 0)));
        let folded = columns.len();
        Some(Self { op: Linear { weights: Arc::new(Weights { kernels, matrix, bias }), folded }, x, out })
    }

    pub(super) fn replace(self, model: &mut TypedModel) -> TractResult<()> {
        let mut patch = TypedModelPatch::new("linear");
        let x = patch.tap_model(model, self.x)?;
        let name = format!("{}.linear", model.node(self.out.node).name);
        let out = patch.wire_node(name, self.op, &[x])?;
        patch.shunt_outside(model, self.out, out[0])?;
        patch.apply(model)
    }
}

/// What is added to each row of a product that nothing else reads, and the sum.
fn bias(model: &TypedModel, node: &TypedNode, rows: usize) -> Option<(Vec<f32>, OutletId)> {
    let output = node.outputs.first()?;
    let &[next] = &output.successors[..] else { return None };
    let sum = model.node(next.node);
    let both = binary::<Add>(sum)?;
    let bias = model.outlet_fact(*both.get(1 - next.slot)?).ok()?.konst.clone()?;
    let wide = bias.len() == rows && bias.shape().last() == Some(&rows) && bias.rank() <= output.fact.rank();
    let alike =
        sum.outputs.first()?.fact.shape == output.fact.shape && !model.output_outlets().ok()?.contains(&node.id.into());
    let bias = (wide && alike).then(|| bias.try_as_plain_ram().ok()?.as_slice::<f32>().ok().map(<[f32]>::to_vec))??;
    Some((bias, OutletId::new(sum.id, 0)))
}
