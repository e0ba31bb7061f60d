//! One pass of the graph over the new tokens of one or more conversations.
//!
//! A conversation owns its past. For the time of a pass the past is seated in the attention states of a plan's run: one seat a
//! conversation, in the order of its rows in every tensor. Matrices meet the rows of all of them at once, attention goes over
//! each one's own past, and no row sees another conversation's, so that each gets the bits it would get alone.

use std::time::Instant;

use tract_onnx::prelude::*;
use tract_onnx::tract_core::plan::eval;

use super::awake;
use super::context::{Context, RunControl};
use super::decoder::Decoder;
use super::kv::LayerCache;
use super::ops::{AttentionState, Sequence, Turn, give};
use super::{Stopped, from_tract};
use crate::error::Result;
use crate::model::Model;

/// Which rows of a pass get logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    /// None: a batch of a prompt that goes on. The output matrix is not touched.
    None,
    /// The last row of every conversation.
    Last,
    /// Every row.
    All,
}

/// A conversation and the ids that it grows by.
pub(super) struct Seat<'a> {
    pub(super) context: &'a mut Context,
    pub(super) ids: &'a [u32],
}

/// Runs the seats' ids and gives the logits of the rows kept, `(rows, vocabulary)`. All or nothing: a pass that fails or is
/// cancelled leaves every conversation as it was. The ids are checked and lie in one attention chunk for each seat.
pub(super) fn run(
    decoder: &Decoder,
    seats: &mut [Seat<'_>],
    keep: Keep,
    control: &mut RunControl<'_>,
) -> Result<Vec<f32>> {
    let mut state = decoder.idle_state()?;
    seat(&mut state, seats);
    let start = control.profile.is_some().then(Instant::now);
    let result = execute(decoder, &mut state, seats, keep, control);
    if let Some((profile, start)) = control.profile.as_mut().zip(start) {
        profile.add_run(start.elapsed());
    }
    unseat(&mut state, seats);
    match result {
        Ok(logits) => {
            seats.iter_mut().for_each(|seat| seat.context.len += seat.ids.len());
            decoder.give_back_state(state);
            Ok(logits)
        }
        // The state may hold values of the run that failed: it goes.
        Err(e) => {
            seats.iter_mut().for_each(|seat| seat.context.set_len(seat.context.len));
            Err(from_tract("running the decoder", &e))
        }
    }
}

fn attention(state: &mut TypedSimpleState) -> impl Iterator<Item = &mut AttentionState> {
    state.op_states.iter_mut().flatten().filter_map(|s| s.downcast_mut::<AttentionState>())
}

/// Moves the past of every conversation into the layers of `state`. Empty pasts stay behind: should a run panic, every later
/// run finds that the past does not reach as far as the conversation, and says so.
fn seat(state: &mut TypedSimpleState, seats: &mut [Seat<'_>]) {
    for (l, layer) in attention(state).enumerate() {
        let take = |seat: &mut Seat<'_>| seat.context.layers.get_mut(l).map(LayerCache::take);
        layer.seats = seats.iter_mut().filter_map(take).collect();
    }
}

/// Moves it back.
fn unseat(state: &mut TypedSimpleState, seats: &mut [Seat<'_>]) {
    for (l, layer) in attention(state).enumerate() {
        for (seat, past) in seats.iter_mut().zip(layer.seats.drain(..)) {
            if let Some(place) = seat.context.layers.get_mut(l) {
                *place = past;
            }
        }
    }
}

fn execute(
    decoder: &Decoder,
    state: &mut TypedSimpleState,
    seats: &[Seat<'_>],
    keep: Keep,
    control: &mut RunControl<'_>,
) -> TractResult<Vec<f32>> {
    let RunControl { cancel, profile, .. } = control;
    let ids: Vec<i64> = seats.iter().flat_map(|seat| seat.ids).map(|id| i64::from(*id)).collect();
    let sequences: Vec<_> =
        seats.iter().map(|seat| Sequence { past: seat.context.len, rows: seat.ids.len() }).collect();
    // Nothing is computed on the host's thread: its rounding mode is its own.
    let pass = || {
        // A clone of the state or a reset empties the shared storage, so every run brings its own.
        state.turn_state.shared.insert(turn(&decoder.model, sequences, keep));
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
        let values = logits.try_as_plain_ram()?.as_slice::<f32>()?.to_vec();
        give(logits);
        Ok(values)
    };
    decoder.pool.install(|| awake::pass(&decoder.crew, pass))
}

/// Angles and temperatures of the rows of `sequences`. Chunked layers see differences inside one chunk only, so the rotation
/// counts positions from the chunk's start, which keeps single-precision sines exact at any length.
fn turn(model: &Model, sequences: Vec<Sequence>, keep: Keep) -> Turn {
    let positions: Vec<usize> = sequences.iter().flat_map(|s| s.past..s.past + s.rows).collect();
    let pairs = model.rope.frequencies.len();
    let n = positions.len();
    let (mut cos, mut sin) = (vec![0.0f32; n * pairs], vec![0.0f32; n * pairs]);
    for ((position, cos), sin) in positions.iter().zip(cos.chunks_exact_mut(pairs)).zip(sin.chunks_exact_mut(pairs)) {
        model.rope.angles(model.hparams.chunk.map_or(*position, |c| position % c), cos, sin);
    }
    let temperature = positions.iter().map(|p| model.hparams.temperature.map_or(1.0, |t| t.at(*p))).collect();
    let last = sequences.iter().scan(0, |end, s| {
        *end += s.rows;
        end.checked_sub(1)
    });
    let keep = match keep {
        Keep::None => Vec::new(),
        Keep::Last => last.collect(),
        Keep::All => (0..n).collect(),
    };
    Turn { sequences, keep, cos, sin, temperature }
}
