//! A checked file becomes tract plans: one for any shape, and one for each shape that is asked for ahead.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use tract_onnx::model::ParseResult;
use tract_onnx::pb;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::konst::Const;
use tract_onnx::tract_hir::internal::*;

use super::airlock::{Checked, INPUTS};
use super::fold;
use super::recognize;
use super::tensor::{Head, MOST_NAME, short};
use super::wire::put_bytes;
use crate::error::{Error, Result};

/// A tensor computed while loading may have so many bytes.
const MOST_CONSTANT: u64 = 64 << 20;
/// And one computed in a run so many: attention scores of a long text over all heads.
const MOST_VALUE: u64 = 1 << 30;
/// More labels than a classifier has.
const MOST_LABELS: usize = 4096;

/// What a model is run with.
pub(super) struct Plans {
    pub(super) labels: usize,
    /// How many of [`INPUTS`] are fed, in their order.
    pub(super) inputs: usize,
    /// For any shape; `None` when shapes were named.
    general: Option<Arc<TypedSimplePlan>>,
    fixed: Vec<((usize, usize), Arc<TypedSimplePlan>)>,
    batch: Symbol,
    seq: Symbol,
    /// The shapes of all values, with their element size. Each stands once.
    shapes: Vec<(TVec<TDim>, u64)>,
}

impl Plans {
    /// The plan for a shape.
    pub(super) fn of(&self, batch: usize, seq: usize) -> Result<&Arc<TypedSimplePlan>> {
        let fixed = self.fixed.iter().find(|(shape, _)| *shape == (batch, seq)).map(|(_, plan)| plan);
        fixed.or(self.general.as_ref()).ok_or_else(|| {
            let shapes: Vec<_> = self.fixed.iter().map(|(shape, _)| shape).collect();
            Error::argument(format!("{batch} rows of {seq} tokens: the model was loaded for {shapes:?}"))
        })
    }

    /// Refuses a shape for which one value of the graph would be out of all proportion.
    pub(super) fn weigh(&self, batch: usize, seq: usize) -> Result<()> {
        let size = |n: usize| i64::try_from(n).map_err(|_| Error::limit(format!("{batch} rows of {seq} tokens")));
        let symbols = SymbolValues::default().with(&self.batch, size(batch)?).with(&self.seq, size(seq)?);
        for (dims, element) in &self.shapes {
            let bytes = dims.iter().try_fold(*element, |n, d| {
                let d = d.eval(&symbols).to_i64().ok().and_then(|d| u64::try_from(d).ok())?;
                Some(n.saturating_mul(d))
            });
            match bytes {
                Some(n) if n <= MOST_VALUE => {}
                found => {
                    let what = format!("{batch} rows of {seq} tokens need a value of shape {dims:?}");
                    return Err(Error::limit(format!("{what}, {found:?} bytes, at most {MOST_VALUE}")));
                }
            }
        }
        Ok(())
    }
}

