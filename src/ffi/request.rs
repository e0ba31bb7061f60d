//! The request: what is asked, and reading its events one by one.
#![expect(unsafe_code, reason = "exported entries")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::event::{Held, PalisadeEvent, faulty_end};
use super::fence::{Fault, fence};
use super::gate::Gate;
use super::session::{FREE_WAITS, PalisadeSession, SessionSlot};
use super::sized::{self, Versioned, borders};
use super::status::PalisadeStatus;
use super::types::PalisadeStr;
use super::{handle, memory};
use crate::cancel::CancelFlag;
use crate::sampler::SamplerOptions;
use crate::session::{Generation, Request};

/// One request in the pull form. Made by `palisade_session_start`, given up by `palisade_request_free`.
pub struct PalisadeRequest {
    _ticket: (),
}

/// What stands behind a request handle.
pub(super) struct RequestSlot {
    gate: Gate,
    cancel: CancelFlag,
    reading: Mutex<Reading>,
}

struct Reading {
    stream: Stream,
    /// What the host is looking at.
    current: Option<Held>,
}

/// What is asked, and how the answer is made. Fill it with `palisade_request_options_init` first. Texts are read during
/// the call only.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct PalisadeRequestOptions {
    /// Set by the init function.
    pub struct_size: u32,
    /// Most tokens of the answer; 0 = the default, 512.
    pub max_tokens: u32,
    /// The question. Needed.
    pub text: PalisadeStr,
    /// Texts that end the answer where they begin, `stop_count` of them; may be NULL with 0.
    pub stop: *const PalisadeStr,
    /// See `stop`; at most 64.
    pub stop_count: usize,
    /// The host's time in seconds since 1970, for the audit log. The library reads no clock.
    pub time_unix: i64,
    /// For sampling: the same seed, question and dialog give the same answer.
    pub seed: u64,
    /// 0 = always the likeliest token; to 100.
    pub temperature: f32,
    /// Sample from that many of the likeliest tokens; 0 = from all.
    pub top_k: u32,
    /// Sample from the likeliest tokens that together have this probability; 1 = from all.
    pub top_p: f32,
    /// Sample from tokens at least this likely, relative to the likeliest; 0 = from all.
    pub min_p: f32,
    /// Over 1 makes tokens that were there less likely; 1 = off.
    pub repetition_penalty: f32,
    /// Makes a token less likely each time it was there; 0 = off.
    pub frequency_penalty: f32,
    /// Makes a token less likely once it was there; 0 = off.
    pub presence_penalty: f32,
    /// How many of the latest tokens of the answer the penalties look at.
    pub penalty_window: u32,
}

// SAFETY: numbers, views and pointers, the size first; `borders!` adds up the fields.
unsafe impl Versioned for PalisadeRequestOptions {
    const BORDERS: &'static [usize] = borders!(PalisadeRequestOptions: text, stop, stop_count, time_unix, seed,
        temperature, top_k, top_p, min_p, repetition_penalty, frequency_penalty, presence_penalty, penalty_window);
    fn defaults() -> Self {
        let sampling = SamplerOptions::default();
        Self {
            struct_size: size_of::<Self>() as u32,
            max_tokens: 0,
            text: PalisadeStr::EMPTY,
            stop: std::ptr::null(),
            stop_count: 0,
            time_unix: 0,
            seed: sampling.seed,
            temperature: sampling.temperature,
            top_k: sampling.top_k,
            top_p: sampling.top_p,
            min_p: sampling.min_p,
            repetition_penalty: sampling.repetition_penalty,
            frequency_penalty: sampling.frequency_penalty,
            presence_penalty: sampling.presence_penalty,
            penalty_window: sampling.penalty_window,
        }
    }
}

impl PalisadeRequestOptions {
    /// # Safety
    /// As the header asks of a request.
    pub(super) unsafe fn read(request: *const Self) -> Result<Request, Fault> {
        // SAFETY: as this function asks.
        let host = unsafe { sized::read(request, "request") }?;
        // SAFETY: as this function asks.
        let (text, stop) = unsafe {
            let text = memory::text(host.text, "request.text")?;
            (text, memory::texts(host.stop, host.stop_count, "request.stop")?)
        };
        Ok(Request {
            text: text.to_owned(),
            max_tokens: host.max_tokens,
            sampling: SamplerOptions {
                seed: host.seed,
                temperature: host.temperature,
                top_k: host.top_k,
                top_p: host.top_p,
                min_p: host.min_p,
                repetition_penalty: host.repetition_penalty,
                frequency_penalty: host.frequency_penalty,
                presence_penalty: host.presence_penalty,
                penalty_window: host.penalty_window,
            },
            stop: stop.into_iter().map(str::to_owned).collect(),
            time_unix: host.time_unix,
        })
    }
}

/// The events of one request, END last and exactly once whatever happens.
pub(super) struct Stream {
    slot: Arc<SessionSlot>,
    generation: Generation,
    ended: bool,
}

impl Stream {
    pub(super) fn start(slot: &Arc<SessionSlot>, request: Request) -> Result<Self, Fault> {
        let generation = slot.session.start(request)?;
        Ok(Self { slot: slot.clone(), generation, ended: false })
    }

    pub(super) fn cancel(&self) {
        self.generation.cancel_flag().raise();
    }

