//! Our operations of the decoder graph. Each is a thin tract shell around plain functions over `kernels`.

mod attention;
mod embed;
mod ffn;
mod projection;

pub(super) use attention::{Attention, AttentionPlan, AttentionState};
pub(super) use embed::Embed;
pub(super) use ffn::{FeedForward, FeedForwardWeights, Mlp, Routed};
pub(super) use projection::{Norm, Project};

use std::sync::Arc;

use tract_onnx::tract_hir::internal::*;

/// What every operation of one run may need; installed in tract's per-turn storage before the run.
#[derive(Clone, Debug)]
pub(super) struct Turn {
    /// Position of the run's first token.
    pub(super) past: usize,
    /// Cosines of the rotation, `(S, head_dim / 2)`.
    pub(super) cos: Arc<[f32]>,
    /// Sines of the rotation, `(S, head_dim / 2)`.
    pub(super) sin: Arc<[f32]>,
    /// Query scaling of layers without rotation, `(S)`.
    pub(super) temperature: Arc<[f32]>,
}

impl Turn {
    fn of(ctx: &EvalContext) -> TractResult<Self> {
        ctx.shared.and_then(|s| s.get::<Self>()).cloned().context("no turn installed")
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

/// A `(rows, cols)` tensor of `values`.
fn tensor(values: Vec<f32>, cols: usize) -> TractResult<TValue> {
    let rows = values.len() / cols.max(1);
    Ok(ndarray::Array2::from_shape_vec((rows, cols), values)?.into_tensor().into_tvalue())
}

/// The fact of a `(S, cols)` output next to an input whose first dimension is `S`.
fn rows_like(input: &TypedFact, cols: usize) -> TypedFact {
    f32::fact(&[input.shape[0].clone(), cols.to_dim()])
}