/// Builds the plans. `values` gives the tensor of an initializer.
pub(super) fn load(
    checked: &Checked<'_>,
    values: &mut dyn FnMut(&Head<'_>) -> Result<Tensor>,
    shapes: &[(usize, usize)],
) -> Result<Plans> {
    let onnx = fold::reader();
    let proto = skeleton(checked, &onnx)?;
    let parsed = onnx.parse(&proto, None).map_err(bad)?;
    drop(proto);
    let mut graph = wired(parsed, checked, values)?;
    let order = input_order(&graph)?;
    graph.set_input_outlets(&order).map_err(bad)?;
    let (batch, seq) = (graph.symbols.sym("batch"), graph.symbols.sym("seq"));
    for i in 0..order.len() {
        graph.set_input_fact(i, i64::fact([batch.to_dim(), seq.to_dim()]).into()).map_err(bad)?;
    }
    let typed = graph.into_typed().map_err(bad)?;
    weigh_constants(&typed)?;
    let typed = typed.into_decluttered().map_err(bad)?;
    weigh_constants(&typed)?;
    let labels = labels(&typed, &batch)?;
    let typed = recognize::rewrite(typed).map_err(bad)?;
    let mut fixed = Vec::new();
    for &(rows, tokens) in shapes {
        let symbols = HashMap::from([(batch.clone(), rows.to_dim()), (seq.clone(), tokens.to_dim())]);
        let model = typed.set_symbols(&symbols).and_then(TypedModel::into_optimized).map_err(bad)?;
        fixed.push(((rows, tokens), model.into_runnable().map_err(bad)?));
    }
    let value_shapes = value_shapes(&typed);
    let general = if shapes.is_empty() {
        Some(typed.into_optimized().and_then(TypedModel::into_runnable).map_err(bad)?)
    } else {
        None
    };
    Ok(Plans { labels, inputs: order.len(), general, fixed, batch, seq, shapes: value_shapes })
}

/// The nodes alone, as tract reads them. Whatever else stands in the file stays there.
fn skeleton(checked: &Checked<'_>, onnx: &tract_onnx::Onnx) -> Result<pb::ModelProto> {
    let mut model = Vec::new();
    put_bytes(&mut model, 7, &checked.nodes.concat());
    let mut proto = onnx.proto_model_for_read(&mut model.as_slice()).map_err(bad)?;
    proto.opset_import = vec![pb::OperatorSetIdProto { domain: String::new(), version: checked.opset }];
    let graph = proto.graph.as_mut().ok_or_else(|| Error::internal("the graph is gone"))?;
    let value = |name: &str| pb::ValueInfoProto { name: name.to_owned(), r#type: Some(int64()), ..Default::default() };
    graph.input = checked.inputs.iter().map(|n| value(n)).collect();
    graph.output = vec![value(checked.output)];
    Ok(proto)
}

fn int64() -> pb::TypeProto {
    let tensor = pb::type_proto::Tensor { elem_type: pb::tensor_proto::DataType::Int64 as i32, shape: None };
    pb::TypeProto { value: Some(pb::type_proto::Value::TensorType(tensor)), ..Default::default() }
}

/// Puts the initializers where tract left open inputs. One that nothing reads is never loaded.
fn wired(
    parsed: ParseResult,
    checked: &Checked<'_>,
    values: &mut dyn FnMut(&Head<'_>) -> Result<Tensor>,
) -> Result<InferenceModel> {
    let mut graph = parsed.model;
    let heads: HashMap<&str, &Head<'_>> = checked.initializers.iter().map(|h| (h.name, h)).collect();
    for name in &parsed.unresolved_inputs {
        let missing = || Error::corrupt(format!("{:?} is read, but nothing gives it", short(name)));
        let head = heads.get(name.as_str()).ok_or_else(missing)?;
        let outlet = *parsed.outlets_by_name.get(name).ok_or_else(missing)?;
        let tensor = Arc::new(values(head)?);
        let fact: InferenceFact = TypedFact::try_from(Arc::clone(&tensor)).map_err(bad)?.into();
        graph.node_mut(outlet.node).op = Box::new(Const::new(tensor).map_err(bad)?);
        graph.set_outlet_fact(outlet, fact).map_err(bad)?;
    }
    Ok(graph)
}

/// Our order, whatever order the file has.
fn input_order(graph: &InferenceModel) -> Result<Vec<OutletId>> {
    let inputs = graph.input_outlets().map_err(bad)?;
    let of = |name: &&str| inputs.iter().find(|o| graph.node(o.node).name == **name).copied();
    Ok(INPUTS.iter().filter_map(of).collect())
}

/// Values whose size is known at load, other than weights, are what folding could make of them.
fn weigh_constants(model: &TypedModel) -> Result<()> {
    let mut seen = HashSet::new();
    for node in model.nodes().iter().filter(|n| !n.op_is::<Const>()) {
        for output in &node.outputs {
            let fact = &output.fact;
            let size = fact.datum_type.size_of() as u64;
            let bytes =
                fact.shape.dims().iter().try_fold(size, |n, d| Some(n.saturating_mul(d.to_usize().ok()? as u64)));
            if let Some(bytes) = bytes.filter(|n| *n > MOST_CONSTANT) {
                let name = short(&node.name);
                return Err(Error::limit(format!("{name}: {bytes} bytes while loading, at most {MOST_CONSTANT}")));
            }
        }
        if !seen.insert(&node.name) {
            return Err(Error::corrupt(format!("two nodes are named {:?}", short(&node.name))));
        }
    }
    Ok(())
}

fn labels(model: &TypedModel, batch: &Symbol) -> Result<usize> {
    let fact = model.output_fact(0).map_err(bad)?;
    let labels = match fact.shape.dims() {
        [rows, labels] if *rows == batch.to_dim() && fact.datum_type == f32::datum_type() => labels.to_usize().ok(),
        _ => None,
    };
    labels
        .filter(|n| (1..=MOST_LABELS).contains(n))
        .ok_or_else(|| Error::corrupt(format!("the output is {fact:?}, expected f32 logits of shape (batch, labels)")))
}

fn value_shapes(model: &TypedModel) -> Vec<(TVec<TDim>, u64)> {
    let mut seen = BTreeSet::new();
    let mut out = Vec::new();
    let facts = model.nodes().iter().filter(|n| !n.op_is::<Const>()).flat_map(|n| &n.outputs).map(|o| &o.fact);
    for fact in facts {
        let (dims, size) = (fact.shape.dims(), fact.datum_type.size_of() as u64);
        if seen.insert(format!("{dims:?} {size}")) {
            out.push((dims.into(), size));
        }
    }
    out
}

/// Our own error where one of our operators raised it; else the file is at fault.
fn bad(e: TractError) -> Error {
    if let Some(own) = e.chain().find_map(|cause| cause.downcast_ref::<Error>()) {
        return own.clone();
    }
    let text: String = format!("{e:#}").chars().take(MOST_NAME).collect();
    Error::corrupt(format!("not an ONNX classifier: {text}"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{OnnxClassifier, OnnxOptions};

    /// How often an operation stands in the plan of a model for any shape.
    fn count(file: &str, op: &str) -> usize {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/onnx").join(file);
        let model = OnnxClassifier::open(&path, &OnnxOptions::default()).unwrap();
        let plan = model.plans.general.as_ref().unwrap();
        plan.model().nodes().iter().filter(|n| n.op.name() == op).count()
    }

    #[test]
    fn the_attention_of_both_exporters_is_recognized_in_every_layer() {
        for file in ["legacy.onnx", "prompt-guard/model.onnx", "token_types.onnx"] {
            assert_eq!(count(file, "DisentangledAttention"), 2, "{file}");
            assert_eq!(count(file, "Places"), 2, "{file}");
            assert_eq!(count(file, "Linear"), 2 * 6 + 2, "{file}");
            // That of the embeddings; the others stand behind a product.
            assert_eq!(count(file, "LayerNorm"), 1, "{file}");
            for op in ["Softmax", "Erf", "RmsNorm"] {
                assert_eq!(count(file, op), 0, "{file} {op}");
            }
        }
    }

    #[test]
    fn encoders_of_both_exporters_are_recognized_in_every_layer() {
        for form in [
            "bool-legacy",
            "bool-dynamo",
            "eager-legacy",
            "eager-dynamo",
            "tanh-legacy",
            "tanh-dynamo",
            "channels",
            "tensors",
        ] {
            let file = format!("encoders/{form}.onnx");
            assert_eq!(count(&file, "MultiHeadAttention"), 2, "{file}");
            assert_eq!(count(&file, "Linear"), 2 * 6, "{file}");
            // That of the embeddings and the one that norms a norm's values again; the others stand behind a product.
            assert_eq!(count(&file, "LayerNorm"), 2, "{file}");
            for op in ["Softmax", "Erf", "GeluExact", "Tanh", "RmsNorm", "IsNan"] {
                assert_eq!(count(&file, op), 0, "{file} {op}");
            }
        }
    }

    #[test]
    fn the_embedded_classifier_is_recognized() {
        let model =
            OnnxClassifier::from_bytes("embedded", include_bytes!("../../../guards/classifier/model.onnx")).unwrap();
        let plan = model.plans.general.as_ref().unwrap();
        let count = |op: &str| plan.model().nodes().iter().filter(|n| n.op.name() == op).count();
        let found = ["MultiHeadAttention", "Neighbours", "SoftmaxColumns", "Softmax", "RmsNorm", "Conv"].map(count);
        assert_eq!(found, [6, 0, 1, 0, 0, 0]);
    }

    /// What the length decides is computed while loading, not in runs.
    #[test]
    fn a_plan_for_one_shape_has_its_relative_positions() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/onnx/legacy.onnx");
        let options = OnnxOptions { shapes: &[(1, 64)], ..OnnxOptions::default() };
        let model = OnnxClassifier::open(&path, &options).unwrap();
        let (_, plan) = &model.plans.fixed[0];
        for op in ["Places", "Range", "Ln", "Min", "Max"] {
            assert!(plan.model().nodes().iter().all(|n| n.op.name() != op), "{op}");
        }
    }
}
