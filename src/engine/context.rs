//! One conversation's past, and the runs that extend it.

use std::sync::Arc;

use super::decoder::Decoder;
use super::kv::LayerCache;
use super::pass::{Keep, Seat, run};
use super::profile::Profile;
use crate::cancel::CancelFlag;
use crate::error::{Error, Result};

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
    /// One past a layer; a run borrows them (see [`super::pass`]).
    pub(super) layers: Vec<LayerCache>,
    pub(super) len: usize,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("len", &self.len).finish_non_exhaustive()
    }
}

impl Context {
    pub(super) fn new(decoder: Arc<Decoder>) -> Self {
        let layers = decoder.empty_past();
        Self { decoder, layers, len: 0 }
    }

    /// A second conversation with the same past. The two share its memory: a page of 64 positions is copied when one of them
    /// writes to it. What a fork appends, drops or forgets does not show in the other, so that a fork is also the way back
    /// to positions that [`Context::truncate`] cannot restore.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self { decoder: Arc::clone(&self.decoder), layers: self.layers.clone(), len: self.len }
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

    /// Bytes that the past takes; pages shared with a fork count for both.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.layers.iter().map(LayerCache::bytes).sum()
    }

    /// Appends `ids` and gives the logits after the last of them, `(vocabulary)`.
    ///
    /// # Errors
    /// [`crate::error::Kind::Argument`] for no ids or one outside the vocabulary, [`crate::error::Kind::Limit`] when the
    /// conversation would grow past its length, [`crate::error::Kind::Cancelled`], and the engine's.
    pub fn feed(&mut self, ids: &[u32], control: &mut RunControl<'_>) -> Result<Vec<f32>> {
        self.extend(ids, Keep::Last, control)
    }

    /// As [`Context::feed`] without logits, which costs less: what is appended is only the beginning of a prompt.
    ///
    /// # Errors
    /// As there.
    pub fn append(&mut self, ids: &[u32], control: &mut RunControl<'_>) -> Result<()> {
        self.extend(ids, Keep::None, control).map(|_| ())
    }

    /// Batch after batch; `keep` is for the last one, the others give no logits.
    fn extend(&mut self, ids: &[u32], keep: Keep, control: &mut RunControl<'_>) -> Result<Vec<f32>> {
        self.check(ids)?;
        let (mut done, mut logits) = (0, Vec::new());
        while done < ids.len() {
            let batch = self.batch(&ids[done..], self.decoder.batch);
            done += batch.len();
            logits = self.run(batch, if done == ids.len() { keep } else { Keep::None }, control)?;
            if let Some(progress) = control.progress.as_mut() {
                progress(done, ids.len());
            }
        }
        Ok(logits)
    }

    fn run(&mut self, ids: &[u32], keep: Keep, control: &mut RunControl<'_>) -> Result<Vec<f32>> {
        let decoder = Arc::clone(&self.decoder);
        run(&decoder, &mut [Seat { context: self, ids }], keep, control)
    }

    /// The first of `ids` that run together: at most `most`, and none past the end of an attention chunk, so that chunked
    /// layers never hold more than one chunk.
    fn batch<'a>(&self, ids: &'a [u32], most: usize) -> &'a [u32] {
        let to_border = self.decoder.model.hparams.chunk.map_or(usize::MAX, |c| c - self.len % c);
        &ids[..ids.len().min(most).min(to_border)]
    }

    /// Log-probability of each id after the first, given those before it.
    pub(super) fn score(mut self, ids: &[u32], control: &mut RunControl<'_>) -> Result<Vec<f32>> {
        self.check_ids(ids)?;
        let vocab = self.decoder.model.hparams.vocab;
        let Some((_, inputs)) = ids.split_last().filter(|(_, rest)| !rest.is_empty()) else {
            return Err(Error::argument("scoring needs at least two token ids"));
        };
        let mut out = Vec::with_capacity(inputs.len());
        while out.len() < inputs.len() {
            let batch = self.batch(&inputs[out.len()..], SCORE_BATCH);
            let logits = self.run(batch, Keep::All, control)?; // (S, vocabulary)
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
    /// [`crate::error::Kind::State`] when a chunked layer has already dropped what position `len` looks back on; go on from a
    /// fork that was made there, or compute the conversation again.
    pub fn truncate(&mut self, len: usize) -> Result<()> {
        if len >= self.len {
            return Ok(());
        }
        let chunk = self.decoder.model.hparams.chunk.unwrap_or(usize::MAX);
        let needed = len / chunk * chunk;
        if self.layers.iter().any(|layer| layer.oldest() > needed) {
            return Err(Error::state(format!("position {len} lies in an attention chunk that was dropped")));
        }
        self.set_len(len);
        Ok(())
    }

    pub(super) fn set_len(&mut self, len: usize) {
        self.layers.iter_mut().for_each(|layer| layer.truncate(len));
        self.len = len;
    }

    /// Whether `ids` may follow.
    pub(super) fn check(&self, ids: &[u32]) -> Result<()> {
        self.check_ids(ids)?;
        let limit = self.decoder.context;
        if ids.len() > limit.saturating_sub(self.len) {
            return Err(Error::limit(format!(
                "{} tokens after {} do not fit the context of {limit} tokens",
                ids.len(),
                self.len
            )));
        }
        Ok(())
    }

    fn check_ids(&self, ids: &[u32]) -> Result<()> {
        let vocab = self.decoder.model.hparams.vocab;
        match ids.iter().find(|id| **id as usize >= vocab) {
            _ if ids.is_empty() => Err(Error::argument("no token ids")),
            Some(id) => Err(Error::argument(format!("token id {id}, expected less than {vocab}"))),
            None => Ok(()),
        }
    }

    /// Whether it is a conversation of `decoder`.
    pub(super) fn is_of(&self, decoder: &Decoder) -> bool {
        std::ptr::eq(Arc::as_ptr(&self.decoder), decoder)
    }
}

/// `logits[id] − log Σ exp(logits)`, summed in double precision.
fn log_probability(logits: &[f32], id: usize) -> Result<f32> {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|l| f64::from(l - max).exp()).sum();
    let own = logits.get(id).copied().ok_or_else(|| Error::argument(format!("token id {id}")))?;
    let value = f64::from(own - max) - sum.ln();
    if value.is_nan() { Err(Error::numeric("the model's logits are not numbers")) } else { Ok(value as f32) }
}
