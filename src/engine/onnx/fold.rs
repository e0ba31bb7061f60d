//! Operators as tract knows them, weighed before tract folds them: a few bytes of file can ask for exabytes of constant.

use std::cell::RefCell;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use tract_onnx::Onnx;
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_core::ops::EvalOp;
use tract_onnx::tract_hir::internal::*;

use super::operators::OPERATORS;
use super::tensor::{MOST_RANK, short};
use super::{dequantize, gather};
use crate::error::Error;

/// A constant that the engine computes while it loads may have so many bytes …
const MOST_FOLDED: u64 = 64 << 20;
/// … and all of them together so many. The tables of relative positions of twelve wide layers need a third of it.
const MOST_FOLDED_TOGETHER: u64 = 1 << 30;
/// What quantized weights may become, in bytes, all of them together.
const MOST_DEQUANTIZED: u64 = 2 << 30;
/// The largest size that is written as a number.
const MOST_SIZE: i64 = 1 << 30;
/// Loading takes seconds; a graph made to be slow is given up.
const MOST_TIME: Duration = Duration::from_secs(120);

static STOCK: LazyLock<Onnx> = LazyLock::new(tract_onnx::onnx);

thread_local! {
    /// What loading on this thread may still spend. An operator's builder is a plain function and can carry no state.
    static BUDGET: RefCell<Budget> = RefCell::new(Budget::new());
}

struct Budget {
    deadline: Option<Instant>,
    folded: u64,
    dequantized: u64,
}

impl Budget {
    fn new() -> Self {
        Self { deadline: Instant::now().checked_add(MOST_TIME), folded: 0, dequantized: 0 }
    }
}

/// tract's reader with our operators alone, each one weighed. To be used on the thread that asked, soon.
pub(super) fn reader() -> Onnx {
    BUDGET.replace(Budget::new());
    let mut onnx = tract_onnx::onnx().with_ignore_value_info(true);
    onnx.op_register.0.clear();
    for op in OPERATORS {
        onnx.op_register.insert(op, weighed);
    }
    onnx
}

/// Counts weights that leave their eight bits.
pub(super) fn pay(bytes: u64) -> TractResult<()> {
    let all = BUDGET.with_borrow_mut(|b| {
        b.dequantized = b.dequantized.saturating_add(bytes);
        b.dequantized
    });
    if all > MOST_DEQUANTIZED {
        return refuse(format!("quantized weights become {all} bytes, at most {MOST_DEQUANTIZED}"));
    }
    Ok(())
}

fn weighed(context: &ParsingContext<'_>, node: &NodeProto) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    let builder = STOCK.op_register.0.get(&node.op_type);
    let builder = builder.ok_or_else(|| TractError::new(Error::unsupported(format!("operator {}", node.op_type))))?;
    let (op, closures) = builder(context, node)?;
    let op = match node.op_type.as_str() {
        // A constant's size is known and paid for; tract looks for its type.
        "Constant" => op,
        // What it makes are weights, which are counted by themselves.
        "DequantizeLinear" => dequantize::build(node)?,
        "GatherElements" => Box::new(Weighed { op: gather::build(node)?, sizes: Sizes::None }),
        kind => Box::new(Weighed { op, sizes: Sizes::of(kind) }),
    };
    Ok((op, closures))
}

/// Which inputs of an operator are sizes of its output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sizes {
    None,
    /// The input of this index is a list of them.
    At(usize),
    /// As `At(1)`, and one of them may be left open as -1.
    Reshape,
    /// All are bounds.
    Range,
}

impl Sizes {
    fn of(op: &str) -> Self {
        match op {
            "ConstantOfShape" => Self::At(0),
            "Expand" | "Tile" => Self::At(1),
            "Reshape" => Self::Reshape,
            "Range" => Self::Range,
            _ => Self::None,
        }
    }

    fn is_at(self, input: usize) -> bool {
        match self {
            Self::None => false,
            Self::At(at) => at == input,
            Self::Reshape => input == 1,
            Self::Range => true,
        }
    }
}

/// An operator whose output is weighed before it is computed at load.
#[derive(Debug, Clone)]
struct Weighed {
    op: Box<dyn InferenceOp>,
    sizes: Sizes,
}

type Facts = TVec<InferenceFact>;

