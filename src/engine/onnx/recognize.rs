//! Finds disentangled attention in a loaded graph by its structure and puts our operation in its place.
//!
//! What was found is proved on small random values before it is used: a place where ours does not give what the graph
//! gives stays as it is.

use std::sync::Arc;

use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::array::Tile;
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_core::ops::logic::Iff;
use tract_onnx::tract_core::ops::math::{Add, Mul};
use tract_onnx::tract_core::ops::nn::{Softmax, SoftmaxKind};
use tract_onnx::tract_hir::internal::*;

use super::attention::{DisentangledAttention, Places, Plan};
use super::gather::GatherRows;
use super::linear::Product;
use super::norm::{self, LayerNorm};
use super::proof::{self, Random};
use super::{convolution, heads, integers, softmax};
use crate::kernels::{self, Kernels, key_values, lay_keys};

/// Rows and tokens of the proof.
const PROOF: (usize, usize) = (2, 5);
/// What a value of the proof may differ by, against the largest one.
const TOLERANCE: f32 = 1e-4;
/// Terms of a sum that are looked at.
const MOST_TERMS: usize = 8;

/// Replaces every attention of a decluttered graph, and then the products with constant weights with what follows them, and
/// what layer norms are left. Without vector instructions the graph's own operations are the faster ones.
pub(super) fn rewrite(model: TypedModel) -> TractResult<TypedModel> {
    let kernels = kernels::best();
    let mut model = integers::rewrite(model)?.into_decluttered()?;
    if kernels.name == "scalar" {
        return Ok(model);
    }
    let found: Vec<Found> =
        model.nodes().iter().filter_map(|n| find(&model, n, kernels)).filter(|f| proves(&model, f)).collect();
    for f in &found {
        f.replace(&mut model)?;
    }
    heads::rewrite(&mut model, kernels)?;
    convolution::rewrite(&mut model)?;
    let mut model = model.into_decluttered()?;
    for node in 0..model.nodes().len() {
        if let Some(product) = Product::find(&model, model.node(node), kernels) {
            product.replace(&mut model)?;
        }
    }
    let mut model = model.into_decluttered()?;
    // What a norm gives may be normed again: nodes that come in are looked at as well.
    let mut node = 0;
    while node < model.nodes().len() {
        for slot in 0..model.node(node).outputs.len() {
            let x = OutletId::new(node, slot);
            if let Some(found) = norm::find(&model, x, kernels) {
                LayerNorm::replace(&mut model, x, found)?;
            }
        }
        node += 1;
    }
    softmax::rewrite(&mut model, kernels)?;
    model.into_decluttered()
}

/// A disentangled attention: what it reads and the outlet it gives, `(batch, heads, seq, width)`.
struct Found {
    plan: Arc<Plan>,
    q: OutletId,
    k: OutletId,
    v: OutletId,
    mask: OutletId,
    /// `(1, seq, seq)`: query by key, and key by query.
    places: [OutletId; 2],
    out: OutletId,
}

/// A value before changes of layout and multiplications with numbers.
#[derive(Clone, Copy)]
pub(super) struct Peeled {
    pub(super) outlet: OutletId,
    pub(super) factor: f32,
}

pub(super) fn peel(model: &TypedModel, outlet: OutletId) -> Peeled {
    let mut peeled = Peeled { outlet, factor: 1.0 };
    loop {
        let node = model.node(peeled.outlet.node);
        if let [input] = node.inputs[..]
            && (node.op_is::<AxisOp>() || node.op_is::<Tile>())
        {
            peeled.outlet = input;
        } else if let Some((value, factor)) = scaled(model, node) {
            peeled = Peeled { outlet: value, factor: peeled.factor * factor };
        } else {
            return peeled;
        }
    }
}

/// The factors of a multiplication with a number.
fn scaled(model: &TypedModel, node: &TypedNode) -> Option<(OutletId, f32)> {
    let [a, b] = binary::<Mul>(node)?;
    let number = |o: OutletId| model.outlet_fact(o).ok()?.uniform.as_ref()?.cast_to_scalar::<f32>().ok();
    number(b).map(|n| (a, n)).or_else(|| number(a).map(|n| (b, n)))
}

pub(super) fn binary<T: tract_onnx::tract_core::ops::binary::BinMiniOp>(node: &TypedNode) -> Option<[OutletId; 2]> {
    let op = node.op_as::<TypedBinOp>().filter(|op| op.0.is::<T>())?;
    op.1.is_none().then(|| node.inputs[..].try_into().ok()).flatten()
}

/// The inputs of a product of two single-precision tensors.
pub(super) fn product(node: &TypedNode) -> Option<[OutletId; 2]> {
    let op = node.op_as::<EinSum>().filter(|op| op.q_params.is_none() && op.operating_dt == f32::datum_type())?;
    (op.axes.output_count() == 1).then(|| node.inputs[..].try_into().ok()).flatten()
}

