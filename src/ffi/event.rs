//! What a request tells its host, in C's layout.
#![expect(unsafe_code, reason = "giving out pointers to what an event holds")]

use std::ffi::c_void;
use std::ptr::NonNull;

use super::fence::Fault;
use super::status::{self, PALISADE_OK, PalisadeStatus};
use super::types::PalisadeStr;
use crate::guard::{Action, Category, Side, Verdict};
use crate::session::{End, EndReason, Event, Stats};

/// The request began: `total` is the number of tokens of its prompt.
pub const PALISADE_EVENT_STARTED: i32 = 1;
/// The prompt is being read: `done` of `total` tokens.
pub const PALISADE_EVENT_PROGRESS: i32 = 2;
/// A piece of the answer, judged and released: `text`.
pub const PALISADE_EVENT_TEXT: i32 = 3;
/// A guard saw something: `verdict`.
pub const PALISADE_EVENT_VERDICT: i32 = 4;
/// The request is over: `end`. Always the last event, exactly once.
pub const PALISADE_EVENT_END: i32 = 5;

/// The model ended its answer.
pub const PALISADE_END_STOP: i32 = 1;
/// `max_tokens` were generated.
pub const PALISADE_END_MAX_TOKENS: i32 = 2;
/// One of the stop strings came.
pub const PALISADE_END_STOP_STRING: i32 = 3;
/// The dialog fills the context.
pub const PALISADE_END_CONTEXT_FULL: i32 = 4;
/// The guards blocked the question; no token was computed. The event's `text` is the refusal to show.
pub const PALISADE_END_BLOCKED_INPUT: i32 = 5;
/// The guards blocked the answer where it stands. The event's `text` is the refusal to show.
pub const PALISADE_END_BLOCKED_OUTPUT: i32 = 6;
/// The host cancelled.
pub const PALISADE_END_CANCELLED: i32 = 7;
/// It failed: `status` and `message` say why. When it is a guard that failed, the event's `text` is the refusal to show.
pub const PALISADE_END_ERROR: i32 = 8;
/// The session was refused too often and has to wait; nothing was judged or computed.
pub const PALISADE_END_PAUSED: i32 = 9;

/// The text passes.
pub const PALISADE_ACTION_ALLOW: i32 = 0;
/// The text passes and is reported.
pub const PALISADE_ACTION_FLAG: i32 = 1;
/// The text passes with a part of it replaced.
pub const PALISADE_ACTION_MASK: i32 = 2;
/// The text does not pass.
pub const PALISADE_ACTION_BLOCK: i32 = 3;

/// From a person to the model.
pub const PALISADE_SIDE_INPUT: i32 = 1;
/// From the model to a person.
pub const PALISADE_SIDE_OUTPUT: i32 = 2;

/// No category: the guard itself could not judge.
pub const PALISADE_CATEGORY_NONE: i32 = 0;
/// The categories 1 to 14 are S1 to S14 of Llama Guard 4.
pub const PALISADE_CATEGORY_S1: i32 = 1;
/// See `PALISADE_CATEGORY_S1`.
pub const PALISADE_CATEGORY_S14: i32 = 14;
/// Text that tries to give the model orders in the place of the host.
pub const PALISADE_CATEGORY_PROMPT_INJECTION: i32 = 101;
/// Text that tries to talk the model out of its safeguards.
pub const PALISADE_CATEGORY_JAILBREAK: i32 = 102;
/// Personal data.
pub const PALISADE_CATEGORY_PII: i32 = 103;
/// The text of a control token.
pub const PALISADE_CATEGORY_SPECIAL_TOKEN: i32 = 104;
/// A language that the policy's guards are not certified for.
pub const PALISADE_CATEGORY_LANGUAGE: i32 = 105;
/// A category of the house; `category_id` has its id.
pub const PALISADE_CATEGORY_CUSTOM: i32 = 200;

