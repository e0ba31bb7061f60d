//! Norms, and projections by one or more matrices that share an input.

use std::sync::Arc;

use rayon::prelude::*;
use tract_onnx::tract_hir::internal::*;

use super::{acts, added, filled, identity, rows_like, tensors, values};
use crate::engine::importance::Watch;
use crate::engine::linear::{Product, linear, linear_all};
use crate::engine::scratch;
use crate::kernels::{Acts, Kernels, Precision};
use crate::weights::Matrix;

/// `(S, width)` → `w ⊙ x · (mean(x²) + eps)^(−1/2)`, row by row.
#[derive(Clone, Debug)]
pub(in super::super) struct Norm {
    pub(in super::super) kernels: Kernels,
    pub(in super::super) weight: Arc<[f32]>,
    pub(in super::super) eps: f32,
}

identity!(Norm, weight);

impl Op for Norm {
    fn name(&self) -> StaticName {
        "RmsNorm".into()
    }
    op_as_typed_op!();
}

impl EvalOp for Norm {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let tensor = args_1!(inputs);
        let x = values(&tensor)?;
        let width = self.weight.len();
        let normed = filled(x.len() / width, width, |out| {
            out.par_chunks_mut(width)
                .zip(x.par_chunks(width))
                .for_each(|(out, x)| (self.kernels.rms_norm)(x, Some(&self.weight), self.eps, out));
            Ok(())
        });
        tensors::give(tensor);
        normed
    }
}

impl TypedOp for Norm {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(rows_like(inputs[0], self.weight.len())))
    }
    as_op!();
}

/// `(S, cols)` → one `(S, rows)` output a matrix; the activations are quantized once for all of them. With `residual` there is
/// one matrix, and a second input `(S, rows)` is added to its output.
#[derive(Clone, Debug)]
pub(in super::super) struct Project {
    pub(in super::super) kernels: Kernels,
    pub(in super::super) precision: Precision,
    pub(in super::super) weights: Arc<[Matrix]>,
    pub(in super::super) residual: bool,
    /// Told of the input, where somebody asked.
    pub(in super::super) watch: Option<Watch>,
}

identity!(Project, weights);

impl Op for Project {
    fn name(&self) -> StaticName {
        "Project".into()
    }
    op_as_typed_op!();
}

impl EvalOp for Project {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, mut inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let residual = if self.residual { inputs.pop() } else { None };
        let x = args_1!(inputs);
        let cols = *x.shape().last().context("no columns")?;
        if let Some(watch) = &self.watch {
            watch.shared(values(&x)?, cols);
        }
        let acts = acts(&x, cols, &self.kernels, self.precision)?;
        tensors::give(x);
        let outputs = match residual {
            Some(residual) => {
                let w = self.weights.first().context("no matrix")?;
                let y = linear(&self.kernels, w, acts.rows())?;
                tvec!(added(&self.kernels, residual, y)?)
            }
            None => self.products(&acts)?,
        };
        scratch::give(acts.into_values());
        Ok(outputs)
    }
}

impl Project {
    /// One tensor a matrix.
    fn products(&self, acts: &Acts) -> TractResult<TVec<TValue>> {
        let x = acts.rows();
        let mut outputs =
            self.weights.iter().map(|w| tensors::take(x.tokens(), w.rows())).collect::<TractResult<TVec<_>>>()?;
        {
            let mut plain = outputs.iter_mut().map(Tensor::try_as_plain_ram_mut).collect::<TractResult<TVec<_>>>()?;
            let pairs = self.weights.iter().zip(&mut plain);
            let mut products =
                pairs.map(|(w, y)| Ok(Product { w, x, y: y.as_slice_mut()? })).collect::<TractResult<TVec<_>>>()?;
            linear_all(&self.kernels, &mut products)?;
        }
        Ok(outputs.into_iter().map(Tensor::into_tvalue).collect())
    }
}

impl TypedOp for Project {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(self.weights.iter().map(|w| rows_like(inputs[0], w.rows())).collect())
    }
    as_op!();
}
