//! Our operations of the decoder graph. Each is a thin tract shell around plain functions over `kernels`.

mod attend;
mod attention;
mod embed;
mod ffn;
mod projection;
mod select;

pub(super) use attention::{Attention, AttentionPlan, AttentionState};
pub(super) use embed::Embed;
pub(super) use ffn::{FeedForward, FeedForwardWeights, Mlp, Routed};
pub(super) use projection::{Norm, Project};
pub(super) use select::Select;

use tract_onnx::tract_hir::internal::*;

use super::scratch;
use crate::kernels::{Acts, Kernels, Precision};

/// One conversation's rows of a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sequence {
    /// Position of its first row.
    pub(super) past: usize,
    /// How many rows are its own.
    pub(super) rows: usize,
}

/// What every operation of one run may need; installed in tract's per-turn storage before the run.
#[derive(Debug)]
pub(super) struct Turn {
    /// The conversations, in the order of their rows.
    pub(super) sequences: Vec<Sequence>,
    /// Rows that get logits, ascending.
    pub(super) keep: Vec<usize>,
    /// Cosines of the rotation, `(S, head_dim / 2)`.
    pub(super) cos: Vec<f32>,
    /// Sines of the rotation, `(S, head_dim / 2)`.
    pub(super) sin: Vec<f32>,
    /// Query scaling of layers without rotation, `(S)`.
    pub(super) temperature: Vec<f32>,
}

impl Turn {
    fn of<'a>(ctx: &EvalContext<'a>) -> TractResult<&'a Self> {
        ctx.shared.and_then(|s| s.get::<Self>()).context("no turn installed")
    }
}

/// An operation equals another when it is the same one: comparing gigabytes of weights would read them all.
macro_rules! identity {
    ($op:ty, $field:ident) => {
        impl PartialEq for $op {
            fn eq(&self, other: &Self) -> bool {
                Arc::ptr_eq(&self.$field, &other.$field)
            }
        }
        impl Eq for $op {}
        impl std::hash::Hash for $op {
            fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
                Arc::as_ptr(&self.$field).addr().hash(state);
            }
        }
    };
}
pub(in crate::engine) use identity;

/// Single-precision values of a tensor.
fn values(t: &Tensor) -> TractResult<&[f32]> {
    t.try_as_plain_ram()?.as_slice::<f32>()
}

/// A `(rows, cols)` tensor that `fill` writes.
fn filled(rows: usize, cols: usize, fill: impl FnOnce(&mut [f32]) -> TractResult<()>) -> TractResult<TVec<TValue>> {
    let mut tensor = Tensor::zero::<f32>(&[rows, cols])?;
    fill(tensor.try_as_plain_ram_mut()?.as_slice_mut()?)?;
    Ok(tvec!(tensor.into_tvalue()))
}

/// A `(rows, cols)` tensor of `values`, whose buffer goes back to the thread's.
fn tensor(values: Vec<f32>, cols: usize) -> TractResult<TValue> {
    let mut tensor = Tensor::zero::<f32>(&[values.len() / cols.max(1), cols])?;
    tensor.try_as_plain_ram_mut()?.as_slice_mut()?.copy_from_slice(&values);
    scratch::give(values);
    Ok(tensor.into_tvalue())
}

/// The residual stream plus what a layer adds to it; the stream's own tensor where nobody else holds it.
fn added(kernels: &Kernels, residual: TValue, values: Vec<f32>) -> TractResult<TValue> {
    let mut tensor = residual.into_tensor();
    (kernels.add)(tensor.try_as_plain_ram_mut()?.as_slice_mut()?, &values);
    scratch::give(values);
    Ok(tensor.into_tvalue())
}

/// The rows of `x`, `(tokens, cols)`, ready for matrices; its values go back to the thread's buffers when they are not needed.
fn acts(x: &Tensor, cols: usize, kernels: &Kernels, precision: Precision) -> TractResult<Acts> {
    let x = values(x)?;
    let mut own = scratch::take(x.len());
    own.copy_from_slice(x);
    let mut acts = Acts::new(own, cols);
    acts.quantize(kernels, precision);
    Ok(acts)
}

/// The fact of a `(S, cols)` output next to an input whose first dimension is `S`.
fn rows_like(input: &TypedFact, cols: usize) -> TypedFact {
    f32::fact(&[input.shape[0].clone(), cols.to_dim()])
}
