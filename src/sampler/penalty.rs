//! Repetition, frequency and presence penalties over the latest ids.

use super::SamplerOptions;
use crate::error::{Error, Result};

/// Changes the logits of the ids at the end of `history`; `recent` is scratch.
///
/// # Errors
/// [`crate::Kind::Argument`] when the window holds an id that has no logit.
pub(super) fn apply(
    logits: &mut [f32],
    history: &[u32],
    options: &SamplerOptions,
    recent: &mut Vec<u32>,
) -> Result<()> {
    let window = history.len().min(options.penalty_window as usize);
    recent.clear();
    recent.extend(history.iter().rev().take(window));
    recent.sort_unstable();
    for run in recent.chunk_by(|a, b| a == b) {
        let Some(&id) = run.first() else { continue };
        let size = logits.len();
        let logit = logits.get_mut(id as usize).ok_or_else(|| {
            Error::argument(format!("history: token {id}; expected ids below {size}, the number of logits"))
        })?;
        let repeated =
            if *logit > 0.0 { *logit / options.repetition_penalty } else { *logit * options.repetition_penalty };
        let taken = options.frequency_penalty * run.len() as f32 + options.presence_penalty;
        // A logit at the edge of f32 stays a number. Minus infinity stays what it is: excluded.
        if repeated > f32::NEG_INFINITY {
            *logit = (repeated - taken).clamp(f32::MIN, f32::MAX);
        }
    }
    Ok(())
}