impl Weighed {
    fn weigh(&self, outputs: &Facts, folding: bool) -> TractResult<()> {
        for fact in outputs {
            let dims: Vec<Option<u64>> =
                fact.shape.dims().map(|d| d.concretize()?.to_usize().ok().map(|d| d as u64)).collect();
            if dims.len() > MOST_RANK {
                return refuse(format!("{} gives {} dimensions, at most {MOST_RANK}", self.op.name(), dims.len()));
            }
            let size = fact.datum_type().map_or(8, |t| t.size_of() as u64).max(1);
            let bytes = dims.iter().try_fold(size, |n, d| Some(n.saturating_mul((*d)?)));
            let Some(bytes) = bytes.filter(|_| !fact.shape.is_open()) else { continue };
            let folded = BUDGET.with_borrow_mut(|b| {
                b.folded = b.folded.saturating_add(if folding { bytes } else { 0 });
                b.folded
            });
            if bytes > MOST_FOLDED || folded > MOST_FOLDED_TOGETHER {
                let (op, most, all) = (self.op.name(), MOST_FOLDED, MOST_FOLDED_TOGETHER);
                return refuse(format!("{op} would give {bytes} bytes while loading, at most {most}, together {all}"));
            }
        }
        Ok(())
    }

    /// Sizes that are known are sizes: tract would cut them to 32 bits, and looks for two open ones without end.
    fn check_sizes(&self, inputs: &[&InferenceFact]) -> TractResult<()> {
        for (_, fact) in inputs.iter().enumerate().filter(|(i, _)| self.sizes.is_at(*i)) {
            let Some(value) = fact.value.concretize().filter(|v| !v.datum_type().is_float()) else { continue };
            let known: Vec<i64> = if value.datum_type() == TDim::datum_type() {
                value.try_as_plain_ram()?.as_slice::<TDim>()?.iter().filter_map(|d| d.to_i64().ok()).collect()
            } else {
                value.cast_to::<i64>()?.try_as_plain_ram()?.as_slice::<i64>()?.to_vec()
            };
            let lowest = if self.sizes == Sizes::Range { -MOST_SIZE } else { -1 };
            let open = known.iter().filter(|d| **d == -1).count();
            let odd = known.iter().any(|d| !(lowest..=MOST_SIZE).contains(d));
            if odd || value.len() > MOST_RANK || (self.sizes != Sizes::Range && open > 1) {
                return refuse(format!("{} with the sizes {}", self.op.name(), short(&format!("{known:?}"))));
            }
        }
        Ok(())
    }
}

fn refuse<T>(what: String) -> TractResult<T> {
    Err(TractError::new(Error::limit(what)))
}

impl InferenceOp for Weighed {
    fn infer(
        &mut self,
        inputs: TVec<&InferenceFact>,
        outputs: TVec<&InferenceFact>,
        observed: TVec<&InferenceFact>,
    ) -> TractResult<(Facts, Facts, Facts)> {
        if BUDGET.with_borrow(|b| b.deadline.is_none_or(|d| Instant::now() > d)) {
            return refuse(format!("loading takes longer than {MOST_TIME:?}"));
        }
        self.check_sizes(&inputs)?;
        let facts = self.op.infer_facts(inputs.clone(), outputs.clone(), observed.clone())?;
        let constant = |f: &InferenceFact| f.value.is_concrete();
        let known = !facts.0.is_empty() && facts.0.iter().all(constant) && !facts.1.iter().all(constant);
        // What cannot be weighed is not computed here.
        let folding = known && facts.1.iter().all(|f| f.shape.is_concrete());
        self.weigh(&facts.1, folding)?;
        if folding { self.op.infer(inputs, outputs, observed) } else { Ok(facts) }
    }

    fn infer_facts(
        &mut self,
        inputs: TVec<&InferenceFact>,
        outputs: TVec<&InferenceFact>,
        observed: TVec<&InferenceFact>,
    ) -> TractResult<(Facts, Facts, Facts)> {
        self.op.infer_facts(inputs, outputs, observed)
    }

    fn observe_outlets(&self, model: &InferenceModel, node: &InferenceNode) -> TractResult<Vec<OutletId>> {
        self.op.observe_outlets(model, node)
    }

    fn incorporate(&self, model: &InferenceModel, node: &InferenceNode) -> TractResult<Option<InferenceModelPatch>> {
        self.op.incorporate(model, node)
    }

    fn nboutputs(&self) -> TractResult<usize> {
        self.op.nboutputs()
    }

    fn to_typed(
        &self,
        source: &InferenceModel,
        node: &InferenceNode,
        target: &mut TypedModel,
        mapping: &HashMap<OutletId, OutletId>,
    ) -> TractResult<TVec<OutletId>> {
        self.op.to_typed(source, node, target, mapping)
    }

    as_op!();
}

impl Op for Weighed {
    fn name(&self) -> StaticName {
        self.op.name()
    }

    not_a_typed_op!();
}

impl EvalOp for Weighed {
    fn eval_out_of_plan(&self, inputs: TVec<TValue>) -> TractResult<Option<TVec<TValue>>> {
        self.op.eval_out_of_plan(inputs)
    }
}

/// As with tract's own expansions: no two are known to be the same.
impl PartialEq for Weighed {
    fn eq(&self, _: &Self) -> bool {
        false
    }
}

impl Eq for Weighed {}
