//! Our operations of the decoder graph. Each is a thin tract shell around plain functions over `kernels`.

mod attend;
mod attention;
mod embed;
mod ffn;
mod projection;
mod select;
mod tensors;

pub(super) use attention::{Attention, AttentionPlan, AttentionState};
pub(super) use embed::Embed;
pub(super) use ffn::{FeedForward, FeedForwardWeights, Mlp, Routed};
pub(super) use projection::{Norm, Project};
pub(super) use select::Select;
pub(super) use tensors::give;

use rayon::prelude::*;
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

/// A `(rows, cols)` tensor that `fill` writes, all of it.
fn filled(rows: usize, cols: usize, fill: impl FnOnce(&mut [f32]) -> TractResult<()>) -> TractResult<TVec<TValue>> {
    let mut tensor = tensors::take(rows, cols)?;
    fill(tensor.try_as_plain_ram_mut()?.as_slice_mut()?)?;
    Ok(tvec!(tensor.into_tvalue()))
}

/// Values from which on the threads add together.
const ADDED: usize = 1 << 15;

/// The residual stream plus what a layer adds to it; the stream's own tensor where nobody else holds it.
fn added(kernels: &Kernels, residual: TValue, values: Vec<f32>) -> TractResult<TValue> {
    let mut tensor = residual.into_tensor();
    let mut plain = tensor.try_as_plain_ram_mut()?;
    let sums = plain.as_slice_mut::<f32>()?;
    let each = if sums.len() < ADDED { sums.len() } else { ADDED / 4 };
    let parts = sums.par_chunks_mut(each.max(1)).zip(values.par_chunks(each.max(1)));
    parts.for_each(|(sums, values)| (kernels.add)(sums, values));
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
