//! Plain multi-head attention as one operation: scores, mask, softmax and values, head by head.

use std::sync::Arc;

use rayon::prelude::*;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_core::ops::logic::Iff;
use tract_onnx::tract_core::ops::math::IsNan;
use tract_onnx::tract_core::ops::nn::{Softmax, SoftmaxKind};
use tract_onnx::tract_hir::internal::*;

use super::over_heads::{Head, TILE, over_heads};
use super::proof::{self, Random};
use super::recognize::{peel, product, terms};
use crate::engine::ops::identity;
use crate::engine::scratch;
use crate::kernels::{Ahead, Kernels, Keys, KvRows, key_values, lay_keys};

/// Rows and tokens of the proof.
const PROOF: (usize, usize) = (2, 5);
/// What a value of the proof may differ by, against the largest one.
const TOLERANCE: f32 = 1e-4;

/// What does not change in one layer's attention.
#[derive(Debug)]
struct Plan {
    kernels: Kernels,
    heads: usize,
    /// Values in a head.
    width: usize,
    /// Factor of query · key in a score.
    factor: f32,
    /// Whether a row whose every score is minus infinity gives zeros; else it gives what is no number.
    empty_is_zero: bool,
}

/// Queries, keys and values `(batch, seq, heads · width)` and perhaps a mask that is added to the scores, `(batch or 1, 1, seq
/// or 1, seq)` → `(batch, seq, heads · width)`.
#[derive(Debug, Clone)]
struct Attention {
    plan: Arc<Plan>,
}

identity!(Attention, plan);

impl Op for Attention {
    fn name(&self) -> StaticName {
        "MultiHeadAttention".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Attention {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let (q, k, v, mask) = match &inputs[..] {
            [q, k, v] => (q, k, v, None),
            [q, k, v, mask] => (q, k, v, Some(mask)),
            _ => bail!("attention over {} inputs", inputs.len()),
        };
        let plan = &*self.plan;
        let &[batch, seq, _] = q.shape() else { bail!("queries of shape {:?}", q.shape()) };
        let mask = mask.map(|m| Mask::new(m, batch, seq)).transpose()?;
        let out = over_heads([q, k, v], plan.heads, plan.width, |row, _, columns, out| {
            plan.attend(columns, seq, mask.as_ref().map(|m| (m, row)), out);
        })?;
        Ok(tvec!(out))
    }
}

impl TypedOp for Attention {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let q = inputs.first().context("no queries")?;
        Ok(tvec!(f32::fact(q.shape.clone())))
    }

    as_op!();
}

/// What is added to the scores.
struct Mask {
    values: Vec<f32>,
    batch: usize,
    rows: usize,
    seq: usize,
}

impl Mask {
    fn new(mask: &TValue, batch: usize, seq: usize) -> TractResult<Self> {
        let &[b, 1, rows, columns] = mask.shape() else { bail!("a mask of shape {:?}", mask.shape()) };
        let fits = (b == 1 || b == batch) && (rows == 1 || rows == seq) && columns == seq;
        ensure!(fits, "a mask of shape {:?} for {batch} rows of {seq} tokens", mask.shape());
        Ok(Self { values: mask.try_as_plain_ram()?.as_slice::<f32>()?.to_vec(), batch: b, rows, seq })
    }

    fn row(&self, batch: usize, query: usize) -> &[f32] {
        let batch = if self.batch == 1 { 0 } else { batch };
        let at = batch * self.rows + if self.rows == 1 { 0 } else { query };
        self.values.get(at * self.seq..(at + 1) * self.seq).unwrap_or_default()
    }
}

impl Plan {
    /// One head; `out` is `(seq, width)` of zeros.
    fn attend(&self, [q, k, v]: Head<'_>, seq: usize, mask: Option<(&Mask, usize)>, out: &mut [f32]) {
        let (kernels, width) = (&self.kernels, self.width);
        let mut keys = scratch::take(key_values(width, seq));
        lay_keys(k, width, &mut keys);
        let tiles = out.par_chunks_mut(TILE * width).zip(q.par_chunks(TILE * width)).enumerate();
        tiles.for_each(|(tile, (out, q))| {
            let mut scores = scratch::take(q.len() / width * seq);
            let mut scaled = scratch::take(q.len());
            scaled.iter_mut().zip(q).for_each(|(s, x)| *s = x * self.factor);
            (kernels.attn_scores)(&scaled, width, Keys::F32(&keys), 0..seq, Ahead::NONE, &mut scores, seq);
            for (r, row) in scores.chunks_exact_mut(seq).enumerate() {
                if let Some((mask, batch)) = mask {
                    (kernels.add)(row, mask.row(batch, tile * TILE + r));
                }
                self.softmax(row);
            }
            (kernels.attn_mix)(&scores, seq, KvRows::F32(v), Ahead::NONE, width, out);
            scratch::give(scores);
            scratch::give(scaled);
        });
        scratch::give(keys);
    }

