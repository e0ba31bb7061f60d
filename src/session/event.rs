//! What a request tells its host.

use crate::error::Error;
use crate::guard::{Cleared, Verdict};

/// One step of a request. [`Event::End`] comes last, exactly once.
#[derive(Debug)]
pub enum Event {
    /// The input was judged and may be computed.
    Started {
        /// Tokens of the prompt that are new.
        prompt_tokens: usize,
    },
    /// Prefill went on.
    Progress {
        /// Tokens computed.
        done: usize,
        /// Tokens to compute.
        total: usize,
    },
    /// Text to show.
    Text(Cleared),
    /// A guard saw something; what follows from it is the guard's business, not the host's.
    Verdict(Verdict),
    /// The request is over.
    End(End),
}

/// Why a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// The model ended its answer.
    Stop,
    /// The answer has as many tokens as the request allowed.
    MaxTokens,
    /// A stop string appeared.
    StopString,
    /// The conversation is as long as it can be.
    ContextFull,
    /// The input guard refused; the model saw nothing.
    BlockedInput,
    /// The output guard stopped the answer; nothing of what it refused was released.
    BlockedOutput,
    /// The session was refused too often and has to wait (the policy's `[pause]`); nothing was judged or computed.
    Paused,
    /// The host asked to stop.
    Cancelled,
    /// Something failed; see [`End::error`].
    Error,
}

impl EndReason {
    /// A stable name, as in logs and JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::MaxTokens => "max_tokens",
            Self::StopString => "stop_string",
            Self::ContextFull => "context_full",
            Self::BlockedInput => "blocked_input",
            Self::BlockedOutput => "blocked_output",
            Self::Paused => "paused",
            Self::Cancelled => "cancelled",
            Self::Error => "error",
        }
    }

    /// Whether the answer stays in the conversation. Whatever ended otherwise is forgotten, question and answer.
    #[must_use]
    pub fn is_answer(self) -> bool {
        matches!(self, Self::Stop | Self::MaxTokens | Self::StopString | Self::ContextFull)
    }
}

/// The end of a request.
#[derive(Clone, Debug)]
pub struct End {
    /// Why.
    pub reason: EndReason,
    /// The verdict that blocked, when one did.
    pub verdict: Option<Verdict>,
    /// What to show the user in the place of an answer, when a guard blocked. It does not tell which one.
    pub refusal: Option<String>,
    /// What failed, when the reason is [`EndReason::Error`].
    pub error: Option<Error>,
    /// Set when the check of the whole answer blocked after text had been released: what was shown from this byte of the
    /// answer on has to be taken back. A host that cannot do that takes the mode `whole`.
    pub retract_from: Option<usize>,
    /// What it took.
    pub stats: Stats,
}

/// Counts and times of one request. Times are by a monotonic clock.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stats {
    /// Tokens of the prompt that were computed.
    pub prompt_tokens: usize,
    /// Tokens that were generated, released or not.
    pub generated_tokens: usize,
    /// Milliseconds of prefill.
    pub prefill_ms: f64,
    /// Milliseconds of decoding and sampling.
    pub decode_ms: f64,
    /// Milliseconds of judging, input and output.
    pub guard_ms: f64,
    /// Milliseconds from the start to the first released text; 0 when none was.
    pub first_text_ms: f64,
    /// Milliseconds from the start to the end.
    pub total_ms: f64,
    /// The longest that a released text had waited for its verdict, in milliseconds.
    pub longest_hold_ms: f64,
    /// How long text waits at most at the rate of this answer, in milliseconds; 0 when no rate was measured.
    pub hold_bound_ms: f64,
}

impl Stats {
    /// Tokens a second of prefill.
    #[must_use]
    pub fn prefill_tps(&self) -> f64 {
        rate(self.prompt_tokens, self.prefill_ms)
    }

    /// Tokens a second of decoding, the guard's time left out.
    #[must_use]
    pub fn decode_tps(&self) -> f64 {
        rate(self.generated_tokens, self.decode_ms)
    }
}

fn rate(tokens: usize, ms: f64) -> f64 {
    if ms > 0.0 { tokens as f64 * 1000.0 / ms } else { 0.0 }
}
