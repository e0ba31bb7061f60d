//! A product with constant weights over our kernels and the threads of the pool, with what follows it row by row: a bias, an
//! activation, a residual, a layer norm.

use std::collections::HashSet;
use std::sync::Arc;

use rayon::prelude::*;
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_core::ops::math::Add;
use tract_onnx::tract_hir::internal::*;

use super::activation::{self, Activation};
use super::norm::{self, Norm};
use super::recognize::product;
use crate::engine::ops::identity;
use crate::engine::scratch;
use crate::kernels::{ActRows, Acts, Kernels, Panels};
use crate::weights::Matrix;
use crate::weights::layout::PANEL_ROWS;

/// Values that are worth a task of their own.
const TASK: usize = 1 << 14;

/// The weights of one product, and what follows it.
#[derive(Debug)]
pub(super) struct Weights {
    kernels: Kernels,
    matrix: Matrix,
    after: After,
}

/// What becomes of each row of a product, in this order.
#[derive(Debug, Default)]
struct After {
    /// What is added to every row; empty for nothing.
    bias: Vec<f32>,
    activation: Option<Activation>,
    /// Whether the second input is added.
    residual: bool,
    norm: Option<Norm>,
    /// Whether the row before its norm is an output too, the second one.
    sum: bool,
}

/// `(…, k…)` → `(…, n)`: the last `folded` dimensions are the columns of the weights. With a residual it is the second input,
/// `(…, n)`.
#[derive(Debug, Clone)]
pub(super) struct Linear {
    weights: Arc<Weights>,
    folded: usize,
}

identity!(Linear, weights);

impl Op for Linear {
    fn name(&self) -> StaticName {
        "Linear".into()
    }

    fn info(&self) -> TractResult<Vec<String>> {
        let a = &self.weights.after;
        let (bias, norm) = (!a.bias.is_empty(), a.norm.is_some());
        Ok(vec![format!("bias: {bias}, {:?}, residual: {}, norm: {norm}, sum: {}", a.activation, a.residual, a.sum)])
    }

    op_as_typed_op!();
}

impl EvalOp for Linear {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let w = &*self.weights;
        let (x, residual) = match &inputs[..] {
            [x] if !w.after.residual => (x, None),
            [x, residual] if w.after.residual => (x, Some(residual)),
            _ => bail!("{} inputs", inputs.len()),
        };
        let (cols, rows) = (w.matrix.cols(), w.matrix.rows());
        let (lead, columns) =
            x.rank().checked_sub(self.folded).and_then(|n| x.shape().split_at_checked(n)).context("rank")?;
        ensure!(columns.iter().product::<usize>() == cols, "a row of {columns:?} for {cols} columns");
        let shape: TVec<usize> = lead.iter().copied().chain([rows]).collect();
        ensure!(residual.is_none_or(|r| r.shape() == &*shape), "a residual for {shape:?}");
        let mut out = Tensor::zero::<f32>(&shape)?;
        let mut normed = if w.after.norm.is_some() { Some(Tensor::zero::<f32>(&shape)?) } else { None };
        if x.len() > 0 {
            let mut values = scratch::take(x.len());
            values.copy_from_slice(x.try_as_plain_ram()?.as_slice::<f32>()?);
            let acts = Acts::new(values, cols);
            let residual = residual.map(|r| r.try_as_plain_ram()).transpose()?;
            let residual = residual.as_ref().map(|r| r.as_slice::<f32>()).transpose()?;
            let mut out = out.try_as_plain_ram_mut()?;
            let mut normed = normed.as_mut().map(Tensor::try_as_plain_ram_mut).transpose()?;
            let normed = normed.as_mut().map(|n| n.as_slice_mut::<f32>()).transpose()?;
            w.run(acts.rows(), residual, out.as_slice_mut::<f32>()?, normed)?;
            scratch::give(acts.into_values());
        }
        let all = normed.into_iter().chain((w.after.sum || w.after.norm.is_none()).then_some(out));
        Ok(all.map(Tensor::into_tvalue).collect())
    }
}

/// Rows that one task finishes: where they lie among all, what is added, where they go.
struct Rows<'a> {
    first: usize,
    residual: Option<&'a [f32]>,
    out: &'a mut [f32],
    normed: Option<&'a mut [f32]>,
}

