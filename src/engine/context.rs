//! One conversation's past, and the runs that extend it.

use std::sync::Arc;
use std::time::Instant;

use tract_onnx::prelude::*;
use tract_onnx::tract_core::plan::eval;

use super::decoder::Decoder;
use super::ops::{AttentionState, Turn};
use super::profile::Profile;
use super::{Stopped, from_tract};
use crate::cancel::CancelFlag;
use crate::error::{Error, Result};
use crate::model::Model;

/// What the host may do to a run while it goes on.
#[derive(Default)]
pub struct RunControl<'a> {
    /// Looked at before every node of the graph.
    pub cancel: CancelFlag,
    /// Hears of `(tokens done, tokens to do)` after every batch.
    pub progress: Option<&'a mut (dyn FnMut(usize, usize) + Send)>,
    /// Is told where the time went. Without it no clock is read.
    pub profile: Option<&'a mut Profile>,
}

/// Tokens scored together: their logits are kept until their probabilities are known.
const SCORE_BATCH: usize = 32;

/// A conversation: the past of every layer. A run that fails or is cancelled leaves it as it was before the batch that
/// failed.
pub struct Context {
    decoder: Arc<Decoder>,
    state: TypedSimpleState,
    len: usize,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("len", &self.len).finish_non_exhaustive()
    }
}

impl Context {
    pub(super) fn new(decoder: Arc<Decoder>, plan: &Arc<TypedSimplePlan>) -> Result<Self> {
        let state = plan.spawn().map_err(|e| from_tract("opening a conversation", &e))?;
        Ok(Self { decoder, state, len: 0 })
    }

