//! Token ids to embedding rows.

use std::sync::Arc;

use rayon::prelude::*;
use tract_onnx::tract_hir::internal::*;

use super::{filled, identity, rows_like};
use crate::error::Error;
use crate::weights::Matrix;

/// `(S)` ids → `(S, width)` rows of the embedding.
#[derive(Clone, Debug)]
pub(in super::super) struct Embed {
    pub(in super::super) table: Arc<Matrix>,
}

identity!(Embed, table);

impl Op for Embed {
    fn name(&self) -> StaticName {
        "Embed".into()
    }
    op_as_typed_op!();
}

impl EvalOp for Embed {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let ids = args_1!(inputs);
        let ids = ids.try_as_plain_ram()?.as_slice::<i64>()?;
        let cols = self.table.cols();
        filled(ids.len(), cols, |rows| {
            let rows = ids.par_iter().zip(rows.par_chunks_mut(cols));
            Ok(rows.try_for_each(|(id, row)| {
                let id = usize::try_from(*id).map_err(|_| Error::argument(format!("token id {id}")))?;
                self.table.dequantize_row(id, row)
            })?)
        })
    }
}

impl TypedOp for Embed {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(rows_like(inputs[0], self.table.cols())))
    }
    as_op!();
}
