//! The rows that go on to the output matrix.

use tract_onnx::tract_hir::internal::*;

use super::{Turn, filled, values};

/// `(S, width)` → `(R, width)`: the rows that the turn keeps, in order; none of them where no logits are asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in super::super) struct Select {
    pub(in super::super) rows: Symbol,
    pub(in super::super) width: usize,
}

impl Op for Select {
    fn name(&self) -> StaticName {
        "SelectRows".into()
    }
    op_as_typed_op!();
}

impl EvalOp for Select {
    op_out_of_plan!();

    fn eval(&self, ctx: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let x = args_1!(inputs);
        let keep = &Turn::of(ctx)?.keep;
        if keep.len() * self.width == x.len() {
            return Ok(tvec!(x));
        }
        let x = values(&x)?;
        filled(keep.len(), self.width, |kept| {
            for (to, row) in kept.chunks_exact_mut(self.width).zip(keep) {
                to.copy_from_slice(x.get(row * self.width..(row + 1) * self.width).context("no such row")?);
            }
            Ok(())
        })
    }
}

impl TypedOp for Select {
    fn output_facts(&self, _: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(f32::fact(&[self.rows.to_dim(), self.width.to_dim()])))
    }
    as_op!();
}