/// What a guard saw.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct PalisadeVerdict {
    /// The size of this struct in the library's version.
    pub struct_size: u32,
    /// What is done: `PALISADE_ACTION_...`.
    pub action: i32,
    /// Which way the text was going: `PALISADE_SIDE_...`.
    pub side: i32,
    /// What for: `PALISADE_CATEGORY_...`; later versions may add some.
    pub category: i32,
    /// The check's score, 0 to 1; 1 for a match. Not comparable across checks.
    pub score: f32,
    /// The threshold it was held against; 0 for a match.
    pub threshold: f32,
    /// The category's name, such as `S9` or `pii`; empty for none.
    pub category_id: PalisadeStr,
    /// The check that says so, such as `rules` or `classifier`.
    pub check: PalisadeStr,
    /// Where in the judged text, in bytes; equal to `span_end` when it is not known.
    pub span_begin: u64,
    /// See `span_begin`.
    pub span_end: u64,
    /// The rule that matched, where one did; for the developer, never for the end user.
    pub rule: PalisadeStr,
    /// SHA-256 of the policy that decided.
    pub policy_sha256: [u8; 32],
}

/// How a request ended.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct PalisadeEnd {
    /// The size of this struct in the library's version.
    pub struct_size: u32,
    /// `PALISADE_END_...`
    pub reason: i32,
    /// `PALISADE_OK`, or with `PALISADE_END_ERROR` what went wrong.
    pub status: PalisadeStatus,
    /// Zero.
    pub reserved: u32,
    /// With `PALISADE_END_ERROR`: the error in words.
    pub message: PalisadeStr,
    /// The reason's name, such as `stop` or `blocked_input`.
    pub reason_name: PalisadeStr,
    /// Tokens of the prompt that were computed.
    pub prompt_tokens: u64,
    /// Tokens that were generated, released or not.
    pub generated_tokens: u64,
    /// Milliseconds spent on the prompt.
    pub prefill_ms: f64,
    /// Milliseconds spent on generating.
    pub decode_ms: f64,
    /// Milliseconds spent in the guards.
    pub guard_ms: f64,
    /// Milliseconds from the start to the first released text; 0 when none was.
    pub first_text_ms: f64,
    /// Milliseconds from the start to the end.
    pub total_ms: f64,
    /// The longest that a released text had waited for its verdict, in milliseconds.
    pub longest_hold_ms: f64,
    /// How long text waits at most at the rate of this answer, in milliseconds; 0 when no rate was measured.
    pub hold_bound_ms: f64,
    /// Not negative when the check of the whole answer blocked after text had been released: what was shown from this byte of
    /// the answer on has to be taken back. A host that cannot do that takes a policy whose stream mode is `whole`.
    pub retract_from: i64,
}

/// One event of a request. What it points to is borrowed: valid until the callback returns, or in the pull form until
/// the next call on the request.
///
/// A library older than this header gives a smaller `struct_size`; the fields beyond it are not there.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct PalisadeEvent {
    /// The size of this struct in the library's version.
    pub struct_size: u32,
    /// `PALISADE_EVENT_...`; later versions may add kinds, which a host ignores.
    pub kind: i32,
    /// The released text of `PALISADE_EVENT_TEXT`; the refusal to show at a `PALISADE_EVENT_END` that a guard caused.
    pub text: PalisadeStr,
    /// See `PALISADE_EVENT_PROGRESS`.
    pub done: u64,
    /// See `PALISADE_EVENT_STARTED` and `PALISADE_EVENT_PROGRESS`.
    pub total: u64,
    /// With `PALISADE_EVENT_VERDICT`, and with an end that a guard caused; else NULL.
    pub verdict: *const PalisadeVerdict,
    /// With `PALISADE_EVENT_END`; else NULL.
    pub end: *const PalisadeEnd,
}

/// Receives the events of a request, in order, on the thread that called `palisade_session_ask`, with no lock held.
/// Returns 0 to go on, 1 to cancel. It must not unwind (a C++ exception that leaves it ends the process) nor `longjmp`.
/// Inside it the calls marked `[callback-safe]` are allowed, on the same session too.
pub type PalisadeEventFn = Option<unsafe extern "C-unwind" fn(event: *const PalisadeEvent, user: *mut c_void) -> i32>;

