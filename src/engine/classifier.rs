//! Encoder classifiers from ONNX: token ids and mask in, one row of logits for each text out.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

use tract_onnx::pb;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::DimLike;

use super::from_tract;
use crate::error::{Error, Kind, Result};

/// Loading and running walk the graph recursively, and a host's thread may have little stack (512 KiB on some systems).
/// So both happen on a thread of our own; tract's scratch memory is freed on the thread that used it.
const STACK: usize = 8 << 20;
/// Larger model files are refused before they are parsed.
const MOST_BYTES: usize = 2 << 30;
/// And graphs with more nodes.
const MOST_NODES: usize = 50_000;
/// One run may hold so many token places.
const MOST_TOKENS: usize = 1 << 16;
/// Graphs inside graphs.
const MOST_DEPTH: usize = 8;

/// A loaded classifier. It takes `input_ids` and `attention_mask`, both i64 of shape (batch, seq), and gives f32 logits
/// of shape (batch, labels).
pub struct OnnxClassifier {
    plan: Arc<TypedSimplePlan>,
    labels: usize,
}

impl OnnxClassifier {
    /// Loads a model from the bytes of an ONNX file. `name` is for messages.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] when tract cannot read it or its inputs and outputs are not those above, [`Kind::Unsupported`]
    /// when it keeps weights in other files, [`Kind::Limit`] when it is too large.
    pub fn from_bytes(name: &str, model: &[u8]) -> Result<Self> {
        if model.len() > MOST_BYTES {
            return Err(Error::limit(format!("{name}: {} bytes, at most {MOST_BYTES}", model.len())));
        }
        on_own_stack(|| load(model)).map_err(|e| e.context(name))
    }

    /// How many labels a row of logits has.
    #[must_use]
    pub fn labels(&self) -> usize {
        self.labels
    }

    /// Runs the model once over `batch` rows of `seq` tokens: ids and mask lie row after row. Returns (batch, labels)
    /// logits. `stop` is asked before every node.
    ///
    /// # Errors
    /// What `stop` returns; [`Kind::Argument`] when lengths do not fit; [`Kind::GuardInvalid`] when a logit is not a
    /// finite number; [`Kind::Internal`] when the run fails.
    pub fn logits(
        &self,
        ids: &[i64],
        mask: &[i64],
        batch: usize,
        seq: usize,
        stop: &(dyn Fn() -> Result<()> + Sync),
    ) -> Result<Vec<f32>> {
        let places = batch.checked_mul(seq).filter(|n| (1..=MOST_TOKENS).contains(n));
        if places != Some(ids.len()) || ids.len() != mask.len() {
            let (i, m) = (ids.len(), mask.len());
            return Err(Error::argument(format!(
                "{batch} rows of {seq} tokens do not fit {i} ids and {m} mask places"
            )));
        }
        let logits = on_own_stack(|| self.run(ids, mask, batch, seq, stop))?;
        match logits.iter().find(|x| !x.is_finite()) {
            Some(x) => Err(Error::guard_invalid(format!("the classifier gave {x} for a logit"))),
            None => Ok(logits),
        }
    }

    fn run(
        &self,
        ids: &[i64],
        mask: &[i64],
        batch: usize,
        seq: usize,
        stop: &(dyn Fn() -> Result<()> + Sync),
    ) -> Result<Vec<f32>> {
        let failed = |e: TractError| from_tract("running the classifier", &e);
        let tensor = |values: &[i64]| Tensor::from_shape(&[batch, seq], values).map(Tensor::into_tvalue);
        let inputs = tvec!(tensor(ids).map_err(failed)?, tensor(mask).map_err(failed)?);
        let mut state = self.plan.spawn().map_err(failed)?;
        let outputs = state
            .run_plan_with_eval(inputs, |context, state, node, inputs| {
                stop().map_err(TractError::new)?;
                tract_onnx::tract_core::plan::eval(context, state, node, inputs)
            })
            .map_err(failed)?;
        let output = outputs.first().ok_or_else(|| Error::internal("the classifier gave no output"))?;
        let view = output.to_plain_array_view::<f32>().map_err(failed)?;
        if view.shape() != [batch, self.labels] {
            return Err(Error::guard_invalid(format!("logits of shape {:?} for {batch} texts", view.shape())));
        }
        Ok(view.iter().copied().collect())
    }
}

impl std::fmt::Debug for OnnxClassifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OnnxClassifier").field("labels", &self.labels).finish_non_exhaustive()
    }
}