    /// Positions so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing was said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that the past takes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.layers().map(|l| l.cache.bytes()).sum()
    }

    fn layers(&self) -> impl Iterator<Item = &AttentionState> {
        self.state.op_states.iter().flatten().filter_map(|s| s.downcast_ref::<AttentionState>())
    }

    /// Appends `ids` and gives the logits after the last of them, `(vocabulary)`.
    ///
    /// # Errors
    /// [`crate::error::Kind::Argument`] for no ids or one outside the vocabulary, [`crate::error::Kind::Limit`] when the
    /// conversation would grow past its length, [`crate::error::Kind::Cancelled`], and the engine's.
    pub fn feed(&mut self, ids: &[u32], control: &mut RunControl<'_>) -> Result<Vec<f32>> {
        let limit = self.decoder.context;
        self.check(ids)?;
        if ids.len() > limit.saturating_sub(self.len) {
            return Err(Error::limit(format!(
                "{} tokens after {} do not fit the context of {limit} tokens",
                ids.len(),
                self.len
            )));
        }
        let (mut done, mut logits) = (0, Vec::new());
        while done < ids.len() {
            let batch = self.batch(&ids[done..], self.decoder.batch);
            logits = self.run(batch, control)?;
            done += batch.len();
            if let Some(progress) = control.progress.as_mut() {
                progress(done, ids.len());
            }
        }
        Ok(logits)
    }

    /// The first of `ids` that run together: at most `most`, and none past the end of an attention chunk, so that chunked
    /// layers never hold more than one chunk.
    fn batch<'a>(&self, ids: &'a [u32], most: usize) -> &'a [u32] {
        let to_border = self.decoder.model.hparams.chunk.map_or(usize::MAX, |c| c - self.len % c);
        &ids[..ids.len().min(most).min(to_border)]
    }

    /// Log-probability of each id after the first, given those before it.
    pub(super) fn score(mut self, ids: &[u32], control: &mut RunControl<'_>) -> Result<Vec<f32>> {
        self.check(ids)?;
        let vocab = self.decoder.model.hparams.vocab;
        let Some((_, inputs)) = ids.split_last().filter(|(_, rest)| !rest.is_empty()) else {
            return Err(Error::argument("scoring needs at least two token ids"));
        };
        let mut out = Vec::with_capacity(inputs.len());
        while out.len() < inputs.len() {
            let batch = self.batch(&inputs[out.len()..], SCORE_BATCH);
            let logits = self.run(batch, control)?; // (S, vocabulary)
            for row in logits.chunks_exact(vocab) {
                let next = ids.get(out.len() + 1).copied().unwrap_or(0) as usize;
                out.push(log_probability(row, next)?);
            }
            if let Some(progress) = control.progress.as_mut() {
                progress(out.len(), inputs.len());
            }
        }
        Ok(out)
    }

    /// Forgets every position from `len` on.
    ///
    /// # Errors
    /// [`crate::error::Kind::State`] when a chunked layer has already dropped what position `len` looks back on; start a new
    /// conversation then.
    pub fn truncate(&mut self, len: usize) -> Result<()> {
        if len >= self.len {
            return Ok(());
        }
        let chunk = self.decoder.model.hparams.chunk.unwrap_or(usize::MAX);
        let needed = len / chunk * chunk;
        if self.layers().any(|l| l.cache.oldest() > needed) {
            return Err(Error::state(format!("position {len} lies in an attention chunk that was dropped")));
        }
        self.set_len(len);
        Ok(())
    }

    fn set_len(&mut self, len: usize) {
        for state in self.state.op_states.iter_mut().flatten() {
            if let Some(layer) = state.downcast_mut::<AttentionState>() {
                layer.cache.truncate(len);
            }
        }
        self.len = len;
    }

    fn check(&self, ids: &[u32]) -> Result<()> {
        let vocab = self.decoder.model.hparams.vocab;
        match ids.iter().find(|id| **id as usize >= vocab) {
            _ if ids.is_empty() => Err(Error::argument("no token ids")),
            Some(id) => Err(Error::argument(format!("token id {id}, expected less than {vocab}"))),
            None => Ok(()),
        }
    }

    /// One pass of the graph over `ids`. All or nothing.
    fn run(&mut self, ids: &[u32], control: &mut RunControl<'_>) -> Result<Vec<f32>> {
        let RunControl { cancel, profile, .. } = control;
        let start = profile.is_some().then(Instant::now);
        let ids: Vec<i64> = ids.iter().map(|id| i64::from(*id)).collect();
        let (state, model, past) = (&mut self.state, &self.decoder.model, self.len);
        // Nothing is computed on the host's thread: its rounding mode is its own.
        let result = self.decoder.pool.install(|| -> TractResult<Vec<f32>> {
            // A clone of the state or a reset empties the shared storage, so every run brings its own.
            state.turn_state.shared.insert(turn(model, past, ids.len()));
            let input = tensor1(&ids).into_tvalue();
            let mut outputs = state.run_plan_with_eval(tvec!(input), |ctx, state, node, inputs| -> TractResult<_> {
                if cancel.is_raised() {
                    return Err(Stopped.into());
                }
                let Some(profile) = profile.as_deref_mut() else { return eval(ctx, state, node, inputs) };
                let start = Instant::now();
                let outputs = eval(ctx, state, node, inputs);
                profile.add_node(&node.name, start.elapsed());
                outputs
            })?;
            let logits = outputs.remove(0);
            Ok(logits.try_as_plain_ram()?.as_slice::<f32>()?.to_vec())
        });
        if let Some((profile, start)) = profile.as_mut().zip(start) {
            profile.add_run(start.elapsed());
        }
        match result {
            Ok(logits) => {
                self.len += ids.len();
                Ok(logits)
            }
            Err(e) => {
                let error = from_tract("running the decoder", &e);
                self.state.reset_turn().map_err(|e| from_tract("resetting the decoder", &e))?;
                self.set_len(self.len);
                Err(error)
            }
        }
    }
}

/// Angles and temperatures of the next `n` positions. Chunked layers see differences inside one chunk only, so the
/// rotation counts positions from the chunk's start, which keeps single-precision sines exact at any length.
fn turn(model: &Model, past: usize, n: usize) -> Turn {
    let pairs = model.rope.frequencies.len();
    let (mut cos, mut sin) = (vec![0.0f32; n * pairs], vec![0.0f32; n * pairs]);
    for (i, (cos, sin)) in cos.chunks_exact_mut(pairs).zip(sin.chunks_exact_mut(pairs)).enumerate() {
        let position = past + i;
        model.rope.angles(model.hparams.chunk.map_or(position, |c| position % c), cos, sin);
    }
    let temperature = (past..past + n).map(|p| model.hparams.temperature.map_or(1.0, |t| t.at(p))).collect();
    Turn { past, cos: cos.into(), sin: sin.into(), temperature }
}

/// `logits[id] − log Σ exp(logits)`, summed in double precision.
fn log_probability(logits: &[f32], id: usize) -> Result<f32> {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|l| f64::from(l - max).exp()).sum();
    let own = logits.get(id).copied().ok_or_else(|| Error::argument(format!("token id {id}")))?;
    let value = f64::from(own - max) - sum.ln();
    if value.is_nan() { Err(Error::numeric("the model's logits are not numbers")) } else { Ok(value as f32) }
}
