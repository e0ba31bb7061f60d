//! Where the time of runs goes, and how much work the shapes of a model ask for.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::model::{MatrixRef, Model};
use crate::weights::packed_bytes;

/// A part of the decoder's graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Rows of the embedding table.
    Embedding,
    /// Norms before attention, before the feed-forward and before the output matrix.
    Norms,
    /// Projection to queries, keys and values.
    Qkv,
    /// Attention over the past.
    Attention,
    /// Projection of what attention gives, with the residual.
    AttentionOutput,
    /// Feed-forward layers: router, shared and routed experts.
    FeedForward,
    /// The matrix to the vocabulary.
    OutputMatrix,
}

impl Phase {
    /// All of them, in the order they run.
    pub const ALL: [Self; 7] = [
        Self::Embedding,
        Self::Norms,
        Self::Qkv,
        Self::Attention,
        Self::AttentionOutput,
        Self::FeedForward,
        Self::OutputMatrix,
    ];

    /// Its name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Embedding => "embedding",
            Self::Norms => "norms",
            Self::Qkv => "qkv",
            Self::Attention => "attention",
            Self::AttentionOutput => "attention_output",
            Self::FeedForward => "feed_forward",
            Self::OutputMatrix => "output_matrix",
        }
    }

    /// The phase of a node by its name in the graph; none for what only moves values.
    fn of(node: &str) -> Option<Self> {
        match node.rsplit('.').next()? {
            "token_embd" => Some(Self::Embedding),
            "attn_norm" | "ffn_norm" | "output_norm" => Some(Self::Norms),
            "attn_qkv" => Some(Self::Qkv),
            "attn" => Some(Self::Attention),
            "attn_output" => Some(Self::AttentionOutput),
            "ffn" => Some(Self::FeedForward),
            "output" => Some(Self::OutputMatrix),
            _ => None,
        }
    }
}

/// Time of each phase, summed over the runs it was given to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    phases: [Duration; Phase::ALL.len()],
    total: Duration,
}

impl Profile {
    /// Time of one phase.
    #[must_use]
    pub fn phase(&self, phase: Phase) -> Duration {
        self.phases.get(phase as usize).copied().unwrap_or_default()
    }

    /// Time of the runs from start to end.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.total
    }

    /// Time in no phase: the plan's own steps, copies in and out, waking threads.
    #[must_use]
    pub fn overhead(&self) -> Duration {
        self.total.saturating_sub(self.phases.iter().sum())
    }

    pub(super) fn add_node(&mut self, name: &str, time: Duration) {
        if let Some(slot) = Phase::of(name).and_then(|phase| self.phases.get_mut(phase as usize)) {
            *slot += time;
        }
    }

    pub(super) fn add_run(&mut self, time: Duration) {
        self.total += time;
    }
}

/// What the matrices ask of one token, by their shapes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Bytes of weights read for a token that is computed alone, in kernel order: all matrices, of the routed experts as many
    /// as a token uses, of the embedding table nothing.
    pub bytes: u64,
    /// Multiplications with addition in the layers.
    pub layer_macs: u64,
    /// Multiplications with addition in the output matrix, which a prompt needs once a batch.
    pub output_macs: u64,
}

impl Work {
    /// Counts the matrices of `model`.
    ///
    /// # Errors
    /// [`crate::error::Kind::Limit`] when the numbers do not fit.
    pub fn of(model: &Model) -> Result<Self> {
        let mut work = Self::default();
        work.output_macs = work.add(&model.output, 1)?;
        for layer in &model.layers {
            let dense = [&layer.q, &layer.k, &layer.v, &layer.o, &layer.ffn.gate, &layer.ffn.up, &layer.ffn.down];
            for matrix in dense.into_iter().chain(layer.routed.as_ref().map(|(router, _)| router)) {
                work.layer_macs = work.layer_macs.saturating_add(work.add(matrix, 1)?);
            }
            if let Some((_, experts)) = &layer.routed {
                for matrix in [&experts.gate, &experts.up, &experts.down] {
                    work.layer_macs = work.layer_macs.saturating_add(work.add(matrix, model.hparams.experts_used)?);
                }
            }
        }
        Ok(work)
    }

    /// Adds the bytes of `copies` of a matrix; their multiplications.
    fn add(&mut self, matrix: &MatrixRef, copies: usize) -> Result<u64> {
        let times =
            |one: u64| one.checked_mul(copies as u64).ok_or_else(|| Error::limit("the work does not fit 64 bits"));
        self.bytes = self.bytes.saturating_add(times(packed_bytes(matrix.ty, matrix.rows, matrix.cols)?)?);
        times((matrix.rows as u64).saturating_mul(matrix.cols as u64))
    }
}
