//! The decoder as a tract model: six kinds of our nodes, wired layer by layer.

use std::sync::Arc;

use tract_onnx::tract_hir::internal::*;

use super::importance::{ColumnSquares, Watch};
use super::ops::{Attention, AttentionPlan, Embed, FeedForward, FeedForwardWeights, Norm, Project, Select};
use crate::kernels::{Kernels, Precision};
use crate::weights::Matrix;

/// What the graph's nodes are made of.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) kernels: Kernels,
    pub(super) precision: Precision,
    pub(super) eps: f32,
    pub(super) embedding: Arc<Matrix>,
    pub(super) layers: Vec<LayerParts>,
    pub(super) output_norm: Arc<[f32]>,
    pub(super) output: Arc<[Matrix]>,
    /// Tensor name of the output matrix.
    pub(super) output_name: String,
    /// What the matrices meet is reported here.
    pub(super) watch: Option<Arc<ColumnSquares>>,
}

/// What one layer's nodes are made of.
#[derive(Debug)]
pub(super) struct LayerParts {
    pub(super) attn_norm: Arc<[f32]>,
    pub(super) qkv: Arc<[Matrix]>,
    pub(super) attention: Arc<AttentionPlan>,
    pub(super) o: Arc<[Matrix]>,
    pub(super) ffn_norm: Arc<[f32]>,
    pub(super) ffn: Arc<FeedForwardWeights>,
}

/// Wires and plans the graph. Input: token ids `(S)`; output: logits `(R, vocabulary)` of the rows that the turn keeps.
pub(super) fn plan(parts: &Parts) -> TractResult<Arc<TypedSimplePlan>> {
    let mut m = TypedModel::default();
    let s = m.symbols.sym("S");
    m.symbols.add_assertion("S>=1")?;
    let ids = m.add_source("ids", i64::fact(&[s.to_dim()]))?;
    let norm = |weight: &Arc<[f32]>| Norm { kernels: parts.kernels, weight: Arc::clone(weight), eps: parts.eps };
    let (kernels, precision) = (parts.kernels, parts.precision);
    let project = |weights: &Arc<[Matrix]>, residual, names: &[String]| Project {
        kernels,
        precision,
        weights: Arc::clone(weights),
        residual,
        watch: Watch::new(&parts.watch, names),
    };
    let mut x = m.wire_node("token_embd", Embed { table: Arc::clone(&parts.embedding) }, &[ids])?[0];
    for (l, layer) in parts.layers.iter().enumerate() {
        let name = |part: &str| format!("blk.{l}.{part}");
        let normed = m.wire_node(name("attn_norm"), norm(&layer.attn_norm), &[x])?[0];
        let qkv_names = ["q", "k", "v"].map(|part| name(&format!("attn_{part}.weight")));
        let qkv = m.wire_node(name("attn_qkv"), project(&layer.qkv, false, &qkv_names), &[normed])?;
        let attention = Attention { plan: Arc::clone(&layer.attention) };
        let mixed = m.wire_node(name("attn"), attention, &qkv)?[0];
        let o = project(&layer.o, true, &[name("attn_output.weight")]);
        x = m.wire_node(name("attn_output"), o, &[mixed, x])?[0];
        let normed = m.wire_node(name("ffn_norm"), norm(&layer.ffn_norm), &[x])?[0];
        let watch = Watch::new(&parts.watch, &[format!("blk.{l}")]);
        let ffn = FeedForward { kernels, precision, weights: Arc::clone(&layer.ffn), watch };
        x = m.wire_node(name("ffn"), ffn, &[normed, x])?[0];
    }
    let select = Select { rows: m.symbols.sym("R"), width: parts.output_norm.len() };
    x = m.wire_node("kept", select, &[x])?[0];
    x = m.wire_node("output_norm", norm(&parts.output_norm), &[x])?[0];
    let logits =
        m.wire_node("output", project(&parts.output, false, std::slice::from_ref(&parts.output_name)), &[x])?;
    m.select_output_outlets(&logits)?;
    m.into_optimized()?.into_runnable()
}