    fn softmax(&self, row: &mut [f32]) {
        if row.iter().all(|x| *x == f32::NEG_INFINITY) {
            return row.fill(if self.empty_is_zero { 0.0 } else { f32::NAN });
        }
        // No kernel set is asked for infinities; this is as good as one beside a finite score. A NaN stays.
        row.iter_mut().for_each(|x| *x = if *x < f32::MIN / 2.0 { f32::MIN / 2.0 } else { *x });
        self.kernels.softmax(row);
    }
}

/// An attention of a graph: what it reads and the outlet it gives.
struct Found {
    plan: Arc<Plan>,
    inputs: TVec<OutletId>,
    out: OutletId,
    /// Whether heads stand before tokens in what the graph gives.
    heads_first: bool,
}

/// Replaces every attention.
pub(super) fn rewrite(model: &mut TypedModel, kernels: Kernels) -> TractResult<()> {
    let found: Vec<Found> =
        model.nodes().iter().filter_map(|n| find(model, n, kernels)).filter(|f| f.proves(model)).collect();
    found.iter().try_for_each(|f| f.replace(model))
}

/// The attention that a softmax belongs to.
fn find(model: &TypedModel, node: &TypedNode, kernels: Kernels) -> Option<Found> {
    let softmax = node.op_as::<Softmax>()?;
    let fact = &node.outputs.first()?.fact;
    let [batch, heads, seq, keys] = fact.shape.dims() else { return None };
    let plain = softmax.axes[..] == [3] && softmax.kind == SoftmaxKind::Softmax;
    if !plain || fact.datum_type != f32::datum_type() || seq != keys {
        return None;
    }
    let (mut content, mut masks) = (Vec::new(), Vec::new());
    for term in terms(model, *node.inputs.first()?)? {
        match product(model.node(term.outlet.node)) {
            Some([a, b]) => content.push((peel(model, a), peel(model, b), term.factor)),
            None => masks.push(term),
        }
    }
    let &[(q, k, factor)] = &content[..] else { return None };
    // A term is found before its layout and factors: the mask is read where it is added.
    let mask = match masks.len() {
        0 => None,
        _ => Some(added_mask(model, *node.inputs.first()?, [batch, seq])?),
    };
    let (weights, empty_is_zero) = without_nan(model, node)?;
    let &[next] = &model.node(weights.node).outputs.first()?.successors[..] else { return None };
    let values = product(model.node(next.node))?;
    let v = peel(model, *values.get(1 - next.slot)?);
    let dims = model.outlet_fact(q.outlet).ok()?.shape.dims();
    let heads = heads.to_usize().ok().filter(|h| *h > 0)?;
    let wide = dims.last()?.to_usize().ok()?;
    let same = |o: OutletId| {
        let fact = model.outlet_fact(o).ok();
        fact.is_some_and(|f| f.datum_type == f32::datum_type() && f.shape.dims().iter().eq(dims))
    };
    let whole = wide % heads == 0 && dims.len() == 3 && dims.first() == Some(batch) && dims.get(1) == Some(seq);
    if !whole || !same(k.outlet) || !same(v.outlet) || v.factor.to_bits() != 1f32.to_bits() {
        return None;
    }
    let out = OutletId::new(next.node, 0);
    let (h, w) = (heads.to_dim(), (wide / heads).to_dim());
    let given = model.outlet_fact(out).ok()?.shape.dims();
    let heads_first = given.iter().eq([batch, &h, seq, &w]);
    if !heads_first && !given.iter().eq([batch, seq, &h, &w]) {
        return None;
    }
    let factor = factor * q.factor * k.factor;
    let plan = Arc::new(Plan { kernels, heads, width: wide / heads, factor, empty_is_zero });
    let inputs = [q.outlet, k.outlet, v.outlet].into_iter().chain(mask).collect();
    Some(Found { plan, inputs, out, heads_first })
}