/// An event with everything it points to, at a fixed place.
pub(super) struct Held(NonNull<Parts>);

struct Parts {
    /// Owns the texts.
    source: Event,
    verdict: Option<PalisadeVerdict>,
    end: Option<PalisadeEnd>,
    shown: PalisadeEvent,
}

// SAFETY: it owns what it points to, and nothing in it changes after `new`.
unsafe impl Send for Held {}

impl Held {
    pub(super) fn new(source: Event) -> Self {
        let shown = PalisadeEvent {
            struct_size: size_of::<PalisadeEvent>() as u32,
            kind: 0,
            text: PalisadeStr::EMPTY,
            done: 0,
            total: 0,
            verdict: std::ptr::null(),
            end: std::ptr::null(),
        };
        let parts = Box::leak(Box::new(Parts { source, verdict: None, end: None, shown }));
        let Parts { source, verdict, end, shown } = parts;
        match source {
            Event::Started { prompt_tokens } => {
                (shown.kind, shown.total) = (PALISADE_EVENT_STARTED, *prompt_tokens as u64);
            }
            Event::Progress { done, total } => {
                (shown.kind, shown.done, shown.total) = (PALISADE_EVENT_PROGRESS, *done as u64, *total as u64);
            }
            Event::Text(text) => (shown.kind, shown.text) = (PALISADE_EVENT_TEXT, PalisadeStr::of(text.as_str())),
            Event::Verdict(seen) => {
                shown.kind = PALISADE_EVENT_VERDICT;
                shown.verdict = verdict.insert(PalisadeVerdict::of(seen));
            }
            Event::End(over) => {
                shown.kind = PALISADE_EVENT_END;
                shown.text = over.refusal.as_deref().map_or(PalisadeStr::EMPTY, PalisadeStr::of);
                if let Some(seen) = &over.verdict {
                    shown.verdict = verdict.insert(PalisadeVerdict::of(seen));
                }
                shown.end = end.insert(PalisadeEnd::of(over));
            }
        }
        Self(NonNull::from(parts))
    }

    /// The event as the host sees it, for as long as this lives.
    pub(super) fn view(&self) -> *const PalisadeEvent {
        // SAFETY: the parts live as long as `self`.
        unsafe { &raw const (*self.0.as_ptr()).shown }
    }