impl Weights {
    /// `residual`, `out` and `normed` are `(tokens, rows)`.
    fn run(
        &self,
        x: ActRows<'_>,
        residual: Option<&[f32]>,
        out: &mut [f32],
        normed: Option<&mut [f32]>,
    ) -> TractResult<()> {
        let (m, tokens) = (&self.matrix, x.tokens());
        let pinned = m.pin().map_err(TractError::new)?;
        let share = m.panels().div_ceil(rayon::current_num_threads()).max(1);
        // Four panels suit the kernels that take two or four at a time.
        let panels = (TASK * 4 / m.panel_bytes().max(1)).clamp(1, share).next_multiple_of(4);
        let mut parts = scratch::take(m.panels() * tokens * PANEL_ROWS); // (panels, tokens, 8)
        let product = parts.par_chunks_mut(panels * tokens * PANEL_ROWS).enumerate().try_for_each(|(task, part)| {
            let first = task * panels;
            pinned.with_panels(first..first + part.len() / (tokens * PANEL_ROWS), |bytes| {
                (self.kernels.matmul)(Panels { ty: m.ty(), cols: m.cols(), bytes }, x, part);
            })
        });
        product.map_err(TractError::new)?;
        let group = (TASK / m.rows()).max(1);
        let each = group * m.rows();
        let mut normed = normed.map(|n| n.chunks_mut(each));
        let mut residual = residual.map(|r| r.chunks(each));
        let tasks: Vec<Rows<'_>> = out
            .chunks_mut(each)
            .enumerate()
            .map(|(at, out)| Rows {
                first: at * group,
                residual: residual.as_mut().and_then(Iterator::next),
                out,
                normed: normed.as_mut().and_then(Iterator::next),
            })
            .collect();
        tasks.into_par_iter().try_for_each(|rows| self.finish(&parts, tokens, rows))?;
        scratch::give(parts);
        Ok(())
    }

    /// Gathers rows from the panels that hold eight columns of all, and does what follows the product.
    fn finish(&self, parts: &[f32], tokens: usize, rows: Rows<'_>) -> TractResult<()> {
        let (wide, after) = (self.matrix.rows(), &self.after);
        for (t, row) in rows.out.chunks_exact_mut(wide).enumerate() {
            let mut panels = parts.as_chunks::<PANEL_ROWS>().0.iter().skip(rows.first + t).step_by(tokens);
            let (whole, rest) = row.as_chunks_mut::<PANEL_ROWS>();
            whole.iter_mut().zip(&mut panels).for_each(|(to, from)| *to = *from);
            rest.iter_mut().zip(panels.next().into_iter().flatten()).for_each(|(to, from)| *to = *from);
            if !after.bias.is_empty() {
                (self.kernels.add)(row, &after.bias);
            }
        }
        if let Some(activation) = after.activation {
            activation.ready()?.run(rows.out)?;
        }
        if let Some(residual) = rows.residual {
            (self.kernels.add)(rows.out, residual);
        }
        if let (Some(norm), Some(normed)) = (&after.norm, rows.normed) {
            let mut row = vec![0.0; wide];
            for (x, out) in rows.out.chunks_exact(wide).zip(normed.chunks_exact_mut(wide)) {
                row.copy_from_slice(x);
                norm.row(&mut row, out);
            }
        }
        Ok(())
    }
}

impl TypedOp for Linear {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let dims = inputs.first().context("no input")?.shape.dims();
        let lead = dims.len().checked_sub(self.folded).and_then(|n| dims.get(..n)).context("rank")?;
        let shape: TVec<TDim> = lead.iter().cloned().chain([self.weights.matrix.rows().to_dim()]).collect();
        Ok(tvec!(f32::fact(&*shape); if self.weights.after.sum { 2 } else { 1 }))
    }

    as_op!();
}

/// A product of a graph that [`Linear`] can give: the operation, what it reads, and the outlets it gives.
pub(super) struct Product {
    op: Linear,
    inputs: TVec<OutletId>,
    out: TVec<OutletId>,
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
        let (after, residual, out) = after(model, OutletId::new(node.id, 0), matrix.rows(), kernels);
        let weights = Arc::new(Weights { kernels, matrix, after });
        let inputs = [x].into_iter().chain(residual).collect();
        Some(Self { op: Linear { weights, folded: columns.len() }, inputs, out })
    }

    pub(super) fn replace(self, model: &mut TypedModel) -> TractResult<()> {
        let mut patch = TypedModelPatch::new("linear");
        let inputs = patch.taps(model, &self.inputs)?;
        let first = self.out.first().context("no output")?;
        let name = format!("{}.linear", model.node(first.node).name);
        let out = patch.wire_node(name, self.op, &inputs)?;
        for (old, new) in self.out.iter().zip(out) {
            patch.shunt_outside(model, *old, new)?;
        }
        patch.apply(model)
    }
}

/// What follows a product of `rows` rows that nothing else reads; the residual, and the outlets of the norm, if any, and of
/// the sum.
fn after(
    model: &TypedModel,
    mut at: OutletId,
    rows: usize,
    kernels: Kernels,
) -> (After, Option<OutletId>, TVec<OutletId>) {
    let mut out = After::default();
    if let Some((bias, next)) = norm::by_column::<Add>(model, at, rows) {
        (out.bias, at) = (bias, next);
    }
    if let Some((activation, next)) = activation::find(model, at) {
        (out.activation, at) = (Some(activation), next);
    }
    let residual = norm::residual(model, at);
    if let Some((_, next)) = residual {
        (out.residual, at) = (true, next);
    }
    let residual = residual.map(|(outlet, _)| outlet);
    let Some(found) = norm::find(model, at, kernels) else { return (out, residual, tvec!(at)) };
    (out.norm, out.sum) = (Some(found.norm), found.shared);
    let both = if found.shared { tvec!(found.out, at) } else { tvec!(found.out) };
    (out, residual, both)
}