fn load(model: &[u8]) -> Result<OnnxClassifier> {
    let bad = |e: TractError| Error::corrupt(format!("not an ONNX classifier: {e:#}"));
    let onnx = tract_onnx::onnx().with_ignore_value_info(true);
    let mut bytes = model;
    let proto = onnx.proto_model_for_read(&mut bytes).map_err(bad)?;
    let graph = proto.graph.as_ref().ok_or_else(|| Error::corrupt("the file holds no graph"))?;
    check_graph(graph, MOST_DEPTH)?;
    let mut graph = onnx.model_for_proto_model(&proto).map_err(bad)?;
    let order = input_order(&graph)?;
    graph.set_input_outlets(&order).map_err(bad)?;
    let (batch, seq) = (graph.symbols.sym("batch"), graph.symbols.sym("seq"));
    for i in 0..order.len() {
        graph.set_input_fact(i, i64::fact([batch.to_dim(), seq.to_dim()]).into()).map_err(bad)?;
    }
    let typed = graph.into_typed().map_err(bad)?.into_optimized().map_err(bad)?;
    let fact = typed.output_fact(0).map_err(bad)?;
    let labels = match fact.shape.dims() {
        [rows, labels] if *rows == batch.to_dim() && fact.datum_type == f32::datum_type() => labels.to_usize().ok(),
        _ => None,
    };
    let labels = labels.filter(|n| (1..=4096).contains(n)).ok_or_else(|| {
        Error::corrupt(format!("the output is {fact:?}, expected f32 logits of shape (batch, labels)"))
    })?;
    Ok(OnnxClassifier { plan: typed.into_runnable().map_err(bad)?, labels })
}

/// `input_ids` first, then `attention_mask`, whatever order the file has.
fn input_order(graph: &InferenceModel) -> Result<Vec<OutletId>> {
    let inputs = graph.input_outlets().map_err(|e| Error::corrupt(format!("inputs: {e:#}")))?;
    let names: Vec<&str> = inputs.iter().map(|o| graph.node(o.node).name.as_str()).collect();
    let of = |name: &str| names.iter().position(|n| *n == name).and_then(|i| inputs.get(i)).copied();
    match (of("input_ids"), of("attention_mask"), inputs.len()) {
        (Some(ids), Some(mask), 2) => Ok(vec![ids, mask]),
        _ => Err(Error::corrupt(format!("the inputs are {names:?}, expected input_ids and attention_mask"))),
    }
}

/// Refuses weights in other files and graphs out of all proportion before tract looks at them.
fn check_graph(graph: &pb::GraphProto, depth: usize) -> Result<()> {
    if depth == 0 || graph.node.len() > MOST_NODES {
        return Err(Error::limit(format!(
            "more than {MOST_NODES} nodes, or graphs nested more than {MOST_DEPTH} deep"
        )));
    }
    if !graph.sparse_initializer.is_empty() {
        return Err(Error::unsupported("sparse initializers"));
    }
    graph.initializer.iter().try_for_each(check_tensor)?;
    for attribute in graph.node.iter().flat_map(|n| &n.attribute) {
        attribute.t.iter().chain(&attribute.tensors).try_for_each(check_tensor)?;
        attribute.g.iter().chain(&attribute.graphs).try_for_each(|g| check_graph(g, depth - 1))?;
    }
    Ok(())
}

fn check_tensor(tensor: &pb::TensorProto) -> Result<()> {
    let external = tensor.data_location == Some(pb::tensor_proto::DataLocation::External as i32);
    if external || !tensor.external_data.is_empty() {
        return Err(Error::unsupported(format!("tensor {:?} keeps its data in another file", short(&tensor.name))));
    }
    let elements = tensor.dims.iter().try_fold(1u64, |n, d| n.checked_mul(u64::try_from(*d).ok()?));
    if tensor.dims.len() > 8 || elements.is_none_or(|n| n > 1 << 31) {
        return Err(Error::limit(format!("tensor {:?} has dimensions {:?}", short(&tensor.name), tensor.dims)));
    }
    Ok(())
}

fn short(name: &str) -> String {
    name.chars().take(80).collect()
}

/// Runs `work` on a thread with enough stack and waits for it. A panic becomes an error.
fn on_own_stack<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let fenced = move || {
        catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| {
            std::mem::forget(payload);
            Err(Error::internal("the ONNX runtime panicked"))
        })
    };
    thread::scope(|scope| {
        let builder = thread::Builder::new().name("palisade-classifier".into()).stack_size(STACK);
        let handle =
            builder.spawn_scoped(scope, fenced).map_err(|e| Error::new(Kind::Memory, format!("a thread: {e}")))?;
        handle.join().unwrap_or_else(|_| Err(Error::internal("the classifier's thread died")))
    })
}