    /// The end of the request, if this is it, with what went wrong.
    pub(super) fn end(&self) -> Option<Result<(), Fault>> {
        // SAFETY: as above.
        match unsafe { &(*self.0.as_ptr()).source } {
            Event::End(End { error: Some(error), .. }) => Some(Err(error.clone().into())),
            Event::End(_) => Some(Ok(())),
            _ => None,
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // SAFETY: made by `new` from a box, and given to nobody else.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

/// The end of a request that met a fault inside the library.
pub(super) fn faulty_end(message: &str) -> Event {
    Event::End(End {
        reason: EndReason::Error,
        verdict: None,
        refusal: None,
        error: Some(crate::Error::internal(message)),
        retract_from: None,
        stats: Stats::default(),
    })
}

impl PalisadeVerdict {
    fn of(verdict: &Verdict) -> Self {
        let span = verdict.span.clone().unwrap_or(0..0);
        Self {
            struct_size: size_of::<Self>() as u32,
            action: action(verdict.action),
            side: match verdict.side {
                Side::Input => PALISADE_SIDE_INPUT,
                Side::Output => PALISADE_SIDE_OUTPUT,
            },
            category: verdict.category.map_or(PALISADE_CATEGORY_NONE, category),
            score: verdict.score,
            threshold: verdict.threshold,
            category_id: verdict.category_id().map_or(PalisadeStr::EMPTY, PalisadeStr::of),
            check: PalisadeStr::of(verdict.stage.as_str()),
            span_begin: span.start as u64,
            span_end: span.end as u64,
            rule: verdict.rule.as_deref().map_or(PalisadeStr::EMPTY, PalisadeStr::of),
            policy_sha256: verdict.policy,
        }
    }
}

fn action(action: Action) -> i32 {
    match action {
        Action::Allow => PALISADE_ACTION_ALLOW,
        Action::Flag => PALISADE_ACTION_FLAG,
        Action::Mask => PALISADE_ACTION_MASK,
        Action::Block => PALISADE_ACTION_BLOCK,
    }
}

fn category(category: Category) -> i32 {
    match category {
        Category::S1 => PALISADE_CATEGORY_S1,
        Category::S2 => 2,
        Category::S3 => 3,
        Category::S4 => 4,
        Category::S5 => 5,
        Category::S6 => 6,
        Category::S7 => 7,
        Category::S8 => 8,
        Category::S9 => 9,
        Category::S10 => 10,
        Category::S11 => 11,
        Category::S12 => 12,
        Category::S13 => 13,
        Category::S14 => PALISADE_CATEGORY_S14,
        Category::PromptInjection => PALISADE_CATEGORY_PROMPT_INJECTION,
        Category::Jailbreak => PALISADE_CATEGORY_JAILBREAK,
        Category::Pii => PALISADE_CATEGORY_PII,
        Category::SpecialToken => PALISADE_CATEGORY_SPECIAL_TOKEN,
        Category::Language => PALISADE_CATEGORY_LANGUAGE,
        Category::Custom(_) => PALISADE_CATEGORY_CUSTOM,
    }
}

impl PalisadeEnd {
    fn of(end: &End) -> Self {
        Self {
            struct_size: size_of::<Self>() as u32,
            reason: reason(end.reason),
            status: end.error.as_ref().map_or(PALISADE_OK, |error| status::of(error.kind())),
            reserved: 0,
            message: end.error.as_ref().map_or(PalisadeStr::EMPTY, |error| PalisadeStr::of(error.message())),
            reason_name: PalisadeStr::of(end.reason.name()),
            prompt_tokens: end.stats.prompt_tokens as u64,
            generated_tokens: end.stats.generated_tokens as u64,
            prefill_ms: end.stats.prefill_ms,
            decode_ms: end.stats.decode_ms,
            guard_ms: end.stats.guard_ms,
            first_text_ms: end.stats.first_text_ms,
            total_ms: end.stats.total_ms,
            longest_hold_ms: end.stats.longest_hold_ms,
            hold_bound_ms: end.stats.hold_bound_ms,
            retract_from: end.retract_from.and_then(|n| i64::try_from(n).ok()).unwrap_or(-1),
        }
    }
}

fn reason(reason: EndReason) -> i32 {
    match reason {
        EndReason::Stop => PALISADE_END_STOP,
        EndReason::MaxTokens => PALISADE_END_MAX_TOKENS,
        EndReason::StopString => PALISADE_END_STOP_STRING,
        EndReason::ContextFull => PALISADE_END_CONTEXT_FULL,
        EndReason::BlockedInput => PALISADE_END_BLOCKED_INPUT,
        EndReason::BlockedOutput => PALISADE_END_BLOCKED_OUTPUT,
        EndReason::Paused => PALISADE_END_PAUSED,
        EndReason::Cancelled => PALISADE_END_CANCELLED,
        EndReason::Error => PALISADE_END_ERROR,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ffi::status::PALISADE_INTERNAL;

    #[test]
    fn a_faulty_end_says_so_in_code_and_words() {
        let held = Held::new(faulty_end("broken"));
        // SAFETY: `held` lives to the end of this test.
        let (event, end) = unsafe { (&*held.view(), &*(*held.view()).end) };
        assert_eq!((event.kind, end.reason, end.status), (PALISADE_EVENT_END, PALISADE_END_ERROR, PALISADE_INTERNAL));
        assert_eq!(end.message.len, "broken".len());
        assert_eq!(held.end(), Some(Err(Fault::new(PALISADE_INTERNAL, "broken"))));
    }
}