/// The terms of a sum over any layout.
pub(super) fn terms(model: &TypedModel, outlet: OutletId) -> Option<Vec<Peeled>> {
    let (mut open, mut out) = (vec![Peeled { outlet, factor: 1.0 }], Vec::new());
    while let Some(next) = open.pop() {
        let peeled = peel(model, next.outlet);
        let factor = peeled.factor * next.factor;
        match binary::<Add>(model.node(peeled.outlet.node)) {
            Some(both) => open.extend(both.map(|outlet| Peeled { outlet, factor })),
            None => out.push(Peeled { outlet: peeled.outlet, factor }),
        }
        if open.len() + out.len() > MOST_TERMS {
            return None;
        }
    }
    Some(out)
}

/// A term `x · positions`, gathered.
struct ByPlace {
    x: OutletId,
    positions: Arc<Tensor>,
    index: OutletId,
    factor: f32,
}

fn by_place(model: &TypedModel, term: Peeled) -> Option<ByPlace> {
    let node = model.node(term.outlet.node);
    let &[data, index] = &node.inputs[..] else { return None };
    node.op_as::<GatherRows>()?;
    let data = peel(model, data);
    let [x, positions] = product(model.node(data.outlet.node))?;
    let (x, positions) = (peel(model, x), peel(model, positions));
    let factor = term.factor * data.factor * x.factor * positions.factor;
    let positions = model.outlet_fact(positions.outlet).ok()?.konst.clone()?;
    Some(ByPlace { x: x.outlet, positions, index, factor })
}

/// The attention that a softmax belongs to.
fn find(model: &TypedModel, node: &TypedNode, kernels: Kernels) -> Option<Found> {
    let softmax = node.op_as::<Softmax>()?;
    let fact = &node.outputs.first()?.fact;
    let last = softmax.axes.len() == 1 && softmax.axes.first().map(|a| a + 1) == Some(fact.rank());
    if !last || softmax.kind != SoftmaxKind::Softmax || fact.datum_type != f32::datum_type() {
        return None;
    }
    let masked = peel(model, *node.inputs.first()?);
    let chosen = model.node(masked.outlet.node);
    chosen.op_as::<Iff>()?;
    let &[mask, fill, scores] = &chosen.inputs[..] else { return None };
    let fill = model.outlet_fact(fill).ok()?.uniform.as_ref()?.cast_to_scalar::<f32>().ok()?;
    let (mut content, mut gathered) = (Vec::new(), Vec::new());
    for term in terms(model, scores)? {
        match product(model.node(term.outlet.node)) {
            Some([a, b]) => content.push((peel(model, a), peel(model, b), term.factor)),
            None => gathered.push(by_place(model, term)?),
        }
    }
    let ([(q, k, factor)], [a, b]) = (&content[..], &gathered[..]) else { return None };
    let (by_query, by_key) = if a.x == q.outlet { (a, b) } else { (b, a) };
    if by_query.x != q.outlet || by_key.x != k.outlet || masked.factor.to_bits() != 1f32.to_bits() {
        return None;
    }
    let &[next] = &node.outputs.first()?.successors[..] else { return None };
    let values = product(model.node(next.node))?;
    let v = peel(model, *values.get(1 - next.slot)?);
    let plan = Plan {
        kernels,
        heads: *by_query.positions.shape().first()?,
        places: *by_query.positions.shape().get(1)?,
        width: *by_query.positions.shape().get(2)?,
        for_queries: scaled_keys(&by_query.positions, by_query.factor)?,
        for_keys: scaled_keys(&by_key.positions, by_key.factor)?,
        factor: factor * q.factor * k.factor,
        masked: fill,
    };
    let fits = by_query.positions.shape() == by_key.positions.shape() && by_query.positions.rank() == 3;
    let (plan, places, out) = (Arc::new(plan), [by_query.index, by_key.index], OutletId::new(next.node, 0));
    let found = Found { plan, q: q.outlet, k: k.outlet, v: v.outlet, mask, places, out };
    (fits && v.factor.to_bits() == 1f32.to_bits() && found.fits(model)?).then_some(found)
}

/// `(heads, places, width)` times `factor`, each head laid out as keys.
fn scaled_keys(tensor: &Tensor, factor: f32) -> Option<Vec<f32>> {
    let &[heads, places, width] = tensor.shape() else { return None };
    let values: Vec<f32> = tensor.try_as_plain_ram().ok()?.as_slice::<f32>().ok()?.iter().map(|x| x * factor).collect();
    if values.is_empty() {
        return None;
    }
    let mut keys = vec![0.0; heads * key_values(width, places)];
    let heads = values.chunks_exact(places * width).zip(keys.chunks_exact_mut(key_values(width, places)));
    heads.for_each(|(rows, keys)| lay_keys(rows, width, keys));
    Some(keys)
}