    /// The next event; `None` after END. A fault inside the library becomes an END, and poisons the session.
    pub(super) fn next(&mut self) -> Option<Held> {
        if self.ended {
            return None;
        }
        let event = catch_unwind(AssertUnwindSafe(|| self.generation.next_event())).map_err(Fault::panic);
        let event = match event {
            Ok(Some(event)) => event,
            Ok(None) => self.broken("a fault inside the library: the request has no end"),
            Err(fault) => self.broken(&fault.message),
        };
        let event = Held::new(event);
        self.ended = event.end().is_some();
        Some(event)
    }

    fn broken(&self, message: &str) -> crate::session::Event {
        self.slot.gate.poison.set();
        faulty_end(message)
    }
}

/// Fills request options with their defaults. Call it before setting any field, with the size of the struct as the
/// program knows it.
///
/// ```c
/// palisade_request_options_t request;
/// palisade_request_options_init(&request, sizeof request);
/// ```
///
/// Errors: `PALISADE_ARG`.
///
/// [any thread] [callback-safe]
///
/// The caller vouches: `options` points to `size` bytes that may be written.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn palisade_request_options_init(
    options: *mut PalisadeRequestOptions,
    size: usize,
) -> PalisadeStatus {
    fence(|| {
        // SAFETY: as the header asks.
        unsafe { sized::init(options, size, "options") }
    })
}

/// Asks in the pull form: the events are read with `palisade_request_next`. For languages that had rather not be called
/// from C. The session takes no other request until this one has ended or is freed.
///
/// Ownership: on success `*request` is the caller's, who gives it up with `palisade_request_free`. It keeps what it
/// needs of the session alive. On failure nothing is written.
///
/// ```c
/// palisade_request_t *running = NULL;
/// if (palisade_session_start(session, &request, &running) != PALISADE_OK) { ... }
/// ```
///
/// Errors: those of `palisade_session_ask` that come before its first event.
///
/// [one thread at a time]
///
/// The caller vouches: `options` points to a struct of the size it says, its texts to their bytes; `request` may be
/// written.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn palisade_session_start(
    session: *mut PalisadeSession,
    options: *const PalisadeRequestOptions,
    request: *mut *mut PalisadeRequest,
) -> PalisadeStatus {
    fence(|| {
        let slot = handle::borrow(session, "session")?;
        // SAFETY: as the header asks.
        let (asked, out) = unsafe { (PalisadeRequestOptions::read(options)?, memory::out(request, "request")?) };
        let _pass = slot.gate.enter("session")?;
        let stream = Stream::start(&slot, asked)?;
        let cancel = stream.generation.cancel_flag();
        let reading = Mutex::new(Reading { stream, current: None });
        out.set(handle::hand_out(Arc::new(RequestSlot { gate: Gate::default(), cancel, reading }))?);
        Ok(())
    })
}

/// Waits for the next event of a request and points `*event` to it; to NULL after END. What it points to is valid until
/// the next call on the request. An END with `PALISADE_END_ERROR` is an event like any other: `PALISADE_OK`.
///
/// ```c
/// const palisade_event_t *event;
/// while (palisade_request_next(running, &event) == PALISADE_OK && event != NULL) { ... }
/// ```
///
/// Errors: `PALISADE_ARG`, `PALISADE_BUSY` when another thread is waiting, `PALISADE_CLOSED`, `PALISADE_FORKED`.
///
/// [one thread at a time]
///
/// The caller vouches: `event` may be written.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn palisade_request_next(
    request: *mut PalisadeRequest,
    event: *mut *const PalisadeEvent,
) -> PalisadeStatus {
    fence(|| {
        let slot = handle::borrow(request, "request")?;
        // SAFETY: as the header asks.
        let out = unsafe { memory::out(event, "event") }?;
        let _pass = slot.gate.enter("request")?;
        let mut reading = slot.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let next = reading.stream.next();
        out.set(next.as_ref().map_or(std::ptr::null(), Held::view));
        reading.current = next;
        Ok(())
    })
}

/// Gives up a request and sets `*request` to NULL. When it has not ended it is cancelled; a `palisade_request_next` that
/// waits on another thread is waited for, at most 2 seconds. NULL, and a pointer to NULL, is a harmless no-op.
///
/// ```c
/// palisade_request_free(&running);
/// ```
///
/// Errors: `PALISADE_BUSY` when the call did not return in time (nothing is freed), `PALISADE_CLOSED` when the request was
/// freed through a copy of the handle before (nothing happens), `PALISADE_ARG`. In a forked child the parent's handle is
/// only set to NULL.
///
/// [any thread]
///
/// The caller vouches: `request` is NULL or points to a handle that may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn palisade_request_free(request: *mut *mut PalisadeRequest) -> PalisadeStatus {
    fence(|| {
        let ready = |slot: &RequestSlot| {
            // When nobody is reading, letting it go is enough: the flag is the session's, which may be at its next
            // request already.
            slot.gate.close(Duration::ZERO, "request").or_else(|_| {
                slot.cancel.raise();
                slot.gate.close(FREE_WAITS, "request")
            })
        };
        // SAFETY: as the header asks.
        unsafe { handle::free(request, "request", ready) }
    })
}
