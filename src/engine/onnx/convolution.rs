//! A convolution along the tokens as a product: rows of what the kernel sees, times its weights.

use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::cnn::{Conv, KernelFormat, PaddingSpec};
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_core::ops::math::add;
use tract_onnx::tract_core::ops::nn::DataFormat;
use tract_onnx::tract_hir::internal::*;

use super::proof::{self, Random};

/// Rows and tokens of the proof.
const PROOF: (usize, usize) = (2, 5);
/// What a value of the proof may differ by, against the largest one.
const TOLERANCE: f32 = 1e-4;
/// A wider kernel sees more than is worth spreading out.
const MOST_WIDTH: usize = 9;

/// `(batch, seq, channels)` → `(batch, seq, width · channels)`: for each token its neighbours in order, from `before` before it
/// on; zeros outside.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Neighbours {
    width: usize,
    before: usize,
}

impl Op for Neighbours {
    fn name(&self) -> StaticName {
        "Neighbours".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Neighbours {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let x = args_1!(inputs);
        let &[batch, seq, channels] = x.shape() else { bail!("tokens of shape {:?}", x.shape()) };
        let mut out = Tensor::zero::<f32>(&[batch, seq, self.width * channels])?;
        if out.len() == 0 {
            return Ok(tvec!(out.into_tvalue()));
        }
        let plain = x.try_as_plain_ram()?;
        let rows = plain.as_slice::<f32>()?.chunks_exact(seq * channels);
        let mut out_plain = out.try_as_plain_ram_mut()?;
        let outs = out_plain.as_slice_mut::<f32>()?.chunks_exact_mut(seq * self.width * channels);
        for (x, out) in rows.zip(outs) {
            for (token, out) in out.chunks_exact_mut(self.width * channels).enumerate() {
                for (i, out) in out.chunks_exact_mut(channels).enumerate() {
                    let from = (token + i).checked_sub(self.before).map(|t| t * channels);
                    if let Some(x) = from.and_then(|at| x.get(at..at + channels)) {
                        out.copy_from_slice(x);
                    }
                }
            }
        }
        Ok(tvec!(out.into_tvalue()))
    }
}

impl TypedOp for Neighbours {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let [batch, seq, channels] = inputs.first().context("no input")?.shape.dims() else { bail!("rank") };
        Ok(tvec!(f32::fact(&[batch.clone(), seq.clone(), channels.clone() * self.width])))
    }

    as_op!();
}

/// A convolution: what it reads, the operation, its weights `(out, width · channels)` and bias `(out)`.
struct Found {
    x: OutletId,
    out: OutletId,
    op: Neighbours,
    channels: usize,
    weights: Tensor,
    bias: Tensor,
}

/// Replaces every convolution along the tokens.
pub(super) fn rewrite(model: &mut TypedModel) -> TractResult<()> {
    let found: Vec<Found> = model.nodes().iter().filter_map(|n| find(model, n)).filter(|f| f.proves(model)).collect();
    found.iter().try_for_each(|f| f.replace(model))
}

fn find(model: &TypedModel, node: &TypedNode) -> Option<Found> {
    let conv = node.op_as::<Conv>()?;
    let spec = &conv.pool_spec;
    let &[x, weights, bias] = &node.inputs[..] else { return None };
    let PaddingSpec::Explicit(before, after) = &spec.padding else { return None };
    let (&[width], &[before], &[after]) = (&spec.kernel_shape[..], &before[..], &after[..]) else { return None };
    let ones = |d: &Option<TVec<usize>>| d.as_ref().is_none_or(|d| d[..] == [1]);
    let plain = conv.group == 1 && conv.q_params.is_none() && ones(&spec.dilations) && ones(&spec.strides);
    let layout = spec.data_format == DataFormat::NHWC && conv.kernel_fmt == KernelFormat::OIHW;
    if !plain || !layout || before + after + 1 != width || width > MOST_WIDTH {
        return None;
    }
    let constant = |o: OutletId| model.outlet_fact(o).ok()?.konst.clone();
    let (weights, bias) = (constant(weights)?.into_tensor(), constant(bias)?.into_tensor());
    let (channels, outputs) = (spec.input_channels, spec.output_channels);
    let single = [&weights, &bias].iter().all(|t| t.datum_type() == f32::datum_type());
    if !single || weights.shape() != [outputs, channels, width] || ![1, outputs].contains(&bias.len()) {
        return None;
    }
    let weights = weights.permute_axes(&[0, 2, 1]).ok()?.into_shape(&[outputs, width * channels]).ok()?;
    let bias = if bias.len() == 1 { bias.broadcast_to_shape(&[1, 1, outputs]).ok()? } else { bias };
    let bias = bias.into_shape(&[1, 1, outputs]).ok()?;
    Some(Found { x, out: OutletId::new(node.id, 0), op: Neighbours { width, before }, channels, weights, bias })
}

impl Found {
    fn wire(&self, name: &str, model: &mut TypedModel, x: OutletId) -> TractResult<OutletId> {
        let weights = model.add_const(format!("{name}.weights"), self.weights.clone())?;
        let bias = model.add_const(format!("{name}.bias"), self.bias.clone())?;
        let rows = model.wire_node(format!("{name}.neighbours"), self.op.clone(), &[x])?;
        let product = EinSum::new("amk,nk->amn".parse()?, f32::datum_type());
        let product = model.wire_node(format!("{name}.product"), product, &[rows[0], weights])?;
        Ok(model.wire_node(format!("{name}.sum"), add(), &[product[0], bias])?[0])
    }

    fn replace(&self, model: &mut TypedModel) -> TractResult<()> {
        let mut patch = TypedModelPatch::new("convolution");
        let x = patch.tap_model(model, self.x)?;
        let name = model.node(self.out.node).name.clone();
        let out = self.wire(&name, &mut patch, x)?;
        patch.shunt_outside(model, self.out, out)?;
        patch.apply(model)
    }

    /// Whether ours gives what the graph gives, on small random values.
    fn proves(&self, model: &TypedModel) -> bool {
        let difference = || {
            let (batch, seq) = PROOF;
            let inputs = tvec!(Random::new().tensor(&[batch, seq, self.channels])?);
            let theirs = proof::run(model, &[self.x], self.out, inputs.clone())?;
            let wire = |ours: &mut TypedModel, sources: &[OutletId]| {
                self.wire("proof", ours, *sources.first().context("no source")?)
            };
            proof::difference(&theirs, &proof::wired(inputs, wire)?)
        };
        difference().is_ok_and(|d: f32| d <= TOLERANCE)
    }
}
