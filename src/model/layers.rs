//! Tensor names as shaped views, layer by layer.

use super::hparams::Hparams;
use crate::error::{Error, Result};
use crate::gguf::{Gguf, TensorInfo};
use crate::quant::BlockType;

/// A matrix in the file; with `copies > 1` a stack of equal ones (experts), one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MatrixRef {
    /// Tensor name.
    pub name: String,
    /// Block type.
    pub ty: BlockType,
    /// Rows of one matrix.
    pub rows: usize,
    /// Columns of one matrix.
    pub cols: usize,
    /// Matrices in the stack.
    pub copies: usize,
}

/// A vector in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VectorRef {
    /// Tensor name.
    pub name: String,
    /// Values.
    pub len: usize,
}

/// The three matrices of `W_down(silu(W_gate z) ⊙ (W_up z))`, or stacks of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ffn {
    /// `(ffn, width)`
    pub gate: MatrixRef,
    /// `(ffn, width)`
    pub up: MatrixRef,
    /// `(width, ffn)`
    pub down: MatrixRef,
}

/// What one layer is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerPlan {
    /// `(width)`
    pub attn_norm: VectorRef,
    /// `(heads · head_dim, width)`
    pub q: MatrixRef,
    /// `(kv_heads · head_dim, width)`
    pub k: MatrixRef,
    /// `(kv_heads · head_dim, width)`
    pub v: MatrixRef,
    /// `(width, heads · head_dim)`
    pub o: MatrixRef,
    /// `(width)`
    pub ffn_norm: VectorRef,
    /// The dense feed-forward, or the shared expert of a layer with experts.
    pub ffn: Ffn,
    /// Router `(experts, width)` and the stacks of routed experts.
    pub routed: Option<(MatrixRef, Ffn)>,
    /// Whether queries and keys are rotated.
    pub rope: bool,
}

pub(super) struct Names<'a> {
    pub(super) gguf: &'a Gguf,
    pub(super) hparams: &'a Hparams,
}

impl Names<'_> {
    fn tensor(&self, name: &str, dims: &[usize]) -> Result<&TensorInfo> {
        let tensor = self.gguf.tensor(name).ok_or_else(|| Error::corrupt(format!("tensor {name} is missing")))?;
        // Trailing dimensions of 1 say nothing.
        let length = |d: &[u64]| d.iter().rposition(|v| *v != 1).map_or(0, |i| i + 1);
        let want: Vec<u64> = dims.iter().map(|d| *d as u64).collect();
        if tensor.dims[..length(&tensor.dims)] != want[..length(&want)] {
            return Err(Error::corrupt(format!("tensor {name}: dimensions {:?}, expected {want:?}", tensor.dims)));
        }
        Ok(tensor)
    }

    pub(super) fn matrix(&self, name: &str, rows: usize, cols: usize) -> Result<MatrixRef> {
        self.stack(name, rows, cols, 1)
    }

    fn stack(&self, name: &str, rows: usize, cols: usize, copies: usize) -> Result<MatrixRef> {
        let tensor = self.tensor(name, &[cols, rows, copies])?;
        Ok(MatrixRef { name: name.to_owned(), ty: tensor.block_type()?, rows, cols, copies })
    }

    pub(super) fn vector(&self, name: &str, len: usize) -> Result<VectorRef> {
        self.tensor(name, &[len])?.block_type()?;
        Ok(VectorRef { name: name.to_owned(), len })
    }

    fn ffn(&self, l: usize, suffix: &str, ffn: usize, copies: usize) -> Result<Ffn> {
        let width = self.hparams.width;
        let name = |part: &str| format!("blk.{l}.ffn_{part}{suffix}.weight");
        Ok(Ffn {
            gate: self.stack(&name("gate"), ffn, width, copies)?,
            up: self.stack(&name("up"), ffn, width, copies)?,
            down: self.stack(&name("down"), width, ffn, copies)?,
        })
    }

    pub(super) fn layer(&self, l: usize) -> Result<LayerPlan> {
        let h = self.hparams;
        let name = |part: &str| format!("blk.{l}.{part}.weight");
        let (q_rows, kv_rows) = (h.heads * h.head_dim, h.kv_heads * h.head_dim);
        self.refuse_biases(l)?;
        let (ffn, routed) = if self.has_experts(l) {
            let router = self.matrix(&name("ffn_gate_inp"), h.experts, h.width)?;
            let experts = self.ffn(l, "_exps", h.expert_ffn, h.experts)?;
            (self.ffn(l, "_shexp", h.expert_ffn, 1)?, Some((router, experts)))
        } else {
            (self.ffn(l, "", h.ffn, 1)?, None)
        };
        Ok(LayerPlan {
            attn_norm: self.vector(&name("attn_norm"), h.width)?,
            q: self.matrix(&name("attn_q"), q_rows, h.width)?,
            k: self.matrix(&name("attn_k"), kv_rows, h.width)?,
            v: self.matrix(&name("attn_v"), kv_rows, h.width)?,
            o: self.matrix(&name("attn_output"), h.width, q_rows)?,
            ffn_norm: self.vector(&name("ffn_norm"), h.width)?,
            ffn,
            routed,
            rope: h.has_rope(l),
        })
    }

    /// Whether layer `l` has routed experts: as its tensors say, by the file's period where they say nothing.
    fn has_experts(&self, l: usize) -> bool {
        let has = |part: &str| self.gguf.tensor(&format!("blk.{l}.{part}.weight")).is_some();
        match (has("ffn_gate_inp"), has("ffn_gate")) {
            (true, false) => self.hparams.experts > 0,
            (false, true) => false,
            _ => self.hparams.has_experts(l),
        }
    }

    /// Relatives of Llama that share its architecture name add biases; running them without would give wrong text.
    fn refuse_biases(&self, l: usize) -> Result<()> {
        for part in ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"] {
            let name = format!("blk.{l}.{part}.bias");
            if self.gguf.tensor(&name).is_some() {
                return Err(Error::unsupported(format!("tensor {name}: this build runs decoders without biases")));
            }
        }
        Ok(())
    }
}