impl Found {
    fn inputs(&self) -> [OutletId; 6] {
        [self.q, self.k, self.v, self.mask, self.places[0], self.places[1]]
    }

    /// Whether all shapes and types are those of the operation.
    fn fits(&self, model: &TypedModel) -> Option<bool> {
        let fact = |o: OutletId| model.outlet_fact(o).ok();
        let [batch, seq, columns] = fact(self.q)?.shape.dims() else { return None };
        let (heads, width) = (self.plan.heads.to_dim(), self.plan.width.to_dim());
        let is = |o: OutletId, ty: DatumType, dims: &[&TDim]| {
            fact(o).is_some_and(|f| f.datum_type == ty && f.shape.dims().iter().eq(dims.iter().copied()))
        };
        let (f32, one) = (f32::datum_type(), 1.to_dim());
        let rows = [self.q, self.k, self.v].iter().all(|o| is(*o, f32, &[batch, seq, columns]));
        let pairs = self.places.iter().all(|o| is(*o, i64::datum_type(), &[&one, seq, seq]));
        let mask = is(self.mask, bool::datum_type(), &[batch, &one, seq, seq]);
        let out = is(self.out, f32, &[batch, &heads, seq, &width]);
        let wide = self.plan.heads.checked_mul(self.plan.width)?;
        Some(rows && pairs && mask && out && self.plan.places > 0 && *columns == wide.to_dim())
    }

    /// Wires the operation, `(batch, seq, heads · width)`.
    fn wire(&self, name: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<OutletId> {
        let &[q, k, v, mask, by_query, by_key] = inputs else { bail!("attention over {} inputs", inputs.len()) };
        let mut places = |outlet, turned| {
            let op = Places { count: self.plan.places, turned };
            Ok::<_, TractError>(model.wire_node(format!("{name}.places-{turned}"), op, &[outlet])?[0])
        };
        let (by_query, by_key) = (places(by_query, false)?, places(by_key, true)?);
        let op = DisentangledAttention { plan: Arc::clone(&self.plan) };
        Ok(model.wire_node(format!("{name}.attention"), op, &[q, k, v, mask, by_query, by_key])?[0])
    }

    fn replace(&self, model: &mut TypedModel) -> TractResult<()> {
        let mut patch = TypedModelPatch::new("disentangled attention");
        let taps = patch.taps(model, &self.inputs())?;
        let name = model.node(self.out.node).name.clone();
        let out = self.wire(&name, &mut patch, &taps)?;
        let columns = patch.outlet_fact(out)?.shape[2].clone();
        let heads = tvec!(self.plan.heads.to_dim(), self.plan.width.to_dim());
        let out = patch.wire_node(format!("{name}.heads"), AxisOp::Reshape(2, tvec!(columns), heads), &[out])?;
        let out = patch.wire_node(format!("{name}.turned"), AxisOp::Move(2, 1), &out)?;
        patch.shunt_outside(model, self.out, out[0])?;
        patch.apply(model)
    }
}

/// Whether ours gives what the graph gives, on small random values.
fn proves(model: &TypedModel, found: &Found) -> bool {
    difference(model, found).is_ok_and(|d| d <= TOLERANCE)
}

/// The largest difference over the largest value.
fn difference(model: &TypedModel, found: &Found) -> TractResult<f32> {
    let (batch, seq) = PROOF;
    let inputs = random_inputs(found, batch, seq)?;
    let theirs = proof::run(model, &found.inputs(), found.out, inputs.clone())?;
    let ours = proof::wired(inputs, |ours, sources| found.wire("proof", ours, sources))?;
    proof::difference(&theirs.into_tensor().permute_axes(&[0, 2, 1, 3])?.into_shape(ours.shape())?, &ours)
}

fn random_inputs(found: &Found, batch: usize, seq: usize) -> TractResult<TVec<TValue>> {
    let (columns, places) = (found.plan.heads * found.plan.width, i64::try_from(found.plan.places)?);
    let mut random = Random::new();
    let mut out = tvec!();
    for _ in 0..3 {
        out.push(random.tensor(&[batch, seq, columns])?);
    }
    let mask: Vec<bool> = (0..batch * seq * seq).map(|_| random.next() % 4 == 0).collect();
    out.push(Tensor::from_shape(&[batch, 1, seq, seq], &mask)?.into_tvalue());
    for _ in 0..2 {
        let index: Vec<i64> = (0..seq * seq).map(|_| random.next() % places).collect();
        out.push(Tensor::from_shape(&[1, seq, seq], &index)?.into_tvalue());
    }
    Ok(out)
}
