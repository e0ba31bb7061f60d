//! A product with constant weights, and what is added to each row, over our kernels and the threads of the pool.

use std::collections::HashSet;
use std::sync::Arc;

use rayon::prelude::*;
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_core::ops::math::Add;
use tract_onnx::tract_hir::internal::*;

use super::recognize::{binary, product};
use crate::engine::ops::identity;
use crate::engine::scratch;
use crate::error::Result;
use crate::kernels::{Acts, Kernels, Panels};
use crate::weights::Matrix;
use crate::weights::layout::PANEL_ROWS;

/// Values that are worth a task of their own.
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
        let mut values = scratch::take(x.len());
        values.copy_from_slice(x.try_as_plain_ram()?.as_slice::<f32>()?);
        let acts = Acts::new(values, cols);
        let mut out = Tensor::zero::<f32>(&shape)?;
        w.product(&acts, out.try_as_plain_ram_mut()?.as_slice_mut::<f32>()?).map_err(TractError::new)?;
        scratch::give(acts.into_values());
        Ok(tvec!(out.into_tvalue()))
    }
}

impl Weights {
    /// `out` is `(tokens, rows)`.
    fn product(&self, x: &Acts, out: &mut [f32]) -> Result<()> {
        let (m, tokens) = (&self.matrix, x.tokens());
        let pinned = m.pin()?;
        let share = m.panels().div_ceil(rayon::current_num_threads()).max(1);
        // Four panels suit the kernels that take two or four at a time.
        let panels = (TASK * 4 / m.panel_bytes().max(1)).clamp(1, share).next_multiple_of(4);
        let mut parts = scratch::take(m.panels() * tokens * PANEL_ROWS); // (panels, tokens, 8)
        parts.par_chunks_mut(panels * tokens * PANEL_ROWS).enumerate().try_for_each(|(task, part)| {
            let first = task * panels;
            pinned.with_panels(first..first + part.len() / (tokens * PANEL_ROWS), |bytes| {
                (self.kernels.matmul)(Panels { ty: m.ty(), cols: m.cols(), bytes }, x, part);
            })
        })?;
        let group = (TASK / m.rows()).max(1);
        out.par_chunks_mut(group * m.rows()).enumerate().for_each(|(at, rows)| {
            for (t, row) in rows.chunks_exact_mut(m.rows()).enumerate() {
                let mut panels = parts.as_chunks::<PANEL_ROWS>().0.iter().skip(at * group + t).step_by(tokens);
                let (whole, rest) = row.as_chunks_mut::<PANEL_ROWS>();
                whole.iter_mut().zip(&mut panels).for_each(|(to, from)| *to = *from);
                rest.iter_mut().zip(panels.next().into_iter().flatten()).for_each(|(to, from)| *to = *from);
                if !self.bias.is_empty() {
                    (self.kernels.add)(row, &self.bias);
                }
            }
        });
        scratch::give(parts);
        Ok(())
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
        let wide = weights.shape().get(1..)?;
        let dims = model.outlet_fact(x).ok()?.shape.dims();
        let cols = wide.iter().product();
        if !dims.get(lead.len()..)?.iter().zip(wide).all(|(d, w)| *d == w.to_dim()) {
            return None;
        }
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