/// The one input of a sum that is a mask.
fn added_mask(model: &TypedModel, sum: OutletId, [batch, seq]: [&TDim; 2]) -> Option<OutletId> {
    let node = model.node(sum.node);
    let both = super::recognize::binary::<tract_onnx::tract_core::ops::math::Add>(node)?;
    let one = 1.to_dim();
    let fits = |o: &&OutletId| {
        let Ok(fact) = model.outlet_fact(**o) else { return false };
        matches!(fact.shape.dims(), [b, h, s, k]
            if (b == batch || *b == one) && *h == one && (s == seq || *s == one) && k == seq)
            && fact.datum_type == f32::datum_type()
    };
    let mut masks = both.iter().filter(fits);
    masks.next().copied().filter(|_| masks.next().is_none())
}

/// The weights that are mixed: those of the softmax, or zeros in the rows where it gives no numbers.
fn without_nan(model: &TypedModel, softmax: &TypedNode) -> Option<(OutletId, bool)> {
    let given = OutletId::new(softmax.id, 0);
    let readers: Vec<&TypedNode> = softmax.outputs.first()?.successors.iter().map(|i| model.node(i.node)).collect();
    match readers[..] {
        [_] => Some((given, false)),
        [a, b] => {
            let is_nan = |n: &TypedNode| n.op_as::<ElementWiseOp>().is_some_and(|op| op.0.is::<IsNan>());
            let (test, chosen) = if is_nan(a) { (a, b) } else { (b, a) };
            let &[condition, zero, kept] = &chosen.inputs[..] else { return None };
            let zero = model.outlet_fact(zero).ok()?.uniform.as_ref()?.cast_to_scalar::<f32>().ok()? == 0.0;
            let one_reader = test.outputs.first()?.successors.len() == 1;
            let matches = is_nan(test) && chosen.op_is::<Iff>() && condition.node == test.id && kept == given;
            (matches && zero && one_reader).then(|| (OutletId::new(chosen.id, 0), true))
        }
        _ => None,
    }
}

impl Found {
    /// Wires the operation and the layout of the graph.
    fn wire(&self, name: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<OutletId> {
        let plan = &self.plan;
        let op = Attention { plan: Arc::clone(plan) };
        let out = model.wire_node(format!("{name}.attention"), op, inputs)?;
        let columns = tvec!((plan.heads * plan.width).to_dim());
        let heads = tvec!(plan.heads.to_dim(), plan.width.to_dim());
        let mut out = model.wire_node(format!("{name}.heads"), AxisOp::Reshape(2, columns, heads), &out)?;
        if self.heads_first {
            out = model.wire_node(format!("{name}.turned"), AxisOp::Move(2, 1), &out)?;
        }
        out.pop().context("no output")
    }

    fn replace(&self, model: &mut TypedModel) -> TractResult<()> {
        let mut patch = TypedModelPatch::new("attention");
        let taps = patch.taps(model, &self.inputs)?;
        let name = model.node(self.out.node).name.clone();
        let out = self.wire(&name, &mut patch, &taps)?;
        patch.shunt_outside(model, self.out, out)?;
        patch.apply(model)
    }

    /// Whether ours gives what the graph gives, on small random values.
    fn proves(&self, model: &TypedModel) -> bool {
        self.difference(model).is_ok_and(|d| d <= TOLERANCE)
    }

    fn difference(&self, model: &TypedModel) -> TractResult<f32> {
        let (batch, seq) = PROOF;
        let mut random = Random::new();
        let columns = self.plan.heads * self.plan.width;
        let mut inputs = tvec!();
        for outlet in &self.inputs {
            let one = 1.to_dim();
            let shape: TVec<usize> = match model.outlet_fact(*outlet)?.shape.dims() {
                [_, _, _] => tvec!(batch, seq, columns),
                [b, _, s, _] => tvec!(if *b == one { 1 } else { batch }, 1, if *s == one { 1 } else { seq }, seq),
                other => bail!("an input of shape {other:?}"),
            };
            inputs.push(random.tensor(&shape)?);
        }
        let theirs = proof::run(model, &self.inputs, self.out, inputs.clone())?;
        let ours = proof::wired(inputs, |ours, sources| self.wire("proof", ours, sources))?;
        proof::difference(&theirs, &ours)
    }
}
